"""A name server that answers when it is told to, for this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastws.resolver import Found

PATIENCE_SECONDS = 30.0
FOUND = [Found(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 80))]


class NameServer:
    """In place of the C library's resolver: asked by `getaddrinfo`, it answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: list[Found] | Exception = FOUND
        self.speak = threading.Event()
        self._getaddrinfo = socket.getaddrinfo

    def __call__(self, host: str, port: Any, family: int = 0, kind: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if not host.endswith(".example"):
            return self._getaddrinfo(host, port, family, kind, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        self.asked.append(host)
        assert self.speak.wait(PATIENCE_SECONDS)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.speak.set()
    for thread in threading.enumerate():
        if thread.name.startswith("fastws-lookup"):
            thread.join(PATIENCE_SECONDS)
