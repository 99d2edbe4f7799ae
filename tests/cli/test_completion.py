"""Completion scripts: accepted by the shells themselves, and complete."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shtab

from fastws.cli import _COMMANDS
from fastws.cli.completion import SHELLS, completion_script
from fastws.config import SETTINGS
from tests.cli.conftest import Run


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
def script(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "completion"
    path.write_text(completion_script(request.param))
    return path


def completed_by_bash(script: Path, *words: str) -> list[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    # compopt, which the function calls for file names, works only while bash itself completes.
    function = "compopt() { :; }; source %s; COMP_WORDS=(%s); COMP_CWORD=%s; _shtab_fastws; echo ${COMPREPLY[@]}"
    return shell("bash", "-c", function % (script, quoted, len(words) - 1)).split()


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_flags_values_and_files(script: Path, tmp_path: Path) -> None:
    assert "_shtab_fastws fastws" in shell("bash", "-c", f"source {script}; complete -p fastws")
    assert completed_by_bash(script, "fastws", "de") == ["deploy-files"]
    assert set(completed_by_bash(script, "fastws", "serve", "--max-conn")) == {
        *("--max-connections", "--max-connections-per-user", "--max-connections-per-ip"),
    }
    assert completed_by_bash(script, "fastws", "serve", "--log-level", "w") == ["warning"]
    assert completed_by_bash(script, "fastws", "serve", "--compression", "") == ["off", "on"]
    assert completed_by_bash(script, "fastws", "serve", "--proxy-protocol", "t") == ["true"]
    assert completed_by_bash(script, "fastws", "completion", "") == list(SHELLS)
    (tmp_path / "my.toml").touch()
    assert completed_by_bash(script, "fastws", "serve", "--config", f"{tmp_path}/m") == [f"{tmp_path}/my.toml"]
    assert completed_by_bash(script, "fastws", "check-config", f"{tmp_path}/m") == [f"{tmp_path}/my.toml"]
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
def test_zsh_accepts_the_script_and_uses_it_for_fastws(script: Path) -> None:
    program = f'autoload -U compinit; compinit -D -u; eval "$(< {script})"; echo ${{_comps[fastws]}}'
    assert shell("zsh", "-f", "-c", program).strip() == "_shtab_fastws"
    assert script.read_text().startswith("#compdef fastws\n")


@pytest.mark.parametrize("script", ["tcsh"], indirect=True)
def test_tcsh_accepts_the_script_and_uses_it_for_fastws(script: Path) -> None:
    assert "--log-level" in shell("tcsh", "-f", "-c", f"source {script}; complete fastws")


@pytest.mark.parametrize("name", SHELLS)
def test_every_setting_and_every_command_is_completed(run: Run, name: str) -> None:
    outcome = run("completion", name)
    assert outcome.code == 0
    for command in _COMMANDS:
        assert command in outcome.out
    for setting in SETTINGS:
        assert setting.replace("_", "-") in outcome.out


def test_an_unknown_shell_is_one_line(run: Run) -> None:
    outcome = run("completion", "nushell")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "bash" in outcome.err


def test_the_shells_are_supported_by_the_library_which_no_other_command_loads() -> None:
    assert set(SHELLS) <= set(shtab.SUPPORTED_SHELLS)
    program = "import sys; from fastws.cli import parser; parser(); print('shtab' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
