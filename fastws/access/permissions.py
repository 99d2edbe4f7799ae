"""Permissions to subscribe and publish, by the claims of a token and the protected channels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fastws.access.local_peers import is_anonymous_by_default
from fastws.config import Config
from fastws.pusher_settings import pusher_apps
from fastws.vocabulary.channels import WORKSPACE_ID, compile_pattern, workspace_channels
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.mailboxes import MAILBOX_PREFIX, is_mailbox
from fastws.vocabulary.pusher_apps import PREFIX, PRESENCE, PRIVATE

PROTECTED_ALWAYS: Final = ("user:**", "workspace:**")
# Protected whatever `protected_channels` says.
MAILBOXES: Final = f"{MAILBOX_PREFIX}**"
# The same for the channels of Pusher apps. In the namespace `shared`, clients of other dialects need a token for the
# channels that Pusher clients need a signature for.
PUSHER_CHANNELS: Final = f"{PREFIX}**"
_SHARED: Final = tuple(pattern for kind in (PRIVATE, PRESENCE) for pattern in (f"{kind}*", f"{kind}*:**"))
# Before a pattern in `protected_channels` that is added to the default.
ADDED: Final = "+"
# Protected only if a JWT key is configured: without one no client could have a token that allows them.
PROTECTED_WITH_KEY: Final = ("execution:**", "workflow:**")
# The placeholder for the user in patterns of tokens.
_SUB: Final = "{sub}"
# Replaces the user while a pattern is compiled, and separates user and channel in the matched text. Users and channel
# names never contain it.
_SEPARATOR: Final = "\x00"


class Permissions:
    """Spec 3.5. `allow_anonymous` (default: the setting) applies if a call does not pass `anonymous_allowed`.

    `warnings` are sentences about unsafe settings, to be printed at start-up.
    """

    def __init__(self, config: Config, key_configured: bool, *, allow_anonymous: bool | None = None) -> None:  # noqa: FBT001
        if allow_anonymous is None:
            allow_anonymous = config.allow_anonymous
        if allow_anonymous is None:
            allow_anonymous = is_anonymous_by_default(config)
        self.allow_anonymous = allow_anonymous
        self.jobs_channel = config.jobs_channel
        self.protected_channels = _protected_channels(config, key_configured=key_configured)
        self.warnings = _unprotected(self.protected_channels)
        # Cached, since the same channels come with every message.
        self._is_protected = lru_cache(maxsize=8192)(_protection(config, self.protected_channels).fullmatch)
        self._workspaces = workspace_channels(config.workspace_channel)
        self._workspace_prefix, _, self._workspace_suffix = config.workspace_channel.partition(WORKSPACE_ID)

    def may_subscribe(
        self, identity: Identity | None, channel: str, *, needs_token: bool, anonymous_allowed: bool | None = None
    ) -> bool:
        """Whether the user (None: anonymous) may subscribe to `channel`. `needs_token` is that of the dialect.

        `anonymous_allowed`: whether this peer may connect without a token; None: according to the settings.
        Cost: 0.2 µs for anonymous clients.
        """
        if identity is None:
            return self._is_open(channel, needs_token, anonymous_allowed)
        if self._is_own(identity, channel):
            return True
        # The jobs feed is open unless protected, since its clients have no claims.
        if channel == self.jobs_channel and not self.is_protected(channel):
            return True
        if identity.channels is None:
            return self._is_open(channel, needs_token, anonymous_allowed)
        # Nobody joins a mailbox but the client itself, when it connects.
        return not is_mailbox(channel) and compile_patterns(identity.channels).covers(channel, identity.user)

    def may_publish(
        self, identity: Identity | None, channel: str, *, needs_token: bool, anonymous_allowed: bool | None = None
    ) -> bool:
        """Whether the user may publish to `channel`. Arguments and cost are those of `may_subscribe`."""
        if channel == self.jobs_channel:
            return False
        if identity is None:
            # `_is_open` inlined, since this runs for each message of an anonymous client.
            if needs_token or not (self.allow_anonymous if anonymous_allowed is None else anonymous_allowed):
                return False
            return self._is_protected(channel) is None
        if self._is_own(identity, channel):
            return True
        if identity.publish is None:
            return self._is_open(channel, needs_token, anonymous_allowed)
        return compile_patterns(identity.publish).covers(channel, identity.user)

    def may_send_directly(
        self, identity: Identity | None, *, needs_token: bool, anonymous_allowed: bool | None = None
    ) -> bool:
        """Whether the user may send to single connections: whether its token allows publishing to any channel.

        Without a `publish` claim, or without a token, as where anonymous clients may publish.
        """
        if identity is not None and identity.publish is not None:
            return bool(identity.publish)
        return not needs_token and (self.allow_anonymous if anonymous_allowed is None else anonymous_allowed)

    def is_protected(self, channel: str) -> bool:
        """Whether `channel` requires a token that allows it."""
        return self._is_protected(channel) is not None

    def is_backend_only(self, channel: str) -> bool:
        """Whether no client may publish to `channel`, regardless of tokens and authorizers."""
        return channel == self.jobs_channel

    def is_workspace(self, channel: str) -> bool:
        """Whether `channel` is the channel of a workspace."""
        return self._workspaces.fullmatch(channel) is not None

    def _is_open(self, channel: str, needs_token: bool, anonymous_allowed: bool | None) -> bool:  # noqa: FBT001
        if not (self.allow_anonymous if anonymous_allowed is None else anonymous_allowed) or needs_token:
            return False
        return self._is_protected(channel) is None

    def _is_own(self, identity: Identity, channel: str) -> bool:
        """Whether `channel` is the channel of the user or of one of its workspaces."""
        if channel == f"user:{identity.user}":
            return True
        prefix, suffix = self._workspace_prefix, self._workspace_suffix
        if not identity.workspaces or not (channel.startswith(prefix) and channel.endswith(suffix)):
            return False
        return channel[len(prefix) : len(channel) - len(suffix)] in identity.workspaces


class ChannelPatterns:
    """The compiled patterns of one claim. `{sub}` in a pattern stands for the user, taken literally.

    The object does not depend on the user, so users with the same claim share it. Names without wildcards are looked
    up in a set and need no regular expression.
    """

    __slots__ = ("_exact", "_match", "_match_of_user")

    def __init__(self, patterns: Iterable[str]) -> None:
        every = frozenset(patterns)
        of_user = {pattern for pattern in every if _SUB in pattern}
        globs = {pattern for pattern in every - of_user if "*" in pattern}
        self._exact = every - of_user - globs
        self._match = any_of(globs).fullmatch if globs else None
        self._match_of_user = _any_of_user(of_user).fullmatch if of_user else None

    def covers(self, channel: str, user: str) -> bool:
        """Whether a pattern matches `channel`, with `user` in place of `{sub}`."""
        if channel in self._exact or (self._match is not None and self._match(channel) is not None):
            return True
        if self._match_of_user is None:
            return False
        return self._match_of_user(f"{user}{_SEPARATOR}{channel}") is not None


@lru_cache(maxsize=4096)
def compile_patterns(patterns: tuple[str, ...]) -> ChannelPatterns:
    """Compile the patterns of a claim. Cached."""
    return ChannelPatterns(patterns)


def any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile `patterns` to one regular expression."""
    expressions = [compile_pattern(pattern).pattern for pattern in patterns]
    return re.compile("|".join(expressions) if expressions else "(?!)", re.DOTALL)


