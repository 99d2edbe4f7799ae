"""A session: what one client asked for, done; its replies kept together until the bytes that asked are used up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.wire_form import DialectForm
from fastws.errors import (
    FastWSError,
    InvalidText,
    RateLimited,
    UnknownAction,
    UnsupportedData,
)
from fastws.session.message_rate import allowance, end_of, refuse_over_rate
from fastws.session.ports import Peer
from fastws.session.services import Services
from fastws.vocabulary.commands import Request, RequestId
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import (
    Connected,
    Failure,
    Reply,
)
from fastws.wire.opcodes import BINARY, TEXT

# What a connection has read, by opcode; or the requests of a message of which some are done.
Message = tuple[int, bytes | tuple[Request, ...]]
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
        "cork",
        "corked_bytes",
        "form",
        "identity",
        "is_held",
        "peer",
        "rate_full_at",
        "refresh_at",
        "services",
        "starting",
        "strikes",
    )

    def __init__(
        self,
        services: Services,
        peer: Peer,
        form: DialectForm,
        identity: Identity | None,
        starting: StartingChannels,
    ) -> None:
        self.services = services
        self.peer = peer
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
        self.backlog: list[Message] | None = None
        self.is_held = False
        # When the whole burst is there again; messages that were refused since it last was.
        self.rate_full_at = 0.0
        self.strikes = 0
        # From when on the next token is looked at.
        self.refresh_at = 0.0

    # --- beginning and end

    def begin(self) -> None:
        """Join the channels of the place and greet, then say which of them are not heard for now."""
        names = list(self.starting.channels)
        unheard: list[FastWSError] = []

        def join_next() -> None:
            if names:
                self.listen(names.pop(0), join_next, unheard.append, stays=True)
            else:
                self.send_reply(Connected(self.peer.id, self.starting.workspace))
                for error in unheard:
                    self.refuse(error, None)

        join_next()

    # --- in

    def receive(self, messages: list[tuple[int, bytes]]) -> None:
        """Take `messages` (opcode, payload) as they are read: count them, charge them to the rate, do what they ask.

        Control frames are neither counted nor charged: a peer has to send them (RFC 6455 section 5.5). Never raises.
        """
        wanted = sum([opcode <= BINARY for opcode, _ in messages])
        self.services.counters.received[self.form.dialect.name] += wanted
        allowed = allowance(self, wanted)
        if allowed == wanted:
            self.perform(messages)
            return
        end = end_of(allowed, messages)
        self.perform(messages[:end])
        if not self.peer.is_gone:
            refuse_over_rate(self, messages[end:])

    def perform(self, messages: Sequence[Message]) -> None:
        """Do what `messages` ask for, in order; those behind one that has to wait are kept. Cost: 2 µs a small send."""
        if self.backlog is not None:
            self.backlog.extend(messages)
            return
        if self.cork is None:
            self.cork = []
        form = self.form
        read, codec, expected = form.dialect.requests, form.codec, form.codec.opcode
        for position, (opcode, payload) in enumerate(messages):
            if isinstance(payload, tuple):
                requests: Iterable[Request] = payload
            elif opcode == expected or (opcode == BINARY and expected == TEXT):
                try:
                    requests = read(opcode, payload, codec)
                except InvalidText as error:
                    self.peer.fail(error)
                    break
                except FastWSError as error:
                    requests = ((None, error),)
            elif opcode > BINARY:
                self.peer.control(opcode, payload)
                continue
            else:
                self.peer.fail(UnsupportedData("this connection speaks msgpack: send binary frames"))
                break
            self._do(requests, payload)
            if self._keep_back(messages, position + 1):
                break
        self.uncork()

    def _do(self, requests: Iterable[Request], payload: bytes | tuple[Request, ...]) -> None:
        """Do the requests of one message; those behind one that has to wait are kept."""
        commands = self.services.commands
        pending = iter(requests)
        for request_id, command in pending:
            try:
                if isinstance(command, FastWSError):
                    raise command
                commands[type(command)](self, command, request_id)
            except UnknownAction as error:
                self._ask_application(error, payload, request_id)
            except FastWSError as error:
                self.refuse(error, request_id)
            if self.backlog is not None:
                rest = tuple(pending)
                if rest:
                    self.backlog.insert(0, (TEXT, rest))

    def _ask_application(self, error: UnknownAction, payload: object, request_id: RequestId) -> None:
        """What nobody here knows may be known to the application's hook."""
        hook = self.services.hook
        if hook is None or not isinstance(payload, bytes):
            self.refuse(error, request_id)
            return
        try:
            hook.default(
                self.peer.id,
                len(payload),
                lambda: self.form.as_text(payload),
                lambda answer: self._relay_answer(answer, request_id),
            )
        except RateLimited as too_many:
            self.refuse(too_many, request_id)

    def _relay_answer(self, answer: str | bytes | FastWSError, request_id: RequestId) -> None:
        """Pass on what the application answered to a message."""
        if self.peer.is_gone:
            return
        if isinstance(answer, FastWSError):
            self.refuse(answer, request_id)
            return
        try:
            frame = self.form.verbatim(self.form.from_text(answer))
        except (FastWSError, ValueError):
            self.refuse(FastWSError("the application did not answer"), request_id)
            raise
        self.write_reply_frame(frame)

    def _keep_back(self, messages: Sequence[Message], start: int) -> bool:
        """If an answer from elsewhere is awaited, keep the messages from `start` on for later.

        So, too, if this client does not read what it was answered: small requests may have large answers.
        """
        if self.corked_bytes > MAX_CORKED_BYTES:
            self.uncork()
            self.cork = []
            if self.backlog is None and self.peer.is_crowded:
                self.suspend()
                self.is_held = True
        if self.backlog is None:
            return False
        self.backlog.extend(messages[start:])
        return True

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
        self.services.batch.corked.append(self)
        if len(self.services.batch.corked) == 1 and not self.services.hub.tick.is_running:
            self.services.batch.uncork()

    def uncork(self) -> None:
        """Write what this turn has answered."""
        cork, self.cork = self.cork, None
        self.corked_bytes = 0
        if cork:
            self.peer.write_control(cork[0] if len(cork) == 1 else b"".join(cork))

    def refuse(self, error: FastWSError, request_id: RequestId) -> None:
        self.send_reply(Failure(error.code, error.message, error.channel), request_id)

    def flush_before_reply(self, channel: str) -> bool:
        """Before a reply that must not overtake a publication: write what was said on `channel` until now.

        Returns whether this client is still there: it may have been too slow for what was written.
        """
        hub = self.services.hub
        if not hub.is_flushed(channel):
            self._uncork_before()
            hub.flush_channel(channel)
        return not self.peer.is_gone

    def _uncork_before(self) -> None:
        """Write what this turn has answered so far: it stands before what is written next."""
        cork = self.cork
        self.uncork()
        if cork is not None:
            self.cork = []

    # --- channels and publications for this client

    def listen(
        self,
        name: str,
        then: Callable[[], None],
        refused: Callable[[FastWSError], None],
        *,
        stays: bool = False,
    ) -> None:
        """Be a member of `name`, then go on: at once, or when the broker has made sure that it will hear.

        Where the broker may not hear `name`, `refused` is told. Who `stays` is a member all the same, and hears as
        soon as the broker does.
        """
        hub, broker = self.services.hub, self.services.broker
        is_answered = is_waiting = False

        def enter() -> None:
            if self.flush_before_reply(name):
                hub.subscribe(self.peer, name, self.form)
                then()
            elif not hub.count(name):
                broker.unlisten(name)

        def turn_down(error: FastWSError) -> None:
            refused(error)
            if stays:
                enter()
            elif not hub.count(name):
                broker.unlisten(name)

        def go_on(do: Callable[[], None]) -> None:
            nonlocal is_answered
            is_answered = True
            if is_waiting:
                self.proceed(do)
            else:
                do()

        if hub.count(name):
            error = broker.refusal(name)
            if error is None:
                enter()
            else:
                turn_down(error)
            return
        broker.listen(name, lambda: go_on(enter), lambda error: go_on(lambda: turn_down(error)))
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
        """After what was said before on this client's channels. False, too, if it has been too slow for that."""
        counters = self.services.counters
        connection = self.peer
        if any(not self.services.hub.tick.is_flushed(audience.channel) for audience in connection.audiences):
            self._uncork_before()
            self.services.hub.flush_channels_of(connection)
        if connection.is_gone:
            return False
        if self.cork is not None and connection.takes_at_once:
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
            self.peer.stop_reading()

    def proceed(self, then: Callable[[], None]) -> None:
        """The answer is there: do `then`, and after it what came meanwhile, unless `then` has to wait in its turn."""
        backlog = self._take_backlog()
        then()
        if self.peer.is_gone:
            self.backlog = None
        elif self.backlog is not None:
            self.backlog[:0] = backlog or ()
        elif backlog:
            self.backlog = backlog  # nothing newer is done before it
            asyncio.get_running_loop().call_soon(self.go_on)
        else:
            self.peer.go_on_reading()

    def go_on(self) -> None:
        """Do what was kept back, unless this client has to read first."""
        if self.backlog is not None and self.peer.is_crowded:
            self.is_held = True
            return
        backlog = self._take_backlog()
        if backlog:
            self.peer.process(backlog)
        if self.backlog is None:
            self.peer.go_on_reading()

    def _take_backlog(self) -> list[Message] | None:
        backlog, self.backlog = self.backlog, None
        return backlog
