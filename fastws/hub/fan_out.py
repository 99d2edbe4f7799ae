"""Fan-out: frames a channel's run of publications once per audience and hands it to every member.

A hot file. `_write`, `_enqueue` and `_refuse` take six to eight parameters and run over 20 lines on purpose: an object
that carries the run, or a further function per slice, would be one more allocation or call for each audience and run
(benchmarks/test_stages.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Final

from fastws.counters import Counters
from fastws.errors import BadRequest, FastWSError, ReservedEvent
from fastws.hub.channel import Audience, Channel, Chunk
from fastws.hub.ports import Enqueued, Member, Receipt, WireForm
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Reply

# Number of members written to before the loop polls its sockets again: about 5 ms of sends.
SLICE: Final = 512

# Numbers of notices.
_notices: Final = itertools.count()

# Called with an unexpected exception from a receipt or a member.
Failed = Callable[[Exception], None]
# The frames of a run that exist already, by wire form and position.
Framed = dict[tuple[WireForm, int], bytes]
# Size of a chunk, in bytes, from which its publishers wait for blocked sockets (transport/backpressure.py).
BULK: Final = 65_536


def fan_out(channel: Channel, counters: Counters, failed: Failed) -> Iterator[int]:
    """Write the run of `channel` to its audiences, then resolve its receipts. Yields the writes since the last yield.

    Exceptions of members and receipts are passed to `failed` and do not affect others: each receipt gets exactly one
    result. Cost: one `send` call per member and run, 0.1 µs in addition to the 4 to 11 µs of the kernel.
    """
    run, receipts = channel.run, channel.receipts
    channel.run, channel.receipts, channel.run_bytes = [], None, 0
    outcome = _Outcome()
    try:
        audiences = list(channel.audiences.values())
        prepared = _frame_all(audiences, run)
        if prepared is not None:
            for audience, frames in prepared:
                writing = _write(audience, audience.members, frames, run, range(len(run)), outcome, counters, failed)
                outcome.offered += yield from writing
        else:
            framed: Framed = {}
            for audience in audiences:
                yield from _fan_out_filtered(audience, run, framed, outcome, counters, failed)
    except Exception as error:  # noqa: BLE001 reported; the other channels are still written
        failed(error)
        outcome.error = FastWSError("internal error", channel=channel.name)
    if receipts is not None:
        outcome.resolve(receipts, failed)


def write_notice(channel: Channel, reply: Reply, counters: Counters, failed: Failed) -> Iterator[int]:
    """Write `reply` to all members of `channel`, within the bounds of their queues. Yields as `fan_out` does."""
    # Under the policy `conflate` each notice has a key of its own: none replaces another.
    run = [Publication(channel.name, "", key=f"notice {next(_notices)}")]
    for audience in list(channel.audiences.values()):
        frame = audience.form.reply(reply)
        if frame is not None:
            yield from _write(audience, audience.members, [frame], run, (0,), _Outcome(), counters, failed)


def _frame_all(audiences: list[Audience], run: list[Publication]) -> list[tuple[Audience, list[bytes]]] | None:
    """Return every audience with its frames; None if members of one audience get different publications.

    That is so with filters, exclusions, and publications that a wire form cannot represent.
    """
    for publication in run:
        if publication.exclude:
            return None
    for audience in audiences:
        if audience.filter is not None:
            return None
    try:
        return [(audience, list(map(audience.form.frame, run))) for audience in audiences]
    except BadRequest:
        return None


def _write(
    audience: Audience,
    members: Collection[Member],
    frames: list[bytes],
    run: Sequence[Publication],
    positions: Sequence[int],
    outcome: _Outcome,
    counters: Counters,
    failed: Failed,
) -> Generator[int, None, int]:
    """Write `frames`, joined, to `members`. Returns the number of members; `outcome` records what they refused.

    Members whose socket is blocked get the frames into their outbox before the loop runs again: by then the client
    may have read, and the next publication would overtake these frames. Members that leave between two slices are not
    counted.
    """
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    # A copy, because members that leave between two slices change the audience.
    everyone = tuple(members)
    present = len(audience.members)
    senders = _bulk_senders(run) if len(data) >= BULK else None
    chunk = None
    offered = 0
    for start in range(0, len(everyone), SLICE):
        part: Sequence[Member] = everyone if len(everyone) <= SLICE else everyone[start : start + SLICE]
        if start and len(audience.members) != present:
            part = [member for member in part if member in audience.members]
        count = len(part)
        behind, broken = _send(part, data, failed)
        if broken:
            _refuse(frames, range(len(frames)), positions, outcome, counters, times=broken)
        if behind:
            chunk = chunk or _chunk(audience.channel, frames, data, run)
            count -= _enqueue(audience.channel, behind, chunk, positions, outcome, counters, failed)
        offered += count
        counters.deliveries += count * len(frames)
        counters.delivered_bytes += count * len(data)
        if senders:
            _apply_backpressure(part, senders, failed)
        # The last slice of a large audience counts as a whole one: the loop polls its sockets first, and what arrives
        # then is joined into the next write.
        yield len(part) if len(everyone) <= SLICE else SLICE
    return offered


def _bulk_senders(run: Sequence[Publication]) -> set[str]:
    return {publication.sender for publication in run if publication.sender is not None}


def _chunk(channel: Channel, frames: list[bytes], data: bytes, run: Sequence[Publication]) -> Chunk:
    keys = [publication.key or publication.event for publication in run]
    return Chunk(channel.name, channel.policy, frames, data, keys)


def _send(members: Sequence[Member], data: bytes, failed: Failed) -> tuple[list[Member], int]:
    """Write `data` to `members`. Returns the members whose socket is blocked, and the number whose `send` raised."""
    behind: list[Member] = []
    broken = 0
    rest = iter(members)
    while True:
        try:  # one `try` for all members; the loop continues after the member that raised
            for member in rest:
                if member.send(data):
                    behind.append(member)  # noqa: PERF401 a comprehension would lose its members when one raises
        except Exception as error:  # noqa: BLE001 reported; the other members are still written to
            failed(error)
            broken += 1
        else:
            return behind, broken


def _apply_backpressure(members: Sequence[Member], senders: set[str], failed: Failed) -> None:
    for member in members:
        try:
            member.apply_backpressure(senders)
        except Exception as error:  # noqa: BLE001 reported; the other members are not affected
            failed(error)


def _enqueue(
    channel: Channel,
    behind: list[Member],
    chunk: Chunk,
    positions: Sequence[int],
    outcome: _Outcome,
    counters: Counters,
    failed: Failed,
) -> int:
    """Queue `chunk` for the members whose socket is blocked. Returns how many of them have left."""
    everything = range(len(chunk.frames))
    gone = 0
    for member in behind:
        result = Enqueued(everything)
        try:
            result = member.enqueue(chunk)
            if result.is_slow:
                member.cut_off(channel.name)
        except Exception as error:  # noqa: BLE001 reported; the other members still get it
            failed(error)
        if result.is_gone:
            gone += 1
        elif result.refused:
            _refuse(chunk.frames, result.refused, positions, outcome, counters)
    return gone


def _refuse(
    frames: Sequence[bytes],
    refused: Sequence[int],
    positions: Sequence[int],
    outcome: _Outcome,
    counters: Counters,
    *,
    times: int = 1,
) -> None:
    """Record that `times` members did not take the frames at indexes `refused`; `positions` maps them to the run."""
    counters.deliveries -= times * len(refused)
    for place in refused:
        counters.delivered_bytes -= times * len(frames[place])
        outcome.add(positions[place], sent=-times, failed=times)


class _Outcome:
    """The result of each publication of a run.

    `offered` is the number of members that were offered the whole run, `error` what broke the whole run. `differences`
    holds what is different for a publication, by its position in the run: (sent, failed), or its error.
    """

    __slots__ = ("differences", "error", "offered")

    def __init__(self) -> None:
        self.offered = 0
        self.error: FastWSError | None = None
        self.differences: dict[int, tuple[int, int] | FastWSError] | None = None

    def add(self, position: int, *, sent: int, failed: int) -> None:
        """Add to the counts of one publication."""
        differences = self.differences
        if differences is None:
            differences = self.differences = {}
        known = differences.get(position, (0, 0))
        if isinstance(known, tuple):
            differences[position] = (known[0] + sent, known[1] + failed)

    def refuse(self, position: int, error: FastWSError) -> None:
        """Record that one publication cannot be delivered."""
        if self.differences is None:
            self.differences = {}
        self.differences[position] = error

    def resolve(self, receipts: Sequence[tuple[Receipt, int]], failed: Failed) -> None:
        """Give each receipt the result of its publication."""
        for receipt, position in receipts:
            result: tuple[int, int] | FastWSError | None = self.error
            if result is None and self.differences is not None:
                result = self.differences.get(position)
            try:
                if result is None:
                    receipt.done(self.offered, 0)
                elif isinstance(result, tuple):
                    receipt.done(self.offered + result[0], result[1])
                else:
                    receipt.refused(result)
            except Exception as raised:  # noqa: BLE001 reported; the other receipts still get their result
                failed(raised)


def _fan_out_filtered(
    audience: Audience,
    run: list[Publication],
    framed: Framed,
    outcome: _Outcome,
    counters: Counters,
    failed: Failed,
) -> Generator[int, None, None]:
    """Write a run that has filters, exclusions, or publications that a wire form cannot represent."""
    wanted = _frame_wanted(audience, run, framed, outcome, counters)
    start = 0
    while start < len(wanted):
        exclude = run[wanted[start][0]].exclude
        end = start
        while end < len(wanted) and run[wanted[end][0]].exclude == exclude:
            end += 1
        positions = [position for position, _ in wanted[start:end]]
        frames = [frame for _, frame in wanted[start:end]]
        members: Collection[Member] = audience.members
        if exclude:
            members = [member for member in members if member.id not in exclude]
        part = [run[position] for position in positions]
        offered = yield from _write(audience, members, frames, part, positions, outcome, counters, failed)
        for position in positions:
            outcome.add(position, sent=offered, failed=0)
        start = end


def _frame_wanted(
    audience: Audience, run: list[Publication], framed: Framed, outcome: _Outcome, counters: Counters
) -> list[tuple[int, bytes]]:
    """Return (position in the run, frame) of what the filter of `audience` lets through. Audiences share frames."""
    form: WireForm = audience.form
    filter_ = audience.filter
    wanted = []
    for position, publication in enumerate(run):
        if filter_ is not None and not filter_.accepts(publication):
            continue
        try:
            frame = framed.get((form, position))
            if frame is None:
                frame = framed[(form, position)] = form.frame(publication)
            wanted.append((position, frame))
        except ReservedEvent:
            counters.dropped["reserved_event"] += len(audience.members)
        except BadRequest as error:
            outcome.refuse(position, error)
            counters.dropped["unencodable"] += len(audience.members)
    return wanted
