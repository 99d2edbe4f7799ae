"""Apps of Pusher clients, and the names of their channels."""

from __future__ import annotations

import pytest

from fastws.vocabulary.pusher_apps import (
    PusherApp,
    PusherApps,
    is_cache,
    is_presence,
    is_private,
    is_user_id,
    user_of,
)

OWN = PusherApp(id="4711", secrets={"k": "secret", "k2": "other"})
SHARED = PusherApp(id="1", secrets={"k3": "x"}, is_shared=True)


def test_an_app_has_its_own_channels() -> None:
    assert OWN.channel("orders") == "pusher:4711:orders"
    assert OWN.name_of("pusher:4711:orders") == "orders"
    assert OWN.channel("#server-to-user-u") == "pusher:4711:#server-to-user-u"


def test_a_shared_app_has_the_channels_of_all() -> None:
    assert SHARED.channel("orders") == "orders" == SHARED.name_of("orders")
    assert SHARED.channel("#server-to-user-u") == "user:u"
    assert SHARED.name_of("user:u") == "#server-to-user-u"


@pytest.mark.parametrize("name", ["a", "A-z_0=@,.;", "x" * 200, "#server-to-user-ü", "#server-to-user-" + "x" * 128])
def test_valid_names(name: str) -> None:
    assert OWN.is_channel_name(name)
    assert SHARED.is_channel_name(name)


@pytest.mark.parametrize(
    "name",
    [None, 7, "", "x" * 201, "a b", "ä", "a\n", "#x", "#server-to-user-", "#server-to-user-" + "x" * 129, "a/b"],
)
def test_invalid_names(name: object) -> None:
    assert not OWN.is_channel_name(name)
    assert not SHARED.is_channel_name(name)


def test_colons_are_for_a_shared_app() -> None:
    assert SHARED.is_channel_name("logs:thread-1")
    assert not OWN.is_channel_name("logs:thread-1")
    assert not SHARED.is_channel_name("pusher:4711:private-x"), "it belongs to another app"


def test_kinds_of_channels() -> None:
    assert is_private("private-encrypted-x")
    assert not is_private("presence-x")
    assert is_presence("presence-cache-x")
    assert [is_cache(name) for name in ("cache-x", "private-cache-x", "presence-cache-x", "x-cache-")] == [
        *(True, True, True, False)
    ]
    assert is_cache("private-encrypted-cache-x")
    assert user_of("#server-to-user-u1") == "u1"
    assert user_of("orders") is None


@pytest.mark.parametrize("text", ["", "x" * 129, "a\n", " a", "a\x00"])
def test_invalid_user_ids(text: str) -> None:
    assert not is_user_id(text)


def test_apps_are_found_by_id_and_by_each_key() -> None:
    apps = PusherApps([OWN, SHARED])
    assert apps.get("4711") is OWN is apps.of_key("k2")
    assert apps.get("k") is None is apps.of_key("4711")
    assert list(apps) == [OWN, SHARED]
    assert apps
    assert not PusherApps()


def test_no_secret_is_shown() -> None:
    assert "secret" not in repr(OWN)
