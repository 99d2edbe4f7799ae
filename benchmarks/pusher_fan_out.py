"""Fan-out of the pusher dialect beside that of the channels dialect, in turn in one run, and the cost of joins.

python benchmarks/pusher_fan_out.py
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from in_process import HEAD, Sink, masked

from fastws.access.pusher_signatures import channel_text, sign
from fastws.config import Config
from fastws.server.server import Server
from fastws.transport.websocket import Connection
from fastws.vocabulary.publication import Publication

SUBSCRIBERS = 1_000
PUBLICATIONS = 2_000
BATCH = 10
ROUNDS = 9
JOINS = 500
DATA = {"id": 1, "text": "a message of usual size, as a chat or a ticker has", "at": 1762689600}


def connect(server: Server, path: str) -> Connection:
    sink = Sink()
    http = server.assembly.client_protocol()
    http.connection_made(sink)  # type: ignore[arg-type] # it has the methods that are used
    http.data_received(HEAD.replace(b"GET / ", f"GET {path} ".encode()))
    assert sink.protocol is not None
    return sink.protocol


def say(client: Connection, message: object) -> None:
    client.data_received(masked(json.dumps(message).encode()))


async def fan_out(server: Server, channel: str) -> float:
    """Returns deliveries per second of processor time."""
    hub = server.assembly.hub
    began = time.process_time()
    for _ in range(PUBLICATIONS // BATCH):
        for _ in range(BATCH):
            hub.deliver(Publication(channel, "e", DATA))
        hub.flush()
    return SUBSCRIBERS * PUBLICATIONS / (time.process_time() - began)


def join(server: Server, number: int, channel: str) -> tuple[Connection, object]:
    """Returns a client, and its request to join."""
    client = connect(server, "/app/key")
    member = json.dumps({"user_id": f"u{number}", "user_info": {"name": f"User {number}"}})
    auth = f"key:{sign('secret', channel_text(client.id, channel, member))}"
    data = {"channel": channel, "auth": auth, "channel_data": member}
    return client, {"event": "pusher:subscribe", "data": data}


def time_joins(server: Server, joins: list[tuple[Connection, object]]) -> float:
    """Returns microseconds of processor time for one join."""
    began = time.process_time()
    for client, request in joins:
        say(client, request)
    return (time.process_time() - began) / len(joins) * 1e6


async def main() -> None:
    server = Server(Config(port=0, message_rate=0.0, log_level="error", pusher_apps=("1:key:secret",)))
    await server.start()
    pusher = [connect(server, "/app/key") for _ in range(SUBSCRIBERS)]
    channels = [connect(server, "/") for _ in range(SUBSCRIBERS)]
    for client in pusher:
        say(client, {"event": "pusher:subscribe", "data": {"channel": "c"}})
    for client in channels:
        say(client, {"action": "subscribe", "channel": "d"})
    await asyncio.sleep(0)
    ratios = []
    for _ in range(ROUNDS):
        own, other = await fan_out(server, "pusher:1:c"), await fan_out(server, "d")
        ratios.append(own / other)
        print(f"pusher {own / 1e6:6.2f} M/s   channels {other / 1e6:6.2f} M/s   ratio {own / other:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")
    alone = [join(server, number, f"presence-{number}") for number in range(JOINS)]
    print(f"presence join, alone in its channel: {time_joins(server, alone):.1f} us")
    time_joins(server, [join(server, number, "presence-r") for number in range(JOINS)])
    further = [join(server, JOINS + number, "presence-r") for number in range(20)]
    print(f"presence join beside {JOINS} members: {time_joins(server, further):.1f} us")
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
