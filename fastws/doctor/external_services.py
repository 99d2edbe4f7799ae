"""Checks of external services: the identity provider's keys, and the application as authorizer and event hook."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

from fastws.access.keys import VerificationKey, jwks_keys
from fastws.callouts.jwks import FETCH_SECONDS, HEADERS, JwksAnswer
from fastws.callouts.loading import is_url
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn
from fastws.resolver import lookup

CONNECT_SECONDS: Final = 3.0
MAX_SHOWN: Final = 64
_CA: Final = "trust its CA (SSL_CERT_FILE=/path/to/ca.pem), or correct the host name"
_REACH: Final = "correct jwt_jwks_url, or allow access to it (proxy, firewall)"
_WHERE: Final = "set jwt_jwks_url to the `jwks_uri` in the provider's /.well-known/openid-configuration"
# The consequence if the application does not answer.
_CONSEQUENCES: Final = {
    "authorizer": "until it answers, nobody may subscribe or publish",
    "event_hook": "until it answers, all connections are refused with 503",
}


def check_external_services(config: Config) -> Iterator[Finding]:
    """Yield the findings on jwt_jwks_url, authorizer and event_hook that are URLs, each within a few seconds."""
    if config.jwt_jwks_url is not None and is_url(config.jwt_jwks_url):
        yield check_jwks(config.jwt_jwks_url, config.jwt_algorithms)
    for setting in _CONSEQUENCES:
        where = getattr(config, setting)
        if where is not None and is_url(where):
            yield check_reachable(setting, where)


def check_jwks(url: str, accepted: Sequence[str]) -> Finding:
    """Fetch the keys like the server does and report which are usable for the `accepted` algorithms (empty: all)."""
    shown = redacted_url(url)
    try:
        document = _fetch(url)
    except (TimeoutError, httpx.TimeoutException):
        return fail("jwks", f"{shown}: no answer within {FETCH_SECONDS:g} s", _REACH)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        broken = _tls_error(error)
        if broken is not None:
            return fail("jwks", f"{shown}: {_tls_reason(broken)}", _CA)
        return fail("jwks", f"{shown}: {_reason(error)}", _REACH)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return fail("jwks", f"{shown}: the response is not JSON", _WHERE)
    except ValueError as error:
        return fail("jwks", f"{shown}: {error}", _WHERE)
    return keys_finding(shown, document, accepted)


def keys_finding(shown: str, document: object, accepted: Sequence[str]) -> Finding:
    """Return the finding on the keys of a JWKS document."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return fail("jwks", f"{shown}: the response is not a JWKS document, it has no list `keys`", _WHERE)
    keys = [_read_key(entry, accepted) for entry in entries]
    usable = [key for key in keys if not key.flaw]
    # Encryption keys are not used here, and not an error.
    unusable = [key for key in keys if key.flaw and not key.is_for_encryption]
    state = f"{shown}: {_count(usable)}{_list(usable)}"
    if unusable:
        state += f"; not usable: {', '.join(f'{key.name} ({key.flaw})' for key in unusable)}"
    if not usable:
        return fail(
            "jwks", state, "all tokens of this issuer are refused: it must offer RSA (2048 bits), EC or Ed25519 keys"
        )
    if unusable:
        return warn("jwks", state, "tokens signed with these keys are refused; check jwt_algorithms and the provider")
    return ok("jwks", state)


def check_reachable(setting: str, url: str) -> Finding:
    """Connect, with a TLS handshake for https, but send no request."""
    parts = httpx.URL(url)
    shown, port = redacted_url(url), parts.port or (443 if parts.scheme == "https" else 80)
    if _is_proxied(parts):
        remedy = f"add {parts.host} to NO_PROXY if it is not behind the proxy"
        return warn(setting, f"{shown}: called through the proxy from the environment", remedy)
    try:
        _wait_for_name(parts, CONNECT_SECONDS)
        with socket.create_connection((parts.host, port), CONNECT_SECONDS) as connection:
            if parts.scheme == "https":
                httpx.create_ssl_context().wrap_socket(connection, server_hostname=parts.host).close()
    except ssl.SSLError as error:
        return fail(setting, f"{shown}: {_tls_reason(error)}", _CA)
    except OSError as error:
        reason = f"no answer within {CONNECT_SECONDS:g} s" if isinstance(error, TimeoutError) else error.strerror
        remedy = f"start the application or correct the URL; {_CONSEQUENCES[setting]}"
        return fail(setting, f"{shown}: {reason or error}", remedy)
    return ok(setting, f"{shown}: reachable")


def redacted_url(url: str) -> str:
    """Return `url` without user, password and query, which may be secret."""
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}{parts.path}"


@dataclass(slots=True, frozen=True)
class _Key:
    """A key of the document. `flaw` says why it is not usable; "" means usable."""

    name: str
    flaw: str = ""
    is_for_encryption: bool = False


def _read_key(entry: object, accepted: Sequence[str]) -> _Key:
    if not isinstance(entry, dict):
        return _Key("(not an object)", "not a key")
    name = _printable(entry.get("kid", "(no kid)"))
    try:
        (key,) = jwks_keys({"keys": [entry]})
    except ValueError:
        kind = " ".join(_printable(entry[word]) for word in ("kty", "crv", "alg") if word in entry)
        return _Key(name, kind or "not a key", is_for_encryption=entry.get("use", "sig") != "sig")
    if accepted and not key.algorithms.intersection(accepted):
        return _Key(name, f"{_algorithms(key)} is not among jwt_algorithms")
    return _Key(f"{name} ({_algorithms(key)})")


def _printable(value: object) -> str:
    """Return a value of the document, escaped so that it cannot control the terminal."""
    text = str(value)[:MAX_SHOWN]
    return text if text.isprintable() else repr(text)


def _algorithms(key: VerificationKey) -> str:
    return "/".join(sorted(key.algorithms))


def _count(keys: Sequence[_Key]) -> str:
    return f"{len(keys) or 'no'} usable key{'' if len(keys) == 1 else 's'}"


def _list(keys: Sequence[_Key]) -> str:
    return f": {', '.join(key.name for key in keys)}" if keys else ""


def _fetch(url: str) -> object:
    """Fetch the document at `url`. FETCH_SECONDS limits each step and the total time."""
    deadline = time.monotonic() + FETCH_SECONDS
    _wait_for_name(httpx.URL(url), FETCH_SECONDS)
    with (
        httpx.Client(timeout=FETCH_SECONDS, follow_redirects=False) as client,
        client.stream("GET", url, headers=HEADERS) as response,
    ):
        answer = JwksAnswer(response.status_code)
        for piece in response.iter_bytes():
            answer.take(piece)
            if time.monotonic() > deadline:
                raise TimeoutError
    return answer.document()


def _is_proxied(url: httpx.URL) -> bool:
    return bool(getproxies().get(url.scheme)) and not proxy_bypass(url.host)


def _wait_for_name(url: httpx.URL, seconds: float) -> None:
    """Raise TimeoutError where the name server is silent, which no time limit of a client's covers."""
    if url.host and not _is_proxied(url):
        # A name that is not there is said by who connects.
        lookup(url.host, url.port).exception(seconds)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error that caused `error`, if any."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _reason(error: Exception) -> str:
    """Return the operating system's error text if it caused `error`, else the text of `error`."""
    reason, cause = str(error), error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            reason = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or reason
        cause = cause.__cause__ or cause.__context__
    return reason


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return f"TLS handshake failed: {error.reason or error}"
