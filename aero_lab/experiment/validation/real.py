"""The same messages over real transports, between two network namespaces that a link joins."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ...errors import AeroLabError
from ...guests.tap.namespace import Namespace
from ...hops import TunPair
from ...hops.child import Child
from ...hops.pair import why_not as no_pair
from ...link import Link
from ...transports.peer import missing
from .end import go_first
from .traffic import Arrivals, Traffic

MODULE = "aero_lab.experiment.validation.end"
PATIENCE = 90.0
"""Seconds after the last message was due in which the rest may come."""
QUIET = 6.0
"""Seconds without a message after which no more is waited for."""


def why_not(transport: str, library: str = "aiortc") -> str | None:
    """Why this cannot be measured here; None when it can."""
    return (missing(library) if transport != "websocket" else None) or no_pair()


def measure(
    transport: str,
    link: Link,
    traffic: Traffic,
    *,
    congestion: str = "cubic",
    library: str = "aiortc",
    seed: int = 1,
    eager: bool = True,
) -> tuple[Arrivals, dict[str, Any]]:
    """Send ``traffic`` over a real transport, and what else there is to tell: counters of the link.

    Parameters
    ----------
    congestion: the kernel's, of the WebSocket's TCP.
    library: behind the data channels.
    eager: ask for real-time scheduling of the processes at work, which root may have: other work of the machine then
        does not show in the delays.
    """
    with contextlib.ExitStack() as stack:
        pair = stack.enter_context(TunPair(link, seed=seed, congestion=congestion))
        spec = {"transport": transport, "library": library, "eager": eager}
        near = _child(stack, "client", {**spec, "address": pair.near_address}, pair.near)
        far = _child(stack, "server", {**spec, "address": pair.far_address}, pair.far)
        if eager and pair._child is not None:
            go_first(pair._child._process.pid)
        if transport == "websocket":
            near.ask("dial", address=pair.far_address)
        else:
            offer = near.ask("offer")["sdp"]
            near.ask("accept", sdp=far.ask("answer", sdp=offer)["sdp"])
        near.ask("opened")
        far.ask("opened")
        time.sleep(0.5)  # what it took to connect is over
        near.ask("send", traffic=traffic.to_dict())
        _wait(near, far, traffic)
        seen: list[tuple[int, int, int]] = []
        while some := far.ask("results", first=len(seen))["seen"]:
            seen += [tuple(each) for each in some]
        return Arrivals.of(traffic, seen), pair.counters()


def _child(stack: contextlib.ExitStack, role: str, spec: dict[str, Any], where: Namespace) -> Child:
    child = Child(role, MODULE, spec, where=where)
    stack.callback(child.stop)
    child.ready()
    return child


def _wait(near: Child, far: Child, traffic: Traffic, clock: Callable[[], float] = time.monotonic) -> None:
    """Until all has come, or nothing comes any more."""
    end = clock() + traffic.lasts / 1e9 + PATIENCE
    came, last = 0, clock()
    while clock() < end:
        time.sleep(0.25)
        heard, sent = far.ask("heard")["heard"], near.ask("heard")["sent"]
        if heard >= traffic.count:
            return
        if heard != came:
            came, last = heard, clock()
        if sent and clock() - last > QUIET:
            return
    raise AeroLabError(f"{came} of {traffic.count} messages came within {PATIENCE:g} s of the last")


__all__ = ["measure", "why_not"]
