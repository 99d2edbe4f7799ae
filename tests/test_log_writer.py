"""Writing log lines to pipes and files that are slow, full, closed or shared."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from fastws.log_writer import LogHandler, LogWriter, flush_logs

PATIENCE_SECONDS = 30.0
DROPPED = "log lines dropped: the reader of the log was too slow, or they could not be written"
PLAIN = logging.Formatter("%(message)s")


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "somewhere.py", 7, text, None, None)


@contextmanager
def pipe(size: int = 4096) -> Iterator[tuple[int, int]]:
    """A pipe that holds `size` bytes. Its writing end stays open for the thread, which goes on trying."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
    try:
        yield reader, writer
    finally:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, writer)
        os.close(null)
        with suppress(OSError):
            os.close(reader)


def read_until(reader: int, is_enough: Callable[[list[str]], bool]) -> list[str]:
    """The whole lines that come, once `is_enough` of them have."""
    data = b""
    while not is_enough(data.decode().split("\n")[:-1]):
        assert select.select([reader], [], [], PATIENCE_SECONDS)[0], data
        data += os.read(reader, 65_536)
    return data.decode().split("\n")[:-1]


def fill(descriptor: int) -> int:
    """Write into a pipe until it takes no more. How many bytes it took."""
    os.set_blocking(descriptor, False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            count += os.write(descriptor, b"\n" * 4096)
    os.set_blocking(descriptor, True)
    return count


def test_lines_are_written_in_their_order() -> None:
    with pipe() as (reader, writer):
        log = LogWriter(writer, PLAIN)
        for number in range(5):
            log.put(record(str(number)))
        assert log.flush(PATIENCE_SECONDS)
        assert os.read(reader, 100) == b"0\n1\n2\n3\n4\n"


def test_beyond_what_may_wait_lines_are_counted_where_they_are_missing() -> None:
    with pipe() as (reader, writer):
        filled = fill(writer)
        log = LogWriter(writer, PLAIN, max_waiting=2)
        log.put(record("stuck"))
        _wait_until_stuck(log)
        for number in range(5):
            log.put(record(str(number)))
        assert not log.flush(0.01)
        lines = read_until(reader, lambda lines: "1" in lines)
        log.put(record("after"))
        lines += read_until(reader, lambda lines: "after" in lines)
        assert [line for line in lines if line] == ["stuck", "0", "1", f"3 {DROPPED}", "after"]
        assert filled > 0


def test_how_many_are_missing_is_said_though_nothing_more_is_logged() -> None:
    with pipe() as (reader, writer):
        fill(writer)
        log = LogWriter(writer, PLAIN, max_waiting=1)
        log.put(record("stuck"))
        _wait_until_stuck(log)
        for text in ("waits", "lost", "lost too"):
            log.put(record(text))
        lines = read_until(reader, lambda lines: any(DROPPED in line for line in lines))
        assert [line for line in lines if line] == ["stuck", "waits", f"2 {DROPPED}"]


def _wait_until_stuck(log: LogWriter) -> None:
    """Until the thread has taken the one record that waits, and is about to write it."""
    while not log._is_writing:
        threading.Event().wait(0.001)  # the other thread's turn


def test_nobody_waits_for_a_write_that_is_stuck() -> None:
    with pipe() as (reader, writer):
        fill(writer)
        log = LogWriter(writer, PLAIN)
        for _ in range(3):
            log.put(record("line"))
            assert not log.flush(0.0)
        os.close(reader)  # ends the write
        log.flush(PATIENCE_SECONDS)


def test_what_a_closed_pipe_has_not_taken_is_said_once_somebody_reads_again() -> None:
    with pipe() as (reader, writer):
        log = LogWriter(writer, PLAIN)
        os.close(reader)
        for _ in range(3):
            log.put(record("lost"))
        assert not log.flush(PATIENCE_SECONDS)
        another, end = os.pipe()
        os.dup2(end, writer)
        os.close(end)
        log.put(record("after"))
        assert log.flush(PATIENCE_SECONDS)
        assert os.read(another, 1000).decode() == f"3 {DROPPED}\nafter\n"
        os.close(another)


def test_a_disk_that_has_room_again_is_noticed_though_nothing_more_is_logged() -> None:
    with pipe() as (reader, writer):
        full = os.open("/dev/full", os.O_WRONLY)
        saved = os.dup(writer)
        os.dup2(full, writer)
        log = LogWriter(writer, PLAIN)
        log.put(record("lost"))
        assert not log.flush(PATIENCE_SECONDS)
        os.dup2(saved, writer)
        assert read_until(reader, bool) == [f"1 {DROPPED}"]
        os.dup2(full, writer)
        log.put(record("lost"))
        assert not log.flush(PATIENCE_SECONDS)
        os.dup2(saved, writer)
        assert log.flush(PATIENCE_SECONDS)
        assert read_until(reader, bool) == [f"1 {DROPPED}"]
        os.close(full)
        os.close(saved)


def test_after_a_line_that_was_cut_off_the_next_begins_on_its_own() -> None:
    with pipe() as (reader, writer):
        fill(writer)
        os.read(reader, 4096)  # room for the first page of a line
        log = LogWriter(writer, PLAIN)
        log.put(record("x" * 100_000))
        _wait_until_full(writer)
        os.close(reader)  # in the middle of the line
        assert not log.flush(PATIENCE_SECONDS)
        another, end = os.pipe()
        os.dup2(end, writer)
        os.close(end)
        log.put(record("after"))
        assert log.flush(PATIENCE_SECONDS)
        assert os.read(another, 1000).decode().split("\n") == ["", f"1 {DROPPED}", "after", ""]
        os.close(another)


def _wait_until_full(writer: int) -> None:
    """Until nothing more fits into the pipe."""
    while select.select([], [writer], [], 0)[1]:
        threading.Event().wait(0.001)  # the other thread's turn


def test_a_descriptor_that_others_have_made_non_blocking_gets_whole_lines() -> None:
    with pipe() as (reader, writer):
        os.set_blocking(writer, False)
        log = LogWriter(writer, PLAIN)
        texts = [str(number) * 3000 for number in range(10)]
        for text in texts:
            log.put(record(text))
        assert read_until(reader, lambda lines: len(lines) == 10) == texts
        assert log.flush(PATIENCE_SECONDS)


class Unrenderable(logging.Formatter):
    def format(self, line: logging.LogRecord) -> str:
        if line.msg == "bad":
            raise ValueError("bad")
        return super().format(line)


def test_a_line_that_cannot_be_rendered_says_where_and_stops_nothing() -> None:
    with pipe() as (reader, writer):
        log = LogWriter(writer, Unrenderable("%(message)s"))
        log.put(record("bad"))
        log.put(record("good"))
        assert log.flush(PATIENCE_SECONDS)
        assert os.read(reader, 1000) == b"a log line could not be rendered: ValueError in somewhere.py:7\ngood\n"


@pytest.mark.parametrize(("encoding", "data"), [("utf-8", b"\xc3\xbc \\ud83d\n"), ("ascii", b"\\xfc \\ud83d\n")])
def test_what_the_encoding_lacks_is_escaped(encoding: str, data: bytes) -> None:
    with pipe() as (reader, writer):
        log = LogWriter(writer, PLAIN, encoding=encoding)
        log.put(record("ü \ud83d"))
        assert log.flush(PATIENCE_SECONDS)
        assert os.read(reader, 100) == data


def test_what_logging_hands_over_is_flushed() -> None:
    assert not flush_logs(0)
    with pipe() as (reader, writer):
        handler = LogHandler(LogWriter(writer, PLAIN))
        logging.getLogger().addHandler(handler)
        try:
            logging.getLogger("somewhere").error("line %d", 1)
            assert flush_logs(PATIENCE_SECONDS)
        finally:
            logging.getLogger().removeHandler(handler)
        assert os.read(reader, 100) == b"line 1\n"
