"""Session tokens and relay tokens (JWT): how they are written, and a strict reader for both.

A token is looked at in one order, and each step must hold before the next looks: its size and its parts; base64url in
its one canonical spelling (no padding, no other alphabet, the unused bits zero), so that no second spelling of a token
exists; the signature, in constant time; only then JSON, and the types of its claims; last the clock. PyJWT reads and
writes relay tokens; it takes spellings and claims that must not pass, so this reader stands in front of it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeGuard

from ..bounds import JWT_HEADER, TOKEN_PAYLOAD
from ..errors import Malformed

_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_SIGNATURE = 43
"""Characters of 32 bytes in base64url."""


class BadToken(Malformed):
    """A token that opens nothing. ``reason``: ``"malformed"``, ``"signature"``, ``"claims"``, ``"expired"`` or
    ``"not-yet-valid"``."""

    def __init__(self, reason: Literal["malformed", "signature", "claims", "expired", "not-yet-valid"]):
        super().__init__(reason)


@dataclass(frozen=True)
class SessionClaims:
    """What a session token says."""

    sid: str
    exp: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class JwtClaims:
    """What a relay token says; times are seconds since 1970."""

    sid: str
    exp: int
    iat: int
    nbf: int | None = None
    origin: str | None = None
    aud: str | None = None
    iss: str | None = None


def base64url(raw: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The bytes of a canonical spelling; raises :class:`BadToken` for any other."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise BadToken("malformed")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(raw) != text:
        raise BadToken("malformed")
    return raw


def signature(secret: str, signed: str) -> bytes:
    """HMAC-SHA256 of the text."""
    return hmac.digest(secret.encode(errors="surrogateescape"), signed.encode(), hashlib.sha256)


# Session tokens -------------------------------------------------------------------------------------------------------


def mint_session(secret: str, sid: str, exp: int) -> str:
    """A session token."""
    payload = base64url(json.dumps({"v": 1, "sid": sid, "exp": exp}, separators=(",", ":")).encode())
    return f"{payload}.{base64url(signature(secret, payload))}"


def read_session(secret: str, token: str, now_ms: int) -> SessionClaims:
    """The claims of a session token that holds; raises :class:`BadToken`."""
    if len(token) > TOKEN_PAYLOAD + 1 + _SIGNATURE:
        raise BadToken("malformed")
    parts = _parts(token, 2)
    payload = from_base64url(parts[0])
    _check_signature(secret, parts[0], parts[1])
    claims = _json_object(payload)
    version, sid, exp = claims.get("v"), claims.get("sid"), claims.get("exp")
    if not _is_number(version) or version != 1 or not isinstance(sid, str) or not sid or not _is_number(exp):
        raise BadToken("claims")
    if not exp * 1000 > now_ms:
        raise BadToken("expired")
    return SessionClaims(sid, exp)


# Relay tokens ---------------------------------------------------------------------------------------------------------


def mint_jwt(
    secret: str,
    sid: str,
    iat: int,
    lifetime: int,
    *,
    origin: str | None = None,
    aud: str | None = None,
    iss: str | None = None,
) -> str:
    """A relay token, HS256."""
    claims: dict[str, Any] = {"iat": iat, "exp": iat + lifetime, "sid": sid}
    claims.update((name, value) for name, value in (("origin", origin), ("aud", aud), ("iss", iss)) if value)
    return _library().encode(claims, secret.encode(), algorithm="HS256", sort_headers=True)


def read_jwt(secret: str, token: str, now: int) -> JwtClaims:
    """The claims of a relay token that holds at ``now`` (seconds since 1970); raises :class:`BadToken`."""
    if len(token) > JWT_HEADER + 1 + TOKEN_PAYLOAD + 1 + _SIGNATURE:
        raise BadToken("malformed")
    parts = _parts(token, 3)
    if len(parts[0]) > JWT_HEADER or len(parts[1]) > TOKEN_PAYLOAD:
        raise BadToken("malformed")
    header, payload = from_base64url(parts[0]), from_base64url(parts[1])
    _check_signature(secret, f"{parts[0]}.{parts[1]}", parts[2])
    head = _json_object(header)
    if head.get("alg") != "HS256" or ("typ" in head and not isinstance(head["typ"], str)):
        raise BadToken("claims")
    claims = _json_object(payload)
    _confirm(secret, token)
    sid, exp, iat = claims.get("sid"), claims.get("exp"), claims.get("iat")
    if not isinstance(sid, str) or not sid or not _is_integer(exp) or not _is_integer(iat):
        raise BadToken("claims")
    if any(name in claims and not isinstance(claims[name], str) for name in ("origin", "aud", "iss")):
        raise BadToken("claims")
    nbf = None
    if "nbf" in claims:
        nbf = claims["nbf"]
        if not _is_integer(nbf):
            raise BadToken("claims")
    if now >= exp:
        raise BadToken("expired")
    if nbf is not None and now < nbf:
        raise BadToken("not-yet-valid")
    return JwtClaims(sid, exp, iat, nbf, claims.get("origin"), claims.get("aud"), claims.get("iss"))


def _confirm(secret: str, token: str) -> None:
    """The library must agree: a token that only one of two readers takes opens nothing."""
    jwt = _library()
    nothing = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False}
    try:
        jwt.decode(token, secret.encode(), algorithms=["HS256"], options={**nothing, "verify_sub": False})  # type: ignore[arg-type]
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise BadToken("malformed") from None


@cache
def _library() -> Any:
    import jwt

    # It warns about secrets shorter than a hash; whoever runs the server chose theirs.
    warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)
    return jwt


def _parts(token: str, number: int) -> list[str]:
    parts = token.split(".")
    if len(parts) != number or not all(parts):
        raise BadToken("malformed")
    return parts


def _check_signature(secret: str, signed: str, given: str) -> None:
    if len(given) != _SIGNATURE:
        raise BadToken("malformed")
    if not hmac.compare_digest(from_base64url(given), signature(secret, signed)):
        raise BadToken("signature")


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadToken("malformed") from None
    if not isinstance(value, dict):
        raise BadToken("malformed")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))
