"""What a fuzzer may throw any bytes at. A target returns when all is well, and raises when a promise is broken."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace

from fastws.access.hosts import AllowedHosts
from fastws.access.origins import AllowedOrigins
from fastws.access.permissions import Permissions
from fastws.access.proxies import TrustedProxies, parse_address
from fastws.access.tokens import REFUSAL, Tokens
from fastws.brokers.envelope import decode, encode, encode_body
from fastws.codec.json_text import JSON
from fastws.codec.msgpack_binary import MSGPACK
from fastws.codec.msgpack_limits import check_tokens
from fastws.codec.negotiate import negotiate as negotiate_codec
from fastws.config import Config
from fastws.dialects.dialect import Dialect
from fastws.dialects.feeds import job_publication, workspace_publication
from fastws.dialects.mount import Mounts
from fastws.errors import BadRequest, FastWSError, InvalidPayload, Unauthorized, Unencodable
from fastws.vocabulary.publication import Encoded, Publication
from fastws.wire.deflate import Inflater, deflate, negotiate
from fastws.wire.frame_parser import FrameParser
from fastws.wire.frame_reader import read_frames
from fastws.wire.frames import frame
from fastws.wire.handshake import accept_response, check_upgrade, read_common_upgrade, subprotocols
from fastws.wire.http_reader import HttpReader, render_response
from fastws.wire.proxy_protocol import read_proxy_header
from fastws.wire.request import Request

LIMIT = 4096
ORIGINS = AllowedOrigins(["https://good.example", "https://*.wild.example"])
HOSTS = AllowedHosts(["good.example", "*.wild.example:443"])
PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])
SECRET = "a secret that is good for sixty-four bytes, so that nothing warns of it"
TOKENS = Tokens(Config(jwt_secret=SECRET))
PERMISSIONS = Permissions(Config(), key_configured=True)
DIALECTS: list[Dialect] = []
for _mount in Mounts((), workspace_channel="workspace:{workspace_id}", jobs_channel="jobs").table.values():
    DIALECTS += [_mount.without_token, _mount.with_token]

Events = list[tuple[int, bytes]]


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` cut in up to four, where its first bytes say."""
    cuts = sorted(byte * len(data) // 256 for byte in data[:3])
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        yield data[start:end]


def heard(parts: Iterator[bytes], *, deflated: bool, budget: int) -> tuple[Events, int | None]:
    """Events and violation code, read as a connection reads."""
    parser: FrameParser | None = None
    events: Events = []
    for part in parts:
        rest = part
        if parser is None:
            found, used = read_frames(part, 0, LIMIT, budget)
            events += found
            rest = part[used:]
            if not rest:
                continue
            parser = FrameParser(LIMIT, 16, Inflater(LIMIT) if deflated else None)
        events += parser.feed(rest, budget)
        while parser.has_backlog:
            events += parser.feed(b"", budget)
        if parser.failure is not None:
            return events, parser.failure.violation_code
        if parser.is_idle:
            parser = None
    return events, None


def reader(data: bytes) -> None:
    """Frames mean the same however they are cut and whatever the budget; what is held is within the limits."""
    if not data:
        return
    deflated, budget, body = bool(data[0] & 1), 1 + (data[0] >> 4), data[1:]
    whole = heard(iter((body,)), deflated=deflated, budget=1000)
    cut = heard(pieces(body), deflated=deflated, budget=budget)
    # Text of the direct reader is not yet known to be UTF-8: the session says 1007 to it.
    assert _without_bad_text(whole) == _without_bad_text(cut), (whole, cut)
    assert all(len(payload) <= LIMIT for _, payload in whole[0])
    assert whole[1] in (None, 1002, 1007, 1008, 1009)


def _without_bad_text(read: tuple[Events, int | None]) -> tuple[Events, int | None]:
    events, code = read
    for position, (opcode, payload) in enumerate(events):
        if opcode == 1:
            try:
                payload.decode()
            except UnicodeDecodeError:
                return events[:position], 1007
    return events, code


def deflation(data: bytes) -> None:
    """Whatever is sent as deflate ends in a message within the limit or a close; what we send is what is read."""
    if len(data) < 2:
        return
    level, body = 1 + data[0] % 9, data[2:]
    for payload in (body, body + b"\x00"):
        first = 0xC2 if data[0] & 64 else 0x42
        head = bytes((first, 0xFE)) + len(payload).to_bytes(2, "big") + b"\0\0\0\0"
        events, code = heard(iter((head + payload,)), deflated=True, budget=100)
        assert all(len(message) <= LIMIT for _, message in events)
        assert code in (None, 1002, 1007, 1009)
    plain = body[:LIMIT]
    sent = frame(2, deflate(plain, level), compressed=True)
    parser = FrameParser(LIMIT, 16, Inflater(LIMIT))
    masked = sent[:1] + bytes((sent[1] | 0x80,)) + _length_of(sent) + b"\0\0\0\0" + sent[2 + len(_length_of(sent)) :]
    assert parser.feed(masked, 100) == [(2, plain)]
    with contextlib.suppress(UnicodeDecodeError):
        agreed = negotiate(body.decode())
        assert agreed is None or "\r" not in agreed.response


def _length_of(sent: bytes) -> bytes:
    return sent[2:4] if sent[1] == 126 else sent[2:10] if sent[1] == 127 else b""


def requests_in(parts: Iterator[bytes]) -> tuple[list[Request], int | None]:
    """Requests, and the status that ended them."""
    taken: list[Request] = []
    http = HttpReader(LIMIT, LIMIT)
    try:
        for part in parts:
            http.feed(part)
            while (request := http.next_request()) is not None:
                taken.append(request)
                if request.is_upgrade or not http.may_reuse:
                    return taken, None
    except FastWSError as error:
        return taken, error.status
    return taken, None


def handshake(data: bytes) -> None:
    """Requests mean the same however they are cut; an upgrade gets a 101 without a word of the client's, or 4xx.

    What the direct reader of plain upgrades takes, the full parser takes with equal fields.
    """
    head = data[: data.find(b"\r\n\r\n") + 4]
    plain = read_common_upgrade(head)
    if plain is not None:
        assert plain == HttpReader(LIMIT, LIMIT)._parse_head(head)
        check_upgrade(replace(plain, is_plain=False))
    whole, status = requests_in(iter((data,)))
    assert (whole, status) == requests_in(pieces(data))
    assert status in (None, 400, 413, 431)
    for request in whole:
        ORIGINS.allows(request.header("origin"))
        HOSTS.allows(request.header("host"))
        client = PROXIES.client_address("10.1.1.1", request.header("x-forwarded-for"))
        assert parse_address(client) is not None
        try:
            path = request.path
        except BadRequest:
            continue  # it hides letters or slashes in escapes
        answer = render_response(404, [("X", path), ("Y", str(request.headers))], b"", keep_alive=True)
        assert answer.count(b"\r\n") == 6
        if not request.is_upgrade:
            continue
        try:
            check_upgrade(request)
            _, subprotocol = negotiate_codec(subprotocols(request), request.query.get("format"))
        except FastWSError as error:
            assert 400 <= error.status < 500  # noqa: PT017 not a test's expectation but a promise
            continue
        offers = request.header("sec-websocket-extensions")
        agreed = None if offers is None else negotiate(offers)
        accepted = accept_response(
            request, subprotocol=subprotocol, extensions=None if agreed is None else agreed.response
        )
        assert accepted.startswith(b"HTTP/1.1 101 ")
        assert accepted.count(b"\r\n\r\n") == 1
        assert accepted.isascii()


def proxy_header(data: bytes) -> None:
    """The PROXY protocol's header is read, waited for or refused, and no more is waited for than 4 KiB."""
    for start in (b"", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n"):
        with contextlib.suppress(BadRequest):
            header = read_proxy_header(start + data)
            if header is None:
                assert len(start + data) < 16 + 4096
            else:
                assert header.size <= len(start + data)
                assert header.source is None or parse_address(header.source) is not None


def codecs(data: bytes) -> None:
    """A payload is read or refused; what is read can be said in both codecs or is refused; no dialect trips over it."""
    with contextlib.suppress(InvalidPayload):
        check_tokens(data * (1 + 20_000 // (1 + len(data))))
    for codec in (JSON, MSGPACK):
        try:
            value = codec.loads(data)
        except FastWSError as error:
            assert error.code in ("bad_request", "invalid_text")  # noqa: PT017
            assert len(error.message) < 500  # noqa: PT017
            continue
        for other in (JSON, MSGPACK):
            with contextlib.suppress(Unencodable):
                assert isinstance(other.dumps({"data": value}), bytes)
        for dialect in DIALECTS:
            with contextlib.suppress(FastWSError):
                dialect.parse(value)
        for read in (lambda v: job_publication(v, "jobs", now=0.0), lambda v: workspace_publication(v, "workspace:w")):
            with contextlib.suppress(FastWSError):
                publication = read(value)
                for dialect in DIALECTS:
                    with contextlib.suppress(Unencodable):
                        JSON.dumps(dialect.delivery(publication))


def tokens(data: bytes) -> None:
    """Whatever a header and claims say, signed by the right key too, is somebody or is refused with the one text."""
    header, _, claims = data.partition(b"\n")
    signed = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in (header, claims))
    signature = urlsafe_b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).rstrip(b"=")
    for token in (data.decode("latin-1"), f"{signed.decode()}.{signature.decode()}"):
        try:
            identity = TOKENS.verify(token)
        except Unauthorized as error:
            assert error.message == REFUSAL  # noqa: PT017
            continue
        assert identity.user
        assert math.isfinite(identity.expires_at)
        for channel in ("a", f"user:{identity.user}", "user:*", "workspace:w"):
            for allows in (PERMISSIONS.may_subscribe, PERMISSIONS.may_publish):
                allows(identity, channel, needs_token=False)


def envelope(data: bytes) -> None:
    """What comes from Redis is a publication or refused; what is one goes round again unchanged."""
    for payload in (data, b"\xc1\x01j" + data, b"\xc1\x01m\x00\x00\x00" + data):
        try:
            letter = decode(payload, "channel", LIMIT)
        except BadRequest:
            continue
        try:
            again = decode(encode(letter.publication, "node", 1), letter.publication.channel)
        except Unencodable:
            continue
        except FastWSError as error:
            raise AssertionError(f"{letter} was read, and written cannot be read: {error}") from error
        assert _plain(again.publication) == _plain(letter.publication)
        for codec in (JSON, MSGPACK):
            with contextlib.suppress(Unencodable):
                codec.dumps({"data": letter.publication.data})


def _plain(publication: Publication) -> tuple[object, ...]:
    body = encode_body(publication.data)
    assert isinstance(body, Encoded)
    return publication.channel, publication.event, publication.type, publication.timestamp, body.codec, body.body


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reader": reader,
    "deflate": deflation,
    "handshake": handshake,
    "proxy_header": proxy_header,
    "codecs": codecs,
    "tokens": tokens,
    "envelope": envelope,
}
