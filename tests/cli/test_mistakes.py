"""Every mistake is one clear line on stderr, and exit code 2; and what each command says of itself."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from fastws.config import SETTINGS
from tests.cli.conftest import Outcome, Run

COMMANDS = ("serve", "token", "publish", "listen", "bench", "check-config")


def one_line(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("fastws: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "usage" not in outcome.err.lower()
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err


def test_help_names_every_command(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s", outcome.out, re.MULTILINE)


def test_no_command_at_all_prints_a_short_help(run: Run) -> None:
    outcome = run()
    assert (outcome.code, outcome.err) == (2, "")
    assert outcome.out.count("\n") <= 10
    assert "  fastws serve  " in outcome.out
    assert "`fastws --help` lists all commands" in outcome.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: fastws {command}")


def test_serve_has_a_flag_for_every_setting_with_its_meaning(run: Run) -> None:
    said = " ".join(run("serve", "--help-all").out.split())
    for name, setting in SETTINGS.items():
        assert f"--{name.replace('_', '-')} {setting.metavar}" in said
        assert setting.meaning in said


def table(name: str) -> list[tuple[list[str], str]]:
    """What is typed, and the text that answers it: pairs of lines in a file of this folder."""
    lines = [line for line in (Path(__file__).parent / name).read_text().splitlines() if line and line[0] != "#"]
    return [(shlex.split(typed.removeprefix("$ ")), text) for typed, text in zip(lines[::2], lines[1::2], strict=True)]


MISTAKES = table("mistakes.txt")


@pytest.mark.parametrize(("words", "text"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_a_mistake_is_one_line_that_says_what_was_wrong_and_what_to_do(run: Run, words: list[str], text: str) -> None:
    outcome = run(*words[1:])
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"fastws: {text}\n")


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("port = [", ("TOML",)),
        ("prot = 1", ("prot", "port")),
        ('port = "many"', ("port", "many")),
        ("port = true", ("port",)),
        ("allowed_origins = 5.5\nallow_anonymous = 3", ("allow_anonymous",)),
        ("broadcast_key = [1, [2]]", ("broadcast_key",)),
        ("host = 1", ("host",)),
        ("[mounts]\nlive = 'channels'", ("mounts", "live")),
        ("[slow_policy]\n'logs:*' = 'sometimes'", ("slow_policy", "sometimes")),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(
    run: Run, tmp_path: Path, document: str, named: tuple[str, ...]
) -> None:
    path = tmp_path / "fastws.toml"
    path.write_text(document)
    one_line(run("serve", "--config", str(path)), *named)
    outcome = run("check-config", str(path))
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert named[0] in outcome.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FASTWS_PORT", "x"), ("FASTWS_MOUNTS", "/a"), ("ENABLE_REALTIME", "perhaps"), ("FASTWS_WORKERS", "many")],
)
def test_a_mistake_in_the_environment_is_one_line_that_names_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    one_line(run("serve"), variable.removeprefix("FASTWS_").lower() if variable == "FASTWS_MOUNTS" else variable)


def test_secrets_are_not_repeated_in_errors(run: Run) -> None:
    secret = "x" * 31 + "TOPSECRET"
    for words in (
        ("serve", "--aws-credentials", secret),
        ("serve", "--redis-url", f"http://:{secret}@127.0.0.1"),
        ("serve", "--jwt-secret", secret, "--jwt-algorithms", "RS256"),
    ):
        outcome = run(*words)
        assert outcome.code == 2
        assert "TOPSECRET" not in outcome.err
