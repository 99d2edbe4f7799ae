"""pusher-js and Laravel Echo on two processes: public, private, encrypted and presence channels, sign-in."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.end_to_end.pusher_client import APP
from tests.node_packages import node, pusher_clients
from tests.redis_server import RedisServer
from tests.serving import KEY, PATIENCE_SECONDS, Serve


async def test_clients_from_npm(serve: Serve, redis_server: RedisServer) -> None:
    modules = await asyncio.to_thread(pusher_clients)
    servers = [
        await serve(redis_url=redis_server.url, pusher_apps=(APP,), pusher_client_events=("true",)) for _ in range(2)
    ]
    script = Path(__file__).with_name("pusher_clients.cjs")
    arguments = (*(str(server.port) for server in servers), KEY)
    running = await asyncio.create_subprocess_exec(
        *(node(), str(script), *arguments),
        env={"NODE_PATH": str(modules), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            printed, _ = await running.communicate()
    except TimeoutError:
        running.kill()
        printed, _ = await running.communicate()
    assert running.returncode == 0, printed.decode()
