"""Write a fastws.toml with all settings, commented, and with generated secrets."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import textwrap
from collections.abc import Iterator
from typing import Final

import orjson

from fastws.config import SETTINGS
from fastws.setting_definition import Setting

EPILOG: Final = """\
examples:
  fastws init
  fastws init /etc/fastws/fastws.toml

The file has mode 600, because it contains secrets. `fastws serve` reads ./fastws.toml by itself, any other file with
--config FILE; flags and FASTWS_… variables override it.
exit codes: 0 written, 1 the file exists (--force) or cannot be written
"""

FILE: Final = "fastws.toml"
_WIDTH: Final = 100

_HEAD: Final = """\
# Settings of fastws. `fastws serve` reads this file where it is ./fastws.toml, or with --config FILE.
# Flags (--port 9000) and the environment (FASTWS_PORT=9000) override it.
# A line without # is set; a line that begins with # shows the default, or the form of the value.
# `fastws check-config` checks this file, `fastws docs settings` explains it. Keep it secret.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", default=FILE, metavar="FILE", help=f"file to write [{FILE}]")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file, and with it its secrets")


def run(options: argparse.Namespace) -> int:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if options.force else os.O_EXCL)
    try:
        descriptor = os.open(options.file, flags, 0o600)
    except FileExistsError:
        print(f"fastws: {options.file} exists; use --force to overwrite it and its secrets", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fastws: cannot write {options.file}: {error.strerror}", file=sys.stderr)
        return 1
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)  # a file that existed keeps its mode otherwise
        file.write(starter())
    flag = "" if options.file == FILE else f" --config {options.file}"
    print(f"{options.file} written, with a new jwt_secret and broadcast_key. Start the server: fastws serve{flag}")
    return 0


def starter() -> str:
    """Return the text of a settings file: all settings with their meaning, and new secrets."""
    generated: dict[str, object] = {
        "jwt_secret": secrets.token_urlsafe(48),
        "broadcast_key": [secrets.token_urlsafe(24)],
    }
    return "\n".join([_HEAD, *_lines(generated)]) + "\n"


def _lines(generated: dict[str, object]) -> Iterator[str]:
    group = ""
    for setting in SETTINGS.values():
        if setting.group != group:
            group = setting.group
            yield f"\n# --- {group}\n"
        yield from textwrap.wrap(
            setting.meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        if setting.name in generated:
            yield f"{setting.name} = {_toml(generated[setting.name])}"
        else:
            yield f"#{setting.name} = {_toml(_example(setting))}"


def _example(setting: Setting) -> object:
    """Return the default, or the form of the value where there is no default."""
    if setting.default is None and setting.scalar is bool:
        return False
    if setting.default is not None and setting.default != ():
        return setting.default
    return [setting.metavar] if setting.is_list and setting.kind != "url list" else setting.metavar


def _toml(value: object) -> str:
    """Return a value of a setting in TOML, whose strings, numbers and lists are written as in JSON."""
    return orjson.dumps(value).decode()
