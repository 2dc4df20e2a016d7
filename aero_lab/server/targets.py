"""Where clients of the gateway and the relay may go: by name and port before anything is looked up, by address after.

The rules of a world (special-use addresses of both families, whatever form they hide in) stand beneath these: what they
deny is denied here too, unless a setting says otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from ..errors import UsageError
from ..lan.policy import Policy
from ..lan.special_use import NEVER_ALLOWED, Finding
from ..wire.address import ip
from .config import ServerConfig
from .config_relay import AllowRule, port_range
from .metrics_gateway import GatewayMetrics

Rules = Callable[[str, int], str | None]
"""``rules(host, port)``: None, or why a client may not ask for that."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _literal(host: str) -> bytes | None:
    try:
        return ip(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except (UsageError, ValueError):
        return None


def _ascii(host: str) -> str:
    """A name as resolvers know it."""
    host = host.rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode().lower()
    except UnicodeError:
        return host


def matches(pattern: str, host: str) -> bool:
    """Whether a host is what a pattern means: the same name, ``*.suffix`` (names below it alone), the same address."""
    wanted, given = _literal(pattern), _literal(host)
    if wanted is not None or given is not None:
        return wanted == given
    pattern, host = _ascii(pattern), _ascii(host)
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def tcp_rules(config: ServerConfig, metrics: GatewayMetrics | None = None) -> Rules:
    """The settings' rules for TCP targets: ports, then hosts."""

    def blocked(text: str) -> str:
        if metrics is not None:
            metrics.blocked_host.inc()
        return text

    def judge(host: str, port: int) -> str | None:
        if config.tcp_allowed_ports and port not in config.tcp_allowed_ports:
            return "Target port not allowed"
        if any(matches(pattern, host) for pattern in config.tcp_blocked_hosts):
            return blocked("Target is blocked")
        if config.tcp_allowed_hosts and not any(matches(pattern, host) for pattern in config.tcp_allowed_hosts):
            return blocked("Target host not allowed")
        address = _literal(host)
        if config.tcp_require_dns_name and address is not None:
            return blocked("IP-literal targets are not allowed")
        if config.dev_allow and not config.dev_open:
            rules = config.dev_allow
            if not any(
                rule.names(_ascii(host), port) if address is None else rule.covers(address, port) for rule in rules
            ):
                return blocked("Target is not allowed")
        return None

    return judge


@dataclass(frozen=True)
class TargetPolicy(Policy):
    """A world's policy with the settings of gateway and relay above it.

    TCP goes to what the world allows, to private addresses where ``private_tcp`` is set, and to what ``rules`` allow.
    Datagrams go where the relay's own order of rules leads: ports, private ranges, denied, allowed networks, default.
    """

    private_tcp: bool = False
    rules: tuple[AllowRule, ...] = ()
    open: bool = False
    preset: str | None = None
    private_udp: bool = False
    denied_ports: tuple[range, ...] = ()
    allowed_ports: tuple[range, ...] = ()
    denied_networks: tuple[Network, ...] = ()
    allowed_networks: tuple[Network, ...] = ()
    denied_address: Callable[[], None] | None = field(default=None, compare=False)
    """Told of each TCP target that was denied for its address."""

    def tcp(self, address: bytes, port: int) -> str | None:
        why = self.tcp_port(port)
        if why is None and not any(rule.covers(address, port) for rule in self.rules):
            why = self._examine(address, self.private_tcp or self.open).why
            if why is not None and self.denied_address is not None:
                self.denied_address()
        return why

    def udp(self, address: bytes, port: int) -> str | None:
        if not port or any(port in ports for ports in self.denied_ports) or self.udp_port(port):
            return "port"
        if self.allowed_ports and not any(port in ports for ports in self.allowed_ports):
            return "port"
        if any(rule.covers(address, port) for rule in self.rules):
            return None
        why = self._examine(address, self.private_udp or self.open).why
        if why is not None:
            return why
        numeric = ipaddress.ip_address(address)
        if any(numeric in network for network in self.denied_networks):
            return "network"
        if self.allowed_networks:
            return None if any(numeric in network for network in self.allowed_networks) else "network"
        return "preset" if self.preset == "prod" else None

    def _examine(self, address: bytes, private: bool) -> Finding:
        found = self.examine(address)
        if private and found.why is not None and found.why not in NEVER_ALLOWED:
            return Finding(None, f"{found.detail}; such addresses are allowed here")
        return found


def target_policy(config: ServerConfig, world: Policy, metrics: GatewayMetrics | None = None) -> TargetPolicy:
    """What the settings make of a world's policy."""
    kept = {each.name: getattr(world, each.name) for each in fields(Policy) if each.init}
    private = config.allow_private_networks
    return TargetPolicy(
        **kept,
        private_tcp=config.tcp_allow_private_ips,
        rules=config.dev_allow,
        open=config.dev_open,
        preset=config.destination_policy_preset,
        private_udp=config.destination_policy_preset == "dev" if private is None else private,
        denied_ports=tuple(map(port_range, config.deny_udp_ports)),
        allowed_ports=tuple(map(port_range, config.allow_udp_ports)),
        denied_networks=tuple(ipaddress.ip_network(each, strict=False) for each in config.deny_udp_cidrs),
        allowed_networks=tuple(ipaddress.ip_network(each, strict=False) for each in config.allow_udp_cidrs),
        denied_address=metrics.blocked_ip.inc if metrics is not None else None,
    )
