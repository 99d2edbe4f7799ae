"""The plan of a run: one value, sent to each of its processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fastws.bench.timestamp import TIMESTAMP_BYTES
from fastws.errors import ConfigError

MODES: Final = ("fan-out", "echo", "ingest", "idle")
FORMATS: Final = ("json", "msgpack")
_NOT_NEGATIVE: Final = {
    "rate": "--rate",
    "warm_seconds": "--warm",
    "seconds": "--duration",
    "drain_seconds": "--drain",
    "connect_seconds": "--connect-timeout",
    "connect_rate": "--connect-rate",
}


@dataclass(slots=True, frozen=True, kw_only=True)
class Plan:
    """One run. Receiver i is on channel i % channels and on urls[i % len(urls)].

    `rate` is in messages per second over all channels (open loop). 0 selects the closed loop, which keeps at most
    `window` messages in flight (echo and ingest: per connection).
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
                raise ConfigError(f"URL: must look like ws://host:port/ or wss://host/, not {url!r}")
            if not formats_in(url) <= {self.format}:
                raise ConfigError(f"URL: must not ask for another format than {self.format}, the run's: {url!r}")
        for name in ("connections", "channels", "window", "processes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name}: must be 1 or more, not {getattr(self, name)}")
        for name, option in _NOT_NEGATIVE.items():
            if getattr(self, name) < 0:
                raise ConfigError(f"{option}: must be 0 or more, not {getattr(self, name):g}")
        if self.channels > self.connections:
            words = f"must not exceed --connections ({self.connections}), or some would have no receiver"
            raise ConfigError(f"--channels: {words}")
        if self.payload_bytes < TIMESTAMP_BYTES:
            raise ConfigError(
                f"--payload: must be {TIMESTAMP_BYTES} bytes or more (the timestamp of each message), "
                f"not {self.payload_bytes}"
            )
        self._check_slow_fraction()

    def _check_slow_fraction(self) -> None:
        if not 0 <= self.slow_fraction < 1:
            raise ConfigError(f"--slow-fraction: must be at least 0 and less than 1, not {self.slow_fraction:g}")
        if not set(map(self.channel_of, range(self.connections))) <= set(map(self.channel_of, self.healthy())):
            raise ConfigError("--slow-fraction: leaves some channel without a receiver that reads")

    def channel_of(self, index: int) -> int:
        return index % self.channels

    def is_slow(self, index: int) -> bool:
        """Whether receiver `index` is slow. Slow receivers are spread evenly over the channels."""
        # Counts rounds over the channels, so that the slow receivers are not all on the same one.
        turn = index // self.channels + index % self.channels
        return int((turn + 1) * self.slow_fraction) > int(turn * self.slow_fraction)

    def healthy(self) -> Iterator[int]:
        """The receivers that read normally."""
        return (index for index in range(self.connections) if not self.is_slow(index))

    def share(self, process: int) -> range:
        """The receivers of one process."""
        return range(process, self.connections, self.processes)

    def published_to(self, channel: int, messages: int) -> int:
        """How many of the first `messages` messages go to `channel`. Message m goes to channel m % channels."""
        return (messages - channel + self.channels - 1) // self.channels if messages > channel else 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        fields = json.loads(text)
        fields["urls"] = tuple(fields["urls"])
        return cls(**fields)


def formats_in(url: str) -> set[str]:
    """The message format that the query of `url` asks the server for, if any."""
    return set(parse_qs(urlsplit(url).query).get("format", ()))
