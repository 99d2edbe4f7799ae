"""fastws deploy-files: writes what the package brings, and nothing over somebody's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastws.cli.deploy_files import MEANINGS, content
from tests.cli.conftest import Run


def test_every_file_is_written_and_named_with_its_purpose(run: Run, tmp_path: Path) -> None:
    outcome = run("deploy-files", str(tmp_path / "deploy"))
    assert outcome.code == 0
    assert {path.name for path in (tmp_path / "deploy").iterdir()} == set(MEANINGS)
    for name, meaning in MEANINGS.items():
        assert (tmp_path / "deploy" / name).read_text() == content(name)
        assert meaning in outcome.out


def test_the_package_brings_no_file_that_is_not_listed() -> None:
    assert {path.name for path in (files("fastws") / "deploy").iterdir()} == set(MEANINGS)


def test_some_can_be_chosen(run: Run, tmp_path: Path) -> None:
    assert run("deploy-files", str(tmp_path), "nginx.conf").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["nginx.conf"]


def test_what_somebody_has_changed_is_left_alone_without_force(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "haproxy.cfg"
    mine.write_text("mine")
    outcome = run("deploy-files", str(tmp_path), "haproxy.cfg", "nginx.conf")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert mine.read_text() == "mine"
    assert (tmp_path / "nginx.conf").exists()
    assert run("deploy-files", str(tmp_path), "haproxy.cfg", "--force").code == 0
    assert mine.read_text() == content("haproxy.cfg")


def test_writing_again_what_is_the_same_is_no_conflict(run: Run, tmp_path: Path) -> None:
    assert run("deploy-files", str(tmp_path)).code == 0
    assert run("deploy-files", str(tmp_path)).code == 0


def test_mistakes_are_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for words, code in (((), 2), ((str(tmp_path), "nothing.yml"), 2), ((str(tmp_path / "file" / "x"),), 1)):
        outcome = run("deploy-files", *words)
        assert (outcome.code, outcome.err.count("\n")) == (code, 1), outcome
        assert outcome.err.startswith("fastws: ")


def test_list_writes_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("deploy-files", "--list", str(tmp_path / "x"))
    assert outcome.code == 0
    assert all(name in outcome.out for name in MEANINGS)
    assert not (tmp_path / "x").exists()
