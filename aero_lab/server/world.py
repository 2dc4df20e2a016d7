"""What lies beyond a proxy that serves by its settings: the host's sockets, names and forwards of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..bounds import LAN_ADDRESS_SPACE
from ..driver import Driver
from ..egress.contract import Egress, EgressSink
from ..errors import UsageError
from ..lan import LanConfig, Policy
from ..lan.config import SPARE_SLOTS
from ..limits import LAN_TCP_IDLE, MS, SECOND
from ..stack.config import TcpConfig
from ..wire.address import ip
from ..worlds import far_stack
from .config import Endpoint, ServerConfig, Target

_LEAST_BUFFER, _USUAL_BUFFER = 4096, 256 << 10
"""Bytes of a connection's buffer when the settings allow none at all (some segments have to be somewhere), and towards
the guest."""
_SEGMENTS = 16
"""Segments of the largest size that a buffer holds at least where nothing is asked for: fewer, and TCP stops and waits
when the MTU is large."""


def _targets(forwards: Mapping[Endpoint, Target]) -> dict[Endpoint, tuple[bytes | str, int]]:
    """Forwards with packed addresses; host names stay, to be looked up for each connection."""
    found: dict[Endpoint, tuple[bytes | str, int]] = {}
    for aimed_at, (host, port) in forwards.items():
        try:
            found[aimed_at] = ip(host), port
        except UsageError:
            found[aimed_at] = host, port
    return found


def _power_of_two(size: int) -> int:
    """The largest that is not above ``size``."""
    return 1 << (size.bit_length() - 1)


def policy_of(config: ServerConfig) -> Policy:
    """The egress policy that the settings describe."""
    return Policy(
        allow_private=config.allow_private_ips,
        tcp_ports=config.allowed_tcp_ports,
        udp_ports=config.allowed_udp_ports,
        allowed_domains=config.allowed_domains,
        blocked_domains=config.blocked_domains,
    )


def lan_config(config: ServerConfig) -> LanConfig:
    """The networks that the settings describe."""
    flows = min(config.stack_max_tcp_connections, 65_000)
    # The stack lays out the buffers of all its connections at once; they cost memory only when they are used.
    share = _power_of_two(max(_LEAST_BUFFER, LAN_ADDRESS_SPACE // (2 * (flows + SPARE_SLOTS))))
    usual = max(_USUAL_BUFFER, _SEGMENTS * config.lan_mtu)
    asked_for = "stack_max_buffered_tcp_bytes" in config.model_fields_set
    window = max(_LEAST_BUFFER, config.stack_max_buffered_tcp_bytes if asked_for else usual)
    return LanConfig(
        mtu=config.lan_mtu,
        gateway6=config.gateway6_address,
        names=dict(config.dns_a),
        ack_policy=config.ack_policy,
        forward_tcp=_targets(config.tcp_forward),
        forward_udp=_targets(config.udp_forward),
        policy=policy_of(config),
        tcp=TcpConfig(
            nagle=False,
            time_wait=SECOND,
            keepalive_idle=LAN_TCP_IDLE,
            send_buffer=min(usual, share),
            recv_buffer=min(window, share),
        ),
        max_tcp=flows,
        max_udp=config.max_udp_flows or 65_535,
        udp_idle=config.udp_flow_idle_timeout_ms * MS,
        dns_timeout=config.dns_lookup_timeout_ms * MS,
        dns_pending=config.stack_max_pending_dns,
        dns_cache=config.stack_max_dns_cache_entries,
        dns_max_ttl=config.dns_max_ttl_secs,
        dns_default_ttl=min(config.dns_default_ttl_secs, config.dns_max_ttl_secs),
    )


class ConfiguredWorld:
    """The world of one tunnel."""

    def __init__(self, driver: Driver, lan: LanConfig, connect_timeout: int, far: str = "lan"):
        self._driver, self._lan, self._connect_timeout, self._far = driver, lan, connect_timeout, far
        self._made: list[Any] = []

    def lan_config(self, mtu: int = 0, ipv6: bool = True) -> LanConfig:
        return self._lan

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        from ..egress.host import HostEgress

        egress = HostEgress(
            sink, self._driver.loop, self._driver.wake, self._connect_timeout, resolve_timeout=self._lan.dns_timeout
        )
        self._made.append(egress)
        return egress

    def make_stack(self, config: LanConfig, rng: Any, now: int) -> Any:
        """What speaks TCP/IP to a guest."""
        return far_stack(self._far, config, rng, now, self._driver, self._made)

    def close(self) -> None:
        for each in self._made:
            each.stop()
        self._made.clear()


def configured_worlds(config: ServerConfig) -> Callable[[Driver], ConfiguredWorld]:
    """Makes the world of each tunnel, by the settings."""
    lan = lan_config(config)
    return lambda driver: ConfiguredWorld(driver, lan, config.tcp_connect_timeout_ms * MS, config.far)
