"""The changelog is in the package, linked from the README, and begins with the current or the coming version."""

from __future__ import annotations

import re
from importlib.resources import files

import fastws
from tests.readme.reading import README

CHANGELOG = (files("fastws") / "docs" / "changelog.md").read_text()


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_readme_links_to_it() -> None:
    assert "(fastws/docs/changelog.md)" in README


def test_it_begins_with_the_current_or_the_coming_version() -> None:
    versions = re.findall(r"(?m)^## (\d+\.\d+\.\d+)", CHANGELOG)
    assert version_of(versions[0]) >= version_of(fastws.__version__)
    assert versions == sorted(versions, key=version_of, reverse=True)


def test_its_headings_are_changed_added_and_fixed() -> None:
    assert set(re.findall(r"(?m)^### (.*)$", CHANGELOG)) <= {"Changed", "Added", "Fixed"}
