"""What Windows 7 says on a new link once it has an address, in the order in which it says it.

Group memberships, LLMNR, NetBIOS names, SSDP and DHCPv6. (Neighbour discovery, DHCP and ARP come before: see
:mod:`.startup`.) Nothing here listens for more than an answer to DHCPv6: a guest that is alone on its link gets none.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ...causes import Cause
from ...limits import MS, SECOND
from ...wire.address import MAC_BROADCAST, directed_broadcast, ip, multicast_mac
from ...wire.dns import ANY, IN, LLMNR_PORT, DnsMessage, Question, Record
from ...wire.frame import igmp_frame, udp_frame
from ...wire.multicast import IgmpReport
from .tasks import TaskGenerator, TaskTimeout, sleep_until

if TYPE_CHECKING:
    from .guest import ScriptedGuest

LLMNR_GROUP, LLMNR_GROUP6, SSDP_GROUP = ip("224.0.0.252"), ip("ff02::1:3"), ip("239.255.255.250")
LLMNR_TIMEOUT = 100 * MS
"""RFC 4795 section 7; a query is sent twice."""
NETBIOS_PORT, SSDP_PORT = 137, 1900
NETBIOS_INTERVAL, NETBIOS_TIMES = 750 * MS, 3
"""BCAST_REQ_RETRY_TIMEOUT is 250 ms in RFC 1002 section 6; Windows takes 750."""
NB_TYPE = 0x0020
NB_FLAGS_REGISTRATION = 0x2910  # opcode 5, recursion desired, broadcast
NB_GROUP = 0x8000
NB_TTL = 300_000
SSDP_TIMES, SSDP_INTERVAL = 3, 3 * SECOND
IGMP_ROBUSTNESS = 2
"""RFC 3376 section 8.1: reports of a change are sent this often."""
MULTICAST_TTL = 1

DHCPV6_GROUP = ip("ff02::1:2")
DHCPV6_CLIENT, DHCPV6_SERVER = 546, 547
SOLICIT, ADVERTISE, REPLY = 1, 2, 7
SOL_TIMEOUT, SOL_MAX_RT = SECOND, 120 * SECOND
"""RFC 3315 section 5.5, the one of Windows 7's day."""
MICROSOFT = 311
"""Enterprise number."""


def chatter(guest: ScriptedGuest) -> TaskGenerator:
    """Task: all of it, one after the other; ends when a DHCPv6 server has answered, or never."""
    yield from join_groups(guest)
    yield from llmnr(guest)
    yield from netbios(guest)
    yield from ssdp(guest)
    yield from dhcpv6(guest)


def join_groups(guest: ScriptedGuest) -> TaskGenerator:
    """Task: IGMPv3 reports that join the groups of LLMNR and SSDP."""
    for number in range(IGMP_ROBUSTNESS):
        if number:
            yield from sleep_until(guest.now + guest.rng.randint(100 * MS, 500 * MS))
        for group in (LLMNR_GROUP, SSDP_GROUP):
            if guest.address is None:
                return
            report = IgmpReport.join(group)
            yield from guest.transmit(
                igmp_frame(guest.mac, guest.address, report, id=guest.next_ip_id()), Cause.BROADCAST
            )


def llmnr(guest: ScriptedGuest) -> TaskGenerator:
    """Task: does another host have our name? (RFC 4795 section 4)"""
    identifier = guest.rng.getrandbits(16)
    query = DnsMessage(identifier, 0, (Question(guest.profile.host_name, ANY),)).emit()
    port = guest.next_port()
    for _ in range(2):
        for group in (LLMNR_GROUP, LLMNR_GROUP6):
            yield from _multicast(guest, group, port, LLMNR_PORT, query)
        yield from sleep_until(guest.now + LLMNR_TIMEOUT)


def netbios_name(name: str, suffix: int) -> str:
    """First-level encoding (RFC 1001 section 14.1): 15 characters and a suffix as 32 letters."""
    padded = name.upper().encode("ascii", "replace")[:15].ljust(15) + bytes((suffix,))
    return "".join(chr(65 + (byte >> 4)) + chr(65 + (byte & 15)) for byte in padded)


def netbios_registration(identifier: int, name: str, suffix: int, group: bool, address: bytes) -> bytes:
    """A NAME REGISTRATION REQUEST (RFC 1002 section 4.2.2)."""
    encoded = netbios_name(name, suffix)
    data = struct.pack("!H", NB_GROUP if group else 0) + address
    record = Record(encoded, NB_TYPE, IN, NB_TTL, data)
    return DnsMessage(identifier, NB_FLAGS_REGISTRATION, (Question(encoded, NB_TYPE),), additional=(record,)).emit()


