"""Whether a flow may be opened and where it really goes: the rules in their order.

:func:`judge` goes through the rules one by one and stops at the first that says no. The data path wants only where that
ended (:func:`decide`); who wants to know why something is not reached gets every step of the same walk
(:mod:`.explain`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..wire.address import directed_broadcast
from .config import Endpoint, LanConfig, Target
from .policy import Beyond


class Step(NamedTuple):
    """What one rule said."""

    rule: str
    """``forward``, ``gateway``, ``port``, ``address`` or ``limit``."""
    why: str | None = None
    """Reason to turn the flow down; None lets it pass on to the next rule."""
    fact: Any = None
    """What the rule looked at: where the forward map leads, what an address was found to be, a count."""


def judge(config: LanConfig, protocol: str, target: Endpoint, flows: int = 0) -> Iterator[Step]:
    """Steps for one flow of ``protocol`` (``tcp``, ``udp`` or ``icmp``, which has no port) to a target.

    ``flows``: how many of that protocol are open already.
    """
    address, port = target
    policy = config.policy
    forward = _forward(config, protocol, target)
    yield Step("forward", None, forward)
    if forward is None and not isinstance(policy, Beyond):
        if any(address == own for own, _ in config.addresses) or (
            protocol == "udp" and address == directed_broadcast(config.gateway, config.prefix_len)
        ):
            yield Step("gateway", "gateway")
            return
    if protocol != "icmp":
        why = policy.tcp_port(port) if protocol == "tcp" else policy.udp_port(port)
        yield Step("port", why, policy.tcp_ports if protocol == "tcp" else policy.udp_ports)
        if why is not None:
            return
    if forward is None:
        found = policy.examine(address)
        yield Step("address", found.why, found.detail)
        if found.why is not None:
            return
    if protocol != "icmp":
        most = config.max_tcp if protocol == "tcp" else config.max_udp
        yield Step("limit", "limit" if flows >= most else None, (flows, most))


def decide(config: LanConfig, protocol: str, target: Endpoint, flows: int = 0) -> tuple[Target, str | None]:
    """Where the flow goes, and why it must not be opened (None: it may)."""
    outside: Target = target
    why = None
    for step in judge(config, protocol, target, flows):
        if step.rule == "forward" and step.fact is not None:
            outside = step.fact
        why = step.why
    return outside, why


def whither(config: LanConfig, protocol: str, target: Endpoint, flows: int = 0) -> tuple[Target, str | None]:
    """The same for who is no guest of the LAN and names targets itself: where a flow goes, and why it must not be
    opened. There is no gateway for it, and the policy is asked about address and port in one."""
    address, port = target
    forward, policy = _forward(config, protocol, target), config.policy
    if forward is not None:
        why = policy.tcp_port(port) if protocol == "tcp" else policy.udp_port(port)
    else:
        why = policy.tcp(address, port) if protocol == "tcp" else policy.udp(address, port)
    if why is None and flows >= (config.max_tcp if protocol == "tcp" else config.max_udp):
        why = "limit"
    return forward or target, why


def _forward(config: LanConfig, protocol: str, target: Endpoint) -> Target | None:
    if protocol == "tcp":
        return config.forward_tcp.get(target)
    if protocol == "udp":
        return config.forward_udp.get(target)
    for forwards in (config.forward_tcp, config.forward_udp):
        for (address, _), outside in forwards.items():
            if address == target[0]:
                return outside[0], 0
    return None
