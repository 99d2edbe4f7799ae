"""Where a fuzzer begins: one honest input of each kind for every target."""

from __future__ import annotations

import msgpack

from fastws.brokers.envelope import encode
from fastws.vocabulary.publication import Publication
from fastws.wire.deflate import deflate
from tests.hostile.raw_client import BINARY, CLOSE, PING, TEXT, masked, upgrade

SUBSCRIBE = b'{"action":"subscribe","channel":"a","id":1}'
SEND = {"action": "send", "channel": "a", "event": "e", "data": {"a": [1, -1, 1.5, None, True, "ä"]}}
JOB = {"event": "job_update", "job_id": "1", "timestamp": 5, "data": {"job_id": "1", "status": "done"}}

SEEDS: dict[str, list[bytes]] = {
    "reader": [
        b"\x00" + masked(TEXT, SUBSCRIBE) + masked(PING, b"p") + masked(CLOSE, b"\x03\xe8bye"),
        b"\x10" + masked(BINARY, b"a" * 200, final=False) + masked(PING) + masked(0, b"b", key=b"abcd"),
        b"\x31" + masked(TEXT, deflate(SUBSCRIBE, 6), rsv=4),
        b"\x21" + masked(TEXT, deflate(SUBSCRIBE, 6)[:9], rsv=4, final=False) + masked(0, deflate(SUBSCRIBE, 6)[9:]),
        b"\x00" + masked(TEXT, "ä€😀".encode() * 30),
    ],
    "deflate": [
        b"\x00\x06" + SUBSCRIBE,
        b"\x48\x06" + deflate(b"a" * 5000, 9),
        b"\x00\x00permessage-deflate; client_max_window_bits=12; server_no_context_takeover",
    ],
    "handshake": [
        upgrade(),
        upgrade("/ws?token=a.b.c&format=msgpack", "Sec-WebSocket-Protocol: fastws.json, fastws.token.x"),
        upgrade("/%2e%0d", "Origin: https://a.wild.example", "X-Forwarded-For: 1.2.3.4, [2001:db8::1]:5, 10.1.1.2"),
        upgrade("/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=1"),
        b"POST /broadcast HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    ],
    "proxy_header": [
        b"192.0.2.1 192.0.2.2 8080 80\r\nGET /",
        b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
        b"\x21\x11\x00\x0c" + bytes(12),
        b"\x20\x00\x00\x00",
    ],
    "tokens": [
        b'{"alg":"HS256","typ":"JWT"}\n{"sub":"u","exp":9999999999}',
        b'{"alg":"HS256","kid":"a"}\n{"sub":"u*","exp":1e10,"channels":["a:*","{sub}:**"],"publish":["*"],"iat":5}',
        b'{"alg":"HS256"}\n{"sub":"u","exp":99999999999,"workspace_id":"w","workspaces":["w",7],"jti":"j","nbf":1}',
        b'{"alg":"none","crit":["b64"],"b64":false}\n{"sub":"u","exp":NaN,"exp":1e400,"nbf":"1"}',
    ],
    "codecs": [
        SUBSCRIBE,
        b'{"type":"subscribe","job_ids":["1"],"statuses":["done"],"event_types":["alert"],"room_id":"execution:1"}',
        b'[18446744073709551616, -9223372036854775809, 1e400, "\\ud800", 0.1e-7]',
        msgpack.packb(SEND),
        msgpack.packb(JOB),
        msgpack.packb({"data": [b"bytes", msgpack.ExtType(5, b"x"), msgpack.Timestamp(2**33, 5), 2**64 - 1]}),
    ],
    "envelope": [
        encode(Publication("a", "e", {"a": 1}, "t", "s", 5, "high", 7, "k", frozenset(("x",))), "node", 3),
        encode(Publication("a", "e", b"bytes"), "node", 3),
        b'{"event":"e","data":{"a":[1]},"type":"t","priority":"high"}',
        msgpack.packb({"event": "e", "data": b"x"}),
    ],
}
