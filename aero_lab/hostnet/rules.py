"""What the namespace of a kernel far side is told: addresses and routes for ``ip``, translation for ``nft``.

::

    tunnel == guest0 (TAP or TUN) ── the namespace's kernel ── up0 (TUN) == the LAN's services, UDP, echoes
                                          |
                                          '── TCP, redirected: sockets of that kernel == the LAN's TCP NAT

The kernel routes, answers ARP and neighbour discovery, and ends TCP. Datagrams and echoes it masquerades as its own
address on ``up0``; what is for the gateway itself goes there too, translated to :attr:`Addresses.inner`. Nothing else
comes in, and nothing is forwarded anywhere else: the namespace has no other way out.
"""

from __future__ import annotations

from dataclasses import dataclass

GUEST, UPLINK = "guest0", "up0"
INNER4, OUTER4, INNER_PREFIX = "198.18.255.2", "198.18.255.1", 30
"""Both ends of ``up0``: addresses for tests of network equipment (RFC 2544), which nobody's guest has a use for."""
INNER6, OUTER6, INNER_PREFIX6 = "fd00:aee1::2", "fd00:aee1::1", 64


@dataclass(frozen=True)
class Addresses:
    """The addresses of a network, as text."""

    gateway: str
    prefix: int
    gateway6: str | None
    link_local: str | None
    """Of the gateway, where there is IPv6."""


def sysctls(addresses: Addresses) -> dict[str, int]:
    """Settings of the namespace, to be made before its interfaces."""
    found = {"net.ipv4.ip_forward": 1}
    if addresses.gateway6 is not None:
        # On a wire of one's own nobody has the address already; and interfaces have those that they are given.
        found |= {
            "net.ipv6.conf.all.forwarding": 1,
            "net.ipv6.conf.default.dad_transmits": 0,
            "net.ipv6.conf.default.addr_gen_mode": 1,
        }
    return found


def interfaces(addresses: Addresses) -> str:
    """Commands for ``ip -batch``."""
    lines = [
        f"address add {addresses.gateway}/{addresses.prefix} dev {GUEST}",
        f"address add {OUTER4}/{INNER_PREFIX} dev {UPLINK}",
        f"link set {GUEST} up",
        f"link set {UPLINK} up",
        f"route add default via {INNER4} dev {UPLINK}",
    ]
    if addresses.gateway6 is not None:
        lines += [
            f"address add {addresses.gateway6}/64 dev {GUEST} nodad",
            f"address add {OUTER6}/{INNER_PREFIX6} dev {UPLINK} nodad",
            f"route add ::/0 via {INNER6} dev {UPLINK}",
            f"address add {addresses.link_local}/64 dev {GUEST} nodad",
        ]
    return "".join(f"{line}\n" for line in lines)


def translation(addresses: Addresses, port: int | str) -> str:
    """The tables for ``nft -f``; ``port`` is where redirected connections are taken."""
    to_inner = [f"ip daddr {addresses.gateway} udp dport != 67 dnat ip to {INNER4}"]
    from_inner = [f"ip saddr {INNER4} snat ip to {addresses.gateway}"]
    if addresses.gateway6 is not None:
        to_inner.append(
            f"ip6 daddr {{ {addresses.gateway6}, {addresses.link_local} }} meta l4proto udp dnat ip6 to {INNER6}"
        )
        from_inner.append(f"ip6 saddr {INNER6} snat ip6 to {addresses.gateway6}")
    arriving = "\n".join(f'        iifname "{GUEST}" {rule}' for rule in to_inner)
    leaving = "\n".join(f'        oifname "{GUEST}" {rule}' for rule in from_inner)
    return f"""\
table inet aero {{
    chain arriving {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "{GUEST}" meta l4proto tcp redirect to :{port}
{arriving}
    }}
    chain leaving {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{UPLINK}" masquerade
{leaving}
    }}
    chain coming_in {{
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct status dnat accept
        ct state established,related accept
        iifname "{GUEST}" udp dport 67 accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
    }}
    chain passing {{
        type filter hook forward priority filter; policy drop;
        iifname "{GUEST}" oifname "{UPLINK}" accept
        iifname "{UPLINK}" oifname "{GUEST}" accept
    }}
}}
"""
