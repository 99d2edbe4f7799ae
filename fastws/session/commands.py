"""The commands of clients: one function for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final

from fastws.access.tokens import REFUSAL
from fastws.dialects.client_ids import check_claim
from fastws.errors import BadRequest, Dismissed, FastWSError, Forbidden, RateLimited, Unauthorized
from fastws.hub.ports import Receipt
from fastws.hub.publication_log import LoggedReceipt
from fastws.session.acknowledgements import Acknowledgement, DirectAcknowledgement, RefusalOnly
from fastws.session.asker import Asker
from fastws.session.authorization import authorize, leave_forbidden_channels, owns
from fastws.session.joining import Joining, check_number, refuse_join
from fastws.session.members import join_as_member
from fastws.session.presence import read_presence
from fastws.session.recovery import read_history
from fastws.session.waiting import proceed, suspend, wait_for
from fastws.vocabulary.commands import (
    Answer,
    ChangeFilter,
    Decide,
    Echo,
    Ping,
    ReadHistory,
    ReadPresence,
    Refresh,
    Relay,
    RequestId,
    RequestMetrics,
    Send,
    SendDirect,
    SignIn,
    Subscribe,
    Unsubscribe,
)
from fastws.vocabulary.identity import Identity
from fastws.vocabulary.positions import Past
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.vocabulary.replies import FilterChanged, Left, Metrics, Pong, Refreshed, Standing, Subscribed, Unsubscribed

if TYPE_CHECKING:
    from fastws.session.session import Session

REFRESH_SECONDS: Final = 1.0
# An authorizer is asked whether a client may publish to the channel of this prefix and the id of the connection.
CONNECTION_PREFIX: Final = "connection:"


def subscribe(session: Session, command: Subscribe, request_id: RequestId) -> None:
    name = command.channel
    if command.member is not None:
        join_as_member(session, name, command.member, command.cached_seconds, request_id)
        return
    if command.is_allowed:
        _join(session, name, command.past, request_id, command.cached_seconds)
        return
    authorize(session, "subscribe", name, lambda: _join(session, name, command.past, request_id), request_id)


def _join(session: Session, name: str, past: Past, request_id: RequestId, cached_seconds: float | None = None) -> None:
    check_number(session, name)
    Joining(
        session,
        name,
        past,
        lambda standing: session.send_reply(Subscribed(name, standing), request_id),
        lambda error: refuse_join(session, name, error, request_id),
        cached_seconds=cached_seconds,
    ).run()


def history(session: Session, command: ReadHistory, request_id: RequestId) -> None:
    """Read the history of a channel that the client may subscribe to."""
    name = command.channel or session.starting.home or ""
    authorize(session, "subscribe", name, lambda: read_history(session, name, command, request_id), request_id)


def presence(session: Session, command: ReadPresence, request_id: RequestId) -> None:
    """Reply with the members of a channel that the client may subscribe to."""
    name = command.channel or session.starting.home or ""
    authorize(session, "subscribe", name, lambda: read_presence(session, name, command, request_id), request_id)


def unsubscribe(session: Session, command: Unsubscribe, request_id: RequestId) -> None:
    hub = session.services.hub
    if hub.audience_of(session.peer, command.channel) is not None:
        session.flush_before_reply(command.channel)
        hub.unsubscribe(session.peer, command.channel)
    session.send_reply(Unsubscribed(command.channel), request_id)


def send(session: Session, command: Send, request_id: RequestId) -> None:
    services = session.services
    if command.event in services.mounts.reserved_events and services.mounts.is_reserved(command.channel, command.event):
        raise Forbidden(f"only the server may publish the event {command.event!r} here", channel=command.channel)
    if services.authorizer is None and services.permissions.may_publish(
        session.identity,
        command.channel,
        needs_token=session.form.dialect.needs_token,
        anonymous_allowed=session.anonymous_allowed,
    ):
        _publish(session, command, request_id)
    else:
        authorize(session, "publish", command.channel, lambda: _publish(session, command, request_id), request_id)


def _publish(session: Session, command: Send, request_id: RequestId) -> None:
    services, sender = session.services, session.peer.id
    services.counters.publications["client"] += 1
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
        None,
        None,
        command.is_ephemeral,
    )
    receipt: Receipt = Acknowledgement(session, command.channel, request_id)
    if services.log_level.is_debug:
        receipt = LoggedReceipt(publication, "client", receipt)
    services.broker.publish(publication, receipt)


def send_direct(session: Session, command: SendDirect, request_id: RequestId) -> None:
    services = session.services
    if services.authorizer is not None:
        name = f"{CONNECTION_PREFIX}{command.connection_id}"
        authorize(session, "publish", name, lambda: _send_directly(session, command, request_id), request_id)
    elif services.permissions.may_send_directly(
        session.identity,
        needs_token=session.form.dialect.needs_token,
        anonymous_allowed=session.anonymous_allowed,
    ):
        _send_directly(session, command, request_id)
    else:
        raise Forbidden("not allowed to send to connections")


def _send_directly(session: Session, command: SendDirect, request_id: RequestId) -> None:
    services = session.services
    publication = Publication("", command.event, command.data, None, session.peer.id)
    receipt: Receipt = DirectAcknowledgement(session, command.connection_id, request_id)
    if services.log_level.is_debug:
        receipt = LoggedReceipt(publication, "client", receipt, command.connection_id)
    target = services.roster.get(command.connection_id)
    if target is None:
        services.send_elsewhere(command.connection_id, publication, receipt)
        return
    try:
        delivered = target.deliver_direct(publication)
    except FastWSError as error:
        receipt.refused(error)
    else:
        receipt.done(int(delivered), int(not delivered))


def relay(session: Session, command: Relay, request_id: RequestId) -> None:
    """Publish to the other subscribers of a channel; the sender gets a reply only if the broker refuses."""
    services, sender = session.services, session.peer.id
    services.counters.publications["client"] += 1
    publication = Publication(
        *(command.channel, command.event, command.data, None, sender, None, None, None, None),
        *(frozenset((sender,)), command.attributes, None, True),
    )
    services.broker.publish(publication, RefusalOnly(session, publication, request_id))


def sign_in(session: Session, command: SignIn, request_id: RequestId) -> None:
    """Note the user of the client, and reply."""
    session.services.roster.sign_in(session.peer.id, command.realm, command.user)
    session.write_reply_frame(session.form.plain(command.message))


def answer(session: Session, command: Answer, request_id: RequestId) -> None:
    session.write_reply_frame(session.form.plain(command.message))


def decide(session: Session, command: Decide, request_id: RequestId) -> None:
    """Perform what the dialect decides."""
    try:
        decided = command.decide(Asker(session))
    except Dismissed as error:
        session.dismiss(error)
        return
    if session.starting.deadline_seconds and isinstance(decided, SignIn | Subscribe) and session.starting.is_proven:
        session.services.expiry.watch_expiry(session.peer, inf)
    if decided is not None:
        session.services.commands[type(decided)](session, decided, request_id)


def echo(session: Session, command: Echo, request_id: RequestId) -> None:
    session.write_reply_frame(session.form.echo(command.opcode, command.payload))


def ping(session: Session, command: Ping, request_id: RequestId) -> None:
    home = session.starting.home
    if home is None or session.services.history is None:
        session.send_reply(Pong(), request_id)
    elif session.flush_before_reply(home):
        session.send_reply(Pong(session.services.history.heard(home)), request_id)


def refresh(session: Session, command: Refresh, request_id: RequestId) -> None:
    """Replace the client's token.

    Verifying a signature is expensive, so clients without a token and too frequent refreshes are refused first.
    """
    services = session.services
    if session.identity is None:
        raise Forbidden("this connection was opened without a token; connect again with one")
    now = services.clock()
    if now < session.refresh_at:
        services.counters.rate_limited["refresh"] += 1
        raise RateLimited("a token may be refreshed at most once per second; try again later")
    session.refresh_at = now + REFRESH_SECONDS
    if services.verifications.may_begin(command.token):
        _renew(session, session.identity, command.token, request_id)
    else:
        suspend(session)
        services.spawn(_renew_in_turn(session, session.identity, command.token, request_id))


async def _renew_in_turn(session: Session, former: Identity, token: str, request_id: RequestId) -> None:
    await session.services.verifications.turn(token)
    if session.peer.is_gone:
        return

    def renew() -> None:
        try:
            _renew(session, former, token, request_id)
        except FastWSError as error:
            session.refuse(error, request_id)

    proceed(session, renew)


def _renew(session: Session, former: Identity, token: str, request_id: RequestId) -> None:
    services = session.services
    identity = services.token_verifier.verify(token)
    if identity.user != former.user:
        raise Forbidden("the new token is for another user; open a new connection to change the user")
    if services.revocations.is_revoked(identity):
        raise Unauthorized(REFUSAL)
    mailbox = session.starting.mailbox
    if mailbox is not None:
        check_claim(identity, mailbox.client_id)
    session.identity = identity
    services.roster.refreshed(session.peer.id, former)
    services.expiry.watch_expiry(session.peer, identity.expires_at + services.token_verifier.leeway_seconds)
    session.send_reply(Refreshed(identity.expires_at), request_id)
    if services.authorizer is not None:
        leaving = leave_forbidden_channels(session, services.authorizer, lambda name: _leave(session, name))
        services.spawn(leaving)
        return
    for name in session.peer.channel_names:
        if not owns(session, name) and not services.permissions.may_subscribe(
            identity, name, needs_token=session.form.dialect.needs_token, anonymous_allowed=session.anonymous_allowed
        ):
            _leave(session, name)


def _leave(session: Session, name: str) -> None:
    session.flush_before_reply(name)
    session.services.hub.unsubscribe(session.peer, name)
    session.send_reply(Left(name))


def change_filter(session: Session, command: ChangeFilter, request_id: RequestId) -> None:
    home, hub = session.starting.home, session.services.hub
    audience = None if home is None else hub.audience_of(session.peer, home)
    if home is None or audience is None:
        raise BadRequest("this connection has no channel to filter")
    changed = command.change(audience.filter)
    if session.flush_before_reply(home):
        hub.subscribe(session.peer, home, session.form, changed)
        history = session.services.history
        position = None if history is None else history.heard(home)
        standing = None if position is None else Standing(position)
        session.send_reply(FilterChanged(changed, command.subscribed, standing), request_id)


def request_metrics(session: Session, command: RequestMetrics, request_id: RequestId) -> None:
    home = session.starting.home or ""
    # A refreshed token may no longer allow the workspace, and then not its metrics either.
    if session.services.hub.audience_of(session.peer, home) is None:
        raise Forbidden("the token no longer allows this workspace")

    def answer(data: object) -> None:
        try:
            if isinstance(data, FastWSError):
                raise data
            session.send_reply(Metrics(command.metric_type, data), request_id)
        except FastWSError as error:
            session.refuse(error, request_id)

    source = session.services.metrics_source
    wait_for(session, lambda receive: source(home, command.metric_type, receive), answer)


# The type of each command, and the function that performs it.
COMMANDS: Final[Mapping[type, Callable[[Session, Any, RequestId], None]]] = {
    Subscribe: subscribe,
    Unsubscribe: unsubscribe,
    Send: send,
    SendDirect: send_direct,
    ReadHistory: history,
    ReadPresence: presence,
    Ping: ping,
    Echo: echo,
    Relay: relay,
    SignIn: sign_in,
    Answer: answer,
    Decide: decide,
    Refresh: refresh,
    ChangeFilter: change_filter,
    RequestMetrics: request_metrics,
}
