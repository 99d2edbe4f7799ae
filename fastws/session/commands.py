"""What each command does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from fastws.dialects.workspaces import OWN_EVENTS
from fastws.errors import BadRequest, FastWSError, Forbidden, TooManyChannels
from fastws.session.acknowledgements import Acknowledgement, DirectAcknowledgement, acknowledge
from fastws.session.authorization import authorize, leave_forbidden_channels
from fastws.vocabulary.commands import (
    ChangeFilter,
    Ping,
    Refresh,
    RequestMetrics,
    Send,
    SendDirect,
    Subscribe,
    Unsubscribe,
)
from fastws.vocabulary.publication import NOBODY, Publication
from fastws.vocabulary.replies import FilterChanged, Left, Metrics, Pong, Refreshed, Subscribed, Unsubscribed

if TYPE_CHECKING:
    from fastws.session.session import RequestId, Session


def subscribe(session: Session, command: Subscribe, request_id: RequestId) -> None:
    name = command.channel
    authorize(session, "subscribe", name, lambda: _join(session, name, request_id), request_id)


def _join(session: Session, name: str, request_id: RequestId) -> None:
    connection, limits = session.connection, session.services.limits
    hub = session.services.hub
    is_member = hub.audience_of(connection, name) is not None
    if not is_member and len(connection.audiences) >= limits.channels:
        raise TooManyChannels(f"a connection may be in {limits.channels} channels; leave one first", channel=name)
    if name not in hub.channels and len(hub.channels) >= limits.total_channels:
        raise TooManyChannels("the server carries no more channels; join one that is there", channel=name)
    session.listen(name, lambda: session.send_reply(Subscribed(name), request_id))


def unsubscribe(session: Session, command: Unsubscribe, request_id: RequestId) -> None:
    session.flush_before_reply(command.channel)
    session.services.hub.unsubscribe(session.connection, command.channel)
    session.send_reply(Unsubscribed(command.channel), request_id)


def send(session: Session, command: Send, request_id: RequestId) -> None:
    services = session.services
    if command.event in OWN_EVENTS and services.permissions.is_workspace(command.channel):
        raise Forbidden(f"the event {command.event!r} of a workspace is the server's own", channel=command.channel)
    if services.authorizer is None and services.permissions.may_publish(
        session.identity,
        command.channel,
        dialect=session.form.dialect.name,
        anonymous_allowed=session.anonymous_allowed,
    ):
        _publish(session, command, request_id)
    else:
        authorize(session, "publish", command.channel, lambda: _publish(session, command, request_id), request_id)


def _publish(session: Session, command: Send, request_id: RequestId) -> None:
    services, sender = session.services, session.connection.id
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
    )
    services.broker.publish(publication, Acknowledgement(session, command.channel, request_id))


def send_direct(session: Session, command: SendDirect, request_id: RequestId) -> None:
    session.flush_before_reply()
    publication = Publication("", command.event, command.data, None, session.connection.id)
    target = session.services.roster.get(command.connection_id)
    if target is None:
        receipt = DirectAcknowledgement(session, command.connection_id, request_id)
        session.services.send_elsewhere(command.connection_id, publication, receipt)
        return
    delivered = target.deliver_direct(publication)
    acknowledge(session, None, command.connection_id, int(delivered), int(not delivered), request_id)


def ping(session: Session, command: Ping, request_id: RequestId) -> None:
    session.send_reply(Pong(), request_id)


def refresh(session: Session, command: Refresh, request_id: RequestId) -> None:
    services = session.services
    identity = services.token_verifier.verify(command.token)
    if session.identity is None or identity.user != session.identity.user:
        raise Forbidden("a token of the same user is needed; connect anew to be somebody else")
    if services.revocations.is_revoked(identity):
        raise Forbidden("the token does not hold")
    session.identity = identity
    services.heartbeat.watch_expiry(session.connection, identity.expires_at + services.token_verifier.leeway_seconds)
    session.flush_before_reply()
    session.send_reply(Refreshed(identity.expires_at), request_id)
    if services.authorizer is not None:
        leaving = leave_forbidden_channels(session, services.authorizer, lambda name: _leave(session, name))
        services.heartbeat.spawn(leaving)
        return
    for name in session.connection.channel_names:
        if not services.permissions.may_subscribe(
            identity, name, dialect=session.form.dialect.name, anonymous_allowed=session.anonymous_allowed
        ):
            _leave(session, name)


def _leave(session: Session, name: str) -> None:
    session.flush_before_reply(name)
    session.services.hub.unsubscribe(session.connection, name)
    session.send_reply(Left(name))


def change_filter(session: Session, command: ChangeFilter, request_id: RequestId) -> None:
    home, hub = session.starting.home, session.services.hub
    audience = None if home is None else hub.audience_of(session.connection, home)
    if home is None or audience is None:
        raise BadRequest("there is nothing to filter here")
    changed = command.change(audience.filter)
    if session.flush_before_reply(home):
        hub.subscribe(session.connection, home, session.form, changed)
        session.send_reply(FilterChanged(changed, command.subscribed), request_id)


def request_metrics(session: Session, command: RequestMetrics, request_id: RequestId) -> None:
    home = session.starting.home or ""
    # A refreshed token may have taken the workspace away: then its figures go, too.
    if session.services.hub.audience_of(session.connection, home) is None:
        raise Forbidden("the token does not allow this workspace any more")

    def answer(data: object) -> None:
        try:
            if isinstance(data, FastWSError):
                raise data
            session.send_reply(Metrics(command.metric_type, data), request_id)
        except FastWSError as error:
            session.refuse(error, request_id)

    source = session.services.metrics_source
    session.wait_for(lambda hear: source(home, command.metric_type, hear), answer)


# Each takes the command that it stands beside.
COMMANDS: Final[Mapping[type, Callable[[Session, Any, RequestId], None]]] = {
    Subscribe: subscribe,
    Unsubscribe: unsubscribe,
    Send: send,
    SendDirect: send_direct,
    Ping: ping,
    Refresh: refresh,
    ChangeFilter: change_filter,
    RequestMetrics: request_metrics,
}
