"""What the doctor says of the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

from fastws.doctor.finding import Verdict
from fastws.doctor.python import _extension, check_python


def test_the_interpreter_of_these_tests_will_do() -> None:
    findings = {finding.check: finding for finding in check_python()}
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    assert "uvloop" in findings["event loop"].state


def test_an_extension_that_is_not_there_is_a_warning() -> None:
    finding = _extension("masks", "websockets.no_such_part", "slow", "install it")
    assert (finding.verdict, finding.state, finding.remedy) == (Verdict.WARN, "slow", "install it")


def test_development_mode_is_a_warning() -> None:
    program = "from fastws.doctor.python import check_python; print([f.verdict.value for f in check_python()][:2])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONDEVMODE": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "['WARN', 'WARN']"
