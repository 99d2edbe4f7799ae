"""The presence of one channel: its members, its figures, and the changes that its next update contains."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from bisect import bisect_right
from hashlib import blake2b
from typing import Final, NamedTuple

from fastws.vocabulary.connection_ids import NODE_ID_LENGTH
from fastws.vocabulary.presence import PresenceMember, PresenceMode, PresencePage, PresenceUpdate

# Members in one update. Above that it contains only figures.
MAX_UPDATE: Final = 100
# Bytes of the digest that stands for a user where no members may be stored; 12 characters.
_DIGEST_BYTES: Final = 9


class PresenceRule(NamedTuple):
    """The mode of a channel, and the seconds between two updates; None: no updates, 0: every loop iteration."""

    mode: PresenceMode
    update_seconds: float | None


class Entry(NamedTuple):
    """Number of `connections` of `user` (None: without a token). `member` is None where there is no member to show."""

    user: str | None
    connections: int
    member: PresenceMember | None = None


class ChannelPresence:
    """The connections in one channel, of this node and, as far as they are entered here, of others.

    The entries are those of the hash in Redis. In the mode `members`, a field is a connection id; in the mode `count`
    it is the id of a node and a digest of the user, so that no members are stored. Both begin with the id of the node.
    """

    __slots__ = (
        "_before",
        "_order",
        "_shown",
        "_told",
        "_users",
        "count",
        "entries",
        "here",
        "is_complete",
        "is_pending",
        "name",
        "rule",
    )

    def __init__(self, name: str, rule: PresenceRule, *, is_complete: bool) -> None:
        self.name = name
        self.rule = rule
        self.entries: dict[str, Entry] = {}
        self.count = 0
        # The field of each connection of this process.
        self.here: dict[str, str] = {}
        # Whether the entries of other nodes are known. Until then subscribers get no updates.
        self.is_complete = is_complete
        # Whether an update is due.
        self.is_pending = False
        # Number of entries by user.
        self._users: dict[str, int] = {}
        # The ids of all members, sorted; None after a change.
        self._order: list[str] | None = None
        # The member that subscribers know, or None, for each field that has changed since the last update.
        self._before: dict[str, PresenceMember | None] = {}
        # Members that an answer has shown since then.
        self._shown: dict[str, PresenceMember] = {}
        # The figures in the last update.
        self._told = (0, 0)

    @property
    def users(self) -> int:
        """Number of distinct users."""
        return len(self._users)

    # --- connections of this process

    def enter(self, connection_id: str, member: PresenceMember | None) -> str:
        """Add a connection of this process; `member` is None without a token. Returns the field that has changed."""
        if self.rule.mode == "members":
            field = connection_id
            self.put(field, Entry(None if member is None else member.user, 1, member))
        else:
            digest = None if member is None else digest_of(member.user)
            field = connection_id[:NODE_ID_LENGTH] + (digest or "")
            known = self.entries.get(field)
            self.put(field, Entry(digest, 1 if known is None else known.connections + 1))
        self.here[connection_id] = field
        return field

    def leave(self, connection_id: str) -> str | None:
        """Remove a connection of this process. Returns the field that has changed; None if it is not here."""
        field = self.here.pop(connection_id, None)
        if field is None:
            return None
        entry = self.entries[field]
        if entry.connections == 1:
            self.drop(field)
        else:
            self.put(field, entry._replace(connections=entry.connections - 1))
        return field

    # --- entries

    def put(self, field: str, entry: Entry, *, is_news: bool = True) -> bool:
        """Set an entry. Returns whether it has changed. Without `is_news` the next update leaves the member out."""
        known = self.entries.get(field)
        if known == entry:
            return False
        if known is not None:
            self._subtract(known)
        self.entries[field] = entry
        self.count += entry.connections
        if entry.user is not None:
            self._users[entry.user] = self._users.get(entry.user, 0) + 1
        if is_news:
            self._note(field, known)
        self._order = None
        return True

    def drop(self, field: str) -> bool:
        """Remove an entry. Returns whether there was one."""
        known = self.entries.pop(field, None)
        if known is None:
            return False
        self._subtract(known)
        self._note(field, known)
        self._order = None
        return True

    def _subtract(self, entry: Entry) -> None:
        self.count -= entry.connections
        if entry.user is not None:
            rest = self._users[entry.user] - 1
            if rest:
                self._users[entry.user] = rest
            else:
                del self._users[entry.user]

    def _note(self, field: str, known: Entry | None) -> None:
        """Remember what subscribers know of `field`, before its first change since the last update."""
        if self.rule.mode == "members" and self.rule.update_seconds is not None:
            self._before.setdefault(field, None if known is None else known.member)

    # --- what clients get

    def page(self, limit: int, cursor: str | None) -> PresencePage:
        """Return the figures and up to `limit` members with connection ids after `cursor`."""
        if self.rule.mode == "count" or not limit:
            return PresencePage(self.name, self.count, self.users)
        if self._order is None:
            self._order = sorted(field for field, entry in self.entries.items() if entry.member is not None)
        start = 0 if cursor is None else bisect_right(self._order, cursor)
        fields = self._order[start : start + limit]
        members = [member for field in fields if (member := self.entries[field].member) is not None]
        if self._before:
            self._shown.update((member.connection_id, member) for member in members)
        following = fields[-1] if start + limit < len(self._order) else None
        return PresencePage(self.name, self.count, self.users, members, following)

    def take_update(self) -> PresenceUpdate | None:
        """Return the changes since the last update; None if there are none."""
        joined, left = self.take_changes()
        figures = (self.count, self.users)
        if not joined and not left and figures == self._told:
            return None
        self._told = figures
        if self.rule.mode == "count":
            return PresenceUpdate(self.name, *figures)
        if len(joined) + len(left) > MAX_UPDATE:
            return PresenceUpdate(self.name, *figures, is_partial=True)
        return PresenceUpdate(self.name, *figures, joined, left)

    def has_user(self, user: str) -> bool:
        """Whether a connection of `user` is in the channel."""
        return user in self._users

    def take_changes(self) -> tuple[list[PresenceMember], list[PresenceMember]]:
        """Return the members that subscribers do not know yet, and those that they know and that are gone."""
        joined: list[PresenceMember] = []
        left: list[PresenceMember] = []
        before, self._before = self._before, {}
        shown, self._shown = self._shown, {}
        for field, known in before.items():
            entry = self.entries.get(field)
            member = None if entry is None else entry.member
            if member is not None and member != known:
                joined.append(member)
            elif member is None and (gone := known or shown.get(field)) is not None:
                left.append(gone)
        return joined, left

    def own_fields(self) -> set[str]:
        """The fields of this process."""
        return set(self.here.values())


def digest_of(user: str) -> str:
    """Return 12 characters that stand for `user`, the same in every process."""
    return urlsafe_b64encode(blake2b(user.encode(), digest_size=_DIGEST_BYTES).digest()).decode()
