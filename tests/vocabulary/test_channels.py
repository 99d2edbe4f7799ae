"""What is a channel name, and which names a pattern covers."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastws.errors import BadRequest
from fastws.vocabulary.channels import check_channel_name, compile_pattern, is_channel_name, matches


@pytest.mark.parametrize(
    "name", ["a", "admin", "logs:thread-123", "a b", ":", "::", "ü", "频道", "🎉", "a" * 255, "x/y?z#%20", "a\u200db"]
)
def test_names(name: str) -> None:
    assert is_channel_name(name)
    assert check_channel_name(name) == name


NO_NAMES = {
    "missing": None,
    "string": 5,
    "empty": "",
    "256 characters": "a" * 256,
    "white space": " a",
    "control character": "a\x00b",
}


@pytest.mark.parametrize(("words", "name"), NO_NAMES.items())
def test_what_is_no_name_is_refused_naming_the_field_and_the_reason(words: str, name: object) -> None:
    assert not is_channel_name(name)
    with pytest.raises(BadRequest) as caught:
        check_channel_name(name, field="room_id")
    assert "`room_id`" in caught.value.message
    assert words in caught.value.message


@given(name=st.text(max_size=6) | st.text(st.sampled_from("a :\x00\t\n\x7f\x85\u2028\ud800é"), max_size=6))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_a_name_is_what_the_contract_says(name: str) -> None:
    has_control = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
    expected = 0 < len(name) <= 255 and not has_control and name == name.strip()
    assert is_channel_name(name) is expected


def naive(pattern: str, name: str) -> bool:
    """`**` at the end covers one segment or more, `*` in a segment any characters of it, a lone one at least one."""
    wanted, given_ = pattern.split(":"), name.split(":")
    if wanted[-1] == "**":
        if len(given_) < len(wanted) or not ":".join(given_[len(wanted) - 1 :]):
            return False
        wanted, given_ = wanted[:-1], given_[: len(wanted) - 1]
    return len(wanted) == len(given_) and all(map(glob, wanted, given_))


def glob(pattern: str, text: str) -> bool:
    if pattern == "*":
        return text != ""
    if "*" not in pattern:
        return pattern == text
    head, _, rest = pattern.partition("*")
    return text.startswith(head) and any(glob_any(rest, text[at:]) for at in range(len(head), len(text) + 1))


def glob_any(pattern: str, text: str) -> bool:
    """As `glob`, where a lone star may stand for nothing: characters went before it."""
    return (pattern.strip("*") == "" and "*" in pattern) or glob(pattern, text)


pieces = st.text(st.sampled_from("ab*"), max_size=4)
patterns = st.lists(pieces, min_size=1, max_size=3).map(":".join)
names = st.lists(st.text(st.sampled_from("ab"), max_size=4), min_size=1, max_size=4).map(":".join)


@given(pattern=patterns, name=names)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_patterns_cover_what_the_naive_reading_does(pattern: str, name: str) -> None:
    assert matches(pattern, name) is naive(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("news", ["news"], ["new", "news:1", "NEWS"]),
        ("logs:*", ["logs:1", "logs:*"], ["logs", "logs:", "logs:1:2"]),
        ("logs:**", ["logs:1", "logs:1:2"], ["logs", "logs:"]),
        ("**", ["a", "a:b", ":"], [""]),
        ("*", ["a"], ["a:b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("team-*:x", ["team-:x", "team-1:x"], ["team-1:y", "team-1:2:x"]),
    ],
)
def test_examples(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    assert [name for name in covered if not matches(pattern, name)] == []
    assert [name for name in not_covered if matches(pattern, name)] == []


def test_a_hostile_pattern_takes_no_time() -> None:
    expression = compile_pattern("*a" * 60 + "b")
    begun = time.thread_time()
    assert expression.fullmatch("a" * 255) is None
    assert time.thread_time() - begun < 1  # a naive expression takes years
