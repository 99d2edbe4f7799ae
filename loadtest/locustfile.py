"""locust users of a fastws server: who listens, who talks, who is slow, who comes and goes.

    fastws serve --broadcast-key secret &
    locust -f loadtest/locustfile.py --host ws://127.0.0.1:8000 --broadcast-key secret --headless -u 200 -r 50 -t 30s

With the web interface instead: leave out --headless. On more cores: --processes 4. Delivery latency, missing and
repeated messages, lag and gap notices stand in locust's own statistics beside the requests.
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
from conversation import Closed, Conversation, NoReply, Refused, fire
from gevent.event import Event
from hearing import EVENT, Hearing, Numbering
from locust import FastHttpUser, User, between, constant, constant_pacing, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from words import CODECS

CATCH_UP_SECONDS = 0.5
SLOW_CONSUMER = 1013
_TROUBLE = (Closed, NoReply, Refused, OSError, websocket.WebSocketException)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    """Each is a field of the web interface, too, and an environment variable: FASTWS_LOAD_CHANNELS and so on."""

    def option(name: str, kind: Callable[[str], Any], default: Any, meaning: str, **more: Any) -> None:
        variable = f"FASTWS_LOAD_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--{name}", env_var=variable, type=kind, default=default, help=meaning, **more)

    option("channels", int, 4, "channels that users are spread over")
    option("payload", int, 64, "bytes of text in every message")
    option("ws-format", str, "json", "what is spoken over the WebSocket", choices=sorted(CODECS))
    option("token", str, "", "JWT of every user", is_secret=True)
    option("broadcast-key", str, "", "key of POST /broadcast; none: no HTTP broadcaster", is_secret=True)
    option("publish-every", float, 0.5, "seconds between two messages of a publisher")
    option("slow-seconds", float, 30.0, "how long a slow consumer does not read")
    option("storm-every", float, 15.0, "seconds between two reconnect storms")


class WebSocketUser(User):
    """What all users of the WebSocket have in common: a channel and a conversation."""

    abstract = True
    wait_time = constant(1)

    def on_start(self) -> None:
        self.channel = some_channel(self.options)
        self.talk: Conversation | None = None

    def on_stop(self) -> None:
        if self.talk is not None:
            self.talk.close()

    @property
    def options(self) -> Namespace:
        options = self.environment.parsed_options
        assert options is not None
        return options

    def connected(self, **more: Any) -> Conversation:
        """The conversation that there is, or a new one, subscribed if it hears. Raises what `_TROUBLE` lists."""
        if self.talk is None or self.talk.is_closed:
            self.talk = None
            url = websocket_url(self.host or "")
            options = self.options
            self.talk = Conversation(
                self.environment, url, token=options.token or None, codec=options.ws_format, **more
            )
        return self.talk

    def listen(self) -> Conversation:
        """Connected and subscribed to the channel."""
        known = self.talk
        talk = self.connected(on_message=Hearing(self.environment))
        if talk is not known:
            talk.subscribe(self.channel)
        return talk


class Subscriber(WebSocketUser):
    """Stays and listens; comes back where it is thrown out."""

    weight = 60

    @task
    def stay(self) -> None:
        try:
            self.listen()
        except _TROUBLE:
            self.talk = None  # counted where it happened; the next turn tries again


class ChattyPublisher(WebSocketUser):
    """Sends over its WebSocket and waits for each receipt."""

    weight = 5
    wait_time = between(0.0, 0.1)

    def on_start(self) -> None:
        super().on_start()
        self.numbering = Numbering(self.options.payload)

    @task
    def say(self) -> None:
        try:
            self.connected().send(self.channel, EVENT, self.numbering.next())
        except _TROUBLE:
            self.talk = None
            self.numbering = Numbering(self.options.payload)  # whether that message was heard nobody can say
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
        self.numbering = Numbering(self.payload_bytes)

    def wait_time(self) -> float:
        options = self.environment.parsed_options
        assert options is not None
        return float(options.publish_every)

    @task
    def broadcast(self) -> None:
        if not self.key:
            return
        messages = [
            {"channel": self.channel, "event": EVENT, "data": self.numbering.next()}
            for _ in range(random.choice((1, 1, 1, 5)))
        ]
        body = {"messages": messages} if len(messages) > 1 else messages[0]
        url = http_url(self.host or "") + "/broadcast"
        headers = {"Authorization": f"Bearer {self.key}"}
        with self.client.post(url, json=body, headers=headers, name="/broadcast", catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {(response.text or '')[:100]}")
                self.numbering = Numbering(self.payload_bytes)


class SlowConsumer(WebSocketUser):
    """Subscribes, does not read for a long while, reads what there is then. That the server cuts it off (1013), or
    tells it what was dropped, is right."""

    weight = 3

    @task
    def doze(self) -> None:
        try:
            known = self.talk
            talk = self.connected(reads=False, on_message=Hearing(self.environment, is_timed=False))
            if talk is not known:
                talk.write_subscribe(self.channel)
        except _TROUBLE:
            self.talk = None
            return
        gevent.sleep(self.options.slow_seconds)
        try:
            talk.read_for(CATCH_UP_SECONDS)
        except (OSError, websocket.WebSocketException):
            fire(self.environment, "NOTICE", "slow consumer aborted", 0.0)
            self.talk = None
        if talk.close_code == SLOW_CONSUMER:
            fire(self.environment, "NOTICE", "slow consumer cut off", 0.0)


class Churner(WebSocketUser):
    """Comes, subscribes, hears a little, leaves: with a goodbye or without."""

    weight = 10
    wait_time = between(0.0, 0.5)

    @task
    def visit(self) -> None:
        try:
            talk = self.listen()
            gevent.sleep(random.uniform(0.1, 1.0))
            if random.random() < 0.3:
                talk.unsubscribe(self.channel)
            if random.random() < 0.5:
                talk.cut()
            else:
                talk.close()
        except _TROUBLE:
            pass  # counted where it happened
        self.talk = None


class StormClient(WebSocketUser):
    """One of many that all lose their connection at the same moment and come back at once."""

    weight = 10
    cut_now = Event()
    wait_time = constant_pacing(0.05)

    @task
    def ride(self) -> None:
        try:
            self.listen()
        except _TROUBLE:
            gevent.sleep(random.uniform(0.1, 1.0))
            return
        if not StormClient.cut_now.wait(timeout=1.0):
            return
        began = time.perf_counter()
        if self.talk is not None:
            self.talk.cut()
        self.talk = None
        while self.talk is None:
            try:
                self.listen()
            except _TROUBLE:
                self.talk = None
                gevent.sleep(random.uniform(0.1, 1.0))
        fire(self.environment, "STORM", "back and subscribed", (time.perf_counter() - began) * 1000)


@events.test_start.add_listener
def brew_storms(environment: Environment, **_: Any) -> None:
    """Every --storm-every seconds all StormClients are cut."""
    options = environment.parsed_options
    if options is None:
        return

    def brew() -> None:
        while True:
            gevent.sleep(options.storm_every)
            StormClient.cut_now.set()
            gevent.sleep(0)
            StormClient.cut_now.clear()

    greenlet = gevent.spawn(brew)
    environment.events.test_stop.add_listener(lambda **_: greenlet.kill(block=False))


def some_channel(options: Namespace) -> str:
    return f"load-{random.randrange(options.channels)}"


def websocket_url(host: str) -> str:
    """--host as ws:// or wss://, whichever way it was given."""
    parts = urlsplit(host)
    return parts._replace(scheme={"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)).geturl()


def http_url(host: str) -> str:
    """--host as http:// or https://, without its path."""
    parts = urlsplit(host)
    return f"{ {'ws': 'http', 'wss': 'https'}.get(parts.scheme, parts.scheme) }://{parts.netloc}"
