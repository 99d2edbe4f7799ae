"""locust users of a fastws server: who listens, who talks, who is slow, who comes and goes.

    fastws serve &
    locust -f loadtest/locustfile.py --host ws://127.0.0.1:8000 --headless -u 200 -r 50 -t 30s

With the web interface instead: leave out --headless. Delivery latency, missing and repeated messages, lag and gap
notices stand in locust's own statistics beside the requests.
"""

from __future__ import annotations

import random
import time
from argparse import Namespace
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

_TROUBLE = (Closed, NoReply, Refused, OSError, websocket.WebSocketException)


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--channels", type=int, default=4, help="channels that users are spread over")
    parser.add_argument("--token", default="", help="JWT of every user", is_secret=True)
    parser.add_argument(
        "--broadcast-key", default="", help="key of POST /broadcast; none: no HTTP broadcaster", is_secret=True
    )
    parser.add_argument("--publish-every", type=float, default=0.5, help="seconds between two messages of a publisher")
    parser.add_argument("--storm-every", type=float, default=15.0, help="seconds between two reconnect storms")


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
            self.talk = Conversation(self.environment, url, token=self.options.token or None, **more)
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
        self.numbering = Numbering()

    @task
    def say(self) -> None:
        try:
            self.connected().send(self.channel, EVENT, self.numbering.next())
        except _TROUBLE:
            self.talk = None
            self.numbering = Numbering()  # whether that message was heard nobody can say
        gevent.sleep(self.options.publish_every)


class HttpBroadcaster(FastHttpUser):
    """A backend: POST /broadcast, one message or a few at once. Needs --broadcast-key."""

    weight = 3

    def on_start(self) -> None:
        options = self.environment.parsed_options
        assert options is not None
        self.key = options.broadcast_key
        self.channel = some_channel(options)
        self.numbering = Numbering()

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
                self.numbering = Numbering()


class SlowConsumer(WebSocketUser):
    """Subscribes and does not read for half a minute. That the server then cuts it off (1013) is right."""

    weight = 3
    patience_seconds = 30.0

    @task
    def doze(self) -> None:
        try:
            talk = self.connected(reads=False)
            talk.write_subscribe(self.channel)
            gevent.sleep(self.patience_seconds)
            while (message := talk.read_one()) is not None:
                if message.get("type") == "lag":
                    fire(self.environment, "NOTICE", "lag", 0.0, size=int(message["dropped"]))
            if talk.close_code == 1013:
                fire(self.environment, "NOTICE", "slow consumer cut off", 0.0)
        except _TROUBLE:
            fire(self.environment, "NOTICE", "slow consumer aborted", 0.0)
        self.talk = None


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
