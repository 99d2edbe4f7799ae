"""fastws docs: the pages that the package brings, one of them, and the lines with a word."""

from __future__ import annotations

import argparse
import io

import pytest

from fastws.cli import docs
from fastws.cli.docs import pages
from tests.cli.conftest import Run
from tests.readme.reading import PAGES


def test_every_page_is_in_the_package_and_listed_with_its_title(run: Run) -> None:
    assert dict(pages()) == PAGES
    outcome = run("docs")
    assert outcome.code == 0
    assert [line.split(maxsplit=1)[0] for line in outcome.out.splitlines()] == sorted(PAGES)
    assert "auth                     Tokens and access\n" in outcome.out


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_is_printed_as_it_is(run: Run, name: str) -> None:
    assert run("docs", name).out == PAGES[name]


def test_on_a_terminal_a_page_is_shown_in_the_pager(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown: list[str] = []
    monkeypatch.setattr("pydoc.pager", shown.append)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert docs.run(argparse.Namespace(search=None, topic="auth")) == 0
    assert shown == [PAGES["auth"]]


def test_an_unknown_page_is_an_error_with_the_pages_that_there_are(run: Run) -> None:
    outcome = run("docs", "auht")
    assert outcome.code == 2
    assert outcome.err.startswith("fastws: TOPIC: must be one of auth, aws, ")
    assert outcome.err.endswith("not 'auht' (did you mean auth?)\n")


def test_a_word_is_found_in_all_pages_or_in_one(run: Run) -> None:
    outcome = run("docs", "--search", "REVOCATION")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert all("revocation" in line.lower() for line in lines)
    assert len({line.partition(":")[0] for line in lines}) > 1
    only = run("docs", "auth", "--search", "revocation").out.splitlines()
    assert only
    assert set(only) == {line for line in lines if line.startswith("auth:")}


def test_a_word_that_is_on_no_page_is_told_in_one_line(run: Run) -> None:
    outcome = run("docs", "--search", "xyzzy")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "fastws: no page contains 'xyzzy'; `fastws docs` lists the pages\n"
