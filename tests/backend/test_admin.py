from fastws.backend.admin import MAX_EXCLUDED, RegisteredConnections, admin_messages, tally


def test_registered_connections_are_left_out_of_the_channel_and_reached_by_id():
    channel, *direct = admin_messages({"type": "t"}, ("a", "b"))
    assert (channel.channel, channel.event, channel.exclude) == ("admin", "admin_event", ("a", "b"))
    assert [message.connection_id for message in direct] == ["a", "b"]
    assert all(message.event == "admin_event" and message.data == {"type": "t"} for message in direct)


def test_no_more_are_excluded_than_the_server_takes():
    registered = tuple(str(number) for number in range(MAX_EXCLUDED + 1))
    channel, *direct = admin_messages(None, registered)
    assert channel.exclude == registered[1:]
    assert len(direct) == len(registered)


def test_the_tally_adds_up_and_names_those_that_are_gone():
    messages = admin_messages(None, ("a", "b", "c"))
    outcomes = [
        {"sent": 5, "failed": 1, "stale": 0},
        {"sent": 1, "failed": 0, "stale": 0},
        {"sent": 0, "failed": 0, "stale": 1},
        {"sent": 0, "failed": 1, "stale": 1},
    ]
    assert tally(messages, outcomes) == ({"sent": 6, "failed": 1, "stale": 2}, ["b", "c"])


def test_a_connection_is_registered_once_until_it_is_forgotten():
    registered = RegisteredConnections()
    for each in ("a", "b", "a"):
        registered.add(each)
    assert registered.all() == ("a", "b")
    registered.forget(["a", "never"])
    assert registered.all() == ("b",)
