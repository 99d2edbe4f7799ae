"""A session: what one client asked for, done; its replies kept together until the bytes that asked are used up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from fastws.access.authorizer import Authorizer
from fastws.connection.context import ACK_CACHE_SIZE, Context
from fastws.connection.wireform import DialectForm
from fastws.dialects.dialect import Place
from fastws.errors import (
    BadRequest,
    FastWSError,
    Forbidden,
    RateLimited,
    TooManyChannels,
    UnsupportedData,
)
from fastws.hub.channel import Chunk
from fastws.hub.ports import Verdict
from fastws.vocabulary.commands import (
    ChangeFilter,
    Command,
    Ping,
    Refresh,
    RequestMetrics,
    Send,
    SendDirect,
    Subscribe,
    Unsubscribe,
)
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.vocabulary.replies import (
    Connected,
    Failure,
    FilterChanged,
    Left,
    Metrics,
    Pong,
    Refreshed,
    Reply,
    Sent,
    Subscribed,
    Unsubscribed,
)
from fastws.wire.opcodes import BINARY, TEXT

if TYPE_CHECKING:
    from fastws.connection.protocol import Connection

RequestId = str | int | None
Action = Literal["subscribe", "publish"]
MAX_ID_LENGTH: Final = 255


class Session:
    """The dialogue with one client, above frames and below the hub."""

    __slots__ = (
        "backlog",
        "connected_at",
        "connection",
        "context",
        "cork",
        "form",
        "identity",
        "place",
        "strikes",
        "tokens",
        "tokens_since",
    )

    def __init__(
        self,
        context: Context,
        connection: Connection,
        form: DialectForm,
        identity: Identity | None,
        place: Place,
    ) -> None:
        self.context = context
        self.connection = connection
        self.form = form
        self.identity = identity
        self.place = place
        self.connected_at = time.time()
        # Replies of this turn, written together; None while no turn is on.
        self.cork: list[bytes] | None = None
        # Messages that wait for an answer from elsewhere; None while nothing is awaited.
        self.backlog: list[tuple[int, bytes]] | None = None
        self.tokens: float = context.limits.message_burst
        self.tokens_since = 0.0
        self.strikes = 0

    # --- beginning and end

    def begin(self) -> None:
        """Join the channels of the place and greet."""
        names = list(self.place.channels)

        def join_next() -> None:
            if names:
                self._listen(names.pop(0), join_next)
            else:
                self.say(Connected(self.connection.id, self.place.workspace))

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
        self.context.counters.received[form.dialect.name] += len(messages)
        allowed = self._allowance(len(messages))
        for position, (opcode, payload) in enumerate(messages):
            if opcode != expected and not (opcode == BINARY and expected == TEXT):
                if opcode > BINARY:
                    self.connection.control(opcode, payload)
                    continue
                self.connection.fail(UnsupportedData("this connection speaks msgpack: send binary frames"))
                break
            if position >= allowed:
                self._over_the_rate(len(messages) - position)
                break
            request_id: RequestId = None
            try:
                message = loads(payload)
                if type(message) is dict and "id" in message:
                    request_id = _request_id(message["id"])
                command = parse(message)
                _HANDLERS[type(command)](self, command, request_id)
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

    def _keep_back(self, messages: list[tuple[int, bytes]], start: int) -> bool:
        """If an answer from elsewhere is awaited, keep the messages from `start` on for later."""
        if self.backlog is None:
            return False
        self.backlog.extend(messages[start:])
        return True

    def _allowance(self, wanted: int) -> int:
        """How many of `wanted` messages the rate lets through (spec 6)."""
        limits = self.context.limits
        if not limits.message_rate:
            return wanted
        self.tokens -= wanted
        if self.tokens >= 0:
            return wanted
        now = time.monotonic()
        have = self.tokens + wanted + (now - self.tokens_since) * limits.message_rate
        self.tokens_since = now
        if have >= limits.message_burst:
            have = limits.message_burst
            self.strikes = 0
        self.tokens = max(have - wanted, 0)
        return min(wanted, int(have))

    def _over_the_rate(self, refused: int) -> None:
        self.context.counters.rate_limited["message"] += refused
        self.strikes += refused
        self.refuse(RateLimited(f"too many messages: {refused} were not processed; send more slowly"), None)
        if self.strikes > max(self.context.limits.message_burst, 100):
            self.connection.end(1008, "too many messages", label="rate_limited")

    # --- out

    def say(self, reply: Reply, request_id: RequestId = None) -> None:
        """Answer this client."""
        frame = self.form.reply(reply, self.place, request_id)
        if frame is not None:
            self.put(frame)

    def put(self, frame: bytes) -> None:
        """A frame for this client's control lane: with the others of this turn, if one is on."""
        cork = self.cork
        if cork is not None:
            cork.append(frame)
            return
        self.cork = [frame]
        self.context.corked.append(self)
        if len(self.context.corked) == 1 and self.context.hub.tick.is_empty:
            self.context.uncork()

    def uncork(self) -> None:
        """Write what this turn has answered."""
        cork, self.cork = self.cork, None
        if cork:
            self.connection.push(cork[0] if len(cork) == 1 else b"".join(cork))

    def refuse(self, error: FastWSError, request_id: RequestId) -> None:
        self.say(Failure(error.code, error.message, error.channel), request_id)

    def settle(self) -> None:
        """Before a reply that must not overtake a publication: write what was said until now."""
        hub = self.context.hub
        if hub.tick.is_empty:
            return
        cork = self.cork
        self.uncork()
        if cork is not None:
            self.cork = []
        hub.flush()

    # --- commands

    def subscribe(self, command: Subscribe, request_id: RequestId) -> None:
        name = command.channel
        self._may("subscribe", name, lambda: self._join(name, request_id), request_id)

    def _join(self, name: str, request_id: RequestId) -> None:
        connection, limits = self.connection, self.context.limits
        hub = self.context.hub
        is_member = hub.audience_of(connection, name) is not None
        if not is_member and len(connection.audiences) >= limits.channels:
            raise TooManyChannels(f"a connection may be in {limits.channels} channels; leave one first", channel=name)
        self._listen(name, lambda: self.say(Subscribed(name), request_id))

    def _listen(self, name: str, then: Callable[[], None], filter_: Filter | None = None) -> None:
        """Be a member of `name`, then go on: at once, or when the broker has made sure that it will hear."""
        hub = self.context.hub
        if hub.count(name):
            self.settle()
            hub.subscribe(self.connection, name, self.form, filter_)
            then()
            return
        answered = False

        def ready() -> None:
            nonlocal answered
            answered = True
            if self.connection.is_gone:
                if not hub.count(name):
                    self.context.broker.unlisten(name)
                return
            self.settle()
            hub.subscribe(self.connection, name, self.form, filter_)
            then()
            if suspended:
                self.resume()

        suspended = False
        self.context.broker.listen(name, ready)
        if not answered:
            suspended = True
            self.suspend()

    def unsubscribe(self, command: Unsubscribe, request_id: RequestId) -> None:
        self.settle()
        self.context.hub.unsubscribe(self.connection, command.channel)
        self.say(Unsubscribed(command.channel), request_id)

    def send(self, command: Send, request_id: RequestId) -> None:
        context = self.context
        if context.authorizer is None and context.permissions.may_publish(
            self.identity, command.channel, dialect=self.form.dialect.name
        ):
            self._publish(command, request_id)
        else:
            self._may("publish", command.channel, lambda: self._publish(command, request_id), request_id)

    def _publish(self, command: Send, request_id: RequestId) -> None:
        context, sender = self.context, self.connection.id
        context.counters.publications["client"] += 1
        publication = Publication(
            command.channel,
            command.event,
            command.data,
            command.type,
            sender,
            None,
            None,
            None,
            command.key,
            frozenset((sender,)) if command.exclude_self else NOBODY,
        )
        context.broker.publish(publication, Acknowledgement(self, command.channel, request_id))

    def send_direct(self, command: SendDirect, request_id: RequestId) -> None:
        self.settle()
        publication = Publication("", command.event, command.data, None, self.connection.id)
        target = self.context.roster.get(command.connection_id)
        if target is None:
            receipt = DirectAcknowledgement(self, command.connection_id, request_id)
            self.context.send_elsewhere(command.connection_id, publication, receipt)
            return
        delivered = target.take(publication)
        self.say(Sent(None, command.connection_id, int(delivered), int(not delivered)), request_id)

    def take(self, publication: Publication) -> bool:
        """A publication for this client alone. Returns whether its queue took it. Raises Unencodable."""
        frame = self.form.frame(publication)
        counters = self.context.counters
        connection = self.connection
        if self.cork is not None and connection.outbox is None:
            self.cork.append(frame)
        elif not connection.deliver(frame, publication):
            counters.dropped["direct"] += 1
            return False
        counters.deliveries += 1
        counters.delivered_bytes += len(frame)
        return True

    def ping(self, command: Ping, request_id: RequestId) -> None:
        self.say(Pong(), request_id)

    def refresh(self, command: Refresh, request_id: RequestId) -> None:
        context = self.context
        identity = context.tokens.verify(command.token)
        if self.identity is None or identity.user != self.identity.user:
            raise Forbidden("a token of the same user is needed; connect anew to be somebody else")
        if context.revocations.is_revoked(identity):
            raise Forbidden("the token does not hold")
        self.identity = identity
        context.heartbeat.watch_expiry(self.connection, identity.expires_at)
        self.settle()
        self.say(Refreshed(identity.expires_at), request_id)
        for name in self.connection.channel_names:
            if name in self.place.channels:
                continue
            if not context.permissions.may_subscribe(identity, name, dialect=self.form.dialect.name):
                context.hub.unsubscribe(self.connection, name)
                self.say(Left(name))

    def change_filter(self, command: ChangeFilter, request_id: RequestId) -> None:
        home, hub = self.place.home, self.context.hub
        audience = None if home is None else hub.audience_of(self.connection, home)
        if home is None or audience is None:
            raise BadRequest("there is nothing to filter here")
        changed = command.change(audience.filter)
        self.settle()
        hub.subscribe(self.connection, home, self.form, changed)
        self.say(FilterChanged(changed, command.subscribed), request_id)

    def request_metrics(self, command: RequestMetrics, request_id: RequestId) -> None:
        def answer(data: object) -> None:
            self.say(Metrics(command.metric_type, data), request_id)

        self.context.metrics_source(self.place.home or "", command.metric_type, answer)

    # --- permission, perhaps from elsewhere

    def _may(self, action: Action, channel: str, then: Callable[[], None], request_id: RequestId) -> None:
        context = self.context
        if context.authorizer is None:
            check = context.permissions.may_subscribe if action == "subscribe" else context.permissions.may_publish
            if not check(self.identity, channel, dialect=self.form.dialect.name):
                raise Forbidden(f"not allowed to {action} to this channel", channel=channel)
            then()
            return
        known = context.authorizer.known(self.identity, action, channel)
        if known is None:
            self.suspend()
            context.heartbeat.spawn(self._ask(context.authorizer, action, channel, then, request_id))
        elif known:
            then()
        else:
            raise Forbidden(f"not allowed to {action} to this channel", channel=channel)

    async def _ask(
        self,
        authorizer: Authorizer,
        action: Action,
        channel: str,
        then: Callable[[], None],
        request_id: RequestId,
    ) -> None:
        allowed = await authorizer.allows(self.identity, action, channel)
        if self.connection.is_gone:
            return
        try:
            if not allowed:
                raise Forbidden(f"not allowed to {action} to this channel", channel=channel)
            then()
        except FastWSError as error:
            self.refuse(error, request_id)
        if self.backlog is not None:
            self.resume()

    def suspend(self) -> None:
        """Read no further until `resume`: an answer from elsewhere is awaited."""
        if self.backlog is None:
            self.backlog = []
            self.connection.stop_reading()

    def resume(self) -> None:
        backlog, self.backlog = self.backlog, None
        if backlog:
            asyncio.get_running_loop().call_soon(self._go_on, backlog)
        elif not self.connection.is_gone:
            self.connection.go_on_reading()

    def _go_on(self, backlog: list[tuple[int, bytes]]) -> None:
        if self.connection.is_gone:
            return
        self.receive(backlog)
        if self.backlog is None:
            self.connection.go_on_reading()


