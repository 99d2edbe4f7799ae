"""A client down to its bytes: sends what no library would, and reads what comes back."""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
from types import TracebackType

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SECONDS = 40.0


def upgrade(path: str = "/", *headers: str, host: str = "localhost") -> bytes:
    """A plain opening handshake with more headers."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def masked(opcode: int, payload: bytes = b"", *, final: bool = True, rsv: int = 0, key: bytes = b"\0\0\0\0") -> bytes:
    """A client's frame. The masking key of zeros leaves the payload readable; pass another to scramble it."""
    first = (0x80 if final else 0) | rsv << 4 | opcode
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    if key != b"\0\0\0\0":
        payload = bytes(byte ^ key[position % 4] for position, byte in enumerate(payload))
    return head + key + payload


class RawClient:
    """A socket and the bytes read from it."""

    def __init__(
        self,
        port: int,
        *,
        receive_buffer: int | None = None,
        source: str | None = None,
        tls: ssl.SSLContext | None = None,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> None:
        self.socket: socket.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(SECONDS)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.bytes = bytearray()
        self.status = 0
        self.head = ""

    # --- out

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_json(self, message: object) -> None:
        self.send(masked(TEXT, json.dumps(message).encode()))

    def say(self, message: object) -> dict[str, object]:
        """Send `message`; the next message that comes."""
        self.send_json(message)
        return self.receive_json()

    def upgrade(self, path: str = "/", *headers: str, host: str = "localhost") -> int:
        """Send an opening handshake; the status of the answer."""
        self.send(upgrade(path, *headers, host=host))
        return self.read_head()

    # --- in

    def read_head(self) -> int:
        """The status of the response; 0 when the connection ends before there is one."""
        while b"\r\n\r\n" not in self.bytes:
            if not self._read():
                return 0
        head, _, rest = bytes(self.bytes).partition(b"\r\n\r\n")
        self.bytes = bytearray(rest)
        self.head = head.decode("latin-1")
        self.status = int(self.head.split(" ", 2)[1])
        return self.status

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame; None at the end of the connection."""
        while True:
            frame = self._take_frame()
            if frame is not None:
                return frame
            if not self._read():
                return None

    def receive_json(self) -> dict[str, object]:
        """The next message."""
        while True:
            frame = self.receive()
            assert frame is not None, "the connection ended"
            assert frame[0] != CLOSE, frame
            if frame[0] in (TEXT, BINARY):
                message: dict[str, object] = json.loads(frame[1])
                return message

    def read_to_the_end(self) -> int | None:
        """Read everything until the connection ends; the code of the close frame, None if there was none."""
        code = None
        while (frame := self.receive()) is not None:
            if frame[0] == CLOSE:
                code = int.from_bytes(frame[1][:2], "big")
        return code

    def read_all(self) -> bytes:
        """Every byte until the connection ends."""
        while self._read():
            pass
        everything, self.bytes = bytes(self.bytes), bytearray()
        return everything

    def is_closed(self) -> bool:
        """Whether the server has closed or reset the connection, once what it sent is read."""
        self.socket.setblocking(False)
        try:
            while True:
                if not self.socket.recv(65536):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(SECONDS)

    def _read(self) -> bool:
        try:
            data = self.socket.recv(262_144)
        except (ConnectionError, ssl.SSLError):
            return False
        self.bytes += data
        return bool(data)

    def _take_frame(self) -> tuple[int, bytes] | None:
        data = self.bytes
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2
        if length > 125:
            start = 4 if length == 126 else 10
            if len(data) < start:
                return None
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            return None
        frame = data[0] & 0x0F, bytes(data[start : start + length])
        del data[: start + length]
        return frame

    # --- the end

    def reset(self) -> None:
        """RST: no goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connected(port: int, path: str = "/", *headers: str, host: str = "localhost", **options: object) -> RawClient:
    """A client after its upgrade and, where the dialect greets, its greeting."""
    client = RawClient(port, **options)  # type: ignore[arg-type]
    try:
        status = client.upgrade(path, *headers, host=host)
        assert status == 101, client.head + client.bytes.decode("latin-1")
    except BaseException:
        client.close()
        raise
    if not path.startswith("/ws") or "token=" in path:
        client.receive_json()
    return client


def random_key() -> bytes:
    return os.urandom(4)
