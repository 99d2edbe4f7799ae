"""Redis Sentinel: finds the primary of a service, and moves the node there after a failover."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from fastws.brokers.redis.node import RedisNode
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.handshake import Refused, dial
from fastws.brokers.redis.wire.link import RedisLink
from fastws.brokers.redis.wire.listener import RedisListener
from fastws.brokers.redis.wire.resp import pack
from fastws.brokers.redis.wire.timeouts import RedisTimeouts
from fastws.errors import BrokerUnavailable
from fastws.redis_address import RedisAddress
from fastws.redis_places import SentinelAddress
from fastws.throttled_log import ThrottledLog

# Interval at which each Sentinel is asked. One that does not answer in time has no vote.
ASK_SECONDS: Final = 1.0
# Interval of another look while a primary was named that could not be used.
RETRY_SECONDS: Final = 0.2
# While no primary works, an address that less than half of the Sentinels name is tried only after this time: the others
# have had time to answer.
PATIENCE_SECONDS: Final = 1.0
_TIMEOUTS: Final = RedisTimeouts(answer_seconds=0.9, stall_seconds=0.9)
_SWITCH: Final = b"+switch-master"

HostAndPort = tuple[str, int]
_log = structlog.get_logger("fastws.redis")


def candidates(
    votes: Sequence[HostAndPort | None], known: HostAndPort | None, *, needs_majority: bool
) -> list[HostAndPort]:
    """Return the addresses to try, best first, given what each Sentinel of the URL says (None: no answer).

    With `needs_majority` only what more than half of the Sentinels say counts: a single one may be wrong, or cut off.
    Otherwise those with fewer votes follow. Of two with the same number of votes, the known one comes first.
    """
    counts = Counter(vote for vote in votes if vote is not None)
    least = len(votes) // 2 + 1 if needs_majority else 1
    named = [vote for vote, count in counts.items() if count >= least]
    return sorted(named, key=lambda vote: (-counts[vote], vote != known))


class SentinelWatch:
    """Asks all Sentinels every second, and when one of them publishes a switch; moves `node` to the primary.

    An address is used only if ROLE there says that it is a primary. If no Sentinel answers, the known primary stays.
    """

    def __init__(self, address: SentinelAddress, node: RedisNode) -> None:
        self._address = address
        self._node = node
        self._known: HostAndPort | None = None
        # When the primary worked last, or was moved to.
        self._up_at: float | None = None
        self._wake = asyncio.Event()
        self._name = f"{node.name}-sentinel"
        self._sentinels = [_Sentinel(one, address.service, self._name, self._wake.set) for one in address.sentinels]
        self._task: asyncio.Task[None] | None = None
        self._failures = ThrottledLog(_log)

    def start(self) -> None:
        for sentinel in self._sentinels:
            sentinel.start()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        tasks = [] if self._task is None else [self._task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(sentinel.stop() for sentinel in self._sentinels), return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            is_settled = True
            try:
                is_settled = await self._follow()
            except Exception:  # noqa: BLE001 one failure must not end the watch
                _log.exception("bug while following redis sentinel")
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the event.
                async with asyncio.timeout(ASK_SECONDS if is_settled else RETRY_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                for sentinel in self._sentinels:
                    sentinel.ask()

    async def _follow(self) -> bool:
        """Move the node if the primary has changed. Return False if none of the addresses named can be used yet."""
        now = asyncio.get_running_loop().time()
        if self._node.is_up or self._up_at is None:
            self._up_at = now
        votes = [sentinel.primary for sentinel in self._sentinels]
        is_patient = now - self._up_at < PATIENCE_SECONDS
        named = candidates(votes, self._known, needs_majority=is_patient)
        for vote in named:
            if vote == self._known:
                return True
            address = self._address.at(*vote)
            reason = await self._why_not(address)
            if reason is None:
                _log.info("redis sentinel names a primary", service=self._address.service, address=str(address))
                self._known, self._up_at = vote, now
                self._node.move(address, f"Sentinel names {address} as the primary")
                return True
            self._failures.warning(
                "redis sentinel names an unusable primary", kind=f"{vote}", address=str(address), reason=reason
            )
        return not named and not (is_patient and any(votes))

    async def _why_not(self, address: RedisAddress) -> str | None:
        """Return None if a primary answers at `address`, else the reason why it cannot be used."""
        try:
            transport, _ = await dial(address, self._name)
        except TimeoutError:
            return "no answer"
        except (OSError, Refused, ValueError) as error:
            return str(error) or type(error).__name__
        transport.abort()
        return None


class _Sentinel:
    """One Sentinel. `primary` is what it said last, None while it does not answer; `changed` is called after a change.

    It has two connections: one for questions, and one that hears of switches.
    """

    def __init__(self, address: RedisAddress, service: str, name: str, changed: Callable[[], None]) -> None:
        self.primary: HostAndPort | None = None
        self._question = pack(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service)
        self._changed = changed
        self.commander = RedisCommander(name, self._up, self._down, _TIMEOUTS)
        self.listener = RedisListener(
            lambda _, payload: self.ask(), lambda _: self.ask(), _nothing, _nothing_to_say, _not_allowed
        )
        self.listener.want((_SWITCH,))
        self._links = (
            RedisLink(address, self.commander, "sentinel", name=name, is_leading=True),
            RedisLink(address, self.listener, "sentinel listener", name=name),
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(link.run()) for link in self._links]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The loop closes the sockets in its next iteration.
        await asyncio.sleep(0)

    def _up(self) -> None:
        self._links[1].reconnect_now()
        self.ask()

    def ask(self) -> None:
        """Send the question, if there is a connection."""
        if self.commander.is_up:
            self.commander.send(self._question, self._answered, is_bound=True)

    def _answered(self, reply: object) -> None:
        if isinstance(reply, BrokerUnavailable):
            self._say(None)
            return
        self.commander.log_refusal(b"SENTINEL", reply)
        self._say(_host_and_port(reply))

    def _down(self, reason: str) -> None:
        self.listener.give_up(reason)
        self._say(None)

    def _say(self, primary: HostAndPort | None) -> None:
        if primary != self.primary:
            self.primary = primary
            self._changed()


def _host_and_port(reply: object) -> HostAndPort | None:
    """Return the address in a reply: None for a service that this Sentinel does not know."""
    if isinstance(reply, list) and len(reply) == 2 and all(isinstance(word, bytes) for word in reply):
        host, port = (word.decode(errors="replace") for word in reply)
        if port.isascii() and port.isdigit():
            return host, int(port)
    return None


def _nothing() -> None:
    """Does nothing: the link logs the connection."""


def _nothing_to_say(reason: str) -> None:
    """Does nothing: the commander notices whether the Sentinel is gone."""


def _not_allowed(names: tuple[bytes, ...], name: bytes, reason: str) -> None:
    _log.warning("redis sentinel refuses a channel", channel=name.decode(), reason=reason)
