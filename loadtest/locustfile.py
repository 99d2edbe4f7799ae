"""Locust users of a fastws server: subscribers, publishers, slow consumers, churners and reconnect storms.

    fastws serve --broadcast-key secret &
    locust -f loadtest/locustfile.py --host ws://127.0.0.1:8000 --broadcast-key secret --headless -u 200 -r 50 -t 30s

Leave out --headless for the web interface; use more cores with --processes 4. Delivery latency, missing and repeated
messages, and lag and gap notices appear in locust's statistics with the requests.
"""

from __future__ import annotations

import random
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent
import websocket
from connection import Closed, Connection, NoReply, Refused, fire
from delivery_check import EVENT, DeliveryCheck, NumberedMessages
from gevent.event import Event
from locust import FastHttpUser, User, between, constant, constant_pacing, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from message_codecs import CODECS

CATCH_UP_SECONDS = 0.5
SLOW_CONSUMER = 1013
_ERRORS = (Closed, NoReply, Refused, OSError, websocket.WebSocketException)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Each option is also a field of the web interface and an environment variable such as FASTWS_LOAD_CHANNELS."""

    def option(name: str, kind: Callable[[str], Any], default: Any, meaning: str, **more: Any) -> None:
        variable = f"FASTWS_LOAD_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--{name}", env_var=variable, type=kind, default=default, help=meaning, **more)

    option("channels", int, 4, "channels over which the users are spread")
    option("payload", int, 64, "bytes of text in every message")
    option("ws-format", str, "json", "message encoding of the WebSocket", choices=sorted(CODECS))
    option("token", str, "", "JWT of every user", is_secret=True)
    option("broadcast-key", str, "", "key of POST /broadcast; without it nobody broadcasts over HTTP", is_secret=True)
    option("publish-every", float, 0.5, "seconds between two messages of a publisher")
    option("slow-seconds", float, 30.0, "seconds for which a slow consumer does not read")
    option("storm-every", float, 15.0, "seconds between two reconnect storms")


class WebSocketUser(User):
    """A user with a channel and a WebSocket connection."""

    abstract = True
    wait_time = constant(1)

    def on_start(self) -> None:
        self.channel = some_channel(self.options)
        self.connection: Connection | None = None

    def on_stop(self) -> None:
        if self.connection is not None:
            self.connection.close()

    @property
    def options(self) -> Namespace:
        options = self.environment.parsed_options
        assert options is not None
        return options

    def connected(self, **more: Any) -> Connection:
        """Returns the open connection, or a new one. Raises one of `_ERRORS`."""
        if self.connection is None or self.connection.is_closed:
            self.connection = None
            url = websocket_url(self.host or "")
            options = self.options
            self.connection = Connection(
                self.environment, url, token=options.token or None, codec=options.ws_format, **more
            )
        return self.connection

    def listen(self) -> Connection:
        """Returns a connection that is subscribed to the channel."""
        known = self.connection
        connection = self.connected(on_message=DeliveryCheck(self.environment))
        if connection is not known:
            connection.subscribe(self.channel)
        return connection


class Subscriber(WebSocketUser):
    """Stays subscribed, and reconnects when it is closed."""

    weight = 60

    @task
    def stay(self) -> None:
        try:
            self.listen()
        except _ERRORS:
            self.connection = None  # already counted; the next turn tries again


class ChattyPublisher(WebSocketUser):
    """Publishes over its WebSocket and waits for each confirmation."""

    weight = 5
    wait_time = between(0.0, 0.1)

    def on_start(self) -> None:
        super().on_start()
        self.messages = NumberedMessages(self.options.payload)

    @task
    def publish(self) -> None:
        try:
            self.connected().send(self.channel, EVENT, self.messages.next())
        except _ERRORS:
            self.connection = None
            self.messages = NumberedMessages(self.options.payload)  # that message may have been delivered or not
        gevent.sleep(self.options.publish_every)


class HttpBroadcaster(FastHttpUser):
    """A backend: POST /broadcast, one message or a few at once. Needs --broadcast-key."""

    weight = 3

    def on_start(self) -> None:
        options = self.environment.parsed_options
        assert options is not None
        self.key = options.broadcast_key
        self.channel = some_channel(options)
        self.payload_bytes = options.payload
        self.messages = NumberedMessages(self.payload_bytes)

    def wait_time(self) -> float:
        options = self.environment.parsed_options
        assert options is not None
        return float(options.publish_every)

    @task
    def broadcast(self) -> None:
        if not self.key:
            return
        messages = [
            {"channel": self.channel, "event": EVENT, "data": self.messages.next()}
            for _ in range(random.choice((1, 1, 1, 5)))
        ]
        body = {"messages": messages} if len(messages) > 1 else messages[0]
        url = http_url(self.host or "") + "/broadcast"
        headers = {"Authorization": f"Bearer {self.key}"}
        with self.client.post(url, json=body, headers=headers, name="/broadcast", catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {(response.text or '')[:100]}")
                self.messages = NumberedMessages(self.payload_bytes)


class SlowConsumer(WebSocketUser):
    """Subscribes, does not read for a long time, and then reads what has arrived.

    The server should close it (1013) or report what was dropped.
    """

    weight = 3

    @task
    def stop_reading(self) -> None:
        try:
            known = self.connection
            connection = self.connected(reads=False, on_message=DeliveryCheck(self.environment, is_timed=False))
            if connection is not known:
                connection.write_subscribe(self.channel)
        except _ERRORS:
            self.connection = None
            return
        gevent.sleep(self.options.slow_seconds)
        try:
            connection.read_for(CATCH_UP_SECONDS)
        except (OSError, websocket.WebSocketException):
            fire(self.environment, "NOTICE", "slow consumer aborted", 0.0)
            self.connection = None
        if connection.close_code == SLOW_CONSUMER:
            fire(self.environment, "NOTICE", "slow consumer cut off", 0.0)


class Churner(WebSocketUser):
    """Connects, subscribes, listens for a moment and leaves, with a close frame or without."""

    weight = 10
    wait_time = between(0.0, 0.5)

    @task
    def visit(self) -> None:
        try:
            connection = self.listen()
            gevent.sleep(random.uniform(0.1, 1.0))
            if random.random() < 0.3:
                connection.unsubscribe(self.channel)
            if random.random() < 0.5:
                connection.abort()
            else:
                connection.close()
        except _ERRORS:
            pass  # already counted
        self.connection = None


class StormClient(WebSocketUser):
    """One of many that lose their connection at the same time and reconnect at once."""

    weight = 10
    disconnect_now = Event()
    wait_time = constant_pacing(0.05)

    @task
    def reconnect(self) -> None:
        try:
            self.listen()
        except _ERRORS:
            gevent.sleep(random.uniform(0.1, 1.0))
            return
        if not StormClient.disconnect_now.wait(timeout=1.0):
            return
        began = time.perf_counter()
        if self.connection is not None:
            self.connection.abort()
        self.connection = None
        while self.connection is None:
            try:
                self.listen()
            except _ERRORS:
                self.connection = None
                gevent.sleep(random.uniform(0.1, 1.0))
        fire(self.environment, "STORM", "back and subscribed", (time.perf_counter() - began) * 1000)


@events.test_start.add_listener
def start_storms(environment: Environment, **_: Any) -> None:
    """Disconnect all StormClients every --storm-every seconds."""
    options = environment.parsed_options
    if options is None:
        return

    def run_storms() -> None:
        while True:
            gevent.sleep(options.storm_every)
            StormClient.disconnect_now.set()
            gevent.sleep(0)
            StormClient.disconnect_now.clear()

    greenlet = gevent.spawn(run_storms)
    environment.events.test_stop.add_listener(lambda **_: greenlet.kill(block=False))


def some_channel(options: Namespace) -> str:
    return f"load-{random.randrange(options.channels)}"


def websocket_url(host: str) -> str:
    """Returns --host as a ws:// or wss:// URL."""
    parts = urlsplit(host)
    return parts._replace(scheme={"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)).geturl()


def http_url(host: str) -> str:
    """Returns --host as an http:// or https:// URL without a path."""
    parts = urlsplit(host)
    return f"{ {'ws': 'http', 'wss': 'https'}.get(parts.scheme, parts.scheme) }://{parts.netloc}"
