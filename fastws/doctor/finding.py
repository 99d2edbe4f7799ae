"""A finding: one thing looked at, how it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "OK"
    WARN = "WARN"  # works, but not well, or not as somebody may expect
    FAIL = "FAIL"  # does not work


@dataclass(slots=True, frozen=True)
class Finding:
    """`check` names what was looked at, `state` says how it is, `remedy` what to do ("" where nothing is)."""

    check: str
    verdict: Verdict
    state: str
    remedy: str = ""


def ok(check: str, state: str) -> Finding:
    return Finding(check, Verdict.OK, state)


def warn(check: str, state: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WARN, state, remedy)


def fail(check: str, state: str, remedy: str) -> Finding:
    return Finding(check, Verdict.FAIL, state, remedy)
