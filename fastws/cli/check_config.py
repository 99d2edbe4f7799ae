"""Check a configuration and name all settings that are wrong."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from fastws.cli.flags import add_setting_flags, given_settings, see_modules_here, settings_file
from fastws.config import SETTINGS
from fastws.errors import ConfigError
from fastws.server.server import Server
from fastws.setting_sources import environment_warnings
from fastws.settings import load

EPILOG: Final = """\
examples:
  fastws check-config fastws.toml
  FASTWS_PORT=9000 fastws check-config

Takes all settings of `fastws serve` (--help-all lists them). Without FILE it reads ./fastws.toml, if that exists.
`fastws doctor` also checks the machine and Redis.
exit codes: 0 valid, 1 invalid
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="TOML file with settings, the same as --config")
    parser.usage = "fastws check-config [FILE] [options]"
    add_setting_flags(parser)


def run(options: argparse.Namespace) -> int:
    see_modules_here()
    try:
        config = load(given_settings(options), os.environ, options.file or settings_file(options))
        server = Server(config)  # reads keys, certificates, mounts and patterns, and raises ConfigError
    except ConfigError as error:
        for message in error.messages:
            print(f"fastws: {message}", file=sys.stderr)
        return 1
    for warning in (*server.admittance.warnings, *environment_warnings(os.environ)):
        print(f"fastws: warning: {warning}", file=sys.stderr)
    changed = {name: getattr(config, name) for name, s in SETTINGS.items() if getattr(config, name) != s.default}
    print("The configuration is valid." + (" Settings that differ from the defaults:" if changed else ""))
    for name, value in changed.items():
        print(f"  {name} = {'(set)' if SETTINGS[name].is_secret else value}")
    return 0
