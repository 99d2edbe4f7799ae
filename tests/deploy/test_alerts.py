"""Every alert rule, run by promtool: quiet while all is well, and firing when what it is for has happened."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastws.cli.deploy_files import content
from tests.deploy.test_monitoring import alerts

PROMTOOL = shutil.which("promtool")
A = 'job="fastws",instance="a"'
B = 'job="fastws",instance="b"'
OF_A = {"job": "fastws", "instance": "a"}
REFUSED = f"fastws_handshakes_refused_total{{{A}"
CLOSED = f"fastws_connections_closed_total{{{A}"


@dataclass(frozen=True)
class Case:
    """`series` (one sample a minute from minute 0) leave the alert silent at minute `quiet`; at `fires` it fires."""

    series: dict[str, str]
    quiet: int
    fires: int
    summary: str
    labels: dict[str, str] = field(default_factory=dict)


CASES: dict[str, list[Case]] = {
    "FastwsDown": [Case({f"up{{{A}}}": "1x4 0x5"}, 5, 6, "a is down: the scrape fails", OF_A)],
    "FastwsBrokerDown": [
        Case({f"fastws_broker_up{{{A}}}": "1x4 0x5"}, 5, 6, "a gets no messages from Redis", OF_A),
    ],
    "FastwsBrokerFlapping": [
        Case(
            {f"fastws_broker_reconnects_total{{{A}}}": "0+0x9 0+1x20"},
            14,
            20,
            "a lost Redis 10 times in 10 minutes",
            OF_A,
        )
    ],
    "FastwsBrokerSlow": [
        Case(
            {
                f'fastws_broker_lag_seconds_bucket{{{A},le="0.5"}}': "0+100x10 1000+0x20",
                f'fastws_broker_lag_seconds_bucket{{{A},le="1.0"}}': "0+100x10 1000+100x20",
                f'fastws_broker_lag_seconds_bucket{{{A},le="+Inf"}}': "0+100x10 1000+100x20",
            },
            10,
            22,
            "a: a message through Redis takes 995ms",
            {"instance": "a"},
        )
    ],
    "FastwsLoopLag": [
        Case(
            {
                f'fastws_loop_lag_seconds_bucket{{{A},le="0.1"}}': "0+100x10 1000+0x20",
                f'fastws_loop_lag_seconds_bucket{{{A},le="0.25"}}': "0+100x10 1000+100x20",
                f'fastws_loop_lag_seconds_bucket{{{A},le="+Inf"}}': "0+100x10 1000+100x20",
            },
            10,
            22,
            "a has an event loop lag of 248.5ms",
            {"instance": "a"},
        )
    ],
    "FastwsSlowConsumers": [
        Case(
            {
                f'fastws_slow_consumers_total{{{A},policy="disconnect"}}': "0+30x10 300+120x20",
                f'fastws_connections{{{A},dialect="channels",codec="json"}}': "100x30",
            },
            10,
            22,
            "2 clients per second are too slow for their messages",
        )
    ],
    "FastwsMessagesDropped": [
        Case(
            {
                f'fastws_dropped_messages_total{{{A},reason="broker"}}': "0+540x10 5400+1200x30",
                f'fastws_dropped_messages_total{{{A},reason="closed"}}': "0+60000x40",
            },
            10,
            30,
            "20 messages per second are dropped: broker",
            {"reason": "broker"},
        )
    ],
    "FastwsQueues": [
        Case({f"fastws_queue_bytes{{{A}}}": "268435456x5 536870912x5"}, 7, 8, "a: 512MiB are queued for clients", OF_A)
    ],
    "FastwsFull": [
        Case(
            {f'{REFUSED},status="503",reason="full"}}': "0x5 1x5"},
            5,
            6,
            "a is full and refuses clients",
            {**OF_A, "status": "503", "reason": "full"},
        ),
        Case(
            {f'{REFUSED},status="503",reason="full"}}': "_x5 30x5"},
            4,
            5,
            "a is full and refuses clients",
            {**OF_A, "status": "503", "reason": "full"},
        ),
    ],
    "FastwsDescriptors": [
        Case(
            {f"process_open_fds{{{A}}}": "850x5 900x10", f"process_max_fds{{{A}}}": "1000x15"},
            10,
            11,
            "a uses 90% of its file limit",
            OF_A,
        )
    ],
    "FastwsRefusals": [
        Case(
            {
                f'{REFUSED},status="401",reason="unauthorized"}}': "0+240x10 2400+600x30",
                f'fastws_handshakes_refused_total{{{B},status="401",reason="unauthorized"}}': "0x40",
            },
            10,
            30,
            "10 handshakes per second are refused: 401 unauthorized",
            {"status": "401", "reason": "unauthorized"},
        )
    ],
    "FastwsBackendRefused": [
        Case(
            {
                f'fastws_requests_refused_total{{{A},route="/broadcast",status="401"}}': "0x10 1+1x20",
                f'fastws_requests_refused_total{{{A},route="none",status="404"}}': "0+100x40",
                f'fastws_requests_refused_total{{{A},route="/broadcast",status="400"}}': "0+100x40",
            },
            20,
            23,
            "Requests of backends to /broadcast are refused with 401",
            {"route": "/broadcast", "status": "401"},
        )
    ],
    "FastwsMassDisconnect": [
        Case(
            {
                f'fastws_connections{{{A},dialect="channels",codec="json"}}': "100x10 10x10",
                f'fastws_connections{{{B},dialect="rooms",codec="json"}}': "50x20",
            },
            10,
            11,
            "Half of the clients have disconnected: 60 are left",
        )
    ],
    "FastwsErrors": [
        Case(
            {f'{CLOSED},code="1011",reason="internal"}}': "0x5 1x5", f'{CLOSED},code="1006",reason="lost"}}': "0+9x10"},
            5,
            6,
            "a closed connections because of an internal error",
            {**OF_A, "code": "1011", "reason": "internal"},
        ),
        Case(
            {f'{CLOSED},code="1011",reason="internal"}}': "_x5 2x5"},
            4,
            5,
            "a closed connections because of an internal error",
            {**OF_A, "code": "1011", "reason": "internal"},
        ),
    ],
    "FastwsFeedRejected": [
        Case(
            {f'fastws_feed_rejected_total{{{A},feed="jobs"}}': "0x10 1+1x20"},
            20,
            23,
            "Invalid payloads from Redis: feed jobs",
            {"feed": "jobs"},
        )
    ],
    "FastwsHookFailing": [
        Case(
            {
                f'fastws_hook_calls_total{{{A},route="$connect",outcome="failed"}}': "0+5x10 50+30x20",
                f'fastws_hook_calls_total{{{A},route="$connect",outcome="done"}}': "0+600x30",
            },
            10,
            22,
            "Application hook: 500m events per second of $connect are failed",
            {"route": "$connect", "outcome": "failed"},
        )
    ],
    "FastwsRestarting": [
        Case(
            {f"process_start_time_seconds{{{A}}}": "1x4 2x1 3x1 4x1 5x10"},
            9,
            11,
            "a has started 4 times in 15 minutes",
            OF_A,
        )
    ],
}


def rules() -> dict[str, Any]:
    return {rule["alert"]: rule for group in alerts()["groups"] for rule in group["rules"]}


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(rules())


def promtool_test(alert: str, case: Case) -> dict[str, Any]:
    """One test of promtool's: the samples, and the alert at both times."""
    rule = rules()[alert]
    firing = {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": {"summary": case.summary, "description": rule["annotations"]["description"]},
    }
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"alertname": alert, "eval_time": f"{case.quiet}m", "exp_alerts": []},
            {"alertname": alert, "eval_time": f"{case.fires}m", "exp_alerts": [firing]},
        ],
    }


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")
@pytest.mark.parametrize(
    ("alert", "case"),
    [(alert, case) for alert, cases in CASES.items() for case in cases],
    ids=lambda value: str(value)[:40],
)
def test_a_rule_is_quiet_until_there_is_something_to_say(alert: str, case: Case, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(content("prometheus-alerts.yml"))
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [promtool_test(alert, case)],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    assert PROMTOOL is not None
    run = subprocess.run([PROMTOOL, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt install prometheus)")
def test_promtool_finds_no_mistake_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(content("prometheus-alerts.yml"))
    assert PROMTOOL is not None
    run = subprocess.run([PROMTOOL, "check", "rules", str(path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
