"""A TCP proxy in front of Redis that can fall silent, keep messages back, or answer in Redis's place."""

from __future__ import annotations

import asyncio
from types import TracebackType


class TcpProxy:
    """Forwards to a port of loopback. `connects` counts the connections that were tried."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.connects = 0
        # Swallows everything both ways; connections stay open and new ones are accepted.
        self.is_silent = False
        # Swallows what Redis pushes to subscribers; everything else passes.
        self.keeps_messages_back = False
        # Keeps what clients send from now on, until `release` is called.
        self.withholds = False
        self.release = asyncio.Event()
        # What every read from a client is answered with, without asking Redis.
        self.answer: bytes | None = None
        # Cuts the connection that sends this next: in the middle of it, or right after it has gone to Redis.
        self.cut_at: bytes | None = None
        self.cut_after: bytes | None = None
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections, and accept new ones."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            self._tasks.discard(task)
            return
        self._writers |= {writer, redis_writer}
        pumps = [
            asyncio.create_task(self._pump(reader, redis_writer, answers_to=writer)),
            asyncio.create_task(self._pump(redis_reader, writer, answers_to=None)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, redis_writer):
                end.transport.abort()
                self._writers.discard(end)
            await asyncio.sleep(0)
            self._tasks.discard(task)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        answers_to: asyncio.StreamWriter | None,
    ) -> None:
        while data := await reader.read(65536):
            if self.is_silent:
                continue
            if answers_to is not None and self.answer is not None:
                answers_to.write(self.answer * data.count(b"*"))
                continue
            if answers_to is not None and self.withholds:
                await self.release.wait()
            if answers_to is not None and self.cut_at is not None and self.cut_at in data:
                writer.write(data[: data.index(self.cut_at)])
                self.cut_at = None
                await writer.drain()
                return
            if answers_to is not None and self.cut_after is not None and self.cut_after in data:
                self.cut_after = None
                answers_to.transport.abort()
                # Redis reads what came before the end of the connection.
                writer.write(data)
                writer.close()
                await writer.wait_closed()
                return
            if answers_to is None and self.keeps_messages_back and b"$7\r\nmessage\r\n" in data:
                continue
            writer.write(data)
            await writer.drain()
