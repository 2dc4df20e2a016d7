"""What lies beyond the proxy: the host's own sockets, or a far end in virtual time.

A world gives the egress of each LAN and says which names and addresses of the hermetic lab lead where. Everything
else about a lab is the same in both.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

from .bounds import RELAY_RESOLVE_TIMEOUT
from .driver import Driver
from .egress.contract import Egress, EgressSink
from .lan import LanConfig, Policy
from .lan.config import GATEWAY6, Target
from .lan.policy import Beyond
from .limits import IPV6_MTU_MIN, MTU_DEFAULT
from .services import RECORDS, identity_forwards, names

Endpoint = tuple[bytes, int]


class World(Protocol):
    """Where the flows of a LAN end."""

    def lan_config(self, mtu: int = MTU_DEFAULT, ipv6: bool = True) -> LanConfig:
        """Configuration of a LAN that leads into this world, with IPv6 beside IPv4 where the MTU allows it."""
        ...

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        """A fresh egress for one LAN."""
        ...

    def close(self) -> None:
        """Let go of everything. May be called twice."""
        ...


class HostWorld:
    """Ordinary sockets of this host; used on the driver's loop.

    Parameters
    ----------
    driver: woken when a socket has something to say.
    forward_tcp, forward_udp: (lab address, port) -> where the services really listen.
    policy: what guests may reach beside that.
    ack_policy: when a guest's TCP hears that its bytes arrived, ``"early"`` or ``"mirror"``.
    far: what speaks TCP/IP to the guest: ``"lan"``, a stack of ours, or ``"kernel"``, see :mod:`aero_lab.hostnet`.
    """

    def __init__(
        self,
        driver: Driver,
        forward_tcp: Mapping[Endpoint, Target],
        forward_udp: Mapping[Endpoint, Target],
        policy: Policy | None = None,
        ack_policy: str = "early",
        far: str = "lan",
    ):
        self._driver = driver
        self._far = far
        self._ack_policy = ack_policy
        self._forward_tcp, self._forward_udp = dict(forward_tcp), dict(forward_udp)
        self._policy = policy or Policy()
        self._made: list[Any] = []

    def for_driver(self, driver: Driver) -> HostWorld:
        """The same world for another driver's networks."""
        twin = copy.copy(self)
        twin._driver, twin._made = driver, []
        return twin

    def lan_config(self, mtu: int = MTU_DEFAULT, ipv6: bool = True) -> LanConfig:
        return LanConfig(
            mtu=mtu,
            gateway6=_gateway6(mtu, ipv6),
            names=names() if self._forward_tcp else {},
            records=RECORDS if self._forward_tcp else (),
            forward_tcp=self._forward_tcp,
            forward_udp=self._forward_udp,
            policy=self._policy,
            ack_policy=self._ack_policy,
        )

    def lead(self, target: Endpoint, outside: Endpoint) -> None:
        """Lead connections to ``target`` elsewhere too, in networks made from now on."""
        self._forward_tcp[target] = outside

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        from .egress.host import HostEgress

        egress = HostEgress(sink, self._driver.loop, self._driver.wake)
        self._made.append(egress)
        return egress

    def make_stack(self, config: LanConfig, rng: Any, now: int) -> Any:
        """What speaks TCP/IP to a guest, for a LAN that is here."""
        return far_stack(self._far, config, rng, now, self._driver, self._made)

    def close(self) -> None:
        for each in self._made:
            each.stop()
        self._made.clear()


def far_stack(far: str, config: LanConfig, rng: Any, now: int, driver: Driver, made: list[Any]) -> Any:
    """A stack of ours, or the kernel's; what has to be stopped is added to ``made``."""
    if far == "kernel":
        from .hostnet.stack import KernelStack

        stack = KernelStack(config, rng, now, driver)
        made.append(stack)
        return stack
    from .stack import Stack

    return Stack(config.stack(), rng, now)


class FarEndWorld:
    """The services of the lab in virtual time, behind our own TCP; no sockets at all.

    ``ack_policy`` is as in :class:`HostWorld`.
    """

    def __init__(self, ack_policy: str = "early"):
        self._ack_policy = ack_policy

    def lan_config(self, mtu: int = MTU_DEFAULT, ipv6: bool = True) -> LanConfig:
        forward_tcp, forward_udp = identity_forwards()
        return LanConfig(
            mtu=mtu,
            gateway6=_gateway6(mtu, ipv6),
            names=names(),
            records=RECORDS,
            forward_tcp=forward_tcp,
            forward_udp=forward_udp,
            ack_policy=self._ack_policy,
        )

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        from .egress.virtual import VirtualEgress

        return VirtualEgress(sink, rng, now)

    def close(self) -> None:
        """There is nothing to let go of."""


def edge_config(mtu: int = MTU_DEFAULT, ipv6: bool = True, ack_policy: str = "early") -> LanConfig:
    """Configuration of a LAN, or of its edge, that stands at the guest: it knows of nothing beyond the wire, neither
    names nor forwards nor rules, for all of that is the proxy's."""
    return LanConfig(
        mtu=mtu, gateway6=_gateway6(mtu, ipv6), ack_policy=ack_policy, policy=Beyond(),
        dns_timeout=RELAY_RESOLVE_TIMEOUT,
    )  # fmt: skip


def _gateway6(mtu: int, wanted: bool) -> bytes | None:
    return GATEWAY6 if wanted and mtu >= IPV6_MTU_MIN else None
