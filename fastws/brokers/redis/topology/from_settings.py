"""Makes the topology for `redis_url`."""

from __future__ import annotations

from fastws.brokers.redis.topology.one_server import OneServer
from fastws.brokers.redis.topology.port import MakeNode, Topology
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.redis_address import parse_address


def topology_of(config: Config, make_node: MakeNode) -> Topology:
    """Return the topology for `redis_url`, not started. Raises ConfigError if that is not set or invalid."""
    if config.redis_url is None:
        raise ConfigError("redis_url: must be set")
    return OneServer(make_node(parse_address(config.redis_url), ""))
