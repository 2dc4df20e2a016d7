"""What the gateway's and the relay's settings allow, beside the rules of every network."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from ..lan.config import LanConfig
from ..lan.policy import Policy
from ..lan.special_use import special_use
from ..limits import MS
from ..paths.relay_datagrams import UdpLimits
from ..paths.relay_dial import literal
from .config import ServerConfig
from .config_relay import port_range


class TcpRules:
    """``TCP_ALLOWED_PORTS`` and the like: asked for each target before its name is looked up.

    Returns the text of the refusal, or None.
    """

    def __init__(self, config: ServerConfig):
        self._config = config
        self._allowed = tuple(map(_pattern, config.tcp_allowed_hosts))
        self._blocked = tuple(map(_pattern, config.tcp_blocked_hosts))

    def __call__(self, host: str, port: int) -> str | None:
        config, address = self._config, literal(host)
        if config.tcp_allowed_ports and port not in config.tcp_allowed_ports:
            return "Target port not allowed"
        name = host.rstrip(".").lower() if address is None else None
        if any(_matches(pattern, name, address) for pattern in self._blocked):
            return "Target is blocked"
        if self._allowed and not any(_matches(pattern, name, address) for pattern in self._allowed):
            return "Target host not allowed"
        if config.tcp_require_dns_name and address is not None:
            return "IP-literal targets are not allowed"
        return None


def _pattern(text: str) -> str | bytes:
    address = literal(text)
    return address if address is not None else text.strip().rstrip(".").lower()


def _matches(pattern: str | bytes, name: str | None, address: bytes | None) -> bool:
    if isinstance(pattern, bytes):
        return pattern == address
    if name is None:
        return False
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def tcp_config(config: ServerConfig, lan: LanConfig) -> LanConfig:
    """The network's rules as they hold for ``/tcp`` and ``/tcp-mux``."""
    most = config.tcp_mux_max_streams
    if config.tcp_allow_private_ips and not lan.policy.allow_private:
        lan = replace(lan, policy=replace(lan.policy, allow_private=True))
    return replace(lan, max_tcp=max(lan.max_tcp, most))


class UdpRules:
    """``ALLOW_UDP_CIDRS`` and the like; returns the reason against a destination, or None."""

    def __init__(self, config: ServerConfig):
        self._allow = [ipaddress.ip_network(each, strict=False) for each in config.allow_udp_cidrs]
        self._deny = [ipaddress.ip_network(each, strict=False) for each in config.deny_udp_cidrs]
        self._allow_ports = _ports(config.allow_udp_ports)
        self._deny_ports = _ports(config.deny_udp_ports)
        preset = config.destination_policy_preset
        private = config.allow_private_networks
        self._private = preset in (None, "dev") if private is None else private
        self._by_default = preset != "prod"

    def __call__(self, address: bytes, port: int) -> str | None:
        where = ipaddress.ip_address(address)
        if port in self._deny_ports:
            return "port"
        if self._allow_ports and port not in self._allow_ports:
            return "port"
        if not self._private and (why := special_use(address)) is not None:
            return why
        if any(where in network for network in self._deny):
            return "denied-network"
        if self._allow:
            return None if any(where in network for network in self._allow) else "not-allowed-network"
        return None if self._by_default else "not-allowed-network"


def _ports(texts: tuple[str, ...]) -> frozenset[int]:
    return frozenset(port for text in texts for port in port_range(text))


def udp_config(config: ServerConfig, lan: LanConfig) -> LanConfig:
    """The network's rules as they hold for the UDP relay: private destinations where its own settings say so."""
    allowed = config.allow_private_networks
    if allowed is None:
        allowed = config.destination_policy_preset == "dev"
    if allowed and not lan.policy.allow_private:
        policy: Policy = replace(lan.policy, allow_private=True)
        lan = replace(lan, policy=policy)
    return lan


def udp_limits(config: ServerConfig, **more: Any) -> UdpLimits:
    """Bounds of one session."""
    return UdpLimits(
        payload=config.max_datagram_payload_bytes,
        bindings=config.max_udp_bindings_per_session,
        remotes=config.max_allowed_remotes_per_binding,
        idle=config.udp_binding_idle_timeout_ms * MS,
        filter=config.udp_inbound_filter_mode,
        remote_idle=config.udp_remote_allowlist_idle_timeout_ms * MS,
        prefer_v2=config.prefer_v2,
        queue=config.datachannel_send_queue_bytes,
        packet_rate=config.max_udp_pps_per_session,
        byte_rate=config.max_udp_bps_per_session,
        packet_rate_to_one=config.max_udp_pps_per_dest,
        buckets=config.max_udp_dest_buckets_per_session,
        destinations=config.max_unique_destinations_per_session,
        rules=UdpRules(config),
        **more,
    )
