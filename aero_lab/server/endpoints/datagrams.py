"""``/udp``: datagrams over a WebSocket, where there is no WebRTC. One message is one datagram."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from aiohttp import web

from ...framing.udp_relay import HEADER_MOST
from ...limits import MS, NEVER
from ...paths.relay_datagrams import DatagramServer
from ...transports.websocket import GOING_AWAY, NORMAL, Refusal
from ..call import Call
from ..quota import VIOLATION
from ..relay_auth import admit
from ..relay_rules import Rules, udp_limits
from ..relay_session import NOT_TEXT, RelayConnection
from ..routes import Endpoint

QUEUE = 64
"""Messages that wait in front of a WebSocket."""
EVENTS = {
    "datagrams_in": "datagrams_in",
    "datagrams_out": "datagrams_out",
    "dropped_malformed": "dropped_malformed",
    "dropped_oversized": "dropped_oversized",
    "dropped_backpressure": "dropped_backpressure",
    "dropped_rate_limited": "dropped_rate_limited",
    "dropped_quota_exceeded": "dropped_quota_exceeded",
    "dropped_denied_by_policy": "dropped_denied_by_policy",
}
"""Counters of the part -> events of the original, with a prefix for the kind of channel."""
COMMON = {
    "dropped_rate_limited": ("rate_limited",),
    "dropped_quota_exceeded": ("quota_exceeded", "too_many_destinations"),
    "remote_allowlist_evictions": ("udp_remote_allowlist_evictions_total",),
    "per_dest_bucket_evictions": ("udp_per_dest_bucket_evictions",),
}
"""And those that are the same for both kinds. The one quota there is is that of destinations."""


class DatagramWatch:
    """Looks after one session of datagrams: Pings, silence, and quotas that were broken too often.

    Whatever the datagrams come by: ``finish(code, reason)`` ends the session, ``ping()`` sends a Ping.
    """

    def __init__(self, call: Call, part: DatagramServer, prefix: str, finish: Any, heard: Any, ping: Any = None):
        config = call.config
        self._call, self._part, self._prefix = call, part, prefix
        self._finish, self._heard, self._ping = finish, heard, ping
        self._idle = config.relay_idle_timeout_ms * MS
        self._every = config.relay_ping_interval_ms * MS if ping is not None else 0
        self._next_ping = NEVER
        self._most, self._window = config.hard_close_after_violations, config.violation_window_seconds * 1000 * MS
        self._told: dict[str, int] = {}

    def __call__(self, now: int) -> int:
        if self._most and len(self._part.violations) >= self._most:
            recent = self._part.violations[-self._most]
            if recent + self._window > now:
                self._call.metrics.event("session_hard_closed")
                self._finish(VIOLATION, "session closed")
                return NEVER
        if self._idle and self._heard() + self._idle <= now:
            self._finish(NORMAL, "idle timeout")
            return NEVER
        if self._every and self._next_ping <= now:
            self._ping()
            self._next_ping = now + self._every
        elif self._every and self._next_ping >= NEVER:
            self._next_ping = now + self._every
        return min(self._heard() + self._idle if self._idle else NEVER, self._next_ping)

    def tell(self) -> None:
        """Bring the events up to date."""
        counted = self._part.counters
        drops = 0
        for name, number in dict(counted).items():
            more = number - self._told.get(name, 0)
            if more <= 0:
                continue
            self._told[name] = number
            drops += more if name.startswith("dropped") else 0
            if name in EVENTS:
                self._call.metrics.event(self._prefix + EVENTS[name], more)
            for event in COMMON.get(name, ()):
                self._call.metrics.event(event, more)
        if drops:
            self._call.metrics.event(self._prefix + "dropped", drops)


async def udp(call: Call) -> web.StreamResponse:
    """One session."""
    limits = udp_limits(call.config)
    socket = await call.websocket(limits.payload + HEADER_MOST)
    identity = await admit(call, socket)
    if identity is None:
        return socket
    await socket.send_str(json.dumps({"type": "ready", "sessionId": secrets.token_hex(16)}))
    connection = RelayConnection(call, call.number(), Rules(call))
    try:
        call.metrics.event("udp_ws_connections")
        end = connection.join(socket, QUEUE)
        part = connection.part = connection.relay.add_udp(end, limits)
        pings: set[asyncio.Task[Any]] = set()

        def ping() -> None:
            task = asyncio.ensure_future(_ping(socket, connection))
            pings.add(task)
            task.add_done_callback(pings.discard)

        gate = connection.gate
        watch = DatagramWatch(call, part, "udp_ws_", connection.finish, lambda: gate.last_inbound, ping)
        connection.tick, connection.tell = watch, watch.tell
        end.on_text = after_ready
        await call.serve(connection)
        return socket
    finally:
        connection.close()


async def _ping(socket: web.WebSocketResponse, connection: RelayConnection) -> None:
    try:
        await socket.ping()
    except (ConnectionError, RuntimeError):
        connection.finish(GOING_AWAY, "ping failed")


def after_ready(text: str) -> Refusal | None:
    """Text after the session is ready: a credential once more is passed over, all else ends the session."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and said.get("type") == "auth":
        return None
    told = {"type": "error", "code": "bad_message", "message": "expected binary message"}
    return Refusal(NOT_TEXT, "expected binary message", json.dumps(told))


ENDPOINTS = (Endpoint("udp", ("/udp",), udp, family="relay", upgrade=True, auth="late", group="relay"),)
