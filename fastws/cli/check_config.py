"""Say what is wrong with a configuration."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

from fastws.cli.flags import add_setting_flags, see_modules_here
from fastws.config import SETTINGS
from fastws.errors import ConfigError
from fastws.server.server import Server
from fastws.settings import load

EPILOG: Final = """\
examples:
  fastws check-config fastws.toml
  FASTWS_PORT=9000 fastws check-config

`fastws doctor` looks at the machine and at Redis too.
exit codes: 0 good (what differs from the defaults is printed, secrets are not), 1 not
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="TOML file of settings; default: flags and environment")
    add_setting_flags(parser)


def run(options: argparse.Namespace) -> int:
    see_modules_here()
    given = vars(options)
    try:
        flags = {name: given[name] for name in SETTINGS if given.get(name) is not None}
        config = load(flags, os.environ, options.file or options.config)
        Server(config)  # keys, certificates, mounts and patterns are read by the parts that use them
    except ConfigError as error:
        print(f"fastws: {error.message}", file=sys.stderr)
        return 1
    changed = {name: getattr(config, name) for name, s in SETTINGS.items() if getattr(config, name) != s.default}
    print("The configuration is good.")
    for name, value in changed.items():
        print(f"  {name} = {'(set)' if SETTINGS[name].metadata['secret'] else value}")
    return 0
