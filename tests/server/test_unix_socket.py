"""Listening Unix sockets: stale files are replaced, live ones are not, and close deletes only the own file."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from fastws.server.unix_socket import UnixServer, listen_at


def is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_a_stale_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with listen_at(path):
        assert is_answered(path)


def test_an_address_in_use_is_refused_and_still_served(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listen_at(path):
        with pytest.raises(OSError, match="in use") as refused:
            listen_at(path)
        assert refused.value.errno == errno.EADDRINUSE
        assert is_answered(path)


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        listen_at(path)
    assert path.read_text() == "precious"


def test_close_deletes_the_file_and_stops_listening(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = UnixServer(listen_at(path), str(path))
    server.close()
    assert not path.exists()
    assert not is_answered(path)


def test_close_keeps_the_file_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = UnixServer(listen_at(path), str(path))
    path.rename(tmp_path / "old")
    with listen_at(path):
        server.close()
        assert is_answered(path)


def test_close_after_the_file_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = listen_at(path)
    server = UnixServer(listener, str(path))
    path.unlink()
    server.close()
    assert listener.fileno() == -1
