"""Publications as bytes on a Redis channel: ours, those of others, and poison."""

from __future__ import annotations

import contextlib
import time

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.brokers import envelope
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.errors import BadRequest, Unencodable
from fastws.vocabulary.publication import Encoded, Publication

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
FULL = Publication(
    "admin",
    "e",
    Encoded("json", b'{"n":1}'),
    type="notification",
    sender="n0de01abc",
    timestamp="2026-11-09T12:00:00.000Z",
    priority="high",
    seq=7,
    key="k",
    exclude=frozenset({"a", "b"}),
    attributes={"job_id": "1", "status": "done"},
)


def test_every_field_of_a_publication_survives_the_journey() -> None:
    letter = envelope.decode(envelope.encode(FULL, "n0de01", 42), "admin")
    assert letter == (FULL, "n0de01", 42, False)


def test_fields_that_a_later_version_adds_are_skipped() -> None:
    encoded = envelope.encode(FULL, "n0de01", 42)
    size = int.from_bytes(encoded[3:7], "big")
    header = msgpack.packb([*msgpack.unpackb(encoded[7 : 7 + size]), ["tag"], None])
    later = b"".join((encoded[:3], len(header).to_bytes(4, "big"), header, encoded[7 + size :]))
    assert envelope.decode(later, "admin") == envelope.decode(encoded, "admin")


def test_what_is_kept_has_the_time_of_its_publication() -> None:
    begun = time.time()
    rest = envelope.encode_rest(Publication("c", "e", None), "node", 1)
    numbered = envelope.decode_numbered(b"\xc1\x02" + bytes(8) + b"\x01e" + rest, "c")
    assert isinstance(numbered, envelope.Numbered)
    assert isinstance(numbered.publication.timestamp, float)
    assert begun <= numbered.publication.timestamp <= time.time()


@given(event=TEXT, kind=st.none() | TEXT, seq=st.none() | st.integers(0, 2**63), body=st.binary(min_size=1))
def test_any_body_passes_through_undecoded(event: str, kind: str | None, seq: int | None, body: bytes) -> None:
    publication = Publication("c", event, Encoded("msgpack", body), type=kind, seq=seq)
    assert envelope.decode(envelope.encode(publication), "c").publication == publication


@pytest.mark.parametrize("publication", [FULL, Publication("c", "e", Encoded("msgpack", b"x"))])
def test_an_envelope_cut_off_at_its_body_is_refused(publication: Publication) -> None:
    whole = envelope.encode(publication)
    body = publication.data.body  # type: ignore[union-attr]
    with pytest.raises(BadRequest, match="has no body"):
        envelope.decode(whole.removesuffix(body), "c")
    assert envelope.decode(whole, "c").publication.data == publication.data


@pytest.mark.parametrize("data", [None, True, 1.5, "é", [1, {"a": None}], {"deep": [[[]]]}])
def test_decoded_data_travels_as_json(data: object) -> None:
    sent = envelope.decode(envelope.encode(Publication("c", "e", data)), "c").publication.data
    assert isinstance(sent, Encoded)
    assert sent.codec == "json"
    assert JSON.loads(sent.body) == data


@pytest.mark.parametrize("data", [b"\x00\xff", {"raw": b"x"}, msgpack.ExtType(5, b"x"), [msgpack.Timestamp(1, 2)]])
def test_data_that_json_lacks_travels_as_msgpack(data: object) -> None:
    sent = envelope.decode(envelope.encode(Publication("c", "e", data)), "c").publication.data
    assert isinstance(sent, Encoded)
    assert sent.codec == "msgpack"
    assert MSGPACK.loads(sent.body) == data


@pytest.mark.parametrize("data", [object(), {"a": object()}, 2**70])
def test_data_that_no_codec_can_say_is_refused_at_the_sender(data: object) -> None:
    with pytest.raises(Unencodable):
        envelope.encode(Publication("c", "e", data))


