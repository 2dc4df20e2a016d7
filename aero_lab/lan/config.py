"""What a LAN can be told. Addresses are packed, times nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..bounds import DHCP_DOMAIN
from ..errors import UsageError
from ..limits import (
    LAN_DNS_CACHE,
    LAN_DNS_DEFAULT_TTL,
    LAN_DNS_MAX_TTL,
    LAN_DNS_PENDING,
    LAN_TCP_FLOWS,
    LAN_TCP_IDLE,
    LAN_UDP_FLOWS,
    LAN_UDP_IDLE,
    MTU_DEFAULT,
    RESOLVE_TIMEOUT,
    SECOND,
)
from ..stack.config import StackConfig, TcpConfig
from ..wire.address import ip, link_local, mac
from ..wire.dns import Record
from ..wire.rdata import name_labels
from .policy import Policy

Endpoint = tuple[bytes, int]
Target = tuple[bytes | str, int]
"""Where a forward leads: a packed address or a host name, and a port."""
GATEWAY6 = ip("fd00:aee0::2")
"""What the gateway of a LAN with IPv6 is usually called: an address in a /64 of its own (RFC 4193)."""
ACK_POLICIES = ("early", "mirror")
GATEWAY_TCP = TcpConfig(nagle=False, time_wait=SECOND, keepalive_idle=LAN_TCP_IDLE)
WINDOW_SEGMENTS = 16
"""Full segments that the gateway's buffers hold at least."""
SPARE_SLOTS = 64
"""Connection slots beyond the limit of flows: for those being turned down, and for some in TIME-WAIT."""


@dataclass(frozen=True)
class LanConfig:
    """One synthetic LAN: gateway, DHCP server and DNS server are one host, the guest is the other."""

    gateway: bytes = ip("10.0.2.2")
    guest: bytes = ip("10.0.2.15")
    """The only lease there is."""
    prefix_len: int = 24
    mac: bytes = mac("02:00:00:00:00:01")
    """Hardware address of the gateway, and so of everything behind it."""
    gateway6: bytes | None = None
    """IPv6 address of the gateway in a /64, for instance :data:`GATEWAY6`; None: IPv4 only."""
    mtu: int = MTU_DEFAULT
    medium: str = "ethernet"
    tcp: TcpConfig = GATEWAY_TCP
    """TCP towards the guest. Without Nagle: the far side has decided already how to cut its stream. TIME-WAIT is short:
    on one wire nothing old can still be under way, and a slot that waits cannot serve. Keepalive finds out guests that
    have gone. Where segments are so large that its buffers hold few of them, the default has larger ones."""
    names: Mapping[str, bytes | tuple[bytes, ...]] = field(default_factory=dict)
    """Names answered from here without asking anyone, each with its address or addresses; the address policy does not
    judge them."""
    records: tuple[Record, ...] = ()
    """Records of other types beside them: CNAME, TXT, MX, SRV, PTR."""
    forward_tcp: Mapping[Endpoint, Target] = field(default_factory=dict)
    """(address, port) that the guest aims at -> where the connection goes instead; above the policy but for ports. A
    host name there is looked up for each connection, IPv4 preferred."""
    forward_udp: Mapping[Endpoint, Target] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    require_lease: bool = False
    """Carry nothing but ARP, DHCP and DNS until a lease was acknowledged, as the original does. By default a guest with
    static configuration works too."""
    lease_time: int = 86400
    """Seconds; T1 and T2 are a half and seven eighths of it."""
    dhcp_always_ack: bool = False
    """Acknowledge every REQUEST of every client with our one lease, as the original does. By default one that asks to
    keep another address is refused, so that the client asks afresh, and so is one while another client has the
    lease."""
    domain: str = ""
    """Domain that DHCP tells clients to search names in; empty: none."""
    ack_policy: str = "early"
    """When the guest's TCP hears that its bytes arrived: ``"early"``, when they are here, or ``"mirror"``, when the far
    TCP acknowledged them; see :mod:`aero_lab.lan.mirror`."""
    max_tcp: int = LAN_TCP_FLOWS
    max_udp: int = LAN_UDP_FLOWS
    udp_idle: int = LAN_UDP_IDLE
    """0: never."""
    dns_timeout: int = RESOLVE_TIMEOUT
    dns_pending: int = LAN_DNS_PENDING
    dns_cache: int = LAN_DNS_CACHE
    """Names remembered; 0: none."""
    dns_max_ttl: int = LAN_DNS_MAX_TTL
    dns_default_ttl: int = LAN_DNS_DEFAULT_TTL

    def __post_init__(self) -> None:
        for name in ("gateway", "guest"):
            if len(getattr(self, name)) != 4:
                raise UsageError(f"{name} must be a packed IPv4 address")
        if self.gateway6 is not None and len(self.gateway6) != 16:
            raise UsageError("gateway6 must be a packed IPv6 address")
        if not 8 <= self.prefix_len <= 30:
            raise UsageError(f"prefix_len must be 8 to 30, not {self.prefix_len}")
        if not 60 <= self.lease_time < 1 << 32:
            raise UsageError(f"lease_time must be 60 s or more, not {self.lease_time}")
        if self.ack_policy not in ACK_POLICIES:
            raise UsageError(f"ack_policy must be one of {', '.join(ACK_POLICIES)}, not {self.ack_policy!r}")
        name_labels(self.domain)  # raises for what is no name
        if len(self.domain) > DHCP_DOMAIN:
            raise UsageError(f"domain must be at most {DHCP_DOMAIN} characters long")
        for name in ("max_tcp", "max_udp", "udp_idle", "dns_pending", "dns_cache"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative")

    @property
    def static_names(self) -> dict[str, tuple[bytes, ...]]:
        """:attr:`names` as the DNS server looks them up: lower case, no trailing dot, a tuple of addresses each."""
        return {
            name.rstrip(".").lower(): (value,) if isinstance(value, bytes) else tuple(value)
            for name, value in self.names.items()
        }

    @property
    def addresses(self) -> tuple[tuple[bytes, int], ...]:
        """The gateway's own addresses with their prefix lengths."""
        own: tuple[tuple[bytes, int], ...] = ((self.gateway, self.prefix_len),)
        if self.gateway6 is not None:
            own += ((self.gateway6, 64), (link_local(self.mac), 64))
        return own

    def stack(self) -> StackConfig:
        """Configuration of the gateway's stack."""
        # A few segments in flight would make each wait for the one before: the default grows with large segments.
        least = WINDOW_SEGMENTS * self.mtu
        tcp = self.tcp
        if tcp == GATEWAY_TCP and least > tcp.recv_buffer:
            tcp = replace(tcp, send_buffer=least, recv_buffer=least)
        return StackConfig(
            role="gateway",
            medium=self.medium,
            mac=self.mac,
            addresses=self.addresses,
            mtu=self.mtu,
            max_connections=self.max_tcp + SPARE_SLOTS,
            tcp=tcp,
        )
