"""The delays of the browser client between attempts, and the expiry that it reads from a token, under node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.node_packages import run_module


def delays(calls: str, folder: Path) -> list[float]:
    source = f'import {{ reconnectDelay }} from "./client/fastws.js"; console.log(JSON.stringify([{calls}]));'
    answer: list[float] = json.loads(run_module(source, folder))
    return answer


def test_waits_double_up_to_the_longest_one(tmp_path: Path) -> None:
    calls = ",".join(f"reconnectDelay({attempt}, {{ random: () => 1 }})" for attempt in (0, 1, 2, 5, 6, 100))
    assert delays(calls, tmp_path) == [500, 1000, 2000, 16000, 30000, 30000]


def test_jitter_is_full_so_that_clients_do_not_come_in_step(tmp_path: Path) -> None:
    calls = ",".join(f"reconnectDelay(3, {{ random: () => {share} }})" for share in (0, 0.25, 0.999))
    assert delays(calls, tmp_path) == pytest.approx([0, 1000, 3996])


def test_a_draining_server_names_the_range(tmp_path: Path) -> None:
    hint = '{ code: 1012, reason: "restart; reconnect in 2-6 s", random: () => %s }'
    calls = ",".join(f"reconnectDelay(7, {hint % share})" for share in (0, 0.5, 1))
    assert delays(calls, tmp_path) == [2000, 4000, 6000]


def test_a_restart_without_a_range_is_like_any_other_end(tmp_path: Path) -> None:
    assert delays('reconnectDelay(0, { code: 1012, reason: "restart", random: () => 1 })', tmp_path) == [500]


@pytest.mark.parametrize("code", [1008, 1013])
def test_a_client_that_was_too_slow_or_too_fast_waits_at_least_a_second(tmp_path: Path, code: int) -> None:
    assert delays(f"reconnectDelay(0, {{ code: {code}, random: () => 0 }})", tmp_path) == [1000]


def test_the_end_of_a_token_is_read_without_trusting_it(tmp_path: Path) -> None:
    source = """
    import { expiryOf } from "./client/fastws.js";
    const jwt = (claims) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;
    const odd = [jwt({ exp: "soon" }), jwt({}), "opaque", "", null, "a.!.c"];
    const tokens = [jwt({ exp: 1800000000, name: "Zoë ???>>>" }), ...odd];
    console.log(JSON.stringify(tokens.map((token) => (Number.isNaN(expiryOf(token)) ? "unknown" : expiryOf(token)))));
    """
    assert json.loads(run_module(source, tmp_path)) == [1800000000, *["unknown"] * 6]


@pytest.mark.parametrize(
    "options",
    ['{ dialect: "chess" }', '{ format: "xml" }', '{ url: "ftp://example.com" }'],
)
def test_options_that_cannot_work_are_refused_at_once(tmp_path: Path, options: str) -> None:
    source = f"""
    import {{ connect, FastWSError }} from "./client/fastws.js";
    try {{ connect({{ url: "ws://127.0.0.1:1", ...{options} }}); }}
    catch (error) {{ console.log(error instanceof FastWSError && error.code); }}
    """
    assert run_module(source, tmp_path).strip() == "bad_request"
