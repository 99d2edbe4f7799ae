"""The apps of Pusher clients, from flags, environment and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastws.errors import ConfigError
from fastws.pusher_settings import pusher_apps
from fastws.settings import load
from fastws.vocabulary.pusher_apps import PusherApp, PusherApps


def apps(**environment: str) -> PusherApps:
    return pusher_apps(load({}, environment))


def app(found: PusherApps, app_id: str) -> PusherApp:
    wanted = found.get(app_id)
    assert wanted is not None
    return wanted


def test_no_app_by_default() -> None:
    assert not apps()


def test_two_apps_of_which_one_has_two_pairs() -> None:
    found = apps(FASTWS_PUSHER_APPS="1:a:s:with:colons,2:b:t,1:c:u")
    assert app(found, "1").secrets == {"a": "s:with:colons", "c": "u"}
    assert list(app(found, "1").secrets) == ["a", "c"]
    assert found.of_key("b") is app(found, "2")


@pytest.mark.parametrize("prefix", ["PUSHER_", "REVERB_", "SOKETI_DEFAULT_"])
def test_the_variables_of_other_servers(prefix: str) -> None:
    three = {f"{prefix}APP_ID": "7", f"{prefix}APP_KEY": "k", f"{prefix}APP_SECRET": "s"}
    assert app(apps(**three), "7").secrets == {"k": "s"}
    assert not apps(**dict(list(three.items())[:2]))
    assert [each.id for each in apps(**three, FASTWS_PUSHER_APPS="1:a:b")] == ["1"]


def test_of_the_other_servers_pusher_comes_first() -> None:
    names = [f"{prefix}_APP_{part}" for prefix in ("PUSHER", "REVERB") for part in ("ID", "KEY", "SECRET")]
    assert [each.id for each in apps(**{name: name.lower() for name in names})] == ["pusher_app_id"]


def test_a_value_for_all_apps_and_one_for_one() -> None:
    found = apps(FASTWS_PUSHER_APPS="1:a:b,4711:c:d", FASTWS_PUSHER_CLIENT_EVENTS="false,4711=true")
    assert not app(found, "1").client_events
    assert app(found, "4711").client_events
    assert app(found, "4711").max_event_bytes == 102_400


@pytest.mark.parametrize("written", ["true", '[true, "1=false"]', '["true", "1=false"]'])
def test_a_bare_value_in_a_file(tmp_path: Path, written: str) -> None:
    file = tmp_path / "fastws.toml"
    settings = f"pusher_client_events = {written}\npusher_activity_timeout = 30\n"
    file.write_text(f'pusher_apps = ["1:a:b", "2:c:d"]\n{settings}')
    found = pusher_apps(load(file=file))
    assert app(found, "2").client_events
    assert app(found, "1").client_events is (written == "true")
    assert app(found, "1").activity_timeout == 30


def test_a_table_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text('pusher_apps = ["1:a:b"]\n[pusher_client_events]\n1 = true\n')
    assert app(pusher_apps(load(file=file)), "1").client_events


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"FASTWS_PUSHER_APPS": "x"}, "pusher_apps: each entry must be ID:KEY:SECRET"),
        ({"FASTWS_PUSHER_APPS": "1:geheim:"}, "pusher_apps: each entry"),
        ({"FASTWS_PUSHER_APPS": "a b:k:s"}, "pusher_apps: each entry"),
        ({"FASTWS_PUSHER_APPS": "1:" + "k" * 41 + ":s"}, "pusher_apps: each entry"),
        ({"FASTWS_PUSHER_APPS": "1:k:s,2:k:t"}, "the key k is there twice"),
        ({"FASTWS_PUSHER_APPS": "1:k:s,1:k:t"}, "the key k is there twice"),
        ({"PUSHER_APP_ID": "a b", "PUSHER_APP_KEY": "k", "PUSHER_APP_SECRET": "s"}, "pusher_apps: each entry"),
        ({"FASTWS_PUSHER_APPS": "1:k:s", "FASTWS_PUSHER_ENABLED": "2=false"}, "pusher_enabled: '2' is not the ID"),
        ({"FASTWS_PUSHER_ENABLED": "maybe"}, "pusher_enabled: must be true or false"),
        ({"FASTWS_PUSHER_NAMESPACE": "mine"}, "pusher_namespace: must be one of own, shared"),
        ({"FASTWS_PUSHER_ACTIVITY_TIMEOUT": "0"}, "pusher_activity_timeout: must be an integer from 1"),
        (
            {"FASTWS_PUSHER_APPS": "1:k:s,2:l:t", "FASTWS_PUSHER_NAMESPACE": "shared"},
            "pusher_namespace: at most one app may be shared, not 1 and 2",
        ),
    ],
)
def test_a_mistake_is_one_line_without_a_secret(environment: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({}, environment)
    assert says in str(refused.value)
    assert "geheim" not in str(refused.value)
    assert len(refused.value.messages) == 1
