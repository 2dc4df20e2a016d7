"""``/l2`` and its older name ``/eth``: Ethernet frames, and behind each tunnel a LAN of its own; ``/l3``: the same for
IP packets."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from ...capture.schema import ETHERNET
from ...framing.l2_tunnel import SUBPROTOCOL
from ...framing.l3_tunnel import SUBPROTOCOL as L3_SUBPROTOCOL
from ...limits import MS
from ...paths.l2_tunnel import FRAMES, PACKETS, Medium
from ..call import Call
from ..capture import SessionCapture
from ..routes import Endpoint
from ..session import Session


def capture_for(call: Call, number: int, link: int = ETHERNET) -> SessionCapture | None:
    """The capture file of a connection, if the settings want one."""
    config = call.config
    if config.capture_dir is None:
        return None
    return SessionCapture(
        Path(config.capture_dir),
        number,
        config.capture_max_bytes,
        config.capture_flush_interval_ms * MS,
        call.proxy.epoch,
        call.metrics.count,
        config.capture_snap,
        config.capture_headers,
        link,
    )


async def serve(call: Call, medium: Medium = FRAMES) -> web.StreamResponse:
    """One tunnel."""
    proxy = call.proxy
    socket = await call.websocket(call.config.limits.message)
    number = call.number()
    query = {name: value for name, value in call.request.query.items() if name not in ("token", "apiKey")}
    session = Session(
        number,
        query,
        call.address,
        socket,
        call.config,
        proxy.world_for,
        call.metrics,
        lambda part: proxy.rng(number, part),
        call.audit(number),
        proxy.recorder,
        capture_for(call, number, medium.link),
        medium,
    )
    call.metrics.count("l2_sessions_total")
    await call.serve(session)
    return socket


async def serve_packets(call: Call) -> web.StreamResponse:
    """One tunnel of packets."""
    return await serve(call, PACKETS)


ENDPOINTS = (
    Endpoint(
        "l2",
        ("/l2", "/l2/", "/eth", "/eth/"),
        serve,
        family="tunnel",
        upgrade=True,
        subprotocols=(SUBPROTOCOL,),
        group="tunnel",
    ),
    Endpoint(
        "l3",
        ("/l3", "/l3/"),
        serve_packets,
        family="tunnel",
        upgrade=True,
        subprotocols=(L3_SUBPROTOCOL,),
        group="tunnel",
    ),
)
