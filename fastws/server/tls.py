"""TLS 1.2 and later with forward secrecy; the certificate can be replaced without a restart."""

from __future__ import annotations

import ssl
from typing import Final

from fastws.config import Config
from fastws.errors import ConfigError

# Of TLS 1.2 only ciphers with forward secrecy and AEAD (RFC 9325 section 4.2); TLS 1.3 has no others.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Tls:
    """The certificate and key of `tls_cert` and `tls_key`; `context` is the SSL context of the server."""

    __slots__ = ("_cert", "_key", "context")

    def __init__(self, cert: str, key: str) -> None:
        """Raises ConfigError if certificate and key cannot be loaded or do not match."""
        self._cert = cert
        self._key = key
        self.context = self._make_context()

    @classmethod
    def of(cls, config: Config) -> Tls | None:
        """Return TLS as configured, or None if it is off. Raises ConfigError."""
        if config.tls_cert is None or config.tls_key is None:
            return None
        if config.proxy_protocol:
            raise ConfigError(
                "proxy_protocol: cannot be combined with tls_cert; terminate TLS at the proxy, or unset one of them"
            )
        return cls(config.tls_cert, config.tls_key)

    def reload(self) -> None:
        """Load certificate and key again for new connections; open connections keep theirs.

        Raises ConfigError if they cannot be used, and keeps the current ones.
        """
        self._make_context()  # checks the files before the context in use is changed
        self.context.load_cert_chain(self._cert, self._key)

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        for setting, path in (("tls_cert", self._cert), ("tls_key", self._key)):
            _check_readable(setting, path)
        try:
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"tls_cert, tls_key: cannot load certificate and key: {error}") from None
        return context


def _check_readable(setting: str, path: str) -> None:
    """Raise ConfigError if a file cannot be read: OpenSSL does not say which of the two."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}") from None


def _no_password() -> str:
    """Refuse encrypted keys: OpenSSL would ask for the password on the terminal and wait. Raises ConfigError."""
    raise ConfigError("tls_key: encrypted keys are not supported; decrypt it (openssl pkey -in KEY -out NEW_KEY)")
