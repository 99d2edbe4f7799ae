"""Definitions of settings: read from annotations, and described for people."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fastws.config import SETTINGS
from fastws.setting_definition import read_definitions, setting


@dataclass
class Sample:
    first: int = setting(1, "a number", group="One", minimum=1, maximum=1 << 30, unit="bytes")
    second: float | None = setting(None, "may be absent")
    third: tuple[str, ...] | None = setting(None, "a list", group="Two", kind="list", placeholder="WORD")
    fourth: tuple[str, ...] = setting(("0",), "a table", kind="pattern table", scalar=float, minimum=0.5)
    fifth: bool | None = setting(None, "yes or no")
    sixth: str = setting("a", "one of two", choices=("a", "b"))


DEFINITIONS = {definition.name: definition for definition in read_definitions(Sample)}


def test_types_and_kinds_come_from_the_annotations() -> None:
    assert {name: each.scalar for name, each in DEFINITIONS.items()} == {
        "first": int,
        "second": float,
        "third": str,
        "fourth": float,
        "fifth": bool,
        "sixth": str,
    }
    assert [name for name, each in DEFINITIONS.items() if each.is_list] == ["third", "fourth"]


def test_a_setting_without_a_group_is_in_the_group_before_it() -> None:
    assert [each.group for each in DEFINITIONS.values()] == ["One", "One", "Two", "Two", "Two", "Two"]


def test_expectations_have_range_unit_and_choices() -> None:
    assert [each.expected for each in DEFINITIONS.values()] == [
        "an integer from 1 to 1073741824 (bytes)",
        "a number",
        "a string",
        "a number of at least 0.5",
        "true or false",
        "one of a, b",
    ]


def test_a_metavar_is_the_placeholder_the_choices_or_the_unit() -> None:
    assert [each.metavar for each in DEFINITIONS.values()] == ["BYTES", "N", "WORD", "N", "{true,false}", "{a,b}"]


def test_a_field_of_another_type_is_an_error() -> None:
    @dataclass
    class Wrong:
        first: bytes = setting(b"", "no such type")

    with pytest.raises(TypeError, match="cannot be a <class 'bytes'>"):
        list(read_definitions(Wrong))


def test_every_default_is_within_its_own_range() -> None:
    for definition in SETTINGS.values():
        if isinstance(definition.default, int | float) and definition.minimum is not None:
            assert definition.minimum <= definition.default <= (definition.maximum or definition.default)
        if definition.kind == "single" and definition.choices:
            assert definition.default in definition.choices
