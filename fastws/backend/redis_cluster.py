"""Publishing on a Redis Cluster: each publication goes to the owner of its slot. Imported only for redis+cluster://.

Not by redis-py's RedisCluster: that connects as soon as it is made, has no pipeline for SPUBLISH, and publishes on a
feed on any node, so that two publications might change places.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import redis
import redis.asyncio
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer

from fastws.backend.redis_connection import BACKOFF, RETRIES
from fastws.brokers.redis.wire.cluster.slots import Node, SlotMap, key_slot, parse_slots
from fastws.redis_address import RedisAddress

# The verb, the Redis channel and the payload.
Publication = tuple[str, str, bytes]
# The owner of the slot is another one now, or nobody, or does not answer.
_PASSING = (AskError, ClusterDownError, NoConnection, MovedError, NoAnswer)

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)


class _Nodes(Generic[Client]):
    """The nodes, as far as they are known, with a client for each, which tries nothing again."""

    def __init__(self, seeds: Sequence[RedisAddress], connect: Callable[[Node], Client]) -> None:
        self._seeds = [Node(seed.host, seed.port) for seed in seeds]
        self._connect: Callable[[Node], Client] = connect
        self._clients: dict[Node, Client] = {}
        # None until the owners of the slots were read, and after a node has refused one.
        self.slots: SlotMap | None = None

    def client(self, node: Node) -> Client:
        return self._clients.setdefault(node, self._clients.get(node) or self._connect(node))

    def candidates(self) -> list[Node]:
        """Return the nodes to ask for the owners of the slots."""
        return list(dict.fromkeys((*self._clients, *self._seeds)))

    def learn(self, reply: object, asked: Node) -> SlotMap:
        """Use a reply to CLUSTER SLOTS. Raises NoConnection if it names no owner of any slot."""
        try:
            slots = parse_slots(_with_bytes(reply), asked)
        except (ValueError, IndexError, TypeError) as error:
            raise NoConnection(f"{asked} does not say who owns the slots of the cluster") from error
        if not slots.primaries():
            raise NoConnection(f"{asked} knows no owner of any slot of the cluster")
        for gone in self._clients.keys() - slots.primaries():
            self._clients.pop(gone, None)  # its connections are closed with it
        return slots

    def close(self) -> list[Client]:
        """Forget all clients and return them."""
        clients, self._clients, self.slots = list(self._clients.values()), {}, None
        return clients


def _with_bytes(reply: object) -> object:
    """Undo what the option `decode_responses` does."""
    if isinstance(reply, list):
        return [_with_bytes(one) for one in reply]
    return reply.encode() if isinstance(reply, str) else reply


class _Work:
    """Publications and, as far as they are known, the replies to them."""

    def __init__(self, publications: Sequence[Publication]) -> None:
        self.publications = publications
        self._replies: list[object] = [NoConnection("nothing was sent")] * len(publications)
        self._waiting = list(range(len(publications)))
        self.failed: RedisError | None = None

    @property
    def replies(self) -> list[object]:
        return self._replies

    def by_owner(self, slots: SlotMap) -> dict[Node, list[int]]:
        """Return the places of the waiting publications by the node that owns the slot of their channel."""
        found: dict[Node, list[int]] = {}
        for place in self._waiting:
            owner = slots.owner(key_slot(self.publications[place][1].encode("utf-8", "surrogatepass")))
            if owner is None:
                self.failed = ClusterDownError("no node of the cluster owns the slot of this channel")
            else:
                found.setdefault(owner, []).append(place)
        return found

    def answered(self, places: Sequence[int], replies: Sequence[object]) -> None:
        """Note replies. Raises the first error that trying again does not help."""
        for place, reply in zip(places, replies, strict=True):
            if isinstance(reply, _PASSING):
                self.failed = reply
            elif isinstance(reply, RedisError):
                raise reply
            else:
                self._replies[place] = reply
                self._waiting.remove(place)

    @property
    def is_done(self) -> bool:
        return not self._waiting

    def error(self) -> RedisError:
        return self.failed or NoConnection("no node of the cluster answers")


class ClusterPublisher:
    """Publishes from threads. A publication that a node refuses or does not answer is tried again, with backoff."""

    def __init__(self, seeds: Sequence[RedisAddress], connect: Callable[[Node], redis.Redis]) -> None:
        self._nodes = _Nodes(seeds, connect)

    def publish_all(self, publications: Sequence[Publication]) -> list[object]:
        """Return the number of Redis clients that received each publication. Raises RedisError."""
        work = _Work(publications)
        for attempt in range(RETRIES + 1):
            try:
                self._publish(work)
            except _PASSING as error:
                work.failed = error
            if work.is_done:
                return work.replies
            self._nodes.slots = None
            if attempt < RETRIES:
                time.sleep(BACKOFF.compute(attempt + 1))
        raise work.error()

    def _publish(self, work: _Work) -> None:
        slots = self._nodes.slots = self._nodes.slots or self._read_slots()
        for node, places in work.by_owner(slots).items():
            pipeline: Any = self._nodes.client(node).pipeline(transaction=False)
            with pipeline:
                for place in places:
                    pipeline.execute_command(*work.publications[place])
                work.answered(places, pipeline.execute(raise_on_error=False))

    def _read_slots(self) -> SlotMap:
        error: RedisError = NoConnection("the cluster has no nodes")
        for node in self._nodes.candidates():
            client: Any = self._nodes.client(node)
            try:
                return self._nodes.learn(client.execute_command("CLUSTER", "SLOTS"), node)
            except (NoConnection, ResponseError, NoAnswer) as found:
                error = found
        raise error

    def check(self) -> tuple[SlotMap, dict[Node, redis.Redis]]:
        """Return the owners of the slots, and a client for each of them. Raises RedisError."""
        slots = self._read_slots()
        return slots, {node: self._nodes.client(node) for node in slots.primaries()}

    def close(self) -> None:
        for client in self._nodes.close():
            client.close()


class AsyncClusterPublisher:
    """ClusterPublisher for asyncio."""

    def __init__(self, seeds: Sequence[RedisAddress], connect: Callable[[Node], redis.asyncio.Redis]) -> None:
        self._nodes = _Nodes(seeds, connect)

    async def publish_all(self, publications: Sequence[Publication]) -> list[object]:
        """Return the number of Redis clients that received each publication. Raises RedisError."""
        work = _Work(publications)
        for attempt in range(RETRIES + 1):
            try:
                await self._publish(work)
            except _PASSING as error:
                work.failed = error
            if work.is_done:
                return work.replies
            self._nodes.slots = None
            if attempt < RETRIES:
                await asyncio.sleep(BACKOFF.compute(attempt + 1))
        raise work.error()

    async def _publish(self, work: _Work) -> None:
        slots = self._nodes.slots = self._nodes.slots or await self._read_slots()
        for node, places in work.by_owner(slots).items():
            pipeline: Any = self._nodes.client(node).pipeline(transaction=False)
            async with pipeline:
                for place in places:
                    pipeline.execute_command(*work.publications[place])
                work.answered(places, await pipeline.execute(raise_on_error=False))

    async def _read_slots(self) -> SlotMap:
        error: RedisError = NoConnection("the cluster has no nodes")
        for node in self._nodes.candidates():
            client: Any = self._nodes.client(node)
            try:
                return self._nodes.learn(await client.execute_command("CLUSTER", "SLOTS"), node)
            except (NoConnection, ResponseError, NoAnswer) as found:
                error = found
        raise error

    async def aclose(self) -> None:
        for client in self._nodes.close():
            await client.aclose()
