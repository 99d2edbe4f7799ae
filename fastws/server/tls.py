"""TLS as this server speaks it: 1.2 and later, forward secret, its certificate replaced without a restart."""

from __future__ import annotations

import ssl
from typing import Final

from fastws.config import Config
from fastws.errors import ConfigError

# Of TLS 1.2 only what is forward secret and authenticated (RFC 9325 section 4.2); 1.3 has nothing else.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Tls:
    """The settings `tls_cert` and `tls_key`. `context` is what the server listens with."""

    __slots__ = ("_cert", "_key", "context")

    def __init__(self, cert: str, key: str) -> None:
        """Raises ConfigError where the pair cannot be used."""
        self._cert = cert
        self._key = key
        self.context = self._make_context()

    @classmethod
    def of(cls, config: Config) -> Tls | None:
        """TLS as the settings have it; None: plain. Raises ConfigError."""
        if config.tls_cert is None or config.tls_key is None:
            return None
        if config.proxy_protocol:
            raise ConfigError("proxy_protocol: its header comes before TLS; let the proxy speak TLS, or leave one out")
        return cls(config.tls_cert, config.tls_key)

    def reload(self) -> None:
        """Read the pair again: for connections from now on, open ones keep theirs.

        Raises ConfigError where it cannot be used; the one before then stays.
        """
        self._make_context()  # a pair that does not fit must not reach the context in use
        self.context.load_cert_chain(self._cert, self._key)

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"tls_cert, tls_key: the pair cannot be used: {error}") from None
        return context


def _no_password() -> str:
    """A key under a password would otherwise ask the terminal, and wait."""
    raise ConfigError("tls_key: the key must not be encrypted")
