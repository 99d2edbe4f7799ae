"""Commands find the running servers of this user, and only those that run."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from fastws.cli.running import Record, RunningServer, folder_of_user, running_server_at, running_servers
from tests.cli.conftest import PATIENCE_SECONDS, Run, ServeProcess


def server(port: int = 8000, unix_socket: str | None = None) -> RunningServer:
    url = f"127.0.0.1:{port}"
    return RunningServer(os.getpid() + port, f"ws://{url}/", f"http://{url}", unix_socket, f"key of {port}", None)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "fastws"


def test_a_record_is_secret_and_removed(records: Path) -> None:
    record = Record()
    record.write(server())
    (file,) = records.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(records.stat().st_mode) == 0o700
    assert running_servers() == [server()]
    record.remove()
    assert list(records.iterdir()) == []
    assert running_servers() == []


def test_the_record_of_a_server_that_was_killed_is_deleted(records: Path) -> None:
    record = Record()
    record.write(server())
    (file,) = records.iterdir()
    text = file.read_bytes()
    record.remove()
    file.write_bytes(text)
    assert running_servers() == []
    assert not file.exists()


def test_a_folder_that_cannot_be_written_stops_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    record = Record()
    record.write(server())
    record.remove()
    assert running_servers() == []


def test_the_folder_is_in_the_home_without_a_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("HOME", "/home/ada")
    assert folder_of_user() == Path("/home/ada/.fastws")
    monkeypatch.delenv("HOME")
    assert folder_of_user() is None


def test_a_server_is_found_by_its_address(records: Path) -> None:
    first, second = Record(), Record()
    first.write(server(8001))
    second.write(server(8002))
    assert running_server_at("http://127.0.0.1:8002/live") == server(8002)
    assert running_server_at("http://127.0.0.1:8003") is None
    first.remove()
    second.remove()


@pytest.mark.parametrize(
    ("words", "listed"),
    [
        (("publish", "a", "e", "1"), "choose one with --url (http://…): http://127.0.0.1:8001, http://127.0.0.1:8002"),
        (("channels",), "choose one with --url (http://…): http://127.0.0.1:8001, http://127.0.0.1:8002"),
        (("listen", "a"), "choose one with --url (ws://…): ws://127.0.0.1:8001/, ws://127.0.0.1:8002/"),
    ],
)
def test_of_several_servers_one_must_be_chosen(run: Run, records: Path, words: tuple[str, ...], listed: str) -> None:
    written = [Record(), Record()]
    for number, record in enumerate(written, 1):
        record.write(server(8000 + number))
    outcome = run(*words)
    for record in written:
        record.remove()
    assert (outcome.code, outcome.err) == (2, f"fastws: several servers run on this machine: {listed}\n")


async def said(*words: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a command in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fastws", *words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode, out.decode(), err.decode()


async def test_all_commands_find_the_running_server(serve_process: ServeProcess, tmp_path: Path) -> None:
    server = await serve_process()
    (file,) = (tmp_path / "fastws").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    published = (0, '{"sent":0,"failed":0,"stale":0}\n', "")
    assert await said("publish", "news", "hello", "1") == published
    assert await said("publish", "news", "hello", "1", "--url", f"http://127.0.0.1:{server.port}") == published
    assert await said("channels") == (0, "", "")
    _, token, _ = await said("token", "--sub", "ada")
    code, _, error = await said("listen", "--token", token.strip(), "user:bob")
    assert (code, "not allowed to subscribe" in error) == (1, True)  # with a token of another server: 401
    code, _, error = await said("bench", "--connections", "2", "--duration", "0.1", "--warm", "0")
    assert code == 0, error
    server.signal(signal.SIGTERM)
    assert await server.end() == 0
    assert not file.exists()
