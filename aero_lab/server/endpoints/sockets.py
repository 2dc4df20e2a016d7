"""``/tcp``: a WebSocket for each TCP connection; ``/tcp-mux``: one for many."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ...bounds import MUX_HOST_MOST, TCP_DIAL_PATIENCE
from ...framing.tcp_mux import V1, V2, ErrorCode
from ...limits import MS
from ...paths.relay_socket import HALF_HEADER, SocketServer
from ..call import Call
from ..relay_rules import Rules, mux_limits
from ..relay_session import RelayConnection
from ..routes import Endpoint, Refused
from ..targets import tcp_rules

TARGET_MOST, PORT_MOST = MUX_HOST_MOST + 32, 16
"""Characters of a target, and of a port, in a query."""
VERSION_PARAMETER, TARGET, HOST, PORT, HALF = "v", "target", "host", "port", "half"
MUX_QUEUE = 64
"""Messages that wait in front of a WebSocket."""


def target_of(query: dict[str, str]) -> tuple[str, int]:
    """Host and port that a query asks for; raises :class:`Refused`. ``target`` stands above ``host`` and ``port``."""
    if query.get(VERSION_PARAMETER, "") not in ("", "1"):
        raise Refused(400, "Unsupported TCP proxy protocol version", "version")
    if TARGET in query:
        return _target(query[TARGET])
    for name in (HOST, PORT):
        if name not in query:
            raise Refused(400, f"Missing required query parameter: {name}", "target")
    host = query[HOST]
    if len(host) > MUX_HOST_MOST:
        raise Refused(400, "Invalid host: too long", "target")
    if not host.strip():
        raise Refused(400, "Host must not be empty", "target")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_host(bare):
        raise Refused(400, "Invalid host", "target")
    return bare, _port(query[PORT], "Invalid port")


def _target(text: str) -> tuple[str, int]:
    if not text:
        raise Refused(400, "Query parameter target must not be empty", "target")
    if len(text) > TARGET_MOST:
        raise Refused(400, "Invalid target: too long", "target")
    host, colon, port = text.rpartition(":")
    if not colon:
        raise Refused(400, "Invalid target: missing port", "target")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Refused(400, "Invalid target host", "target")
    if not _is_host(host):
        raise Refused(400, "Invalid target host", "target")
    return host, _port(port, "Invalid target port")


def _port(text: str, wrong: str) -> int:
    if not (0 < len(text) <= PORT_MOST and text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
        raise Refused(400, wrong, "target")
    return int(text)


def _is_host(host: str) -> bool:
    return bool(host) and len(host) <= MUX_HOST_MOST and not any(c.isspace() or not c.isprintable() for c in host)


async def tcp(call: Call) -> web.StreamResponse:
    """One connection. The rules and the name are asked first, the target answers later."""
    host, port = target_of(call.query)
    config = call.config
    connection = RelayConnection(call, call.number(), Rules(call))
    try:
        relay = connection.relay
        relay.dialer.rules = tcp_rules(config, call.metrics.gateway)
        part = connection.part = SocketServer(relay, config.tcp_proxy_idle_timeout_ms * MS, (bytes(4), 0))
        relay.parts.append(part)
        part.dial(host, port, connection.driver.now())
        connection.driver.wake()
        deadline = connection.driver.now() + TCP_DIAL_PATIENCE
        while not part.allowed and part.refusal is None and connection.driver.now() < deadline:
            await asyncio.sleep(0.002)
        if part.refusal is not None or not part.allowed:
            raise _refused(call, part.refusal)
        lease = call.slot()
        if lease is None:
            raise Refused(429, "Too many concurrent connections", "limit-session")
        half = call.query.get(HALF) == "1"
        socket = await call.websocket(config.tcp_proxy_max_message_bytes, {HALF_HEADER: "1"} if half else None)
        end = connection.join(socket, MUX_QUEUE)
        part.attach(end, half, connection.driver.now())
        await call.serve(connection)
        return socket
    finally:
        connection.close()


def _refused(call: Call, refusal: tuple[int, str, str] | None) -> Refused:
    if refusal is None:
        return Refused(502, "DNS lookup failed", "no-such-name")
    code, text, reason = refusal
    if code == ErrorCode.POLICY_DENIED:
        return Refused(403, text, reason)
    if code == ErrorCode.STREAM_LIMIT_EXCEEDED:
        return Refused(429, "Too many concurrent connections", reason)
    if code == ErrorCode.DIAL_FAILED:
        return Refused(502, text, reason)
    return Refused(400, text, reason)


async def mux(call: Call) -> web.StreamResponse:
    """Many connections."""
    config = call.config
    connection = RelayConnection(call, call.number(), Rules(call))
    try:
        relay = connection.relay
        relay.dialer.rules = tcp_rules(config, call.metrics.gateway)
        socket = await call.websocket(config.tcp_proxy_max_message_bytes)
        version = 2 if call.protocol == V2 else 1
        connection.part = relay.add_mux(connection.join(socket, MUX_QUEUE), version, mux_limits(call))
        await call.serve(connection)
        return socket
    finally:
        connection.close()


ENDPOINTS = (
    Endpoint("tcp", ("/tcp",), tcp, upgrade=True, group="tcp"),
    Endpoint("tcp-mux", ("/tcp-mux",), mux, upgrade=True, subprotocols=(V2, V1), group="tcp"),
)
