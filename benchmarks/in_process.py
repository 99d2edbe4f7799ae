"""A server without sockets: its protocols on a transport that accepts everything, to time the message path alone."""

from __future__ import annotations

from fastws.config import Config
from fastws.server.server import Server
from fastws.transport.websocket import Connection

HEAD = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Sink:
    """An asyncio transport whose peer reads at once. It counts writes and bytes."""

    def __init__(self) -> None:
        self.writes = 0
        self.bytes = 0
        self.protocol: Connection | None = None

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.bytes += len(data)

    def writelines(self, data: list[bytes]) -> None:
        self.writes += 1
        self.bytes += sum(map(len, data))

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 50000) if name == "peername" else default

    def set_protocol(self, protocol: Connection) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


async def server() -> Server:
    """Returns a started server without rate limits."""
    started = Server(Config(port=0, message_rate=0.0, log_level="error"))
    await started.start()
    return started


def connect(started: Server) -> tuple[Sink, Connection]:
    """Returns a connected client."""
    sink = Sink()
    http = started.assembly.client_protocol()
    http.connection_made(sink)  # type: ignore[arg-type] # it has the methods that are used
    http.data_received(HEAD)
    assert sink.protocol is not None
    return sink, sink.protocol


def masked(payload: bytes) -> bytes:
    """Returns `payload` as a client's text frame."""
    mask = b"\x1f\x2e\x3d\x4c"
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xFE]) + size.to_bytes(2, "big")
    return head + mask + bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
