"""Show the documentation: a list of its pages, one page, or the lines that contain a word."""

from __future__ import annotations

import argparse
import pydoc
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from typing import Final

from fastws.errors import ConfigError

EPILOG: Final = """\
examples:
  fastws docs
  fastws docs auth
  fastws docs --search revocation

On a terminal, a page is shown in the pager ($PAGER). In a pipe it is plain Markdown.
exit codes: 0 shown, 1 no page contains the word, 2 unknown page
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="page to show; without it, the pages are listed")
    parser.add_argument("--search", metavar="WORD", help="show the lines that contain WORD, in any case")


def run(options: argparse.Namespace) -> int:
    if options.search is not None:
        return _search(options.search, options.topic)
    if options.topic is None:
        for name, text in pages():
            print(f"{name:<24} {title(text)}")
        return 0
    text = _page(options.topic)
    if sys.stdout.isatty():
        pydoc.pager(text)
    else:
        sys.stdout.write(text)
    return 0


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page, by name."""
    for file in sorted((files("fastws") / "docs").iterdir(), key=lambda file: file.name.removesuffix(".md")):
        if file.name.endswith(".md"):
            yield file.name.removesuffix(".md"), file.read_text("utf-8")


def title(text: str) -> str:
    """Return the title of a page, which is its first line."""
    return text.partition("\n")[0].lstrip("# ")


def _page(name: str) -> str:
    known = dict(pages())
    text = known.get(name)
    if text is None:
        close = get_close_matches(name, known, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"TOPIC: must be one of {', '.join(known)}, not {name!r}{meant}")
    return text


def _search(word: str, topic: str | None) -> int:
    searched = pages() if topic is None else iter([(topic, _page(topic))])
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in searched
        for number, line in enumerate(text.splitlines(), 1)
        if word.casefold() in line.casefold()
    ]
    if not found:
        print(f"fastws: no page contains {word!r}; `fastws docs` lists the pages", file=sys.stderr)
        return 1
    print("\n".join(found))
    return 0
