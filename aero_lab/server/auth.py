"""Who may open a tunnel: everybody, or whoever has the token.

A token comes as ``?token=`` (or ``?apiKey=``) or as the subprotocol ``aero-l2-token.<token>``, in this order; the first
that is *present* counts, so a wrong one in the query hides a right one behind it. It is compared in constant time, and
no part of the program prints it but the URL that is shown when it was made here.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from ..bounds import SERVER_TOKEN_BYTES
from ..errors import UsageError

TOKEN_PREFIX = "aero-l2-token."
MODES = {"none": "none", "token": "token", "api_key": "token"}
OTHER_MODES = frozenset(
    "session cookie jwt cookie_or_jwt session_or_token cookie_or_api_key session_and_token cookie_and_api_key".split()
)
Verdict = Literal["missing_credentials", "invalid_api_key"]


def query_token(target: str) -> str | None:
    """The token in the query of a request target: ``token``, then ``apiKey``; the first of each name, empty is none."""
    query = target.partition("?")[2].partition("#")[0]
    first: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        first.setdefault(unquote(name), unquote(value))
    return first.get("token") or first.get("apiKey") or None


def subprotocol_token(protocols: Sequence[str]) -> str | None:
    """The token in the offered subprotocols."""
    for protocol in protocols:
        if protocol.startswith(TOKEN_PREFIX) and len(protocol) > len(TOKEN_PREFIX):
            return protocol[len(TOKEN_PREFIX) :]
    return None


@dataclass(frozen=True)
class Auth:
    """The rule in force."""

    mode: Literal["none", "token"]
    token: str = field(default="", repr=False)
    minted: bool = False
    """The token was made by this process, so somebody has to be told."""

    def check(self, target: str, protocols: Sequence[str]) -> Verdict | None:
        """None when the request may go on, else what is wrong with its credentials."""
        if self.mode == "none":
            return None
        given = query_token(target) or subprotocol_token(protocols)
        if given is None:
            return "missing_credentials"
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), self.token.encode()):
            return "invalid_api_key"
        return None


def choose_auth(mode: str | None, token: str | None, session_secret: str | None, open_and_insecure: bool) -> Auth:
    """The rule that the settings ask for; raises :class:`UsageError` for one that this version does not have.

    Without any credential a token is made: a proxy is never open because somebody forgot to close it.
    """
    wanted = (mode or "").strip().lower()
    if not wanted:
        if session_secret:
            raise UsageError(
                "a session secret is set and AERO_L2_AUTH_MODE is not: session cookies are not supported yet; "
                "set AERO_L2_AUTH_MODE to none or token"
            )
        wanted = "none" if open_and_insecure and not token else "token"
    if wanted not in MODES:
        what = "is not supported yet" if wanted in OTHER_MODES else "does not exist"
        raise UsageError(f"AERO_L2_AUTH_MODE {wanted!r} {what}; there is none and token")
    if MODES[wanted] == "none":
        return Auth("none")
    if token:
        return Auth("token", token)
    return Auth("token", secrets.token_urlsafe(SERVER_TOKEN_BYTES), minted=True)
