"""How a link between two processes can be made, for each transport, and why not."""

from __future__ import annotations

from functools import cache

from ..errors import UsageError
from ..link import Link
from . import pair, relay

HOPS = ("auto", "namespace", "relay")
"""Ways to ask for."""
_no_pair = cache(pair.why_not)


def why_not(transport: str, link: Link | None, hop: str = "auto", congestion: str | None = None) -> str:
    """Why this link cannot stand between the halves of this transport in real time; empty when it can."""
    return _find(transport, link, hop, congestion)[1]


def choose(transport: str, link: Link | None, hop: str = "auto", congestion: str | None = None) -> str | None:
    """``"namespace"`` or ``"relay"``, or None where there is no impairment to make.

    ``hop="auto"`` takes namespaces, where the kernel's own TCP meets the link, and a relay where there are none and a
    relay can do it. Raises :class:`UsageError` for what cannot be.
    """
    found, why = _find(transport, link, hop, congestion)
    if why:
        raise UsageError(why)
    return found


def _find(transport: str, link: Link | None, hop: str, congestion: str | None) -> tuple[str | None, str]:
    """How, and why not."""
    if hop not in HOPS:
        raise UsageError(f"hop must be one of {', '.join(HOPS)}, not {hop!r}")
    if link is None or link == Link():
        return None, "" if congestion is None else "congestion= is of TCP across a link: give one"
    if transport not in relay.KINDS:
        return None, f"{transport} has no packets that a link could delay: take virtual time, or another transport"
    no_relay = relay.why_not(transport, link)
    if not no_relay and congestion is not None:
        no_relay = "congestion= needs hop='namespace': a relay ends the connection, on loopback at both sides"
    if hop == "relay":
        return "relay", no_relay
    no_pair = _no_pair() or ""
    if no_pair and hop == "auto" and not no_relay:
        return "relay", ""
    return "namespace", no_pair
