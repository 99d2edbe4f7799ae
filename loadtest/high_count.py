"""Tests a server with very many connections: connecting, idle costs, one message to all, failures.

    python loadtest/high_count.py                            # 100,000; starts a server and a Redis
    python loadtest/high_count.py --connections 10000 --phases idle,all
    python loadtest/high_count.py ws://a:8000/ ws://b:8000/ --connections 200000 --processes 12

Phases: ramp · idle · one message to all · a worker killed · all connections lost at once · channels of 1000 · a tenth
that does not read. Each process of the load client holds as many connections as its file limit allows; on loopback each
7,000 connections use their own source address. Each phase prints a row; the table is written to
benchmarks/results/high_count.md. Exit code 0: all targets met, 1: targets missed, 2: no server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import resource
import shlex
import sys
from pathlib import Path

from scaling.phases import NAMES, Phases, Targets
from scaling.rows import Row, markdown, verdict
from soaking.server import OwnServer

from fastws.bench.load import LoadFailed
from fastws.bench.plan import Plan

SPARE_DESCRIPTORS = 200
# The kernel does not distribute connections evenly, so some workers get more than the average.
ROOM = 1.1
# Target of server memory: 300 MB, or 3 KB per connection if that is more.
TARGET_BYTES = 300e6
TARGET_BYTES_EACH = 3000.0
OUTPUT = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "high_count.md"


def main() -> int:
    options = _arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = None
    if not options.url:
        workers = options.workers or math.ceil(options.connections / (hard - SPARE_DESCRIPTORS) * ROOM)
        server = OwnServer(
            workers=workers, needs_redis=True, options=["--log-level", "warning", *options.server_option]
        )
    try:
        if server is not None:
            server.start()
        return _run(options, server, hard)
    except (LoadFailed, RuntimeError) as error:
        print(f"high_count: {error}", file=sys.stderr)
        return 2
    finally:
        if server is not None:
            server.stop()


def _run(options: argparse.Namespace, server: OwnServer | None, descriptors: int) -> int:
    phases = Phases(
        _plan(options, server, descriptors),
        Targets(
            serve_seconds=options.serve_seconds,
            memory_bytes=options.memory_mb * 1e6 or max(TARGET_BYTES, options.connections * TARGET_BYTES_EACH),
        ),
        server=server,
        pids=options.pid if server is None else [server.pid],
        wanted=options.phases,
        rate=options.rate,
        idle_seconds=options.idle_seconds,
        on_row=lambda row: None if options.json else print(row.to_text(), flush=True),
    )
    asyncio.run(phases.run())
    rows = phases.rows
    options.output.parent.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "loadtest/high_count.py", *sys.argv[1:]])
    options.output.write_text(
        markdown(rows, connections=options.connections, setting=_setting(server), command=command)
    )
    is_met = not any(row.wrong for row in rows)
    if options.json:
        print(json.dumps({"connections": options.connections, "ok": is_met, "phases": _figures(rows)}))
    else:
        print(f"{verdict(rows)}\ntable: {options.output}")
    return 0 if is_met else 1


def _plan(options: argparse.Namespace, server: OwnServer | None, descriptors: int) -> Plan:
    return Plan(
        urls=tuple(options.url) or (server.url,),  # type: ignore[union-attr] # one of the two there is
        connections=options.connections,
        processes=options.processes or math.ceil(options.connections / (descriptors - SPARE_DESCRIPTORS)),
        connect_seconds=options.connect_timeout,
        connect_rate=options.connect_rate,
        seconds=options.seconds,
        drain_seconds=options.drain,
        token=options.token,
    )


def _setting(server: OwnServer | None) -> str:
    if server is None:
        return "Against running servers."
    return f"One `fastws serve --workers {len(server.workers())}` on one Redis, otherwise with defaults."


def _figures(rows: list[Row]) -> dict[str, object]:
    return {row.phase: {**row.figures, "wrong": row.wrong} for row in rows}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="*", metavar="URL", help="running servers [start one]")
    parser.add_argument("--connections", type=int, default=100_000, metavar="N", help="number of connections [100000]")
    parser.add_argument(
        "--workers", type=int, default=0, help="workers of the started server [as the file limit requires]"
    )
    parser.add_argument(
        "--processes", type=int, default=0, help="processes of the load client [as the file limit requires]"
    )
    parser.add_argument("--token", metavar="JWT", help="token of all clients")
    parser.add_argument(
        "--pid", type=int, action="append", default=[], help="a server process on this machine, to measure"
    )
    parser.add_argument(
        "--server-option", action="append", default=[], help="a flag for the started server; repeatable"
    )
    parser.add_argument(
        "--phases",
        type=lambda text: set(text.split(",")) & set(NAMES),
        default=set(NAMES),
        metavar="A,B",
        help=f"of {', '.join(NAMES)} [all]",
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help="where to write the table (Markdown)"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of rows")
    _add_phase_options(parser)
    return parser.parse_args()


def _add_phase_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=50.0, help="messages per second in the last two phases [50]")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="seconds of each of these phases [10]")
    parser.add_argument(
        "--drain", type=float, default=20.0, metavar="S", help="seconds to wait for the last messages [20]"
    )
    parser.add_argument("--connect-rate", type=float, default=0.0, help="connects per second [no limit]")
    parser.add_argument(
        "--connect-timeout", type=float, default=180.0, metavar="S", help="seconds until all must be connected [180]"
    )
    parser.add_argument("--idle-seconds", type=float, default=10.0, metavar="S", help="seconds of the idle phase [10]")
    parser.add_argument(
        "--serve-seconds", type=float, default=3.0, metavar="S", help="target: seconds until all have a message [3]"
    )
    parser.add_argument(
        "--memory-mb",
        type=float,
        default=0.0,
        metavar="MB",
        help="target of server memory [300, or 3 KB per connection]",
    )


if __name__ == "__main__":
    sys.exit(main())
