"""The ACL of the Redis user of fastws: the commands, keys and channels that it needs."""

from __future__ import annotations

import re
from typing import Final

from fastws.config import Config
from fastws.redis_places import is_cluster_url
from fastws.vocabulary.channels import WORKSPACE_ID

COMMANDS: Final = (
    *("ping", "role", "select", "client|setname", "client|id", "client|list", "client|kill"),
    *("publish", "subscribe", "unsubscribe"),
    *("get", "set", "del", "zadd", "zcount", "zrange", "zremrangebyscore"),
    # For `history`.
    *("info", "script|load", "evalsha", "scan", "hget", "hmget", "hset", "expire", "pexpire", "pttl"),
    *("xadd", "xrange", "xrevrange", "pubsub|numsub"),
    # For `presence`, in addition to `hset` and `expire`.
    *("hdel", "hscan", "hlen"),
)
# In a Redis Cluster, in addition.
CLUSTER_COMMANDS: Final = ("spublish", "ssubscribe", "sunsubscribe", "asking", "cluster|slots", "pubsub|shardnumsub")


def channel_patterns(config: Config) -> tuple[str, ...]:
    """ACL patterns of all Redis channels of an installation: internal ones, the jobs feed, the workspaces."""
    internal = f"{_literal(config.redis_prefix)}*"
    if config.redis_prefix_feeds:
        return (internal,)
    workspaces = "*".join(_literal(part) for part in config.workspace_channel.split(WORKSPACE_ID))
    return internal, _literal(config.jobs_channel), workspaces


def acl_rule(config: Config, user: str, *more: str) -> str:
    """Return the command that allows `user` what fastws needs. `more` are further rules such as `on`.

    A new user of Redis 6.2 may use all channels, and patterns are refused then: hence `resetchannels`.
    """
    channels = ["resetchannels", *(f"&{pattern}" for pattern in channel_patterns(config))]
    is_cluster = config.redis_url is not None and is_cluster_url(config.redis_url)
    commands = [f"+{command}" for command in (*COMMANDS, *(CLUSTER_COMMANDS if is_cluster else ()))]
    return " ".join(("ACL SETUSER", user, *more, f"~{_literal(config.redis_prefix)}*", *channels, *commands))


def channel_rule(config: Config, user: str) -> str:
    """Return the command that allows `user` the channels only."""
    return f"ACL SETUSER {user} " + " ".join(f"&{pattern}" for pattern in channel_patterns(config))


def _literal(text: str) -> str:
    """Escape the characters of `text` that are special in a pattern of Redis."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
