"""A wire form: dialect and codec, as frames."""

from __future__ import annotations

import msgpack
import orjson
import pytest

from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.dialects.channels import CHANNELS
from fastws.dialects.dialect import StartingChannels
from fastws.dialects.jobs import JOBS
from fastws.dialects.wire_form import DialectForm
from fastws.dialects.workspaces import WORKSPACES
from fastws.errors import Unencodable
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Connected, Pong, Subscribed

PUBLICATION = Publication("a", "e", {"x": 1}, sender="s")
DELIVERY = {"channel": "a", "event": "e", "data": {"x": 1}, "from": "s"}


def test_a_publication_is_a_whole_frame_in_the_codecs_opcode() -> None:
    text, binary = (DialectForm(CHANNELS, codec).frame(PUBLICATION) for codec in (JSON, MSGPACK))
    assert (text[0], text[1], orjson.loads(text[2:])) == (0x81, len(text) - 2, DELIVERY)
    assert (binary[0], binary[1], msgpack.unpackb(binary[2:])) == (0x82, len(binary) - 2, DELIVERY)


def test_an_unencodable_publication_raises() -> None:
    with pytest.raises(Unencodable):
        DialectForm(CHANNELS, JSON).frame(Publication("a", "e", object()))


def test_a_reply_carries_the_request_id_also_when_that_is_zero() -> None:
    form = DialectForm(CHANNELS, JSON)
    for request_id in (0, "", "x"):
        reply = form.reply(Subscribed("a"), request_id=request_id)
        assert reply is not None
        assert orjson.loads(reply[2:])["id"] == request_id
    plain = form.reply(Subscribed("a"))
    assert plain is not None
    assert "id" not in orjson.loads(plain[2:])


def test_a_reply_knows_the_place() -> None:
    reply = DialectForm(WORKSPACES, JSON).reply(Connected("c"), StartingChannels(workspace="w1"))
    assert reply is not None
    assert orjson.loads(reply[2:])["workspace_id"] == "w1"


def test_a_reply_that_a_dialect_does_not_have_is_none() -> None:
    assert DialectForm(JOBS, JSON).reply(Connected("c")) is None
    assert DialectForm(JOBS, JSON).reply(Pong()) is not None
