"""Completion scripts: understood by the shells themselves, and complete."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fastws.cli import parser
from fastws.cli.shells import SCRIPTS, Command, read_commands
from fastws.config import SETTINGS
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def commands() -> list[Command]:
    return read_commands(parser())


def shell(name: str, *words: str) -> str:
    """What a shell prints; skipped where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([path, *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def script(tmp_path: Path, commands: list[Command], request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "completion"
    path.write_text(SCRIPTS[request.param](commands))
    return path


def completed_by_bash(script: Path, *words: str) -> list[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    program = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _fastws; echo ${{COMPREPLY[@]}}"
    return shell("bash", "-c", program).split()


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_flags_values_and_files(script: Path, tmp_path: Path) -> None:
    assert completed_by_bash(script, "fastws", "de") == ["deploy-files"]
    assert completed_by_bash(script, "fastws", "serve", "--max-conn") == [
        *("--max-connections", "--max-connections-per-user", "--max-connections-per-ip"),
    ]
    assert completed_by_bash(script, "fastws", "serve", "--log-level", "w") == ["warning"]
    assert completed_by_bash(script, "fastws", "serve", "--compression", "") == ["off", "on"]
    assert completed_by_bash(script, "fastws", "completion", "") == ["bash", "fish", "zsh", "-h", "--help"]
    (tmp_path / "my.toml").touch()
    assert completed_by_bash(script, "fastws", "serve", "--config", f"{tmp_path}/m") == [f"{tmp_path}/my.toml"]
    assert completed_by_bash(script, "fastws", "serve", "--port", "") == []


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_flags_and_values(script: Path) -> None:
    def completed(line: str) -> list[str]:
        found = shell("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'")
        return [line.partition("\t")[0] for line in found.splitlines()]

    assert completed("fastws de") == ["deploy-files"]
    assert completed("fastws serve --log-fo") == ["--log-format"]
    assert set(completed("fastws serve --log-level ")) == {"debug", "info", "warning", "error"}
    assert completed("fastws completion z") == ["zsh"]


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_takes_the_script_and_offers_it_for_fastws(script: Path) -> None:
    program = f"autoload -U compinit; compinit -D -u; source {script}; echo ${{_comps[fastws]}}"
    assert shell("zsh", "-f", "-c", program).strip() == "_fastws"


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_every_setting_and_every_command_is_offered(run: Run, name: str, commands: list[Command]) -> None:
    outcome = run("completion", name)
    assert outcome.code == 0
    for command in commands:
        assert command.name in outcome.out
    for setting in SETTINGS:
        assert setting.replace("_", "-") in outcome.out


def test_an_unknown_shell_is_one_line(run: Run) -> None:
    outcome = run("completion", "tcsh")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "bash" in outcome.err
