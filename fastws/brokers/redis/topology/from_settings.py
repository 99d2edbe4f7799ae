"""Makes the topology for `redis_url`."""

from __future__ import annotations

from fastws.brokers.redis.channels import RedisNames
from fastws.brokers.redis.topology.one_server import OneServer
from fastws.brokers.redis.topology.port import MakeNode, Topology
from fastws.brokers.redis.topology.sentinel import SentinelWatch
from fastws.brokers.redis.topology.server import Server
from fastws.brokers.redis.topology.several_servers import SeveralServers
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.redis_address import RedisAddress
from fastws.redis_places import ClusterAddress, SentinelAddress, identity_of, parse_places


def topology_of(config: Config, make_node: MakeNode) -> Topology:
    """Return the topology for `redis_url`, not started. Raises ConfigError if that is not set or invalid."""
    if config.redis_url is None:
        raise ConfigError("redis_url: must be set")
    places = parse_places(config.redis_url)
    if isinstance(places[0], ClusterAddress):
        return _cluster(config, places[0], make_node)
    servers = [place for place in places if not isinstance(place, ClusterAddress)]
    if len(servers) == 1:
        return OneServer(_server(servers[0], make_node, ""))
    return SeveralServers([_server(place, make_node, str(n)) for n, place in enumerate(servers)])


def _cluster(config: Config, place: ClusterAddress, make_node: MakeNode) -> Topology:
    from fastws.brokers.redis.topology.redis_cluster import RedisClusterTopology  # others do without its memory

    return RedisClusterTopology(place, RedisNames(config), make_node)


def _server(place: RedisAddress | SentinelAddress, make_node: MakeNode, word: str) -> Server:
    if isinstance(place, RedisAddress):
        return Server(identity_of(place), make_node(place, word), None)
    node = make_node(place.primary, word)
    node.title = identity_of(place)
    return Server(identity_of(place), node, SentinelWatch(place, node))
