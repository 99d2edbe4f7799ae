"""The write batch: one write per client and flush, shared bytes, and replies after publications."""

from __future__ import annotations

import pytest

from fastws.vocabulary.publication import Publication
from tests.serving import Serve
from tests.transport.pipes import connect, say


async def test_the_channels_of_one_flush_are_one_write_and_equal_ones_share_bytes(serve: Serve) -> None:
    server = await serve()
    clients = [connect(server, "a", "b") for _ in range(2)]
    written: list[bytes] = []
    for pipe, _ in clients:
        pipe.writes.clear()
        pipe.write = written.append  # type: ignore[method-assign] # to see the very objects
    for channel in ("a", "b"):
        server.hub.deliver(Publication(channel, "e", channel))
    server.hub.flush()
    assert len(written) == 2
    assert written[0] is written[1]
    assert written[0].index(b'"channel":"a"') < written[0].index(b'"channel":"b"')


async def test_replies_to_sends_follow_the_publications_of_the_flush(serve: Serve) -> None:
    server = await serve()
    pipe, connection = connect(server, "a")
    before = len(pipe.writes)
    say(connection, *({"action": "send", "channel": "a", "event": f"e{number}", "data": 1} for number in range(2)))
    server.hub.flush()
    assert pipe.events[-4:] == ["e0", "e1", "send_success", "send_success"]
    assert len(pipe.writes) - before == 2


async def test_a_client_whose_write_raises_does_not_affect_the_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    (broken, _), (pipe, _) = connect(server, "a", "b"), connect(server, "a", "b")

    def fail(_: bytes) -> None:
        raise RuntimeError("a bug in a transport")

    monkeypatch.setattr(broken, "write", fail)
    for channel in ("a", "b"):
        server.hub.deliver(Publication(channel, "e", channel))
    server.hub.flush()
    assert pipe.events[-2:] == ["e", "e"]
    assert broken.events == ["subscription_succeeded"] * 2
