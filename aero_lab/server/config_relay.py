"""Settings of the relay: who may use it, what datagrams it carries, to where, how many."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import SecretStr, field_validator
from pydantic_settings import NoDecode

from .settings import DAY_MS, Settings, entries, number, setting

_FILTERS = {
    "any": "any",
    "full_cone": "any",
    "address_and_port": "address_and_port",
    "addrport": "address_and_port",
    "address+port": "address_and_port",
}


@dataclass(frozen=True)
class AllowRule:
    """What may be reached: a name or the names below it, or a network, at some ports."""

    name: str = ""
    """Lower case; ``*.suffix`` means the names below it."""
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
    ports: range = range(1, 65_536)

    @classmethod
    def parse(cls, text: str) -> AllowRule:
        """``host:port``, ``*.domain:port``, ``network/bits:port``; ``*`` is any port. Raises ValueError."""
        host, colon, port = text.strip().rpartition(":")
        if not colon or not host:
            raise ValueError(f"must be host:port, not {text!r}")
        ports = range(1, 65_536) if port.strip() == "*" else port_range(port)
        bare = host.strip().removeprefix("[").replace("]", "", 1)
        try:
            return cls(network=ipaddress.ip_network(bare, strict=False), ports=ports)
        except ValueError:
            name = host.strip().rstrip(".").lower()
        if "/" in name or ":" in name or "*" in name.removeprefix("*.") or not name.removeprefix("*."):
            raise ValueError(f"must be host:port, not {text!r}")
        return cls(name, ports=ports)

    def names(self, host: str, port: int) -> bool:
        """Whether it is about this name."""
        if self.network is not None or port not in self.ports:
            return False
        return host.endswith(self.name[1:]) if self.name.startswith("*.") else host == self.name

    def covers(self, address: bytes, port: int) -> bool:
        """Whether it is about this address."""
        return self.network is not None and port in self.ports and ipaddress.ip_address(address) in self.network


class RelaySettings(Settings):
    """What the original's relay is told; times are milliseconds where the name says so, else seconds."""

    # Who may use it
    relay_auth_mode: Literal["none", "api_key", "jwt"] | None = setting(None, "AUTH_MODE")
    """None: jwt or api_key by what is configured, else as the tunnels."""
    relay_api_key: SecretStr | None = setting(None, "API_KEY")
    relay_jwt_secret: SecretStr | None = setting(None, "JWT_SECRET")
    """None: that of the tokens which ``/udp-relay/token`` gives out."""
    relay_auth_timeout_ms: int = number(2000, "SIGNALING_AUTH_TIMEOUT_MS", least=1, most=60_000)
    max_sessions: int = number(0, "MAX_SESSIONS", most=1_000_000)

    # Datagrams
    max_datagram_payload_bytes: int = number(1200, "MAX_DATAGRAM_PAYLOAD_BYTES", least=1, most=65_507)
    prefer_v2: bool = setting(False, "PREFER_V2")
    """Answers of IPv4 in the second framing once the client has used it."""
    max_udp_bindings_per_session: int = number(128, "MAX_UDP_BINDINGS_PER_SESSION", least=1, most=65_535)
    udp_binding_idle_timeout_ms: int = number(60_000, "UDP_BINDING_IDLE_TIMEOUT_MS", least=1, most=DAY_MS)
    udp_inbound_filter_mode: Literal["address_and_port", "any"] = setting(
        "address_and_port", "UDP_INBOUND_FILTER_MODE", "AERO_PROXY_UDP_RELAY_INBOUND_FILTER_MODE"
    )
    """Whose datagrams a guest's port lets in: those it has sent to, or anybody's (full cone)."""
    udp_remote_allowlist_idle_timeout_ms: int = number(0, "UDP_REMOTE_ALLOWLIST_IDLE_TIMEOUT_MS", most=DAY_MS)
    """0: as the bindings."""
    max_allowed_remotes_per_binding: int = number(1024, "MAX_ALLOWED_REMOTES_PER_BINDING", least=1, most=65_535)
    datachannel_send_queue_bytes: int = number(1 << 20, "DATACHANNEL_SEND_QUEUE_BYTES", least=1, most=1 << 28)
    relay_idle_timeout_ms: int = number(60_000, "SIGNALING_WS_IDLE_TIMEOUT_MS", most=DAY_MS)
    relay_ping_interval_ms: int = number(20_000, "SIGNALING_WS_PING_INTERVAL_MS", most=DAY_MS)

    # Where to
    destination_policy_preset: Literal["prod", "dev"] | None = setting(None, "DESTINATION_POLICY_PRESET")
    """None: public unicast, as of the other endpoints."""
    allow_private_networks: bool | None = setting(None, "ALLOW_PRIVATE_NETWORKS")
    allow_udp_cidrs: Annotated[tuple[str, ...], NoDecode] = setting((), "ALLOW_UDP_CIDRS")
    deny_udp_cidrs: Annotated[tuple[str, ...], NoDecode] = setting((), "DENY_UDP_CIDRS")
    allow_udp_ports: Annotated[tuple[str, ...], NoDecode] = setting((), "ALLOW_UDP_PORTS")
    """``53``, ``30000-30100``."""
    deny_udp_ports: Annotated[tuple[str, ...], NoDecode] = setting((), "DENY_UDP_PORTS")

    dev_allow: Annotated[tuple[AllowRule, ...], NoDecode] = setting((), "AERO_PROXY_ALLOW")
    """``host:port`` rules; when there are any, nothing else may be reached."""
    dev_open: bool = setting(False, "AERO_PROXY_OPEN", exactly_one=True)
    """Private addresses may be reached, and what no rule names."""

    # How much
    max_udp_pps_per_session: int = number(0, "MAX_UDP_PPS_PER_SESSION", most=1 << 40)
    max_udp_bps_per_session: int = number(0, "MAX_UDP_BPS_PER_SESSION", most=1 << 40)
    max_udp_pps_per_dest: int = number(0, "MAX_UDP_PPS_PER_DEST", most=1 << 40)
    max_dc_bps_per_session: int = number(0, "MAX_DC_BPS_PER_SESSION", most=1 << 40)
    max_unique_destinations_per_session: int = number(0, "MAX_UNIQUE_DESTINATIONS_PER_SESSION", most=1 << 20)
    max_udp_dest_buckets_per_session: int = number(1024, "MAX_UDP_DEST_BUCKETS_PER_SESSION", least=1, most=1 << 20)
    hard_close_after_violations: int = number(0, "HARD_CLOSE_AFTER_VIOLATIONS", most=1 << 30)
    violation_window_seconds: int = number(10, "VIOLATION_WINDOW_SECONDS", least=1, most=86_400)

    @field_validator("allow_udp_cidrs", "deny_udp_cidrs", mode="before")
    @classmethod
    def _cidr_lists(cls, value: object) -> object:
        return entries(value) if isinstance(value, str) else value

    @field_validator("dev_allow", mode="before")
    @classmethod
    def _allow_rules(cls, value: object) -> object:
        return tuple(map(AllowRule.parse, entries(value))) if isinstance(value, str) else value

    @field_validator("allow_udp_cidrs", "deny_udp_cidrs")
    @classmethod
    def _cidrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError:
                raise ValueError(f"not a network: {entry!r}") from None
        return value

    @field_validator("allow_udp_ports", "deny_udp_ports", mode="before")
    @classmethod
    def _port_lists(cls, value: object) -> object:
        return entries(value) if isinstance(value, str) else value

    @field_validator("allow_udp_ports", "deny_udp_ports")
    @classmethod
    def _port_ranges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            port_range(entry)
        return value

    @field_validator("udp_inbound_filter_mode", mode="before")
    @classmethod
    def _filter(cls, value: object) -> object:
        return _FILTERS.get(value.strip().lower(), value) if isinstance(value, str) else value

    @field_validator("relay_auth_mode", "destination_policy_preset", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value


def port_range(text: str) -> range:
    """The ports that ``"53"`` or ``"30000-30100"`` means. Raises ValueError."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    numbers = [first, last] if dash else [first, first]
    if not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in numbers):
        raise ValueError(f"not a port or a range of ports: {text!r}")
    low, high = map(int, numbers)
    if not 1 <= low <= high <= 65_535:
        raise ValueError(f"not a port or a range of ports: {text!r}")
    return range(low, high + 1)
