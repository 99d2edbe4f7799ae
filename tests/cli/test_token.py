"""fastws token: a JWT that the server takes."""

from __future__ import annotations

import time

import pytest

from fastws.access.tokens import Tokens
from fastws.cli.token import duration
from fastws.config import Config
from tests.cli.conftest import Run

SECRET = "a secret of thirty-two bytes or more"


def test_the_token_says_what_was_asked_for(run: Run) -> None:
    words = ["--workspace", "w1", "--workspace", "w2", "--channel", "logs:*", "--publish", "chat", "--ttl", "90s"]
    outcome = run("token", "--sub", "u1", *words, "--jwt-secret", SECRET)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("\n") == 1
    identity = Tokens(Config(jwt_secret=SECRET)).verify(outcome.out.strip())
    assert identity.user == "u1"
    assert identity.workspace == "w1"
    assert identity.workspaces == {"w1", "w2"}
    assert identity.channels == ("logs:*",)
    assert identity.publish == ("chat",)
    assert 80 < identity.expires_at - time.time() <= 91


def test_the_secret_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTWS_JWT_SECRET", SECRET)
    monkeypatch.setenv("FASTWS_JWT_AUDIENCE", "here")
    text = run("token", "--sub", "u1").out.strip()
    assert Tokens(Config(jwt_secret=SECRET, jwt_audience="here")).verify(text).claims["aud"] == "here"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800), ("1.5h", 5400), ("9", 9)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds
