"""Where credentials stand in a request. What they are worth is :mod:`.auth`'s to say.

==============  ==================================================================================================
family          carriers, in the order in which they are looked at
==============  ==================================================================================================
tunnel, token   query (``token``, then ``apiKey``), then the subprotocol ``aero-l2-token.<token>``: the first present
tunnel, jwt     ``Authorization: Bearer``, query, subprotocol: the first that verifies
gateway         as the tunnel; a token may also stand in ``X-API-Key`` or ``Authorization``, before the query
relay           headers (``X-API-Key`` and ``Authorization``), then the query, then the first message
everywhere      the cookie ``aero_session``
==============  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from ..bounds import COOKIE_HEADER, COOKIE_VALUE
from .forwarded import Headers

COOKIE = "aero_session"
TOKEN_PREFIX = "aero-l2-token."
Family = Literal["open", "tunnel", "gateway", "relay"]


def first_values(target: str) -> dict[str, str]:
    """The query of a request target: the first value of each name, percent-decoded; ``+`` stays."""
    query = target.partition("?")[2].partition("#")[0]
    first: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        first.setdefault(unquote(name), unquote(value))
    return first


def query_token(target: str) -> str | None:
    """The token in the query of a request target: ``token``, then ``apiKey``; the first of each name, empty is none."""
    first = first_values(target)
    return first.get("token") or first.get("apiKey") or None


def subprotocol_token(protocols: Sequence[str]) -> str | None:
    """The token in the offered subprotocols."""
    for protocol in protocols:
        if protocol.startswith(TOKEN_PREFIX) and len(protocol) > len(TOKEN_PREFIX):
            return protocol[len(TOKEN_PREFIX) :]
    return None


def authorization(headers: Headers, *schemes: str) -> str | None:
    """The credential of an ``Authorization`` header that has one of the schemes and exactly one credential."""
    for line in headers.getall("Authorization", [])[:1]:
        words = line.split()
        if len(words) == 2 and words[0].lower() in schemes:
            return words[1]
    return None


def session_cookie(headers: Headers) -> str | None:
    """The first ``aero_session`` over all Cookie headers, even if it is empty; None: there is none.

    A Cookie header that is too long counts as a cookie that opens nothing.
    """
    for line in headers.getall("Cookie", []):
        if len(line) > COOKIE_HEADER:
            return ""
        for pair in line.split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals and name.strip() == COOKIE:
                value = value.strip()[:COOKIE_VALUE]
                return unquote(value, errors="replace") if "%" in value else value
    return None


@dataclass(frozen=True)
class Credentials:
    """What one request carries, read when it is asked for."""

    family: Family
    target: str
    headers: Headers
    protocols: Sequence[str] = ()

    @property
    def cookie(self) -> str | None:
        """The session cookie's value."""
        return session_cookie(self.headers)

    def token(self) -> str | None:
        """The token that counts."""
        for each in self._tokens():
            if each:
                return each
        return None

    def jwts(self) -> Iterator[str]:
        """The tokens that may be a JWT, in order."""
        if self.family == "relay":
            yield from filter(None, self._relay("jwt"))
            return
        found = (authorization(self.headers, "bearer"), query_token(self.target), subprotocol_token(self.protocols))
        yield from filter(None, found)

    def _tokens(self) -> Iterator[str | None]:
        if self.family == "relay":
            yield from self._relay("api_key")
            return
        if self.family != "tunnel":
            yield from self._key_headers("api_key")
        yield query_token(self.target)
        yield subprotocol_token(self.protocols)

    def _key_headers(self, kind: str) -> Iterator[str | None]:
        keys = (line.strip() for line in self.headers.getall("X-API-Key", [])[:1])
        bearer = authorization(self.headers, "bearer", "apikey")
        if kind == "jwt":
            yield bearer
            yield from keys
        else:
            yield from keys
            yield bearer

    def _relay(self, kind: str) -> Iterator[str | None]:
        yield from self._key_headers(kind)
        first = first_values(self.target)
        names = ("apiKey", "token") if kind == "api_key" else ("token", "apiKey")
        for name in names:
            yield first.get(name)