def netbios(guest: ScriptedGuest) -> TaskGenerator:
    """Task: claim host<00>, host<20> and workgroup<00>, three times each."""
    profile = guest.profile
    names = ((profile.host_name, 0x00, False), (profile.host_name, 0x20, False), (profile.workgroup, 0x00, True))
    identifier = guest.rng.getrandbits(15)
    for number in range(NETBIOS_TIMES):
        if number:
            yield from sleep_until(guest.now + NETBIOS_INTERVAL)
        for index, (name, suffix, group) in enumerate(names):
            if guest.address is None:
                return
            payload = netbios_registration(identifier + index, name, suffix, group, guest.address)
            frame = udp_frame(
                guest.mac,
                MAC_BROADCAST,
                guest.address,
                directed_broadcast(guest.address, guest.prefix),
                NETBIOS_PORT,
                NETBIOS_PORT,
                payload,
                ttl=profile.ttl,
                id=guest.next_ip_id(),
                df=False,
            )
            yield from guest.transmit(frame, Cause.BROADCAST)


def ssdp(guest: ScriptedGuest) -> TaskGenerator:
    """Task: look for an Internet gateway device."""
    search = (
        b"M-SEARCH * HTTP/1.1\r\n"
        b"Host:239.255.255.250:1900\r\n"
        b"ST:urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
        b'Man:"ssdp:discover"\r\n'
        b"MX:3\r\n\r\n"
    )
    port = guest.next_port()
    for number in range(SSDP_TIMES):
        if number:
            yield from sleep_until(guest.now + SSDP_INTERVAL)
        yield from _multicast(guest, SSDP_GROUP, port, SSDP_PORT, search)


def dhcpv6_solicit(guest: ScriptedGuest, transaction: int, elapsed: int) -> bytes:
    """A SOLICIT with the options of Windows in their order (RFC 3315 sections 17 and 22)."""

    def option(code: int, data: bytes) -> bytes:
        return struct.pack("!HH", code, len(data)) + data

    name = guest.profile.host_name.encode("ascii", "replace")[:63]
    duid = struct.pack("!HHI", 1, 1, 0x1B00_0000) + guest.mac  # link-layer address plus a time of installation
    vendor = guest.profile.dhcp.vendor_class
    return b"".join(
        (
            bytes((SOLICIT,)) + transaction.to_bytes(3, "big"),
            option(8, struct.pack("!H", min(elapsed, 0xFFFF))),
            option(1, duid),
            option(3, struct.pack("!III", 0x0E000000 | int.from_bytes(guest.mac[:3], "big"), 0, 0)),
            option(39, b"\0" + bytes((len(name),)) + name),  # without a final zero: not the whole name (RFC 4704)
            option(16, struct.pack("!IH", MICROSOFT, len(vendor)) + vendor),
            option(6, struct.pack("!4H", 24, 23, 17, 39)),
        )
    )


def dhcpv6(guest: ScriptedGuest) -> TaskGenerator:
    """Task: SOLICIT until a server answers, with the back-off of RFC 3315 section 14."""
    if guest.ipv6 is None or not guest.ipv6.addresses:
        return
    transaction = guest.rng.getrandbits(24)
    socket = guest.udp_socket(DHCPV6_CLIENT)
    started = guest.now
    wait = SOL_TIMEOUT + guest.rng.randint(1, SOL_TIMEOUT // 10)
    try:
        while True:
            payload = dhcpv6_solicit(guest, transaction, (guest.now - started) // (10 * MS))
            yield from _multicast(guest, DHCPV6_GROUP, DHCPV6_CLIENT, DHCPV6_SERVER, payload, Cause.DHCP)
            until = guest.now + wait
            try:
                while True:
                    answer = (yield from socket.receive(until)).payload
                    if answer[:1] in (bytes((ADVERTISE,)), bytes((REPLY,))) and answer[1:4] == payload[1:4]:
                        return
            except TaskTimeout:
                spread = wait // 10
                wait = min(2 * wait, SOL_MAX_RT) + guest.rng.randint(-spread, spread)
    finally:
        socket.close()


def _multicast(
    guest: ScriptedGuest, group: bytes, srcport: int, dstport: int, payload: bytes, cause: Cause = Cause.BROADCAST
) -> TaskGenerator:
    """Send a datagram to a group from our address of its family; nothing when there is none."""
    source = guest.source_for(group)
    if source is not None:
        frame = udp_frame(
            guest.mac,
            multicast_mac(group),
            source,
            group,
            srcport,
            dstport,
            payload,
            ttl=MULTICAST_TTL,
            id=guest.next_ip_id(),
            df=False,
        )
        yield from guest.transmit(frame, cause)
