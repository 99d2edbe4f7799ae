from fastws.backend.channel_requests import presence_request, with_page


def test_the_pages_of_presence_are_joined_with_the_latest_figures():
    found, cursor = with_page(None, {"channel": "c", "count": 2, "users": 2, "members": ["a"], "cursor": "a"})
    assert presence_request("c/d", cursor) == ("/channels/c%2Fd/presence", {"limit": "1000", "cursor": "a"})
    found, cursor = with_page(found, {"channel": "c", "count": 3, "users": 1, "members": ["b", "c"], "cursor": None})
    assert (found, cursor) == ({"channel": "c", "count": 3, "users": 1, "members": ["a", "b", "c"]}, None)


def test_a_channel_that_shows_only_figures_has_one_page():
    assert presence_request("c", None) == ("/channels/c/presence", {"limit": "1000"})
    figures = {"channel": "c", "count": 3, "users": 1}
    assert with_page(None, dict(figures)) == (figures, None)