def _any_of_user(patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile patterns with `{sub}` to match the user, the separator and the channel. `{sub}` is a back reference.

    Therefore special characters in a user's name have no effect: a user named `*` matches only `*`.
    """
    marked = any_of(pattern.replace(_SUB, _SEPARATOR) for pattern in patterns).pattern
    referring = marked.replace(_SEPARATOR, "(?P=user)")
    return re.compile(f"(?P<user>[^{_SEPARATOR}]+){_SEPARATOR}(?:{referring})", re.DOTALL)


def _protection(config: Config, patterns: Iterable[str]) -> re.Pattern[str]:
    """Compile the protected channels, and those of all workspaces unless the setting replaces the default.

    The id of a workspace may contain colons, which `*` does not match.
    """
    expression = any_of(patterns)
    if _replaces_default(config):
        return expression
    return re.compile(f"{expression.pattern}|{workspace_channels(config.workspace_channel).pattern}", re.DOTALL)


def _protected_channels(config: Config, *, key_configured: bool) -> tuple[str, ...]:
    always = (MAILBOXES, *_of_pusher_apps(config))
    if config.protected_channels is not None and _replaces_default(config):
        return (*config.protected_channels, *always)
    added = tuple(pattern.removeprefix(ADDED) for pattern in config.protected_channels or ())
    protected = (*PROTECTED_ALWAYS, *always) + (PROTECTED_WITH_KEY if key_configured else ())
    # A configured name of workspace channels is protected as well.
    workspaces = config.workspace_channel.replace(WORKSPACE_ID, "*")
    if workspaces != "workspace:*":
        prefix = config.workspace_channel.partition(WORKSPACE_ID)[0]
        protected += (workspaces, f"{prefix}**") if prefix.endswith(":") else (workspaces,)
    return protected + added


def _of_pusher_apps(config: Config) -> tuple[str, ...]:
    apps = pusher_apps(config)
    if not apps:
        return ()
    return (PUSHER_CHANNELS, *_SHARED) if any(app.is_shared for app in apps) else (PUSHER_CHANNELS,)


def _replaces_default(config: Config) -> bool:
    """Whether `protected_channels` is the whole list; a pattern with a plus sign keeps the default."""
    patterns = config.protected_channels
    return patterns is not None and not any(pattern.startswith(ADDED) for pattern in patterns)


def _unprotected(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return a warning if `patterns`, which replace the default, leave the channels of users or workspaces open."""
    match = any_of(patterns).fullmatch
    missing = [pattern for pattern in PROTECTED_ALWAYS if match(pattern.replace("**", "x")) is None]
    if not missing:
        return ()
    opened = " and ".join(missing)
    return (f"protected_channels leaves {opened} open to all clients; {ADDED}PATTERN adds to the default",)
