"""The package's own calls, read from its source: for tables of what is written somewhere in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fastws

PACKAGE = Path(fastws.__file__).parent


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def calls(*names: str, rooms_without: tuple[str, ...] = ()) -> Iterator[ast.Call]:
    """The calls of methods or functions with one of these names."""
    for path, module in modules().items():
        if path.relative_to(PACKAGE).parts[0] in rooms_without:
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and _name(node.func) in names:
                yield node


def subscripts(name: str) -> Iterator[str]:
    """The constants that an attribute `name` is subscripted with: `counters.dropped["broker"]` -> broker."""
    for module in modules().values():
        for node in ast.walk(module):
            if isinstance(node, ast.Subscript) and _name(node.value) == name and isinstance(node.slice, ast.Constant):
                yield str(node.slice.value)


def argument(call: ast.Call, name: str) -> object:
    """The constant given as keyword `name`; None where there is none."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None
