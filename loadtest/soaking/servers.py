"""The servers of a soak: those that its kinds need, or the one of --url."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from soaking.kinds import needs_redis
from soaking.redis_server import RedisServer
from soaking.revoked import BROADCAST_KEY, SECRET
from soaking.server import OwnServer
from soaking.tls import Certificate
from soaking.watch import Watch

OPTIONS = ["--jwt-secret", SECRET, "--broadcast-key", BROADCAST_KEY]


class Servers:
    """`plain` serves ws://, `tls` serves wss:// on the same Redis; `other_redis` can become the primary."""

    def __init__(self, kinds: set[str], *, url: str | None, workers: int, needs_own_redis: bool) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="fastws-soak-"))
        self._limited = "rights" in kinds
        self._given_url = url
        self.plain: OwnServer | None = None
        self.tls: OwnServer | None = None
        self.other_redis: RedisServer | None = None
        self._certificate: Certificate | None = None
        if url is not None:
            return
        has_redis = needs_own_redis or needs_redis(kinds)
        self.plain = OwnServer(workers=workers, needs_redis=has_redis, limited=self._limited, options=OPTIONS)
        if "tls" in kinds:
            self._certificate = Certificate(self._folder)
            self.tls = self._another(tls=True, options=[*OPTIONS, *self._certificate.flags])
        if "role" in kinds:
            self.other_redis = RedisServer(self._folder, "other")

    @property
    def url(self) -> str:
        if self.plain is not None:
            return self.plain.url
        assert self._given_url is not None
        return self._given_url

    @property
    def tls_url(self) -> str:
        assert self.tls is not None
        return self.tls.url

    def client_context(self) -> ssl.SSLContext:
        assert self._certificate is not None
        return self._certificate.client_context()

    def own(self) -> dict[str, OwnServer]:
        """The servers started for the run, by name."""
        return {name: server for name, server in (("plain", self.plain), ("TLS", self.tls)) if server is not None}

    def watches(self) -> dict[str, Watch]:
        """One watch per server."""
        own = {name: Watch(server.url, server.pid) for name, server in self.own().items()}
        return own or {"given": Watch(self.url)}

    def start(self) -> None:
        """Raises RuntimeError."""
        for server in self.own().values():
            server.start()
        if self.other_redis is not None:
            self.other_redis.start()

    def newcomer(self) -> OwnServer:
        """Another server on the same Redis, not yet started."""
        return self._another(options=OPTIONS)

    def stop(self) -> list[str]:
        """Stop everything. Returns what went wrong, a line each."""
        wrong = []
        for name, server in reversed(self.own().items()):  # the first one owns the Redis
            if code := server.stop():
                wrong.append(f"the {name} server ended with exit code {code}")
        if self.other_redis is not None:
            self.other_redis.kill()
        return wrong

    def _another(self, *, options: list[str], tls: bool = False) -> OwnServer:
        assert self.plain is not None
        return OwnServer(redis=self.plain.redis, limited=self._limited, options=options, tls=tls)
