"""Session tokens and relay tokens: golden vectors, and what a lax reader would take."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.server.tokens import (
    BadToken,
    base64url,
    from_base64url,
    mint_jwt,
    mint_session,
    read_jwt,
    read_session,
    signature,
)

from .test_origin import golden

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key")
NOW = 1_700_000_000
SECRET = "a secret of these tests"


def signed(secret, *parts):
    """Parts in base64url (text stays as it is) with a signature that holds."""
    body = ".".join(part if isinstance(part, str) else base64url(part) for part in parts)
    return f"{body}.{base64url(signature(secret, body))}"


def why(read, *arguments):
    with pytest.raises(BadToken) as caught:
        read(*arguments)
    return caught.value.reason


# Golden vectors -------------------------------------------------------------------------------------------------------


def test_golden_session_tokens():
    cases = golden("auth-tokens.json")["sessionTokens"]["vectors"]
    assert len(cases) >= 25
    for case in cases:
        if case.get("expectError"):
            why(read_session, case["secret"], case["token"], case["nowMs"])
            continue
        claims = read_session(case["secret"], case["token"], case["nowMs"])
        assert (claims.sid, claims.exp) == (case["sid"], case["exp"]), case["name"]


def test_golden_relay_tokens():
    cases = golden("auth-tokens.json")["jwtTokens"]["vectors"]
    assert len(cases) >= 44
    for case in cases:
        if case.get("expectError"):
            why(read_jwt, case["secret"], case["token"], case["nowSec"])
            continue
        claims = read_jwt(case["secret"], case["token"], case["nowSec"])
        for name in ("sid", "exp", "iat", "origin", "aud", "iss"):
            assert getattr(claims, name) == case.get(name), (case["name"], name)


@pytest.mark.parametrize("version", ["aero-vectors-v1.json", "aero-vectors-v2.json"])
def test_golden_tokens_are_minted_byte_for_byte(version):
    vectors = golden(version)
    known = vectors["aero_session"]
    exp = known["nowMs"] // 1000 + known["ttlSeconds"]
    valid = known["tokens"]["valid"]
    assert mint_session(known["secret"], valid["claims"]["sid"], exp) == valid["token"]
    assert why(read_session, known["secret"], known["tokens"]["expired"]["token"], known["nowMs"]) == "expired"
    assert why(read_session, known["secret"], known["tokens"]["badSignature"]["token"], known["nowMs"]) == "signature"
    known = vectors["aero-udp-relay-jwt-hs256"]
    claims = known["tokens"]["valid"]["claims"]
    more = {name: claims[name] for name in ("origin", "aud", "iss")}
    minted = mint_jwt(known["secret"], claims["sid"], known["nowUnix"], known["ttlSeconds"], **more)
    assert minted == known["tokens"]["valid"]["token"]
    assert why(read_jwt, known["secret"], known["tokens"]["expired"]["token"], known["nowUnix"]) == "expired"
    assert why(read_jwt, known["secret"], known["tokens"]["badSignature"]["token"], known["nowUnix"]) == "signature"


# Our own --------------------------------------------------------------------------------------------------------------


def test_what_is_minted_is_read():
    token = mint_session(SECRET, "somebody", NOW + 60)
    assert json.loads(from_base64url(token.partition(".")[0])) == {"v": 1, "sid": "somebody", "exp": NOW + 60}
    assert from_base64url(token.partition(".")[0]).startswith(b'{"v":1,"sid":"somebody","exp":')
    assert read_session(SECRET, token, NOW * 1000).sid == "somebody"
    assert read_session(SECRET, token, (NOW + 60) * 1000 - 1).exp == NOW + 60
    assert why(read_session, SECRET, token, (NOW + 60) * 1000) == "expired"
    assert why(read_session, "another", token, NOW * 1000) == "signature"
    token = mint_jwt(SECRET, "somebody", NOW, 300)
    head, payload, _ = map(from_base64url, token.split("."))
    assert head == b'{"alg":"HS256","typ":"JWT"}'
    assert payload == b'{"iat":%d,"exp":%d,"sid":"somebody"}' % (NOW, NOW + 300)
    assert read_jwt(SECRET, token, NOW + 299).sid == "somebody"
    assert why(read_jwt, SECRET, token, NOW + 300) == "expired"
    assert jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False})["sid"] == "somebody"


@given(st.binary(min_size=1, max_size=80))
def test_only_the_canonical_spelling_is_read(raw):
    text = base64url(raw)
    assert from_base64url(text) == raw
    others = {text + "=", text + "A=", " " + text, text + "\n", base64.b64encode(raw).decode()} - {text}
    if len(raw) % 3:
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        others |= {text[:-1] + last[last.index(text[-1]) ^ 1]}  # the unused bits are not zero
    for other in others:
        with pytest.raises(BadToken):
            from_base64url(other)


def test_a_cookie_with_trailing_bits_opens_nothing():
    """Lax decoders take these for the same bytes."""
    token = mint_session(SECRET, "somebody", NOW + 60)
    payload, _, sign = token.partition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelled = sign[:-1] + alphabet[alphabet.index(sign[-1]) | 1]
    assert spelled != sign and base64.urlsafe_b64decode(spelled + "=") == base64.urlsafe_b64decode(sign + "=")
    assert why(read_session, SECRET, f"{payload}.{spelled}", NOW * 1000) == "malformed"
    for other in (f"{token}=", f" {token}", f"{token} ", f"{payload}.{sign}.", f"{payload}.{sign}A", f"{token}\0"):
        assert why(read_session, SECRET, other, NOW * 1000) == "malformed", other


@pytest.mark.parametrize(
    "payload, reason",
    [
        (b'{"v":1,"sid":"s","exp":NaN}', "malformed"),
        (b'{"v":1,"sid":"s","exp":Infinity}', "malformed"),
        (b'{"v":1,"sid":"s","exp":1e999}', "claims"),
        (b'{"v":1,"sid":"s","exp":true}', "claims"),
        (b'{"v":true,"sid":"s","exp":1e12}', "claims"),
        (b'{"v":1,"sid":["s"],"exp":1e12}', "claims"),
        (b'{"v":1,"sid":"\xff","exp":1e12}', "malformed"),
        (b'{"v":1,"sid":"s","exp":1e12}{}', "malformed"),
        (b"[" * 12_000, "malformed"),
        (b'{"v":1,"sid":"s","exp":' + b"9" * 9000 + b"}", "malformed"),
    ],
)
def test_a_signature_alone_is_not_enough(payload, reason):
    assert why(read_session, SECRET, signed(SECRET, payload), NOW * 1000) == reason


def test_an_expiry_may_be_any_finite_number():
    token = signed(SECRET, b'{"v":1.0,"sid":"s","exp":%d.5}' % NOW)
    assert read_session(SECRET, token, NOW * 1000 + 499).exp == NOW + 0.5
    assert why(read_session, SECRET, token, NOW * 1000 + 500) == "expired"


HEAD = b'{"alg":"HS256","typ":"JWT"}'
GOOD = b'{"iat":%d,"exp":%d,"sid":"s"}' % (NOW, NOW + 60)


@pytest.mark.parametrize(
    "head, payload, reason",
    [
        (b'{"alg":"none"}', GOOD, "claims"),
        (b'{"alg":"None","typ":"JWT"}', GOOD, "claims"),
        (b'{"alg":"hs256"}', GOOD, "claims"),
        (b'{"alg":"HS512"}', GOOD, "claims"),
        (b'{"alg":["HS256"]}', GOOD, "claims"),
        (b'{"typ":"JWT"}', GOOD, "claims"),
        (b'{"alg":"HS256","typ":null}', GOOD, "claims"),
        (b'{"alg":"HS256","b64":false,"crit":["b64"]}', GOOD, "malformed"),
        (HEAD, b'{"iat":1,"exp":99999999999,"sid":""}', "claims"),
        (HEAD, b'{"iat":true,"exp":99999999999,"sid":"s"}', "claims"),
        (HEAD, b'{"iat":1,"exp":99999999999.0,"sid":"s"}', "claims"),
        (HEAD, b'{"iat":1,"exp":1,"sid":5}', "claims"),  # types are told before the clock
        (HEAD, b'{"iat":1,"exp":99999999999,"sid":"s","nbf":1.0}', "claims"),
        (HEAD, b'{"iat":1,"exp":99999999999,"sid":"s","nbf":99999999998}', "not-yet-valid"),
        (HEAD, b'{"iat":1,"exp":1,"sid":"s","nbf":99999999998}', "expired"),
        (HEAD, b'{"iat":1,"exp":99999999999,"sid":"s","aud":["a"]}', "claims"),
        (HEAD, b'{"iat":1,"exp":99999999999,"sid":"s","iss":null}', "claims"),
        (HEAD, b'{"iat":1,"exp":99999999999,"sid":"s"}{}', "malformed"),
        (b"[]", GOOD, "malformed"),
        (HEAD, b"null", "malformed"),
        (b'{"alg":"HS256","x":' + b"[" * 3000 + b"]" * 3000 + b"}", GOOD, "malformed"),
    ],
)
def test_jwts_that_a_lax_reader_takes(head, payload, reason):
    assert why(read_jwt, SECRET, signed(SECRET, head, payload), NOW) == reason


def test_jwts_of_the_usual_attacks():
    good = mint_jwt(SECRET, "s", NOW, 60)
    head, payload, sign = good.split(".")
    none = base64url(b'{"alg":"none"}')
    assert why(read_jwt, SECRET, f"{none}.{payload}.", NOW) == "malformed"  # no signature
    assert why(read_jwt, SECRET, f"{none}.{payload}.{sign}", NOW) == "signature"
    assert why(read_jwt, SECRET, f"{head}.{payload}.{'A' * 43}", NOW) == "signature"
    assert why(read_jwt, SECRET, f"{head}.{payload}={'.'}{sign}", NOW) == "malformed"
    assert why(read_jwt, SECRET, f"{good}.{sign}", NOW) == "malformed"
    wide = hmac.digest(SECRET.encode(), f"{head}.{payload}".encode(), hashlib.sha512)
    assert why(read_jwt, SECRET, f"{head}.{payload}.{base64url(wide)}", NOW) == "malformed"
    assert (
        why(read_jwt, SECRET, signed(SECRET, b'{"alg":"HS256"}', b'{"sid":"%s"}' % (b"x" * 13_000)), NOW) == "malformed"
    )
    assert why(read_jwt, SECRET, signed(SECRET, b'{"alg":"HS256","x":"%s"}' % (b"x" * 4000), GOOD), NOW) == "malformed"


@given(st.text(max_size=200))
def test_any_text_is_judged_and_nothing_else_happens(text):
    for read, now in ((read_session, NOW * 1000), (read_jwt, NOW)):
        with pytest.raises(BadToken):
            read(SECRET, text, now)
