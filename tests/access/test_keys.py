"""Keys from JWKS documents and PEM text."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.keys import MAX_JWKS_KEYS, jwks_keys, public_key
from fastws.errors import ConfigError


def pem(private: Any) -> str:
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def test_all_kinds_of_key_are_read_and_know_what_they_serve(rsa_key: Any, ec_key: Any, ed_key: Any) -> None:
    document = {"keys": [rsa_key.jwk("a"), ec_key.jwk("b"), ed_key.jwk("c"), rsa_key.jwk()]}
    keys = jwks_keys(json.loads(json.dumps(document)))
    assert [key.kid for key in keys] == ["a", "b", "c", None]
    assert keys[0].algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    assert keys[1].algorithms == {"ES256"}
    assert keys[2].algorithms == {"EdDSA"}


def test_what_cannot_verify_a_signature_is_left_out(rsa_key: Any) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    exchange = x25519.X25519PrivateKey.generate()
    useless: list[object] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a"},
        rsa_key.jwk("enc", use="enc"),
        rsa_key.jwk("ops", key_ops=["encrypt"]),
        rsa_key.jwk("alg", alg="HS256"),
        rsa_key.jwk("alg", alg="ES256"),
        rsa_key.jwk("alg", alg=["RS256"]),
        rsa_key.jwk("n", n="!!!"),
        jwt.get_algorithm_by_name("RS256").to_jwk(weak.public_key(), as_dict=True),
        {"kty": "OKP", "crv": "X25519", "x": jwt.utils.base64url_encode(exchange.public_key().public_bytes_raw())},
        {"kty": "EC", "crv": "P-9", "x": "AA", "y": "AA"},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {},
        None,
        "RSA",
        [],
    ]
    keys = jwks_keys({"keys": [*useless, rsa_key.jwk("good", use="sig", key_ops=["verify"], alg="RS256")]})
    assert [(key.kid, key.algorithms) for key in keys] == [("good", {"RS256"})]
    for entry in useless:
        with pytest.raises(ValueError, match="not a JWKS document"):
            jwks_keys({"keys": [entry]})


@pytest.mark.parametrize("document", [None, [], {}, "keys", {"keys": None}, {"keys": []}, {"keys": {"kty": "RSA"}}])
def test_a_document_without_keys_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not a JWKS document"):
        jwks_keys(document)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["RSA", "EC", "OKP", "P-256"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "d", "alg", "use", "key_ops"]), inner)
    ),
    max_leaves=10,
)


@given(st.lists(anything, max_size=3))
def test_any_entries_are_keys_or_none(entries: list[object]) -> None:
    with pytest.raises(ValueError, match="not a JWKS document"):
        jwks_keys({"keys": entries})


def test_the_number_of_keys_is_bounded(ec_key: Any) -> None:
    assert len(jwks_keys({"keys": [ec_key.jwk(str(n)) for n in range(MAX_JWKS_KEYS + 50)]})) == MAX_JWKS_KEYS


def test_a_private_key_in_a_document_serves_as_the_public_one(rsa_key: Any) -> None:
    algorithm = jwt.get_algorithm_by_name("RS256")
    (key,) = jwks_keys({"keys": [algorithm.to_jwk(rsa_key.private, as_dict=True) | {"key_ops": ["verify"]}]})
    assert key.algorithms
    assert not hasattr(key.key, "sign")


def test_a_certificate_serves_as_its_key(rsa_key: Any) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(rsa_key.private.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(rsa_key.private, hashes.SHA256())
    )
    key = public_key(certificate.public_bytes(serialization.Encoding.PEM).decode())
    assert key.key == rsa_key.private.public_key()


@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [(ec.SECP256R1(), "ES256"), (ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512"), (ec.SECP256K1(), "ES256K")],
)
def test_each_curve_has_its_own_algorithm(curve: ec.EllipticCurve, algorithm: str) -> None:
    assert public_key(pem(ec.generate_private_key(curve))).algorithms == {algorithm}


def test_ed448_serves_eddsa() -> None:
    assert public_key(pem(ed448.Ed448PrivateKey.generate())).algorithms == {"EdDSA"}


def test_keys_that_are_no_use_are_refused_in_one_clear_line(rsa_key: Any) -> None:
    private = rsa_key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    refusals = {
        private: "must be a public key, not a private key",
        pem(rsa.generate_private_key(65537, 1024)): "2048 bits",
        pem(ec.generate_private_key(ec.SECP224R1())): "curve of RFC 7518",
        pem(dsa.generate_private_key(1024)): "must be an RSA, EC, Ed25519 or Ed448 key",
        pem(x25519.X25519PrivateKey.generate()): "must be an RSA, EC, Ed25519 or Ed448 key",
    }
    for text, says in refusals.items():
        with pytest.raises(ConfigError, match="jwt_public_key") as refused:
            public_key(text)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)
        assert "-----" not in str(refused.value)
