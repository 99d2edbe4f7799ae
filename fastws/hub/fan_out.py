"""Fan-out: one channel's run of publications, framed once per audience and handed to every member."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Final

from fastws.counters import Counters
from fastws.errors import BadRequest, FastWSError
from fastws.hub.channel import Audience, Channel, Chunk
from fastws.hub.ports import Held, Member, Receipt, WireForm
from fastws.vocabulary.publication import Publication

# Members written to before the loop may look at its sockets again: some 5 ms of sends.
SLICE: Final = 512

# Told of an error of ours: a receipt or member that raises.
Failed = Callable[[Exception], None]
# The frames of a run that were made, by wire form and position.
Framed = dict[tuple[WireForm, int], bytes]
# Bytes of one chunk from which its publishers wait for sockets that did not take it (transport/backpressure.py).
BULK: Final = 65_536


def fan_out(channel: Channel, counters: Counters, failed: Failed) -> Iterator[int]:
    """Write `channel`'s run to its audiences and settle its receipts; yields the writes made since the last yield.

    Whatever raises is handed to `failed`, and touches nobody else: each receipt hears once how it ended.
    Cost: one `send` call a member and run, 0.1 µs beside the kernel's 4 to 11 µs.
    """
    run, receipts = channel.run, channel.receipts
    channel.run, channel.receipts, channel.run_bytes = [], None, 0
    outcome = _Outcome(len(run))
    try:
        yield from _fan_out(channel, run, outcome, counters, failed)
    except Exception as error:  # noqa: BLE001 handed on; one channel's error must not silence the others
        failed(error)
        outcome.fail(FastWSError("internal error", channel=channel.name))
    if receipts is not None:
        outcome.resolve(receipts, failed)


def _fan_out(
    channel: Channel, run: list[Publication], outcome: _Outcome, counters: Counters, failed: Failed
) -> Generator[int, None, None]:
    audiences = list(channel.audiences.values())
    prepared = None
    if not any(publication.exclude for publication in run) and not any(a.filter is not None for a in audiences):
        prepared = _frame_all(audiences, run)
    if prepared is not None:
        for audience, frames in prepared:
            writing = _write(audience, audience.members, frames, run, range(len(run)), outcome, counters, failed)
            outcome.offered += yield from writing
        return
    framed: Framed = {}
    for audience in audiences:
        yield from _fan_out_apart(audience, run, framed, outcome, counters, failed)


def _frame_all(audiences: list[Audience], run: list[Publication]) -> list[tuple[Audience, list[bytes]]] | None:
    """Every audience with its frames; None where a form cannot say one of the publications."""
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
    """Hand `frames`, joined, to `members`. Returns how many they were; `outcome` has what they refused.

    Whoever cannot take them is given them to hold before the loop runs again: by then it may have read, and what is
    published next would overtake them. Members who leave between two slices are not counted at all.
    """
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    # A copy, because whoever leaves between two slices changes the audience.
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
            count -= _hold(audience.channel, behind, chunk, positions, outcome, counters, failed)
        offered += count
        counters.deliveries += count * len(frames)
        counters.delivered_bytes += count * len(data)
        if senders:
            _slow_down(part, senders, failed)
        yield len(part)
    return offered


def _bulk_senders(run: Sequence[Publication]) -> set[str]:
    return {publication.sender for publication in run if publication.sender is not None}


def _chunk(channel: Channel, frames: list[bytes], data: bytes, run: Sequence[Publication]) -> Chunk:
    keys = [publication.key or publication.event for publication in run]
    return Chunk(channel.name, channel.policy, frames, data, keys)


def _send(members: Sequence[Member], data: bytes, failed: Failed) -> tuple[list[Member], int]:
    """Write `data` to `members`. Returns those who are to hold it, and how many could not be written to at all."""
    behind: list[Member] = []
    broken = 0
    rest = iter(members)
    while True:
        try:  # one for all, which goes on behind the member that raised
            for member in rest:
                if member.send(data):
                    behind.append(member)  # noqa: PERF401 what was found before one raised must not be lost
        except Exception as error:  # noqa: BLE001 handed on; one member's error must not silence the others
            failed(error)
            broken += 1
        else:
            return behind, broken


def _slow_down(members: Sequence[Member], senders: set[str], failed: Failed) -> None:
    for member in members:
        try:
            member.apply_backpressure(senders)
        except Exception as error:  # noqa: BLE001 handed on; the others are written to all the same
            failed(error)


def _hold(
    channel: Channel,
    behind: list[Member],
    chunk: Chunk,
    positions: Sequence[int],
    outcome: _Outcome,
    counters: Counters,
    failed: Failed,
) -> int:
    """Leave `chunk` with those who have not read what came before. Returns how many of them are gone."""
    everything = range(len(chunk.frames))
    gone = 0
    for member in behind:
        held = Held(everything)
        try:
            held = member.enqueue(chunk)
            if held.is_slow:
                member.cut_off(channel.name)
        except Exception as error:  # noqa: BLE001 handed on; one member's error must not silence the others
            failed(error)
        if held.is_gone:
            gone += 1
        elif held.refused:
            _refuse(chunk.frames, held.refused, positions, outcome, counters)
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
    """Some of `frames`, those of the publications at `positions`, were not taken by somebody they were offered to."""
    counters.deliveries -= times * len(refused)
    for place in refused:
        counters.delivered_bytes -= times * len(frames[place])
        outcome.sent[positions[place]] -= times
        outcome.failed[positions[place]] += times


class _Outcome:
    """How each publication of a run ended: `offered` members were given all of them; what differs is by position."""

    __slots__ = ("errors", "failed", "offered", "sent")

    def __init__(self, count: int) -> None:
        self.offered = 0
        self.sent = [0] * count
        self.failed = [0] * count
        self.errors: dict[int, FastWSError] = {}

    def fail(self, error: FastWSError) -> None:
        """None of them was published as it should be."""
        self.errors = dict.fromkeys(range(len(self.sent)), error)

    def resolve(self, receipts: Sequence[tuple[Receipt, int]], failed: Failed) -> None:
        for receipt, position in receipts:
            error = self.errors.get(position)
            try:
                if error is not None:
                    receipt.refused(error)
                else:
                    receipt.done(self.offered + self.sent[position], self.failed[position])
            except Exception as raised:  # noqa: BLE001 handed on; the other receipts are after_flush all the same
                failed(raised)


def _fan_out_apart(
    audience: Audience,
    run: list[Publication],
    framed: Framed,
    outcome: _Outcome,
    counters: Counters,
    failed: Failed,
) -> Generator[int, None, None]:
    """The same for a run with filters, exclusions, or publications that this wire form cannot say."""
    wanted = _wanted(audience, run, framed, outcome, counters)
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
        said = [run[position] for position in positions]
        offered = yield from _write(audience, members, frames, said, positions, outcome, counters, failed)
        for position in positions:
            outcome.sent[position] += offered
        start = end


def _wanted(
    audience: Audience, run: list[Publication], framed: Framed, outcome: _Outcome, counters: Counters
) -> list[tuple[int, bytes]]:
    """What this audience is to hear, by position in the run; framed once, whatever filters the readers have."""
    form: WireForm = audience.form
    heard = audience.filter
    wanted = []
    for position, publication in enumerate(run):
        if heard is not None and not heard.accepts(publication):
            continue
        try:
            frame = framed.get((form, position))
            if frame is None:
                frame = framed[(form, position)] = form.frame(publication)
            wanted.append((position, frame))
        except BadRequest as error:
            outcome.errors[position] = error
            counters.dropped["unencodable"] += len(audience.members)
    return wanted
