"""Joining channels: a client becomes a member once the broker receives the channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fastws.errors import FastWSError, TooManyChannels
from fastws.session.cache_channels import show_cached, show_late
from fastws.session.recovery import Joined, replay
from fastws.session.waiting import wait_for
from fastws.vocabulary.commands import RequestId
from fastws.vocabulary.filters import Filter
from fastws.vocabulary.positions import Past, Position, Recovery
from fastws.vocabulary.presence import Membership
from fastws.vocabulary.replies import Gap

if TYPE_CHECKING:
    from fastws.hub.ports import History
    from fastws.session.services import Services
    from fastws.session.session import Session

_TOO_MANY: Final = "the server has reached its maximum number of channels; subscribe to an existing one"

OnError = Callable[[FastWSError], None]


@dataclass(slots=True)
class Joining:
    """A client that is about to become a member of the channel `name`.

    `past` is what it asks for of the history of the channel, `filter` selects its deliveries, and `member` is
    as whom it joins a channel of users. With `cached_seconds` it gets the last event, if that is younger. `joined` is
    called once it is a member, with its standing if the channel has a history, and `refused` with an error.

    If the broker cannot receive the channel, the client is refused. With `stays` it becomes a member even then, and
    gets publications as soon as the broker receives them. If the server has `max_channels`, it is refused, and with
    `stays` also `joined` is called, though the client does not become a member.
    """

    session: Session
    name: str
    past: Past
    joined: Joined
    refused: OnError
    filter: Filter | None = None
    stays: bool = False
    member: Membership | None = None
    cached_seconds: float | None = None

    def run(self) -> None:
        """Join at once, or when the broker confirms that it receives the channel; the session waits until then."""
        name, services = self.name, self.session.services
        hub, broker, pending = services.hub, services.broker, services.pending_channels
        if hub.count(name):
            self._listening(broker.refusal(name))
        elif name not in pending and len(hub.channels) + len(pending) >= services.config.max_channels:
            self.refused(TooManyChannels(_TOO_MANY, channel=name))
            if self.stays:
                self.joined(None)
        elif broker.receives_everything:
            self._listening(None)
        else:
            pending[name] = pending.get(name, 0) + 1
            wait_for(self.session, lambda answer: broker.listen(name, lambda: answer(None), answer), self._answered)

    def _answered(self, error: FastWSError | None) -> None:
        _count_down(self.session.services.pending_channels, self.name)
        self._listening(error)

    def _listening(self, error: FastWSError | None) -> None:
        """The broker receives the channel, or refuses to."""
        if error is not None:
            self.refused(error)
            if not self.stays:
                self._give_up()
                return
        history = self.session.services.history
        if history is not None and history.keeps(self.name):
            self._recover(history)
        elif self._enter():
            self.joined(None)

    def _recover(self, history: History) -> None:
        """Ask `history`, and join in one step when it answers.

        The answer is complete at that moment, so nothing is missed and nothing is delivered twice. For a client that is
        a member already, `past` is ignored.
        """
        services = self.session.services
        if self.cached_seconds is not None:
            self.past = 1
        elif services.hub.audience_of(self.session.peer, self.name) is not None:
            self.past = None
        services.recovering[self.name] = services.recovering.get(self.name, 0) + 1
        wait_for(self.session, self._ask(history), self._recovered)

    def _ask(self, history: History) -> Callable[[Callable[[Recovery | FastWSError], None]], None]:
        return lambda answer: history.recover(self.name, self.past, answer, self._positioned)

    def _positioned(self, position: Position) -> None:
        """The history can be read again: tell the client, which has joined without a position."""
        session = self.session
        if not session.peer.is_gone and session.services.hub.audience_of(session.peer, self.name) is not None:
            session.flush_before_reply(self.name)
            session.send_reply(Gap(self.name, position))
            if self.cached_seconds is not None:
                show_late(session, self.name, position, self.cached_seconds)

    def _recovered(self, recovery: Recovery | FastWSError) -> None:
        _count_down(self.session.services.recovering, self.name)
        if isinstance(recovery, FastWSError):
            self.refused(recovery)
            if not self.stays:
                self._give_up()
            elif self._enter():
                self.joined(None)
        elif not self._enter():
            return
        elif self.cached_seconds is not None:
            self.joined(None)
            show_cached(self.session, self.name, recovery, self.cached_seconds)
        else:
            replay(self.session, self.name, recovery, self.past, self.filter, self.joined)

    def _enter(self) -> bool:
        """Become a member. Returns False if the client has gone meanwhile."""
        session = self.session
        if session.flush_before_reply(self.name):
            if self.member is not None and not self._enter_as(self.member):
                return False
            session.services.hub.subscribe(session.peer, self.name, session.form, self.filter)
            return True
        self._give_up()
        return False

    def _enter_as(self, member: Membership) -> bool:
        """Announce `member` in the channel, before the client is a subscriber. Returns False if it is refused."""
        session = self.session
        try:
            session.services.members.enter(session.peer.id, self.name, member)
        except FastWSError as error:
            self.refused(error)
            self._give_up()
            return False
        return True

    def _give_up(self) -> None:
        stop_listening(self.session.services, self.name)


def check_number(session: Session, name: str) -> None:
    """Raise TooManyChannels if the client may not join `name` in addition to its channels."""
    peer, services = session.peer, session.services
    limit = services.config.max_channels_per_connection
    if len(peer.audiences) >= limit and services.hub.audience_of(peer, name) is None:
        raise TooManyChannels(
            f"a connection may subscribe to at most {limit} channels; unsubscribe from one first", channel=name
        )


def refuse_join(session: Session, name: str, error: FastWSError, request_id: RequestId) -> None:
    """Tell the client that it has not joined the channel `name`, which the error names."""
    error.channel = error.channel or name
    session.refuse(error, request_id)


def stop_listening(services: Services, channel: str) -> None:
    """A client has left `channel`, or does not join it after all: if it was the last, tell the broker.

    A client that waits for its past will be a member in a moment: the channel is kept for it.
    """
    if not services.hub.count(channel) and channel not in services.recovering:
        services.broker.unlisten(channel)


def _count_down(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
