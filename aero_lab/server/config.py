"""What the proxy server can be told, in code or by the ``AERO_L2_*`` variables of the environment.

In code (``ServerConfig(max_connections=8)``) a wrong value is an error. From the environment
(:meth:`ServerConfig.from_environment`) blank variables count as unset, and numbers are read as the original reads them:
one that is no number, or is too small, leaves the default; one that is too large means the most there is. Everything
else that is wrong (an address, an origin, a forward, a mode) refuses to start with one line that names the variable.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from ..bounds import WEBSOCKETS
from ..errors import AeroLabError, UsageError
from ..framing.l2_tunnel import L2Limits
from ..lan.config import GATEWAY6
from ..limits import (
    CONTROL_ARENA,
    ETHERNET_OVERHEAD,
    IPV6_MTU_MIN,
    LAN_DNS_CACHE,
    LAN_DNS_DEFAULT_TTL,
    LAN_DNS_MAX_TTL,
    LAN_DNS_PENDING,
    LAN_TCP_FLOWS,
    LAN_UDP_FLOWS,
    MTU_DEFAULT,
    MTU_MAX,
    MTU_MIN,
    TUNNEL_CONTROL,
    TUNNEL_FRAME,
)
from ..wire.address import ip
from .auth import Auth, choose_auth
from .config_gateway import GatewaySettings
from .config_relay import RelaySettings
from .config_webrtc import WebRtcSettings
from .credentials import Family
from .hosts import BadHost, parse_authority
from .origin import OriginRules
from .settings import DAY_MS, entries, number, port_number, setting

Endpoint = tuple[bytes, int]
Target = tuple[str, int]
_LARGEST = CONTROL_ARENA // 2
"""Of a payload limit: whatever is larger by one must still fit where messages are looked at one by one."""


class ServerConfig(GatewaySettings, RelaySettings, WebRtcSettings):
    """Settings of one proxy. Times are milliseconds where the name says so, else seconds; sizes are bytes."""

    # Where and how it listens
    bind: str = setting("127.0.0.1:8090", "AERO_L2_PROXY_LISTEN_ADDR", "AERO_L2_PROXY_BIND_ADDR")
    """``ip:port``; port 0 lets the system choose."""
    shutdown_grace_ms: int = number(3000, "AERO_L2_SHUTDOWN_GRACE_MS", "SHUTDOWN_GRACE_MS", most=DAY_MS)
    endpoints: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_ENDPOINTS")
    """Names of the endpoints that are served (:mod:`.routes`); none: all."""
    audit_log: str | None = setting(None, "AERO_L2_AUDIT_LOG")
    """File that gets one JSON line a record; ``-`` is standard error."""

    # Who may come in
    auth_mode: str | None = setting(None, "AERO_L2_AUTH_MODE")
    api_key: SecretStr | None = setting(None, "AERO_L2_API_KEY", "AERO_L2_TOKEN")
    session_secret: SecretStr | None = setting(
        None, "AERO_GATEWAY_SESSION_SECRET", "SESSION_SECRET", "AERO_L2_SESSION_SECRET"
    )
    """Signs session cookies. None: made at the start, and sessions end with the process."""
    jwt_secret: SecretStr | None = setting(None, "AERO_L2_JWT_SECRET")
    jwt_audience: str | None = setting(None, "AERO_L2_JWT_AUDIENCE")
    jwt_issuer: str | None = setting(None, "AERO_L2_JWT_ISSUER")
    open: bool = setting(False, "AERO_L2_OPEN", exactly_one=True)
    """Skip the Origin check."""
    insecure_allow_no_auth: bool = setting(False, "AERO_L2_INSECURE_ALLOW_NO_AUTH", exactly_one=True)
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_L2_ALLOWED_ORIGINS", "ALLOWED_ORIGINS")
    allowed_origins_extra: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_L2_ALLOWED_ORIGINS_EXTRA")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_L2_ALLOWED_HOSTS")
    trust_proxy: bool = setting(False, "AERO_L2_TRUST_PROXY", "TRUST_PROXY")
    """Believe ``Forwarded`` and ``X-Forwarded-For`` about the client's address."""
    trust_proxy_host: bool = setting(False, "AERO_L2_TRUST_PROXY_HOST")
    """Believe ``Forwarded`` and ``X-Forwarded-Host`` about the host asked for."""
    max_connections: int = number(64, "AERO_L2_MAX_CONNECTIONS")
    max_connections_per_session: int = number(
        0, "AERO_L2_MAX_CONNECTIONS_PER_SESSION", "AERO_L2_MAX_TUNNELS_PER_SESSION"
    )
    """Of one session cookie or JWT; a token alone has none."""
    max_connections_per_ip: int = number(0, "AERO_L2_MAX_CONNECTIONS_PER_IP")
    max_websockets: int = number(WEBSOCKETS, "AERO_MAX_WEBSOCKETS", most=1_000_000)
    """Of the gateway, and of the relay, at once; 0: no limit."""

    # The tunnel
    max_frame_payload: int = number(0, "AERO_L2_MAX_FRAME_PAYLOAD", "AERO_L2_MAX_FRAME_SIZE", most=_LARGEST)
    """0: 2048, or more where the MTU needs it."""
    max_control_payload: int = number(0, "AERO_L2_MAX_CONTROL_PAYLOAD", most=_LARGEST)
    """0: 256."""
    max_bytes_per_connection: int = number(0, "AERO_L2_MAX_BYTES_PER_CONNECTION")
    max_bytes_per_second: int = number(0, "AERO_L2_MAX_BYTES_PER_SECOND", most=1 << 40)
    """Of a tunnel, each way; it waits, and nothing is dropped. With a quota too: once that is used up, in place of the
    end."""
    max_frames_per_second: int = number(0, "AERO_L2_MAX_FRAMES_PER_SECOND")
    ping_interval_ms: int = number(0, "AERO_L2_PING_INTERVAL_MS", most=DAY_MS)
    idle_timeout_ms: int = number(0, "AERO_L2_IDLE_TIMEOUT_MS", most=DAY_MS)
    ws_send_buffer: int = number(64, "AERO_L2_WS_SEND_BUFFER", least=1, most=65536)

    # What lies behind it
    mtu: int = number(MTU_DEFAULT, "AERO_L2_MTU", least=MTU_MIN, most=MTU_MAX)
    gateway6: str = setting("auto", "AERO_L2_GATEWAY6")
    """The gateway's IPv6 address in a /64 of the guests; ``auto``: ``fd00:aee0::2`` where the MTU allows IPv6; ``off``:
    no IPv6."""
    ack_policy: str = setting("early", "AERO_L2_ACK_POLICY", pattern="^(early|mirror)$")
    """``early``: bytes of the guest are acknowledged when the proxy has them; ``mirror``: when the far TCP has."""
    far: str = setting("lan", "AERO_L2_FAR", pattern="^(lan|kernel)$")
    """What speaks TCP/IP to the guests: ``lan``, a stack of ours, or ``kernel``, the host's, in a namespace for each
    tunnel."""
    allowed_tcp_ports: Annotated[frozenset[int] | None, NoDecode] = setting(None, "AERO_L2_ALLOWED_TCP_PORTS")
    allowed_udp_ports: Annotated[frozenset[int] | None, NoDecode] = setting(None, "AERO_L2_ALLOWED_UDP_PORTS")
    allowed_domains: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_L2_ALLOWED_DOMAINS")
    blocked_domains: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_L2_BLOCKED_DOMAINS")
    allow_private_ips: bool = setting(False, "AERO_L2_ALLOW_PRIVATE_IPS")
    dns_a: Annotated[dict[str, bytes], NoDecode] = setting({}, "AERO_L2_DNS_A")
    tcp_forward: Annotated[dict[Endpoint, Target], NoDecode] = setting({}, "AERO_L2_TCP_FORWARD")
    udp_forward: Annotated[dict[Endpoint, Target], NoDecode] = setting({}, "AERO_L2_UDP_FORWARD")
    dns_lookup_timeout_ms: int = number(2000, "AERO_L2_DNS_LOOKUP_TIMEOUT_MS", most=60_000)
    dns_max_ttl_secs: int = number(LAN_DNS_MAX_TTL, "AERO_L2_DNS_MAX_TTL_SECS", most=(1 << 31) - 1)
    dns_default_ttl_secs: int = number(LAN_DNS_DEFAULT_TTL, "AERO_L2_DNS_DEFAULT_TTL_SECS", most=(1 << 31) - 1)
    tcp_connect_timeout_ms: int = number(5000, "AERO_L2_TCP_CONNECT_TIMEOUT_MS", least=1, most=DAY_MS)
    stack_max_tcp_connections: int = number(LAN_TCP_FLOWS, "AERO_L2_STACK_MAX_TCP_CONNECTIONS", most=65535)
    stack_max_pending_dns: int = number(LAN_DNS_PENDING, "AERO_L2_STACK_MAX_PENDING_DNS", most=65535)
    stack_max_dns_cache_entries: int = number(LAN_DNS_CACHE, "AERO_L2_STACK_MAX_DNS_CACHE_ENTRIES", most=1_000_000)
    stack_max_buffered_tcp_bytes: int = number(
        262_144, "AERO_L2_STACK_MAX_BUFFERED_TCP_BYTES_PER_CONN", most=67_108_864
    )
    """Bytes of one connection held for a far side that does not take them; the window offered to the guest."""
    max_udp_flows: int = number(LAN_UDP_FLOWS, "AERO_L2_MAX_UDP_FLOWS_PER_TUNNEL", most=65535)
    """0: as many as the range allows."""
    udp_flow_idle_timeout_ms: int = number(60_000, "AERO_L2_UDP_FLOW_IDLE_TIMEOUT_MS", most=DAY_MS)

    # Capture
    capture_dir: str | None = setting(None, "AERO_L2_CAPTURE_DIR")
    capture_max_bytes: int = number(67_108_864, "AERO_L2_CAPTURE_MAX_BYTES")
    capture_flush_interval_ms: int = number(1000, "AERO_L2_CAPTURE_FLUSH_INTERVAL_MS", most=DAY_MS)

    capture_snap: int = number(0, "AERO_L2_CAPTURE_SNAP", most=65535)
    """Bytes of each frame that are kept at most; 0: all."""
    capture_headers: bool = setting(False, "AERO_L2_CAPTURE_HEADERS")
    """Keep the headers of frames only: no payload, no names, no leases."""

    # What it says about itself
    version: str | None = setting(None, "AERO_L2_PROXY_VERSION", "AERO_GATEWAY_VERSION", "VERSION")
    git_sha: str = setting("dev", "AERO_L2_PROXY_GIT_SHA", "AERO_GATEWAY_GIT_SHA", "GIT_SHA")
    built_at: str = setting("", "AERO_L2_PROXY_BUILD_TIMESTAMP", "AERO_GATEWAY_BUILD_TIMESTAMP", "BUILD_TIMESTAMP")

    # Known from the original, without effect here
    tcp_send_buffer: int = number(32, "AERO_L2_TCP_SEND_BUFFER")
    """Segments the original queues before it resets a connection. Here the window stops the guest instead."""
    tokio_worker_threads: int = number(0, "AERO_TOKIO_WORKER_THREADS")

    # What the values must be ----------------------------------------------------------------------------------------

    @field_validator(
        "allowed_origins",
        "allowed_origins_extra",
        "allowed_hosts",
        "endpoints",
        "allowed_domains",
        "blocked_domains",
        mode="before",
    )
    @classmethod
    def _list(cls, value: Any) -> Any:
        return entries(value) if isinstance(value, str) else value

    @field_validator("allowed_tcp_ports", "allowed_udp_ports", mode="before")
    @classmethod
    def _ports(cls, value: Any) -> Any:
        return frozenset(port_number(entry, entry, 0) for entry in entries(value)) if isinstance(value, str) else value

    @field_validator("dns_a", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return dict(map(_name_entry, entries(value))) if isinstance(value, str) else value

    @field_validator("tcp_forward", "udp_forward", mode="before")
    @classmethod
    def _forwards(cls, value: Any) -> Any:
        return dict(map(_forward_entry, entries(value))) if isinstance(value, str) else value

    @field_validator("bind")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        try:
            ip(host.removeprefix("[").removesuffix("]") if host.startswith("[") else host)
            port_number(port, value, 0)
        except AeroLabError:
            raise ValueError(f"must be ip:port, not {value!r}") from None
        return value

    @field_validator("gateway6")
    @classmethod
    def _gateway6(cls, value: str) -> str:
        try:
            sound = value in ("auto", "off") or len(ip(value)) == 16
        except UsageError:
            sound = False
        if not sound:
            raise ValueError(f"must be an IPv6 address, auto or off, not {value!r}")
        return value

    @field_validator("allowed_origins", "allowed_origins_extra")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            OriginRules.of(value)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                parse_authority(entry, "http")
            except BadHost as error:
                raise ValueError(f"not a host: {entry!r} ({error})") from None
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.ping_interval_ms and self.limits.control < 8:
            raise ValueError("PINGs (AERO_L2_PING_INTERVAL_MS) need AERO_L2_MAX_CONTROL_PAYLOAD to be 8 or more")
        if self.gateway6 not in ("auto", "off") and self.lan_mtu < IPV6_MTU_MIN:
            raise ValueError(f"IPv6 (AERO_L2_GATEWAY6) needs an MTU of {IPV6_MTU_MIN} or more, not {self.lan_mtu}")
        return self

    # What follows from them -----------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Address to listen on."""
        host = self.bind.rpartition(":")[0]
        return host.removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        return int(self.bind.rpartition(":")[2])

    @property
    def limits(self) -> L2Limits:
        """Payload limits of tunnel messages."""
        frame = self.max_frame_payload or max(TUNNEL_FRAME, self.mtu + ETHERNET_OVERHEAD)
        return L2Limits(frame, self.max_control_payload or TUNNEL_CONTROL)

    @property
    def lan_mtu(self) -> int:
        """MTU of the guests' networks: what was asked for, or as much of it as a FRAME message carries."""
        return max(MTU_MIN, min(self.mtu, self.limits.frame - ETHERNET_OVERHEAD))

    @property
    def gateway6_address(self) -> bytes | None:
        """Packed, None without IPv6."""
        if self.gateway6 == "off" or self.lan_mtu < IPV6_MTU_MIN:
            return None
        return GATEWAY6 if self.gateway6 == "auto" else ip(self.gateway6)

    @property
    def origins(self) -> OriginRules:
        return OriginRules.of((*self.allowed_origins, *self.allowed_origins_extra))

    def auth(self) -> Auth:
        """The rule for credentials of tunnels. Each call makes a token of its own when one has to be made."""
        return choose_auth(
            self.auth_mode,
            _secret(self.api_key),
            _secret(self.session_secret),
            self.open and self.insecure_allow_no_auth,
            _secret(self.jwt_secret),
            audience=self.jwt_audience,
            issuer=self.jwt_issuer,
            open=self.open,
        )

    def auths(self) -> dict[Family, Auth]:
        """The rule of each family of endpoints; one token and one session secret serve all that have none of their
        own."""
        tunnel = self.auth()
        gateway = tunnel
        if self.gateway_auth_mode:
            gateway = choose_auth(
                self.gateway_auth_mode,
                tunnel.token or _secret(self.api_key),
                tunnel.session_secret,
                False,
                tunnel.jwt_secret,
                variable="AERO_GATEWAY_AUTH_MODE",
                audience=self.jwt_audience,
                issuer=self.jwt_issuer,
            )
        return {"tunnel": tunnel, "gateway": gateway, "open": gateway, "relay": self._relay_auth(tunnel)}

    def _relay_auth(self, tunnel: Auth) -> Auth:
        key, secret = _secret(self.relay_api_key), _secret(self.relay_jwt_secret) or _secret(self.udp_relay_jwt_secret)
        mode = self.relay_auth_mode
        if mode is None:
            mode = "api_key" if key else "jwt" if secret else None
        if mode is None:  # whoever may open a tunnel may use the relay
            return replace(tunnel, binds_origin=False)
        if mode == "jwt" and not secret:
            raise UsageError("AUTH_MODE jwt needs JWT_SECRET")
        chosen = choose_auth(
            mode, key or tunnel.token, tunnel.session_secret, False, secret, variable="AUTH_MODE", binds_origin=False
        )
        return chosen


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _name_entry(entry: str) -> tuple[str, bytes]:
    name, equals, address = (part.strip() for part in entry.partition("="))
    name = name.rstrip(".").lower()
    try:
        packed = ip(address)
    except UsageError:
        packed = b""
    if not equals or not name or len(packed) != 4:
        raise ValueError(f"must be name=ipv4, not {entry!r}")
    return name, packed


def _forward_entry(entry: str) -> tuple[Endpoint, Target]:
    left, equals, right = (part.strip() for part in entry.partition("="))
    address, colon, port = left.rpartition(":")
    host, colon2, host_port = right.rpartition(":")
    try:
        packed = ip(address)
        if not (equals and colon and colon2) or len(packed) != 4:
            raise ValueError
        target = port_number(port, entry), port_number(host_port, entry)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if len(ip(host)) != 16:
                raise ValueError
        elif not host or ":" in host or any(character.isspace() for character in host):
            raise ValueError
    except (ValueError, UsageError):
        raise ValueError(f"must be ipv4:port=host:port, not {entry!r}") from None
    return (packed, target[0]), (host, target[1])
