"""The definition of a setting: type, default, range, choices, unit, meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args, get_type_hints

# A "url list" is one string, URLs separated by commas, however it was given.
Kind = Literal["single", "list", "url list", "pattern table", "path table", "app table"]
Scalar = type[bool] | type[int] | type[float] | type[str]

_NOUNS: Final[dict[Scalar, str]] = {int: "an integer", float: "a number", str: "a string"}


@dataclass(slots=True, frozen=True, kw_only=True)
class Setting:
    """Everything that flags, parser, checks and documentation need to know about one setting.

    `scalar` is the type of the value; for lists and tables, of each item, or of the part after PATTERN=. `minimum`
    and `maximum` are inclusive; None means no limit. `count` returns the value of the word `auto`.
    """

    name: str
    scalar: Scalar
    default: Any
    meaning: str
    kind: Kind
    group: str
    unit: str
    placeholder: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    is_secret: bool
    may_be_empty: bool
    count: Callable[[], int] | None

    @property
    def is_list(self) -> bool:
        return self.kind != "single"

    @property
    def expected(self) -> str:
        """A description of valid values, to follow "must be"."""
        if self.scalar is bool:
            return "true or false"
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        limits = ""
        if self.minimum is not None:
            least = _decimal(self.minimum)
            limits = f" of at least {least}" if self.maximum is None else f" from {least} to {_decimal(self.maximum)}"
        auto = "" if self.count is None else ", or auto"
        return _NOUNS[self.scalar] + limits + (f" ({self.unit})" if self.unit else "") + auto

    @property
    def metavar(self) -> str:
        """The placeholder for a value in help texts."""
        if self.scalar is bool:
            return "{true,false}"
        if self.placeholder:
            return self.placeholder
        if self.choices:
            return f"{{{','.join(self.choices)}}}"
        return self.unit.upper() or "N"

    @property
    def shown_default(self) -> str:
        """The default as it is written in a file; "" if there is no default."""
        if self.default is None:
            return ""
        if isinstance(self.default, bool):
            return str(self.default).lower()
        if isinstance(self.default, tuple):
            return ", ".join(self.default)
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def setting(
    default: Any,
    meaning: str,
    *,
    kind: Kind = "single",
    scalar: Scalar | None = None,
    group: str = "",
    unit: str = "",
    placeholder: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    may_be_empty: bool = False,
    count: Callable[[], int] | None = None,
) -> Any:
    """The field of one setting. `scalar` defaults to the annotation; a setting without `group` is in the last one."""
    definition = {
        "meaning": meaning,
        "kind": kind,
        "scalar": scalar,
        "group": group,
        "unit": unit,
        "placeholder": placeholder,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "is_secret": secret,
        "may_be_empty": may_be_empty,
        "count": count,
    }
    return field(default=default, metadata=definition)


def read_definitions(config: type) -> Iterator[Setting]:
    """The settings of a dataclass whose fields are made by `setting`, in order."""
    hints = get_type_hints(config)
    group = ""
    for each in fields(config):
        definition = dict(each.metadata)
        group = definition["group"] = definition["group"] or group
        definition["scalar"] = definition["scalar"] or _scalar(hints[each.name])
        yield Setting(name=each.name, default=each.default, **definition)


def _decimal(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


def _scalar(hint: Any) -> Scalar:
    """The type in `hint`, which may be optional or a tuple."""
    for part in get_args(hint) or (hint,):
        if part in (bool, int, float, str):
            found: Scalar = part
            return found
        if get_args(part):
            return _scalar(part)
    raise TypeError(f"a setting cannot be a {hint}")
