"""A relay in front of a proxy: a link for those who have no namespaces, between two sockets on loopback."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..errors import UsageError
from ..link import Corrupt, Duplicate, GilbertElliott, Line, Link, Loss, Outage, RecordedLoss, Reorder
from ..transports.tcp_info import WireCount
from .child import Child
from .pair import wire_of

KINDS = {"websocket": "stream", "webrtc": "webrtc", "webrtc-unordered": "webrtc", "webrtc-lossy": "webrtc"}
"""What a relay does with each transport's packets."""
_UNFIT = {
    Loss: "lose", GilbertElliott: "lose", RecordedLoss: "lose", Outage: "lose",
    Line: "drop from a queue", Duplicate: "double", Corrupt: "corrupt", Reorder: "reorder",
}  # fmt: skip


def why_not(transport: str, link: Link) -> str:
    """Why a relay cannot be this link for this transport; empty when it can."""
    kind = KINDS.get(transport)
    if kind is None:
        return f"a relay stands between sockets, and {transport} has none"
    if kind == "stream":
        for side in (0, 1):
            for stage in link.stages(side):
                if type(stage) in _UNFIT:
                    return f"a relay cannot {_UNFIT[type(stage)]} what TCP carries: that takes namespaces"
    return ""


class Relay:
    """A process that stands in a proxy's place, at :attr:`url`; a context manager.

    Parameters
    ----------
    target: URL of the proxy, with a host and a port.
    link: impairment; *up* is towards the proxy. Over WebSockets it delays and limits the rate, and loses nothing.
    transport: what the proxy is spoken to by.
    seed: of everything random on the link.
    """

    def __init__(self, target: str, link: Link, transport: str = "websocket", *, seed: int = 1):
        parts = urlsplit(target)
        if parts.hostname is None or parts.port is None:
            raise UsageError(f"a relay needs a host and a port to lead to, not {target!r}")
        if why := why_not(transport, link):
            raise UsageError(why)
        self.link, self.kind, self._transport = link, KINDS[transport], transport
        self._child = Child(
            "link", "aero_lab.hops.worker", {"kind": self.kind, "link": link.to_dict(), "seed": seed, "target": target}
        )
        try:
            self.url: str = self._child.ready()["url"]
            """Where the proxy seems to be."""
        except BaseException:
            self.close()
            raise

    def counters(self) -> dict[str, Any]:
        """What became of what passed, ``up`` and ``down``: see :attr:`aero_lab.link.LinkDirection.counters`."""
        return self._child.ask("counters")

    def change(self, link: Link) -> None:
        """Become another link, for all that comes from now on."""
        if why := why_not(self._transport, link):
            raise UsageError(why)
        self._child.ask("change", link=link.to_dict())
        self.link = link

    def wire(self) -> WireCount | None:
        """IP bytes and datagrams that were put on the wire so far, those that were lost among them. None for TCP: a
        relay sees bytes, and no segments."""
        return wire_of(self.counters()) if self.kind == "webrtc" else None

    def close(self) -> None:
        """End the process. May be called twice."""
        self._child.stop()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
