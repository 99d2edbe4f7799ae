"""A session: processes the messages of one client and collects its replies until all bytes of one read are done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from fastws.dialects.dialect import StartingChannels
from fastws.dialects.wire_form import DialectForm
from fastws.errors import (
    Dismissed,
    FastWSError,
    Forbidden,
    InvalidText,
    UnknownAction,
    UnsupportedData,
)
from fastws.session.message_rate import allowance, end_of_allowed, refuse_excess
from fastws.session.ports import Peer
from fastws.session.services import Services
from fastws.session.unknown_actions import ask_application
from fastws.session.waiting import suspend
from fastws.vocabulary.commands import Request, RequestId
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.publication import Publication
from fastws.vocabulary.replies import Failure, Reply
from fastws.wire.opcodes import BINARY, TEXT

# (opcode, payload) as read, or (REQUESTS, requests) for the unprocessed requests of a message.
REQUESTS: Final = -1
Message = tuple[int, bytes | tuple[Request, ...]]
# Replies of one turn are written early once they reach this size.
MAX_CORKED_BYTES: Final = 65_536
# Stands for a raw message in the outbox, which wants a publication.
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
        # Whether a client from this address needs no token. Then it may use every channel that is not protected.
        self.anonymous_allowed: bool | None = None
        self.connected_at = time.time()
        # Replies of this turn, to be written together; None outside a turn.
        self.cork: list[bytes] | None = None
        self.corked_bytes = 0
        # Messages that wait for an answer (see waiting.py) or, if `is_held`, for the client to read its replies.
        # None while the session is not suspended.
        self.backlog: list[Message] | None = None
        self.is_held = False
        # When the full burst is available again, and the messages refused since it last was.
        self.rate_full_at = 0.0
        self.strikes = 0
        # When the token may be refreshed again.
        self.refresh_at = 0.0

    # --- messages in

    def receive(self, messages: list[tuple[int, bytes]]) -> None:
        """Process `messages` (opcode, payload) as they are read: count them, charge them to the rate, perform them.

        Control frames are neither counted nor charged, because a peer has to send them (RFC 6455 section 5.5). Never
        raises a FastWSError.
        """
        if len(messages) == 1:
            wanted = 1 if messages[0][0] <= BINARY else 0
        else:
            wanted = sum([opcode <= BINARY for opcode, _ in messages])
        self.services.counters.received[self.form.dialect.name] += wanted
        allowed = allowance(self, wanted)
        if allowed == wanted:
            self.perform(messages)
            return
        end = end_of_allowed(allowed, messages)
        self.perform(messages[:end])
        if not self.peer.is_gone:
            refuse_excess(self, messages[end:])

    def perform(self, messages: Sequence[Message]) -> None:
        """Perform `messages` in order. If one suspends the session, the rest is kept. Cost: 2 µs per small send."""
        if self.backlog is not None:
            self.backlog.extend(messages)
            return
        if self.cork is None:
            self.cork = []
        form, commands = self.form, self.services.commands
        read, codec, expected = form.dialect.requests, form.codec, form.codec.opcode
        for position, (opcode, payload) in enumerate(messages):
            if opcode == expected or (opcode == BINARY and expected == TEXT):
                try:
                    requests = read(opcode, payload, codec)  # type: ignore[arg-type] # a tuple has opcode REQUESTS
                except InvalidText as error:
                    self.peer.fail(error)
                    break
                except FastWSError as error:
                    self.refuse(error, None)
                    requests = ()
            elif isinstance(payload, tuple):
                requests = payload
            elif opcode > BINARY:
                self.peer.control(opcode, payload)
                continue
            else:
                self.peer.fail(UnsupportedData("this connection uses msgpack: send binary frames"))
                break
            # Not a method of its own: a call per message would cost 0.1 µs (benchmarks/test_stages.py).
            for request in requests:
                request_id, command = request
                handler = commands.get(type(command))
                if handler is None:
                    self._refuse_request(command, payload, request_id)
                    continue
                try:
                    handler(self, command, request_id)
                except FastWSError as error:
                    self.refuse(error, request_id)
                if self.backlog is not None:
                    self._keep_requests(requests, request)  # type: ignore[unreachable] # the handler may suspend it
                    break
            if (self.backlog is not None or self.corked_bytes > MAX_CORKED_BYTES) and self._keep_rest(
                messages, position + 1
            ):
                break
        self.uncork()

    def _refuse_request(self, error: object, payload: object, request_id: RequestId) -> None:
        """Answer a request that is not a command but the error that it contains."""
        if isinstance(error, UnknownAction):
            ask_application(self, error, payload, request_id)
        elif isinstance(error, FastWSError):
            self.refuse(error, request_id)

    def _keep_requests(self, requests: tuple[Request, ...], last: Request) -> None:
        """The session was suspended by the request `last`: keep those that follow it in the same message."""
        end = next(index for index, request in enumerate(requests, 1) if request is last)
        if self.backlog is not None and end < len(requests):
            self.backlog.insert(0, (REQUESTS, requests[end:]))

    def _keep_rest(self, messages: Sequence[Message], start: int) -> bool:
        """If the session is suspended, keep the messages from `start` on and return True.

        Suspends it, too, if the client does not read its replies: small requests may have large replies.
        """
        if self.corked_bytes > MAX_CORKED_BYTES:
            self.uncork()
            self.cork = []
            if self.backlog is None and self.peer.is_crowded:
                suspend(self)
                self.is_held = True
        if self.backlog is None:
            return False
        self.backlog.extend(messages[start:])
        return True

    # --- replies out

    def send_reply(self, reply: Reply, request_id: RequestId = None) -> None:
        """Send `reply` in the client's dialect; dialects leave out replies that they do not have."""
        frame = self.form.reply(reply, self.starting, request_id)
        if frame is not None:
            self.write_reply_frame(frame)

    def write_reply_frame(self, frame: bytes, channel: str | None = None) -> None:
        """Write a frame to the client's control lane, together with the other replies of this turn.

        `channel` is what the reply is about; it only matters with priorities (see PrioritizedSession).
        """
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
        """Write the replies of this turn."""
        cork, self.cork = self.cork, None
        self.corked_bytes = 0
        if cork:
            self.peer.write_control(cork[0] if len(cork) == 1 else b"".join(cork))

    def refuse(self, error: FastWSError, request_id: RequestId) -> None:
        """Send `error` as the reply to a request."""
        self.send_reply(Failure(error.code, error.message, error.channel), request_id)

    def dismiss(self, error: Dismissed) -> None:
        """Close the connection because the dialect wants it."""
        self.peer.end(error.dismissal_code, error.message, label=error.label)

    def flush_before_reply(self, channel: str) -> bool:
        """Write the pending publications of `channel`, so that the next reply does not overtake them.

        Returns False if the client is gone: it may have been too slow for what was written.
        """
        hub = self.services.hub
        if not hub.is_flushed(channel):
            self.uncork_in_turn()
            hub.flush_channel(channel)
        return not self.peer.is_gone

    def uncork_in_turn(self) -> None:
        """Write the replies so far, so that what is written next does not overtake them. The turn continues."""
        cork = self.cork
        self.uncork()
        if cork is not None:
            self.cork = []

    def replay(self, frames: Iterator[bytes], channel: str) -> None:
        """Write `frames` of the past of `channel` after the replies so far, as the client reads."""
        self.uncork_in_turn()
        self.peer.replay(frames, channel)

    # --- publications for this client only

    def deliver_direct(self, publication: Publication) -> bool:
        """Send `publication` to this client only. Returns False if its queue is full.

        Raises Unencodable, and Forbidden if another client sends an event that only the server may send.
        """
        if publication.event in self.form.dialect.reserved_events and publication.sender is not None:
            raise Forbidden(f"only the server may send the event {publication.event!r} to this connection")
        return self._deliver_frame(self.form.frame(publication), publication)

    def deliver_raw(self, body: bytes) -> bool:
        """Send `body` unchanged to this client only. Returns False if its queue is full."""
        return self._deliver_frame(self.form.verbatim(body), _RAW)

    def _deliver_frame(self, frame: bytes, publication: Publication) -> bool:
        """Send `frame` after the pending publications of the client's channels.

        Returns False if the queue is full, or if the client was too slow for those publications.
        """
        counters = self.services.counters
        peer = self.peer
        for audience in peer.audiences:
            if not self.services.hub.tick.is_flushed(audience.channel):
                self.uncork_in_turn()
                self.services.hub.flush_channels_of(peer)
                break
        if peer.is_gone:
            return False
        if self.cork is not None and peer.is_writable:
            self.cork.append(frame)
        elif not peer.deliver(frame, publication):
            counters.dropped["direct"] += 1
            return False
        counters.deliveries += 1
        counters.delivered_bytes += len(frame)
        return True
