"""Tokens: what is good, and everything that is not."""

from __future__ import annotations

import gc
import json
import time
import warnings
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastws.access.keys import VerificationKey, jwks_keys, public_key
from fastws.access.tokens import MAX_TOKEN_LENGTH, REFUSAL, Tokens, token_from
from fastws.config import Config
from fastws.errors import BadRequest, ConfigError, Unauthorized
from tests.access.conftest import KeyPair

SECRET = "a secret of more than thirty-two bytes, for the tests"
HS = {"alg": "HS256", "typ": "JWT"}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def tokens(**settings: Any) -> Tokens:
    return Tokens(Config(jwt_secret=SECRET, **settings))


def refused(verifier: Tokens, token: str) -> None:
    """`token` is refused, in the one text that all refusals have, and quickly."""
    # What other tests have left would be collected in this time.
    gc.disable()
    try:
        begun = time.thread_time()
        with pytest.raises(Unauthorized) as error:
            verifier.verify(token)
        seconds = time.thread_time() - begun
    finally:
        gc.enable()
    assert str(error.value) == REFUSAL
    assert error.value.__cause__ is None
    assert seconds < 0.5


@pytest.mark.parametrize(
    ("claims", "settings", "cause"),
    [
        ({"exp": 1}, {}, "the token has expired"),
        ({"nbf": 4_000_000_000}, {}, "not valid yet"),
        ({"sub": 5}, {}, "`sub` must be a string"),
        ({"sub": None}, {}, "the token has no `sub`"),
        ({"channels": "news"}, {}, "a claim of the token is invalid: `channels` must be a list"),
        ({}, {"jwt_audience": "live"}, "the token has no `aud`"),
        ({"aud": "shop"}, {"jwt_audience": "live"}, "the `aud` of the token is not jwt_audience"),
        ({"iss": "shop"}, {"jwt_issuer": "live"}, "the `iss` of the token is not jwt_issuer"),
        ({}, {"jwt_algorithms": ("HS512",)}, "the `alg` of the token is not among jwt_algorithms"),
        ({}, {"jwt_secret": "another secret of more than thirty-two bytes"}, "not signed with a configured key"),
        ({}, {"jwt_secret": None}, "no JWT key is configured"),
    ],
)
def test_the_operator_learns_why_a_token_is_refused_and_the_client_does_not(
    claims: dict[str, object], settings: dict[str, object], cause: str, forge: Any
) -> None:
    verifier = Tokens(Config(**{"jwt_secret": SECRET, **settings}))  # type: ignore[arg-type] # a table of settings
    with pytest.raises(Unauthorized) as error:
        verifier.verify(forge.good(**claims))
    assert cause in error.value.cause
    assert str(error.value) == REFUSAL


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "bad", "x" * 9000])
def test_text_that_is_no_token_is_called_that(text: str) -> None:
    with pytest.raises(Unauthorized) as error:
        tokens().verify(text)
    assert error.value.cause == "it is not a JWT"


def test_an_expired_token_of_a_public_key_is_called_expired(ed_key: KeyPair, forge: Any) -> None:
    with pytest.raises(Unauthorized) as error:
        Tokens(Config(jwt_public_key=ed_key.pem)).verify(ed_key.sign(forge.claims(exp=1)))
    assert "expired" in error.value.cause


class Keyring:
    """A fixed set of JWKS keys, and the kids that were asked for."""

    def __init__(self, *jwks: dict[str, object]) -> None:
        self.keys = jwks_keys({"keys": list(jwks)})
        self.asked: list[str | None] = []

    def find(self, kid: str | None) -> list[Any]:
        self.asked.append(kid)
        return [key for key in self.keys if kid is None or key.kid == kid]