FOREIGN = {"event": "alert", "data": {"n": [1, None]}, "type": "notification", "priority": "high", "other": 1}


@pytest.mark.parametrize("payload", [orjson.dumps(FOREIGN), b"\n " + orjson.dumps(FOREIGN), msgpack.packb(FOREIGN)])
def test_plain_objects_of_other_publishers_are_understood(payload: bytes) -> None:
    letter = envelope.decode(payload, "user:7")
    assert letter.publication == Publication("user:7", "alert", {"n": [1, None]}, type="notification", priority="high")
    assert letter.node is None


def test_plain_object_may_exclude_connections_and_needs_no_data() -> None:
    publication = envelope.decode(b'{"event":"e","exclude":["a"],"timestamp":5,"key":"k"}', "c").publication
    assert publication == Publication("c", "e", None, timestamp=5, key="k", exclude=frozenset("a"))


POISON = {
    "nothing": b"",
    "bad UTF-8": b'{"event":"\xff\xfe"}',
    "bad JSON": b'{"event":"e","data":',
    "JSON that is no object": b"[1]",
    "a bare number": b"1",
    "bad msgpack": b"\x82\xa5event\xa1e\xa4data",
    "msgpack that is no map": b"\x93\x01\x02\x03",
    "msgpack that promises 4 G elements": b"\xdf\xff\xff\xff\xff",
    "a million empty arrays": b"\x81\xa5event\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000,
    "nesting past all bounds": b'{"event":"e","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no event": b'{"data":1}',
    "an event that is no string": b'{"event":1}',
    "a type that is no string": b'{"event":"e","type":[]}',
    "a priority that is a list": b'{"event":"e","priority":[]}',
    "a timestamp that is an object": b'{"event":"e","timestamp":{}}',
    "exclude that is no list": b'{"event":"e","exclude":5}',
    "an integer beyond 64 bits": b'{"event":"e","data":123456789012345678901234567890}',
    "64 MiB": b'{"event":"' + b"x" * 67_108_864 + b'"}',
    "our magic alone": b"\xc1",
    "our magic and version alone": b"\xc1\x01",
    "a version from the future": b"\xc1\x02" + envelope.encode(FULL)[2:],
    "an unknown codec": b"\xc1\x01x" + envelope.encode(FULL)[3:],
    "a header longer than the message": b"\xc1\x01j\xff\xff\xff\xff\x90",
    "a header that is no array": b"\xc1\x01j\x00\x00\x00\x01\x05{}",
    "a header of one field": b"\xc1\x01j\x00\x00\x00\x03\x91\xa1e{}",
    "no body": b"\xc1\x01j\x00\x00\x00\x0e\x9b\xa1e\xa0\x00" + b"\xc0" * 10,
    "an event of ours that is no string": b"\xc1\x01j\x00\x00\x00\x0c\x9b\x05\xa0\x00" + b"\xc0" * 8 + b"{}",
    "an exclude of ours that is no list": b"\xc1\x01j\x00\x00\x00\x0d\x9b\xa1e\xa0\x00" + b"\xc0" * 6 + b"\x05\xc0{}",
}


@pytest.mark.parametrize("payload", POISON.values(), ids=POISON.keys())
def test_poison_is_a_bad_request_and_nothing_worse(payload: bytes) -> None:
    with pytest.raises(BadRequest):
        envelope.decode(payload, "c")


@given(st.binary(max_size=200))
def test_random_bytes_behind_our_magic_are_a_publication_or_a_bad_request(payload: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert envelope.decode(b"\xc1\x01" + payload, "c").publication.channel == "c"


@given(st.integers(0, 300), st.integers(0, 255))
def test_one_changed_byte_is_a_publication_or_a_bad_request(position: int, byte: int) -> None:
    payload = bytearray(envelope.encode(FULL, "n0de01", 42))
    payload[position % len(payload)] = byte
    with contextlib.suppress(BadRequest):
        envelope.decode(bytes(payload), "admin")
