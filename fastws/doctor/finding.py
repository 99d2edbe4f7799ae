"""A finding: the result of one check and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "OK"
    WARN = "WARN"  # works, but badly or not as expected
    FAIL = "FAIL"  # does not work


@dataclass(slots=True, frozen=True)
class Finding:
    """`check` names the check, `state` is its result, `remedy` says what to do ("" if nothing)."""

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
