"""Which dialect is mounted where."""

from __future__ import annotations

import pytest

from fastws.dialects.mount import Mounts
from fastws.errors import ConfigError


def spoken(mounts: Mounts, path: str, *, has_token: bool = False) -> str | None:
    dialect = mounts.find(path, has_token=has_token)
    return None if dialect is None else dialect.name


@pytest.mark.parametrize(
    ("path", "without_token", "with_token"),
    [
        ("/", "channels", "channels"),
        ("", "channels", "channels"),
        ("/production", "channels", "channels"),
        ("/production/", "channels", "channels"),
        ("/api/v1/ws", "rooms", "rooms"),
        ("/ws", "jobs", "workspaces"),
        ("/ws/", "jobs", "workspaces"),
        ("/WS", None, None),
        ("/ws/stats", None, None),
        ("/echo", None, None),
        ("/productions", None, None),
    ],
)
def test_the_defaults_are_those_of_the_seeds(path: str, without_token: str | None, with_token: str | None) -> None:
    mounts = Mounts()
    assert spoken(mounts, path) == without_token
    assert spoken(mounts, path, has_token=True) == with_token


def test_entries_add_override_and_take_away() -> None:
    mounts = Mounts(["/live=channels", "/=none", "/ws = jobs", "/e/=echo", "/a/b=rooms+channels"])
    assert spoken(mounts, "/live") == "channels"
    assert spoken(mounts, "/") is None
    assert spoken(mounts, "/ws", has_token=True) == "jobs"
    assert spoken(mounts, "/e") == "echo"
    assert spoken(mounts, "/a/b", has_token=True) == "rooms"
    assert spoken(mounts, "/a/b") == "channels"
    assert spoken(mounts, "/production") == "channels"
    assert mounts.table["/a/b"].name == "rooms+channels"


def test_of_two_entries_for_one_path_the_later_counts() -> None:
    assert spoken(Mounts(["/x=jobs", "/x/=rooms"]), "/x") == "rooms"
    assert spoken(Mounts(["/x=none", "/x=jobs"]), "/x") == "jobs"


def test_the_dialects_go_by_the_configured_channels() -> None:
    mounts = Mounts(workspace_channel="w/{workspace_id}", jobs_channel="my:jobs")
    jobs = mounts.find("/ws", has_token=False)
    assert jobs is not None
    assert jobs.admit(None, {}).home == "my:jobs"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("", "PATH=DIALECT"),
        ("/x", "PATH=DIALECT"),
        ("x=jobs", "the path must begin with /.*, not 'x'"),
        ("=jobs", "the path must begin with /.*, not ''"),
        ("/x y=jobs", "contain no space.*, not '/x y'"),
        ("/x?y=jobs", "the path must begin with /"),
        ("/x=", "the dialect of /x must be one of .*, not ''"),
        ("/x=Jobs", "one of channels, .*, none, not 'Jobs'"),
        ("/x=jobs+", r"must be one of .*, not 'jobs\+'"),
        ("/x=jobs+rooms+echo", "must be one of"),
        ("/x=none+jobs", "must be one of"),
        ("/x=jobs=rooms", "must be one of"),
    ],
)
def test_an_entry_that_cannot_be_used_stops_the_start_in_one_clear_line(entry: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        Mounts([entry])
    assert "mounts" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_a_workspaces_clients_could_not_tell_from_the_server_is_reserved() -> None:
    mounts = Mounts(workspace_channel="room:{workspace_id}:events")
    assert mounts.is_reserved("room:7:events", "metrics_update")
    assert not mounts.is_reserved("room:7:events", "alert")
    assert not mounts.is_reserved("workspace:7", "metrics_update")
