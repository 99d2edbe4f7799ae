"""The tables of the pages that are made from the code: `python tests/readme/tables.py` updates them."""

from __future__ import annotations

import inspect
import re
import sys
from itertools import groupby
from pathlib import Path

from fastws.bench.capacity import Costs
from fastws.config import SETTINGS
from fastws.endpoints.router import routes
from fastws.setting_definition import Setting

DOCS = Path(__file__).parents[2] / "fastws" / "docs"
# The pages that contain such a table.
PAGES = (DOCS / "settings.md", DOCS / "capacity.md")


def settings_table() -> str:
    """One table for each group of settings."""
    tables = []
    for group, settings in groupby(SETTINGS.values(), key=lambda setting: setting.group):
        rows = [f"**{group}**", "", "| setting | value | default | meaning |", "| --- | --- | --- | --- |"]
        for setting in settings:
            default = f"`{setting.shown_default}`" if setting.shown_default else ""
            name = f"`{setting.name}`{' (list)' if setting.is_list else ''}"
            rows.append(f"| {name} | {_value(setting)} | {default} | {setting.meaning} |")
        tables.append("\n".join(rows))
    return "\n\n".join(tables)


def _value(setting: Setting) -> str:
    """What a value looks like: its range or choices, else its placeholder."""
    if setting.kind == "single" and (setting.choices or setting.scalar is not str):
        return re.sub(r"^(an?|one of) ", "", setting.expected)
    return f"`{setting.metavar}`".replace("|", "\\|")


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
    """Return `text` with each table between its markers replaced by the current one."""
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
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
    sys.exit(0)
