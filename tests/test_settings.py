"""Where settings come from: flag over environment over file over default, each of every kind."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.settings import flush_intervals, load, load_config, slow_policies


def test_without_any_source_the_defaults_hold() -> None:
    config = load()
    assert config == Config()
    assert (config.host, config.port, config.redis_url, config.workers) == ("127.0.0.1", 8000, None, 1)


# name: default, as the contract has them
CONTRACT: dict[str, object] = {
    "jwt_leeway": 30.0,
    "max_connections": 0,
    "max_channels_per_connection": 128,
    "max_message_bytes": 1_048_576,
    "max_queue_messages": 256,
    "max_queue_bytes": 1_048_576,
    "slow_policy": ("disconnect",),
    "flush_interval": ("0",),
    "ping_interval": 30.0,
    "idle_timeout": 120.0,
    "handshake_timeout": 10.0,
    "keep_alive_timeout": 75.0,
    "broadcast_rate": 0.0,
    "drain_timeout": 8.0,
    "compression": "off",
    "compression_min_bytes": 256,
    "redis_prefix": "fastws:",
    "jobs_channel": "botrix:jobs:updates",
    "workspace_channel": "workspace:{workspace_id}",
    "max_fragments": 4096,
    "log_format": "auto",
}
WITHOUT_DEFAULT = (
    "unix_socket tls_cert tls_key jwt_secret jwt_public_key jwt_jwks_url jwt_algorithms jwt_audience jwt_issuer "
    "broadcast_key aws_credentials allow_anonymous protected_channels allowed_origins max_connections_per_user "
    "max_connections_per_ip message_rate message_burst connect_rate mounts log_level authorizer"
)


def test_the_settings_of_the_contract_are_there_with_their_defaults() -> None:
    config = Config()
    assert {name: getattr(config, name) for name in CONTRACT} == CONTRACT
    assert set(WITHOUT_DEFAULT.split()) <= set(SETTINGS)


def test_every_setting_has_one_line_of_meaning() -> None:
    for setting in fields(Config):
        meaning = setting.metadata["meaning"]
        assert meaning
        assert "\n" not in meaning


def file_of(folder: Path, text: str) -> Path:
    path = folder / "fastws.toml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = file_of(tmp_path, 'port = 1\nhost = "file"\nlog_level = "error"\n')
    environment = {"FASTWS_PORT": "2", "FASTWS_HOST": "environment", "UNRELATED": "x"}
    config = load({"port": "3", "unix_socket": None}, environment, file)
    assert (config.port, config.host, config.log_level, config.workers) == (3, "environment", "error", 1)


def test_every_kind_is_read_from_every_source(tmp_path: Path) -> None:
    file = file_of(
        tmp_path,
        'allow_anonymous = true\nport = 9\nping_interval = 1.5\nidle_timeout = 60\nbroadcast_key = ["a", "b"]\n'
        '[mounts]\n"/live" = "channels"\n[flush_interval]\ndefault = 0\n"logs:*" = 20\n',
    )
    expected = load({}, {}, file)
    assert expected.allow_anonymous is True
    assert expected.broadcast_key == ("a", "b")
    assert expected.mounts == ("/live=channels",)
    assert expected.flush_interval == ("default=0", "logs:*=20")
    environment = {
        "FASTWS_ALLOW_ANONYMOUS": "yes",
        "FASTWS_PORT": "9",
        "FASTWS_PING_INTERVAL": "1.5",
        "FASTWS_IDLE_TIMEOUT": "60",
        "FASTWS_BROADCAST_KEY": "a, b",
        "FASTWS_MOUNTS": "/live=channels",
        "FASTWS_FLUSH_INTERVAL": "default=0,logs:*=20",
    }
    assert load({}, environment) == expected
    flags = {
        "allow_anonymous": "TRUE",
        "port": "9",
        "ping_interval": "1.5",
        "idle_timeout": "60",
        "broadcast_key": ["a", "b"],
        "mounts": ["/live=channels"],
        "flush_interval": ["default=0", "logs:*=20"],
    }
    assert load(flags) == expected


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("ON", True), ("1", True), ("false", False), ("No", False), ("0", False)]
)
def test_booleans(word: str, value: bool) -> None:
    assert load({}, {"FASTWS_ENABLE_REALTIME": word}).enable_realtime is value


def test_mounts_in_the_environment_are_a_list() -> None:
    assert load({}, {"FASTWS_MOUNTS": "/live=channels,/feed=jobs"}).mounts == ("/live=channels", "/feed=jobs")


def test_redis_url_is_read_where_ours_is_not_set() -> None:
    assert load({}, {"REDIS_URL": "redis://a"}).redis_url == "redis://a"
    assert load({}, {"REDIS_URL": "redis://a", "FASTWS_REDIS_URL": "redis://b"}).redis_url == "redis://b"
    assert load({}, {"ENABLE_REALTIME": "false", "FASTWS_ENABLE_REALTIME": "true"}).enable_realtime is True


def test_policies_and_intervals_by_pattern() -> None:
    config = load({"slow_policy": ["logs:*=drop_oldest", "conflate"], "flush_interval": ["10", "logs:a=b:*=20"]})
    assert slow_policies(config) == [("logs:*", "drop_oldest"), (None, "conflate")]
    assert flush_intervals(config) == [(None, 0.01), ("logs:a=b:*", 0.02)]


@pytest.mark.parametrize(
    "bad", [{"port": "65536"}, {"max_queue_messages": "0"}, {"jwt_leeway": "61"}, {"compression_level": "0"}]
)
def test_what_is_out_of_range_is_refused_with_the_range(bad: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="it must be") as caught:
        load(bad)
    assert next(iter(bad)) in caught.value.message


def test_an_application_has_the_last_word_over_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text("port = 1\nmax_channels = 1\nmax_connections = 1\n")
    monkeypatch.setenv("FASTWS_PORT", "2")
    monkeypatch.setenv("FASTWS_MAX_CHANNELS", "2")
    config = load_config(file, port=3, broadcast_key=("a", "b"), max_connections=None)
    assert (config.port, config.max_channels, config.max_connections) == (3, 2, 1)
    assert config.broadcast_key == ("a", "b")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prt": 1}, "prt: there is no such setting; did you mean 'port'"),
        ({"port": "x"}, "^port: 'x' is no whole number"),
        ({"max_queue_bytes": 0}, "max_queue_bytes: 0 is out of range"),
        ({"workers": 2}, "workers: 2 processes need a Redis"),
    ],
)
def test_an_application_is_told_which_of_its_settings_cannot_be_used(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(**settings)  # type: ignore[arg-type]
