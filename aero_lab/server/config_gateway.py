"""Settings of the gateway: sessions, names over HTTP, sockets one by one, what HTTP requests get."""

from __future__ import annotations

import ssl
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from ..errors import UsageError
from .origin import BadOrigin, normalize_origin
from .settings import DAY_MS, Settings, entries, number, port_number, setting

PREFIX = "/aero"
"""The path that a public URL may put before every route."""


class GatewaySettings(Settings):
    """What the original's gateway is told; times are milliseconds where the name says so, else seconds."""

    # HTTP
    public_base_url: str | None = setting(None, "PUBLIC_BASE_URL")
    """``http(s)://host[:port][/aero]``: its origin may call, its path stands before the endpoints that ``/session``
    tells."""
    cross_origin_isolation: bool = setting(False, "CROSS_ORIGIN_ISOLATION")
    rate_limit_requests_per_minute: int = number(0, "RATE_LIMIT_REQUESTS_PER_MINUTE", most=1_000_000)
    """Of one client address; 0: no limit."""
    tls_enabled: bool = setting(False, "TLS_ENABLED")
    tls_cert_path: str | None = setting(None, "TLS_CERT_PATH")
    tls_key_path: str | None = setting(None, "TLS_KEY_PATH")

    # Sessions
    gateway_auth_mode: str | None = setting(None, "AERO_GATEWAY_AUTH_MODE")
    """Who may use ``/tcp``, ``/tcp-mux`` and the name endpoints; as ``auth_mode`` if it is not told."""
    session_ttl_seconds: int = number(86_400, "SESSION_TTL_SECONDS", least=1, most=366 * 86_400)
    session_cookie_samesite: Literal["Lax", "Strict", "None"] = setting("Lax", "SESSION_COOKIE_SAMESITE")
    session_needs_token: bool = setting(False, "AERO_GATEWAY_SESSION_NEEDS_TOKEN")
    """Sessions are handed out for the token only, not to whoever asks."""

    # Tokens for a UDP relay
    udp_relay_base_url: str | None = setting(None, "UDP_RELAY_BASE_URL")
    udp_relay_auth_mode: Literal["none", "api_key", "jwt"] = setting("none", "UDP_RELAY_AUTH_MODE")
    udp_relay_api_key: SecretStr | None = setting(None, "UDP_RELAY_API_KEY")
    udp_relay_jwt_secret: SecretStr | None = setting(None, "UDP_RELAY_JWT_SECRET")
    udp_relay_audience: str | None = setting(None, "UDP_RELAY_AUDIENCE")
    udp_relay_issuer: str | None = setting(None, "UDP_RELAY_ISSUER")
    udp_relay_token_ttl_seconds: int = number(300, "UDP_RELAY_TOKEN_TTL_SECONDS", least=1, most=86_400)

    # Names
    dns_upstreams: Annotated[tuple[str, ...], NoDecode] = setting((), "DNS_UPSTREAMS")
    """``host[:port]``, ``udp://``, ``[v6]:port``, or an http(s) URL; none: this host's own resolvers."""
    dns_upstream_timeout_ms: int = number(2000, "DNS_UPSTREAM_TIMEOUT_MS", least=1, most=60_000)
    dns_max_query_bytes: int = number(4096, "DNS_MAX_QUERY_BYTES", least=12, most=65_535)
    dns_max_response_bytes: int = number(4096, "DNS_MAX_RESPONSE_BYTES", least=512, most=65_535)
    dns_allow_any: bool = setting(False, "DNS_ALLOW_ANY")
    dns_allow_private_ptr: bool = setting(False, "DNS_ALLOW_PRIVATE_PTR")
    dns_qps_per_ip: int = number(10, "DNS_QPS_PER_IP", most=1_000_000)
    dns_burst_per_ip: int = number(20, "DNS_BURST_PER_IP", most=1_000_000)
    dns_cache_max_entries: int = number(10_000, "DNS_CACHE_MAX_ENTRIES", most=1_000_000)
    dns_cache_max_ttl_seconds: int = number(300, "DNS_CACHE_MAX_TTL_SECONDS", most=86_400)
    dns_cache_negative_ttl_seconds: int = number(60, "DNS_CACHE_NEGATIVE_TTL_SECONDS", most=86_400)

    # Sockets
    tcp_proxy_max_connections: int = number(64, "TCP_PROXY_MAX_CONNECTIONS", most=65_535)
    """TCP connections of one session, of ``/tcp`` and in ``/tcp-mux`` together; 0: no limit."""
    tcp_proxy_max_connections_per_ip: int = number(0, "TCP_PROXY_MAX_CONNECTIONS_PER_IP", most=1_000_000)
    """The same, of one client address."""
    tcp_proxy_max_message_bytes: int = number(1_048_576, "TCP_PROXY_MAX_MESSAGE_BYTES", least=1, most=16_777_216)
    tcp_proxy_max_tcp_buffer_bytes: int = number(10_485_760, "TCP_PROXY_MAX_TCP_BUFFER_BYTES", least=1, most=1 << 30)
    tcp_proxy_connect_timeout_ms: int = number(10_000, "TCP_PROXY_CONNECT_TIMEOUT_MS", least=1, most=DAY_MS)
    tcp_proxy_idle_timeout_ms: int = number(300_000, "TCP_PROXY_IDLE_TIMEOUT_MS", most=DAY_MS)
    tcp_mux_max_streams: int = number(1024, "TCP_MUX_MAX_STREAMS", least=1, most=65_535)
    tcp_mux_max_stream_buffer_bytes: int = number(
        1_048_576, "TCP_MUX_MAX_STREAM_BUFFER_BYTES", least=1, most=67_108_864
    )
    tcp_mux_max_frame_payload_bytes: int = number(
        16_777_216, "TCP_MUX_MAX_FRAME_PAYLOAD_BYTES", least=1, most=16_777_216
    )
    tcp_allowed_ports: Annotated[frozenset[int], NoDecode] = setting(frozenset(), "TCP_ALLOWED_PORTS")
    """None: all."""
    tcp_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = setting((), "TCP_ALLOWED_HOSTS")
    """Patterns: an exact name, ``*.suffix`` (names below it alone), or an IP address."""
    tcp_blocked_hosts: Annotated[tuple[str, ...], NoDecode] = setting((), "TCP_BLOCKED_HOSTS")
    tcp_require_dns_name: bool = setting(False, "TCP_REQUIRE_DNS_NAME")
    tcp_allow_private_ips: bool = setting(False, "TCP_ALLOW_PRIVATE_IPS")
    tcp_blocked_client_ips: Annotated[frozenset[str], NoDecode] = setting(frozenset(), "TCP_BLOCKED_CLIENT_IPS")

    @field_validator("dns_upstreams", "tcp_allowed_hosts", "tcp_blocked_hosts", "tcp_blocked_client_ips", mode="before")
    @classmethod
    def _lists(cls, value: object) -> object:
        return entries(value) if isinstance(value, str) else value

    @field_validator("tcp_allowed_ports", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return frozenset(port_number(entry, entry) for entry in entries(value)) if isinstance(value, str) else value

    @field_validator("session_cookie_samesite", mode="before")
    @classmethod
    def _samesite(cls, value: object) -> object:
        return value.strip().capitalize() if isinstance(value, str) else value

    @field_validator("udp_relay_auth_mode", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("public_base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        try:
            normalize_origin(f"{parts.scheme}://{parts.netloc}")
            if parts.query or parts.fragment or parts.path.rstrip("/") not in ("", PREFIX):
                raise BadOrigin(f"its path may be {PREFIX} or nothing")
        except BadOrigin as error:
            raise ValueError(f"must be http(s)://host[:port][{PREFIX}], not {value!r} ({error})") from None
        return value.rstrip("/")

    @field_validator("udp_relay_base_url")
    @classmethod
    def _relay_url(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("http", "https", "ws", "wss"):
            raise ValueError(f"must be an http(s) or ws(s) URL, not {value!r}")
        return value.rstrip("/") if value is not None else None

    @model_validator(mode="after")
    def _relay_tokens(self) -> Self:
        if self.udp_relay_base_url is not None:
            if self.udp_relay_auth_mode == "jwt" and self.udp_relay_jwt_secret is None:
                raise ValueError("UDP_RELAY_AUTH_MODE jwt needs UDP_RELAY_JWT_SECRET")
            if self.udp_relay_auth_mode == "api_key" and self.udp_relay_api_key is None:
                raise ValueError("UDP_RELAY_AUTH_MODE api_key needs UDP_RELAY_API_KEY")
        if self.tls_enabled and not (self.tls_cert_path and self.tls_key_path):
            raise ValueError("TLS_ENABLED needs TLS_CERT_PATH and TLS_KEY_PATH")
        return self

    @property
    def tls(self) -> ssl.SSLContext | None:
        """To speak TLS with, None for plain HTTP. Raises :class:`UsageError` for files that cannot be used."""
        if not self.tls_enabled:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.tls_cert_path or "", self.tls_key_path)
        except (OSError, ValueError) as error:
            raise UsageError(f"TLS_CERT_PATH, TLS_KEY_PATH: cannot use {self.tls_cert_path}: {error}") from None
        return context

    @property
    def public_prefix(self) -> str:
        """The path before the endpoints that ``/session`` tells."""
        return urlsplit(self.public_base_url).path if self.public_base_url else ""

    @property
    def public_origin(self) -> str | None:
        """The origin of the public URL."""
        if self.public_base_url is None:
            return None
        parts = urlsplit(self.public_base_url)
        return normalize_origin(f"{parts.scheme}://{parts.netloc}")
