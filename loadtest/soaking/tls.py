"""TLS clients: a certificate made for the run, and clients whose Finished and upgrade request share a segment."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import random
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from soaking.basic_clients import BACKOFF_SECONDS, GONE, OPEN_SECONDS, take
from soaking.conversation import Conversation, Message, text_frame, upgrade_request
from soaking.ledger import DeliveryCheck, Ledger

STAY_SECONDS = 3.0
READ_BYTES = 65_536


class Certificate:
    """A self-signed certificate of localhost and 127.0.0.1, with its key, in files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - dt.timedelta(days=1),
            not_valid_after=now + dt.timedelta(days=30),
        ).add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(key, hashes.SHA256())
        self.cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        self.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))

    @property
    def flags(self) -> list[str]:
        """For `fastws serve`."""
        return ["--tls-cert", str(self.cert), "--tls-key", str(self.key)]

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.cert))


class TlsSocket:
    """TLS over a socket, with a buffer: `flush` sends what was written, in one call."""

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._loop = asyncio.get_running_loop()

    async def handshake(self) -> None:
        """Complete the handshake. The client's Finished stays in the buffer and is sent with the next data."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._receive()
            else:
                return

    def write(self, data: bytes) -> None:
        self._tls.write(data)

    async def flush(self) -> None:
        """Send everything in one call."""
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._plain, self._outgoing.read())

    async def read(self) -> bytes:
        """Returns at least one byte. Raises EOFError at the end."""
        while True:
            try:
                if data := self._tls.read(READ_BYTES):
                    return data
                raise EOFError
            except ssl.SSLWantReadError:
                await self._receive()

    async def _receive(self) -> None:
        data = await self._loop.sock_recv(self._plain, READ_BYTES)
        if not data:
            raise EOFError
        self._incoming.write(data)


class EagerTlsClient:
    """Sends its Finished and its upgrade request in one segment, subscribes, listens for a while and reconnects."""

    def __init__(
        self, url: str, ledger: Ledger, name: str, channels: list[str], rng: random.Random, context: ssl.SSLContext
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 443)
        self._ledger, self._name, self._channels, self._rng, self._context = ledger, name, channels, rng, context
        self.check: DeliveryCheck | None = None
        self.is_stopping = False
        self._asked = ""
        self._is_answered = False
        self._unsent = b""

    async def run(self) -> None:
        while not self.is_stopping:
            await self.visit()

    async def visit(self) -> None:
        """Connect, listen for a while, leave."""
        self._asked, self._is_answered = "connect", False
        try:
            await self._converse()
        except TimeoutError:
            self._ledger.fault("TLS client not answered", f"{self._name} waited {OPEN_SECONDS:g} s: {self._asked}")
        except (*GONE, ssl.SSLError):
            self._ledger.counts["TLS client reconnected"] += 1
            await asyncio.sleep(self._rng.random() * BACKOFF_SECONDS)
        self.check = None

    async def _converse(self) -> None:
        loop = asyncio.get_running_loop()
        conversation = Conversation(self._on_message)
        with socket.socket() as plain:
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(plain, (self._host, self._port))
            tls = TlsSocket(plain, self._context, "localhost")
            async with asyncio.timeout(OPEN_SECONDS):
                self._asked = "handshake"
                await tls.handshake()
                self._asked = "upgrade"
                tls.write(upgrade_request(f"localhost:{self._port}"))
                while not self._is_answered:
                    await self._go_on(tls, conversation)
            self._ledger.counts["TLS sessions with a joined Finished"] += 1
            self._ledger.tried["tls"] += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STAY_SECONDS * (0.5 + self._rng.random())):
                    while conversation.close_code is None:
                        await self._go_on(tls, conversation)
                    self._ledger.lost(self._name, conversation.close_code)

    async def _go_on(self, tls: TlsSocket, conversation: Conversation) -> None:
        await tls.flush()
        answers = conversation.feed(await tls.read())
        if answers or self._unsent:
            tls.write(answers + self._unsent)
            self._unsent = b""

    def _on_message(self, message: Message) -> None:
        kind = message.get("type")
        if kind == "connection_id":
            self._asked = "ping"  # answered without Redis, which may be away
            self._unsent += text_frame(action="ping")
        elif kind == "pong":
            self._is_answered = True
            self._channel = self._rng.choice(self._channels)
            self._unsent += text_frame(action="subscribe", channel=self._channel)
        elif kind == "subscription_succeeded":
            self.check = DeliveryCheck(self._ledger, self._name, self._channel)
        elif self.check is None:
            raise ConnectionError(f"unexpected reply to subscribe: {message}")
        else:
            take(self._ledger, self._name, message, self.check)
