"""Hostile bytes against the wire room as a whole: every attack ends in its code, at once and in bounded memory."""

from __future__ import annotations

import itertools
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from fastws.errors import FastWSError, HeadersTooLarge
from fastws.wire.deflate import Inflater, deflate, negotiate
from fastws.wire.frame_parser import FrameParser
from fastws.wire.frame_reader import read_frames
from fastws.wire.handshake import accept_response, check_upgrade, subprotocols
from fastws.wire.http_reader import HttpReader, render_response
from fastws.wire.opcodes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from fastws.wire.request import Request

Masked = Callable[..., bytes]
MIB = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
RSV1 = 4


def upgrade(*more: str, first: str = "GET /ws HTTP/1.1", key: str | None = KEY, version: str | None = "13") -> bytes:
    lines = [first, "Host: a.example", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}"] if key is not None else []
    lines += [f"Sec-WebSocket-Version: {version}"] if version is not None else []
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1")


def answer_to(data: bytes) -> tuple[list[int], Request | None]:
    """The statuses that a connection would answer `data` with, up to the first that ends HTTP; the upgraded request."""
    reader = HttpReader(16384, 1000)
    statuses: list[int] = []
    try:
        reader.feed(data)
        while (request := reader.next_request()) is not None:
            if request.is_upgrade:
                check_upgrade(request)
                return [*statuses, 101], request
            statuses.append(200)
            if not reader.may_reuse:
                break
    except FastWSError as error:
        return [*statuses, error.status], None
    return statuses, None


