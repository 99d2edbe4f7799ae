"""The supervisor: starts the workers, restarts those that exit, replaces them all, and drains them all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import structlog

from fastws.brokers.redis.embedded import EmbeddedRedis
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.logs import LogLevel
from fastws.server.exit import HURRY_SECONDS, end_within, hurry_on_signals
from fastws.server.listening import CannotListen, place_of
from fastws.server.process import HURRY_HINT
from fastws.server.systemd import Notifier
from fastws.telemetry.exited_workers import add_exited
from fastws.workers.child import Child
from fastws.workers.image import Images
from fastws.workers.rolling import Rolling
from fastws.workers.signals import SignalInbox
from fastws.workers.slots import Slot, open_slots

log = structlog.stdlib.get_logger("fastws.workers")

# A worker that is not ready after this time hangs (it waits at most 13 s for Redis, keys and the other workers).
READY_SECONDS: Final = 30.0
# Added to drain_timeout: workers that still run are killed.
LATE_SECONDS: Final = 5.0
# Added to the time that a worker may take to stop at once.
LAST_SECONDS: Final = 1.0
# The first process of a container adopts processes whose parent has exited.
INIT_PID: Final = 1
# If no start has succeeded yet, this many exits of one worker abort it.
START_DEATHS: Final = 3
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)

# Reads the settings again. Returns them and the names of the generated secrets. Raises ConfigError.
Reread = Callable[[], tuple[Config, Collection[str]]]


class Supervisor:
    """Runs `config.workers` processes on one port. Owns the listening sockets.

    SIGTERM and SIGINT drain all workers; a second one stops them at once. SIGHUP reads the settings again and replaces
    the workers; the address, the number of workers and the Redis URL need a restart. SIGUSR1 turns debug logging on
    and off in all workers. `notifier` reports to systemd, `inherited` are the sockets to listen on instead of the
    configured address, `redis` is the embedded one. Raises CannotListen.
    """

    def __init__(
        self,
        config: Config,
        *,
        generated: Collection[str],
        reread: Reread,
        notifier: Notifier,
        inherited: Sequence[socket.socket] = (),
        redis: EmbeddedRedis | None = None,
    ) -> None:
        self.slots = _open_slots(config, inherited)
        self._notifier = notifier
        self._redis = redis
        # The file of a Unix socket that this process has not created stays.
        self._owns_file = config.unix_socket is not None and not inherited
        self.port = 0 if config.unix_socket is not None else int(self.slots[0].sockets[0].getsockname()[1])
        self.config = dataclasses.replace(config, port=self.port or config.port)
        self._generated = generated
        self._reread = reread
        # Paths of Unix sockets are limited to 107 bytes, so a long TMPDIR cannot be used.
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-", dir=None if len(tempfile.gettempdir()) < 60 else "/tmp"))  # noqa: S108 mkdtemp makes a private folder
        self._log_level = LogLevel(config.log_level)
        self._images = Images()
        self._selector = selectors.DefaultSelector()
        self._rolling = Rolling(self.slots, self.start_child)
        self._is_stopping = False
        self._has_started = False
        self._failure: ConfigError | None = None
        self._exit_code = 0
        self._lifeline, self._lifeline_end = os.pipe()

    def run(self, ready: Callable[[], None]) -> int:
        """Serve until stopped by a signal; call `ready` once all workers are ready.

        Returns the exit code: 0, or 1 if workers had to be killed or could not be started. Raises ConfigError if a
        worker reports that the settings are invalid.
        """
        self._signals = SignalInbox(_SIGNALS)
        self._selector.register(self._signals, selectors.EVENT_READ, None)
        try:
            for slot in self.slots:
                slot.restart_at = time.monotonic()
            self._start_due(time.monotonic())
            while not self._is_stopping or self._children():
                self._iterate()
                self._announce(ready)
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure
        log.info("stopped")
        return self._exit_code

    def start_child(self, slot: Slot) -> Child:
        """Start a worker in `slot`. Raises OSError."""
        slot.reopen()
        order = {
            "config": dataclasses.asdict(self.config),
            "folder": str(self.folder),
            "slot": slot.number,
            "log_level": self._log_level.current,
            "generated": sorted(self._generated),
        }
        sockets = [listener.fileno() for listener in slot.sockets]
        level = self._log_level.current
        child = Child(slot.number, order, sockets, self._lifeline, level, start=self._images.start)
        child.kill_at = child.started_at + READY_SECONDS
        slot.children.append(child)
        slot.restart_at = None
        self._selector.register(child.report, selectors.EVENT_READ, child)
        return child

    # --- event loop

    def _iterate(self) -> None:
        """Wait for the next event and handle it."""
        for key, _ in self._selector.select(self._seconds_to_next()):
            if key.data is not None:
                self._read_report(key.data)
        for number in self._signals.take():
            self._handle_signal(number)
        now = time.monotonic()
        self._notifier.watchdog()
        self._kill_overdue(now)
        self._reap_exited(now)
        self._reap_adopted()
        if not self._is_stopping:
            self._start_due(now)
            self._roll_on()

    def _seconds_to_next(self) -> float:
        due = [slot.restart_at for slot in self.slots if slot.restart_at is not None]
        due += [child.kill_at for child in self._children()]
        longest = min(1.0, self._notifier.watchdog_seconds or 1.0)
        return min(max(0.0, min(due, default=longest) - time.monotonic()), longest)

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGHUP and not self._is_stopping:
            self._roll()
        elif number == signal.SIGUSR1:
            self._log_level.toggle_debug()
            for child in self._children():
                self._sync_log_level(child)
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stop()

    def _stop(self) -> None:
        """Drain all workers; on a second call, stop them at once."""
        seconds = HURRY_SECONDS + LAST_SECONDS if self._is_stopping else self.config.drain_timeout + LATE_SECONDS
        for child in self._children():
            # A worker that is draining already would stop at once on another signal.
            if self._is_stopping or not child.is_leaving:
                child.stop(signal.SIGTERM, seconds)
        if not self._is_stopping:
            self._notifier.stopping()
            log.info("stopping", drain_seconds=self.config.drain_timeout, hint=HURRY_HINT)
        self._is_stopping = True

    def _roll(self) -> None:
        try:
            config, self._generated = self._reread()
        except ConfigError as error:
            log.error("rolling restart not started: invalid settings", error=error.message)  # noqa: TRY400 the user's error
            return
        self.config = dataclasses.replace(config, port=self.config.port)
        # The workers get the settings and the modules of now.
        self._images.renew()
        log.info("rolling restart started", workers=len(self.slots))
        self._notifier.reloading()
        self._rolling.begin()

    def _roll_on(self) -> None:
        """Take all steps of the rolling restart that are possible now, and report its end to systemd."""
        was_active = self._rolling.is_active
        self._rolling.advance(self.config.drain_timeout + LATE_SECONDS)
        if was_active and not self._rolling.is_active:
            self._notifier.ready("workers replaced")

    def _read_report(self, child: Child) -> None:
        """Handle a report of a worker, or the end of its pipe."""
        was_ready = child.is_ready
        if not child.read_report():
            self._selector.unregister(child.report)
        if child.is_ready and not was_ready:
            log.info("worker is ready", slot=child.slot, pid=child.pid)
            self._sync_log_level(child)

    def _announce(self, ready: Callable[[], None]) -> None:
        if not self._has_started and all(any(child.is_ready for child in slot.children) for slot in self.slots):
            self._has_started = True
            ready()

    # --- workers

    def _children(self) -> list[Child]:
        return [child for slot in self.slots for child in slot.children]

    def _sync_log_level(self, child: Child) -> None:
        """Send the change of the log level; later if the worker is not ready, because SIGUSR1 would end it now."""
        if child.is_ready and child.log_level != self._log_level.current:
            child.log_level = self._log_level.current
            child.signal(signal.SIGUSR1)

    def _kill_overdue(self, now: float) -> None:
        for child in self._children():
            if child.kill_if_overdue(now):
                self._exit_code = 1 if self._is_stopping else self._exit_code
                log.error("worker timed out and was killed", slot=child.slot, pid=child.pid, ready=child.is_ready)

    def _reap_exited(self, now: float) -> None:
        for slot in self.slots:
            for child in [child for child in slot.children if child.has_exited]:
                self._reap(slot, child)
                if not child.is_leaving and not self._is_stopping:
                    self._note_death(slot, child, now)
            if self._is_stopping and not slot.children:
                # Otherwise new connections would wait in this backlog while the other workers drain.
                slot.close()

    def _reap_adopted(self) -> None:
        """As a subreaper or process 1 of a container: collect the exit status of processes whose parent has exited."""
        own = self._images.pids | {child.pid for child in self._children()}
        if self._redis is not None and self._redis.pid is not None:
            own.add(self._redis.pid)
        # A worker whose process id is not known yet looks like any other adopted process.
        if not (self._images.is_forking or os.getpid() == INIT_PID) or 0 in own:
            return
        with contextlib.suppress(ChildProcessError):  # there are no children at all
            while (exited := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if exited.si_pid in own:
                    return  # collected by its own object
                os.waitpid(exited.si_pid, os.WNOHANG)

    def _reap(self, slot: Slot, child: Child) -> None:
        if child.report in self._selector.get_map():
            # It may have reported between the last read and its exit.
            while child.read_report():
                continue
            self._selector.unregister(child.report)
        child.close()
        slot.children.remove(child)
        add_exited(self.folder, child.pid)

    def _note_death(self, slot: Slot, child: Child, now: float) -> None:
        code = child.process.returncode
        if not self._has_started and child.error is not None:
            self._failure = ConfigError(child.error)
            self._stop()
            return
        if slot.is_served:
            # Another worker of this slot still runs: one of the two in a rolling restart.
            log.error("worker exited unexpectedly", slot=slot.number, pid=child.pid, code=code, error=child.error)
            return
        if child.not_forked is not None:
            self._try_again(slot, child.not_forked, now)
            return
        slot.note_death(child, now)
        wait = round((slot.restart_at or now) - now, 3)
        log.error(
            "worker exited unexpectedly",
            slot=slot.number,
            pid=child.pid,
            code=code,
            error=child.error,
            restart_in_seconds=wait,
        )
        if slot.deaths >= START_DEATHS and not self._has_started:
            log.error("start aborted: workers keep exiting")
            self._exit_code = 1
            self._stop()

    def _start_due(self, now: float) -> None:
        for slot in self.slots:
            if slot.restart_at is not None and slot.restart_at <= now:
                try:
                    self.start_child(slot)
                except OSError as error:
                    self._try_again(slot, str(error), now)

    def _try_again(self, slot: Slot, error: str, now: float) -> None:
        """Start the worker later: there is no memory, process id or descriptor, or the port is in use."""
        slot.restart_at = now + slot.backoff.bound_seconds
        log.error("worker not started", slot=slot.number, error=error)

    # --- shutdown

    def _end(self) -> None:
        """Kill the remaining workers, close all sockets and delete all files, also after an exception."""
        end_within()
        self._images.end()
        for child in self._children():
            child.signal(signal.SIGKILL)
            child.process.wait()
            child.close()
        for slot in self.slots:
            slot.close()
        if self._owns_file and self.config.unix_socket is not None:
            Path(self.config.unix_socket).unlink(missing_ok=True)
        self._selector.close()
        hurry_on_signals()
        self._signals.close()
        os.close(self._lifeline)
        os.close(self._lifeline_end)
        shutil.rmtree(self.folder, ignore_errors=True)


def _open_slots(config: Config, inherited: Sequence[socket.socket]) -> list[Slot]:
    try:
        return open_slots(config, inherited)
    except OSError as error:
        raise CannotListen(place_of(config), error) from None
