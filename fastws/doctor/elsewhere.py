"""Who is asked over the network: the identity provider for its keys, the application as authorizer and hook."""

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
from fastws.callouts.authorizer import is_url
from fastws.callouts.jwks import FETCH_SECONDS, HEADERS, JwksAnswer
from fastws.config import Config
from fastws.doctor.finding import Finding, fail, ok, warn

CONNECT_SECONDS: Final = 3.0
MAX_SHOWN: Final = 64
_CA: Final = "give its CA to fastws (SSL_CERT_FILE=/path/ca.pem), or correct the host's name"
_REACH: Final = "correct jwt_jwks_url, or let this machine reach it (proxy, firewall)"
_WHERE: Final = "jwt_jwks_url is what OpenID providers name `jwks_uri` in /.well-known/openid-configuration"
# What it means that the application does not answer.
_WITHOUT: Final = {
    "authorizer": "until it answers, nobody may subscribe or send",
    "event_hook": "until it answers, every upgrade is refused with 503",
}


def check_elsewhere(config: Config) -> Iterator[Finding]:
    """Findings on jwt_jwks_url, authorizer and event_hook, where they are URLs. Each takes some seconds at most."""
    if config.jwt_jwks_url is not None and is_url(config.jwt_jwks_url):
        yield check_jwks(config.jwt_jwks_url, config.jwt_algorithms)
    for setting in _WITHOUT:
        where = getattr(config, setting)
        if where is not None and is_url(where):
            yield check_reachable(setting, where)


def check_jwks(url: str, accepted: Sequence[str]) -> Finding:
    """Fetch the keys as the server does, and say which of them it can use for `accepted` (none: all) algorithms."""
    shown = shown_url(url)
    try:
        document = _fetch(url)
    except (TimeoutError, httpx.TimeoutException):
        return fail("jwks", f"{shown}: no answer within {FETCH_SECONDS:g} s", _REACH)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        broken = _tls_error(error)
        if broken is not None:
            return fail("jwks", f"{shown}: {_words(broken)}", _CA)
        return fail("jwks", f"{shown}: {_reason(error)}", _REACH)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return fail("jwks", f"{shown} answers something that is no JSON", _WHERE)
    except ValueError as error:
        return fail("jwks", f"{shown}: {error}", _WHERE)
    return keys_finding(shown, document, accepted)


def keys_finding(shown: str, document: object, accepted: Sequence[str]) -> Finding:
    """On the keys in a JWKS document."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return fail("jwks", f"{shown} is JSON, but no JWKS: it has no list of `keys`", _WHERE)
    looked = [_look(entry, accepted) for entry in entries]
    usable = [key for key in looked if not key.flaw]
    # Keys to encrypt with are nothing to us, and nothing is wrong with them.
    useless = [key for key in looked if key.flaw and not key.is_for_encryption]
    state = f"{shown}: {_count(usable)}{_list(usable)}"
    if useless:
        state += f"; cannot be used: {', '.join(f'{key.name} ({key.flaw})' for key in useless)}"
    if not usable:
        return fail(
            "jwks", state, "tokens of this issuer are all refused: RSA (2048 bits), EC or Ed25519 keys are needed"
        )
    if useless:
        return warn("jwks", state, "tokens that are signed with those are refused; see jwt_algorithms and the provider")
    return ok("jwks", state)


def check_reachable(setting: str, url: str) -> Finding:
    """Connect, and shake hands where it is https; the application itself is asked nothing."""
    parts = httpx.URL(url)
    shown, port = shown_url(url), parts.port or (443 if parts.scheme == "https" else 80)
    if getproxies().get(parts.scheme) and not proxy_bypass(parts.host):
        remedy = f"put {parts.host} into NO_PROXY if it is on this side of the proxy"
        return warn(setting, f"{shown} is asked through the proxy that the environment names", remedy)
    try:
        with socket.create_connection((parts.host, port), CONNECT_SECONDS) as plain:
            if parts.scheme == "https":
                httpx.create_ssl_context().wrap_socket(plain, server_hostname=parts.host).close()
    except ssl.SSLError as error:
        return fail(setting, f"{shown}: {_words(error)}", _CA)
    except OSError as error:
        reason = f"no answer within {CONNECT_SECONDS:g} s" if isinstance(error, TimeoutError) else error.strerror
        remedy = f"start the application, or correct the address; {_WITHOUT[setting]}"
        return fail(setting, f"{shown}: {reason or error}", remedy)
    return ok(setting, f"{shown} can be reached")


def shown_url(url: str) -> str:
    """`url` without what may be secret: user, password and query."""
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}{parts.path}"


@dataclass(slots=True, frozen=True)
class _Key:
    """A key of the document. `flaw` says why it cannot be used; "": it can."""

    name: str
    flaw: str = ""
    is_for_encryption: bool = False


def _look(entry: object, accepted: Sequence[str]) -> _Key:
    if not isinstance(entry, dict):
        return _Key("(no object)", "no key")
    name = _printable(entry.get("kid", "(no kid)"))
    try:
        (key,) = jwks_keys({"keys": [entry]})
    except ValueError:
        kind = " ".join(_printable(entry[word]) for word in ("kty", "crv", "alg") if word in entry)
        return _Key(name, kind or "no key", is_for_encryption=entry.get("use", "sig") != "sig")
    if accepted and not key.algorithms.intersection(accepted):
        return _Key(name, f"{_algorithms(key)} is not among jwt_algorithms")
    return _Key(f"{name} ({_algorithms(key)})")


def _printable(value: object) -> str:
    """A word of the document, on a terminal that it shall not steer."""
    text = str(value)[:MAX_SHOWN]
    return text if text.isprintable() else repr(text)


def _algorithms(key: VerificationKey) -> str:
    return "/".join(sorted(key.algorithms))


def _count(keys: Sequence[_Key]) -> str:
    return f"{len(keys) or 'no'} usable key{'' if len(keys) == 1 else 's'}"


def _list(keys: Sequence[_Key]) -> str:
    return f": {', '.join(key.name for key in keys)}" if keys else ""


def _fetch(url: str) -> object:
    """The document at `url`, in FETCH_SECONDS for each step and for all of them."""
    deadline = time.monotonic() + FETCH_SECONDS
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


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """The TLS error that `error` comes from, if it does."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _reason(error: Exception) -> str:
    """The system's words for why there is no connection, where they are at the bottom of it, else the client's."""
    reason, cause = str(error), error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            reason = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or reason
        cause = cause.__cause__ or cause.__context__
    return reason


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return f"no TLS: {error.reason or error}"
