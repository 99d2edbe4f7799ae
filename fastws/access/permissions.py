"""Who may subscribe to a channel and who may send to it, by a token's claims and the protected channels."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fastws.config import Config
from fastws.vocabulary.channels import WORKSPACE_ID, compile_pattern, workspace_channels
from fastws.vocabulary.identity import Identity

PROTECTED_ALWAYS: Final = ("user:**", "workspace:**")
# Open to whom it may concern until there is a key by which anybody could show a right to them.
PROTECTED_WITH_KEY: Final = ("execution:**", "workflow:**")
# Where a client without a token is let in at all.
OPEN_DIALECTS: Final = frozenset({"channels", "jobs"})
_SUB: Final = "{sub}"
# Stands for the user while a pattern is compiled, and parts user and channel where they are matched: no channel
# name and no user has it.
_SEPARATOR: Final = "\x00"


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
        self._is_protected = lru_cache(maxsize=8192)(_protection(config, self.protected_channels).fullmatch)
        self._workspaces = workspace_channels(config.workspace_channel)
        self._workspace_prefix, _, self._workspace_suffix = config.workspace_channel.partition(WORKSPACE_ID)

    def may_subscribe(
        self, identity: Identity | None, channel: str, *, dialect: str, anonymous_allowed: bool | None = None
    ) -> bool:
        """Whether this user (None: nobody known) may hear `channel`, over this dialect.

        `anonymous_allowed`: whether this peer would have been let in without a token; None as the settings say.
        Cost: 0.2 µs for somebody anonymous.
        """
        if identity is None:
            return self._is_open(channel, dialect, anonymous_allowed)
        if self._is_own(identity, channel):
            return True
        # Listening to the feed of jobs is open: its clients have no claims.
        if channel == self.jobs_channel and not self.is_protected(channel):
            return True
        if identity.channels is None:
            return self._is_open(channel, dialect, anonymous_allowed)
        return compile_patterns(identity.channels).covers(channel, identity.user)

    def may_publish(
        self, identity: Identity | None, channel: str, *, dialect: str, anonymous_allowed: bool | None = None
    ) -> bool:
        """Whether this user may send to `channel`, over this dialect. Arguments and cost as above."""
        if channel == self.jobs_channel:
            return False
        if identity is None:
            # As `_is_open`, here without the call: it is made for every message that somebody anonymous sends.
            if dialect not in OPEN_DIALECTS or not (
                self.allow_anonymous if anonymous_allowed is None else anonymous_allowed
            ):
                return False
            return self._is_protected(channel) is None
        if self._is_own(identity, channel):
            return True
        if identity.publish is None:
            return self._is_open(channel, dialect, anonymous_allowed)
        return compile_patterns(identity.publish).covers(channel, identity.user)

    def is_protected(self, channel: str) -> bool:
        """Whether nobody is let near `channel` without a token that allows it."""
        return self._is_protected(channel) is not None

    def is_backend_only(self, channel: str) -> bool:
        """Whether no client may send to `channel`, whatever a token or an authorizer says."""
        return channel == self.jobs_channel

    def is_workspace(self, channel: str) -> bool:
        """Whether `channel` is that of a workspace, of any."""
        return self._workspaces.fullmatch(channel) is not None

    def _is_open(self, channel: str, dialect: str, anonymous_allowed: bool | None) -> bool:  # noqa: FBT001
        if (
            not (self.allow_anonymous if anonymous_allowed is None else anonymous_allowed)
            or dialect not in OPEN_DIALECTS
        ):
            return False
        return self._is_protected(channel) is None

    def _is_own(self, identity: Identity, channel: str) -> bool:
        """Whether `channel` is the user's own or that of one of its workspaces."""
        if channel == f"user:{identity.user}":
            return True
        prefix, suffix = self._workspace_prefix, self._workspace_suffix
        if not identity.workspaces or not (channel.startswith(prefix) and channel.endswith(suffix)):
            return False
        return channel[len(prefix) : len(channel) - len(suffix)] in identity.workspaces


class ChannelPatterns:
    """The channels that the patterns of one claim cover; `{sub}` in them is the user, letter by letter.

    Nothing here is of one user, so many users with one claim share it; ids listed one by one compile nothing.
    """

    __slots__ = ("_exact", "_match", "_match_of_user")

    def __init__(self, patterns: Iterable[str]) -> None:
        said = frozenset(patterns)
        of_user = {pattern for pattern in said if _SUB in pattern}
        globs = {pattern for pattern in said - of_user if "*" in pattern}
        self._exact = said - of_user - globs
        self._match = any_of(globs).fullmatch if globs else None
        self._match_of_user = _any_of_user(of_user).fullmatch if of_user else None

    def covers(self, channel: str, user: str) -> bool:
        if channel in self._exact or (self._match is not None and self._match(channel) is not None):
            return True
        if self._match_of_user is None:
            return False
        return self._match_of_user(f"{user}{_SEPARATOR}{channel}") is not None


@lru_cache(maxsize=4096)
def compile_patterns(patterns: tuple[str, ...]) -> ChannelPatterns:
    return ChannelPatterns(patterns)


def any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for all names that `patterns` cover."""
    expressions = [compile_pattern(pattern).pattern for pattern in patterns]
    return re.compile("|".join(expressions) if expressions else "(?!)", re.DOTALL)


def _any_of_user(patterns: Iterable[str]) -> re.Pattern[str]:
    """As `any_of`, for the user's name, a mark and the channel: the name is referred back to where `{sub}` stands.

    So nothing in it works as a pattern: a user named `*` is a user named `*`.
    """
    marked = any_of(pattern.replace(_SUB, _SEPARATOR) for pattern in patterns).pattern
    referring = marked.replace(_SEPARATOR, "(?P=user)")
    return re.compile(f"(?P<user>[^{_SEPARATOR}]+){_SEPARATOR}(?:{referring})", re.DOTALL)


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether `host` is reached from this machine only. No name but localhost is known to be."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def _protection(config: Config, patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for all channels that `patterns` cover; and, unless they were configured, for every workspace's.

    A workspace's id may have colons in it, so what `*` covers is not enough.
    """
    expression = any_of(patterns)
    if config.protected_channels is not None:
        return expression
    return re.compile(f"{expression.pattern}|{workspace_channels(config.workspace_channel).pattern}", re.DOTALL)


def _protected_channels(config: Config, *, key_configured: bool) -> tuple[str, ...]:
    if config.protected_channels is not None:
        return config.protected_channels
    protected = PROTECTED_ALWAYS + (PROTECTED_WITH_KEY if key_configured else ())
    # Workspaces that go by another name are just as private.
    workspaces = config.workspace_channel.replace(WORKSPACE_ID, "*")
    if workspaces != "workspace:*":
        prefix = config.workspace_channel.partition(WORKSPACE_ID)[0]
        protected += (workspaces, f"{prefix}**") if prefix.endswith(":") else (workspaces,)
    return protected
