"""A server that answers POST /broadcast as a test says, on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: Any


class Peer:
    """`requests` are those received. It gives `answers` in turn, then 200 for everything.

    An answer is (status, headers, body), or "break" for a connection that ends without one.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Any] = []
        self.gone: set[str] = set()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                peer.requests.append(Request(self.path, dict(self.headers), body))
                answer = peer.answers.pop(0) if peer.answers else (200, {}, peer.outcomes(body))
                if answer == "break":
                    self.close_connection = True
                    return
                status, headers, content = answer
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def outcomes(self, body: Any) -> Any:
        if "messages" in body:
            return {"results": [self.outcomes(message) for message in body["messages"]]}
        if body.get("connectionId") in self.gone:
            return {"sent": 0, "failed": 0, "stale": 1}
        return {"sent": 1, "failed": 0, "stale": 0}

    @property
    def bodies(self) -> list[Any]:
        return [request.body for request in self.requests]


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    peer.thread.start()
    yield peer
    peer.server.shutdown()
    peer.server.server_close()
    peer.thread.join()


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTWS_URL", raising=False)
    monkeypatch.delenv("FASTWS_BROADCAST_KEY", raising=False)


@pytest.fixture
def redis_url(redis_server: Any) -> str:
    """A Redis for these tests on a Unix socket."""
    return str(redis_server.url)
