"""The Origin header: which web pages may open a tunnel.

An origin is brought to its one spelling, ``scheme://host[:port]``, before it is compared with anything. Whatever a
browser would not send as an Origin is refused rather than repaired.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import Malformed, UsageError
from .hosts import BadHost, parse_authority

_REFUSED = frozenset("%,{}`\\@?#")


class BadOrigin(Malformed):
    """Text that is no origin; ``str()`` says why, without repeating it."""

    def __init__(self, detail: str):
        super().__init__("origin", detail)
        self.args = (detail,)


def normalize_origin(raw: str) -> str:
    """``scheme://host[:port]`` in lower case and without a default port, or ``null``. Raises :class:`BadOrigin`."""
    text = raw.strip()
    if not text:
        raise BadOrigin("empty")
    if text == "null":
        return text
    for character in text:
        if not "\x21" <= character <= "\x7e":
            raise BadOrigin("a character outside printable ASCII")
        if character in _REFUSED:
            raise BadOrigin(f"a {character!r}")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("http", "https") or rest.startswith("/"):
        raise BadOrigin("it does not begin with http:// or https:// and a host")
    authority = rest.removesuffix("/")
    if "/" in authority:
        raise BadOrigin("a path")
    try:
        return f"{scheme}://{parse_authority(authority, scheme)}"
    except BadHost as error:
        raise BadOrigin(str(error)) from None


@dataclass(frozen=True)
class OriginRules:
    """Who is let in: ``*`` any valid origin, else those listed, else (an empty list) the page of the same host."""

    allowed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> OriginRules:
        """Rules from a list of origins as people write them; raises :class:`UsageError` for one that is none."""
        clean = set()
        for entry in entries:
            try:
                clean.add("*" if entry.strip() == "*" else normalize_origin(entry))
            except BadOrigin as error:
                raise UsageError(f"not an origin: {entry.strip()!r} ({error})") from None
        return cls(frozenset(clean))

    def allows(self, origin: str, host: str | None) -> bool:
        """Whether a normalised ``origin`` may enter, asked for under the header ``Host: host``."""
        if "*" in self.allowed:
            return True
        if self.allowed:
            return origin in self.allowed
        if origin == "null" or host is None:
            return False
        scheme, _, authority = origin.partition("://")
        try:
            return authority == parse_authority(host.strip(), scheme)
        except BadHost:
            return False
