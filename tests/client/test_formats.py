import datetime as dt

import msgpack
import pytest

from fastws.client.formats import JSON, MSGPACK, find_format, read
from fastws.errors import BadRequest, InvalidPayload


def test_json_says_bytes_as_base64_and_moments_as_text():
    moment = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert (
        JSON.dumps({"raw": b"\x00\xff", "at": moment, 1: 2}) == '{"raw":"AP8=","at":"2026-01-02T00:00:00+00:00","1":2}'
    )
    with pytest.raises(BadRequest, match="msgpack"):
        JSON.dumps({"data": {1}})


def test_msgpack_keeps_bytes_moments_and_extensions():
    message = {"raw": b"\x00", "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "ext": msgpack.ExtType(5, b"x")}
    assert read(MSGPACK.dumps(message), MSGPACK) == message
    with pytest.raises(BadRequest, match="set"):
        MSGPACK.dumps({"data": {1}})


def test_a_moment_past_every_calendar_stays_what_it_is():
    stamp = msgpack.Timestamp(2**60)
    assert read(msgpack.packb({"at": stamp}), MSGPACK) == {"at": stamp}


def test_binary_frames_of_a_json_connection_are_json():
    assert read(b'{"a":1}', JSON) == {"a": 1}
    assert read('{"a":1}', MSGPACK) == {"a": 1}


@pytest.mark.parametrize(("frame", "form"), [("{", JSON), ("[]", JSON), (b"\xc1", MSGPACK), (b"\x90", MSGPACK)])
def test_an_unreadable_message_is_refused(frame, form):
    with pytest.raises(InvalidPayload, match="the server sent"):
        read(frame, form)


def test_there_are_two_formats():
    assert find_format("msgpack") is MSGPACK
    with pytest.raises(BadRequest, match="json or msgpack"):
        find_format("xml")
