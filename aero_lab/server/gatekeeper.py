"""The checks of a request, in the order of its family; the first that fails answers.

::

    tunnel (upgrades)            gateway (upgrades)          relay (upgrades)      all that are no upgrade
    0 a WebSocket upgrade  400   shutting down       503     upgrade        400    target too long      414
      (another method      405)  target too long     414     shutting down  503    repeated or wrong    403
    1 shutting down        503   a WebSocket upgrade 400     Origin         403      Origin
    2 subprotocol offered  400   subprotocol         400     Host           403    rate of the address  429
    3 credentials          401   credentials         401     sessions       429    method               405
    4 Origin               403   client blocked      403     (credentials          credentials          401
    5 Host, if listed      403   Origin, if present  403      come after the
    6 of one address       429   Host, if listed     403      upgrade)
    7 in all               429   WebSockets in all   429
    8 of one session       429

A request that fails costs a short answer and counters; nothing is made for it.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..bounds import HTTP_TARGET, ORIGIN_HEADER, SUBPROTOCOLS, SUBPROTOCOLS_HEADER
from .auth import Auth, Denied
from .call import Call, words
from .config import ServerConfig
from .credentials import Family
from .forwarded import Headers, first_of_list, forwarded
from .hosts import BadHost, parse_authority
from .metrics import Metrics
from .origin import BadOrigin, normalize_origin
from .quota import Buckets, Slots
from .routes import Refused

if TYPE_CHECKING:
    from .routes import Endpoint

VERSIONS = ("13", "8", "7")
"""Versions of ``Sec-WebSocket-Version`` that aiohttp speaks (they do not differ for us)."""
_MINUTE = 60_000_000_000
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""Characters of an RFC 7230 token."""


@dataclass(frozen=True)
class Caps:
    """Connections of one group at once; 0: no limit."""

    total: int = 0
    per_address: int = 0
    per_session: int = 0


