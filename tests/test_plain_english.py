"""Docstrings, log events, errors and help texts are plain English: none of them uses a turn from a list of bad ones.

The list holds turns of phrase that this project once had and that no documentation in English has. It finds the
manner, not every bad sentence: read a text aloud before you write it.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import fastws
from fastws.config import SETTINGS

PACKAGE = Path(fastws.__file__).parent

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception"})

# A turn, and what to write instead.
BANNED = {
    r"\bof (ours|theirs)\b": "our …, their …, internal",
    r"(?<!there )\b(is|are|was|were) (no(?! (longer|more))|(?-i:none))\b": "is not a …, must be …, there is no …",
    r"\b(is|are|was|were|be|been) (told|said|heard|spoken)\b": "is reported, sent, published, received, printed",
    r"\bsaid (to|in|by|of|again)\b": "sent to, published in, reported by",
    r"\btold (of|apart)\b": "informed about, distinguished",
    r"\bin (the )?words of\b": "with the fields of, in the format of",
    r"\bwho(ever)? (is|are|was|has|asks|came|comes|did|reads|leaves)\b": "clients that …, users that …",
    r"\b(whoever|somebody|everybody)\b": "anyone, all clients, all users",
    r"\bthose (who|whom|whose)\b": "clients that …",
    r"^(What|Who|Whose|Where)\b(?! (to|should)\b)": "begin with the noun or the verb",
    r"\banew\b": "again",
    r"\bdoes not hold\b": "is invalid, is not true",
    r"\bby itself\b": "automatically, on its own",
    r"\bshall\b": "must, will",
    r"\bin good order\b": "normally",
    r"\b(made|makes) up\b": "generated",
    r"\bis not there\b": "is missing, does not exist",
    r"\w+s a (second|minute|hour|line|process)\b": "per second",
    r"\b(goes|went|go) on\b": "continues",
    r"\bstands? (in|beside|against)\b": "is in, contains, prevents",
    r"\bbeside\b": "next to, in addition to",
    r"\bbelieved\b": "trusted",
    r"\bhears?\b": "receives, gets",
}

# Texts that this project once had: every turn is in one of them.
BAD = (
    "an error of ours",
    "'abc' is no whole number",
    "an address that is none",
    "what the application is told",
    "`data` cannot be said in JSON",
    "its clients are told of a gap",
    "a dict in the words of `POST /broadcast`",
    "Send away who is connected",
    "Whoever was to read it may have left",
    "for those whom a visitor waits for",
    "What a client says.",
    "the process is started anew",
    "the token does not hold",
    "it connects again by itself",
    "connections that shall not get it",
    "stopped in good order",
    "one was made up for this run",
    "a server that is not there",
    "messages a second one connection may send",
    "the old ones go on",
    "what stands in the way",
    "a new one beside the old",
    "proxies whose X-Forwarded-For is believed",
    "a rooms client hears it",
)
# Plain sentences that must pass.
GOOD = (
    "port: must be an integer from 0 to 65535, not 'abc'",
    "Return the address, or None if there is no address.",
    "The user is no longer connected.",
    "decides who may subscribe and publish",
    "so nobody can connect",
    "messages per second that one connection may send on average",
    "What to do if the check failed.",
    "a port is in use",
)


class Text(NamedTuple):
    place: str
    words: str


def texts_of(path: Path) -> Iterator[Text]:
    """The first sentence of each docstring, log events, error texts and help texts of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 1)}"
        for words in _texts_in(node):
            yield Text(where, " ".join(words.split()))


def _texts_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if docstring:
            yield re.split(r"(?<=[.!?])\s", docstring)[0]
    elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from _strings(node.exc.args)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in LOG_METHODS and _is_log(node.func.value):
            yield from _strings(node.args[:1])
        if isinstance(node.func, ast.Name) and node.func.id in ("ok", "warn", "fail"):  # findings of the doctor
            yield from _strings(node.args)
        yield from _strings([keyword.value for keyword in node.keywords if keyword.arg == "help"])


def _is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("log", "_log")


def _strings(nodes: list[ast.expr]) -> Iterator[str]:
    """The string constants among `nodes`, with {} for the fields of f-strings."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield "".join(str(part) for part in parts)


def faults(texts: Iterator[Text]) -> list[str]:
    return [
        f"{text.place}: {match[0]!r} in {text.words!r}; better: {better}"
        for text in texts
        for turn, better in BANNED.items()
        if (match := re.search(turn, text.words, re.IGNORECASE)) is not None
    ]


@pytest.mark.parametrize("turn", BANNED)
def test_every_turn_is_found_in_a_text_that_there_was(turn: str) -> None:
    assert any(re.search(turn, text, re.IGNORECASE) for text in BAD)


@pytest.mark.parametrize("text", BAD)
def test_a_bad_text_is_a_fault(text: str) -> None:
    assert faults(iter([Text("here", text)]))


@pytest.mark.parametrize("text", GOOD)
def test_a_plain_text_is_not_a_fault(text: str) -> None:
    assert faults(iter([Text("here", text)])) == []


def test_all_kinds_of_texts_are_read() -> None:
    program = """
        log.info("an event", a=1)
        raise ValueError(f"an {error} text")
        parser.add_argument("--x", help="a help text")
        ok("check", "a finding")
        def function():
            'First sentence. Second.'
    """
    tree = ast.parse(textwrap.dedent(program))
    found = [words for node in ast.walk(tree) for words in _texts_in(node)]
    assert set(found) == {"an event", "an {} text", "a help text", "check", "a finding", "First sentence."}


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_texts_are_plain_english(path: Path) -> None:
    assert faults(texts_of(path)) == []


SCRIPTS = sorted([*PACKAGE.rglob("*.js"), *PACKAGE.rglob("*.ts")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_comments_of_scripts_are_plain_english(path: Path) -> None:
    comment = re.compile(r"(?:^|\s)(?://|/\*\*|\*) (.*)")
    lines = enumerate(path.read_text().splitlines(), start=1)
    found = ((number, match[1]) for number, line in lines if (match := comment.search(line)))
    assert faults(Text(f"{path.name}:{number}", words) for number, words in found) == []


def test_meanings_of_settings_are_plain_english() -> None:
    assert faults(Text(name, setting.meaning) for name, setting in SETTINGS.items()) == []
