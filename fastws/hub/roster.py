"""The roster: all clients of this process by connection id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from fastws.hub.index import Index
from fastws.hub.ports import Member
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication


class Client(Member, Protocol):
    """A connected client as the endpoints see it."""

    @property
    def identity(self) -> Identity | None: ...
    @property
    def user(self) -> str | None:
        """The user of the token, or as whom the client has signed in; None for neither."""
        ...

    @property
    def client_id(self) -> str | None:
        """The client id that the client has given; None without one."""
        ...

    @property
    def dialect_name(self) -> str: ...
    @property
    def realm(self) -> str | None:
        """The id of the app that the client belongs to; None in dialects without apps."""
        ...

    @property
    def codec_name(self) -> str: ...
    @property
    def channel_names(self) -> list[str]: ...
    @property
    def connected_at(self) -> float:
        """Seconds since the epoch."""
        ...

    @property
    def last_active_at(self) -> float:
        """Seconds since the epoch, with the precision of a heartbeat round."""
        ...

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closing or closed."""
        ...

    @property
    def address(self) -> str: ...
    @property
    def user_agent(self) -> str: ...

    @property
    def waiting(self) -> tuple[int, int] | None:
        """(messages, bytes) queued for this client; None if nothing is queued."""
        ...

    def deliver_direct(self, publication: Publication) -> bool:
        """Send `publication` to this client only. Returns False if its queue is full. Raises Unencodable."""
        ...

    def deliver_raw(self, body: bytes) -> bool:
        """Send `body` unchanged as one message to this client only. Returns False if its queue is full."""
        ...

    def revoke(self) -> None:
        """Close with 4401 because the client's token was revoked."""
        ...

    def end(self, code: int, reason: str, *, label: str) -> None:
        """Close with `code` and `reason`; `label` is the reason in metrics."""
        ...


class Roster:
    """All clients of this process, in the order in which they connected, and what is counted or looked up of them.

    A request must not have to walk over all clients, however many there are: whatever it needs is kept here up to date.
    A client with a token costs 40 bytes for its user and 40 for the id of the token.
    """

    __slots__ = (
        "_accounts",
        "_has_client_ids",
        "_realms",
        "blocked",
        "by_client_id",
        "by_token",
        "by_user",
        "clients",
        "kinds",
        "realms",
        "user_changed",
    )

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        # Clients with a token, by its user and by its id (`jti`).
        self.by_user: Index[Client] = Index()
        self.by_token: Index[Client] = Index()
        # Clients with a client id, which several users and connections may have.
        self.by_client_id: Index[Client] = Index()
        self._has_client_ids = False
        # Clients that have signed in without a token, by realm and user, and the key of each.
        self._accounts: Index[Client] = Index()
        self._realms: dict[str, str] = {}
        # Number of clients by dialect and codec.
        self.kinds: dict[tuple[str, str], int] = {}
        # Clients that have data waiting because their socket is blocked.
        self.blocked: set[Client] = set()
        # Number of clients by dialect and realm, of dialects with realms.
        self.realms: dict[tuple[str, str], int] = {}
        # If set, called with the user whose number of clients has changed, or None for clients without a token.
        self.user_changed: Callable[[str | None], object] | None = None

    def __len__(self) -> int:
        return len(self.clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(self.clients.values())

    def get(self, connection_id: str) -> Client | None:
        return self.clients.get(connection_id)

    def add(self, client: Client) -> None:
        self.clients[client.id] = client
        kind = (client.dialect_name, client.codec_name)
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if (realm := client.realm) is not None:
            self.realms[kind[0], realm] = self.realms.get((kind[0], realm), 0) + 1
        identity = client.identity
        if identity is not None:
            self.by_user.add(identity.user, client)
            self._add_token(client, identity)
        if self.user_changed is not None:
            self.user_changed(None if identity is None else identity.user)

    def remove(self, client: Client) -> None:
        """Remove `client`, if it is there."""
        if self.clients.pop(client.id, None) is None:
            return
        self.blocked.discard(client)
        kind = (client.dialect_name, client.codec_name)
        self.kinds[kind] -= 1
        if not self.kinds[kind]:
            del self.kinds[kind]
        if (realm := client.realm) is not None:
            self.realms[kind[0], realm] -= 1
        identity = client.identity
        if identity is not None:
            self.by_user.remove(identity.user, client)
            self._remove_token(client, identity)
        if self._has_client_ids and client.client_id is not None:
            self.by_client_id.remove(client.client_id, client)
        if self._realms and (account := self._realms.pop(client.id, None)) is not None:
            self._accounts.remove(account, client)
        if self.user_changed is not None:
            self.user_changed(None if identity is None else identity.user)

    def sign_in(self, connection_id: str, realm: str, user: str) -> None:
        """The client of this connection is `user` of `realm`, which contains no colon."""
        client = self.clients.get(connection_id)
        if client is not None and connection_id not in self._realms:
            self._realms[connection_id] = account = f"{realm}:{user}"
            self._accounts.add(account, client)

    def signed_in(self, realm: str, user: str) -> list[Client]:
        """Return the clients that are `user` of `realm`."""
        return self._accounts.of(f"{realm}:{user}")

    def give_client_id(self, connection_id: str, client_id: str) -> None:
        """The client of this connection has a client id."""
        client = self.clients.get(connection_id)
        if client is not None:
            self.by_client_id.add(client_id, client)
            self._has_client_ids = True

    def refreshed(self, connection_id: str, former: Identity) -> None:
        """This client has a new token of the same user; `former` is the identity of the one before."""
        client = self.clients.get(connection_id)
        if client is not None and client.identity is not None:
            self._remove_token(client, former)
            self._add_token(client, client.identity)

    def dialects(self) -> dict[str, int]:
        """Return the number of clients by dialect; of dialects with realms by `dialect/realm`."""
        counts = {f"{dialect}/{realm}": count for (dialect, realm), count in self.realms.items()}
        known = {dialect for dialect, _ in self.realms}
        for (dialect, _), count in self.kinds.items():
            if dialect not in known:
                counts[dialect] = counts.get(dialect, 0) + count
        return counts

    def realm_connections(self, dialect: str, realm: str) -> int:
        """Return the number of clients of this realm."""
        return self.realms.get((dialect, realm), 0)

    def _add_token(self, client: Client, identity: Identity) -> None:
        if identity.token_id is not None:
            self.by_token.add(identity.token_id, client)

    def _remove_token(self, client: Client, identity: Identity) -> None:
        if identity.token_id is not None:
            self.by_token.remove(identity.token_id, client)
