"""What a run is to do: one value, sent to every process of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlsplit

from fastws.bench.stamp import STAMP_BYTES
from fastws.errors import ConfigError

MODES: Final = ("fan-out", "echo", "ingest", "idle")
FORMATS: Final = ("json", "msgpack")


@dataclass(slots=True, frozen=True, kw_only=True)
class Plan:
    """One run. Receiver i is on channel i % channels and on urls[i % len(urls)].

    `rate` is in messages per second over all channels, open loop; 0 is the closed loop, in which at most `window`
    messages are under way to everybody (echo and ingest: per connection).
    """

    urls: tuple[str, ...]
    connections: int = 1000
    channels: int = 1
    mode: str = "fan-out"
    dialect: str = "channels"
    format: str = "json"
    rate: float = 0.0
    window: int = 64
    payload_bytes: int = 128
    warm_seconds: float = 1.0
    seconds: float = 5.0
    drain_seconds: float = 5.0
    connect_seconds: float = 60.0
    connect_rate: float = 0.0
    processes: int = 1
    slow_fraction: float = 0.0
    token: str | None = None
    key: str | None = None
    reconnect: bool = False
    sources: int = 0
    insecure: bool = False

    def check(self) -> None:
        """Raises ConfigError naming the first option that cannot be used."""
        for url in self.urls:
            if urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname:
                raise ConfigError(f"URL: {url!r} is not ws://host:port/ or wss://host/")
        for name in ("connections", "channels", "window", "processes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name}: must be 1 or more")
        for name in ("rate", "warm_seconds", "seconds", "drain_seconds", "connect_rate"):
            if getattr(self, name) < 0:
                raise ConfigError(f"--{name.removesuffix('_seconds')}: must not be negative")
        if self.channels > self.connections:
            raise ConfigError("--channels: more channels than connections leaves some without a receiver")
        if self.payload_bytes < STAMP_BYTES:
            raise ConfigError(f"--payload: the stamp alone takes {STAMP_BYTES} bytes")
        if not 0 <= self.slow_fraction < 1:
            raise ConfigError("--slow-fraction: must be from 0 to below 1")
        if not set(map(self.channel_of, range(self.connections))) <= set(map(self.channel_of, self.healthy())):
            raise ConfigError("--slow-fraction: some channel would have slow receivers only")

    def channel_of(self, index: int) -> int:
        return index % self.channels

    def is_slow(self, index: int) -> bool:
        """Every k-th receiver, evenly over channels: `floor` of the fraction steps there."""
        # Counted by rounds over the channels, so that a slow receiver is not always on the same one.
        turn = index // self.channels + index % self.channels
        return int((turn + 1) * self.slow_fraction) > int(turn * self.slow_fraction)

    def healthy(self) -> Iterator[int]:
        """The receivers that read."""
        return (index for index in range(self.connections) if not self.is_slow(index))

    def share(self, process: int) -> range:
        """The receivers of one process."""
        return range(process, self.connections, self.processes)

    def published_to(self, channel: int, messages: int) -> int:
        """How many of the first `messages` messages go to `channel`: message m goes to channel m % channels."""
        return (messages - channel + self.channels - 1) // self.channels if messages > channel else 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        fields = json.loads(text)
        fields["urls"] = tuple(fields["urls"])
        return cls(**fields)