@dataclass
class Occupancy:
    """Connections of one group that are open."""

    total: int = 0
    by_address: Counter[str] = field(default_factory=Counter)
    by_session: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> None:
        self.total += 1
        self.by_address[address] += 1

    def leave(self, address: str) -> None:
        self.total -= 1
        _less(self.by_address, address)

    def enter_session(self, sid: str) -> None:
        self.by_session[sid] += 1

    def leave_session(self, sid: str) -> None:
        _less(self.by_session, sid)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class Gatekeeper:
    """Judges requests and counts what it refuses.

    Parameters
    ----------
    auths: rule for credentials, by family.
    """

    def __init__(self, config: ServerConfig, auths: dict[Family, Auth], metrics: Metrics):
        self.config, self.auths, self.metrics = config, auths, metrics
        self.shutting_down = False
        self.rates = Buckets(config.rate_limit_requests_per_minute, config.rate_limit_requests_per_minute, _MINUTE)
        self.slots = Slots(config.tcp_proxy_max_connections, config.tcp_proxy_max_connections_per_ip)
        self._origins = config.origins
        self._caps = {
            "tunnel": Caps(config.max_connections, config.max_connections_per_ip, config.max_connections_per_session),
            "tcp": Caps(config.max_websockets),
            "relay": Caps(config.max_websockets),
        }
        self.occupancy = {name: Occupancy() for name in self._caps}

    # Upgrades -------------------------------------------------------------------------------------------------------

    def admit(self, call: Call, endpoint: Endpoint) -> None:
        """Let an upgrade in, counted until :meth:`~.call.Call.leave`; raises :class:`Refused`."""
        if endpoint.family == "tunnel":
            self._handshake(call, 405)
            self._open(call)
            self._subprotocol(call, endpoint)
            self._credentials(call, endpoint)
            self._tunnel_origin(call)
            self._host(call)
        elif endpoint.family == "relay":
            self._handshake(call, 400)
            self._open(call)
            self._length(call)
            self._offered_origin(call)
            self._host(call)
        else:
            self._open(call)
            self._length(call)
            self._handshake(call, 400)
            self._subprotocol(call, endpoint)
            self._credentials(call, endpoint)
            if call.address in self.config.tcp_blocked_client_ips:
                raise Refused(403, "Client IP blocked", "client-blocked")
            self._offered_origin(call)
            self._host(call)
        self._enter(call, endpoint)

    def request(self, call: Call, endpoint: Endpoint | None) -> None:
        """The checks of a request that is no upgrade, but for credentials."""
        self._length(call)
        self._offered_origin(call)
        self._host(call)
        if (endpoint is None or endpoint.limited) and not self.rates.take(call.address, self._now(call)):
            raise Refused(429, "Rate limit exceeded", "rate")

    def authorize(self, call: Call, endpoint: Endpoint) -> None:
        """The check of credentials of a request that is no upgrade."""
        self._credentials(call, endpoint)

    @staticmethod
    def _now(call: Call) -> int:
        return call.started

    def _open(self, call: Call) -> None:
        if self.shutting_down:
            gateway = call.endpoint is not None and call.endpoint.family == "gateway"
            raise Refused(503, "Shutting down" if gateway else "shutting down", "shutting-down")

    def _length(self, call: Call) -> None:
        if len(call.target) > HTTP_TARGET:
            raise Refused(414, "Request URL too long", "url-too-long")

    def _handshake(self, call: Call, wrong_method: int) -> None:
        """A sound request for a WebSocket."""
        headers, endpoint = call.headers, call.endpoint
        assert endpoint is not None
        tunnel, relay = endpoint.family == "tunnel", endpoint.family == "relay"
        if call.request.method != "GET":
            raise Refused(wrong_method, "only GET opens a tunnel" if tunnel else "Invalid WebSocket upgrade", "method",
                          headers={"Allow": "GET"} if wrong_method == 405 else None)  # fmt: skip
        if not call.upgrades:
            text = "not a WebSocket upgrade" if tunnel else "Invalid WebSocket upgrade"
            raise Refused(400, "websocket upgrade required" if relay else text, "no-upgrade", "bad_message")
        if not tunnel:
            for name in ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
                lines = headers.getall(name, [])
                if len(lines) > 1 or any(len(line) > (32 if name.endswith("Version") else 256) for line in lines):
                    raise Refused(400, "Invalid WebSocket upgrade", "handshake", "bad_message")
        if one(headers, "Sec-WebSocket-Version") not in VERSIONS:
            text = "unsupported WebSocket version" if tunnel else "Invalid WebSocket upgrade"
            raise Refused(400, text, "version", "bad_message", headers={"Sec-WebSocket-Version": "13"})
        key = one(headers, "Sec-WebSocket-Key") or ""
        try:
            sound = len(base64.b64decode(key, validate=True)) == 16
        except (binascii.Error, ValueError):
            sound = False
        if not sound:
            text = "missing or invalid Sec-WebSocket-Key" if tunnel else "Invalid WebSocket upgrade"
            missing = "Missing required header: Sec-WebSocket-Key"
            raise Refused(400, text if tunnel or key else missing, "key", "bad_message")

    def _subprotocol(self, call: Call, endpoint: Endpoint) -> None:
        if not endpoint.subprotocols:
            return
        offered = call.offered
        if endpoint.family == "tunnel":
            if not any(each in offered for each in endpoint.subprotocols):
                text = f'missing required websocket subprotocol "{endpoint.subprotocols[-1]}"'
                raise Refused(400, text, "subprotocol")
            return
        size = sum(map(len, call.headers.getall("Sec-WebSocket-Protocol", [])))
        offered = [each for each in offered if each] if size == 0 else offered
        if size > SUBPROTOCOLS_HEADER or len(offered) > SUBPROTOCOLS or not all(map(_is_token, offered)):
            raise Refused(400, "Invalid Sec-WebSocket-Protocol header", "subprotocol")
        if not any(each in offered for each in endpoint.subprotocols):
            raise Refused(400, f"Missing required subprotocol: {endpoint.subprotocols[-1]}", "subprotocol")

    # Credentials ----------------------------------------------------------------------------------------------------

    def _credentials(self, call: Call, endpoint: Endpoint) -> None:
        if endpoint.auth != "rule":
            return
        found = call.authenticate()
        if not isinstance(found, Denied):
            return
        kind = "missing" if found.verdict == "missing_credentials" else "invalid"
        self.metrics.auth[found.verdict] += 1
        if endpoint.family == "relay":
            self.metrics.event("auth_failure")
        counts = (f"l2_upgrade_reject_auth_{kind}_total", "l2_auth_failures_total")
        text = {"tunnel": found.text, "relay": "unauthorized"}.get(endpoint.family, "Missing or invalid session")
        if endpoint.upgrade and endpoint.family == "gateway":
            text = "Unauthorized"
        headers = None if endpoint.upgrade or endpoint.family == "relay" else {"Cache-Control": "no-store"}
        raise Refused(401, text, f"auth-{kind}", headers=headers, counts=counts)

    # Origin, Host ---------------------------------------------------------------------------------------------------

    def _tunnel_origin(self, call: Call) -> None:
        if self.config.open:
            return
        values = call.headers.getall("Origin", [])
        if not values:
            raise Refused(403, "missing Origin header", "origin-missing",
                          counts=("l2_upgrade_reject_origin_missing_total",))  # fmt: skip
        counts = ("l2_upgrade_reject_origin_not_allowed_total",)
        if len(values) > 1:
            raise Refused(403, "invalid Origin header: multiple values", "origin-invalid", counts=counts)
        try:
            origin = normalize_origin(values[0])
        except BadOrigin as error:
            raise Refused(403, f"invalid Origin header: {error}", "origin-invalid", counts=counts) from None
        if not self._origins.allows(origin, one(call.headers, "Host")):
            raise Refused(403, f"Origin not allowed: {origin}", "origin-not-allowed", counts=counts)
        call.origin = origin

    def _offered_origin(self, call: Call) -> None:
        """The rule of gateway and relay: none is fine (no browser asks without), a wrong one is not."""
        values = call.headers.getall("Origin", [])
        relay = call.endpoint is not None and call.endpoint.family == "relay"
        if relay:
            values = [value for value in values if value.strip()]
        if not values:
            return
        refused = Refused(403, "forbidden" if relay else "Origin not allowed", "origin-not-allowed")
        if len(values) > 1 or len(values[0]) > ORIGIN_HEADER:
            raise refused
        try:
            origin = normalize_origin(values[0])
        except BadOrigin:
            raise refused from None
        if not self.config.open and not self.origin_allowed(origin, call):
            raise refused
        call.origin = origin

    def origin_allowed(self, origin: str, call: Call) -> bool:
        """Whether a normalised origin may call: it is listed, or without a list the public URL's or this host's own."""
        if not self._origins.allowed and origin == self.config.public_origin:
            return True
        return self._origins.allows(origin, one(call.headers, "Host"))

    def _host(self, call: Call) -> None:
        if not self.config.allowed_hosts:
            return
        host = self._effective_host(call.headers)
        if not host:
            raise Refused(403, "missing Host header", "host-missing", counts=("l2_upgrade_reject_host_missing_total",))
        scheme = self._effective_scheme(call.headers)
        try:
            clean = parse_authority(host, scheme)
        except BadHost:
            counts = ("l2_upgrade_reject_host_invalid_total",)
            raise Refused(403, "malformed Host header", "host-invalid", counts=counts) from None
        if not any(parse_authority(entry, scheme) == clean for entry in self.config.allowed_hosts):
            counts = ("l2_upgrade_reject_host_not_allowed_total",)
            raise Refused(403, f"Host not allowed: {clean}", "host-not-allowed", counts=counts)

    def _effective_host(self, headers: Headers) -> str | None:
        own = one(headers, "Host")
        if not self.config.trust_proxy_host:
            return own
        return forwarded(headers, "host") or first_of_list(headers, "X-Forwarded-Host") or own

    def _effective_scheme(self, headers: Headers) -> str:
        if self.config.trust_proxy_host:
            said = (forwarded(headers, "proto") or first_of_list(headers, "X-Forwarded-Proto") or "").lower()
            if said in ("http", "https"):
                return said
        origin = (one(headers, "Origin") or "").strip().lower()
        return "https" if origin.startswith("https://") else "http"

    # Room -----------------------------------------------------------------------------------------------------------

    def _enter(self, call: Call, endpoint: Endpoint) -> None:
        """Before anything is awaited: two requests must not share the last place."""
        if not endpoint.group:
            return
        caps, occupancy, address = self._caps[endpoint.group], self.occupancy[endpoint.group], call.address
        gateway = endpoint.family != "tunnel"
        if caps.per_address and occupancy.by_address[address] >= caps.per_address:
            text = "Too many concurrent connections" if gateway else "max connections per ip exceeded"
            raise Refused(429, text, "limit-ip", counts=("l2_upgrade_ip_limit_exceeded_total",))
        if caps.total and occupancy.total >= caps.total:
            text = "Too many concurrent connections" if gateway else "max connections exceeded"
            raise Refused(429, text, "limit", counts=("l2_upgrade_reject_max_connections_total",))
        self.enter_session(call, call.identity.sid if call.identity is not None else None)
        occupancy.enter(address)
        call.on_leave(lambda: occupancy.leave(address))

    def enter_session(self, call: Call, sid: str | None) -> None:
        """Count a connection to a session; :class:`Refused` when that has too many."""
        endpoint = call.endpoint
        if sid is None or endpoint is None or not endpoint.group:
            return
        caps, occupancy = self._caps[endpoint.group], self.occupancy[endpoint.group]
        if caps.per_session and occupancy.by_session[sid] >= caps.per_session:
            counts = (
                "l2_upgrade_reject_max_connections_per_session_total",
                "l2_upgrade_reject_max_tunnels_per_session_total",
                "l2_session_connection_denied_total",
            )
            text = "quota_connections: max connections per session exceeded"
            raise Refused(429, text, "limit-session", counts=counts)
        occupancy.enter_session(sid)
        call.on_leave(lambda: occupancy.leave_session(sid))


def one(headers: Headers, name: str) -> str | None:
    """The first line of a header."""
    values = headers.getall(name, [])
    return values[0] if values else None


def _is_token(text: str) -> bool:
    return bool(text) and _TOKEN.issuperset(text)


__all__ = ["VERSIONS", "Caps", "Gatekeeper", "Occupancy", "one", "words"]
