"""Log lines: levels that change while the server runs, colours, and what happens when nobody reads them."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fastws.logs import LogLevel, safe_fields

PROGRAM = """
import logging, structlog
from fastws.log_writer import flush_logs
from fastws.logs import LogLevel, start_logging
start_logging({format!r}, {level!r})
log = structlog.stdlib.get_logger("fastws.somewhere")
log.debug("first"); log.info("second", user="ann")
logging.getLogger("asyncio").debug("not ours")
level = LogLevel({level!r})
level.toggle_debug(); log.debug("third")
level.toggle_debug(); log.debug("fourth"); log.info("fifth")
assert flush_logs(30)
"""


@pytest.fixture
def _ours() -> Iterator[None]:
    logger = logging.getLogger("fastws")
    before = logger.level
    yield
    logger.setLevel(before)


def printed(log_format: str, level: str) -> list[str]:
    program = PROGRAM.format(format=log_format, level=level)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    return done.stderr.splitlines()


def on_a_terminal(**environment: str) -> bytes:
    """What a program whose stderr is a terminal logs."""
    ours, theirs = pty.openpty()
    program = PROGRAM.format(format="auto", level="info")
    variables = {**os.environ, "TERM": "xterm", **environment}
    with subprocess.Popen([sys.executable, "-c", program], stderr=theirs, env=variables) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux: the other side is closed
                break
            text += piece
        assert process.wait(30) == 0
    os.close(ours)
    return text


def test_debug_can_be_turned_on_and_off_again() -> None:
    events = [json.loads(line)["event"] for line in printed("auto", "info")]
    assert events == ["second", "log level changed", "third", "log level changed", "fifth"]


def test_toggling_a_level_that_is_debug_goes_to_info_and_back() -> None:
    events = [json.loads(line)["event"] for line in printed("json", "debug")]
    assert events == ["first", "second", "log level changed", "log level changed", "fourth", "fifth"]


def test_a_terminal_gets_colours_unless_no_color_is_set() -> None:
    assert b"\x1b[" in on_a_terminal(NO_COLOR="")
    plain = on_a_terminal(NO_COLOR="1")
    assert b"second" in plain
    assert b"\x1b[" not in plain


@pytest.mark.usefixtures("_ours")
def test_each_level_is_set_on_our_loggers_alone() -> None:
    root = logging.getLogger().level
    level = LogLevel("warning")
    for name in ("error", "debug", "info", "warning"):
        level.set(name)
        assert logging.getLogger("fastws.anything").getEffectiveLevel() == getattr(logging, name.upper())
        assert level.is_debug == (name == "debug")
    assert logging.getLogger().level == root


def test_an_application_that_embeds_the_server_gets_lines_through_its_own_logging() -> None:
    program = """
import logging, structlog
from fastws.logs import log_through_logging
logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
log_through_logging()
log = structlog.stdlib.get_logger("fastws.connection")
log.info("connection opened", connection="abc"); log.warning("client removed: slow consumer", connection="abc")
structlog.configure(processors=[structlog.processors.JSONRenderer()])
log_through_logging()
log.warning("as the application wants it")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    first = "WARNING fastws.connection event='client removed: slow consumer' connection='abc'"
    assert (done.stderr + done.stdout).splitlines()[0] == first
    assert '{"event": "as the application wants it"}' in done.stderr + done.stdout
    assert "connection opened" not in done.stderr + done.stdout


def test_what_python_itself_would_print_is_logged() -> None:
    program = """
import threading, warnings
from fastws.log_writer import flush_logs
from fastws.logs import start_logging

class Finalized:
    def __del__(self):
        raise ValueError("in a finalizer")

def fail():
    raise ValueError("in a thread")

start_logging("json", "info")
warnings.warn("a warning")
Finalized()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
flush_logs(30)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines[1:]] == ["internal error in a finalizer", "internal error in a thread"]
    assert [word in lines[number].get("exception", "") for number, word in ((1, "finalizer"), (2, "thread"))]
    assert "a warning" in lines[0]["event"]


def test_names_are_cut_and_control_characters_escaped() -> None:
    event: dict[str, object] = {
        "event": "connection closed",
        "user": "u" * 65,
        "channels": ["c" * 64, "c" * 300, "a\x1b[31mb"],
        "reason": "r" * 100 + "\u202e\x9b",
        "seconds": 1.5,
        "more": [1],
    }
    assert safe_fields(None, "info", event) == {
        "event": "connection closed",
        "user": "u" * 63 + "…",
        "channels": ["c" * 64, "c" * 63 + "…", "a\\x1b[31mb"],
        "reason": "r" * 100 + "\\u202e\\x9b",
        "seconds": 1.5,
        "more": [1],
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "call",
    [
        "log.exception('failed')",
        "log.error('failed', exc_info=error)",
        "logging.getLogger('asyncio').exception('failed')",
    ],
)
def test_an_exception_is_logged_with_its_traceback_and_no_local_variables(call: str, log_format: str) -> None:
    failing = f"""
def fail():
    key = "a-secret-value"
    try:
        1 / 0
    except ZeroDivisionError as error:
        {call}
"""
    program = failing + PROGRAM.replace('log.info("fifth")', "fail()").format(format=log_format, level="info")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert "in fail" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "a-secret-value" not in done.stderr


def test_nothing_that_a_terminal_executes_reaches_it() -> None:
    program = PROGRAM.replace('user="ann"', 'user="a\\x1b[2Jb\\u202ec"').format(format="text", level="info")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert b"\\x1b[2J" in done.stderr
    assert b"\x1b[2J" not in done.stderr
    assert "\u202e" not in done.stderr.decode()


def test_a_line_of_json_begins_with_time_level_and_event() -> None:
    for line in printed("json", "debug"):
        assert list(json.loads(line))[:3] == ["timestamp", "level", "event"]
        assert line.startswith('{"timestamp": "2')
