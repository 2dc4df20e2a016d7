"""The checks of an upgrade to ``/l2``, in their order; the first that fails answers.

::

    0  a WebSocket upgrade at all     400 (405 for another method than GET)
    1  not shutting down              503
    2  the subprotocol is offered     400
    3  credentials                    401, before Origin: who lacks both learns about credentials
    4  Origin                         403
    5  Host, if there is a list       403
    6  tunnels of one address         429
    7  tunnels in all                 429

A request that fails costs a short answer and counters; nothing is made for it.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..framing.l2_tunnel import SUBPROTOCOL
from .auth import Auth
from .config import ServerConfig
from .forwarded import Headers, client_address, first_of_list, forwarded
from .hosts import BadHost, parse_authority
from .metrics import Metrics
from .origin import BadOrigin, normalize_origin

VERSIONS = ("13", "8", "7")
"""Versions of ``Sec-WebSocket-Version`` that aiohttp speaks (they do not differ for us)."""


@dataclass(frozen=True)
class Rejection:
    """An answer that is no tunnel."""

    status: int
    text: str
    reason: str
    """Short stable word for the audit."""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Request:
    """What the checks look at."""

    method: str
    target: str
    """Path and query as they came."""
    headers: Headers
    peer: str
    """IP address of the other end of the connection."""


@dataclass
class Occupancy:
    """Tunnels that are open."""

    total: int = 0
    by_address: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> None:
        self.total += 1
        self.by_address[address] += 1

    def leave(self, address: str) -> None:
        self.total -= 1
        self.by_address[address] -= 1
        if self.by_address[address] <= 0:
            del self.by_address[address]


def offered(headers: Headers) -> list[str]:
    """The subprotocols that the client offers, over all such headers."""
    return [part.strip() for line in headers.getall("Sec-WebSocket-Protocol", []) for part in line.split(",")]


class Gatekeeper:
    """Judges upgrade requests and counts what it refuses."""

    def __init__(self, config: ServerConfig, auth: Auth, metrics: Metrics):
        self.config, self.auth, self.metrics = config, auth, metrics
        self.occupancy = Occupancy()
        self.shutting_down = False
        self._origins = config.origins

    def address(self, request: Request) -> str:
        """Whom the request's tunnel is counted to."""
        return client_address(request.headers, request.peer, self.config.trust_proxy)

    def check(self, request: Request) -> Rejection | None:
        """None when the tunnel may be opened."""
        return (
            self._upgrade(request)
            or self._admission(request)
            or self._credentials(request)
            or self._origin(request)
            or self._host(request)
            or self._room(request)
        )

    def _upgrade(self, request: Request) -> Rejection | None:
        headers = request.headers
        if request.method != "GET":
            return Rejection(405, "only GET opens a tunnel", "method", {"Allow": "GET"})
        if "websocket" not in _words(headers, "Upgrade") or "upgrade" not in _words(headers, "Connection"):
            return Rejection(400, "not a WebSocket upgrade", "no-upgrade")
        if _one(headers, "Sec-WebSocket-Version") not in VERSIONS:
            return Rejection(400, "unsupported WebSocket version", "version", {"Sec-WebSocket-Version": "13"})
        try:
            sound = len(base64.b64decode(_one(headers, "Sec-WebSocket-Key") or "", validate=True)) == 16
        except (binascii.Error, ValueError):
            sound = False
        return None if sound else Rejection(400, "missing or invalid Sec-WebSocket-Key", "key")

    def _admission(self, request: Request) -> Rejection | None:
        if self.shutting_down:
            return Rejection(503, "shutting down", "shutting-down")
        if SUBPROTOCOL not in offered(request.headers):
            return Rejection(400, f'missing required websocket subprotocol "{SUBPROTOCOL}"', "subprotocol")
        return None

    def _credentials(self, request: Request) -> Rejection | None:
        verdict = self.auth.check(request.target, offered(request.headers))
        if verdict is None:
            return None
        kind = "missing" if verdict == "missing_credentials" else "invalid"
        self.metrics.auth[verdict] += 1
        self.metrics.rejected(f"l2_upgrade_reject_auth_{kind}_total", "l2_auth_failures_total")
        return Rejection(401, "invalid token", f"auth-{kind}")

    def _origin(self, request: Request) -> Rejection | None:
        if self.config.open:
            return None
        values = request.headers.getall("Origin", [])
        if not values:
            self.metrics.rejected("l2_upgrade_reject_origin_missing_total")
            return Rejection(403, "missing Origin header", "origin-missing")
        text = ""
        if len(values) > 1:
            text = "invalid Origin header: multiple values"
        else:
            try:
                origin = normalize_origin(values[0])
                if not self._origins.allows(origin, _one(request.headers, "Host")):
                    text = f"Origin not allowed: {origin}"
            except BadOrigin as error:
                text = f"invalid Origin header: {error}"
        if not text:
            return None
        self.metrics.rejected("l2_upgrade_reject_origin_not_allowed_total")
        return Rejection(403, text, "origin-not-allowed" if "not allowed" in text else "origin-invalid")

    def _host(self, request: Request) -> Rejection | None:
        if not self.config.allowed_hosts:
            return None
        host = self._effective_host(request)
        if not host:
            self.metrics.rejected("l2_upgrade_reject_host_missing_total")
            return Rejection(403, "missing Host header", "host-missing")
        scheme = self._effective_scheme(request)
        try:
            clean = parse_authority(host, scheme)
        except BadHost:
            self.metrics.rejected("l2_upgrade_reject_host_invalid_total")
            return Rejection(403, "malformed Host header", "host-invalid")
        if any(parse_authority(entry, scheme) == clean for entry in self.config.allowed_hosts):
            return None
        self.metrics.rejected("l2_upgrade_reject_host_not_allowed_total")
        return Rejection(403, f"Host not allowed: {clean}", "host-not-allowed")

    def _effective_host(self, request: Request) -> str | None:
        headers = request.headers
        own = _one(headers, "Host")
        if not self.config.trust_proxy_host:
            return own
        return forwarded(headers, "host") or first_of_list(headers, "X-Forwarded-Host") or own

    def _effective_scheme(self, request: Request) -> str:
        headers = request.headers
        if self.config.trust_proxy_host:
            said = (forwarded(headers, "proto") or first_of_list(headers, "X-Forwarded-Proto") or "").lower()
            if said in ("http", "https"):
                return said
        origin = (_one(headers, "Origin") or "").strip().lower()
        return "https" if origin.startswith("https://") else "http"

    def _room(self, request: Request) -> Rejection | None:
        config, occupancy = self.config, self.occupancy
        per_ip = config.max_connections_per_ip
        if per_ip and occupancy.by_address[self.address(request)] >= per_ip:
            self.metrics.rejected("l2_upgrade_ip_limit_exceeded_total")
            return Rejection(429, "max connections per ip exceeded", "limit-ip")
        if config.max_connections and occupancy.total >= config.max_connections:
            self.metrics.rejected("l2_upgrade_reject_max_connections_total")
            return Rejection(429, "max connections exceeded", "limit")
        return None


def _one(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, [])
    return values[0] if values else None


def _words(headers: Headers, name: str) -> set[str]:
    return {part.strip().lower() for line in headers.getall(name, []) for part in line.split(",")}
