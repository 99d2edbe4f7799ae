"""fastws init: a settings file that is valid, secret, complete, and read by all commands."""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

import pytest

from fastws.cli.flags import settings_file
from fastws.cli.init import starter
from fastws.config import SETTINGS
from fastws.settings import load
from tests.cli.conftest import Run, ServeProcess


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_file_has_all_settings_and_sets_only_new_secrets() -> None:
    text = starter()
    assert re.findall(r"^#?(\w+) = ", text, re.MULTILINE) == list(SETTINGS)
    assert set(tomllib.loads(text)) == {"jwt_secret", "broadcast_key"}
    assert len(tomllib.loads(text)["jwt_secret"]) >= 32
    assert tomllib.loads(text) != tomllib.loads(starter())


def test_the_commented_defaults_are_the_defaults(tmp_path: Path) -> None:
    lines = starter().splitlines()
    defaults = [
        line.removeprefix("#")
        for line in lines
        if (named := re.match(r"#(\w+) = ", line)) and SETTINGS[named[1]].default not in (None, ())
    ]
    assert len(defaults) > 40
    file = tmp_path / "all.toml"
    file.write_text("\n".join(defaults))
    config = load(file=file)
    assert {name for name, each in SETTINGS.items() if getattr(config, name) != each.default} == set()


def test_it_is_written_for_its_owner_alone_and_never_twice(run: Run, empty_directory: Path) -> None:
    outcome = run("init")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "fastws.toml written, with a new jwt_secret and broadcast_key. Start the server: fastws serve\n"
    )
    file = empty_directory / "fastws.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    outcome = run("init")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "fastws: fastws.toml exists; use --force to overwrite it and its secrets\n"
    assert file.read_text() == text
    file.chmod(0o644)
    assert run("init", "--force").code == 0
    assert file.read_text() != text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_file_is_named_in_the_next_command(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    assert run("init", str(path)).out.endswith(f"Start the server: fastws serve --config {path}\n")
    outcome = run("init", str(tmp_path / "missing" / "my.toml"))
    assert outcome.code == 1
    assert outcome.err == f"fastws: cannot write {tmp_path}/missing/my.toml: No such file or directory\n"


def test_the_commands_read_it_in_the_current_directory(run: Run, empty_directory: Path) -> None:
    assert run("token", "--sub", "ada").code == 2
    run("init")
    assert run("token", "--sub", "ada").code == 0
    assert run("check-config").out.endswith("  jwt_secret = (set)\n  broadcast_key = (set)\n")
    (empty_directory / "other.toml").write_text("port = 1\n")
    assert "jwt_secret" not in run("check-config", "--config", "other.toml").out


async def test_serve_names_the_file(serve_process: ServeProcess, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "my.toml"
    run("init", str(path))
    server = await serve_process("--config", str(path))
    await server.has_said("Settings: ")
    assert f"Settings: {path}; FASTWS_… variables and flags override it" in server.lines
    assert not any("temporary" in line for line in server.lines)


def test_without_a_file_there_is_none(empty_directory: Path) -> None:
    class Options:
        config = None

    assert settings_file(Options()) is None  # type: ignore[arg-type] # all that is read of them
