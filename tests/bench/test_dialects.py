"""The requests of the load client in every dialect, compared with the server's own parsers."""

from __future__ import annotations

import pytest

from fastws.bench import dialects
from fastws.bench.dialects import DIALECTS
from fastws.bench.plan import Plan
from fastws.dialects.mount import Mounts
from fastws.errors import ConfigError
from fastws.vocabulary.commands import Subscribe

URLS = ("ws://127.0.0.1:1/",)


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_messages_are_read_as_they_were_written(form: str) -> None:
    message = {"event": "e", "data": [1, None, "ü"]}
    assert dialects.decode(dialects.encode(message, form), form) == message


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_is_mounted_at_its_path(name: str) -> None:
    mounts = Mounts(["/echo=echo"])
    has_token = name in ("rooms", "workspaces")
    found = mounts.find(DIALECTS[name].path, has_token=has_token)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("name", ["channels", "rooms"])
def test_the_subscribe_request_is_one_for_the_server(name: str) -> None:
    dialect = DIALECTS[name]
    assert dialect.subscribe is not None
    channel = dialect.channel(3)
    command = Mounts().dialects[name].parse({**dialect.subscribe(channel)})
    assert isinstance(command, Subscribe)
    assert command.channel == channel


def test_only_the_channels_dialect_publishes_and_others_need_a_key() -> None:
    assert dialects.publish_template(Plan(urls=URLS), 0)
    with pytest.raises(ConfigError, match="--key"):
        dialects.publish_template(Plan(urls=URLS, dialect="rooms"), 0)
