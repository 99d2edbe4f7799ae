"""The pages of the documentation: none too long, every link leads somewhere, every page can be found."""

from __future__ import annotations

import re

import pytest

from tests.readme.reading import DOCS, PAGES, README, ROOT, _headings
from tests.test_plain_english import Text, faults

MAX_LINES = 300
MAX_README_LINES = 250
# Its length is that of the history of the project.
UNLIMITED = {"changelog"}


def anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    lines = text.splitlines()
    headings = [lines[i].lstrip("# ").lower() for i, _ in _headings(lines)]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("name", sorted(set(PAGES) - UNLIMITED))
def test_a_page_is_short_and_begins_with_its_only_title(name: str) -> None:
    lines = PAGES[name].splitlines()
    assert len(lines) <= MAX_LINES
    assert [i for i, rank in _headings(lines) if rank == 1] == [0]


@pytest.mark.parametrize("name", ["README", *PAGES])
def test_every_link_leads_somewhere(name: str) -> None:
    path = ROOT / "README.md" if name == "README" else DOCS / f"{name}.md"
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?s)```.*?```", "", text)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        assert other.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(other.read_text()), f"{name}: {target}"


def test_the_readme_lists_every_page() -> None:
    listed = re.findall(r"\]\(fastws/docs/([\w-]+)\.md\)", README)
    assert set(listed) == set(PAGES)


@pytest.mark.parametrize("name", ["README", *sorted(set(PAGES) - UNLIMITED)])
def test_a_page_is_in_plain_english(name: str) -> None:
    prose = re.sub(r"(?s)```.*?```", "", README if name == "README" else PAGES[name])
    assert faults(Text(line[:40], line) for line in prose.splitlines() if line) == []
