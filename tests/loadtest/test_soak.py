"""The soak from the command line: a run of seconds, and options that it refuses."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

SOAK = Path(__file__).resolve().parents[2] / "loadtest" / "soak.py"


async def _soak(*options: str) -> tuple[int | None, str]:
    """Exit code and output."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(SOAK), *options, stdout=PIPE, stderr=STDOUT)
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_soak_of_seconds_over_two_workers_ends_well() -> None:
    code, out = await _soak(
        *("--minutes", "0.08", "--workers", "2", "--seed", "7", "--listeners", "8", "--churners", "4", "--rate", "20"),
        *("--only", "listeners,churners,slow,resetters,revocations"),
    )
    assert code == 0, out
    assert out.endswith("seed 7, kinds: churners, listeners, resetters, revocations, slow\nall well\n")


async def test_kind_that_was_asked_for_and_never_tried_is_wrong() -> None:
    code, out = await _soak("--minutes", "0.02", "--only", "listeners,jittery", "--crowd", "0", "--listeners", "2")
    assert code == 1, out
    assert "WRONG: jittery was never tried" in out


async def test_disruption_without_a_period_is_left_out() -> None:
    code, out = await _soak(
        "--minutes", "0.02", "--without", "hasty,tls,revocations,jittery,flush,role", "--rights-every", "0"
    )
    assert code == 0, out
    assert "kinds: churners, listeners, resetters, slow\n" in out


async def test_unknown_kind_is_refused() -> None:
    code, out = await _soak("--without", "nonsense")
    assert code == 2
    assert "soak: unknown kind nonsense: must be one of listeners, " in out
