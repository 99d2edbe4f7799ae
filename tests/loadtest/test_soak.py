"""The soak's own judgement: what it calls lost or repeated, and a run of seconds from the command line."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from loadtest.soaking.ledger import Ear, Ledger

LOADTEST = Path(__file__).resolve().parents[2] / "loadtest"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """One publisher on channel c, of which 5 messages were sent and acknowledged."""
    monkeypatch.syspath_prepend(str(LOADTEST))
    from soaking.ledger import Ledger as SoakLedger

    ledger = SoakLedger()
    ledger.enter("p", "c")
    ledger.sent["p"] = ledger.acknowledged["p"] = 5
    yield ledger
    for name in [name for name in sys.modules if name.split(".")[0] == "soaking"]:
        del sys.modules[name]


def _ear(ledger: Ledger) -> Ear:
    from soaking.ledger import Ear as SoakEar

    return SoakEar(ledger, "l", "c")


def _go_on(ledger: Ledger, last: int) -> None:
    ledger.sent["p"] = ledger.acknowledged["p"] = last


def test_everything_in_order_is_no_fault(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    for number in (6, 7, 8):
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert not ledger.faults


def test_what_was_on_its_way_when_the_confirmation_came_may_be_heard(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 6)
    for number in (4, 5, 6):
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert not ledger.faults


@pytest.mark.parametrize("heard", [(7, 8), (6, 8), (6, 7)], ids=["first", "middle", "last"])
def test_missing_number_is_lost(ledger: Ledger, heard: tuple[int, ...]) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    for number in heard:
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert dict(ledger.faults) == {"lost": 1}


def test_number_without_an_answer_may_be_missing(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    ledger.uncertain.add(("p", 7))
    for number in (6, 8):
        ear.hear("p", number)
    ledger.judge()
    assert not ledger.faults


@pytest.mark.parametrize("heard", [(6, 6), (6, 7, 6)], ids=["twice", "late"])
def test_number_that_comes_again_is_a_fault(ledger: Ledger, heard: tuple[int, ...]) -> None:
    ear = _ear(ledger)
    for number in heard:
        ear.hear("p", number)
    ledger.judge()
    assert dict(ledger.faults) == {"repeated or out of order": 1}


def test_late_number_that_nobody_acknowledged_is_no_fault(ledger: Ledger) -> None:
    ear = _ear(ledger)
    ledger.uncertain.add(("p", 6))
    for number in (7, 6):
        ear.hear("p", number)
    ledger.judge()
    assert not ledger.faults


def test_notice_excuses_what_is_missing_up_to_the_next_message_only(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 12)
    ear.excuse()
    for number in (9, 10, 12):
        ear.hear("p", number)
    ear.finish()
    ledger.judge()
    assert dict(ledger.faults) == {"lost": 1}


def test_notice_that_comes_behind_newer_messages_is_counted_and_no_fault(ledger: Ledger) -> None:
    ear = _ear(ledger)
    _go_on(ledger, 8)
    for number in (6, 8):
        ear.hear("p", number)
    ear.excuse()
    ledger.judge()
    assert not ledger.faults
    assert ledger.counts["told of after newer messages"] == 1


async def test_soak_of_seconds_over_two_workers_ends_well() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(LOADTEST / "soak.py"), "--minutes", "0.08", "--workers", "2"),
        *("--listeners", "8", "--churners", "4", "--rate", "20"),
        stdout=PIPE,
        stderr=STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert b"all well" in out