class Acknowledgement:
    """The reply to a send, given when the flush has shown how it ended."""

    __slots__ = ("channel", "request_id", "session")

    def __init__(self, session: Session, channel: str, request_id: RequestId) -> None:
        self.session = session
        self.channel = channel
        self.request_id = request_id

    def done(self, sent: int, failed: int) -> None:
        session = self.session
        request_id = self.request_id
        if request_id is not None:
            session.say(Sent(self.channel, None, sent, failed), request_id)
            return
        # Most sends of a burst end alike: the same bytes answer them.
        acks = session.context.acks
        key = (session.form, self.channel, sent, failed)
        frame = acks.get(key)
        if frame is None:
            if len(acks) >= ACK_CACHE_SIZE:
                acks.clear()
            frame = session.form.reply(Sent(self.channel, None, sent, failed), session.place) or b""
            acks[key] = frame
        session.put(frame)

    def refused(self, error: FastWSError) -> None:
        error.channel = error.channel or self.channel
        self.session.refuse(error, self.request_id)


class DirectAcknowledgement:
    """The reply to a send to a connection of another process."""

    __slots__ = ("connection_id", "request_id", "session")

    def __init__(self, session: Session, connection_id: str, request_id: RequestId) -> None:
        self.session = session
        self.connection_id = connection_id
        self.request_id = request_id

    def done(self, sent: int, failed: int) -> None:
        self.session.say(Sent(None, self.connection_id, sent, failed), self.request_id)

    def refused(self, error: FastWSError) -> None:
        self.session.refuse(error, self.request_id)


