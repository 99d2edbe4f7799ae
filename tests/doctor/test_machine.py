"""What a machine allows, judged from plain figures and read from files as Linux writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastws.config import Config
from fastws.doctor.finding import Finding, Verdict
from fastws.doctor.machine import Machine, check_machine, read_machine

GOOD = Machine(descriptors=1_048_576, somaxconn=4096, ports=(32768, 60999), memory_bytes=8 << 30, processors=4)


def look(machine: Machine, **settings: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_machine(machine, Config(**settings))}  # type: ignore[arg-type]


def test_a_good_machine_needs_nothing() -> None:
    findings = look(GOOD, workers=4, redis_url="redis://x")
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    assert not any(finding.remedy for finding in findings.values())


@pytest.mark.parametrize(
    ("machine", "settings", "check", "verdict", "word"),
    [
        (replace(GOOD, descriptors=1024), {}, "descriptors", Verdict.WARN, "LimitNOFILE"),
        (replace(GOOD, descriptors=20_000), {"max_connections": 25_000}, "descriptors", Verdict.FAIL, "LimitNOFILE"),
        (replace(GOOD, descriptors=1024), {"max_connections": 500}, "descriptors", Verdict.OK, ""),
        (replace(GOOD, somaxconn=128), {}, "backlog", Verdict.WARN, "net.core.somaxconn=4096"),
        (replace(GOOD, ports=(50_000, 60_000)), {}, "local ports", Verdict.WARN, "ip_local_port_range"),
        (GOOD, {"max_connections": 40_000}, "local ports", Verdict.WARN, "unix_socket"),
        (GOOD, {"max_connections": 40_000, "host": "10.0.0.1"}, "local ports", Verdict.OK, ""),
        (GOOD, {"max_connections": 40_000, "unix_socket": "/x"}, "local ports", Verdict.OK, ""),
        (replace(GOOD, memory_bytes=64 << 20), {}, "memory", Verdict.WARN, "memory"),
        (replace(GOOD, memory_bytes=256 << 20), {"max_connections": 50_000}, "memory", Verdict.WARN, "max_connections"),
        (GOOD, {"workers": 5}, "processors", Verdict.WARN, "set workers to 4"),
    ],
)
def test_what_is_too_little_is_said_with_what_to_do(
    machine: Machine, settings: dict[str, object], check: str, verdict: Verdict, word: str
) -> None:
    finding = look(machine, **settings)[check]
    assert finding.verdict is verdict
    assert word in finding.remedy


def test_a_system_that_says_nothing_is_no_failure() -> None:
    silent = Machine(descriptors=100_000, somaxconn=None, ports=None, memory_bytes=None, processors=1)
    assert {finding.verdict for finding in look(silent).values()} == {Verdict.OK}


def test_figures_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    for name, text in {
        "sys/net/core/somaxconn": "128\n",
        "sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
        "meminfo": "MemTotal:  999 kB\nMemAvailable:   2048 kB\n",
        "group/memory.max": "1048576\n",
        "group/memory.current": "1000000\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    machine = read_machine(tmp_path, tmp_path / "group")
    assert (machine.somaxconn, machine.ports, machine.memory_bytes) == (128, (32768, 60999), 48_576)
    (tmp_path / "group/memory.max").write_text("max\n")
    assert read_machine(tmp_path, tmp_path / "group").memory_bytes == 2 << 20
    nothing = read_machine(tmp_path / "none", tmp_path / "none")
    assert (nothing.somaxconn, nothing.ports, nothing.memory_bytes) == (None, None, None)


def test_this_machine_can_be_read() -> None:
    machine = read_machine()
    assert machine.descriptors > machine.connections > 0
    assert machine.processors >= 1
