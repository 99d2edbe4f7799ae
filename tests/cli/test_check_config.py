"""check-config: what is wrong, by name; what is set, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_good_file_is_good_and_its_secrets_stay_secret(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fastws.toml"
    path.write_text(
        'port = 9000\njwt_secret = "a secret that nobody is to read here"\n'
        'broadcast_key = ["key one of 16 bytes", "key two of 16 bytes"]\n'
        '[mounts]\n"/live" = "channels"\n[slow_policy]\ndefault = "drop_oldest"\n"logs:*" = "conflate"\n'
    )
    outcome = run("check-config", str(path))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("The configuration is valid.")
    assert "port = 9000" in outcome.out
    assert "jwt_secret = (set)" in outcome.out
    assert "broadcast_key = (set)" in outcome.out
    assert "nobody is to read" not in outcome.out
    assert "key one" not in outcome.out


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ('jwt_algorithms = ["HS257"]', "jwt_algorithms"),
        ("max_message_bytes = 10", "max_message_bytes"),
        ('tls_cert = "x"', "tls_key"),
        ('mounts = ["/a=b"]', "mounts"),
        ("drain_timeout = -1", "drain_timeout"),
    ],
)
def test_what_is_wrong_is_named_and_the_exit_code_is_1(run: Run, tmp_path: Path, document: str, named: str) -> None:
    path = tmp_path / "fastws.toml"
    path.write_text(document)
    outcome = run("check-config", str(path))
    assert (outcome.code, outcome.out) == (1, "")
    assert named in outcome.err
    assert outcome.err.count("\n") == 1


def test_without_a_file_it_looks_at_flags_and_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWS_PORT", "9001")
    assert "port = 9001" in run("check-config").out
    assert "port = 9002" in run("check-config", "--port", "9002").out
    monkeypatch.setenv("FASTWS_PORT", "x")
    assert run("check-config").code == 1


def test_all_mistakes_are_reported_one_line_each(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fastws.toml"
    path.write_text('prot = 1\nmounts = ["/a=b"]\nredis_url = "http://x"\njwt_public_key = "/nowhere.pem"\n')
    outcome = run("check-config", str(path), "--port", "x", "--tls-key", "k", "--authorizer", "nowhere:function")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.splitlines() == [
        f"fastws: {path}: prot: unknown setting; did you mean 'port'?",
        "fastws: --port: must be an integer from 0 to 65535, not 'x'",
        "fastws: tls_cert: must be set together with tls_key",
    ]
    # What needs usable values is checked next.
    path.write_text('mounts = ["/a=b"]\nredis_url = "http://x"\njwt_public_key = "/nowhere.pem"\n')
    lines = run("check-config", str(path), "--authorizer", "nowhere:function").err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["jwt_public_key", "mounts", "redis_url", "authorizer"]
    outcome = run("serve", "--config", str(path), "--authorizer", "nowhere:function")
    assert outcome.code == 2
    assert outcome.err == lines[0] + " (and 3 more: `fastws check-config` lists all)\n"


UNUSABLE_REDIS_URLS = (
    *("http://127.0.0.1", "127.0.0.1:6379", "redis//127.0.0.1", "redis://h:port", "redis://h:70000", "redis://h/db"),
    *("redis://h/0?nonsense=1", "unix://", "redis://h?protocol=4", "rediss://h?ssl_ca_certs=/nowhere.pem"),
)


@pytest.mark.parametrize("url", UNUSABLE_REDIS_URLS)
@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_a_redis_url_that_cannot_be_used_is_refused_before_the_start(run: Run, command: str, url: str) -> None:
    outcome = run(command, "--redis-url", url)
    assert outcome.code == (1 if command == "check-config" else 2)
    assert outcome.err.startswith("fastws: redis_url: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("words", [("--jwt-secret", ""), ("--jwt-audience", ""), ("--broadcast-key", "")])
def test_it_judges_an_empty_flag_as_serve_does(run: Run, words: tuple[str, str]) -> None:
    checked, served = run("check-config", *words), run("serve", *words)
    assert (checked.code, served.code) == (1, 2)
    assert checked.err == served.err
    assert "must not be empty" in checked.err


W = "fastws: warning:"


def test_warnings_of_the_start_are_printed_and_are_no_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWS_PORTT", "9")
    monkeypatch.setenv("FASTWS_JWT_SECRET", "a secret with a newline at its end\n")
    outcome = run("check-config", "--broadcast-key", "short", "--protected-channels", "order:**")
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        f"{W} jwt_secret begins or ends with white space, which is part of the secret: is it a newline of a file?",
        "fastws: warning: broadcast_key is shorter than 16 bytes: it can be guessed",
        f"{W} protected_channels leaves user:** and workspace:** open to all clients; +PATTERN adds to the default",
        "fastws: warning: FASTWS_PORTT: unknown variable, ignored; did you mean 'FASTWS_PORT'?",
    ]
