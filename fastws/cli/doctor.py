"""Check the machine, settings, Redis and external services, and suggest fixes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final

import orjson

from fastws.cli.colours import paint
from fastws.cli.flags import add_setting_flags, config_from, see_modules_here
from fastws.config import Config
from fastws.doctor.configuration import check_configuration
from fastws.doctor.external_services import check_external_services
from fastws.doctor.finding import Finding, Verdict, fail
from fastws.doctor.machine import check_machine, read_machine
from fastws.doctor.python import check_python
from fastws.doctor.redis_server import check_redis
from fastws.errors import ConfigError

EPILOG: Final = """\
Use the same options, environment and file as for `fastws serve`.

examples:
  fastws doctor
  fastws doctor --config /etc/fastws/fastws.toml
  fastws doctor --redis-url redis://10.0.0.5:6379 --workers 4 --max-connections 50000
  fastws doctor --json | jq -c 'select(.verdict != "OK")'

Takes all settings of `fastws serve` (--help-all lists them).
exit codes: 0 no check failed, 1 a check failed, 2 unknown option
"""

_COLOURS: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line: check, verdict, state, remedy")
    parser.usage = "fastws doctor [options]"
    add_setting_flags(parser)


def run(options: argparse.Namespace) -> int:
    see_modules_here()
    seen: Counter[Verdict] = Counter()
    for finding in findings(options):
        seen[finding.verdict] += 1
        _print(finding, as_json=options.json)
    if not options.json:
        print(f"{seen[Verdict.OK]} OK, {seen[Verdict.WARN]} WARN, {seen[Verdict.FAIL]} FAIL")
    return 1 if seen[Verdict.FAIL] else 0


def findings(options: argparse.Namespace) -> Iterator[Finding]:
    """Yield the findings of all checks, in order. Invalid settings are a finding, too."""
    yield from check_python()
    try:
        config = config_from(options)
    except ConfigError as error:
        remedy = "see `fastws serve --help`; the following checks assume default settings"
        yield from (fail("settings", message, remedy) for message in error.messages)
        yield from check_machine(read_machine(), Config())
        return
    yield from check_machine(read_machine(), config)
    yield from check_configuration(config)
    yield from check_external_services(config)
    try:
        yield from check_redis(config)
    except ConfigError as error:
        yield fail("redis", error.message, "correct redis_url")


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(finding) + b"\n")
        sys.stdout.buffer.flush()
        return
    verdict = paint(f"{finding.verdict.value:<4}", _COLOURS[finding.verdict], sys.stdout)
    print(f"{verdict}  {finding.check:<20} {finding.state}", flush=True)
    if finding.remedy:
        print(f"{'':6}{'':20} {paint('-> ' + finding.remedy, 'dim', sys.stdout)}", flush=True)
