"""The supervisor: starts workers, restarts the dead, rolls them one after the other, drains them all."""

from __future__ import annotations

import dataclasses
import os
import selectors
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from fastws.config import Config
from fastws.errors import ConfigError
from fastws.logs import LogLevel
from fastws.server.process import ignore_signals
from fastws.telemetry.exited_workers import add_exited
from fastws.workers.child import Child
from fastws.workers.rolling import Rolling
from fastws.workers.signals import SignalInbox
from fastws.workers.slots import Slot, open_slots

log = structlog.stdlib.get_logger("fastws.workers")

# A worker that is not ready by then hangs (Redis and keys are waited for 6 s at most).
READY_SECONDS: Final = 30.0
# On top of drain_timeout: who is still there is killed.
LATE_SECONDS: Final = 5.0
# Where nobody has ever been ready, so many deaths of one worker end the start.
START_DEATHS: Final = 3
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

# The settings as they are now, and whether the JWT key is made up. Raises ConfigError.
Reread = Callable[[], tuple[Config, bool]]


class Supervisor:
    """Runs `config.workers` processes on one port, whose sockets it holds itself.

    SIGTERM and SIGINT drain all; a second one stops at once. SIGHUP reads the settings again and replaces one worker
    after the other; where to listen, how many workers and which Redis need a restart. SIGUSR1 turns debug lines on
    and off in all of them. Raises OSError where it cannot listen.
    """

    def __init__(self, config: Config, *, is_key_made_up: bool, reread: Reread) -> None:
        self.slots = open_slots(config)
        self.port = 0 if config.unix_socket is not None else int(self.slots[0].sockets[0].getsockname()[1])
        self.config = dataclasses.replace(config, port=self.port or config.port)
        self._is_key_made_up = is_key_made_up
        self._reread = reread
        # The sockets in it must have names of less than 108 bytes, however long TMPDIR is.
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-", dir=None if len(tempfile.gettempdir()) < 60 else "/tmp"))  # noqa: S108 a folder of our own in it
        self._log_level = LogLevel(config.log_level)
        self._selector = selectors.DefaultSelector()
        self._rolling = Rolling(self.slots, self.start_child)
        self._is_stopping = False
        self._is_begun = False
        self._failure: ConfigError | None = None
        self._exit_code = 0
        self._lifeline, self._lifeline_end = os.pipe()

    def run(self, ready: Callable[[], None]) -> int:
        """Serve until told to stop; `ready` is called when all workers are.

        Returns the exit code: 0, or 1 where a worker had to be killed or none could be started. Raises ConfigError
        where the settings cannot be used, as a worker has found.
        """
        self._signals = SignalInbox(_SIGNALS)
        self._selector.register(self._signals, selectors.EVENT_READ, None)
        try:
            for slot in self.slots:
                slot.restart_at = time.monotonic()
            self._start_due(time.monotonic())
            while not self._is_stopping or self._children():
                self._turn()
                self._tell_when_ready(ready)
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure
        return self._exit_code

    def start_child(self, slot: Slot) -> Child:
        """Start a worker in `slot`. Raises OSError."""
        slot.reopen()
        order = {
            "config": dataclasses.asdict(self.config),
            "folder": str(self.folder),
            "slot": slot.number,
            "log_level": self._log_level.current,
            "is_key_made_up": self._is_key_made_up,
        }
        sockets = [listener.fileno() for listener in slot.sockets]
        child = Child(slot.number, order, sockets, self._lifeline, self._log_level.current)
        child.kill_at = child.started_at + READY_SECONDS
        slot.children.append(child)
        slot.restart_at = None
        self._selector.register(child.report, selectors.EVENT_READ, child)
        return child

    # --- events

    def _turn(self) -> None:
        """Wait for what happens next, and bring everything in line with it."""
        for key, _ in self._selector.select(self._seconds_to_next()):
            if key.data is not None:
                self._hear(key.data)
        for number in self._signals.take():
            self._handle_signal(number)
        now = time.monotonic()
        self._kill_overdue(now)
        self._reap_exited(now)
        if not self._is_stopping:
            self._start_due(now)
            self._rolling.go_on(self.config.drain_timeout + LATE_SECONDS)

    def _seconds_to_next(self) -> float:
        due = [slot.restart_at for slot in self.slots if slot.restart_at is not None]
        due += [child.kill_at for child in self._children()]
        return min(max(0.0, min(due, default=1.0) - time.monotonic()), 1.0)

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGHUP and not self._is_stopping:
            self._roll()
        elif number == signal.SIGUSR1:
            self._log_level.toggle_debug()
            for child in self._children():
                self._tell_log_level(child)
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop()

    def _stop(self) -> None:
        """The first time everybody drains; the second time, and every time after, nobody has any time left."""
        seconds = LATE_SECONDS if self._is_stopping else self.config.drain_timeout + LATE_SECONDS
        for child in self._children():
            # Whoever leaves already takes another signal as "at once".
            if self._is_stopping or not child.is_leaving:
                child.stop(signal.SIGTERM, seconds)
        self._is_stopping = True

    def _roll(self) -> None:
        try:
            config, self._is_key_made_up = self._reread()
        except ConfigError as error:
            log.error("not rolling: the settings cannot be used", error=error.message)  # noqa: TRY400 the user's error
            return
        self.config = dataclasses.replace(config, port=self.config.port)
        log.info("rolling", workers=len(self.slots))
        self._rolling.begin()

    def _hear(self, child: Child) -> None:
        """A worker has said something, or its end of the pipe is closed."""
        was_ready = child.is_ready
        if not child.read_report():
            self._selector.unregister(child.report)
        if child.is_ready and not was_ready:
            log.info("worker is ready", slot=child.slot, pid=child.pid)
            self._tell_log_level(child)

    def _tell_when_ready(self, ready: Callable[[], None]) -> None:
        if not self._is_begun and all(any(child.is_ready for child in slot.children) for slot in self.slots):
            self._is_begun = True
            ready()

    # --- workers

    def _children(self) -> list[Child]:
        return [child for slot in self.slots for child in slot.children]

    def _tell_log_level(self, child: Child) -> None:
        """Before it is ready the signal would end it: then it is told when it is."""
        if child.is_ready and child.log_level != self._log_level.current:
            child.log_level = self._log_level.current
            child.signal(signal.SIGUSR1)

    def _kill_overdue(self, now: float) -> None:
        for child in self._children():
            if child.kill_if_late(now):
                self._exit_code = 1 if self._is_stopping else self._exit_code
                log.error("worker killed: it was not in time", slot=child.slot, pid=child.pid, ready=child.is_ready)

    def _reap_exited(self, now: float) -> None:
        for slot in self.slots:
            for child in [child for child in slot.children if child.is_gone]:
                self._reap(slot, child)
                if not child.is_leaving and not self._is_stopping:
                    self._note_death(slot, child, now)
            if self._is_stopping and not slot.children:
                # Else who connects now would wait for nobody, as long as the others drain.
                slot.close()

    def _reap(self, slot: Slot, child: Child) -> None:
        if child.report in self._selector.get_map():
            # Its last words may have come after the last look, and before its end.
            while child.read_report():
                continue
            self._selector.unregister(child.report)
        child.close()
        slot.children.remove(child)
        add_exited(self.folder, child.pid)

    def _note_death(self, slot: Slot, child: Child, now: float) -> None:
        code = child.process.returncode
        if not self._is_begun and child.error is not None:
            self._failure = ConfigError(child.error)
            self._stop()
            return
        if slot.is_served:
            # Of two in one slot, one of which was to take over, the other is left.
            log.error("worker died", slot=slot.number, pid=child.pid, code=code, error=child.error)
            return
        slot.note_death(child, now)
        wait = round((slot.restart_at or now) - now, 3)
        log.error("worker died", slot=slot.number, pid=child.pid, code=code, error=child.error, restart_in_seconds=wait)
        if slot.deaths >= START_DEATHS and not self._is_begun:
            log.error("giving up: the workers cannot be started")
            self._exit_code = 1
            self._stop()

    def _start_due(self, now: float) -> None:
        for slot in self.slots:
            if slot.restart_at is not None and slot.restart_at <= now:
                try:
                    self.start_child(slot)
                except OSError as error:
                    # No memory, no process number, no descriptor, the port taken: it may pass.
                    slot.restart_at = now + slot.backoff_seconds
                    log.error("worker not started", slot=slot.number, error=str(error))  # noqa: TRY400 not ours

    # --- end

    def _end(self) -> None:
        """Whatever brought us here: no worker, no socket and no file is left behind."""
        for child in self._children():
            child.signal(signal.SIGKILL)
            child.process.wait()
            child.close()
        for slot in self.slots:
            slot.close()
        if self.config.unix_socket is not None:
            Path(self.config.unix_socket).unlink(missing_ok=True)
        self._selector.close()
        ignore_signals()
        self._signals.close()
        os.close(self._lifeline)
        os.close(self._lifeline_end)
        shutil.rmtree(self.folder, ignore_errors=True)
