"""check-config: what is wrong, by name; what is set, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_good_file_is_good_and_its_secrets_stay_secret(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "fastws.toml"
    path.write_text(
        'port = 9000\njwt_secret = "a secret that nobody is to read here"\nbroadcast_key = ["key one", "key two"]\n'
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
