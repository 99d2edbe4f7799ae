"""Finds out who owns the slots of a Redis Cluster, from the first node that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import hiredis

from fastws.brokers.redis.wire.cluster.slots import Node, SlotMap, parse_slots
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.handshake import Refused, dial
from fastws.brokers.redis.wire.resp import pack
from fastws.errors import BrokerUnavailable
from fastws.redis_address import RedisAddress

# Sharded pub/sub came with this version. Valkey calls itself 7.2 in this field.
OLDEST_VERSION: Final = 7


class NotUsable(Exception):
    """No node of a cluster that fastws can use has answered. `str()` says what each has answered instead."""


async def read_slots(login: RedisAddress, nodes: Iterable[Node], name: str) -> SlotMap:
    """Return the map of the first of `nodes` that has one, over a connection of its own. Raises NotUsable.

    `login` has the user, the password and the TLS context for all nodes. Replicas know the map, too.
    """
    answers = []
    for node in nodes:
        try:
            return await _ask(
                replace(login, host=node.host, port=node.port, path=None, is_cluster_node=True), node, name
            )
        except (OSError, Refused, ValueError, BrokerUnavailable, NotUsable) as error:
            answers.append(f"{node}: {str(error) or type(error).__name__}")
    raise NotUsable("; ".join(answers))


async def _ask(address: RedisAddress, node: Node, name: str) -> SlotMap:
    commander = RedisCommander(name, _nothing, _nothing)
    transport, client_id = await dial(address, name, accepts_replica=True)
    transport.set_protocol(commander)
    try:
        commander.connected(transport, client_id)
        _check_version(await _call(commander, b"INFO", b"server"))
        slots = parse_slots(_checked(await _call(commander, b"CLUSTER", b"SLOTS")), node)
    finally:
        transport.abort()
    if not slots.primaries():
        raise NotUsable("no node of the cluster owns any slot")
    return slots


async def _call(commander: RedisCommander, *words: bytes) -> object:
    """Return the reply, which may be an error of Redis. Raises BrokerUnavailable if there is none."""
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    commander.send(pack(*words), lambda reply: None if future.done() else future.set_result(reply))
    reply = await future
    if isinstance(reply, BrokerUnavailable):
        raise reply
    return reply


def _check_version(reply: object) -> None:
    """Refuse a Redis without sharded pub/sub. An ACL may forbid INFO: then SSUBSCRIBE itself will tell."""
    if not isinstance(reply, bytes):
        return
    fields = dict(line.partition(b":")[::2] for line in reply.split(b"\r\n"))
    version = fields.get(b"redis_version", b"").decode(errors="replace")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_VERSION:
        raise NotUsable(
            f"it is Redis {version}, which has no sharded pub/sub: Redis Cluster needs Redis {OLDEST_VERSION} or Valkey"
        )


def _checked(reply: object) -> object:
    if not isinstance(reply, hiredis.ReplyError):
        return reply
    if "cluster support disabled" in str(reply):
        raise NotUsable("it is not a node of a Redis Cluster: use redis:// or rediss:// for a single Redis")
    raise NotUsable(str(reply))


def _nothing(reason: str = "") -> None:
    """The commander is used for two commands only."""
