"""The dialect of Pusher clients: protocol 7 of Pusher Channels. One object for each app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fastws.codec.codec import Codec
from fastws.codec.json_text import JSON
from fastws.counters import Counters
from fastws.dialects.dialect import DialectDefaults, IdScheme, Parting, StartingChannels
from fastws.dialects.pusher_messages import (
    CLIENT_EVENT_CODE,
    SUBSCRIPTION_ERROR,
    Tallies,
    as_published,
    delivery,
    error_message,
    reply,
    subscription_error,
    type_of,
)
from fastws.errors import BadRequest, Dismissed, FastWSError, InvalidText
from fastws.vocabulary.commands import Answer, Command, Decide, Ping, Relay, Request, Requester, SignIn, Subscribe
from fastws.vocabulary.commands import Unsubscribe as Leave
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.presence import ChannelMember, Membership
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.pusher_apps import PusherApp, is_cache, is_presence, is_private, is_user_id, user_of
from fastws.vocabulary.replies import Failure, Reply

NAME: Final = "pusher"
MAX_EVENT_LENGTH: Final = 200
_PROTOCOLS: Final = frozenset({"4", "5", "6", "7"})
_CLIENT_EVENT: Final = "client-"
# Least time between two errors about client events.
ERROR_SECONDS: Final = 1.0
_RATE_ROUNDING: Final = 0.001
_FULL: Final = "the app has as many connections as it may have; try again later"
_WRONG_SIGNATURE: Final = "the signature is missing or wrong: it must be KEY:SIGNATURE for this socket_id and channel"

# Whether (app, auth, text): `auth` is the signature of `text` by a key of the app.
Verify = Callable[[PusherApp, object, str], bool]


@dataclass(slots=True)
class PusherClient:
    """The state of one client."""

    # The user as whom it has signed in, and the object that the application has signed.
    user: str | None = None
    user_data: Mapping[str, object] = field(default_factory=dict)
    # Its user in each presence channel.
    member_of: dict[str, str | int] = field(default_factory=dict)
    is_proven: bool = False
    # When the burst of client events is available again, and when the next error about them may be sent.
    rate_full_at: float = 0.0
    next_error_at: float = 0.0


@dataclass(slots=True, frozen=True, kw_only=True)
class StartingPusher(StartingChannels):
    """The start of a Pusher client."""

    client: PusherClient
    refusal: Dismissed | None = None
    seconds_to_prove: float = 0.0

    @property
    def user(self) -> str | None:
        return self.client.user

    @property
    def dismissal(self) -> Dismissed | None:
        return self.refusal

    @property
    def is_proven(self) -> bool:
        return self.client.is_proven

    @property
    def deadline_seconds(self) -> float:
        return self.seconds_to_prove


class Pusher(DialectDefaults):
    """Pusher's protocol for the clients of one app. `refusal` is why none of them may connect, if that is so.

    `is_protected` says which channels only clients of other dialects may use, with a token.
    """

    name = NAME
    needs_token = False
    has_own_access = True

    def __init__(
        self,
        app: PusherApp,
        verify: Verify,
        id_scheme: IdScheme,
        is_protected: Callable[[str], bool],
        refusal: tuple[int, str] | None = None,
        tallies: Tallies | None = None,
    ) -> None:
        self.app = app
        self.max_connections = app.max_connections
        self._tallies = tallies or Tallies()
        self.realm = app.id
        self.id_scheme = id_scheme
        self._verify = verify
        self._is_protected = is_protected
        self._refusal = refusal
        self._parsers: Mapping[str, Callable[[object], Command | None]] = {
            "pusher:subscribe": self._subscribe,
            "pusher:unsubscribe": lambda data: Leave(app.channel(_channel(_fields(data)))),
            "pusher:ping": lambda _: Ping(),
            "pusher:pong": lambda _: None,
            "pusher:signin": self._sign_in,
        }

    def admit(self, identity: Identity | None, query: Mapping[str, str]) -> StartingPusher:
        refusal = self._refusal
        if refusal is None and query.get("protocol", "7") not in _PROTOCOLS:
            refusal = (4007, "unsupported protocol version: this server speaks 4 to 7")
        if refusal is not None:
            dismissed = Dismissed(refusal[1], dismissal_code=refusal[0], label="pusher")
            return StartingPusher(client=PusherClient(), refusal=dismissed)
        return StartingPusher(client=PusherClient(), seconds_to_prove=self.app.auth_timeout)

    def admit_when_full(self) -> StartingPusher:
        dismissed = Dismissed(_FULL, dismissal_code=4100, label="pusher")
        return StartingPusher(client=PusherClient(), refusal=dismissed)

    def requests(self, opcode: int, payload: bytes, codec: Codec) -> tuple[Request, ...]:
        try:
            command = self._parse(codec.loads(payload))
        except InvalidText:
            raise
        except FastWSError as refused:
            return ((None, refused.with_traceback(None)),)
        return () if command is None else ((None, command),)

    def _parse(self, message: object) -> Command | None:
        if not isinstance(message, dict) or not isinstance(event := message.get("event"), str):
            raise BadRequest('a message is an object with an `event`, such as {"event":"pusher:ping","data":{}}')
        parser = self._parsers.get(event)
        if parser is not None:
            return parser(message.get("data"))
        if event.startswith("pusher:"):
            raise BadRequest(f"unknown event {event[:MAX_EVENT_LENGTH]!r}")
        return Decide(lambda client: self._client_event(client, event, message))

    # --- subscriptions

    def _subscribe(self, data: object) -> Command:
        fields = _fields(data)
        name = _channel(fields)
        return Decide(lambda client: self._decide_subscription(client, name, fields))

    def _decide_subscription(self, client: Requester, name: str, fields: Mapping[str, object]) -> Command:
        app, state = self.app, _state(client)
        if not app.is_channel_name(name):
            return self._refuse(name, "BadRequest", "invalid channel name: 1 to 200 of A-Z a-z 0-9 _-=@,.;")
        user = user_of(name)
        if user is not None:
            if user != state.user:
                return self._refuse(name, "AuthError", "sign in as this user first")
        elif is_presence(name):
            return self._presence_subscription(client, state, name, fields)
        elif is_private(name):
            if not self._verify(app, fields.get("auth"), f"{client.id}:{name}"):
                return self._refuse(name, "AuthError", _WRONG_SIGNATURE)
            state.is_proven = True
        elif app.is_shared and self._is_protected(name):
            return self._refuse(name, "Forbidden", "this channel requires a token")
        return Subscribe(app.channel(name), None, True, None, self._cached_seconds(name))  # noqa: FBT003

    def _presence_subscription(
        self, client: Requester, state: PusherClient, name: str, fields: Mapping[str, object]
    ) -> Command:
        app, channel = self.app, self.app.channel(name)
        text = fields.get("channel_data")
        signed = f"{client.id}:{name}" if text is None else f"{client.id}:{name}:{text}"
        if not isinstance(text, str | None) or not self._verify(app, fields.get("auth"), signed):
            return self._refuse(name, "AuthError", _WRONG_SIGNATURE)
        try:
            member = _member(text, state)
        except FastWSError as refused:
            return self._refuse(name, "BadRequest", refused.message)
        if 0 < app.max_member_bytes < len(JSON.dumps(member.info)):
            return self._refuse(name, "LimitReached", f"user_info has more than {app.max_member_bytes} bytes")
        state.is_proven = True
        if not client.is_subscribed(channel):
            if len(state.member_of) % 64 == 63:  # forget the channels that it has left
                state.member_of = {each: user for each, user in state.member_of.items() if client.is_subscribed(each)}
            state.member_of[channel] = member.shown_id
        membership = Membership(member, app.max_presence_members)
        return Subscribe(channel, None, True, membership, self._cached_seconds(name))  # noqa: FBT003

    def _cached_seconds(self, name: str) -> float | None:
        return self.app.cache_seconds if is_cache(name) else None

    def _refuse(self, name: str, kind: str, message: str) -> Command:
        self._tallies.refused[kind] += 1
        return subscription_error(name, kind, message)

    # --- sign-in

    def _sign_in(self, data: object) -> Command:
        fields = _fields(data)
        return Decide(lambda client: self._decide_sign_in(client, fields))

    def _decide_sign_in(self, client: Requester, fields: Mapping[str, object]) -> Command:
        state, text = _state(client), fields.get("user_data")
        if not isinstance(text, str) or not self._verify(self.app, fields.get("auth"), f"{client.id}::user::{text}"):
            raise _no_sign_in("the signature of user_data is missing or wrong")
        try:
            user_data = _object(text, "user_data")
            user = _user_id(user_data.get("id"), "id")
        except FastWSError as refused:
            raise _no_sign_in(refused.message) from None
        if state.user not in (None, str(user)):
            raise _no_sign_in("this connection has signed in as another user")
        state.user, state.user_data, state.is_proven = str(user), user_data, True
        return SignIn(self.app.id, str(user), {"event": "pusher:signin_success", "data": {"user_data": text}})

    # --- client events

    def _client_event(self, client: Requester, event: str, message: Mapping[str, object]) -> Command | None:
        name, data = message.get("channel"), message.get("data")
        result, fault = self._fault(client, event, name, data)
        self._tallies.client_events[result] += 1
        if not fault and isinstance(name, str):
            return self._relay(client, event, name, data)
        state = _state(client)
        if client.now < state.next_error_at:
            return None
        state.next_error_at = client.now + ERROR_SECONDS
        channel = name if isinstance(name, str) and self.app.is_channel_name(name) else None
        return Answer(error_message(fault, code=CLIENT_EVENT_CODE, channel=channel))

    def _fault(self, client: Requester, event: str, name: object, data: object) -> tuple[str, str]:
        """Return the result for metrics, and what is wrong with a client event; "" if it may be published."""
        app = self.app
        if not app.client_events:
            return "off", "client events are off for this app"
        if not event.startswith(_CLIENT_EVENT) or len(event) > MAX_EVENT_LENGTH:
            return (
                "name",
                f"the name must begin {_CLIENT_EVENT} and have at most {MAX_EVENT_LENGTH} characters",
            )
        if not isinstance(name, str) or not (is_private(name) or is_presence(name)):
            return "channel", "client events are for private and presence channels"
        if not client.is_subscribed(app.channel(name)):
            return "channel", "subscribe to the channel before you send events to it"
        if len(_text(data).encode("utf-8", "surrogatepass")) > app.max_event_bytes:
            return "size", f"the data has more than {app.max_event_bytes} bytes"
        if not self._may_send(client):
            return "rate", f"more than {app.client_event_rate:g} client events per second"
        return "ok", ""

    def _may_send(self, client: Requester) -> bool:
        """Charge one event to the client's rate."""
        state, rate, now = _state(client), self.app.client_event_rate, client.now
        if not rate:
            return True
        full_at = max(state.rate_full_at, now)
        if (full_at - now) * rate > max(rate, 1.0) - 1 + _RATE_ROUNDING:
            return False
        state.rate_full_at = full_at + 1 / rate
        return True

    def _relay(self, client: Requester, event: str, name: str, data: object) -> Command:
        channel = self.app.channel(name)
        body, form = as_published(data) if isinstance(data, str) else (data, "value")
        attributes: dict[str, object] = {"data": form}
        if channel in _state(client).member_of and is_presence(name):
            attributes["user_id"] = _state(client).member_of[channel]
        return Relay(channel, event, body, attributes)

    # --- messages out

    def reply(self, reply_: Reply, starting: StartingChannels) -> dict[str, object] | None:
        message = reply(reply_, self.app)
        if type(reply_) is Failure and message is not None and message["event"] == SUBSCRIPTION_ERROR:
            self._tallies.refused[type_of(reply_)] += 1
        return message

    def delivery(self, publication: Publication) -> dict[str, object]:
        return delivery(publication, self.app)

    def parting(self, code: int, reason: str, label: str) -> Parting:
        if label == "expired":
            reason = "the connection was not authorized in time"
        code = _CODES.get(label, code)
        is_told = code >= 4000 and label != "slow_consumer"
        return Parting(code, reason, error_message(reason, code=code) if is_told else None)


