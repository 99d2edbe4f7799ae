"""Many processes behind one port: a supervisor that starts workers, restarts the dead, rolls them one by one."""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from fastws.config import Config
from fastws.logs import LogLevel

log = structlog.stdlib.get_logger("fastws.workers")

BACKLOG: Final = 4096
FIRST_BACKOFF_SECONDS: Final = 0.2
MAX_BACKOFF_SECONDS: Final = 15.0
# Who ran this long was well: the next death is no repetition.
WELL_SECONDS: Final = 30.0
READY_SECONDS: Final = 20.0
LATE_SECONDS: Final = 5.0


@dataclass(slots=True)
class Worker:
    """A child process: it inherits its slot's listening socket, reads its Config from stdin, says when it is ready."""

    slot: int
    process: subprocess.Popen[bytes]
    started_at: float
    log_level: str
    is_ready: bool = False
    is_leaving: bool = False


@dataclass(slots=True)
class Slot:
    """A listening socket and who serves it. The socket outlives workers: nobody who connects meanwhile is refused."""

    number: int
    socket: socket.socket
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    restart_at: float | None = None
    workers: list[Worker] = field(default_factory=list)


class Supervisor:
    """Runs `config.workers` processes on one port (SO_REUSEPORT, one socket each, all held here).

    SIGTERM and SIGINT drain all; a second one stops at once. SIGHUP replaces one worker after the other, SIGUSR1 turns
    debug lines on and off in all of them.
    """

    def __init__(self, config: Config, *, is_key_made_up: bool) -> None:
        self._is_key_made_up = is_key_made_up
        self._slots = _listen(config)
        self.port = int(self._slots[0].socket.getsockname()[1]) if config.unix_socket is None else 0
        self.folder = Path(tempfile.mkdtemp(prefix="fastws-workers-"))
        self._config = dataclasses.replace(config, port=self.port or config.port)
        self._log_level = LogLevel(config.log_level)
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._is_stopping = False
        self._roll: list[Slot] = []
        self._rolling: tuple[Slot, Worker, Worker | None] | None = None
        self._wakeup, self._waker = socket.socketpair()

    def run(self, introduction: str) -> int:
        """Serve until told to stop. Returns the exit code: 0 when every worker left as it should."""
        self._take_signals()
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        for slot in self._slots:
            self._start(slot)
        print(introduction, flush=True)
        try:
            while not self._is_stopping or any(slot.workers for slot in self._slots):
                self._turn()
        finally:
            self._end()
        return 0

    # --- events

    def _take_signals(self) -> None:
        os.set_blocking(self._wakeup.fileno(), False)  # noqa: FBT003 its only form
        os.set_blocking(self._waker.fileno(), False)  # noqa: FBT003 its only form
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._seconds_to_next()):
            if key.data is None:
                self._wakeup.recv(4096)
            else:
                self._hear(key.data)
        while self._signals:
            self._obey(self._signals.pop(0))
        self._reap()
        self._restart_the_dead()
        self._go_on_rolling()

    def _seconds_to_next(self) -> float:
        now = time.monotonic()
        due = [slot.restart_at - now for slot in self._slots if slot.restart_at is not None]
        return max(0.0, min([*due, 1.0]))

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP and not self._is_stopping:
            log.info("rolling", workers=len(self._slots))
            self._roll = [slot for slot in self._slots if slot not in self._roll]
        elif number == signal.SIGUSR1:
            self._log_level.toggle_debug()
            for worker in self._workers():
                self._tell_log_level(worker)
        elif number in (signal.SIGTERM, signal.SIGINT):
            # Forwarded each time: a worker takes the second as "at once".
            self._is_stopping = True
            self._roll.clear()
            for worker in self._workers():
                self._tell(worker, signal.SIGTERM)

    def _hear(self, worker: Worker) -> None:
        """A worker has said that it is ready, or its end of the pipe is closed."""
        assert worker.process.stdout is not None  # noqa: S101 opened with PIPE
        if os.read(worker.process.stdout.fileno(), 4096):
            worker.is_ready = True
            self._tell_log_level(worker)
            log.info("worker is ready", slot=worker.slot, pid=worker.process.pid)
        else:
            self._selector.unregister(worker.process.stdout)

    # --- workers

    def _workers(self) -> list[Worker]:
        return [worker for slot in self._slots for worker in slot.workers]

    def _start(self, slot: Slot) -> Worker:
        process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [sys.executable, "-m", "fastws.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(slot.socket.fileno(),),
            start_new_session=True,  # the terminal's Ctrl-C reaches the supervisor alone
        )
        order = {
            "config": dataclasses.asdict(self._config),
            "socket": slot.socket.fileno(),
            "folder": str(self.folder),
            "slot": slot.number,
            "log_level": self._log_level.current,
            "is_key_made_up": self._is_key_made_up,
        }
        assert process.stdin is not None  # noqa: S101 opened with PIPE
        assert process.stdout is not None  # noqa: S101 opened with PIPE
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
        worker = Worker(slot.number, process, time.monotonic(), self._log_level.current)
        slot.workers.append(worker)
        slot.restart_at = None
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _tell(self, worker: Worker, number: int) -> None:
        worker.is_leaving = True
        if worker.process.poll() is None:
            worker.process.send_signal(number)

    def _tell_log_level(self, worker: Worker) -> None:
        """Before it is ready the signal would end it: then it is told when it is."""
        if worker.is_ready and worker.log_level != self._log_level.current and worker.process.poll() is None:
            worker.log_level = self._log_level.current
            worker.process.send_signal(signal.SIGUSR1)

    def _reap(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            for worker in [w for w in slot.workers if w.process.poll() is not None]:
                self._bury(slot, worker)
                if not worker.is_leaving and not self._is_stopping:
                    was_well = now - worker.started_at >= WELL_SECONDS
                    slot.backoff_seconds = FIRST_BACKOFF_SECONDS if was_well else slot.backoff_seconds
                    slot.restart_at = now + slot.backoff_seconds
                    log.error(
                        "worker died",
                        slot=slot.number,
                        pid=worker.process.pid,
                        code=worker.process.returncode,
                        restart_in_seconds=slot.backoff_seconds,
                    )
                    slot.backoff_seconds = min(slot.backoff_seconds * 2, MAX_BACKOFF_SECONDS)

    def _bury(self, slot: Slot, worker: Worker) -> None:
        slot.workers.remove(worker)
        stdout = worker.process.stdout
        if stdout is not None:
            if stdout.fileno() in self._selector.get_map():
                self._selector.unregister(stdout)
            stdout.close()

    def _restart_the_dead(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.restart_at is not None and slot.restart_at <= now and not self._is_stopping:
                self._start(slot)

    # --- rolling

    def _go_on_rolling(self) -> None:
        """One slot at a time: the new one is ready, then the old one drains, then the next slot."""
        if self._rolling is None:
            if not self._roll or self._is_stopping:
                return
            slot = self._roll.pop(0)
            old = slot.workers[-1] if slot.workers else None
            self._rolling = (slot, self._start(slot), old)
            return
        slot, new, old = self._rolling
        if new.process.poll() is not None:
            log.error("rolling stopped: the new worker died; the old ones go on", slot=slot.number)
            self._rolling = None
            self._roll.clear()
        elif new.is_ready and old is not None and not old.is_leaving:
            self._tell(old, signal.SIGTERM)
        elif new.is_ready and (old is None or old not in slot.workers):
            self._rolling = None
            log.info("rolled", slot=slot.number, left=len(self._roll))
            self._signals_turn()

    def _signals_turn(self) -> None:
        """Come round again at once: the next slot need not wait for an event."""
        self._waker.send(b"\0")

    # --- end

    def _end(self) -> None:
        deadline = time.monotonic() + LATE_SECONDS
        for worker in self._workers():
            worker.process.terminate()
        for worker in self._workers():
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        for slot in self._slots:
            slot.socket.close()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wakeup.close()
        self._waker.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _listen(config: Config) -> list[Slot]:
    """A listening socket for each worker; on a Unix path they share one. Raises OSError."""
    if config.unix_socket is not None:
        Path(config.unix_socket).unlink(missing_ok=True)
        shared = socket.socket(socket.AF_UNIX)
        shared.bind(config.unix_socket)
        shared.listen(BACKLOG)
        return [Slot(number, shared.dup()) for number in range(config.workers)]
    slots = []
    address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    port = config.port
    for number in range(config.workers):
        listener = socket.socket(address[0], socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address[4][0], port, *address[4][2:]))
        listener.listen(BACKLOG)
        port = listener.getsockname()[1]
        slots.append(Slot(number, listener))
    return slots
