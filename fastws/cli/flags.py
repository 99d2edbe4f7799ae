"""A flag for every setting, made from its definition."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping

from fastws.config import SETTINGS, Config
from fastws.setting_definition import Setting
from fastws.settings import load


def add_setting_flags(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """Add a flag for each setting in `names` (default: all settings, in groups), and --config."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    if names is not None:
        group = parser.add_argument_group("settings (also FASTWS_… in the environment, or in the TOML file)")
        for name in names:
            _add_flag(group, SETTINGS[name])
        return
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in SETTINGS.values():
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        _add_flag(groups[setting.group], setting)


def _add_flag(group: argparse._ArgumentGroup, setting: Setting) -> None:
    flags = [f"--{setting.name.replace('_', '-')}"]
    if setting.name == "mounts":
        flags.append("--mount")
    default = f" [{setting.shown_default}]" if setting.shown_default else ""
    repeatable = "; repeatable" if setting.is_list else ""
    group.add_argument(
        *flags,
        dest=setting.name,
        action="append" if setting.is_list else "store",
        metavar=setting.metavar,
        help=f"{setting.meaning}{repeatable}{default}".replace("%", "%%"),
    )


def see_modules_here() -> None:
    """Let `package.module:function` name modules in the current directory, after all installed packages."""
    if "" not in sys.path:
        sys.path.append("")


def config_from(options: argparse.Namespace, *, defaults: Mapping[str, object] | None = None) -> Config:
    """Return the Config of flags, environment and file; `defaults` replace those of some settings.

    Raises ConfigError.
    """
    return load(given_settings(options), os.environ, options.config, defaults=defaults)


def given_settings(options: argparse.Namespace) -> dict[str, object]:
    """Return the settings that were given as flags."""
    given = vars(options)
    return {name: given[name] for name in SETTINGS if given.get(name) is not None}
