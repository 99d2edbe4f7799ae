"""Where settings come from: flag over environment over file over default, each of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.setting_definition import Setting
from fastws.settings import (
    check,
    flush_intervals,
    load,
    load_config,
    presence_intervals,
    presence_modes,
    priorities,
    public_host,
    slow_policies,
)


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
    for setting in SETTINGS.values():
        meaning = setting.meaning
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


def test_redis_url_is_one_string_however_its_urls_were_given(tmp_path: Path) -> None:
    both = "redis://a,redis+sentinel://b,c/main"
    file = file_of(tmp_path, 'redis_url = ["redis://a", "redis+sentinel://b,c/main"]')
    secret = tmp_path / "secret"
    secret.write_text("redis://a\nredis+sentinel://b,c/main\n")
    assert load({"redis_url": ["redis://a", "redis+sentinel://b,c/main"]}, {}).redis_url == both
    assert load({}, {"FASTWS_REDIS_URL": both}).redis_url == both
    assert load({}, {"FASTWS_REDIS_URL_FILE": str(secret)}).redis_url == both
    assert load({}, {}, file).redis_url == both
    check(Config(redis_url=both))


@pytest.mark.parametrize("text", ["redis_url = []", 'redis_url = ["redis://a", ""]', "redis_url = [1]"])
def test_a_list_of_redis_urls_without_a_url_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="redis_url: must be a URL or a list of URLs, none of them empty"):
        load({}, {}, file_of(tmp_path, text))


def test_presence_by_pattern() -> None:
    config = Config(presence=("a=off", "b:*=count", "c:**"), presence_updates=("a=0.5", "b=off", "2"), redis_url=None)
    assert presence_modes(config) == [("a", None), ("b:*", "count"), ("c:**", "members")]
    assert presence_intervals(config) == [("a", 0.5), ("b", None), (None, 2.0)]
    assert presence_modes(Config(presence=("count",))) == [(None, "count")]
    check(config)


def test_policies_and_intervals_by_pattern() -> None:
    config = load({"slow_policy": ["logs:*=drop_oldest", "conflate"], "flush_interval": ["10", "logs:a=b:*=20"]})
    assert slow_policies(config) == [("logs:*", "drop_oldest"), (None, "conflate")]
    assert flush_intervals(config) == [(None, 0.01), ("logs:a=b:*", 0.02)]


def test_priorities_by_pattern() -> None:
    config = load({"priority": ["logs:a=off", "logs:*=low", "alarm:**=high", "low"]})
    assert priorities(config) == [("logs:a", None), ("logs:*", "low"), ("alarm:**", "high"), (None, "low")]
    assert priorities(load()) == []


RANGES = [
    (setting, limit, step)
    for setting in SETTINGS.values()
    for limit, step in ((setting.minimum, -1), (setting.maximum, 1))
    if limit is not None and setting.kind == "single"
]


@pytest.mark.parametrize(("setting", "limit", "step"), RANGES, ids=lambda value: getattr(value, "name", value))
def test_a_limit_of_a_range_is_accepted_and_the_next_number_is_not(setting: Setting, limit: float, step: int) -> None:
    # Several workers need a Redis, and ping_interval must not exceed idle_timeout.
    assert load({"redis_url": "embedded", "ping_interval": "0", setting.name: str(limit)})
    for settings in ({setting.name: str(limit + step)}, {setting.name: limit + step}):
        with pytest.raises(ConfigError) as caught:
            load(settings)
        flag = f"--{setting.name.replace('_', '-')}"
        assert caught.value.message.startswith(f"{flag}: must be {setting.expected}, not ")
    with pytest.raises(ConfigError, match=f"^{setting.name}: must be "):
        check(Config(**{setting.name: limit + step}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "abc", "must be an integer from 0 to 65535, not 'abc'"),
        ("port", "1.5", "must be an integer from 0 to 65535, not '1.5'"),
        ("jwt_leeway", "61", "must be a number from 0 to 60 (seconds), not '61'"),
        ("jwt_leeway", "nan", "must be a number from 0 to 60 (seconds), not 'nan'"),
        ("authorizer_timeout", "0", "must be a number from 0.01 to 60 (seconds), not '0'"),
        ("max_queue_bytes", "0", "must be an integer of at least 1 (bytes), not '0'"),
        ("message_rate", "inf", "must be a number of at least 0, not 'inf'"),
        ("log_level", "verbose", "must be one of debug, info, warning, error, not 'verbose'"),
        ("proxy_protocol", "perhaps", "must be true or false, not 'perhaps'"),
        ("host", 1, "must be a string, not 1"),
        ("redis_url", 1, "must be a string"),
        ("broadcast_key", [["k"]], "must be a list of strings"),
        ("allowed_origins", [["k"]], "must be a list of strings, not [['k']]"),
    ],
)
def test_an_error_says_what_is_expected_and_what_was_found(name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: value})
    assert caught.value.message == f"--{name.replace('_', '-')}: {message}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slow_policy": ["fastest"]}, "slow_policy: must be one of disconnect, drop_oldest, drop_newest, conflate"),
        ({"priority": ["a:*=urgent"]}, "priority: must be one of high, low, off, not 'urgent'"),
        ({"priority": ["=low"]}, "priority: must be [PATTERN=]PRIORITY, not '=low'"),
        ({"flush_interval": ["a:*=-1"]}, "flush_interval: must be a number from 0 to 60000 (milliseconds), not '-1'"),
        ({"flush_interval": ["=1"]}, "flush_interval: must be [PATTERN=]MS, not '=1'"),
        ({"metrics_address": "9100"}, "metrics_address: must be HOST:PORT, for example 127.0.0.1:9100, not '9100'"),
        ({"tls_cert": "x"}, "tls_key: must be set together with tls_cert"),
        ({"ping_interval": 9, "idle_timeout": 5}, "idle_timeout: must be at least ping_interval (9 s), not 5 s"),
        ({"presence": ["a=all"]}, "presence: must be PATTERN, PATTERN=count or PATTERN=off, not 'a=all'"),
        ({"presence": ["=count"]}, "presence: must be PATTERN, PATTERN=count or PATTERN=off, not '=count'"),
        ({"presence": ["a"], "presence_updates": ["a=-1"]}, "presence_updates: must be a number from 0 to 3600"),
        ({"presence_updates": ["a=1"]}, "presence_updates: needs presence"),
        ({"workspace_channel": "w"}, "workspace_channel: must be {workspace_id} with a prefix or suffix, not 'w'"),
    ],
)
def test_tables_and_combinations_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(settings)
    assert caught.value.message.startswith(message)


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
        ({"prt": 1}, "prt: unknown setting; did you mean 'port'"),
        ({"port": "x"}, "^port: must be an integer from 0 to 65535, not 'x'$"),
        ({"max_queue_bytes": 0}, "^max_queue_bytes: must be an integer of at least 1 \\(bytes\\), not 0$"),
        ({"workers": 2}, "workers: 2 processes need Redis"),
    ],
)
def test_an_application_is_told_which_of_its_settings_cannot_be_used(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["https://live.example.com", "ws://10.0.0.1:8000/", "http://[::1]:80"])
def test_the_host_of_a_public_url(url: str) -> None:
    assert public_host(Config(public_url=url)) == url.partition("://")[2].rstrip("/")
    assert public_host(Config()) is None


@pytest.mark.parametrize(
    "url", ["live.example.com", "ftp://x", "https://", "https://x/live", "https://u:p@x", "https://x?a", "https://x:y"]
)
def test_a_public_url_has_a_host_and_no_path(url: str) -> None:
    with pytest.raises(ConfigError, match="public_url: must be a URL without a path, such as"):
        check(Config(public_url=url))
