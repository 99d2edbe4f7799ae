"""Chromium, servers of their own process, and a front end at another address."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.ports import free_port

KEY = "the-broadcast-key-of-the-browser-tests"
SECRET = "a JWT secret of the browser tests, longer than 32 bytes"
AWS_CREDENTIALS = ("AKIDBROWSER", "the-aws-secret-of-the-browser-tests")
START_SECONDS = 30.0
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# A server that starts on a busy machine takes seconds, and clients wait longer after each attempt.
expect.set_options(timeout=60_000)


class ServerProcess:
    """`fastws serve` on a port that stays the same over restarts."""

    def __init__(self, *flags: str) -> None:
        self.port = free_port()
        self.flags = flags
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        credentials = {"FASTWS_BROADCAST_KEY": KEY, "FASTWS_AWS_CREDENTIALS": ":".join(AWS_CREDENTIALS)}
        environment = {**os.environ, "FASTWS_JWT_SECRET": SECRET, **credentials}
        command = [sys.executable, "-m", "fastws", "serve", "--port", str(self.port), "--drain-timeout", "1"]
        self.process = subprocess.Popen(
            [*command, *self.flags], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}ready", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(START_SECONDS)
            self.process = None

    def restart(self, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def call(self, path: str, body: object = None, method: str | None = None) -> Any:
        """The answer to a request with the broadcast key; POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def publish(self, channel: str, event: str, data: object, **more: object) -> Any:
        return self.call("broadcast", {"channel": channel, "event": event, "data": data, **more})

    def post_to_connection(self, connection_id: str, body: object) -> None:
        """Send `body` to one connection verbatim, as boto3 does."""
        key_id, secret = AWS_CREDENTIALS
        client = boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=f"{self.url}production",
            region_name="eu-central-1",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
        )
        with closing(client):
            client.post_to_connection(ConnectionId=connection_id, Data=json.dumps(body).encode())


def token(user: str = "ada", ttl: float = 600.0, **claims: object) -> str:
    """A JWT for the servers of these tests, for the workspace w and every channel."""
    now = time.time()
    given = {"sub": user, "iat": now, "exp": now + ttl, "workspace_id": "w", "channels": ["**"], "publish": ["**"]}
    return jwt.encode({**given, **claims}, SECRET, algorithm="HS256")


@pytest.fixture(scope="session")
def _shared_server() -> Iterator[ServerProcess]:
    started = ServerProcess()
    started.start()
    yield started
    started.stop(signal.SIGKILL)


@pytest.fixture
def server(_shared_server: ServerProcess) -> ServerProcess:
    """A server that all tests share and must not stop."""
    return _shared_server


@pytest.fixture
def own_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers of the test's own: `own_server("--redis-url", url)`."""
    servers: list[ServerProcess] = []

    def start(*flags: str) -> ServerProcess:
        servers.append(ServerProcess(*flags))
        servers[-1].start()
        return servers[-1]

    yield start
    for each in servers:
        each.stop(signal.SIGKILL)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _browser() -> AsyncIterator[Browser]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(_browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await _browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page. Uncaught errors and errors on its console fail the test."""
    page = await context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Many tests stop a server, and Chromium itself logs that as an error.
        if message.type == "error" and not any(word in message.text for word in ("WebSocket", "net::", "status of")):
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", note)
    yield page
    assert not errors, errors


class FrontEnd:
    """Serves the files of an application at another address than the server that it connects to."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        files = self.files

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server calls
                kind, body = files.get(self.path, ("text/plain", b""))
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def put(self, path: str, body: str, kind: str = "text/javascript") -> None:
        self.files[path] = (kind, body.encode())

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def front_end() -> Iterator[FrontEnd]:
    started = FrontEnd()
    yield started
    started.close()
