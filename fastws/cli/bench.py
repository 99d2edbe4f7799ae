"""Run a load against a server: connections, messages, percentiles, and whether everybody heard everything."""

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

from fastws.bench.accounting import Use, use_of
from fastws.bench.capacity import Costs, Demand, estimate
from fastws.bench.load import Load, LoadFailed
from fastws.bench.plan import FORMATS, MODES, Plan
from fastws.bench.speech import DIALECTS
from fastws.errors import ConfigError

EPILOG: Final = """\
examples:
  fastws bench ws://127.0.0.1:8000/ --connections 1000
  fastws bench ws://127.0.0.1:8000/ --rate 500 --duration 30 --payload 512 --format msgpack
  fastws bench ws://127.0.0.1:8000/ --mode echo --connections 100
  fastws bench ws://127.0.0.1:8000/ --json | jq .
  fastws bench --plan --connections 100000 --rate 200 --fan-out 5000

The server needs descriptors for so many connections, and a rate limit that lets them in.
exit codes: 0 everybody heard everything, 1 not, or not connected, 2 options that do not go together
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="*", metavar="URL", help="ws://host:port/ of the server, or of several")
    parser.add_argument("--connections", type=int, default=1000, metavar="N", help="receivers [1000]")
    parser.add_argument("--channels", type=int, default=1, metavar="C", help="receiver i is on channel i %% C [1]")
    parser.add_argument("--mode", choices=MODES, default="fan-out", help="what is done [fan-out]")
    parser.add_argument("--rate", type=float, default=0.0, metavar="R", help="messages a second; 0 = closed loop [0]")
    parser.add_argument("--window", type=int, default=64, metavar="W", help="closed loop: messages under way [64]")
    parser.add_argument("--payload", type=int, default=128, metavar="B", help="bytes of `data` [128]")
    parser.add_argument("--duration", type=float, default=5.0, metavar="S", help="seconds that are measured [5]")
    parser.add_argument("--warm", type=float, default=1.0, metavar="S", help="seconds before that [1]")
    parser.add_argument("--drain", type=float, default=5.0, metavar="S", help="seconds to wait for the last [5]")
    parser.add_argument("--processes", type=int, default=1, metavar="P", help="processes of this client [1]")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="channels", help="[channels]")
    parser.add_argument("--format", choices=FORMATS, default="json", help="what is spoken [json]")
    parser.add_argument("--token", metavar="JWT", help="a token; see `fastws token`")
    parser.add_argument(
        "--key", metavar="KEY", help="publish by POST /broadcast with this broadcast key [FASTWS_BROADCAST_KEY]"
    )
    parser.add_argument(
        "--slow-fraction", type=float, default=0.0, metavar="F", help="share of receivers that never read [0]"
    )
    parser.add_argument("--connect-rate", type=float, default=0.0, metavar="R", help="connects a second; 0 = all [0]")
    parser.add_argument("--connect-timeout", type=float, default=60.0, metavar="S", help="[60]")
    parser.add_argument("--reconnect", action="store_true", help="receivers that lose their connection come back")
    parser.add_argument(
        "--sources", type=int, default=0, metavar="N", help="loopback source addresses [one per 7,000 connections]"
    )
    parser.add_argument(
        "--pid", type=int, action="append", metavar="PID", help="a server process here: its CPU and memory are told"
    )
    parser.add_argument("--insecure", action="store_true", help="wss: take any certificate")
    parser.add_argument("--json", action="store_true", help="one line of JSON as the result")
    parser.add_argument(
        "--plan",
        action="store_true",
        help="no run: what --connections, --rate and --fan-out would need, from measured costs",
    )
    parser.add_argument(
        "--fan-out", type=float, default=0.0, metavar="F", help="--plan: receivers of a publication [all of a channel]"
    )
    parser.add_argument(
        "--descriptors", type=int, default=20_000, metavar="D", help="--plan: files a process may open [20000]"
    )
    parser.add_argument(
        "--flush-interval", type=float, default=0.0, metavar="MS", help="--plan: the server's flush_interval [0]"
    )
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", help="--plan: results/capacity.json of your own machine [ours]"
    )


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
    edges: list[tuple[float, Use]] = []
    async with Load(plan) as load:
        await load.connect()
        result = await load.run(at_edges=lambda: edges.append((time.monotonic(), use_of(pids))) if pids else None)
    if len(edges) == 2:
        (began, before), (ended, after) = edges
        result.server_cpu = (after.cpu_seconds - before.cpu_seconds) / (ended - began or 1.0)
        result.server_rss_bytes = after.rss_bytes
    print(result.to_json() if as_json else result.to_text())
    return 0 if result.is_whole else 1


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
    """Raises ConfigError naming what is wrong with the file."""
    if path is None:
        return Costs()
    try:
        return Costs(**json.loads(path.read_text())["costs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--costs: {path}: {error}") from None


def _plan(options: argparse.Namespace) -> Plan:
    """Raises ConfigError naming the option that cannot be used."""
    if not options.url:
        raise ConfigError("URL: ws://host:port/ of the server is missing")
    key = options.key or os.environ.get("FASTWS_BROADCAST_KEY", "").partition(",")[0] or None
    speech = DIALECTS[options.dialect]
    if options.mode == "fan-out" and speech.publish is None:
        if speech.subscribe is None and not speech.ready_mark and options.dialect == "echo":
            raise ConfigError("--dialect echo: has no channels; use --mode echo")
        if key is None:
            raise ConfigError(f"--dialect {options.dialect}: its clients only listen; --key publishes over HTTP")
    if options.mode in ("echo", "ingest"):
        if options.rate:
            raise ConfigError(f"--rate: --mode {options.mode} is a closed loop only")
        if options.dialect not in ("channels", "echo") or (options.mode, options.dialect) == ("ingest", "echo"):
            raise ConfigError(f"--mode {options.mode}: not in dialect {options.dialect}")
    plan = Plan(
        urls=tuple(options.url),
        connections=options.connections,
        channels=options.channels,
        mode=options.mode,
        dialect=options.dialect,
        format=options.format,
        rate=options.rate,
        window=options.window,
        payload_bytes=options.payload,
        warm_seconds=options.warm,
        seconds=options.duration,
        drain_seconds=options.drain,
        connect_seconds=options.connect_timeout,
        connect_rate=options.connect_rate,
        processes=options.processes,
        slow_fraction=options.slow_fraction,
        token=options.token,
        key=None if speech.publish is not None and options.key is None else key,
        reconnect=options.reconnect,
        sources=options.sources,
        insecure=options.insecure,
    )
    plan.check()
    return plan
