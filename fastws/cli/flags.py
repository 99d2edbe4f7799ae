"""The flags of every setting, made from its one definition."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import Any

from fastws.config import SETTINGS, Config
from fastws.settings import is_list, load


def add_setting_flags(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """A flag for each setting (default: all of them), and --config."""
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    group = parser.add_argument_group("settings (flag over FASTWS_… in the environment over the file)")
    for name in names if names is not None else SETTINGS:
        setting = SETTINGS[name]
        meaning = setting.metadata["meaning"].replace("%", "%%")
        default: Any = setting.default
        shown = "" if default in (None, (), "") else f" [{', '.join(default) if is_list(name) else default}]"
        if is_list(name):
            group.add_argument(
                _flag(name), dest=name, action="append", metavar="X", help=f"{meaning}; repeatable{shown}"
            )
        else:
            group.add_argument(_flag(name), dest=name, metavar="X", help=f"{meaning}{shown}")
    if names is None:
        group.add_argument("--mount", dest="mounts", action="append", metavar="PATH=DIALECT", help="as --mounts")


def see_modules_here() -> None:
    """Let `package.module:function` name what stands in the current folder too, after all that is installed."""
    if "" not in sys.path:
        sys.path.append("")


def config_from(options: argparse.Namespace) -> Config:
    """The Config of flags, environment and file. Raises ConfigError."""
    given = vars(options)
    flags = {name: given[name] for name in SETTINGS if given.get(name) is not None}
    return load(flags, os.environ, options.config)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
