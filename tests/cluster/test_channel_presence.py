"""The presence of one channel against a naive model: subscribers that apply all updates know who is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastws.cluster.channel_presence import MAX_UPDATE, ChannelPresence, PresenceRule, digest_of
from fastws.vocabulary.presence import PresenceMember, PresenceUpdate

TOLD = PresenceRule("members", 1.0)
COUNTED = PresenceRule("count", 0.0)
NODE = "nodeAA"


def connection(number: int, node: str = NODE) -> str:
    return f"{node}{number:022}"


def member(number: int, user: str = "u", info: object = None, node: str = NODE) -> PresenceMember:
    return PresenceMember(connection(number, node), user, info=info)


def channel(rule: PresenceRule = TOLD) -> ChannelPresence:
    return ChannelPresence("c", rule, is_complete=True)


def told(update: PresenceUpdate | None) -> tuple[list[str], list[str], int, int] | None:
    """An update as ids and figures."""
    if update is None:
        return None
    assert update.joined is not None
    assert update.left is not None
    joined, left = ([one.connection_id for one in members] for members in (update.joined, update.left))
    return joined, left, update.count, update.users


def test_members_come_and_go() -> None:
    presence = channel()
    presence.enter(connection(1), member(1))
    presence.enter(connection(2), member(2, "v", {"name": "V"}))
    assert told(presence.take_update()) == ([connection(1), connection(2)], [], 2, 2)
    assert presence.take_update() is None
    presence.leave(connection(1))
    assert told(presence.take_update()) == ([], [connection(1)], 1, 1)
    page = presence.page(10, None)
    assert (page.members, page.count, page.users, page.cursor) == ([member(2, "v", {"name": "V"})], 1, 1, None)
    assert presence.leave("unknown") is None


def test_a_member_that_came_and_went_between_two_updates_is_in_neither_list() -> None:
    presence = channel()
    presence.enter(connection(1), member(1))
    presence.leave(connection(1))
    assert presence.take_update() is None


def test_unless_an_answer_has_shown_it_then_it_has_left() -> None:
    presence = channel()
    presence.enter(connection(1), member(1))
    presence.page(10, None)
    presence.leave(connection(1))
    assert told(presence.take_update()) == ([], [connection(1)], 0, 0)
    assert presence.take_update() is None


def test_one_that_was_shown_left_and_came_again_has_joined() -> None:
    presence = channel()
    presence.enter(connection(1), member(1))
    presence.page(10, None)
    presence.leave(connection(1))
    presence.enter(connection(1), member(1))
    assert told(presence.take_update()) == ([connection(1)], [], 1, 1)


def test_one_that_left_and_came_again_between_two_updates_has_done_neither() -> None:
    presence = channel()
    presence.enter(connection(1), member(1))
    presence.take_update()
    presence.leave(connection(1))
    presence.enter(connection(1), member(1))
    assert presence.take_update() is None
    presence.leave(connection(1))
    presence.enter(connection(1), member(1, info="new"))
    assert told(presence.take_update()) == ([connection(1)], [], 1, 1)


def test_connections_without_a_token_count_and_are_not_listed() -> None:
    presence = channel()
    presence.enter(connection(1), None)
    assert told(presence.take_update()) == ([], [], 1, 0)
    assert presence.page(10, None).members == []
    presence.leave(connection(1))
    assert told(presence.take_update()) == ([], [], 0, 0)


def test_an_update_of_more_than_a_hundred_has_figures_only() -> None:
    presence = channel()
    for number in range(MAX_UPDATE):
        presence.enter(connection(number), member(number))
    update = presence.take_update()
    assert update is not None
    assert update.joined is not None
    assert len(update.joined) == MAX_UPDATE
    for number in range(MAX_UPDATE, 2 * MAX_UPDATE):
        presence.enter(connection(number), member(number))
    presence.leave(connection(0))
    assert presence.take_update() == PresenceUpdate("c", 2 * MAX_UPDATE - 1, 1, is_partial=True)


def test_pages_are_in_the_order_of_ids_and_continue_after_a_cursor_that_has_left() -> None:
    presence = channel()
    for number in (3, 1, 2):
        presence.enter(connection(number), member(number))
    first = presence.page(2, None)
    assert first.members is not None
    assert [one.connection_id for one in first.members] == [connection(1), connection(2)]
    assert first.cursor == connection(2)
    presence.leave(connection(2))
    rest = presence.page(2, first.cursor)
    assert (rest.members, rest.cursor) == ([member(3)], None)
    exact = presence.page(2, None)
    assert (len(exact.members or ()), exact.cursor) == (2, None)
    assert presence.page(0, None).members is None


def test_counted_channels_store_and_show_no_members() -> None:
    presence = channel(COUNTED)
    fields = [presence.enter(connection(number), member(number, "u")) for number in (1, 2)]
    presence.enter(connection(3), None)
    assert fields == [NODE + digest_of("u")] * 2
    assert set(presence.entries) == {NODE, NODE + digest_of("u")}
    assert presence.page(10, None).members is None
    assert presence.take_update() == PresenceUpdate("c", 3, 1)
    presence.leave(connection(1))
    assert presence.take_update() == PresenceUpdate("c", 2, 1)
    presence.leave(connection(2))
    presence.leave(connection(3))
    assert presence.entries == {}
    assert presence.take_update() == PresenceUpdate("c", 0, 0)


def test_a_channel_whose_subscribers_are_not_told_remembers_no_changes() -> None:
    presence = channel(PresenceRule("members", None))
    presence.enter(connection(1), member(1))
    presence.page(1, None)
    assert (presence._before, presence._shown) == ({}, {})


class Subscriber:
    """Applies what it is told, in this order: who has left, who has joined."""

    def __init__(self) -> None:
        self.known: dict[str, PresenceMember] = {}

    def hears(self, update: PresenceUpdate | None, present: dict[str, PresenceMember | None]) -> None:
        if update is None:
            return
        for gone in update.left or ():
            self.known.pop(gone.connection_id, None)
        for come in update.joined or ():
            self.known[come.connection_id] = come
        users = {one.user for one in present.values() if one is not None}
        assert (update.count, update.users) == (len(present), len(users))


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "leave", "ask", "update"]), st.integers(0, 4), st.sampled_from(["", "u", "v"])),
    max_size=60,
)


@given(STEPS)
def test_subscribers_know_at_each_update_who_is_there(steps: list[tuple[str, int, str]]) -> None:
    presence, present = channel(), dict[str, PresenceMember | None]()
    asker, other = Subscriber(), Subscriber()
    for step, number, user in [*steps, ("update", 0, "")]:
        if step == "enter" and connection(number) not in present:
            present[connection(number)] = member(number, user) if user else None
            presence.enter(connection(number), present[connection(number)])
        elif step == "leave" and connection(number) in present:
            del present[connection(number)]
            presence.leave(connection(number))
        elif step == "ask":
            asker.known = {one.connection_id: one for one in presence.page(100, None).members or ()}
            assert asker.known == {key: one for key, one in present.items() if one is not None}
        elif step == "update":
            update = presence.take_update()
            asker.hears(update, present)
            other.hears(update, present)
            shown = {key: one for key, one in present.items() if one is not None}
            assert asker.known == other.known == shown


@given(STEPS)
def test_counted_figures_are_those_of_a_naive_count(steps: list[tuple[str, int, str]]) -> None:
    presence, present = channel(COUNTED), dict[str, str]()
    for step, number, user in steps:
        if step == "enter" and connection(number) not in present:
            present[connection(number)] = user
            presence.enter(connection(number), member(number, user) if user else None)
        elif step == "leave" and present.pop(connection(number), None) is not None:
            presence.leave(connection(number))
        assert (presence.count, presence.users) == (len(present), len(set(present.values()) - {""}))