def test_a_token_says_who_somebody_is(forge: Any) -> None:
    expires = int(time.time()) + 60
    identity = tokens().verify(
        forge.good(
            exp=expires,
            iat=expires - 90,
            jti="t1",
            workspace_id="w1",
            workspaces=["w2"],
            channels=["room:*"],
            publish=[],
        )
    )
    assert identity.user == "u1"
    assert identity.workspace == "w1"
    assert identity.workspaces == {"w1", "w2"}
    assert identity.channels == ("room:*",)
    assert identity.publish == ()
    assert identity.expires_at == expires
    assert identity.issued_at == expires - 90
    assert identity.token_id == "t1"
    assert identity.claims["sub"] == "u1"


def test_claims_that_are_absent_or_null_are_absent(forge: Any) -> None:
    for token in (forge.good(), forge.token(HS, {**forge.claims(), "channels": None, "workspace_id": None})):
        identity = tokens().verify(token)
        assert identity.channels is None
        assert identity.publish is None
        assert identity.workspace is None
        assert identity.workspaces == frozenset()


def test_a_workspace_may_be_a_number(forge: Any) -> None:
    identity = tokens().verify(forge.good(workspace_id=5, workspaces=[6]))
    assert identity.workspace == "5"
    assert identity.workspaces == {"5", "6"}


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_every_hmac_algorithm_is_good_with_a_secret(algorithm: str, forge: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        token = jwt.encode(forge.claims(), SECRET, algorithm)
    assert tokens().verify(token).user == "u1"
    others = {"HS256", "HS384", "HS512"} - {algorithm}
    refused(tokens(jwt_algorithms=tuple(others)), token)


@pytest.mark.parametrize("kind", ["rsa_key", "ec_key", "ed_key"])
def test_public_keys_verify_what_their_private_halves_signed(
    kind: str, request: pytest.FixtureRequest, forge: Any, tmp_path: Path
) -> None:
    key = request.getfixturevalue(kind)
    token = key.sign(forge.claims())
    path = tmp_path / "key.pem"
    path.write_text(key.pem)
    for setting in (key.pem, key.pem.strip(), key.pem.replace("\n", "\\n"), str(path)):
        verifier = Tokens(Config(jwt_public_key=setting))
        assert verifier.verify(token).user == "u1"
        assert key.algorithm in verifier.algorithms


@pytest.mark.parametrize("name", ["none", "None", "nOnE", "NONE", "", None, 0, [], ["HS256"], "hs256", "HS256 "])
def test_no_algorithm_but_the_configured_ones_is_good(name: object, forge: Any) -> None:
    payload = forge.claims()
    refused(tokens(), forge.token({"alg": name}, payload))
    refused(tokens(), f"{forge.segment({'alg': name})}.{forge.segment(payload)}.")
    refused(tokens(), f"{forge.segment({'alg': name})}.{forge.segment(payload)}.AA")


def test_a_header_without_algorithm_is_refused(forge: Any) -> None:
    refused(tokens(), forge.token({"typ": "JWT"}, forge.claims()))
    for header in ([], "HS256", None, 5):
        refused(tokens(), forge.token(header, forge.claims()))


def test_a_public_key_never_serves_as_an_hmac_secret(rsa_key: Any, ec_key: Any, forge: Any) -> None:
    for pair in (rsa_key, ec_key):
        verifiers = [
            Tokens(Config(jwt_public_key=pair.pem)),
            Tokens(Config(), Keyring(pair.jwk("k1"))),
            Tokens(Config(jwt_public_key=pair.pem, jwt_secret=SECRET)),
        ]
        forms = [pair.pem, pair.pem.strip(), pair.pem + "\n", pair.pem.rstrip() + "\r\n", pair.openssh]
        forms.append(json.dumps(pair.jwk("k1")))
        for verifier in verifiers:
            for form in forms:
                for header in (HS, {"alg": "HS256", "kid": "k1"}, {"alg": pair.algorithm}):
                    refused(verifier, forge.token(header, forge.claims(), form.encode()))


def test_a_public_key_as_the_secret_stops_the_start(rsa_key: Any, ec_key: Any) -> None:
    for form in (rsa_key.pem, ec_key.pem, rsa_key.openssh, ec_key.openssh, " " + rsa_key.openssh):
        with pytest.raises(ConfigError, match="jwt_secret"):
            Tokens(Config(jwt_secret=form))


def test_a_token_of_another_key_of_the_same_kind_is_refused(rsa_key: Any, other_rsa_key: Any, forge: Any) -> None:
    refused(Tokens(Config(jwt_public_key=rsa_key.pem)), other_rsa_key.sign(forge.claims()))
    refused(tokens(), forge.token(HS, forge.claims(), b"another secret, of quite the same length as ours.."))


def test_an_ec_key_serves_the_algorithm_of_its_curve_only(ec_key: Any) -> None:
    assert Tokens(Config(jwt_public_key=ec_key.pem)).algorithms == {"ES256"}


@given(position=st.integers(min_value=0), letter=st.sampled_from(ALPHABET))
def test_no_other_letter_anywhere_makes_a_good_token(position: int, letter: str) -> None:
    token = GOOD
    position %= len(token)
    other = token[:position] + letter + token[position + 1 :]
    if other == token:
        assert STRICT.verify(other).user == "u1"
    else:
        # The last letter has bits that decoding drops: another letter there must not be the same token.
        refused(STRICT, other)


def test_a_truncated_signature_is_refused(forge: Any) -> None:
    token = forge.good()
    head, _, signature = token.rpartition(".")
    for length in range(len(signature)):
        refused(tokens(), f"{head}.{signature[:length]}")
    refused(tokens(), token + "A")
    refused(tokens(), token + "=")


MISSHAPEN = {
    "empty": "",
    "one part": "abc",
    "two parts": "abc.def",
    "five parts": "a.b.c.d.e",
    "bad base64": "!!!!.????.####",
    "dots": "..",
    "spaces": " a.b.c ",
    "newline": "a.b.c\n",
    "NUL": "a.b\x00.c",
    "non-ASCII": "ä.ö.ü",
    "surrogate": "a.b.\udcff",
    "full-width": "ａ.ｂ.ｃ",
    "huge": "a" * 1_048_576,
    "huge and shaped": f"{'a' * 400_000}.{'b' * 400_000}.{'c' * 200_000}",
    "quoted": '"a.b.c"',
    "undefined": "undefined",
}


@pytest.mark.parametrize("token", MISSHAPEN.values(), ids=MISSHAPEN.keys())
def test_what_is_no_token_is_refused_at_once(token: str) -> None:
    refused(tokens(), token)


def test_a_token_is_bounded_before_it_is_parsed(forge: Any) -> None:
    room = MAX_TOKEN_LENGTH - len(forge.good(x=""))
    assert tokens().verify(forge.good(x="y" * (room * 3 // 4 - 4))).user == "u1"
    refused(tokens(), forge.good(x="y" * room))


@pytest.mark.parametrize("depth", [200, 900, 2900])
def test_nesting_is_refused_or_harmless(depth: int, forge: Any) -> None:
    deep = ("[" * depth + "]" * depth).encode()
    refused(tokens(), forge.token(deep, forge.claims()))
    refused(tokens(), forge.token(HS, deep))


NOW = int(time.time())
BAD_CLAIMS: dict[str, dict[str, object]] = {
    "exp missing": {"exp": None},
    "exp long past": {"exp": 1},
    "exp past": {"exp": NOW - 31},
    "exp of digits": {"exp": str(NOW + 3600)},
    "exp text": {"exp": "tomorrow"},
    "exp 1e300": {"exp": 1e300},
    "exp nan": {"exp": float("nan")},
    "exp infinite": {"exp": float("inf")},
    "exp negative infinite": {"exp": float("-inf")},
    "exp past the year 9999": {"exp": 10**12},
    "exp of many digits": {"exp": 10**400},
    "exp true": {"exp": True},
    "exp list": {"exp": [NOW + 3600]},
    "exp object": {"exp": {}},
    "nbf in the future": {"nbf": NOW + 86_400},
    "nbf text": {"nbf": "now"},
    "nbf of digits": {"nbf": str(NOW - 60)},
    "nbf nan": {"nbf": float("nan")},
    "iat in the future": {"iat": NOW + 86_400},
    "iat text": {"iat": "now"},
    "iat of digits": {"iat": str(NOW)},
    "iat nan": {"iat": float("nan")},
    "iat true": {"iat": True},
    "sub missing": {"sub": None},
    "sub empty": {"sub": ""},
    "sub number": {"sub": 1},
    "sub true": {"sub": True},
    "sub list": {"sub": ["u1"]},
    "sub too long": {"sub": "x" * 256},
    "sub too long for a channel": {"sub": "x" * 251},
    "sub with NUL": {"sub": "u\x001"},
    "sub with a line end": {"sub": "u1\n"},
    "sub with a space before": {"sub": " u1"},
    "sub with a space after": {"sub": "u1 "},
    "sub with a line separator": {"sub": "u\u20281"},
    "sub with a lone surrogate": {"sub": "u\ud800"},
    "jti number": {"jti": 7},
    "jti empty": {"jti": ""},
    "jti long": {"jti": "x" * 256},
    "workspace_id list": {"workspace_id": ["w1"]},
    "workspace_id empty": {"workspace_id": ""},
    "workspace_id true": {"workspace_id": True},
    "workspaces text": {"workspaces": "w1"},
    "workspaces object": {"workspaces": {"w1": 1}},
    "workspaces with null": {"workspaces": ["w1", None]},
    "channels text": {"channels": "**"},
    "channels object": {"channels": {"**": 1}},
    "channels with a number": {"channels": [1]},
    "channels with an empty one": {"channels": [""]},
    "channels with NUL": {"channels": ["user:\x00"]},
    "channels with one too long": {"channels": ["x" * 256]},
    "publish text": {"publish": "**"},
    "publish false": {"publish": False},
}


@pytest.mark.parametrize("changes", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
def test_a_well_signed_token_with_a_bad_claim_is_refused(changes: dict[str, object], forge: Any) -> None:
    refused(tokens(), forge.good(**changes))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"5", b'"u1"', b"{", b"\xff\xfe", b'{"sub":"u1"} x'])
def test_a_payload_that_is_no_object_is_refused(payload: bytes, forge: Any) -> None:
    refused(tokens(), forge.token(HS, payload))


def test_times_are_taken_with_leeway(forge: Any) -> None:
    now = int(time.time())  # the module's NOW may be longer ago than the leeway
    assert tokens().verify(forge.good(exp=now - 10)).user == "u1"
    assert tokens().verify(forge.good(nbf=now + 10, iat=now + 10)).user == "u1"
    refused(tokens(jwt_leeway=0.0), forge.good(exp=now - 10))
    assert tokens().verify(forge.good(exp=now + 3600.5)).expires_at == now + 3600.5


@pytest.mark.parametrize("audience", [None, "other", "", "fast", ["other"], [], 5, {"fastws": 1}, ["fastws", 5]])
def test_another_audience_is_refused(audience: object, forge: Any) -> None:
    refused(tokens(jwt_audience="fastws"), forge.good(aud=audience))


def test_the_audience_may_be_one_of_a_list_and_does_not_matter_where_none_is_set(forge: Any) -> None:
    for audience in ("fastws", ["x", "fastws"]):
        assert tokens(jwt_audience="fastws").verify(forge.good(aud=audience)).user == "u1"
        assert tokens().verify(forge.good(aud=audience)).user == "u1"


@pytest.mark.parametrize("issuer", [None, "other", "", 5, ["us"], "us "])
def test_another_issuer_is_refused(issuer: object, forge: Any) -> None:
    refused(tokens(jwt_issuer="us"), forge.good(iss=issuer))
    assert tokens(jwt_issuer="us").verify(forge.good(iss="us")).user == "u1"


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": True},
        {"crit": "b64"},
        {"crit": None},
        {"b64": False},
        {"b64": True},
        {"kid": 5},
        {"kid": ["k"]},
        {"kid": None},
    ],
)
def test_header_extensions_are_refused(extra: dict[str, object], forge: Any) -> None:
    refused(tokens(), forge.token(HS | extra, forge.claims()))


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1 --", "x" * 5000, "/etc/passwd", "", "\x00"])
def test_a_kid_is_a_word_and_nothing_else(kid: str, rsa_key: Any, forge: Any) -> None:
    assert tokens().verify(forge.token(HS | {"kid": kid}, forge.claims())).user == "u1"
    keyring = Keyring(rsa_key.jwk("k1"))
    refused(Tokens(Config(), keyring), rsa_key.sign(forge.claims(), kid=kid))
    assert keyring.asked == [kid]


def test_keys_in_the_header_are_never_looked_at(rsa_key: Any, other_rsa_key: Any, forge: Any) -> None:
    verifier = Tokens(Config(jwt_public_key=rsa_key.pem))
    mine: dict[str, object] = {
        "jwk": other_rsa_key.jwk(),
        "jku": "http://127.0.0.1:9/keys",
        "x5u": "http://127.0.0.1:9/cert",
        "x5c": ["AAAA"],
    }
    refused(verifier, other_rsa_key.sign(forge.claims(), **mine))
    assert verifier.verify(rsa_key.sign(forge.claims(), **mine)).user == "u1"


def test_a_kid_chooses_among_the_keys_of_the_jwks(rsa_key: Any, other_rsa_key: Any, ec_key: Any, forge: Any) -> None:
    verifier = Tokens(Config(), Keyring(rsa_key.jwk("a"), other_rsa_key.jwk("b"), ec_key.jwk("c")))
    assert verifier.verify(other_rsa_key.sign(forge.claims(), kid="b")).user == "u1"
    assert verifier.verify(other_rsa_key.sign(forge.claims())).user == "u1"
    assert verifier.verify(ec_key.sign(forge.claims(), kid="c")).user == "u1"
    refused(verifier, other_rsa_key.sign(forge.claims(), kid="a"))
    refused(verifier, ec_key.sign(forge.claims(), kid="a"))


def test_a_key_with_an_algorithm_of_its_own_serves_no_other(rsa_key: Any, forge: Any) -> None:
    verifier = Tokens(Config(), Keyring(rsa_key.jwk("a", alg="RS512")))
    refused(verifier, rsa_key.sign(forge.claims(), kid="a"))
    assert verifier.verify(jwt.encode(forge.claims(), rsa_key.private, "RS512", headers={"kid": "a"})).user == "u1"


def test_a_token_of_the_secret_asks_for_no_public_key(rsa_key: Any, forge: Any) -> None:
    keyring = Keyring(rsa_key.jwk("a"))
    verifier = Tokens(Config(jwt_secret=SECRET), keyring)
    assert verifier.verify(forge.token(HS | {"kid": "unknown"}, forge.claims())).user == "u1"
    assert keyring.asked == []
    assert verifier.verify(rsa_key.sign(forge.claims(), kid="a")).user == "u1"


def test_without_any_key_every_token_is_refused(forge: Any) -> None:
    verifier = Tokens(Config())
    assert not verifier.key_configured
    refused(verifier, forge.good())
    refused(verifier, forge.token({"alg": "none"}, forge.claims()))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"jwt_secret": ""}, "jwt_secret: must not be empty"),
        ({"jwt_secret": "  "}, "jwt_secret: must not be empty"),
        ({"jwt_secret": SECRET, "jwt_algorithms": ("HS999",)}, "unknown algorithm 'HS999'"),
        ({"jwt_secret": SECRET, "jwt_algorithms": ("none",)}, "unknown algorithm 'none'"),
        ({"jwt_secret": SECRET, "jwt_algorithms": ("HS256", "RS256")}, "no key is configured for RS256"),
        ({"jwt_algorithms": ("HS256",)}, "it needs jwt_secret"),
        ({"jwt_secret": SECRET, "jwt_leeway": -1.0}, "jwt_leeway"),
        ({"jwt_secret": SECRET, "jwt_leeway": float("nan")}, "jwt_leeway"),
        ({"jwt_public_key": "/no/such/key.pem"}, "cannot read '/no/such/key.pem'"),
        ({"jwt_public_key": "/"}, "cannot read '/'"),
        (
            {"jwt_public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
            "must be a public key in PEM format",
        ),
        ({"jwt_public_key": "-----BEGIN NONSENSE-----"}, "must be a public key in PEM format"),
        ({"jwt_public_key": "\x00"}, "cannot read"),
    ],
)
def test_keys_that_are_no_use_stop_the_start_in_one_line(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused_start:
        Tokens(Config(**settings))
    assert says in str(refused_start.value)
    assert "\n" not in str(refused_start.value)


def test_a_short_secret_is_used_with_a_warning(forge: Any) -> None:
    verifier = Tokens(Config(jwt_secret="secret"))
    assert "32 bytes" in verifier.warnings[0]
    assert "secret" not in verifier.warnings[0].replace("jwt_secret", "")
    assert verifier.verify(forge.token(HS, forge.claims(), b"secret")).user == "u1"
    assert verifier.verify(verifier.sign("u2")).user == "u2"
    assert tokens().warnings == ()


def test_what_is_signed_verifies() -> None:
    now = int(time.time())
    verifier = tokens(jwt_audience="fastws", jwt_issuer="us")
    token = verifier.sign(
        "u1", workspaces=["w1", "w2"], channels=["room:*"], publish=["room:1"], ttl_seconds=60, now=now
    )
    identity = verifier.verify(token)
    assert (identity.user, identity.workspace, identity.workspaces) == ("u1", "w1", {"w1", "w2"})
    assert (identity.channels, identity.publish) == (("room:*",), ("room:1",))
    assert (identity.issued_at, identity.expires_at) == (now, now + 60)
    assert identity.token_id is not None
    bare = verifier.verify(verifier.sign("u1"))
    assert (bare.workspace, bare.channels, bare.publish) == (None, None, None)
    assert bare.token_id != identity.token_id


def test_what_would_be_refused_is_not_signed(rsa_key: Any) -> None:
    with pytest.raises(BadRequest, match="sub"):
        tokens().sign("")
    with pytest.raises(BadRequest, match=r"channels\[0\]"):
        tokens().sign("u1", channels=[""])
    with pytest.raises(ConfigError, match="jwt_secret"):
        Tokens(Config(jwt_public_key=rsa_key.pem)).sign("u1")


@pytest.mark.parametrize(
    ("authorization", "query", "subprotocols", "token"),
    [
        (None, {}, [], None),
        ("Bearer a.b.c", {}, [], "a.b.c"),
        ("bearer  a.b.c ", {}, ["fastws.json"], "a.b.c"),
        ("Bearer of.the.proxy", {"token": "a.b.c"}, ["fastws.token.other"], "a.b.c"),
        ("Bearer of.the.proxy", {}, ["fastws.token.a.b.c"], "a.b.c"),
        ("Basic eDp5", {"token": "a.b.c"}, [], "a.b.c"),
        ("Basic eDp5", {}, [], None),
        ("Bearer", {}, [], ""),
        (None, {"token": ""}, [], ""),
        (None, {"token": "q"}, ["fastws.token.p"], "q"),
        (None, {}, ["fastws.json", "fastws.token.a.b.c"], "a.b.c"),
        (None, {}, ["fastws.json", "fastws.token"], None),
        (None, {}, ["fastws.token."], ""),
        ("", {"Token": "x"}, ["FASTWS.TOKEN.x"], None),
    ],
)
def test_a_token_is_found_in_query_subprotocol_or_header_in_this_order(
    authorization: str | None, query: dict[str, str], subprotocols: list[str], token: str | None
) -> None:
    assert token_from(authorization, query, subprotocols) == token


STRICT = tokens()
GOOD = STRICT.sign("u1", ttl_seconds=3600)


@pytest.mark.parametrize("around", [" {}", "{}\n", '"{}"', "'{}'", ' "{}"\r\n', "\t{} "])
def test_white_space_and_quotes_around_a_token_do_not_count(ec_key: KeyPair, around: str) -> None:
    assert STRICT.verify(around.format(GOOD)).user == "u1"
    asymmetric = Tokens(Config(jwt_public_key=ec_key.pem))
    token = around.format(ec_key.sign({"sub": "u", "exp": NOW + 600}))
    assert asymmetric.cost(token) == 1
    assert asymmetric.verify(token).user == "u"


@pytest.mark.parametrize("broken", ["{} x", '{}"x', "{}\\n", "{}\x00", "\u00a0{}", "{0} {0}"])
def test_anything_else_around_a_token_is_refused(broken: str) -> None:
    refused(STRICT, broken.format(GOOD))


class Rotating:
    """A provider whose keys change between two looks."""

    def __init__(self, *keys: VerificationKey) -> None:
        self.keys = keys

    def find(self, kid: str | None) -> tuple[VerificationKey, ...]:
        return self.keys


def test_a_look_at_a_token_serves_the_next_verification_and_no_later_one(ec_key: KeyPair) -> None:
    source = Rotating(public_key(ec_key.pem))
    tokens = Tokens(Config(jwt_jwks_url="https://keys.example"), source)
    text = ec_key.sign({"sub": "u", "exp": NOW + 600})
    assert tokens.cost(text) == 1
    assert tokens.verify(text).user == "u"
    assert tokens.cost(text) == 1
    assert tokens.cost("another") == 0
    source.keys = ()
    assert tokens.cost(text) == 0
    with pytest.raises(Unauthorized):
        tokens.verify(text)
    source.keys = (public_key(ec_key.pem),)
    assert tokens.verify(text).user == "u"
    source.keys = ()
    with pytest.raises(Unauthorized):
        tokens.verify(text)


def test_what_a_look_refuses_costs_no_public_key(ec_key: KeyPair) -> None:
    tokens = Tokens(Config(jwt_public_key=ec_key.pem, jwt_leeway=30.0))
    good = {"sub": "u", "exp": NOW + 600}
    assert tokens.cost(ec_key.sign(good)) == 1
    for claims in ({**good, "exp": NOW - 60}, {"sub": "u"}, {**good, "exp": "9999999999"}, {**good, "exp": None}):
        text = ec_key.sign(claims)
        assert tokens.cost(text) == 0
        with pytest.raises(Unauthorized):
            tokens.verify(text)
    assert tokens.cost(ec_key.sign({**good, "exp": int(time.time()) - 5})) == 1  # within the leeway
    for headers in ({"crit": ["x"]}, {"b64": False}):
        assert tokens.cost(ec_key.sign(good, **headers)) == 0
    assert tokens.cost(jwt.encode(good, "x" * 64, "HS256")) == 0
    head, body, signature = ec_key.sign(good).split(".")
    for text in (f"{head}.{signature}.{body}", f"{body}.{head}.{signature}", f"{head}.W10.{signature}", "..", ""):
        assert tokens.cost(text) == 0
    assert Tokens(Config(jwt_secret="x" * 64)).cost(ec_key.sign(good)) == 0
