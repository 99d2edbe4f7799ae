"""fastws doctor: lines for people, JSON lines for programs, and an exit code."""

from __future__ import annotations

import json

from tests.cli.conftest import Run
from tests.ports import free_port
from tests.redis_server import RedisServer


def test_each_finding_is_a_line_and_the_last_one_counts(run: Run, redis_server: RedisServer) -> None:
    outcome = run("doctor", "--redis-url", redis_server.url, "--max-connections", "100")
    assert outcome.code == 0, outcome.out
    *lines, last = [line for line in outcome.out.splitlines() if not line.lstrip().startswith("->")]
    assert {line.split()[0] for line in lines} <= {"OK", "WARN"}
    assert last.endswith(" 0 FAIL")
    assert "\x1b" not in outcome.out
    for check in ("python", "descriptors", "backlog", "proxy headers", "redis latency", "clock"):
        assert any(line[6:].startswith(check) for line in lines)


def test_what_fails_gives_exit_code_1_and_says_what_to_do(run: Run) -> None:
    outcome = run("doctor", "--json", "--redis-url", f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    assert outcome.code == 1
    findings = [json.loads(line) for line in outcome.out.splitlines()]
    assert all(set(finding) == {"check", "verdict", "state", "remedy"} for finding in findings)
    (failed,) = [finding for finding in findings if finding["verdict"] == "FAIL"]
    assert failed["check"] == "redis"
    assert failed["remedy"]
    assert "hunter2" not in outcome.out + outcome.err


def test_settings_that_cannot_be_read_are_a_finding_beside_the_machine(run: Run) -> None:
    outcome = run("doctor", "--json", "--port", "abc")
    assert outcome.code == 1
    findings = {finding["check"]: finding for finding in map(json.loads, outcome.out.splitlines())}
    assert "--port" in findings["settings"]["state"]
    assert "descriptors" in findings


def test_a_redis_address_that_is_none_is_a_finding(run: Run) -> None:
    outcome = run("doctor", "--json", "--redis-url", "http://x")
    assert outcome.code == 1
    assert any("redis_url" in json.loads(line)["state"] for line in outcome.out.splitlines())
