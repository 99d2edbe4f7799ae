"""Functions of an application, named as `package.module:function`, are found in the folder the command runs in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

COMMAND = Path(sys.executable).with_name("fastws")
ACCESS = """
def may(user, action, channel, claims):
    return True
"""


@pytest.mark.parametrize("command", ["check-config", "doctor"])
def test_what_stands_in_the_current_folder_is_found(command: str, tmp_path: Path) -> None:
    (tmp_path / "access_of_ours.py").write_text(ACCESS)
    done = subprocess.run(
        [COMMAND, command, "--authorizer", "access_of_ours:may"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={},
    )
    assert "access_of_ours" not in done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_installed_comes_before_it(tmp_path: Path) -> None:
    (tmp_path / "jwt.py").write_text("raise SystemExit('the one of the current folder')")
    done = subprocess.run([COMMAND, "check-config"], cwd=tmp_path, capture_output=True, text=True, timeout=60, env={})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("setting", ["authorizer", "event_hook", "metrics_hook"])
@pytest.mark.parametrize("command", ["check-config", "doctor", "serve"])
def test_a_function_that_there_is_not_is_found_before_anything_starts(run: Run, command: str, setting: str) -> None:
    outcome = run(command, f"--{setting.replace('_', '-')}", "nowhere.to.be:found", *("--port=0",))
    assert outcome.code == (2 if command == "serve" else 1)
    assert f"{setting}: cannot import 'nowhere.to.be'" in outcome.out + outcome.err


@pytest.mark.parametrize("setting", ["authorizer", "event_hook"])
@pytest.mark.parametrize("url", ["http://", "http://[bad", "https://host:port/"])
def test_a_url_that_is_none_is_found_too(run: Run, setting: str, url: str) -> None:
    outcome = run("check-config", f"--{setting.replace('_', '-')}", url)
    assert outcome.code == 1
    reasons = ("not a valid URL: ", "the URL must have a host")
    assert outcome.err.startswith(tuple(f"fastws: {setting}: {reason}" for reason in reasons))