# The close code by the reason in metrics.
_CODES: Final[Mapping[str, int]] = {
    "expired": 4009,
    "terminated": 4009,
    "drain": 4100,
    "stop": 4100,
    "slow_consumer": 4100,
    "rate_limited": 4100,
    "unavailable": 4100,
    "idle": 4201,
}


class PusherDialects:
    """The dialects of all apps, by key: dialects/mount.KeyedDialect."""

    name = NAME
    default_path = "/app"

    def __init__(
        self, apps: Mapping[str, PusherApp], verify: Verify, id_scheme: IdScheme, is_protected: Callable[[str], bool]
    ) -> None:
        """`apps` are by key."""
        self.id_scheme = id_scheme
        self.tallies = Tallies()
        by_app: dict[str, Pusher] = {}
        for app in apps.values():
            refusal = None if app.is_enabled else (4003, "the app is not enabled")
            by_app.setdefault(app.id, Pusher(app, verify, id_scheme, is_protected, refusal, self.tallies))
        self._by_key = {key: by_app[app.id] for key, app in apps.items()}
        nobody = PusherApp(id="", secrets={})
        self._unknown = Pusher(nobody, verify, id_scheme, is_protected, (4001, "no app has this key"))

    def count_in(self, counters: Counters) -> None:
        """Let the metrics show the tallies of all apps."""
        counters.pusher_client_events = self.tallies.client_events
        counters.pusher_subscriptions_refused = self.tallies.refused

    def of_key(self, key: str) -> Pusher:
        return self._by_key.get(key, self._unknown)

    def has_members(self, channel: str) -> bool:
        """Whether `channel` is a presence channel of an app."""
        for dialect in self._by_key.values():
            app = dialect.app
            if channel.startswith(app.channel("presence-")):
                return True
        return False


