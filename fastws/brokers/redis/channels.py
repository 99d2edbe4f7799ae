"""Which Redis channels carry a channel of ours, and in which form."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from fastws.brokers.envelope import DEFAULT_LIMIT_BYTES, Decoded, decode, encode
from fastws.brokers.feed_forms import JobsForm, WorkspaceForm
from fastws.config import Config
from fastws.errors import ConfigError
from fastws.vocabulary.channels import WORKSPACE_ID, workspace_channels
from fastws.vocabulary.publication import Publication

CACHED_CHANNELS: Final = 4096


class Form(Protocol):
    """How publications are written on a Redis channel. `name` is the label of what is rejected there."""

    @property
    def name(self) -> str: ...

    def encode(self, publication: Publication, node: str, number: int) -> bytes:
        """Raises Unencodable."""
        ...

    def decode(self, payload: bytes, channel: str) -> Decoded:
        """Raises BadRequest."""
        ...


class EnvelopeForm:
    """Our envelope, or the plain object of a publisher without our package."""

    name = "channels"

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    def encode(self, publication: Publication, node: str, number: int) -> bytes:
        return encode(publication, node, number)

    def decode(self, payload: bytes, channel: str) -> Decoded:
        return decode(payload, channel, self._limit_bytes)


class RedisChannel(NamedTuple):
    """One Redis channel of a channel of ours."""

    name: bytes
    form: Form


class RedisNames:
    """From channels to Redis channels, by the settings.

    Every channel is heard at `{redis_prefix}channel:{channel}`. The jobs feed and the workspaces have, besides, the
    Redis channel of that very name, where backends that know nothing of fastws publish; ours go there too.
    """

    def __init__(self, config: Config) -> None:
        if WORKSPACE_ID not in config.workspace_channel:
            raise ConfigError(f"workspace_channel: must contain {WORKSPACE_ID}: workspace:{WORKSPACE_ID}")
        limit_bytes = max(DEFAULT_LIMIT_BYTES, 4 * config.max_message_bytes)
        self._prefix = config.redis_prefix.encode()
        self._jobs_channel = config.jobs_channel
        self.workspaces = workspace_channels(config.workspace_channel)
        self._envelope = EnvelopeForm(limit_bytes)
        self._jobs_form = JobsForm(limit_bytes)
        self._workspace_form = WorkspaceForm(limit_bytes)
        # Asked for every publication: 0.1 µs instead of 1.4.
        self.redis_channels = lru_cache(CACHED_CHANNELS)(self._redis_channels)

    def _redis_channels(self, channel: str) -> tuple[RedisChannel, ...]:
        """Where `channel` is heard; it is published at the last of them."""
        raw = channel.encode("utf-8", "surrogatepass")
        ours = RedisChannel(b"%bchannel:%b" % (self._prefix, raw), self._envelope)
        if channel == self._jobs_channel:
            return ours, RedisChannel(raw, self._jobs_form)
        if self.workspaces.fullmatch(channel):
            return ours, RedisChannel(raw, self._workspace_form)
        return (ours,)

    def service(self, *words: str) -> bytes:
        """The name of a channel or key of our own: `fastws:node:abc`."""
        return self._prefix + ":".join(words).encode("utf-8", "surrogatepass")
