"""Who may subscribe to a channel and who may send to it, by a token's claims and the protected channels."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fastws.config import Config
from fastws.vocabulary.channels import compile_pattern
from fastws.vocabulary.identity import Identity

PROTECTED_ALWAYS: Final = ("user:**", "workspace:**")
# Open to whom it may concern until there is a key by which anybody could show a right to them.
PROTECTED_WITH_KEY: Final = ("execution:**", "workflow:**")
# Where a client without a token is let in at all.
OPEN_DIALECTS: Final = frozenset({"channels", "jobs"})
_WORKSPACE: Final = "{workspace_id}"
_SUB: Final = "{sub}"
# Stands for the user while a pattern is compiled: no channel name and no user has it.
_SUB_MARK: Final = "\x00"
_NOTHING: Final = re.compile(r"(?!)")


@dataclass(slots=True, frozen=True)
class Reach:
    """The channels that a token allows: its own, and those its patterns cover (None: the claim is absent)."""

    own: frozenset[str]
    channels: re.Pattern[str] | None
    publish: re.Pattern[str] | None


class Permissions:
    """Spec 3.5. `allow_anonymous` holds where a call does not say: the setting, or else loopback only."""

    def __init__(self, config: Config, key_configured: bool, *, allow_anonymous: bool | None = None) -> None:  # noqa: FBT001
        if allow_anonymous is None:
            allow_anonymous = config.allow_anonymous
        if allow_anonymous is None:
            allow_anonymous = config.unix_socket is not None or is_loopback(config.host)
        self.allow_anonymous = allow_anonymous
        self.jobs_channel = config.jobs_channel
        self.protected_channels = _protected_channels(config, key_configured=key_configured)
        # Cached: the same channels come with every message.
        self._is_protected = lru_cache(maxsize=8192)(any_of(self.protected_channels).fullmatch)
        self._workspace_channel = config.workspace_channel
        self._reach = lru_cache(maxsize=4096)(self._make_reach)

    def may_subscribe(
        self, identity: Identity | None, channel: str, *, dialect: str, anonymous: bool | None = None
    ) -> bool:
        """Whether this user (None: nobody known) may hear `channel`, over this dialect.

        `anonymous`: whether this peer would have been let in without a token; None as the settings say.
        Cost: 0.3 µs for somebody anonymous.
        """
        if identity is None:
            return self._is_open(channel, dialect, anonymous)
        reach = self._reach_of(identity)
        if channel in reach.own:
            return True
        # Listening to the feed of jobs is open: its clients have no claims.
        if channel == self.jobs_channel and not self.is_protected(channel):
            return True
        if reach.channels is None:
            return self._is_open(channel, dialect, anonymous)
        return reach.channels.fullmatch(channel) is not None

    def may_publish(
        self, identity: Identity | None, channel: str, *, dialect: str, anonymous: bool | None = None
    ) -> bool:
        """Whether this user may send to `channel`, over this dialect. Arguments and cost as above."""
        if channel == self.jobs_channel:
            return False
        if identity is None:
            # As `_is_open`, here without the call: it is made for every message that somebody anonymous sends.
            if dialect not in OPEN_DIALECTS or not (self.allow_anonymous if anonymous is None else anonymous):
                return False
            return self._is_protected(channel) is None
        reach = self._reach_of(identity)
        if channel in reach.own:
            return True
        if reach.publish is None:
            return self._is_open(channel, dialect, anonymous)
        return reach.publish.fullmatch(channel) is not None

    def is_protected(self, channel: str) -> bool:
        """Whether nobody is let near `channel` without a token that allows it."""
        return self._is_protected(channel) is not None

    def is_backend_only(self, channel: str) -> bool:
        """Whether no client may send to `channel`, whatever a token or an authorizer says."""
        return channel == self.jobs_channel

    def _is_open(self, channel: str, dialect: str, anonymous: bool | None) -> bool:  # noqa: FBT001
        if not (self.allow_anonymous if anonymous is None else anonymous) or dialect not in OPEN_DIALECTS:
            return False
        return self._is_protected(channel) is None

    def _reach_of(self, identity: Identity) -> Reach:
        return self._reach(identity.user, identity.workspaces, identity.channels, identity.publish)

    def _make_reach(
        self,
        user: str,
        workspaces: frozenset[str],
        channels: tuple[str, ...] | None,
        publish: tuple[str, ...] | None,
    ) -> Reach:
        own = {self._workspace_channel.replace(_WORKSPACE, workspace) for workspace in workspaces}
        return Reach(
            frozenset({f"user:{user}", *own}),
            None if channels is None else any_of(channels, user=user),
            None if publish is None else any_of(publish, user=user),
        )


def any_of(patterns: Iterable[str], *, user: str | None = None) -> re.Pattern[str]:
    """One expression for all names that `patterns` cover; `{sub}` in them is `user`, letter by letter.

    A user named `*` is a user named `*`: nothing in the name works as a pattern.
    """
    expressions = []
    for pattern in patterns:
        if user is None:
            expressions.append(compile_pattern(pattern).pattern)
        else:
            marked = compile_pattern(pattern.replace(_SUB, _SUB_MARK)).pattern
            expressions.append(marked.replace(_SUB_MARK, re.escape(user)))
    return re.compile("|".join(expressions), re.DOTALL) if expressions else _NOTHING


def is_loopback(host: str) -> bool:
    """Whether `host` is reached from this machine only. No name but localhost is known to be."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _protected_channels(config: Config, *, key_configured: bool) -> tuple[str, ...]:
    if config.protected_channels is not None:
        return config.protected_channels
    protected = PROTECTED_ALWAYS + (PROTECTED_WITH_KEY if key_configured else ())
    # Workspaces that go by another name are just as private.
    workspaces = config.workspace_channel.replace(_WORKSPACE, "*")
    if workspaces != "workspace:*":
        prefix = config.workspace_channel.partition(_WORKSPACE)[0]
        protected += (workspaces, f"{prefix}**") if prefix.endswith(":") else (workspaces,)
    return protected
