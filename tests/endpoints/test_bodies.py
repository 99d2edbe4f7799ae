"""POST /broadcast in msgpack: bodies by Content-Type, answers by Accept."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from fastws.endpoints.bodies import answer
from fastws.wire.request import Request
from tests.endpoints.conftest import Ask
from tests.serving import Join, Serve

MSGPACK = "application/msgpack"
GOOD = {"channel": "a", "event": "e", "data": {"n": 2**64 - 1}}


@pytest.mark.parametrize("media_type", [MSGPACK, "application/x-msgpack", "Application/VND.msgpack; v=1"])
async def test_a_body_in_msgpack_is_received_in_both_codecs(
    serve: Serve, join: Join, ask: Ask, media_type: str
) -> None:
    server = await serve()
    clients = [await join(server), await join(server, format="msgpack")]
    for client in clients:
        await client.ask({"action": "subscribe", "channel": "a"})
    answered = await ask(server, "POST", "/broadcast", msgpack.packb(GOOD), Content_Type=media_type, Accept=MSGPACK)
    assert answered.status == 200
    assert answered.headers["Content-Type"] == MSGPACK
    assert msgpack.unpackb(answered.body) == {"sent": 2, "failed": 0, "stale": 0}
    for client in clients:
        assert await client.hear() == GOOD


async def test_what_only_msgpack_has_reaches_msgpack_clients_as_it_is(serve: Serve, join: Join, ask: Ask) -> None:
    server = await serve()
    plain, packed = await join(server), await join(server, format="msgpack")
    for client in (plain, packed):
        await client.ask({"action": "subscribe", "channel": "a"})
    data = [b"\x00\xff", msgpack.Timestamp(0), msgpack.ExtType(7, b"x")]
    messages = {"messages": [{**GOOD, "data": item} for item in data]}
    answered = await ask(server, "POST", "/broadcast", msgpack.packb(messages), Content_Type=MSGPACK)
    assert answered.headers["Content-Type"] == "application/json"
    assert [result["sent"] for result in answered.json["results"]] == [2, 2, 2]
    assert [(await packed.hear())["data"] for _ in data] == data
    assert [(await plain.hear())["data"] for _ in data] == ["AP8=", "1970-01-01T00:00:00Z", {"ext": 7, "data": "eA=="}]


@pytest.mark.parametrize(
    ("body", "media_type", "reason"),
    [
        (b"\xc1", MSGPACK, "invalid body: not valid msgpack"),
        (msgpack.packb([1]), MSGPACK, "the body must be a msgpack map"),
        (msgpack.packb({"channel": 1, "event": "e"}), MSGPACK, "`channel`"),
        (msgpack.packb({**GOOD, b"key": 1}), MSGPACK, "keys must be strings"),
        (msgpack.packb(GOOD), "application/json", "invalid body"),
        (b'{"channel":"a","event":"e"}', MSGPACK, "invalid body"),
    ],
)
async def test_a_body_that_does_not_match_its_content_type_is_refused_in_json(
    serve: Serve, ask: Ask, body: bytes, media_type: str, reason: str
) -> None:
    answered = await ask(await serve(), "POST", "/broadcast", body, Content_Type=media_type, Accept=MSGPACK)
    status, code, message = answered.error
    assert (status, code) == (400, "bad_request")
    assert reason in message


@pytest.mark.parametrize(
    ("accept", "is_msgpack"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/html", False),
        (MSGPACK, True),
        ("Application/X-MsgPack", True),
        (f"{MSGPACK}, application/json", True),
        (f"application/json, {MSGPACK}", False),
        (f"application/json;q=0.5, {MSGPACK}", True),
        (f"{MSGPACK};q=0.1, */*;q=0.2", False),
        (f"{MSGPACK};q=0", False),
        (f"{MSGPACK};q=high", False),
        ("", False),
    ],
)
def test_the_answer_is_in_what_accept_prefers(accept: str | None, is_msgpack: bool) -> None:
    headers: dict[str, str] = {} if accept is None else {"accept": accept}
    response = answer(Request("POST", "/broadcast", "1.1", headers), {"sent": 1})
    content_type: Any = dict(response.headers)["Content-Type"]
    assert (content_type == MSGPACK) is is_msgpack
    assert response.body == (msgpack.packb({"sent": 1}) if is_msgpack else b'{"sent":1}')
