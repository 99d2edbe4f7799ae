"""What the doctor says of an identity provider's keys, and of an application that is asked over HTTP."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fastws.config import Config
from fastws.doctor import external_services
from fastws.doctor.external_services import check_external_services
from fastws.doctor.finding import Finding, Verdict
from tests.doctor.test_configuration import pair
from tests.name_server import NameServer


class Provider:
    """An HTTP server that gives one answer."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.status, self.body = 200, b""
        self.requests = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.requests += 1
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(provider.body)))
                self.end_headers()
                self.wfile.write(provider.body)

            def log_message(self, *_: object) -> None:
                """Be silent."""

        class Silent(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A handshake that the other side ends is what a test wants."""

        self.server = Silent(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/keys"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def says(self, body: object, status: int = 200) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture
def tls_provider(tmp_path: Path) -> Iterator[Provider]:
    """One whose certificate nobody trusts."""
    files = pair(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["tls_cert"], files["tls_key"])
    provider = Provider(context)
    yield provider
    provider.close()


def look(**settings: Any) -> Finding:
    (finding,) = check_external_services(Config(**settings))
    return finding


def jwk(key: Any, algorithm: str, **more: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if algorithm.startswith("RS") else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "alg": algorithm, "use": "sig", **more}


RSA = jwk(rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256", kid="one")
EC = jwk(ec.generate_private_key(ec.SECP256R1()), "ES256", kid="two")
WEAK = jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024), "RS256", kid="weak")
SECRET = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
FOR_ENCRYPTION = {**RSA, "use": "enc", "kid": "enc"}


def test_where_nobody_is_asked_over_the_network_there_is_nothing_to_say() -> None:
    assert list(check_external_services(Config(authorizer="json:loads", event_hook="json:loads"))) == []


def test_keys_are_named_with_their_algorithms(provider: Provider) -> None:
    provider.says({"keys": [RSA, EC, FOR_ENCRYPTION]})
    finding = look(jwt_jwks_url=f"{provider.url}?key=hidden")
    assert finding.verdict is Verdict.OK
    assert finding.state == f"{provider.url}: 2 usable keys: one (RS256), two (ES256)"
    assert provider.requests == 1


@pytest.mark.parametrize(
    ("keys", "accepted", "verdict", "words"),
    [
        ([RSA, SECRET], (), Verdict.WARN, "1 usable key: one (RS256); not usable: secret (oct)"),
        ([RSA, WEAK], (), Verdict.WARN, "not usable: weak (RSA RS256)"),
        ([RSA, EC], ("ES256",), Verdict.WARN, "not usable: one (RS256 is not among jwt_algorithms)"),
        ([RSA], ("ES256",), Verdict.FAIL, "no usable keys; not usable: one"),
        ([FOR_ENCRYPTION], (), Verdict.FAIL, "no usable keys"),
        ([{"kid": "\x1b[2J"}, 1, RSA], (), Verdict.WARN, "'\\x1b[2J' (not a key), (not an object) (not a key)"),
        ([], (), Verdict.FAIL, "no usable keys"),
    ],
)
def test_keys_that_cannot_be_used_are_named_with_why(
    provider: Provider, keys: list[Any], accepted: tuple[str, ...], verdict: Verdict, words: str
) -> None:
    provider.says({"keys": keys})
    finding = look(jwt_jwks_url=provider.url, jwt_algorithms=accepted)
    assert finding.verdict is verdict
    assert words in finding.state
    assert finding.remedy


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"<html>", 200, "the response is not JSON"),
        (b"\xff\xfe\x00", 200, "is not JSON"),
        (b"[" * 100_000, 200, "is not JSON"),
        ({"issuer": "x", "jwks_uri": "y"}, 200, "not a JWKS document, it has no list `keys`"),
        (b"", 404, "status 404"),
        (b"", 302, "status 302"),
        (b" " * 300_000, 200, "must be at most 262144 bytes"),
    ],
)
def test_an_answer_that_is_no_jwks_says_what_it_is_and_where_to_look(
    provider: Provider, body: object, status: int, words: str
) -> None:
    provider.says(body, status)
    finding = look(jwt_jwks_url=provider.url)
    assert finding.verdict is Verdict.FAIL
    assert words in finding.state
    assert "jwks_uri" in finding.remedy


@pytest.mark.parametrize("setting", ["jwt_jwks_url", "authorizer", "event_hook"])
def test_a_certificate_that_nobody_trusts_is_told_with_the_way_to_trust_it(
    tls_provider: Provider, setting: str
) -> None:
    finding = look(**{setting: tls_provider.url})
    assert finding.verdict is Verdict.FAIL
    assert "its certificate is not trusted: self-signed certificate" in finding.state
    assert "SSL_CERT_FILE" in finding.remedy
    assert tls_provider.requests == 0


@pytest.mark.parametrize("setting", ["jwt_jwks_url", "authorizer", "event_hook"])
def test_https_where_plain_http_is_spoken_is_told(provider: Provider, setting: str) -> None:
    finding = look(**{setting: provider.url.replace("http", "https")})
    assert finding.verdict is Verdict.FAIL
    assert "TLS handshake failed: " in finding.state


@pytest.mark.parametrize("setting", ["jwt_jwks_url", "authorizer", "event_hook"])
def test_nobody_there_is_told_without_what_is_secret(provider: Provider, setting: str) -> None:
    provider.close()
    finding = look(**{setting: provider.url.replace("//", "//ada:password@") + "?key=hidden"})
    assert finding.verdict is Verdict.FAIL
    assert finding.state == f"{provider.url}: Connection refused"
    assert finding.remedy


@pytest.mark.parametrize("setting", ["jwt_jwks_url", "authorizer"])
def test_one_that_does_not_answer_holds_the_doctor_up_for_a_bounded_time(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_services, "FETCH_SECONDS", 0.05)
    monkeypatch.setattr(external_services, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # https: it takes the connection and says nothing to the handshake.
        finding = look(**{setting: f"https://127.0.0.1:{silent.getsockname()[1]}/"})
    assert finding.verdict is Verdict.FAIL
    assert "no answer within 0.05 s" in finding.state


@pytest.mark.parametrize("setting", ["jwt_jwks_url", "authorizer"])
def test_a_silent_name_server_is_waited_for_a_bounded_time(
    setting: str, name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_services, "FETCH_SECONDS", 0.05)
    monkeypatch.setattr(external_services, "CONNECT_SECONDS", 0.05)
    finding = look(**{setting: "https://external_services.example/"})
    assert finding.verdict is Verdict.FAIL
    assert "no answer within 0.05 s" in finding.state


@pytest.mark.parametrize(
    ("setting", "consequence"), [("authorizer", "nobody may subscribe"), ("event_hook", "refused with 503")]
)
def test_an_application_that_can_be_reached_is_asked_nothing(
    provider: Provider, setting: str, consequence: str
) -> None:
    assert look(**{setting: provider.url}) == Finding(setting, Verdict.OK, f"{provider.url}: reachable")
    assert provider.requests == 0
    provider.close()
    assert consequence in look(**{setting: provider.url}).remedy


def test_an_application_behind_a_proxy_of_the_environment_is_pointed_out(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    finding = look(authorizer=provider.url)
    assert finding.verdict is Verdict.WARN
    assert "NO_PROXY" in finding.remedy
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert look(authorizer=provider.url).verdict is Verdict.OK