def _request_id(value: object) -> RequestId:
    if isinstance(value, str) and len(value) <= MAX_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise BadRequest(f"`id` must be an integer of 64 bits or a string of at most {MAX_ID_LENGTH} characters")


def chunk_of(frame: bytes, publication: Publication) -> Chunk:
    """One frame for one client as a chunk: refused when the queue is full, never a reason to disconnect."""
    return Chunk(publication.channel, "drop_newest", [frame], frame, [publication.event])


_Handler = Callable[[Session, Command, RequestId], None]
_HANDLERS: Final[Mapping[type, _Handler]] = {
    Subscribe: Session.subscribe,  # type: ignore[dict-item] # each takes the command it stands beside
    Unsubscribe: Session.unsubscribe,  # type: ignore[dict-item]
    Send: Session.send,  # type: ignore[dict-item]
    SendDirect: Session.send_direct,  # type: ignore[dict-item]
    Ping: Session.ping,  # type: ignore[dict-item]
    Refresh: Session.refresh,  # type: ignore[dict-item]
    ChangeFilter: Session.change_filter,  # type: ignore[dict-item]
    RequestMetrics: Session.request_metrics,  # type: ignore[dict-item]
}
__all__ = ["Acknowledgement", "Session", "Verdict", "chunk_of"]
