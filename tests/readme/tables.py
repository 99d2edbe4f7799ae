"""The README's tables that are made from the code: `python tests/readme/tables.py` writes them anew."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from fastws.bench.capacity import Costs
from fastws.config import SETTINGS
from fastws.endpoints.router import routes
from fastws.settings import is_list

README = Path(__file__).parents[2] / "README.md"


def settings_table() -> str:
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, setting in SETTINGS.items():
        default = setting.default
        if is_list(name):
            default = ", ".join(default or ())
        elif isinstance(default, bool):
            default = str(default).lower()
        shown = "" if default in (None, "") else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        meaning = str(setting.metadata["meaning"]).replace("|", "\\|")
        rows.append(f"| `{name}`{' (list)' if is_list(name) else ''} | {shown} | {meaning} |")
    return "\n".join(rows)


def costs_table() -> str:
    rows = ["| cost | measured |", "| --- | ---: |"]
    return "\n".join([*rows, *(f"| {meaning} | {amount} |" for meaning, amount in Costs().rows())])


class Handler:
    """Stands for whatever a route is given to answer with; nobody calls it here."""

    def __getattr__(self, _: str) -> Handler:
        return self

    def __call__(self) -> None:
        """A route wants something callable."""


def addresses() -> set[str]:
    """Every method and path that the server answers over plain HTTP."""
    handlers = [Handler() for _ in inspect.signature(routes).parameters]
    return {f"{method} {route.path}" for route in routes(*handlers) for method in route.methods}


def with_tables(text: str) -> str:
    """`text` with what stands between its markers made anew."""
    made = {"settings": settings_table(), "costs": costs_table()}
    for name, table in made.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)",
            lambda match, table=table: match[1] + table + match[2],
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
    sys.exit(0)