def _state(client: Requester) -> PusherClient:
    starting = client.state
    assert isinstance(starting, StartingPusher)  # noqa: S101 what `admit` has returned
    return starting.client


def _object(data: object, name: str) -> Mapping[str, object]:
    """Return an object, or the one that a string holds. Raises BadRequest."""
    if isinstance(data, str):
        data = JSON.loads(data.encode("utf-8", "surrogatepass"))
    if not isinstance(data, dict):
        raise BadRequest(f"`{name}` must be an object, or a string that holds one")
    return data


def _fields(data: object) -> Mapping[str, object]:
    return _object(data, "data")


def _channel(fields: Mapping[str, object]) -> str:
    name = fields.get("channel")
    if not isinstance(name, str):
        raise BadRequest("`channel` must be a string")
    return name


def _text(data: object) -> str:
    return data if isinstance(data, str) else JSON.dumps(data).decode()


def _member(text: str | None, state: PusherClient) -> ChannelMember:
    """Return the member in `channel_data`, or the signed-in user without it. Raises BadRequest."""
    if text is None:
        if state.user is None:
            raise BadRequest("`channel_data` is missing, and the client has not signed in")
        return ChannelMember(state.user, state.user, state.user_data.get("user_info", {}))
    fields = _object(text, "channel_data")
    user = _user_id(fields.get("user_id"), "user_id")
    info = fields.get("user_info")
    return ChannelMember(str(user), user, {} if info is None else info)


def _user_id(value: object, name: str) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int) or not is_user_id(str(value)):
        raise BadRequest(f"`{name}` must be an integer or a string of 1 to 128 characters")
    return value


def _no_sign_in(message: str) -> Dismissed:
    return Dismissed(message, dismissal_code=4009, label="sign_in")
