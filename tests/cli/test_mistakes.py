"""Every mistake is one clear line on stderr, and exit code 2; and what each command says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastws.config import SETTINGS
from tests.cli.conftest import Outcome, Run

COMMANDS = ("serve", "token", "publish", "listen", "bench", "check-config")


def one_line(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("fastws: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "usage" not in outcome.err.lower()
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err


def test_help_names_every_command(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    for command in COMMANDS:
        assert re.search(rf"^    {command}\s", outcome.out, re.MULTILINE)


def test_no_command_at_all_prints_the_help(run: Run) -> None:
    outcome = run()
    assert (outcome.code, outcome.err) == (2, "")
    assert outcome.out == run("--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: fastws {command}")


def test_serve_has_a_flag_for_every_setting_with_its_meaning(run: Run) -> None:
    said = " ".join(run("serve", "--help").out.split())
    for name, setting in SETTINGS.items():
        assert f"--{name.replace('_', '-')} {setting.metavar}" in said
        assert setting.meaning in said


MISTAKES: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("nonsense",), ("nonsense",)),
    (("serve", "--nonsense"), ("--nonsense",)),
    (("serve", "--por", "1"), ("--por",)),
    (("serve", "--max-conections=5"), ("--max-conections", "did you mean --max-connections?", "fastws serve --help")),
    (("publish", "a", "e", "1", "--kee", "x"), ("--kee", "did you mean --key?")),
    (("doctor", "extra"), ("extra", "fastws doctor --help")),
    (("serve", "--port"), ("--port",)),
    (("serve", "--port", "abc"), ("--port: must be an integer from 0 to 65535, not 'abc'",)),
    (("serve", "--port", "70000"), ("port", "70000", "65535")),
    (("serve", "--port", "-1"), ("port",)),
    (("serve", "--workers", "0"), ("workers",)),
    (("serve", "--workers", "2"), ("workers", "--redis-url")),
    (("serve", "--tls-cert", "x.pem"), ("tls_key",)),
    (("serve", "--tls-key", "x.pem"), ("tls_cert",)),
    (("serve", "--tls-cert", "/nowhere", "--tls-key", "/nowhere"), ("tls_cert",)),
    (("serve", "--slow-policy", "fastest"), ("slow_policy", "fastest", "disconnect")),
    (("serve", "--slow-policy", "=disconnect"), ("slow_policy",)),
    (("serve", "--flush-interval", "soon"), ("flush_interval",)),
    (("serve", "--flush-interval", "a=-1"), ("flush_interval",)),
    (("serve", "--mount", "live=channels"), ("mounts", "live")),
    (("serve", "--mount", "/live"), ("mounts", "/live")),
    (("serve", "--mount", "/live=chanels"), ("mounts", "chanels", "channels")),
    (("serve", "--ping-interval", "60", "--idle-timeout", "30"), ("idle_timeout", "ping_interval")),
    (("serve", "--idle-timeout", "nan"), ("--idle-timeout",)),
    (("serve", "--compression", "maybe"), ("--compression", "maybe", "off, on")),
    (("serve", "--log-level", "loud"), ("--log-level: must be one of debug, info, warning, error, not 'loud'",)),
    (("serve", "--enable-realtime", "perhaps"), ("--enable-realtime", "perhaps")),
    (("serve", "--allow-anonymous", "perhaps"), ("--allow-anonymous",)),
    (("serve", "--aws-credentials", "nocolon"), ("aws_credentials", "KEY_ID:SECRET")),
    (("serve", "--jwt-algorithms", "RS256"), ("jwt_algorithms", "RS256")),
    (("serve", "--jwt-secret", "x" * 40, "--jwt-algorithms", "none"), ("jwt_algorithms", "none")),
    (("serve", "--jwt-public-key", "/nowhere.pem"), ("jwt_public_key",)),
    (("serve", "--workspace-channel", "workspace"), ("workspace_channel", "{workspace_id}")),
    (("serve", "--authorizer", "nowhere:function"), ("authorizer", "nowhere")),
    (("serve", "--redis-url", "http://127.0.0.1"), ("redis_url",)),
    (("serve", "--config", "/nowhere.toml"), ("/nowhere.toml: cannot read the file",)),
    (("token",), ("--sub",)),
    (("token", "--sub", "u1"), ("jwt_secret",)),
    (("token", "--sub", "u1", "--jwt-secret", "x" * 40, "--ttl", "soon"), ("--ttl", "soon")),
    (("token", "--sub", "u1", "--jwt-secret", "x" * 40, "--ttl", "0s"), ("--ttl",)),
    (("token", "--sub", "", "--jwt-secret", "x" * 40), ("sub",)),
    (("publish", "a", "e"), ("JSON",)),
    (("publish", "a", "e", "{"), ("JSON",)),
    (("publish", "a", "e", "text"), ("JSON", "'\"text\"'")),
    (("listen",), ("URL",)),
    (("listen", "nowhere"), ("ws://host:8000", "nowhere")),
    (("listen", "ws://127.0.0.1:1/", "--format", "xml"), ("--format", "xml")),
    (("listen", "ws://127.0.0.1:1/", "--dialect", "klingon"), ("--dialect", "klingon")),
]


@pytest.mark.parametrize(("words", "named"), MISTAKES)
def test_a_mistake_is_one_line_that_names_it(run: Run, words: tuple[str, ...], named: tuple[str, ...]) -> None:
    one_line(run(*words), *named)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("port = [", ("TOML",)),
        ("prot = 1", ("prot", "port")),
        ('port = "many"', ("port", "many")),
        ("port = true", ("port",)),
        ("allowed_origins = 5.5\nallow_anonymous = 3", ("allow_anonymous",)),
        ("broadcast_key = [1, [2]]", ("broadcast_key",)),
        ("host = 1", ("host",)),
        ("[mounts]\nlive = 'channels'", ("mounts", "live")),
        ("[slow_policy]\n'logs:*' = 'sometimes'", ("slow_policy", "sometimes")),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(
    run: Run, tmp_path: Path, document: str, named: tuple[str, ...]
) -> None:
    path = tmp_path / "fastws.toml"
    path.write_text(document)
    one_line(run("serve", "--config", str(path)), *named)
    outcome = run("check-config", str(path))
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert named[0] in outcome.err


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FASTWS_PORT", "x"), ("FASTWS_MOUNTS", "/a"), ("ENABLE_REALTIME", "perhaps"), ("FASTWS_WORKERS", "many")],
)
def test_a_mistake_in_the_environment_is_one_line_that_names_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    one_line(run("serve"), variable.removeprefix("FASTWS_").lower() if variable == "FASTWS_MOUNTS" else variable)


def test_secrets_are_not_repeated_in_errors(run: Run) -> None:
    secret = "x" * 31 + "TOPSECRET"
    for words in (
        ("serve", "--aws-credentials", secret),
        ("serve", "--redis-url", f"http://:{secret}@127.0.0.1"),
        ("serve", "--jwt-secret", secret, "--jwt-algorithms", "RS256"),
    ):
        outcome = run(*words)
        assert outcome.code == 2
        assert "TOPSECRET" not in outcome.err
