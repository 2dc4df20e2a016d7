"""Taking the state of a LAN, and going on with it in a fresh one.

What a guest would notice is kept: its lease, the names it was told, its flows of datagrams until they have been idle
long enough. Its TCP connections cannot be: the other half of each is a socket of a process that is gone. By default
they are dropped, and the guest's next segment meets a RST. With ``tcp="reconnect"`` each is opened anew towards the
same target, and the guest's side goes on where the guest believes it is, learned from its next segment: of use to
protocols without memory, such as an echo, and to nobody in the middle of a download.

An image is not trusted: names and addresses are judged by the policy that is in force now.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..bounds import SNAPSHOT_CONNECTIONS, SNAPSHOT_NAMES, SNAPSHOT_NEIGHBOURS
from ..errors import UsageError
from ..limits import MS, SECOND
from ..wire import dns
from ..wire.address import is_link_local, is_multicast
from ..wire.dns import DnsMessage, Record
from .config import Endpoint
from .dhcp import Holder
from .dns_cache import Key, Verdict
from .dns_judge import TYPE_TEXTS
from .lan import Lan
from .snapshot import CachedAnswer, CachedName, Connection, LanState, LeaseState, Neighbour, TcpState, UdpState

POLICIES = ("drop", "reconnect")


@dataclass
class Restored:
    """What came of an image."""

    lease: bool = False
    names: int = 0
    udp: int = 0
    tcp: int = 0
    """Connections that are being opened anew."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What was not taken over, by reason: ``tcp-dropped`` by the policy, ``udp-idle``, ``tcp-private``..."""


