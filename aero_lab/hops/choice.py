"""How a link between two processes can be made, for each transport, and why not."""

from __future__ import annotations

from functools import cache

from ..errors import UsageError
from ..link import Link
from . import pair

HOPS = ("auto", "namespace")
"""Ways to ask for."""
_no_pair = cache(pair.why_not)


def why_not(transport: str, link: Link | None, hop: str = "auto", congestion: str | None = None) -> str:
    """Why this link cannot stand between the halves of this transport in real time; empty when it can."""
    if hop not in HOPS:
        raise UsageError(f"hop must be one of {', '.join(HOPS)}, not {hop!r}")
    if link is None or link == Link():
        return "" if congestion is None else "congestion= is of TCP across a link: give one"
    if transport in ("memory", "datagram"):
        return "memory has no packets that a link could delay: take it in virtual time, or another transport"
    return _no_pair() or ""


def choose(transport: str, link: Link | None, hop: str = "auto", congestion: str | None = None) -> str | None:
    """``"namespace"``, or None where there is no impairment to make.

    ``hop="auto"`` takes namespaces, where the kernel's own TCP meets the link. Raises :class:`UsageError` for what
    cannot be.
    """
    if why := why_not(transport, link, hop, congestion):
        raise UsageError(why)
    if link is None or link == Link():
        return None
    return "namespace"
