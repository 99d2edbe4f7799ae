"""Address and credentials of a Redis, from redis://, rediss:// and unix:// URLs in the format of redis-py."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from fastws.errors import ConfigError

DEFAULT_PORT: Final = 6379
SCHEMES: Final = ("redis", "rediss", "unix")
_SHAPES: Final = (
    "redis://[user:password@]host[:port][/db], rediss:// the same over TLS, "
    "unix://[user:password@]/path/to/socket[?db=N], redis+sentinel:// or redis+cluster://"
)
_ENCODE: Final = "percent-encode special characters in the password (# is %23, / is %2F, ? is %3F, @ is %40)"
# In the words of redis-py, and in those of Celery.
_CERTIFICATE_CHECKS: Final = {
    "none": ssl.CERT_NONE,
    "cert_none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "cert_optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
    "cert_required": ssl.CERT_REQUIRED,
}
_TRUTH: Final = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


@dataclass(slots=True, frozen=True)
class RedisAddress:
    """One Redis: at `path`, a Unix socket, if that is set, else at `host` and `port`. `protocol` is RESP 2 or 3.

    `str()` returns a URL without user and password, safe to log.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    protocol: int = 2
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    # Whether it is reached as a node of a Redis Cluster, and so may be one.
    is_cluster_node: bool = False

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'redis' if self.tls is None else 'rediss'}://{host}:{self.port}/{self.database}"


def parse_address(url: str, *, setting: str = "redis_url") -> RedisAddress:
    """Parse `url`. Raises ConfigError: one line that names `setting` and contains no part of a password."""
    parts, port = _split(url.strip(), setting)
    options = _options(parts, setting)
    tls = _tls_context(options, setting) if parts.scheme == "rediss" else None
    stray = sorted(name for name in options if name.startswith("ssl_")) if tls is None else []
    if stray:
        raise ConfigError(f"{setting}: {stray[0]} needs rediss://")
    path = unquote(parts.path)
    if parts.scheme == "unix" and len(path) < 2:
        raise ConfigError(f"{setting}: unix:// needs the path of a socket, for example unix:///run/redis/redis.sock")
    return RedisAddress(
        host=unquote(parts.hostname) if parts.hostname else "localhost",
        port=DEFAULT_PORT if port is None else port,
        path=path if parts.scheme == "unix" else None,
        username=options.get("username") or unquote(parts.username or "") or None,
        password=options.get("password") or (unquote(parts.password) if parts.password is not None else None),
        database=_database(parts, options, setting),
        protocol=_protocol(options, setting),
        tls=tls,
    )


def _split(url: str, setting: str) -> tuple[SplitResult, int | None]:
    """Split `url`. Refuses a password with special characters, the rest of which would be taken for host or options."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Python's own text repeats what it takes for the port, which may be part of a password.
        raise ConfigError(f"{setting}: not a valid host and port; {_ENCODE}") from None
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"{setting}: must be {_SHAPES}")
    if "#" in url or not url.isprintable():
        raise ConfigError(f"{setting}: must not contain # or control characters; {_ENCODE}")
    if "@" in parts.query or ("@" in parts.path and parts.scheme != "unix"):
        raise ConfigError(f"{setting}: must not contain @ after the host; {_ENCODE}")
    return parts, port


def _database(parts: SplitResult, options: dict[str, str], setting: str) -> int:
    text = options.get("db")
    if text is None:
        text = "" if parts.scheme == "unix" else parts.path.strip("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{setting}: the database must be a number, for example redis://host:6379/0")
    return int(text)


def _protocol(options: dict[str, str], setting: str) -> int:
    text = options.get("protocol", "2")
    if text not in ("2", "3"):
        raise ConfigError(f"{setting}: protocol must be 2 or 3")
    return int(text)


def _options(parts: SplitResult, setting: str) -> dict[str, str]:
    """Return the options in the query. The pool and retry options of redis-py are accepted and have no effect."""
    options: dict[str, str] = {}
    for name, values in parse_qs(parts.query, keep_blank_values=True).items():
        if name in _OPTIONS:
            options[name] = values[-1]
        elif name not in _WITHOUT_EFFECT:
            raise ConfigError(f"{setting}: unknown option {name!r}; the options are {', '.join(sorted(_OPTIONS))}")
        elif name in _NUMBERS:
            _check_number(name, values[-1], setting)
    return options


def _check_number(name: str, value: str, setting: str) -> None:
    """Refuse what redis-py, which reads the same URL in backends and in `fastws doctor`, would stumble over."""
    try:
        _NUMBERS[name](value)
    except ValueError:
        raise ConfigError(f"{setting}: {name} must be a number") from None


def _tls_context(options: dict[str, str], setting: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        check = _CERTIFICATE_CHECKS[options.get("ssl_cert_reqs", "required").lower()]
        # Python demands this order: host names can be checked only if certificates are.
        context.check_hostname = (
            check is ssl.CERT_REQUIRED and _TRUTH[options.get("ssl_check_hostname", "true").lower()]
        )
    except KeyError as error:
        raise ConfigError(
            f"{setting}: {error.args[0]!r} is not a valid value of a TLS option; ssl_cert_reqs is required, optional "
            "or none (or CERT_REQUIRED, CERT_OPTIONAL, CERT_NONE), ssl_check_hostname is true or false"
        ) from None
    context.verify_mode = check
    for name in ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile"):
        if options.get(name):
            try:
                _TLS_LOADERS[name](context, options)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or "cannot be used"
                raise ConfigError(f"{setting}: {name}: {reason}") from None
    return context


_TLS_LOADERS: Final[dict[str, Callable[[ssl.SSLContext, dict[str, str]], None]]] = {
    "ssl_ca_certs": lambda context, options: context.load_verify_locations(cafile=options["ssl_ca_certs"]),
    "ssl_ca_path": lambda context, options: context.load_verify_locations(capath=options["ssl_ca_path"]),
    "ssl_ca_data": lambda context, options: context.load_verify_locations(cadata=options["ssl_ca_data"]),
    "ssl_certfile": lambda context, options: context.load_cert_chain(
        options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password")
    ),
}
_OPTIONS: Final = frozenset(
    (
        *("db", "username", "password", "protocol"),
        *("ssl_cert_reqs", "ssl_check_hostname", "ssl_keyfile", "ssl_password", *_TLS_LOADERS),
    )
)
_NUMBERS: Final[dict[str, type[int] | type[float]]] = {
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "timeout": float,
    "max_connections": int,
    "health_check_interval": int,
}
_WITHOUT_EFFECT: Final = frozenset(
    (
        *_NUMBERS,
        *("socket_keepalive", "retry_on_timeout", "retry_on_error"),
        *("client_name", "decode_responses", "encoding"),
    )
)
