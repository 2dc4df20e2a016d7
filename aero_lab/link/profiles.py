"""Links that have a name: what comparisons are made over."""

from __future__ import annotations

PROFILES = {
    "loopback": "",
    "20ms": "rtt=20ms",
    "100ms-1%": "rtt=100ms, loss=1%",
}
"""By name, as :meth:`aero_lab.link.Link.parse` reads them: nothing between the two ends; a continent's width; an ocean
and a bad wireless hop, one frame in a hundred lost each way."""
