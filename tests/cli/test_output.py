"""Output that cannot be written as it is: a full disk, another encoding, characters that control a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastws.cli.colours import printable
from tests.hostile.server_process import BROADCAST_KEY, PATIENCE_SECONDS, ServerProcess


def fastws(*words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    options: dict[str, object] = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "fastws", *words],
        stderr=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        check=False,
        **options,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("serve", "--help"),
        ("token", "--sub", "ada", "--jwt-secret", "x" * 32),
        ("check-config",),
        ("deploy-files", "--list"),
        ("doctor", "--json"),
        ("completion", "bash"),
        ("bench", "--plan"),
    ],
)
def test_a_full_disk_is_one_line_and_exit_code_1(words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = fastws(*words, stdout=full)
    assert done.stderr.decode().endswith("No space left on device\n"), done
    assert done.stderr.count(b"\n") == 1
    assert done.returncode == 1


def test_a_reader_that_has_gone_is_no_news() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = fastws("serve", "--help", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("standard_input", [b"\xff\xfe", b"", b"{", b'"\xed\xa0\x80"'])
def test_input_that_is_no_json_is_one_line(standard_input: bytes) -> None:
    done = fastws("publish", "news", "hello", "-", stdin=None, input=standard_input)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"fastws: JSON: must be valid JSON, not ")


def test_closed_input_is_one_line() -> None:
    command = f"{sys.executable} -m fastws publish news hello - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert done.stderr.startswith(b"fastws: JSON: must be valid JSON, not ''")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_with_another_encoding_gets_escapes(encoding: str) -> None:
    hostile = "\u20ac \u202e \u009b2J \u2028"
    with ServerProcess() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "fastws", "listen", f"ws://127.0.0.1:{server.port}/", "news", "--count", "1"],
            env={"PYTHONIOENCODING": encoding, "PATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.readline()  # connected and subscribed
        server.publish("news", hostile)
        line = process.stdout.read()
        assert process.wait(PATIENCE_SECONDS) == 0
        process.stdout.close()
        process.stderr.close()
    assert line.isascii()
    assert json.loads(line)["data"] == hostile


@pytest.mark.parametrize("character", [0x1B, 0x7F, 0x80, 0x9B, 0x9F, 0x061C, 0x200B, 0x202E, 0x2066, 0x2069, 0xFEFF])
def test_characters_that_control_a_terminal_are_escaped(character: int) -> None:
    assert printable(f"a{chr(character)}b") == f"a\\u{character:04x}b"


def test_all_other_characters_are_as_they_are() -> None:
    text = 'ä € 漢 😀 "\\n" \t\n'
    assert printable(text) == text


# --- publish finds the server by the settings of serve


def test_publish_finds_the_server_by_its_settings(tmp_path: Path) -> None:
    words = ("publish", "news", "hello", "1")
    with ServerProcess() as server:
        port = str(server.port)
        file = tmp_path / "fastws.toml"
        file.write_text(f'port = {port}\nbroadcast_key = ["{BROADCAST_KEY}", "another key of 16 bytes"]\n')
        key = tmp_path / "key"
        key.write_text(f"{BROADCAST_KEY}\n")
        for environment, flags in (
            ({}, ("--config", str(file))),
            ({"FASTWS_PORT": port, "FASTWS_BROADCAST_KEY": BROADCAST_KEY}, ()),
            ({"FASTWS_PORT": port, "FASTWS_HOST": "0.0.0.0", "FASTWS_BROADCAST_KEY_FILE": str(key)}, ()),
            ({"FASTWS_URL": "", "FASTWS_BROADCAST_KEY": BROADCAST_KEY}, ("--port", port, "--host", "127.0.0.1")),
            ({"FASTWS_PORT": "1"}, ("--url", f"http://127.0.0.1:{port}", "--key", BROADCAST_KEY)),
        ):
            done = fastws(*words, *flags, env={"PATH": "", **environment})
            assert done.stderr == b""
            assert json.loads(done.stdout) == {"sent": 0, "failed": 0, "stale": 0}


def test_publish_finds_the_unix_socket_of_the_server(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with ServerProcess("--unix-socket", path):
        done = fastws("publish", "news", "hello", "1", "--unix-socket", path, "--key", BROADCAST_KEY)
        assert json.loads(done.stdout) == {"sent": 0, "failed": 0, "stale": 0}, done.stderr
