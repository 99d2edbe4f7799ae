"""One compressed frame for all clients, or one compressor per client: run with `pytest benchmarks/test_compression.py`.

The stand-in for a server that compresses per client is wsproto's own permessage-deflate, one connection each, with and
without context takeover. A round is 20 publications to 200 clients, without the sockets, which cost all the same.
`extra_info` has bytes on the wire of a message, and bytes of memory kept for each client.
"""

from __future__ import annotations

import gc
import random
from pathlib import Path
from typing import Any

import pytest
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from fastws.codec.json_text import JSON
from fastws.dialects.channels import CHANNELS
from fastws.dialects.wire_form import Compression, DialectForm
from fastws.vocabulary.publication import Publication

CLIENTS = 200
WORDS = ("running", "completed", "node", "execution", "workspace", "alert", "threshold", "exceeded", "metrics", "queue")
_dice = random.Random(7)
# Similar, as publications of a channel are, but not equal: with context takeover a repeated message costs nothing.
PUBLICATIONS = [
    Publication(
        "execution:1",
        "metrics_update",
        {f"{WORDS[n % 10]}_{n}": [_dice.choice(WORDS), round(_dice.random() * 1000, 2)] for n in range(30)},
    )
    for _ in range(20)
]


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("level", [1, 6, 9])
def test_compressed_once_for_all(benchmark: Any, level: int) -> None:
    form = DialectForm(CHANNELS, JSON, Compression(level, 256))

    def fan_out() -> int:
        return sum(len(form.frame(publication)) for publication in PUBLICATIONS)

    benchmark.extra_info["bytes"] = benchmark(fan_out) // len(PUBLICATIONS)
    benchmark.extra_info["memory"] = 0


def test_not_compressed(benchmark: Any) -> None:
    form = DialectForm(CHANNELS, JSON)

    def fan_out() -> int:
        return sum(len(form.frame(publication)) for publication in PUBLICATIONS)

    benchmark.extra_info["bytes"] = benchmark(fan_out) // len(PUBLICATIONS)
    benchmark.extra_info["memory"] = 0


@pytest.mark.parametrize("takeover", [True, False], ids=["context_takeover", "no_context_takeover"])
def test_compressed_for_each_client(benchmark: Any, takeover: bool) -> None:
    texts = [JSON.dumps(CHANNELS.delivery(publication)).decode() for publication in PUBLICATIONS]
    before = resident_bytes()
    connections = []
    for _ in range(CLIENTS):
        extension = PerMessageDeflate(server_no_context_takeover=not takeover, client_no_context_takeover=not takeover)
        extension.accept("permessage-deflate" + ("" if takeover else "; server_no_context_takeover"))
        connection = FrameProtocol(client=False, extensions=[extension])
        connection.send_data(texts[0])
        connections.append(connection)
    benchmark.extra_info["memory"] = (resident_bytes() - before) // CLIENTS

    def fan_out() -> int:
        return sum(len(connection.send_data(text)) for text in texts for connection in connections)

    written = benchmark.pedantic(fan_out, rounds=1, iterations=1)  # a second round would send the same messages again
    benchmark.extra_info["bytes"] = written // CLIENTS // len(PUBLICATIONS)
