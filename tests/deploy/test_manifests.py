"""Unit, container, compose and Kubernetes: they parse, name only what there is, and leave time to drain."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastws.cli.deploy_files import MEANINGS, content
from fastws.config import SETTINGS, Config
from fastws.server.unix_socket import BACKLOG
from fastws.settings import load

ADDRESSES = ("/health", "/ready", "/metrics")


def kinds() -> dict[str, Any]:
    return {document["kind"]: document for document in yaml.safe_load_all(content("kubernetes.yml"))}


def container() -> Any:
    (only,) = kinds()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return only


def environment_of_kubernetes() -> dict[str, str]:
    """Without the files that the Secret is mounted as."""
    plain = {variable["name"]: variable["value"] for variable in container()["env"]}
    return {name: value for name, value in plain.items() if not name.endswith("_FILE")}


def unit() -> dict[str, list[str]]:
    """The directives of the unit's [Service] and others; a directive may stand more than once."""
    directives: dict[str, list[str]] = {}
    for line in content("fastws.service").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            directives.setdefault(name, []).append(value)
    return directives


def environment_of_unit() -> dict[str, str]:
    return dict(word.split("=", 1) for value in unit()["Environment"] for word in value.split())


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_a_setting_that_a_file_names_is_one(name: str) -> None:
    for variable in re.findall(r"FASTWS_([A-Z_]+)", content(name)):
        setting = variable.lower().removesuffix("_file")
        assert setting in SETTINGS or variable == "NAME", variable
        assert not variable.endswith("_FILE") or SETTINGS[setting].is_secret


def test_the_secrets_of_kubernetes_are_files_of_the_secret_that_the_comment_creates(tmp_path: Path) -> None:
    spec = kinds()["Deployment"]["spec"]["template"]["spec"]
    (secrets,) = (volume for volume in spec["volumes"] if "secret" in volume)
    (mount,) = (mount for mount in container()["volumeMounts"] if mount["name"] == secrets["name"])
    assert f"kubectl create secret generic {secrets['secret']['secretName']} " in content("kubernetes.yml")
    created = set(re.findall(r"--from-literal=([a-z-]+)=", content("kubernetes.yml")))
    files = {variable["name"]: variable["value"] for variable in container()["env"] if "_FILE" in variable["name"]}
    assert {f"{mount['mountPath']}/{key}" for key in created} == set(files.values())
    for key in created:
        (tmp_path / key).write_text("redis://redis:6379" if key == "redis-url" else "x" * 48 + "\n")
    read = {name: value.replace(mount["mountPath"], str(tmp_path)) for name, value in files.items()}
    config = load(environment=read)
    assert (config.redis_url, config.jwt_secret, config.broadcast_key) == ("redis://redis:6379", "x" * 48, ("x" * 48,))
    assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("name", sorted(MEANINGS))
def test_no_file_has_a_secret_of_its_own(name: str) -> None:
    assert "change-me" not in content(name)
    assert "kind: Secret" not in content(name)


def test_the_settings_of_unit_and_manifests_can_be_used() -> None:
    assert load(environment=environment_of_unit()).drain_timeout == 20
    assert load(environment=environment_of_kubernetes()).host == "0.0.0.0"
    service = yaml.safe_load(content("compose.yml"))["services"]["fastws-1"]
    values = {
        name: value.replace("${", "a secret of thirty-two bytes: {") for name, value in service["environment"].items()
    }
    assert load(environment=values).redis_url == "redis://redis:6379"


def test_nobody_is_killed_while_draining() -> None:
    stop_seconds = int(unit()["TimeoutStopSec"][0])
    assert stop_seconds >= load(environment=environment_of_unit()).drain_timeout + 5
    service = yaml.safe_load(content("compose.yml"))["services"]["fastws-1"]
    grace_seconds = int(service["stop_grace_period"].removesuffix("s"))
    assert grace_seconds >= float(service["environment"]["FASTWS_DRAIN_TIMEOUT"]) + 5
    spec = kinds()["Deployment"]["spec"]["template"]["spec"]
    pause_seconds = float(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    drain_seconds = load(environment=environment_of_kubernetes()).drain_timeout
    assert spec["terminationGracePeriodSeconds"] >= pause_seconds + drain_seconds + 5
    # docker kills after 10 s where nobody says otherwise.
    assert Config().drain_timeout < 10


def test_kubernetes_asks_addresses_that_there_are_and_readiness_is_no_reason_to_kill() -> None:
    probes = {name: container()[name]["httpGet"]["path"] for name in container() if name.endswith("Probe")}
    assert probes == {"startupProbe": "/health", "readinessProbe": "/ready", "livenessProbe": "/health"}
    annotations = kinds()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in ADDRESSES


def test_kubernetes_objects_select_each_other() -> None:
    documents = kinds()
    assert set(documents) == {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    labels = documents["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        documents["Deployment"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports[documents["Service"]["spec"]["ports"][0]["targetPort"]] == int(
        environment_of_kubernetes()["FASTWS_PORT"]
    )
    target = documents["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", documents["Deployment"]["metadata"]["name"])


def test_compose_runs_two_servers_that_trust_their_proxy_alone() -> None:
    document = yaml.safe_load(content("compose.yml"))
    services = document["services"]
    assert {"fastws-1", "fastws-2", "redis", "nginx"} == set(services)
    network = document["networks"]["fastws"]["ipam"]["config"][0]["subnet"]
    assert services["fastws-1"]["environment"]["FASTWS_TRUSTED_PROXIES"] == network
    assert "ports" not in services["fastws-1"]  # only nginx is reached from outside
    for name in ("nginx.conf", "haproxy.cfg"):
        assert set(re.findall(r"(fastws-\d):8000", content(name))) == {"fastws-1", "fastws-2"}


def test_the_image_runs_as_nobody_in_particular_and_is_stopped_gently() -> None:
    lines = content("Containerfile").splitlines()
    assert "USER 10001" in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)


@pytest.mark.parametrize("name", [*MEANINGS])
def test_no_file_installs_the_package_of_the_index_that_has_our_name(name: str) -> None:
    assert re.search(r"pip install (\S+ )*['\"]?fastws", content(name)) is None


def test_the_cluster_runs_the_image_as_its_user() -> None:
    assert kinds()["Deployment"]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001


def test_only_the_supervisor_is_told_to_stop() -> None:
    """Workers that hear SIGTERM from systemd and from the supervisor would take it for "at once"."""
    assert unit()["KillMode"] == ["mixed"]
    assert unit()["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True).read_string(
        content("fastws.service")
    )


def test_systemd_is_told_how_the_service_does_and_may_listen_for_it() -> None:
    assert (unit()["Type"], unit()["NotifyAccess"]) == (["notify"], ["main"])
    assert int(unit()["WatchdogSec"][0]) >= 10  # the supervisor reports every second at most
    address = environment_of_unit()
    listen = re.findall(r"(?m)^ListenStream=(.*)$", content("fastws.socket"))
    assert listen == [f"{address['FASTWS_HOST']}:{address['FASTWS_PORT']}"]
    assert f"Backlog={BACKLOG}" in content("fastws.socket").splitlines()


def test_process_1_of_the_image_is_an_init() -> None:
    assert 'ENTRYPOINT ["tini", "--", "fastws"]' in content("Containerfile").splitlines()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    path = tmp_path / "fastws.service"
    # Only the interpreter's place differs: systemd looks whether it is there.
    text = content("fastws.service").replace("/opt/fastws/bin/fastws", f"{sys.executable} -m fastws")
    path.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "fastws" in line]
    assert done.returncode == 0, done.stderr
    assert complaints == []
