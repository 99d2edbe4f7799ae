"""Settings in the environment, in files with secrets and in TOML; variables that are no settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastws.config import SETTINGS, Config
from fastws.errors import ConfigError
from fastws.setting_sources import environment_warnings
from fastws.settings import check, load

SECRETS = sorted(name for name, setting in SETTINGS.items() if setting.is_secret)


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("value", ["", "  ", "\n"])
def test_an_empty_variable_counts_as_not_set(name: str, value: str) -> None:
    """As compose sets `${VAR}` where VAR is unset."""
    assert load(environment={f"FASTWS_{name.upper()}": value, f"FASTWS_{name.upper()}_FILE": value}) == Config()


@pytest.mark.parametrize("variable", ["REDIS_URL", "ENABLE_REALTIME"])
def test_an_empty_variable_of_others_counts_as_not_set(variable: str) -> None:
    assert load(environment={variable: ""}) == Config()


def test_an_empty_variable_leaves_the_word_to_the_next_source(tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text("port = 9\n")
    environment = {"FASTWS_PORT": "", "FASTWS_REDIS_URL": "", "REDIS_URL": "redis://a"}
    config = load({}, environment, file)
    assert (config.port, config.redis_url) == (9, "redis://a")


def test_an_empty_list_in_toml_is_an_empty_list(tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text("protected_channels = []\nallowed_origins = []\n")
    config = load({}, {}, file)
    assert (config.protected_channels, config.allowed_origins) == ((), ())


@pytest.mark.parametrize("name", ["host", "unix_socket", "jwt_audience", "jwt_issuer", "jwt_secret", "jobs_channel"])
def test_an_empty_text_is_refused_wherever_else_it_comes_from(name: str, tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text(f'{name} = ""\n')
    for read, where in (
        (lambda: load({name: ""}), f"--{name.replace('_', '-')}"),
        (lambda: load({}, {}, file), f"{file}: {name}"),
        (lambda: check(Config(**{name: ""})), name),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError) as caught:
            read()
        assert caught.value.message == f"{where}: must not be empty; leave it out"


def test_a_prefix_may_be_empty() -> None:
    assert load({"redis_prefix": ""}).redis_prefix == ""


@pytest.mark.parametrize(
    ("value", "remedy"), [([""], "leave it out, or set [] in the TOML file"), ("", "leave it out")]
)
def test_a_list_flag_without_an_entry_is_refused(value: object, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"protected_channels": value})
    assert caught.value.message == f"--protected-channels: must not be empty; {remedy}"


# --- files with secrets


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_may_be_in_a_file(name: str, tmp_path: Path) -> None:
    value = {"redis_url": "redis://:pw@a", "aws_credentials": "KEY:SECRET", "pusher_apps": "1:key:secret"}.get(
        name, "x" * 40
    )
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    from_file = load(environment={f"FASTWS_{name.upper()}_FILE": str(file)})
    assert from_file == load(environment={f"FASTWS_{name.upper()}": value})
    assert from_file != Config()


def test_a_file_of_keys_has_one_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("first key of 16 bytes\nsecond, third\n\n")
    config = load(environment={"FASTWS_BROADCAST_KEY_FILE": str(file)})
    assert config.broadcast_key == ("first key of 16 bytes", "second", "third")


def test_a_secret_file_wins_over_the_variable_of_others(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://file")
    environment = {"FASTWS_REDIS_URL_FILE": str(file), "REDIS_URL": "redis://variable"}
    assert load(environment=environment).redis_url == "redis://file"


def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing, empty, binary = tmp_path / "missing", tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    for path, words in (
        (missing, f"cannot read {missing}: No such file or directory"),
        (tmp_path, f"cannot read {tmp_path}: Is a directory"),
        (empty, f"{empty} is empty"),
        (binary, f"{binary} must contain UTF-8 text"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(environment={"FASTWS_JWT_SECRET_FILE": str(path)})
        assert caught.value.message == f"FASTWS_JWT_SECRET_FILE: {words}"


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment={"FASTWS_JWT_SECRET": "x" * 32, "FASTWS_JWT_SECRET_FILE": str(tmp_path)})
    assert caught.value.message == "FASTWS_JWT_SECRET_FILE: FASTWS_JWT_SECRET is set as well; unset one of them"


# --- variables that are no settings


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("FASTWS_PORTT", "FASTWS_PORTT: unknown variable, ignored; did you mean 'FASTWS_PORT'?"),
        ("FASTWS_ZZZZZZ", "FASTWS_ZZZZZZ: unknown variable, ignored"),
        (
            "FASTWS_JWT_SECRET_FIL",
            "FASTWS_JWT_SECRET_FIL: unknown variable, ignored; did you mean 'FASTWS_JWT_SECRET_FILE'?",
        ),
        ("FASTWS_HOST_FILE", "FASTWS_HOST_FILE: unknown variable, ignored; did you mean 'FASTWS_HOST'?"),
    ],
)
def test_a_misspelt_variable_is_warned_of(variable: str, words: str) -> None:
    assert environment_warnings({variable: "1"}) == (words,)


def test_variables_of_others_are_not_warned_of() -> None:
    known = {f"FASTWS_{name.upper()}": "" for name in SETTINGS}
    known |= {f"FASTWS_{name.upper()}_FILE": "" for name in SECRETS}
    others = dict.fromkeys(("FASTWS_URL", "FASTWS_LOAD_CHANNELS", "PATH", "REDIS_URL"), "x")
    assert environment_warnings(known | others) == ()


# What Kubernetes sets in every pod of a namespace with a Service named fastws.
SERVICE_LINKS = {
    "FASTWS_SERVICE_HOST": "10.0.0.7",
    "FASTWS_SERVICE_PORT": "80",
    "FASTWS_SERVICE_PORT_HTTP": "80",
    "FASTWS_PORT": "tcp://10.0.0.7:80",
    "FASTWS_PORT_80_TCP": "tcp://10.0.0.7:80",
    "FASTWS_PORT_80_TCP_PROTO": "tcp",
    "FASTWS_PORT_80_TCP_PORT": "80",
    "FASTWS_PORT_80_TCP_ADDR": "10.0.0.7",
}
REMEDY = "set `enableServiceLinks: false` in the pod, or rename the Service"


def test_the_variables_of_a_kubernetes_service_are_one_warning_with_the_remedy() -> None:
    (warning,) = environment_warnings(SERVICE_LINKS)
    assert warning.endswith(REMEDY)


def test_a_port_from_kubernetes_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment=SERVICE_LINKS)
    assert caught.value.message == (
        "FASTWS_PORT: must be an integer from 0 to 65535, not 'tcp://10.0.0.7:80'; "
        f"Kubernetes sets it for a Service named fastws: {REMEDY}"
    )


# --- all mistakes at once


def test_mistakes_of_all_sources_are_reported_together(tmp_path: Path) -> None:
    file = tmp_path / "fastws.toml"
    file.write_text('prot = 1\nlog_level = "loud"\n')
    with pytest.raises(ConfigError) as caught:
        load({"workers": "0", "tls_key": "x"}, {"FASTWS_JWT_LEEWAY": "90", "FASTWS_SLOW_POLICY": "fastest"}, file)
    assert caught.value.messages == (
        f"{file}: prot: unknown setting; did you mean 'port'?",
        f"{file}: log_level: must be one of debug, info, warning, error, not 'loud'",
        "FASTWS_JWT_LEEWAY: must be a number from 0 to 60 (seconds), not '90'",
        "--workers: must be an integer from 1 to 512, or auto, not '0'",
        "slow_policy: must be one of disconnect, drop_oldest, drop_newest, conflate, not 'fastest'",
        "tls_cert: must be set together with tls_key",
    )


def test_a_combination_with_an_unusable_value_is_not_judged() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"idle_timeout": "soon", "ping_interval": "500"})
    assert len(caught.value.messages) == 1


# --- secrets of examples


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwt_secret", "change-me-32-bytes-or-more-of-randomness"),
        ("jwt_secret", "Changeme"),
        ("broadcast_key", ("a good key of 16 bytes", "change-me")),
        ("aws_credentials", ("KEY:change-me",)),
        ("redis_url", "redis://:change-me@redis:6379"),
    ],
)
def test_the_secret_of_an_example_is_refused(name: str, value: object) -> None:
    for read in (lambda: load({name: value}), lambda: check(Config(**{name: value}))):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=r"must not be a placeholder \(change-me…\); generate a secret"):
            read()


def test_a_name_that_is_no_secret_may_be_change_me() -> None:
    assert load({"jobs_channel": "change-me"}).jobs_channel == "change-me"
