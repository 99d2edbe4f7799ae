"""The last metrics of each workspace, kept in Redis for a day."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from fastws.brokers.last_metrics import encoded_metrics
from fastws.brokers.redis.channels import RedisNames
from fastws.brokers.redis.wire.commander import RedisCommander
from fastws.brokers.redis.wire.resp import pack
from fastws.vocabulary.publication import Encoded, Publication

KEPT_SECONDS: Final = 86_400
_CODECS: Final = {b"j": "json", b"m": "msgpack"}


class RedisMetrics:
    """One key per workspace and metric type, on the node of the channel.

    Its value is the first letter of the codec and the encoded data.
    """

    def __init__(self, commander_of: Callable[[str], RedisCommander], names: RedisNames) -> None:
        self._commander_of = commander_of
        self._names = names

    def note(self, publication: Publication) -> None:
        """Store the data of a `metrics_update`. Other publications are ignored."""
        kept = encoded_metrics(publication)
        if kept is None:
            return
        metric_type, body = kept
        value = body.codec[:1].encode() + body.body
        key = self._key(publication.channel, metric_type)
        commander = self._commander_of(publication.channel)
        # A failure is only logged: the next update replaces this one anyway.
        commander.send(pack(b"SET", key, value, b"EX", KEPT_SECONDS), partial(commander.log_refusal, "SET"))

    def find(self, channel: str, metric_type: str, answer: Callable[[object], None]) -> None:
        """Call `answer` with the data of the last update, `{}` if there is none or Redis does not answer in 2 s."""
        commander = self._commander_of(channel)

        def answered(reply: object) -> None:
            commander.log_refusal("GET", reply)
            codec = _CODECS.get(reply[:1]) if isinstance(reply, bytes) else None
            answer({} if codec is None or not isinstance(reply, bytes) else Encoded(codec, reply[1:]))

        commander.send(pack(b"GET", self._key(channel, metric_type)), answered)

    def _key(self, channel: str, metric_type: str) -> bytes:
        """`fastws:metrics:<channel>:<type>`, in a Redis Cluster `fastws:{<channel>}:metrics:<type>`.

        Colons of the type are escaped, so that each pair has its own key.
        """
        escaped = metric_type.replace("%", "%25").replace(":", "%3A")
        if self._names.is_cluster:
            return self._names.of_channel(channel, f"metrics:{escaped}")
        return self._names.service("metrics", channel, escaped)
