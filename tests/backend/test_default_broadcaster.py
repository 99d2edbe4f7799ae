import inspect
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import fastws.backend
from fastws.backend import Broadcaster, ConfigError, default_broadcaster
from fastws.backend.publishing_methods import PublishingMethods


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(default_broadcaster, "_broadcaster", None)
    yield
    if default_broadcaster._broadcaster is not None:
        default_broadcaster._broadcaster.close()


def test_the_calls_of_the_api_gateway_guide_run_with_its_arguments(peer, monkeypatch):
    monkeypatch.setenv("FASTWS_URL", peer.url)
    monkeypatch.setenv("FASTWS_BROADCAST_KEY", "key")
    fastws.backend.init_broadcaster(api_id="abc123xyz", region="us-east-1", stage="production")
    fastws.backend.register_connection("connection-id-here")
    result = fastws.backend.broadcast_admin_event(
        {"type": "run_started", "thread_id": "abc123", "run_name": "My Workflow"}
    )
    assert result == {"sent": 2, "failed": 0, "stale": 0}


def test_without_init_the_environment_says_where_the_server_is(peer, monkeypatch):
    with pytest.raises(ConfigError, match="FASTWS_URL"):
        fastws.backend.broadcast_admin_event({"type": "run_started", "thread_id": "123"})
    monkeypatch.setenv("FASTWS_URL", peer.url)
    assert fastws.backend.publish("c", "e", 1, type="t")["sent"] == 1
    assert peer.bodies[0]["type"] == "t"


def test_threads_whose_first_calls_coincide_share_one_broadcaster(peer, monkeypatch):
    """No thread closes a broadcaster that another one is already using."""
    monkeypatch.setenv("FASTWS_URL", peer.url)
    ready = threading.Barrier(8)

    class Slow(Broadcaster):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            ready.wait()

    monkeypatch.setattr(default_broadcaster, "Broadcaster", Slow)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: fastws.backend.get_broadcaster(), range(8)))
    assert len(set(map(id, found))) == 1


def test_an_api_id_alone_does_not_identify_a_server():
    with pytest.raises(ConfigError, match=r"abc123xyz.*FASTWS_URL=http://host:8000"):
        fastws.backend.init_broadcaster(api_id="abc123xyz", region="us-east-1")


def test_a_second_init_replaces_the_first(peer):
    first = fastws.backend.init_broadcaster(peer.url, "one")
    second = fastws.backend.init_broadcaster(peer.url, "two")
    assert fastws.backend.get_broadcaster() is second is not first
    fastws.backend.send("abc", "e")
    assert peer.requests[0].headers["Authorization"] == "Bearer two"


def test_every_function_passes_on_what_it_was_given(peer):
    fastws.backend.init_broadcaster(peer.url, "key")
    fastws.backend.broadcast_execution_started("w", agent_id="a", run_id="r", user_id="u", extra=1)
    fastws.backend.broadcast_execution_completed("w", "a", "r", True, 1.5, 0.5, extra=2)
    fastws.backend.broadcast_metrics_update("w", {"m": 1})
    fastws.backend.broadcast_alert("w", "kind", {"priority": "low"})
    fastws.backend.execution_update("1", {"s": 1})
    fastws.backend.node_update("1", "n", {"s": 1})
    fastws.backend.job_update("7", "done", {"s": 1})
    fastws.backend.publish_many([{"channel": "c", "event": "many"}])
    assert [body["event"] for body in peer.bodies] == [
        "execution_started",
        "execution_completed",
        "metrics_update",
        "alert",
        "status_changed",
        "status_changed",
        "job_update",
        "many",
    ]
    assert [body["data"].get("extra") for body in peer.bodies[:2]] == [1, 2]


def test_every_call_of_a_broadcaster_is_a_function_with_the_same_arguments():
    for name, method in inspect.getmembers(Broadcaster, inspect.isfunction):
        if name.startswith("_") or name in ("close", "deliver"):
            continue
        expected = [each for each in inspect.signature(method).parameters if each != "self"]
        assert list(inspect.signature(getattr(fastws.backend, name)).parameters) == expected
    assert issubclass(Broadcaster, PublishingMethods)


def test_importing_the_backend_brings_in_nothing_of_the_server():
    """Except h11, which httpx needs too."""
    program = (
        "import sys, fastws.client\n"
        "from fastws.backend import *\n"
        "ours = ('server', 'hub', 'wire', 'transport', 'session', 'endpoints', 'brokers', 'config')\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('uvloop', 'wsproto')\n"
        "       or name.startswith(tuple('fastws.' + room for room in ours))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_redis_py_and_httpx_are_loaded_only_where_they_are_used():
    program = (
        "import sys, fastws.workers.worker, fastws.backend\n"
        "def loaded(): print([name for name in ('redis', 'httpx') if name in sys.modules])\n"
        "loaded()\n"
        "from fastws.backend import Broadcaster, publish\n"
        "loaded()\n"
        "print(fastws.backend.RedisBroadcaster.__name__, hasattr(fastws.backend, 'NoSuchBroadcaster'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["[]", "['httpx']", "RedisBroadcaster False"]


def test_every_exported_name_is_there():
    for name in fastws.backend.__all__:
        assert getattr(fastws.backend, name).__name__ == name


def test_retry_seconds_of_0_means_a_single_attempt(peer):
    peer.answers = [(503, {}, {"error": {"code": "unavailable", "message": "draining"}})]
    fastws.backend.init_broadcaster(peer.url, "key", retry_seconds=0)
    with pytest.raises(fastws.backend.Unavailable, match="draining"):
        fastws.backend.publish("c", "e")
    assert len(peer.requests) == 1
