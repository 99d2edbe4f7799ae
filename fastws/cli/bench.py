"""Load-test a server: throughput, latency percentiles, and whether every receiver got every message."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from fastws.bench.capacity import Costs, Demand, estimate
from fastws.bench.dialects import DIALECTS
from fastws.bench.load import Load, LoadFailed
from fastws.bench.plan import FORMATS, MODES, Plan, formats_in
from fastws.bench.usage import Usage, usage_of
from fastws.cli.running import running_server_at, the_running_server
from fastws.errors import ConfigError
from fastws.settings import load

EPILOG: Final = """\
examples:
  fastws bench --connections 1000
  fastws bench ws://127.0.0.1:8000/ --rate 500 --duration 30 --payload 512 --format msgpack
  fastws bench ws://127.0.0.1:8000/ --mode echo --connections 100
  fastws bench --plan --connections 100000 --rate 200 --fan-out 5000

The server needs a file limit and rate limits that allow the load.
exit codes: 0 every receiver got every message, 1 messages missing or connections refused, 2 invalid options
"""


# Options that a plan has under the same name.
_SAME_NAME: Final = (
    *("connections", "channels", "mode", "dialect", "format", "rate", "window", "connect_rate", "processes"),
    *("slow_fraction", "token", "reconnect", "sources", "insecure"),
)

Group = argparse._ArgumentGroup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url",
        nargs="*",
        metavar="URL",
        help="the server, ws://host:port/ [the one that runs here]; several share the load",
    )
    _add_load(parser.add_argument_group("load"))
    _add_protocol(parser.add_argument_group("protocol"))
    _add_connecting(parser.add_argument_group("connections"))
    _add_output(parser.add_argument_group("output"))
    _add_capacity(parser.add_argument_group("capacity planning (with --connections, --rate, --channels, --payload)"))


def _add_load(group: Group) -> None:
    group.add_argument("--connections", type=int, default=1000, metavar="N", help="number of receivers [1000]")
    group.add_argument("--channels", type=int, default=1, metavar="C", help="channels; receiver i is on i %% C [1]")
    group.add_argument(
        "--mode",
        choices=MODES,
        default="fan-out",
        help="fan-out: one publisher to all; echo: each client to itself; ingest: publish without receivers; "
        "idle: hold connections [fan-out]",
    )
    group.add_argument("--rate", type=float, default=0.0, metavar="R", help="messages per second; 0: closed loop [0]")
    group.add_argument("--window", type=int, default=64, metavar="W", help="messages in flight in the closed loop [64]")
    group.add_argument("--payload", type=int, default=128, metavar="B", help="bytes of `data` [128]")
    group.add_argument("--duration", type=float, default=5.0, metavar="S", help="seconds to measure [5]")
    group.add_argument("--warm", type=float, default=1.0, metavar="S", help="warm-up seconds before that [1]")
    group.add_argument("--drain", type=float, default=5.0, metavar="S", help="seconds to wait for the last ones [5]")
    group.add_argument(
        "--slow-fraction", type=float, default=0.0, metavar="F", help="share of receivers not reading [0]"
    )
    group.add_argument("--processes", type=int, default=1, metavar="P", help="load client processes [1]")


def _add_protocol(group: Group) -> None:
    group.add_argument("--dialect", choices=sorted(DIALECTS), default="channels", help="message dialect [channels]")
    group.add_argument("--format", choices=FORMATS, default="json", help="message encoding [json]")
    group.add_argument("--token", metavar="JWT", help="token of all clients; see `fastws token`")
    group.add_argument("--key", metavar="KEY", help="publish by POST /broadcast [FASTWS_BROADCAST_KEY]")


def _add_connecting(group: Group) -> None:
    group.add_argument(
        "--connect-rate", type=float, default=0.0, metavar="R", help="connects per second; 0: no limit [0]"
    )
    group.add_argument("--connect-timeout", type=float, default=60.0, metavar="S", help="seconds for all connects [60]")
    group.add_argument("--reconnect", action="store_true", help="reconnect lost receivers")
    group.add_argument(
        "--sources", type=int, default=0, metavar="N", help="loopback addresses [1 per 7,000 connections]"
    )
    group.add_argument("--insecure", action="store_true", help="wss: accept any certificate")


def _add_output(group: Group) -> None:
    group.add_argument("--pid", type=int, action="append", metavar="PID", help="report CPU and memory of this process")
    group.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _add_capacity(group: Group) -> None:
    group.add_argument("--plan", action="store_true", help="run nothing; estimate what the load needs")
    group.add_argument(
        "--fan-out", type=float, default=0.0, metavar="F", help="receivers per publication [all of a channel]"
    )
    group.add_argument("--descriptors", type=int, default=20_000, metavar="D", help="file limit of a process [20000]")
    group.add_argument(
        "--flush-interval", type=float, default=0.0, metavar="MS", help="the server's flush_interval [0]"
    )
    group.add_argument("--costs", type=Path, metavar="FILE", help="costs, from benchmarks/capacity.py [built in]")


def run(options: argparse.Namespace) -> int:
    if options.plan:
        return _print_capacity(options)
    plan = _plan(options)
    try:
        return asyncio.run(_run(plan, options.pid or [], as_json=options.json))
    except LoadFailed as error:
        print(f"fastws: {error}", file=sys.stderr)
        return 1


async def _run(plan: Plan, pids: list[int], *, as_json: bool) -> int:
    edges: list[tuple[float, Usage]] = []
    async with Load(plan) as load:
        await load.connect()

        def read_usage() -> None:
            if pids:
                edges.append((time.monotonic(), usage_of(pids)))

        result = await load.run(at_start_and_end=read_usage)
    if len(edges) == 2:
        (began, before), (ended, after) = edges
        result.server_cpu = (after.cpu_seconds - before.cpu_seconds) / (ended - began or 1.0)
        result.server_rss_bytes = after.rss_bytes
    print(result.to_json() if as_json else result.to_text())
    return 0 if result.is_complete else 1


def _print_capacity(options: argparse.Namespace) -> int:
    demand = Demand(
        connections=options.connections,
        publications_per_second=options.rate,
        fan_out=options.fan_out or options.connections / options.channels,
        channels=options.channels,
        payload_bytes=options.payload,
        flush_ms=options.flush_interval,
        descriptors=options.descriptors,
    )
    try:
        needs = estimate(demand, _costs(options.costs))
    except ValueError as error:
        raise ConfigError(f"--plan: {error}") from None
    print(json.dumps(asdict(needs)) if options.json else needs.to_text(demand))
    return 0


def _costs(path: Path | None) -> Costs:
    """Reads the costs from a file. Raises ConfigError if it cannot be used."""
    if path is None:
        return Costs()
    try:
        return Costs(**json.loads(path.read_text())["costs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--costs: {path}: {error}") from None


def _plan(options: argparse.Namespace) -> Plan:
    """Raises ConfigError if an option cannot be used."""
    if not options.url:
        options.url = [_running_url()]
    running = running_server_at(options.url[0])
    key = options.key or next(
        iter(load(environment=os.environ).broadcast_key), running.key or None if running else None
    )
    _check_mode(options, key)
    can_publish = DIALECTS[options.dialect].publish is not None
    same = {name: getattr(options, name) for name in _SAME_NAME}
    asked = set[str]().union(*map(formats_in, options.url))
    if len(asked) == 1 and asked <= set(FORMATS):
        (same["format"],) = asked
    plan = Plan(
        urls=tuple(options.url),
        payload_bytes=options.payload,
        warm_seconds=options.warm,
        seconds=options.duration,
        drain_seconds=options.drain,
        connect_seconds=options.connect_timeout,
        key=None if can_publish and options.key is None else key,
        **same,
    )
    plan.check()
    return plan


def _running_url() -> str:
    """Return the URL of the server that runs on this machine. Raises ConfigError if none or several do."""
    running = the_running_server(over_tcp=True)
    if running is None:
        raise ConfigError("URL: missing, and no server runs here; give the server, for example ws://127.0.0.1:8000/")
    return running.ws_url


def _check_mode(options: argparse.Namespace, key: str | None) -> None:
    mode, dialect = options.mode, options.dialect
    if mode == "fan-out" and DIALECTS[dialect].publish is None:
        if dialect == "echo":
            raise ConfigError("--dialect echo: has no channels; use --mode echo")
        if key is None:
            raise ConfigError(f"--dialect {dialect}: its clients cannot publish; give --key to publish over HTTP")
    if mode in ("echo", "ingest"):
        if options.rate:
            raise ConfigError(f"--rate: --mode {mode} has a closed loop only; leave it out")
        if dialect not in ("channels", "echo") or (mode, dialect) == ("ingest", "echo"):
            raise ConfigError(f"--mode {mode}: not possible with --dialect {dialect}")
