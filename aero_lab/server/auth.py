"""Who may come in: the rule for credentials, and what one request's are worth.

=====================  ==========================================================================
mode                   lets in
=====================  ==========================================================================
``none``               everybody
``token``              whoever has the token
``session``            whoever has a session cookie
``jwt``                whoever has a relay token (HS256)
``cookie_or_jwt``      either
``session_or_token``   either
``session_and_token``  whoever has both
=====================  ==========================================================================

Tokens are compared in constant time, and no part of the program prints one but the URL that is shown when it was made
here.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from time import time_ns
from typing import Literal

from ..bounds import SERVER_TOKEN_BYTES
from ..errors import UsageError
from .credentials import Credentials
from .origin import BadOrigin, normalize_origin
from .tokens import BadToken, JwtClaims, read_jwt, read_session

Mode = Literal["none", "token", "session", "jwt", "cookie_or_jwt", "session_or_token", "session_and_token"]
MODES: dict[str, Mode] = {
    "none": "none",
    "token": "token",
    "api_key": "token",
    "session": "session",
    "cookie": "session",
    "jwt": "jwt",
    "cookie_or_jwt": "cookie_or_jwt",
    "session_or_token": "session_or_token",
    "cookie_or_api_key": "session_or_token",
    "session_and_token": "session_and_token",
    "cookie_and_api_key": "session_and_token",
}
"""Names that settings may use, and the mode each means."""
Verdict = Literal["missing_credentials", "invalid_api_key", "invalid_cookie", "invalid_jwt", "jwt_origin_mismatch"]
TEXTS = {
    "token": "invalid token",
    "session": "missing or expired session",
    "jwt": "invalid jwt",
    "cookie_or_jwt": "missing or invalid auth",
    "session_or_token": "missing or invalid auth",
    "session_and_token": "missing or invalid auth",
}
"""What a refusal says, by mode."""


@dataclass(frozen=True)
class Identity:
    """Who is let in."""

    how: Literal["none", "token", "session", "jwt"]
    sid: str | None = None
    """Of the session; a token alone has none."""
    claims: JwtClaims | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Denied:
    """Why somebody is not."""

    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Auth:
    """The rule in force.

    ``audience`` and ``issuer`` must be a JWT's ``aud`` and ``iss`` where they are set. ``binds_origin``: its ``origin``
    claim must be that of the request; ``open``: a request without Origin is not refused for that later.
    """

    mode: Mode
    token: str = field(default="", repr=False)
    minted: bool = False
    """The token was made by this process, so somebody has to be told."""
    session_secret: str = field(default="", repr=False)
    jwt_secret: str = field(default="", repr=False)
    audience: str | None = None
    issuer: str | None = None
    binds_origin: bool = True
    open: bool = False

    @property
    def takes_cookies(self) -> bool:
        """Whether a session cookie alone opens something."""
        return self.mode in ("none", "session", "cookie_or_jwt", "session_or_token")

    def check(self, given: Credentials, now_ns: int | None = None) -> Identity | Denied:
        """Who comes with these credentials; ``now_ns`` is the wall clock's."""
        now = time_ns() if now_ns is None else now_ns
        match self.mode:
            case "none":
                return self._anybody(given, now)
            case "token":
                return self.check_token(given)
            case "session":
                return self.check_session(given, now)
            case "jwt":
                return self.check_jwt(given, now)
            case "cookie_or_jwt":
                return self._either(self.check_session(given, now), self.check_jwt, given, now)
            case "session_or_token":
                return self._either(self.check_session(given, now), lambda g, _: self.check_token(g), given, now)
            case "session_and_token":
                session = self.check_session(given, now)
                token = self.check_token(given) if isinstance(session, Identity) else session
                return token if isinstance(token, Denied) else session

    def check_token(self, given: Credentials) -> Identity | Denied:
        """The token alone."""
        token = given.token()
        if token is None:
            return self._denied("missing_credentials")
        return Identity("token") if self.is_token(token) else self._denied("invalid_api_key")

    def is_token(self, token: str) -> bool:
        """Whether this is the token."""
        return bool(self.token) and hmac.compare_digest(
            token.encode(errors="surrogateescape"), self.token.encode(errors="surrogateescape")
        )

    def check_session(self, given: Credentials, now_ns: int) -> Identity | Denied:
        """The session cookie alone."""
        cookie = given.cookie
        if cookie is None:
            return self._denied("missing_credentials")
        try:
            return Identity("session", read_session(self.session_secret, cookie, now_ns // 1_000_000).sid)
        except BadToken:
            return self._denied("invalid_cookie")

    def check_jwt(self, given: Credentials, now_ns: int) -> Identity | Denied:
        """The first JWT that holds."""
        denied = self._denied("missing_credentials")
        for token in given.jwts():
            try:
                claims = read_jwt(self.jwt_secret, token, now_ns // 1_000_000_000)
            except BadToken:
                denied = self._denied("invalid_jwt")
                continue
            denied = self._claims(claims, given)
            if denied is None:
                return Identity("jwt", claims.sid, claims)
        return denied

    def _claims(self, claims: JwtClaims, given: Credentials) -> Denied | None:
        if (self.audience and claims.aud != self.audience) or (self.issuer and claims.iss != self.issuer):
            return self._denied("invalid_jwt")
        if claims.origin is None or not self.binds_origin:
            return None
        try:
            bound = normalize_origin(claims.origin)
        except BadOrigin:
            return self._denied("invalid_jwt")
        origins = given.headers.getall("Origin", [])
        if not origins:
            return self._denied("jwt_origin_mismatch") if self.open else None
        try:
            return None if normalize_origin(origins[0]) == bound else self._denied("jwt_origin_mismatch")
        except BadOrigin:
            return self._denied("jwt_origin_mismatch")

    def _anybody(self, given: Credentials, now: int) -> Identity:
        """Nobody is turned away; a session that holds still says who it is."""
        session = self.check_session(given, now) if self.session_secret else None
        return Identity("none", session.sid if isinstance(session, Identity) else None)

    def _either(self, session: Identity | Denied, other, given: Credentials, now: int) -> Identity | Denied:
        if isinstance(session, Identity):
            return session
        found = other(given, now)
        if isinstance(found, Identity) or found.verdict != "missing_credentials":
            return found
        return session

    def _denied(self, verdict: Verdict) -> Denied:
        return Denied(verdict, TEXTS.get(self.mode, "missing or invalid auth"))


def choose_auth(
    mode: str | None,
    token: str | None,
    session_secret: str | None,
    open_and_insecure: bool,
    jwt_secret: str | None = None,
    *,
    variable: str = "AERO_L2_AUTH_MODE",
    **more: object,
) -> Auth:
    """The rule that the settings ask for; raises :class:`UsageError` for one that cannot be.

    Without any credential a token is made: a proxy is never open because somebody forgot to close it. Without a
    configured secret sessions hold as long as this process.
    """
    wanted = (mode or "").strip().lower()
    if not wanted:
        if session_secret:
            wanted = "session_or_token"
        else:
            wanted = "none" if open_and_insecure and not token else "token"
    if wanted not in MODES:
        raise UsageError(f"{variable} {wanted!r} does not exist; there is {', '.join(MODES)}")
    chosen = MODES[wanted]
    if chosen in ("jwt", "cookie_or_jwt") and not jwt_secret:
        raise UsageError(f"{variable} {wanted!r} needs AERO_L2_JWT_SECRET")
    minted = chosen in ("token", "session_and_token") and not token
    return Auth(
        chosen,
        token or (secrets.token_urlsafe(SERVER_TOKEN_BYTES) if minted else ""),
        minted,
        session_secret or secrets.token_urlsafe(SERVER_TOKEN_BYTES),
        jwt_secret or "",
        **more,  # type: ignore[arg-type]
    )
