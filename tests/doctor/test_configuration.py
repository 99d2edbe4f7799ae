"""What settings mean together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fastws.config import Config
from fastws.doctor.configuration import check_configuration
from fastws.doctor.finding import Finding, Verdict

SECRET = "a secret of at least thirty-two bytes"


def look(**settings: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_configuration(Config(**settings))}  # type: ignore[arg-type]


def pair(folder: Path, *, begins_in_days: float = -1, ends_in_days: float = 90) -> dict[str, str]:
    """A certificate and its key, as settings."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begins_in_days))
        .not_valid_after(now + timedelta(days=ends_in_days))
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_path.chmod(0o600)
    return {"tls_cert": str(cert_path), "tls_key": str(key_path)}


def test_the_defaults_need_nothing() -> None:
    assert {finding.verdict for finding in look().values()} == {Verdict.OK}


EXPOSED = ("origins", "hosts", "address limit", "metrics")


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"trusted_proxies": ("127.0.0.1",)}])
def test_an_exposed_server_with_defaults_gets_the_whole_list(settings: dict[str, object]) -> None:
    findings = look(jwt_secret=SECRET, broadcast_key=("a key of 16 bytes",), **settings)
    assert {check: findings[check].verdict for check in EXPOSED} == dict.fromkeys(EXPOSED, Verdict.WARN)
    assert "any web page" in look(allowed_origins=("https://a.example", "*"), **settings)["origins"].state


@pytest.mark.parametrize("settings", [{}, {"host": "::1"}, {"unix_socket": "/tmp/x", "host": "0.0.0.0"}])
def test_a_server_of_this_machine_does_not(settings: dict[str, object]) -> None:
    assert not set(EXPOSED) & set(look(**settings))


def test_a_server_for_the_world_with_keys_needs_nothing() -> None:
    findings = look(
        host="0.0.0.0",
        jwt_secret=SECRET,
        broadcast_key=("a key of 16 bytes",),
        trusted_proxies=("10.1.2.3",),
        allowed_origins=("https://app.example.com",),
        allowed_hosts=("live.example.com",),
        max_connections_per_ip=100,
        metrics_address="10.1.2.4:9100",
    )
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    assert "10.1.2.3" in findings["proxy headers"].state


@pytest.mark.parametrize(
    ("settings", "check", "verdict", "word"),
    [
        ({"mounts": ("/x=nonsense",)}, "settings", Verdict.FAIL, "nonsense"),
        ({"trusted_proxies": ("0.0.0.0/0",)}, "proxy headers", Verdict.WARN, "can fake client addresses"),
        ({"trusted_proxies": ("::/0",)}, "proxy headers", Verdict.WARN, "can fake client addresses"),
        ({"trusted_proxies": ("10.0.0.0/8", "fd00::/16", "unix")}, "proxy headers", Verdict.OK, "trusted from"),
        ({"max_connections_per_ip": 5}, "proxy headers", Verdict.WARN, "count as one"),
        ({"host": "0.0.0.0"}, "clients", Verdict.WARN, "401"),
        (
            {"host": "0.0.0.0", "jwt_secret": SECRET, "allow_anonymous": True},
            "clients",
            Verdict.WARN,
            "anyone who can reach the port",
        ),
        (
            {"allow_anonymous": True, "trusted_proxies": ("10.0.0.1",)},
            "clients",
            Verdict.WARN,
            "anyone who can reach the port",
        ),
        ({"trusted_proxies": ("10.0.0.1",)}, "clients", Verdict.OK, "token required"),
        ({"unix_socket": "/tmp/x"}, "clients", Verdict.OK, "token required"),
        ({"allow_anonymous": False, "jwt_secret": SECRET}, "clients", Verdict.OK, "token required"),
        ({"jwt_secret": SECRET}, "clients", Verdict.OK, "without a token only direct connections from this machine"),
        ({}, "clients", Verdict.OK, "without a token only direct connections from this machine"),
        ({"allow_anonymous": True, "jwt_secret": SECRET}, "clients", Verdict.OK, "without a token everybody"),
        ({"host": "0.0.0.0"}, "backends", Verdict.WARN, "401"),
        ({"unix_socket": "/tmp/x", "host": "0.0.0.0"}, "backends", Verdict.OK, "generates"),
    ],
)
def test_what_does_not_go_together_is_said(
    settings: dict[str, object], check: str, verdict: Verdict, word: str
) -> None:
    finding = look(**settings)[check]
    assert finding.verdict is verdict
    assert word in finding.state
    assert bool(finding.remedy) == (verdict is not Verdict.OK)


@pytest.mark.parametrize(
    ("days", "verdict"),
    [((-1, 90), Verdict.OK), ((-1, 13), Verdict.WARN), ((-2, -1), Verdict.FAIL), ((1, 90), Verdict.FAIL)],
)
def test_certificates_are_judged_by_their_dates(tmp_path: Path, days: tuple[float, float], verdict: Verdict) -> None:
    begins, ends = days
    assert look(**pair(tmp_path, begins_in_days=begins, ends_in_days=ends))["tls"].verdict is verdict


def test_a_key_that_everybody_reads_is_a_warning(tmp_path: Path) -> None:
    settings = pair(tmp_path)
    Path(settings["tls_key"]).chmod(0o644)
    finding = look(**settings)["tls"]
    assert finding.verdict is Verdict.WARN
    assert finding.remedy.startswith("chmod o-r ")


def test_a_certificate_that_is_not_there_or_none_fails(tmp_path: Path) -> None:
    settings = pair(tmp_path)
    Path(settings["tls_cert"]).write_text("nonsense")
    assert "is not a PEM certificate" in look(**settings)["tls"].state
    Path(settings["tls_cert"]).unlink()
    assert look(**settings)["tls"].verdict is Verdict.FAIL