def take(lan: Lan, now: int) -> LanState:
    """The state of a LAN at ``now``. It goes on unharmed."""
    guest = lan.config.guest
    whole = lan.tcp.whole()[:SNAPSHOT_CONNECTIONS]
    holder = lan.dhcp.holder
    neighbours = [Neighbour(address, mac) for address, mac in lan.stack.neighbours().items()]
    first = neighbours[0].mac if neighbours else None
    cached = lan.dns.cache.holding(now)[-SNAPSHOT_NAMES:]
    return LanState(
        guest_mac=holder.mac if holder is not None else first,
        ip_assigned=holder is not None,
        next_tcp_id=lan.flows.next_number & 0xFFFFFFFF,
        next_dns_id=lan.dns.next_query & 0xFFFFFFFF,
        ipv4_ident=lan.ident,
        last_now_ms=now // MS,
        names=tuple(_first_addresses(cached, now)),
        connections=tuple(
            Connection(record.flow & 0xFFFFFFFF, record.guest[1], *record.target)
            for record, _ in whole
            if record.guest[0] == guest
        ),
        tcp=tuple(TcpState(record.flow & 0xFFFFFFFF, record.guest, record.target, **how) for record, how in whole),
        udp=tuple(
            UdpState(record.flow & 0xFFFFFFFF, record.guest, record.target, max(0, now - record.last_at) // MS)
            for record in lan.udp.live()[-SNAPSHOT_CONNECTIONS:]
        ),
        answers=tuple(_answer(key, verdict, left) for key, verdict, left in cached),
        neighbours=tuple(neighbours),
        lease=None if holder is None else _lease(holder, now),
    )


def restore(lan: Lan, state: LanState, now: int, tcp: str = "drop") -> Restored:
    """Go on with ``state`` in a fresh LAN.

    Parameters
    ----------
    tcp: ``"drop"`` or ``"reconnect"``.
    """
    if tcp not in POLICIES:
        raise UsageError(f"tcp must be one of {', '.join(POLICIES)}, not {tcp!r}")
    if len(lan.tcp) or len(lan.udp):
        raise UsageError("a network that carries flows already cannot take over those of a snapshot")
    out = Restored()
    lan.flows.number_from(state.next_tcp_id)
    lan.ident = state.ipv4_ident
    _restore_lease(lan, state, now, out)
    _restore_names(lan, state, now, out)
    for flow in sorted(state.udp, key=lambda each: -each.idle_ms):
        why = "no-guest" if not _can_be_guest(flow.guest[0]) else None
        why = why or lan.udp.adopt(flow.guest, flow.target, now - flow.idle_ms * MS, now)
        if why is None:
            out.udp += 1
        else:
            out.left_out[f"udp-{why}"] += 1
    for guest, target, options in _connections(lan, state).values():
        why = "dropped" if tcp == "drop" else "no-guest" if not _can_be_guest(guest[0]) else None
        why = why or lan.tcp.adopt(guest, target, options, now)
        if why is None:
            out.tcp += 1
        else:
            out.left_out[f"tcp-{why}"] += 1
    _ask_for_neighbours(lan, state, now)
    return out


# Parts ----------------------------------------------------------------------------------------------------------------


def _can_be_guest(address: bytes) -> bool:
    return not is_multicast(address) and any(address) and address != b"\xff" * 4


def _lease(holder: Holder, now: int) -> LeaseState:
    return LeaseState(holder.mac, max(0, now - holder.since) // MS, holder.host_name, holder.vendor_class)


def _restore_lease(lan: Lan, state: LanState, now: int, out: Restored) -> None:
    lease = state.lease
    if lease is None and state.ip_assigned and state.guest_mac is not None:
        lease = LeaseState(state.guest_mac, 0)  # the original does not say since when
    if lease is None:
        return
    if lease.age_ms * MS >= lan.config.lease_time * SECOND:
        out.left_out["lease-expired"] += 1
        return
    out.lease = True
    lan.dhcp.holder = Holder(
        lease.mac, _printable(lease.host_name), _printable(lease.vendor_class), now - lease.age_ms * MS
    )


def _printable(text: str) -> str:
    """What the DHCP server keeps of such texts, 255 bytes at most on the wire."""
    return "".join(each for each in text if " " <= each <= "~")[:255]


def _first_addresses(cached: list[tuple[Key, Verdict, int]], now: int) -> list[CachedName]:
    """What the original remembers: names with one IPv4 address."""
    out = []
    for (name, rtype), verdict, left in cached:
        first = next((each.rdata for each in verdict.records if each.type == dns.A), None)
        if rtype == dns.A and isinstance(first, bytes):
            out.append(CachedName(name, first, (now + left) // MS))
    return out


def _answer(key: Key, verdict: Verdict, left: int) -> CachedAnswer:
    name, rtype = key
    authority = (verdict.soa,) if verdict.soa is not None else ()
    message = DnsMessage(0, dns.QR | verdict.rcode, (), verdict.records, authority)
    return CachedAnswer(name, rtype, left // MS, message.emit(0xFFFF))


def _restore_names(lan: Lan, state: LanState, now: int, out: Restored) -> None:
    for key, verdict, left_ms in _verdicts(state):
        seconds = min(left_ms // 1000, lan.config.dns_max_ttl)
        addresses = [each.rdata for each in verdict.records if each.type in (dns.A, dns.AAAA)]
        policy = lan.config.policy
        if seconds <= 0:
            why = "expired"
        elif key[1] not in TYPE_TEXTS:
            why = "type"
        elif policy.name(key[0]) is not None:
            why = "denied"
        elif any(not isinstance(each, bytes) or policy.address(each) is not None for each in addresses):
            why = "denied"
        else:
            lan.dns.cache.put(key, verdict, seconds, now)
            out.names += 1
            continue
        out.left_out[f"name-{why}"] += 1


def _verdicts(state: LanState) -> list[tuple[Key, Verdict, int]]:
    """Cached answers of an image, those that only the original's table has first."""
    full: dict[Key, tuple[Verdict, int]] = {}
    for each in state.answers:
        message = DnsMessage.parse(each.message)
        soa = message.authority[0] if message.authority else None
        full[each.name.lower(), each.type] = (Verdict(message.rcode, message.answers, soa), each.left_ms)
    out = []
    for each in state.names:
        key = (each.name.lower(), dns.A)
        if key not in full:
            left = max(0, each.expires_ms - state.last_now_ms)
            record = Record(each.name, dns.A, dns.IN, min(left // 1000, 0x7FFFFFFF), each.address)
            out.append((key, Verdict(dns.NOERROR, (record,)), left))
    return out + [(key, verdict, left) for key, (verdict, left) in full.items()]


def _connections(lan: Lan, state: LanState) -> dict[tuple[Endpoint, Endpoint], tuple[Endpoint, Endpoint, dict]]:
    """TCP connections of an image by their ends; those of the original say nothing about their handshake."""
    out: dict[tuple[Endpoint, Endpoint], tuple[Endpoint, Endpoint, dict]] = {}
    for each in state.connections:
        guest, target = (lan.config.guest, each.guest_port), (each.address, each.port)
        out[guest, target] = (guest, target, {})
    for each in state.tcp:
        options = {"mss": each.mss, "send_shift": each.send_shift, "recv_shift": each.recv_shift, "sack": each.sack}
        out[each.guest, each.target] = (each.guest, each.target, options)
    return out


def _ask_for_neighbours(lan: Lan, state: LanState, now: int) -> None:
    """Have the stack ask who has the guest's addresses: what the image says may be wrong by now."""
    for each in state.neighbours[:SNAPSHOT_NEIGHBOURS]:
        if is_multicast(each.address):
            continue
        own = [own for own, _ in lan.config.addresses if len(own) == len(each.address)]
        near = [address for address in own if is_link_local(address) == is_link_local(each.address)]
        if near:
            # Where the link address is not known, which is so in a fresh stack, this only asks for it.
            lan.stack.icmp_echo(near[0], each.address, 0, 0, b"", now)
