import pytest

from fastws.client.positions import Mark, Position, Positions, parse_positions, position_in
from fastws.errors import BadRequest


def positions_at(offset, channel="c", **options):
    return Positions({channel: Position(offset, "x")}, **options)


def reply_of(offset, epoch="x", **more):
    return {"offset": offset, "epoch": epoch, **more}


@pytest.mark.parametrize(
    ("message", "position"),
    [
        ({"offset": 0, "epoch": "x"}, Position(0, "x")),
        ({"offset": True, "epoch": "x"}, None),
        ({"offset": -1, "epoch": "x"}, None),
        ({"offset": "1", "epoch": "x"}, None),
        ({"offset": 1}, None),
        ({"epoch": "x"}, None),
        ({"offset": 1, "epoch": None}, None),
    ],
)
def test_a_position_is_an_offset_with_an_epoch(message, position):
    assert position_in(message) == position


def test_given_positions_are_read():
    assert parse_positions(None) == {}
    assert parse_positions({"c": {"offset": 3, "epoch": "x"}}) == {"c": Position(3, "x")}


@pytest.mark.parametrize("fields", [3, None, {"offset": 3}, {"offset": "3", "epoch": "x"}])
def test_a_given_position_that_is_none_is_refused_with_what_is_expected(fields):
    with pytest.raises(BadRequest, match=r"`positions` must map each channel to .*\"epoch\": a string.*not 'c' to"):
        parse_positions({"c": fields})


def test_the_first_subscription_sets_the_position_and_nothing_was_missed():
    positions = Positions({})
    assert positions.fields("c") == {}
    assert positions.joined("c", reply_of(17), was_heard=False) == (Mark("c", Position(17, "x")), False)
    assert positions.fields("c") == {"offset": 17, "epoch": "x"}
    assert positions.recovered == {}


def test_a_recovered_position_moves_only_with_the_deliveries():
    positions = positions_at(12)
    assert positions.joined("c", reply_of(17, recovered=True, replayed=5), was_heard=True) == (None, False)
    assert positions.of("c") == Position(12, "x")
    assert positions.recovered == {"c": True}
    assert positions.received("c", 13) == ([Mark("c", Position(13, "x"))], False)


def test_a_recovered_position_with_nothing_to_replay_is_the_newest():
    positions = positions_at(12)
    assert positions.joined("c", reply_of(17, recovered=True, replayed=0), was_heard=True) == (
        Mark("c", Position(17, "x")),
        False,
    )


@pytest.mark.parametrize("reply", [reply_of(3, "y", recovered=False, replayed=0), {}])
@pytest.mark.parametrize("was_heard", [True, False])
def test_what_is_not_recovered_was_missed(reply, was_heard):
    positions = positions_at(12)
    mark, has_missed = positions.joined("c", reply, was_heard=was_heard)
    assert (mark, has_missed) == (Mark("c", position_in(reply)), True)
    assert positions.recovered == {"c": False}
    assert positions.of("c") == position_in(reply)


def test_a_channel_without_history_that_was_heard_before_is_not_recovered():
    positions = Positions({})
    assert positions.joined("c", {}, was_heard=True) == (None, True)
    assert positions.recovered == {"c": False}


def test_of_several_attempts_one_that_did_not_recover_decides():
    positions = positions_at(12)
    positions.joined("c", reply_of(3, "y", recovered=False), was_heard=True)
    positions.lost()
    positions.joined("c", reply_of(4, "y", recovered=True, replayed=1), was_heard=True)
    assert positions.recovered == {"c": False}


def test_a_second_confirmation_on_one_connection_is_no_gap():
    positions = positions_at(12)
    positions.joined("c", reply_of(12, recovered=True, replayed=0), was_heard=True)
    assert positions.joined("c", reply_of(15), was_heard=True) == (Mark("c", Position(15, "x")), False)
    assert positions.recovered == {"c": True}


@pytest.mark.parametrize(("offset", "is_repeated"), [(11, True), (12, True), (13, False), (20, False)])
def test_repetitions_are_told_by_their_offset(offset, is_repeated):
    assert positions_at(12).received("c", offset)[1] is is_repeated


def test_a_jump_begins_another_numbering():
    positions = positions_at(12)
    assert positions.jumped("c", Position(2, "y")) == Mark("c", Position(2, "y"))
    assert positions.received("c", 3) == ([Mark("c", Position(3, "y"))], False)


def test_a_position_advances_by_what_the_server_says_and_never_backwards():
    positions = positions_at(12)
    assert positions.advanced("c", 12) is None
    assert positions.advanced("c", 15) == Mark("c", Position(15, "x"))
    assert positions.advanced("other", 15) is None


def test_a_delivery_of_an_unknown_channel_passes():
    assert positions_at(12).received("other", 1) == ([], False)


def test_a_channel_that_is_being_left_is_followed_but_not_continued():
    positions = positions_at(12)
    positions.leave("c")
    assert positions.fields("c") == {}
    assert positions.received("c", 13) == ([Mark("c", Position(13, "x"))], False)
    assert positions.left("c") == Mark("c", None)
    assert positions.left("c") is None
    assert positions.of("c") is None


def test_a_channel_whose_leaving_was_not_confirmed_is_left_with_the_connection():
    positions = positions_at(12)
    positions.leave("c")
    assert positions.lost() == [Mark("c", None)]
    assert positions.lost() == []


def test_the_home_channel_gets_its_name_from_its_first_delivery():
    positions = Positions({})
    positions.find_home("workspace:w1", ())
    positions.joined("workspace:w1", reply_of(3, recovered=False), was_heard=True)
    assert positions.received("space-w1", 4) == (
        [Mark("workspace:w1", None), Mark("space-w1", Position(4, "x"))],
        False,
    )
    assert (positions.home, positions.recovered) == ("space-w1", {"space-w1": False})
    assert positions.received("space-w1", 4) == ([], True)


@pytest.mark.parametrize("channel", ["client:7", "execution:1"])
def test_mailboxes_and_rooms_are_never_taken_for_the_home_channel(channel):
    positions = Positions({}, "user:")
    positions.find_home("user:u1", ())
    positions.joined("user:u1", reply_of(3), was_heard=False)
    assert positions.received(channel, 4) == ([], False)
    assert positions.home == "user:u1"


@pytest.mark.parametrize(
    ("known", "others", "home"),
    [
        ({}, (), "user:u1"),
        ({"user:u1": Position(1, "x"), "user:u2": Position(2, "x")}, (), "user:u1"),
        ({"execution:1": Position(1, "x"), "client:7": Position(1, "x")}, (), "user:u1"),
        ({"user:u2": Position(2, "x")}, (), "user:u2"),
        ({"user:u2": Position(2, "x")}, ("user:u2",), "user:u1"),
    ],
)
def test_the_home_channel_is_found_among_the_given_positions(known, others, home):
    positions = Positions(known, "user:")
    positions.find_home("user:u1", others)
    assert positions.home == home
