"""A session: what one client asked for, done; its replies kept together until the bytes that asked are used up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.wire_form import DialectForm
from fastws.errors import (
    BadRequest,
    FastWSError,
    RateLimited,
    UnknownAction,
    UnsupportedData,
)
from fastws.session.commands import COMMANDS
from fastws.session.services import Services
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import (
    Connected,
    Failure,
    Reply,
)
from fastws.wire.opcodes import BINARY, TEXT

if TYPE_CHECKING:
    from fastws.transport.websocket import Connection

RequestId = str | int | None
Action = Literal["subscribe", "publish"]
MAX_ID_LENGTH: Final = 255
# Replies that are kept together before they are written, however much of a turn is left.
MAX_CORKED_BYTES: Final = 65_536
# What a queue knows of a message that is no publication of ours.
_RAW: Final = Publication("", "")


class Session:
    """The dialogue with one client, above frames and below the hub."""

    __slots__ = (
        "anonymous_allowed",
        "backlog",
        "connected_at",
        "connection",
        "cork",
        "corked_bytes",
        "form",
        "identity",
        "is_held",
        "rate_tokens",
        "rate_tokens_since",
        "services",
        "starting",
        "strikes",
    )

    def __init__(
        self,
        services: Services,
        connection: Connection,
        form: DialectForm,
        identity: Identity | None,
        starting: StartingChannels,
    ) -> None:
        self.services = services
        self.connection = connection
        self.form = form
        self.identity = identity
        self.starting = starting
        # Whether a client from there may be without a token: what no claim speaks of is open to it then.
        self.anonymous_allowed: bool | None = None
        self.connected_at = time.time()
        # Replies of this turn, written together; None while no turn is on.
        self.cork: list[bytes] | None = None
        self.corked_bytes = 0
        # Messages that wait for an answer from elsewhere, or (`is_held`) for this client to read the answers it has;
        # None while nothing is awaited.
        self.backlog: list[tuple[int, bytes]] | None = None
        self.is_held = False
        self.rate_tokens: float = services.limits.message_burst
        self.rate_tokens_since = time.monotonic()
        self.strikes = 0

    # --- beginning and end

    def begin(self) -> None:
        """Join the channels of the place and greet."""
        names = list(self.starting.channels)

        def join_next() -> None:
            if names:
                self.listen(names.pop(0), join_next)
            else:
                self.send_reply(Connected(self.connection.id, self.starting.workspace))

        join_next()

    # --- in

    def receive(self, messages: list[tuple[int, bytes]]) -> None:
        """Do what `messages` (opcode, payload) ask for, in order. Never raises. Cost: 2 µs a small send."""
        if self.backlog is not None:
            self.backlog.extend(messages)
            return
        if self.cork is None:
            self.cork = []
        form = self.form
        loads, parse, expected = form.codec.loads, form.dialect.parse, form.codec.opcode
        self.services.counters.received[form.dialect.name] += len(messages)
        allowed = self._allowance(len(messages))
        for position, (opcode, payload) in enumerate(messages):
            if opcode != expected and not (opcode == BINARY and expected == TEXT):
                if opcode > BINARY:
                    self.connection.control(opcode, payload)
                    continue
                self.connection.fail(UnsupportedData("this connection speaks msgpack: send binary frames"))
                break
            if position >= allowed:
                self._over_the_rate(messages[position:])
                break
            request_id: RequestId = None
            try:
                message = loads(payload)
                if type(message) is dict and "id" in message:
                    request_id = _request_id(message["id"])
                command = parse(message)
                COMMANDS[type(command)](self, command, request_id)
            except UnknownAction as error:
                self._ask_application(error, payload, request_id)
            except BadRequest as error:
                self.refuse(error, request_id)
            except FastWSError as error:
                if error.code == "invalid_text":
                    self.connection.fail(error)
                    break
                self.refuse(error, request_id)
            if self._keep_back(messages, position + 1):
                break
        self.uncork()

    def _ask_application(self, error: UnknownAction, payload: bytes, request_id: RequestId) -> None:
        """What nobody here knows may be known to the application's hook."""
        hook = self.services.hook
        if hook is None:
            self.refuse(error, request_id)
            return
        try:
            hook.default(self, payload, request_id)
        except RateLimited as too_many:
            self.refuse(too_many, request_id)

    def _keep_back(self, messages: list[tuple[int, bytes]], start: int) -> bool:
        """If an answer from elsewhere is awaited, keep the messages from `start` on for later.

        So, too, if this client does not read what it was answered: small requests may have large answers.
        """
        if self.corked_bytes > MAX_CORKED_BYTES:
            self.uncork()
            self.cork = []
            if self.backlog is None and self.connection.is_crowded:
                self.suspend()
                self.is_held = True
        if self.backlog is None:
            return False
        self.backlog.extend(messages[start:])
        return True

    def _allowance(self, wanted: int) -> int:
        """How many of `wanted` messages the rate lets through (spec 6)."""
        limits = self.services.limits
        if not limits.message_rate:
            return wanted
        self.rate_tokens -= wanted
        if self.rate_tokens >= 0:
            return wanted
        now = time.monotonic()
        have = self.rate_tokens + wanted + (now - self.rate_tokens_since) * limits.message_rate
        self.rate_tokens_since = now
        if have >= limits.message_burst:
            have = limits.message_burst
            self.strikes = 0
        self.rate_tokens = max(have - wanted, 0)
        return min(wanted, int(have))

    def _over_the_rate(self, messages: list[tuple[int, bytes]]) -> None:
        refused = sum(opcode <= BINARY for opcode, _ in messages)
        self.services.counters.rate_limited["message"] += refused
        self.strikes += refused
        self.refuse(RateLimited(f"too many messages: {refused} were not processed; send more slowly"), None)
        if self.strikes > max(self.services.limits.message_burst, 100):
            self.connection.end(1008, "too many messages", label="rate_limited")
            return
        # However many messages stand before it, a ping is answered (RFC 6455 section 5.5.2), and a close, too.
        for opcode, payload in messages:
            if opcode > BINARY:
                self.connection.control(opcode, payload)

    # --- out

    def send_reply(self, reply: Reply, request_id: RequestId = None) -> None:
        """Answer this client."""
        frame = self.form.reply(reply, self.starting, request_id)
        if frame is not None:
            self.write_reply_frame(frame)

    def write_reply_frame(self, frame: bytes) -> None:
        """A frame for this client's control lane: with the others of this turn, if one is on."""
        cork = self.cork
        self.corked_bytes += len(frame)
        if cork is not None:
            cork.append(frame)
            return
        self.cork = [frame]
        self.services.corked.append(self)
        if len(self.services.corked) == 1 and self.services.hub.tick.is_empty:
            self.services.uncork()

    def uncork(self) -> None:
        """Write what this turn has answered."""
        cork, self.cork = self.cork, None
        self.corked_bytes = 0
        if cork:
            self.connection.write_control(cork[0] if len(cork) == 1 else b"".join(cork))

    def refuse(self, error: FastWSError, request_id: RequestId) -> None:
        self.send_reply(Failure(error.code, error.message, error.channel), request_id)

    def flush_before_reply(self, channel: str = "") -> bool:
        """Before a reply that must not overtake a publication: write what was said until now, all of it on `channel`.

        Returns whether this client is still there: it may have been too slow for what was written.
        """
        hub = self.services.hub
        if not hub.is_flushed(channel):
            cork = self.cork
            self.uncork()
            if cork is not None:
                self.cork = []
            hub.flush_channel(channel)
        return not self.connection.is_gone

    # --- channels and publications for this client

    def listen(self, name: str, then: Callable[[], None], filter_: Filter | None = None) -> None:
        """Be a member of `name`, then go on: at once, or when the broker has made sure that it will hear."""
        hub, broker = self.services.hub, self.services.broker
        is_answered = is_waiting = False

        def enter() -> None:
            if self.flush_before_reply(name):
                hub.subscribe(self.connection, name, self.form, filter_)
                then()
            elif not hub.count(name):
                broker.unlisten(name)

        def ready() -> None:
            nonlocal is_answered
            is_answered = True
            if is_waiting:
                self.proceed(enter)
            else:
                enter()

        if hub.count(name):
            enter()
            return
        broker.listen(name, ready)
        if not is_answered:
            is_waiting = True
            self.suspend()

    def deliver_direct(self, publication: Publication) -> bool:
        """A publication for this client alone. Returns whether its queue took it. Raises Unencodable."""
        return self._hand_over(self.form.frame(publication), publication)

    def deliver_raw(self, body: bytes) -> bool:
        """`body`, verbatim, for this client alone. Returns whether its queue took it."""
        return self._hand_over(self.form.verbatim(body), _RAW)

    def _hand_over(self, frame: bytes, publication: Publication) -> bool:
        counters = self.services.counters
        connection = self.connection
        if self.cork is not None and connection.outbox is None:
            self.cork.append(frame)
        elif not connection.deliver(frame, publication):
            counters.dropped["direct"] += 1
            return False
        counters.deliveries += 1
        counters.delivered_bytes += len(frame)
        return True

    # --- waiting for an answer from elsewhere

    def wait_for(self, ask: Callable[[Callable[[object], None]], None], then: Callable[[object], None]) -> None:
        """`ask` for something with what is to hear the answer, and do `then` with it: at once, or when it is there."""
        is_answered = is_waiting = False

        def hear(answer: object) -> None:
            nonlocal is_answered
            is_answered = True
            if is_waiting:
                self.proceed(lambda: then(answer))
            else:
                then(answer)

        ask(hear)
        if not is_answered:
            is_waiting = True
            self.suspend()

    def suspend(self) -> None:
        """Read no further until `proceed`: an answer from elsewhere is awaited."""
        if self.backlog is None:
            self.backlog = []
            self.connection.stop_reading()

    def proceed(self, then: Callable[[], None]) -> None:
        """The answer is there: do `then`, and after it what came meanwhile, unless `then` has to wait in its turn."""
        backlog = self._take_backlog()
        then()
        if self.connection.is_gone:
            self.backlog = None
        elif self.backlog is not None:
            self.backlog[:0] = backlog or ()
        elif backlog:
            self.backlog = backlog  # nothing newer is done before it
            asyncio.get_running_loop().call_soon(self.go_on)
        else:
            self.connection.go_on_reading()

    def go_on(self) -> None:
        """Do what was kept back, unless this client has to read first."""
        if self.backlog is not None and self.connection.is_crowded:
            self.is_held = True
            return
        backlog = self._take_backlog()
        if backlog:
            self.connection.process(backlog)
        if self.backlog is None:
            self.connection.go_on_reading()

    def _take_backlog(self) -> list[tuple[int, bytes]] | None:
        backlog, self.backlog = self.backlog, None
        return backlog


def _request_id(value: object) -> RequestId:
    if isinstance(value, str) and len(value) <= MAX_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRequest(f"`id` must be an integer of 64 bits or a string of at most {MAX_ID_LENGTH} characters")
