"""What fastws needs of Redis's ACL: the commands, keys and channels that its user must be allowed."""

from __future__ import annotations

import re
from typing import Final

from fastws.config import Config
from fastws.vocabulary.channels import WORKSPACE_ID

COMMANDS: Final = (
    *("ping", "role", "select", "client|setname", "client|id", "client|list", "client|kill"),
    *("publish", "subscribe", "unsubscribe"),
    *("get", "set", "del", "zadd", "zcount", "zrange", "zremrangebyscore"),
)


def channel_patterns(config: Config) -> tuple[str, ...]:
    """The Redis channels of an installation, as patterns of an ACL: our own, the jobs feed, the workspaces."""
    workspaces = "*".join(_literal(part) for part in config.workspace_channel.split(WORKSPACE_ID))
    return f"{_literal(config.redis_prefix)}*", _literal(config.jobs_channel), workspaces


def acl_rule(config: Config, user: str, *more: str) -> str:
    """The command that lets `user` do what fastws does; `more` are rules before ours, as `on` and a password."""
    channels = [f"&{pattern}" for pattern in channel_patterns(config)]
    commands = [f"+{command}" for command in COMMANDS]
    return " ".join(("ACL SETUSER", user, *more, f"~{_literal(config.redis_prefix)}*", *channels, *commands))


def channel_rule(config: Config, user: str) -> str:
    """The command that lets `user` use the channels alone."""
    return f"ACL SETUSER {user} " + " ".join(f"&{pattern}" for pattern in channel_patterns(config))


def _literal(text: str) -> str:
    """`text` with what is special in a pattern of Redis escaped."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
