"""Makes the topology for `redis_url`."""

from __future__ import annotations

from fastws.brokers.redis.topology.one_server import OneServer
from fastws.brokers.redis.topology.port import MakeNode, Topology
from fastws.brokers.redis.topology.sentinel import SentinelWatch
from fastws.brokers.redis.topology.server import Server
from fastws.brokers.redis.topology.several_servers import SeveralServers
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.redis_address import RedisAddress
from fastws.redis_places import Place, identity_of, parse_places


def topology_of(config: Config, make_node: MakeNode) -> Topology:
    """Return the topology for `redis_url`, not started. Raises ConfigError if that is not set or invalid."""
    if config.redis_url is None:
        raise ConfigError("redis_url: must be set")
    places = parse_places(config.redis_url)
    if len(places) == 1:
        return OneServer(_server(places[0], make_node, ""))
    return SeveralServers([_server(place, make_node, str(n)) for n, place in enumerate(places)])


def _server(place: Place, make_node: MakeNode, word: str) -> Server:
    if isinstance(place, RedisAddress):
        return Server(identity_of(place), make_node(place, word), None)
    node = make_node(place.primary, word)
    return Server(identity_of(place), node, SentinelWatch(place, node))