def peak_of(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestHandshake:
    """Rows A1 to A8, A10 and A11."""

    @pytest.mark.parametrize(
        "key", [None, "", "AAAA", "AAAAAAAAAAA=", "A" * 24, "A" * 22 + "=", KEY + "=", "A" * 10_000]
    )
    def test_a1_a_key_that_is_not_16_bytes_once(self, key: str | None) -> None:
        assert answer_to(upgrade(key=key))[0] == [400]

    def test_a1_two_keys(self) -> None:
        assert answer_to(upgrade(f"Sec-WebSocket-Key: {KEY}"))[0] == [400]

    @pytest.mark.parametrize("version", ["12", "8", "13, 8", "1" + "0" * 20, "1_3", "013", "13.0", "-13"])
    def test_a2_another_version(self, version: str) -> None:
        assert answer_to(upgrade(version=version))[0] == [426]

    def test_a2_no_version(self) -> None:
        assert answer_to(upgrade(version=None))[0] == [400]

    @pytest.mark.parametrize(
        ("first", "status"),
        [
            ("POST /ws HTTP/1.1", 405),
            ("HEAD /ws HTTP/1.1", 405),
            ("get /ws HTTP/1.1", 405),
            ("CONNECT a:80 HTTP/1.1", 400),
            ("GET /ws HTTP/1.0", 400),
            ("GET /ws HTTP/9.9", 400),
            ("GET /ws HTTP/2.0", 400),
            ("GET /ws", 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n", 400),
        ],
    )
    def test_a3_another_method_or_version_of_http(self, first: str, status: int) -> None:
        assert answer_to(upgrade(first=first))[0] == [status]

    def test_a4_no_host_or_two(self) -> None:
        assert answer_to(upgrade().replace(b"Host: a.example\r\n", b""))[0] == [400]
        assert answer_to(upgrade("Host: b.example"))[0] == [400]
        assert answer_to(upgrade("host: a.example"))[0] == [400]

    @pytest.mark.parametrize(
        "header",
        [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding : chunked",
            "Content-Length: -1",
            "Content-Length: +5",
            "Content-Length: 1_0",
            "Content-Length: 1" + "0" * 30,
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5",
        ],
    )
    def test_a5_nothing_smuggled_is_answered(self, header: str) -> None:
        smuggled = b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n"
        assert answer_to(upgrade(header) + smuggled)[0] == [400]

    def test_a5_of_two_upgrades_in_one_segment_only_the_first_is_answered(self) -> None:
        assert answer_to(upgrade() + upgrade())[0] == [101]
        assert read_frames(upgrade(), 0, MIB, 10) == ([], 0)
        parser = FrameParser(MIB, 10)
        parser.feed(upgrade(), 10)
        assert parser.failure is not None
        assert parser.failure.violation_code == 1002

    @pytest.mark.parametrize(
        "line",
        [
            "A: \x00",
            "A: b\rc",
            "A: b\nc: d",
            "A: b\r\n c",
            "A(: b",
            ": b",
            "A : b",
            "A",
            "\xff: b",
            " A: b",
            "A: \x08",
            "A: \x7f",
        ],
    )
    def test_a6_malformed_header_lines(self, line: str) -> None:
        assert answer_to(upgrade(line))[0] == [400]

    def test_a7_nothing_of_the_client_begins_a_header(self) -> None:
        _, request = answer_to(
            upgrade(
                "Sec-WebSocket-Protocol: a%0d%0aSet-Cookie: x, fastws.json, b\tc, <script>",
                "Origin: https://a%0d%0ab",
                first="GET /%0d%0aSet-Cookie:%20x?y=%0d%0az HTTP/1.1",
            )
        )
        assert request is not None
        assert subprotocols(request) == ["fastws.json"]
        accepted = accept_response(request, subprotocol="fastws.json", extensions=None)
        refused = render_response(
            404, [("X-Path", request.path), ("X-Query", request.query["y"])], b"", keep_alive=False
        )
        for response in (accepted, refused):
            head, _, rest = response.partition(b"\r\n\r\n")
            assert rest == b""
            assert not any(line.lower().startswith(b"set-cookie") for line in head.splitlines())

    @pytest.mark.parametrize(
        "attack",
        [
            b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * MIB + b"\r\n\r\n",
            upgrade(*("a: b" for _ in range(10_000))),
            upgrade("Cookie: " + "c" * 32768),
        ],
        ids=["URL", "header", "headers", "cookie"],
    )
    def test_a8_too_much_header(self, attack: bytes) -> None:
        started = time.process_time()
        assert answer_to(attack)[0] == [431]
        assert time.process_time() - started < 0.1

    def test_a8_headers_without_end(self) -> None:
        def lines_taken() -> int:
            reader = HttpReader()
            reader.feed(b"GET / HTTP/1.1\r\n")
            for taken in itertools.count():
                reader.feed(b"a: bbbb\r\n")
                try:
                    reader.next_request()
                except HeadersTooLarge:
                    return taken
            raise AssertionError

        assert lines_taken() < 2000
        assert peak_of(lines_taken) < MIB

    @pytest.mark.parametrize(
        "evil",
        [
            "a" + "; a=" * 3900,
            '"' * 16000,
            '\\"' * 8000,
            "a, " * 5000,
            "a;" + " " * 14900 + "b",
            "5," + " " * 14900 + "5",
            "permessage-deflate; " * 780,
            "permessage-deflate; client_max_window_bits=" + "1" * 15000,
        ],
    )
    def test_a10_headers_that_stall_a_naive_pattern(self, evil: str) -> None:
        head = upgrade(f"Sec-WebSocket-Extensions: {evil}"[:15_000])
        started = time.process_time()
        for name in (
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Protocol",
            "Connection",
            "Upgrade",
            "Host",
            "Content-Length",
            "Transfer-Encoding",
        ):
            answer_to(upgrade(f"{name}: {evil}"[:15_000]))
        assert answer_to(head)[0] == [101]
        assert negotiate(evil) is None
        subprotocols(Request("GET", "/", "1.1", {"sec-websocket-protocol": evil}))
        assert time.process_time() - started < 0.5

    @pytest.mark.parametrize(
        "parameters",
        [
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=0x0f",
            "x",
            "client_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits=9; client_max_window_bits=9",
        ],
    )
    def test_a11_a_malformed_offer_is_declined_and_the_upgrade_goes_on(self, parameters: str) -> None:
        offer = f"permessage-deflate; {parameters}"
        statuses, request = answer_to(upgrade(f"Sec-WebSocket-Extensions: {offer}"))
        assert statuses == [101]
        assert request is not None
        assert request.header("sec-websocket-extensions") == offer
        assert negotiate(offer) is None

    @pytest.mark.parametrize("name", ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"])
    def test_a11_bytes_that_are_no_ascii_are_refused(self, name: str) -> None:
        assert answer_to(upgrade(f"{name}: \xff"))[0] == [400]


def code_after(data: bytes, *, limit: int = MIB, max_fragments: int = 4096, deflated: bool = False) -> int | None:
    """The close code that `data` leads to, read as the connection reads it; None while all is well."""
    _, used = read_frames(data, 0, limit, 1_000_000)
    parser = FrameParser(limit, max_fragments, Inflater(limit) if deflated else None)
    parser.feed(data[used:], 1_000_000)
    return None if parser.failure is None else parser.failure.violation_code


class TestFrames:
    """Rows B1 to B4 and B6."""

    def test_b1_what_breaks_the_framing(self, masked: Masked) -> None:
        attacks = {
            "unmasked": b"\x81\x01a",
            "unmasked and empty": b"\x89\x00",
            **{f"RSV {rsv}": masked(TEXT, b"a", rsv=rsv) for rsv in range(1, 8)},
            **{f"opcode {opcode}": masked(opcode, b"") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
            **{f"fragmented control {opcode}": masked(opcode, b"", final=False) for opcode in (CLOSE, PING, PONG)},
            **{f"control of 126 bytes {opcode}": masked(opcode, b"x" * 126) for opcode in (CLOSE, PING, PONG)},
            "close of 1 byte": masked(CLOSE, b"\x03"),
            "stray continuation": masked(CONTINUATION, b"a"),
            "stray open continuation": masked(CONTINUATION, b"", final=False),
            "interleaved": masked(TEXT, b"a", final=False) + masked(TEXT, b"b"),
            "interleaved after a ping": masked(TEXT, b"", final=False) + masked(PING, b"") + masked(BINARY, b""),
        }
        assert {name: code_after(data) for name, data in attacks.items()} == dict.fromkeys(attacks, 1002)

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
    def test_b1_close_codes_that_never_stand_in_a_frame(self, masked: Masked, code: int) -> None:
        assert code_after(masked(CLOSE, code.to_bytes(2, "big"))) == 1002

    @pytest.mark.parametrize("bad", ["ff", "c080", "eda080", "f4908080", "c3", "e282", "80"])
    def test_b2_bad_text(self, masked: Masked, bad: str) -> None:
        text = "é".encode() + bytes.fromhex(bad)
        assert code_after(masked(PING, b"") + masked(CLOSE, b"\x03\xe8" + text)) == 1007
        for cut in range(len(text) + 1):
            data = masked(TEXT, text[:cut], final=False) + masked(CONTINUATION, text[cut:])
            assert code_after(data) == 1007

    @pytest.mark.parametrize("bad", ["ff", "c080", "edbfbf", "f4908080"])
    def test_b2_bad_text_fails_before_the_message_ends(self, masked: Masked, bad: str) -> None:
        assert code_after(masked(TEXT, b"a" + bytes.fromhex(bad), final=False)) == 1007
        assert code_after(masked(TEXT, b"a" + bytes.fromhex(bad) + b"b" * 100)[:-90]) == 1007

    @pytest.mark.parametrize("short", [0, 1])
    def test_b3_a_length_beyond_reason_fails_before_the_payload(self, masked: Masked, short: int) -> None:
        def header(length: int) -> bytes:
            return b"\x82\xff" + length.to_bytes(8, "big") + b"1234"[: 4 * (1 - short)]

        assert [code_after(header(n)) for n in (1 << 63, (1 << 64) - 1, 1 << 62, MIB + 1, MIB)] == [
            1002,
            1002,
            1009,
            1009,
            None,
        ]
        begun = masked(BINARY, b"x" * 70_000, final=False)
        assert code_after(begun + b"\x80" + header(MIB - 70_000 + 1)[1:]) == 1009
        assert code_after(begun + b"\x80" + header(MIB - 70_000)[1:]) is None

    def test_b4_fragments_without_end_are_cut_off_by_number_and_by_size(self, masked: Masked) -> None:
        first = masked(BINARY, b"", final=False)
        assert code_after(first + masked(CONTINUATION, b"", final=False) * 200_000) == 1008
        assert code_after(first + masked(CONTINUATION, b"x", final=False) * 5000) == 1008
        assert code_after(first + masked(CONTINUATION, b"x" * 60_000, final=False) * 20) == 1009

    def test_b4_a_fragment_costs_no_more_memory_than_its_bytes(self, masked: Masked) -> None:
        data = masked(BINARY, b"", final=False) + masked(CONTINUATION, b"x", final=False) * 20_000
        parser = FrameParser(MIB, 1_000_000)
        assert peak_of(lambda: parser.feed(data, 1_000_000)) < MIB // 4

    def test_b6_a_session_byte_by_byte_is_the_same_session(self, masked: Masked) -> None:
        reader, parser = HttpReader(), FrameParser(MIB, 10)
        request = None
        for byte in upgrade():
            reader.feed(bytes((byte,)))
            request = reader.next_request()
        assert request is not None
        events = []
        for byte in (
            masked(TEXT, b"abc") + masked(PING, b"") + masked(BINARY, b"", final=False) + masked(CONTINUATION, b"d")
        ):
            events += parser.feed(bytes((byte,)), 10)
        assert events == [(TEXT, b"abc"), (PING, b""), (BINARY, b"d")]
        assert parser.is_idle

    def test_b6_a_thousand_frames_behind_the_handshake_keep_their_order(self, masked: Masked) -> None:
        reader = HttpReader()
        reader.feed(upgrade() + b"".join(masked(TEXT, b"%d" % n) for n in range(1000)))
        assert reader.next_request() is not None
        found, _ = read_frames(reader.trailing(), 0, MIB, 2000)
        assert found == [(TEXT, b"%d" % n) for n in range(1000)]


class TestCompression:
    """Rows C1, C2 and C4."""

    @pytest.mark.parametrize("fragments", [1, 7])
    def test_c1_a_bomb_is_cut_off_at_the_limit(self, masked: Masked, fragments: int) -> None:
        bomb = deflate(b"a" * (64 * MIB), 9)
        step = len(bomb) // fragments + 1
        pieces = [bomb[at : at + step] for at in range(0, len(bomb), step)]
        data = masked(TEXT, pieces[0], final=fragments == 1, rsv=RSV1)
        data += b"".join(masked(CONTINUATION, piece, final=piece is pieces[-1]) for piece in pieces[1:])
        codes: list[int | None] = []
        peak = peak_of(lambda: codes.append(code_after(data, deflated=True)))
        assert codes == [1009]
        assert peak < 5 * MIB

    def test_c1_twenty_bombs_at_once_stay_within_twenty_limits(self, masked: Masked) -> None:
        bomb = masked(TEXT, deflate(b"a" * (16 * MIB), 9)[:-100], rsv=RSV1, final=False)
        limit = MIB // 4
        inboxes = [FrameParser(limit, 10, Inflater(limit)) for _ in range(20)]
        assert peak_of(lambda: [parser.feed(bomb, 10) for parser in inboxes]) < 20 * limit
        assert all(parser.failure is not None for parser in inboxes)

    def test_c2_data_that_is_not_deflate(self, masked: Masked) -> None:
        far = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=b"0123456789" * 10)
        reference = far.compress(b"0123456789" * 10) + far.flush(zlib.Z_SYNC_FLUSH)
        for payload in (b"\xff\xff\xff", b"\x00\x01\x02\x03\x04\x05", reference[:-4]):
            assert code_after(masked(TEXT, payload, rsv=RSV1), deflated=True) == 1007

    def test_c2_rsv1_where_it_may_not_be(self, masked: Masked) -> None:
        begun = masked(TEXT, b"", rsv=RSV1, final=False)
        assert code_after(begun + masked(CONTINUATION, b"", rsv=RSV1), deflated=True) == 1002
        assert code_after(masked(PING, b"", rsv=RSV1), deflated=True) == 1002
        assert code_after(masked(CLOSE, b"", rsv=RSV1), deflated=True) == 1002
        assert code_after(masked(TEXT, b"", rsv=2), deflated=True) == 1002

    def test_c2_ten_thousand_empty_blocks_are_fine(self, masked: Masked) -> None:
        assert code_after(masked(TEXT, b"\x00\x00\x00\xff\xff" * 10_000 + b"\x00", rsv=RSV1), deflated=True) is None

    def test_c4_a_bomb_right_behind_the_handshake(self, masked: Masked) -> None:
        reader = HttpReader()
        bomb = deflate(b"a" * (16 * MIB), 9)
        reader.feed(upgrade("Sec-WebSocket-Extensions: permessage-deflate") + masked(TEXT, bomb, rsv=RSV1))
        assert reader.next_request() is not None
        assert code_after(reader.trailing(), deflated=True) == 1009
