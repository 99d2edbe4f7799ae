"""Members that are users, without a loop: notices, lists, limits, and the wait for other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.cluster.channel_presence import ChannelPresence, Entry, PresenceRule
from fastws.cluster.members import HOLD_SECONDS, OPEN_SECONDS, HubPresence, ProcessMembers
from fastws.errors import BadRequest, BrokerUnavailable, FastWSError, TooManyMembers
from fastws.vocabulary.presence import ChannelMember, MemberAdded, Membership, PresenceMember

NODE = "node00"


class Process:
    """The members of one process, what its subscribers get, and its timers."""

    def __init__(self) -> None:
        self.notices: list[tuple[str, str, str]] = []
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.is_up = True
        self.members = ProcessMembers(
            NODE, self.notify, self.soon.append, lambda s, call: self.later.append((s, call)), lambda: self.is_up
        )

    def notify(self, channel: str, notice: object) -> Iterator[int]:
        kind = "+" if isinstance(notice, MemberAdded) else "-"
        self.notices.append((kind, channel, notice.member.user))  # type: ignore[attr-defined]
        yield 1

    def enter(self, connection: str, user: str, limit: int = 0, info: object = None) -> None:
        self.members.open("c", lambda error: None)
        self.members.enter(connection, "c", Membership(ChannelMember(user, user, info), limit))

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()

    def pass_time(self, seconds: float) -> None:
        due, self.later = [each for each in self.later if each[0] <= seconds], []
        for _, call in due:
            call()


class Others:
    """Another process, whose entries arrive when the test says so."""

    def __init__(self) -> None:
        self.closed_channels: list[str] = []
        self.changes: list[str] = []

    def opened(self, channel: ChannelPresence) -> None: ...

    def changed(self, channel: ChannelPresence, field: str) -> None:
        self.changes.append(field)

    def closed(self, channel: ChannelPresence) -> None:
        self.closed_channels.append(channel.name)

    def read(self, name: str, rule: PresenceRule, answer: Callable[[ChannelPresence | FastWSError], None]) -> None:
        answer(BrokerUnavailable("away"))


def entry(field: str, user: str, at: float = 1.0) -> tuple[str, Entry]:
    return field, Entry(user, 1, PresenceMember(field, user, None, {"id": user, "info": {"at": at}, "at": at}))


def test_a_user_on_two_connections_is_one_member() -> None:
    process = Process()
    process.enter("1.1", "a", info={"n": 1})
    process.enter("1.2", "a", info={"n": 2})
    process.enter("1.1", "a")
    assert process.members.of("c") == [ChannelMember("a", "a", {"n": 1})]
    process.members.left("1.1", "c")
    process.run()
    assert process.notices == [("+", "c", "a")]
    process.members.left("1.2", "c")
    process.members.left("1.2", "c")
    process.run()
    assert process.notices == [("+", "c", "a"), ("-", "c", "a")]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from("ab")), max_size=40))
def test_notices_alternate_for_each_user_and_end_at_what_is(steps: list[tuple[bool, int, str]]) -> None:
    process = Process()
    present: dict[str, str] = {}
    for enters, number, user in steps:
        connection = f"1.{number}"
        if enters and connection not in present:
            process.enter(connection, user)
            present[connection] = user
        elif not enters:
            process.members.left(connection, "c")
            present.pop(connection, None)
    process.run()
    for user in "ab":
        kinds = [kind for kind, _, who in process.notices if who == user]
        assert kinds == ["+-"[index % 2] for index in range(len(kinds))]
        assert (kinds[-1:] == ["+"]) is (user in present.values())
    assert {member.user for member in process.members.of("c")} == set(present.values())


def test_a_thousand_members() -> None:
    process = Process()
    for number in range(1000):
        process.enter(f"1.{number}", f"u{number}", 1000)
    with pytest.raises(TooManyMembers):
        process.enter("1.1000", "u1000", 1000)
    assert len(process.members.of("c")) == 1000
    for number in range(1000):
        process.members.left(f"1.{number}", "c")
    process.run()
    assert process.notices == [(kind, "c", f"u{number}") for kind in "+-" for number in range(1000)]
    assert process.members.of("c") == []


def test_a_full_channel_takes_further_connections_of_its_members() -> None:
    process = Process()
    process.enter("1.1", "a", 1)
    process.enter("1.2", "a", 1)
    with pytest.raises(TooManyMembers):
        process.enter("1.3", "b", 1)
    process.enter("1.3", "b", 2)


def test_an_empty_channel_is_forgotten_after_the_hold() -> None:
    process = Process()
    process.enter("1.1", "a")
    process.members.left("1.1", "c")
    assert "c" in process.members.channels
    process.pass_time(HOLD_SECONDS)
    assert not process.members.channels
    with pytest.raises(BrokerUnavailable):
        process.members.enter("1.1", "c", Membership(ChannelMember("a", "a", {})))


def test_members_of_other_processes_are_awaited() -> None:
    process, others = Process(), Others()
    process.members.others = others
    answers: list[FastWSError | None] = []
    process.members.open("c", answers.append)
    process.members.open("c", answers.append)
    assert answers == []
    channel = process.members.channels["c"]
    channel.put(*entry("other0" + "x" * 22, "b"), is_news=False)
    channel.is_complete = True
    process.members.changed(channel)
    assert answers == [None, None]
    process.members.enter("1.1", "c", Membership(ChannelMember("a", "a", {})))
    assert [member.user for member in process.members.of("c")] == ["b", "a"]
    assert others.changes == [f"{NODE}1.1".ljust(28, "~")]
    # Of two connections that arrive together, the one that has entered first introduces the user.
    channel.put(*entry("other0" + "y" * 22, "d", 3.0))
    channel.put(*entry("other0" + "z" * 22, "d", 2.0))
    process.members.changed(channel)
    assert process.members.of("c")[-1].info == {"at": 2.0}
    channel.drop("other0" + "x" * 22)
    process.members.changed(channel)
    process.run()
    assert process.notices == [("+", "c", "a"), ("+", "c", "d"), ("-", "c", "b")]


def test_who_waits_too_long_gets_an_error() -> None:
    process = Process()
    process.members.others = Others()
    answers: list[FastWSError | None] = []
    process.members.open("c", answers.append)
    process.pass_time(OPEN_SECONDS)
    assert isinstance(answers[0], BrokerUnavailable)


def test_nobody_enters_while_redis_is_away() -> None:
    process = Process()
    process.is_up = False
    answers: list[FastWSError | None] = []
    process.members.open("c", answers.append)
    assert isinstance(answers[0], BrokerUnavailable)


def test_an_entry_of_another_form_is_taken() -> None:
    process = Process()
    process.members.open("c", lambda _: None)
    channel = process.members.channels["c"]
    channel.put("other0" + "x" * 22, Entry("b", 1, PresenceMember("other0" + "x" * 22, "b", None, ["?"])))
    process.members.changed(channel)
    assert process.members.of("c") == [ChannelMember("b", "b", {})]


def test_questions_of_other_dialects_need_their_own_setting() -> None:
    process = Process()
    both = HubPresence(process.members, lambda name: name == "c", None)
    answers: list[object] = []
    both.page("c", 10, None, answers.append)
    assert isinstance(answers[0], BadRequest)
    assert both.shows("c")
    assert not both.shows("d")
    assert both.members == 0
