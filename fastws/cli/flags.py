"""A flag for every setting, made from its definition."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Iterable, Mapping

from fastws.cli.init import FILE
from fastws.config import SETTINGS, Config
from fastws.setting_definition import Setting
from fastws.settings import load


class HelpAll(argparse.Action):
    """Prints the help with all settings, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        show_all_settings(parser)
        parser.print_help()
        parser.exit()


def add_setting_flags(
    parser: argparse.ArgumentParser, names: Iterable[str] | None = None, *, shown: Collection[str] = ()
) -> None:
    """Add a flag for each setting in `names` (default: all settings, in groups), and --config.

    If all settings have flags, --help lists only those in `shown`, and --help-all lists all.
    """
    parser.add_argument("--config", metavar="FILE", help=f"TOML file with settings [./{FILE}, if it exists]")
    if names is not None:
        group = parser.add_argument_group("settings (also FASTWS_… in the environment, or in the TOML file)")
        for name in names:
            _add_flag(group, SETTINGS[name])
        return
    parser.add_argument("--help-all", action=HelpAll, nargs=0, help=f"show this help with all {len(SETTINGS)} settings")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in SETTINGS.values():
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        action = _add_flag(groups[setting.group], setting)
        action.help = _help(setting, is_short=True) if setting.name in shown else argparse.SUPPRESS


def show_all_settings(parser: argparse.ArgumentParser) -> None:
    """Let the help of `parser` list all its settings, with their whole meaning."""
    for action in parser._actions:
        if action.dest in SETTINGS:
            action.help = _help(SETTINGS[action.dest])


def _add_flag(group: argparse._ArgumentGroup, setting: Setting) -> argparse.Action:
    flags = [f"--{setting.name.replace('_', '-')}"]
    if setting.name == "mounts":
        flags.append("--mount")
    return group.add_argument(
        *flags,
        dest=setting.name,
        action="append" if setting.is_list else "store",
        metavar=setting.metavar,
        help=_help(setting),
    )


def _help(setting: Setting, *, is_short: bool = False) -> str:
    """Return the meaning of `setting` and its default; `is_short`: only the first part of the meaning."""
    default = f" [{setting.shown_default}]" if setting.shown_default else ""
    meaning = setting.meaning + ("; repeatable" if setting.is_list else "")
    if is_short:
        meaning = meaning.partition(";")[0]
    return f"{meaning}{default}".replace("%", "%%")


def see_modules_here() -> None:
    """Let `package.module:function` name modules in the current directory, after all installed packages."""
    if "" not in sys.path:
        sys.path.append("")


def config_from(options: argparse.Namespace, *, defaults: Mapping[str, object] | None = None) -> Config:
    """Return the Config of flags, environment and file; `defaults` replace those of some settings.

    Raises ConfigError.
    """
    return load(given_settings(options), os.environ, settings_file(options), defaults=defaults)


def settings_file(options: argparse.Namespace) -> str | None:
    """Return the path of the settings file: that of --config, else ./fastws.toml if it exists."""
    given: str | None = options.config
    return given or (FILE if os.path.isfile(FILE) else None)


def given_settings(options: argparse.Namespace) -> dict[str, object]:
    """Return the settings that were given as flags."""
    given = vars(options)
    return {name: given[name] for name in SETTINGS if given.get(name) is not None}
