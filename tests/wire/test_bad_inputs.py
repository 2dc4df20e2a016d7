"""A table of bad inputs: for every reason that wire can give, bytes that get it.

The rows of libslirp's history are among them (datagrams shorter than their struct or than they claim, options of length
0 or past the header, data offsets, total lengths, checksums of each layer, DHCP and DNS).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from aero_lab.errors import Malformed
from aero_lab.limits import DNS_POINTERS_MAX, DNS_RECORDS_MAX, GROUP_RECORDS_MAX, IPV6_EXTENSIONS_MAX, ND_OPTIONS_MAX
from aero_lab.wire import dns, frame, icmpv6, ipv6, multicast, ndp
from aero_lab.wire.address import ip, solicited_node
from aero_lab.wire.arp import Arp
from aero_lab.wire.checksum import internet_checksum
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.dns import DnsMessage
from aero_lab.wire.ethernet import Ethernet
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.multicast import GroupRecord, IgmpReport, MldReport
from aero_lab.wire.tcp import Tcp
from aero_lab.wire.udp import Udp

A4, B4 = ip("10.0.2.15"), ip("10.0.2.2")
A6, B6, ALL = ip("fe80::1"), ip("fe80::2"), ip("ff02::1")
MAC = bytes.fromhex("020000000001")


def patch(data: bytes, at: int, new: bytes) -> bytes:
    """``data`` with the bytes at an offset replaced."""
    return data[:at] + new + data[at + len(new) :]


def sealed4(header: bytes) -> bytes:
    """An IPv4 header, with the checksum over its claimed length set right, so that only the fault tested is left."""
    size = 4 * (header[0] & 15)
    blank = patch(header, 10, b"\0\0")
    return patch(blank, 10, internet_checksum(blank[:size]).to_bytes(2, "big"))


ETHERNET = Ethernet(MAC, MAC, 0x0800, b"x" * 46).emit()
ARP = Arp.request(MAC, A4, B4).emit()
IPV4 = Ipv4(A4, B4, 17, b"payload!").emit()
IPV6 = Ipv6(A6, B6, 17, b"payload!").emit()
UDP = Udp(1, 2, b"payload").emit(A4, B4)
UDP6 = Udp(1, 2, b"payload").emit(A6, B6)
TCP = Tcp(1, 2, payload=b"payload").emit(A4, B4)
ICMP = Icmp.echo_request(1, 2, b"payload").emit()
ICMPV6 = Icmpv6.echo_request(1, 2, b"payload").emit(A6, B6)
NS = ndp.NeighbourSolicit(B6, (ndp.source_link(MAC),)).emit(A6, B6)
IGMP = IgmpReport.join(ip("224.0.0.252")).emit()
MLD = MldReport.join(ip("ff02::1:3")).emit(A6, B6)
DHCP = Dhcp(1, 7, MAC, ((53, b"\x01"),)).emit()
DNS = DnsMessage.query(7, "files.lab").emit()


def extended(first: int, chain: bytes) -> bytes:
    """An IPv6 packet whose payload is ``chain``, as extension header ``first``."""
    return Ipv6(A6, B6, ipv6.NO_NEXT, chain).emit()[:6] + bytes((first,)) + Ipv6(A6, B6, 59, chain).emit()[7:]


def tcp_with_options(options: bytes) -> bytes:
    return Tcp(1, 2).emit(A4, B4)[:12] + bytes(((20 + len(options)) << 2,)) + TCP[13:20] + options


def nd_with_options(options: bytes) -> bytes:
    return icmpv6.seal(ndp.NeighbourSolicit(B6).emit(A6, B6)[:2] + b"\0\0" + bytes(4) + B6 + options, A6, B6)


def dns_with(body: bytes, *counts: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in (7, 0x8180, *counts)) + body


def record(kind: int, held: bytes, cls: int = 1) -> bytes:
    """One answer, for the root."""
    return dns_with(b"\0" + b"".join(n.to_bytes(2, "big") for n in (kind, cls, 0, 0, len(held))) + held, 0, 1, 0, 0)


def pointer_chain(length: int) -> bytes:
    """Two answers: RDATA of a name and pointers to pointers, and a record named by the last of them."""
    start = 23
    targets = [start] + [start + 3 + 2 * i for i in range(length - 1)]
    held = b"\1a\0" + b"".join((0xC000 | target).to_bytes(2, "big") for target in targets[:-1])
    first = record(99, held)[12:]
    return dns_with(first + (0xC000 | targets[-1]).to_bytes(2, "big") + bytes(10), 0, 2, 0, 0)


def igmp(body: bytes, count: int) -> bytes:
    data = b"\x22\0\0\0\0\0" + count.to_bytes(2, "big") + body
    return patch(data, 2, internet_checksum(data).to_bytes(2, "big"))


LONG_NAME = b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0"
RECORD4 = GroupRecord(4, A4).emit()
DATA4 = [(A4, B4)]
ROWS: list[tuple[str, str, Callable[[bytes], object], bytes]] = [
    ("ethernet-short", "empty", Ethernet.parse, b""),
    ("ethernet-short", "runt", Ethernet.parse, ETHERNET[:13]),
    ("ethernet-vlan-short", "tag cut", Ethernet.parse, patch(ETHERNET, 12, b"\x81\x00")[:17]),
    ("ethernet-vlan-depth", "three tags", Ethernet.parse, ETHERNET[:12] + b"\x81\0\0\x01" * 3 + b"\x08\0"),
    ("arp-short", "header cut", Arp.parse, ARP[:27]),
    ("arp-short", "empty", Arp.parse, b""),
    ("arp-hardware", "token ring", Arp.parse, patch(ARP, 0, b"\0\x06")),
    ("arp-protocol", "IPv6", Arp.parse, patch(ARP, 2, b"\x86\xdd")),
    ("arp-lengths", "hlen 255", Arp.parse, patch(ARP, 4, b"\xff\x04")),
    ("arp-lengths", "plen 16", Arp.parse, patch(ARP, 4, b"\x06\x10")),
    ("ip-short", "no version", lambda data: reason(frame.dissect(data, "ip")), b""),
    ("ip-version", "version 5", lambda data: reason(frame.dissect(data, "ip")), b"\x55" * 40),
    ("ipv4-short", "header cut", Ipv4.parse, IPV4[:19]),
    ("ipv4-version", "version 6", Ipv4.parse, patch(IPV4, 0, b"\x65")),
    ("ipv4-header-length", "IHL 4", Ipv4.parse, patch(IPV4, 0, b"\x44")),
    ("ipv4-header-length", "IHL 15 in 28 bytes", Ipv4.parse, patch(IPV4, 0, b"\x4f")),
    ("ipv4-total-length", "beyond the frame", Ipv4.parse, sealed4(patch(IPV4, 2, b"\xff\xff"))),
    ("ipv4-total-length", "below the header", Ipv4.parse, sealed4(patch(IPV4, 2, b"\0\x13"))),
    ("ipv4-total-length", "zero", Ipv4.parse, sealed4(patch(IPV4, 2, b"\0\0"))),
    ("ipv4-total-length", "quoted, below the header", Ipv4.parse_quoted, patch(IPV4, 2, b"\0\x13")),
    ("ipv4-checksum", "wrong", Ipv4.parse, patch(IPV4, 10, b"\x12\x34")),
    ("ipv4-option", "length 0", Ipv4.parse, sealed4(b"\x47" + IPV4[1:20] + b"\x07\0\0\0" + bytes(8))),
    ("ipv4-option", "length 1", Ipv4.parse, sealed4(b"\x47" + IPV4[1:20] + b"\x07\x01\0\0" + bytes(8))),
    ("ipv4-option", "past the header", Ipv4.parse, sealed4(b"\x47" + IPV4[1:20] + b"\x07\x0c\0\0" + bytes(8))),
    ("ipv4-option", "no length byte", Ipv4.parse, sealed4(b"\x46" + IPV4[1:20] + b"\1\1\1\x07" + bytes(8))),
    ("ipv6-short", "header cut", Ipv6.parse, IPV6[:39]),
    ("ipv6-version", "version 4", Ipv6.parse, patch(IPV6, 0, b"\x40")),
    ("ipv6-payload-length", "beyond the frame", Ipv6.parse, patch(IPV6, 4, b"\0\x09")),
    ("ipv6-extension-short", "no room for one", Ipv6.parse, extended(ipv6.HOP_BY_HOP, b"\x3b\0\1\4")),
    ("ipv6-extension-short", "length past the packet", Ipv6.parse, extended(ipv6.DESTINATION, b"\x3b\x01\1\4\0\0\0\0")),
    ("ipv6-extension-short", "quoted", Ipv6.parse_quoted, extended(ipv6.DESTINATION, b"\x3b\x01\1\4\0\0\0\0")),
    (
        "ipv6-extension-order",
        "hop-by-hop second",
        Ipv6.parse,
        extended(60, b"\0\0\1\4\0\0\0\0" + b"\x3b\0\1\4\0\0\0\0"),
    ),
    (
        "ipv6-extension-count",
        "too many",
        Ipv6.parse,
        extended(60, b"\x3c\0\1\4\0\0\0\0" * (IPV6_EXTENSIONS_MAX + 1)),
    ),
    ("ipv6-option-length", "past its header", Ipv6.parse, extended(60, b"\x3b\0\5\x05\0\0\0\0")),
    ("ipv6-option-length", "no length byte", Ipv6.parse, extended(60, b"\x3b\0\1\3\0\0\0\5")),
    ("udp-short", "shorter than its header", Udp.parse, UDP[:7]),
    ("udp-short", "empty", Udp.parse, b""),
    ("udp-length", "more than there is", Udp.parse, patch(UDP, 4, b"\0\x10")),
    ("udp-length", "below its header", Udp.parse, patch(UDP, 4, b"\0\x07")),
    ("udp-length", "zero over IPv6", lambda data: Udp.parse(data, A6, B6), patch(UDP6, 4, b"\0\0")),
    ("udp-checksum", "wrong", lambda data: Udp.parse(data, A4, B4), patch(UDP, 6, b"\x12\x34")),
    ("udp-checksum", "none over IPv6", lambda data: Udp.parse(data, A6, B6), patch(UDP6, 6, b"\0\0")),
    ("tcp-short", "shorter than its header", Tcp.parse, TCP[:19]),
    ("tcp-data-offset", "4", Tcp.parse, patch(TCP, 12, b"\x40")),
    ("tcp-data-offset", "0", Tcp.parse, patch(TCP, 12, b"\x00")),
    ("tcp-data-offset", "past the segment", Tcp.parse, patch(TCP, 12, b"\x70")),
    ("tcp-checksum", "wrong", lambda data: Tcp.parse(data, A4, B4), patch(TCP, 16, b"\x12\x34")),
    ("tcp-option-length", "length 0", Tcp.parse, tcp_with_options(b"\x02\0\x05\xb4")),
    ("tcp-option-length", "length 1", Tcp.parse, tcp_with_options(b"\x02\x01\x05\xb4")),
    ("tcp-option-length", "past the header", Tcp.parse, tcp_with_options(b"\x02\x05\x05\xb4")),
    ("tcp-option-length", "no length byte", Tcp.parse, tcp_with_options(b"\x01\x01\x01\x08")),
    ("icmp-short", "shorter than its header", Icmp.parse, ICMP[:7]),
    ("icmp-checksum", "wrong", Icmp.parse, patch(ICMP, 2, b"\x12\x34")),
    ("icmpv6-short", "shorter than its header", Icmpv6.parse, ICMPV6[:7]),
    ("icmpv6-short", "neighbour discovery", ndp.parse, NS[:7]),
    ("icmpv6-short", "report", MldReport.parse, MLD[:7]),
    ("icmpv6-checksum", "wrong", lambda data: Icmpv6.parse(data, A6, B6), patch(ICMPV6, 2, b"\x12\x34")),
    ("icmpv6-checksum", "neighbour discovery", lambda data: ndp.parse(data, A6, B6), patch(NS, 2, b"\x12\x34")),
    ("icmpv6-checksum", "report", lambda data: MldReport.parse(data, A6, B6), patch(MLD, 2, b"\x12\x34")),
    ("nd-type", "an echo", ndp.parse, ICMPV6),
    ("nd-type", "another message", ndp.RouterSolicit.parse, NS),
    ("nd-short", "target cut", ndp.parse, NS[:23]),
    ("nd-hop-limit", "from off the link", lambda data: ndp.parse(data, A6, B6, 64), NS),
    ("nd-code", "1", ndp.parse, patch(NS, 1, b"\x01")),
    ("nd-target", "multicast", ndp.parse, patch(NS, 8, ALL)),
    (
        "nd-source",
        "solicitation from :: with a link address",
        lambda data: ndp.parse(data, bytes(16), solicited_node(B6)),
        ndp.NeighbourSolicit(B6, (ndp.source_link(MAC),)).emit(bytes(16), solicited_node(B6)),
    ),
    (
        "nd-source",
        "solicitation from :: to all nodes",
        lambda data: ndp.parse(data, bytes(16), ALL),
        ndp.NeighbourSolicit(B6).emit(bytes(16), ALL),
    ),
    (
        "nd-source",
        "router solicitation from :: with a link address",
        lambda data: ndp.parse(data, bytes(16), ALL),
        ndp.RouterSolicit((ndp.source_link(MAC),)).emit(bytes(16), ALL),
    ),
    (
        "nd-source",
        "router advertisement from off the link",
        lambda data: ndp.parse(data, ip("2001:db8::1"), ALL),
        ndp.RouterAdvert().emit(ip("2001:db8::1"), ALL),
    ),
    (
        "nd-source",
        "solicited advertisement to all nodes",
        lambda data: ndp.parse(data, A6, ALL),
        ndp.NeighbourAdvert(B6).emit(A6, ALL),
    ),
    (
        "nd-source",
        "redirect from off the link",
        lambda data: ndp.parse(data, ip("2001:db8::1"), B6),
        ndp.Redirect(B6, A6).emit(ip("2001:db8::1"), B6),
    ),
    ("nd-option-length", "length 0", ndp.parse, nd_with_options(b"\x01\0" + MAC)),
    ("nd-option-length", "past the message", ndp.parse, nd_with_options(b"\x01\x02" + MAC)),
    ("nd-option-length", "no length byte", ndp.parse, nd_with_options(b"\x01")),
    ("nd-option-count", "too many", ndp.parse, nd_with_options((b"\x01\x01" + MAC) * (ND_OPTIONS_MAX + 1))),
    ("igmp-short", "shorter than its header", IgmpReport.parse, IGMP[:7]),
    ("igmp-type", "version 2", IgmpReport.parse, b"\x16" + IGMP[1:]),
    ("igmp-checksum", "wrong", IgmpReport.parse, patch(IGMP, 2, b"\x12\x34")),
    ("igmp-count", "too many", IgmpReport.parse, igmp(RECORD4 * (GROUP_RECORDS_MAX + 1), GROUP_RECORDS_MAX + 1)),
    ("igmp-record-short", "one record missing", IgmpReport.parse, igmp(RECORD4, 2)),
    ("igmp-record-short", "sources missing", IgmpReport.parse, igmp(patch(RECORD4, 2, b"\xff\xff"), 1)),
    ("igmp-record-short", "auxiliary data missing", IgmpReport.parse, igmp(patch(RECORD4, 1, b"\x01"), 1)),
    ("mld-type", "an echo", MldReport.parse, ICMPV6),
    ("mld-count", "too many", MldReport.parse, patch(MLD, 6, b"\xff\xff")),
    ("mld-record-short", "one record missing", MldReport.parse, patch(MLD, 6, b"\0\x02")),
    ("dhcp-short", "shorter than BOOTP", Dhcp.parse, DHCP[:235]),
    ("dhcp-short", "no cookie", Dhcp.parse, DHCP[:239]),
    ("dhcp-hardware", "htype", Dhcp.parse, patch(DHCP, 1, b"\x06")),
    ("dhcp-hardware", "hlen 255", Dhcp.parse, patch(DHCP, 2, b"\xff")),
    ("dhcp-cookie", "plain BOOTP", Dhcp.parse, patch(DHCP, 236, bytes(4))),
    ("dhcp-option-length", "past the message", Dhcp.parse, DHCP[:240] + b"\x35\x02\x01"),
    ("dhcp-option-length", "no length byte", Dhcp.parse, DHCP[:240] + b"\x35"),
    ("dns-short", "header cut", DnsMessage.parse, DNS[:11]),
    ("dns-count", "more entries than bytes", DnsMessage.parse, patch(DNS, 4, b"\xff\xff" * 4)),
    (
        "dns-count",
        "too many records",
        DnsMessage.parse,
        dns_with((b"\0" + bytes(10)) * (DNS_RECORDS_MAX + 1), 0, DNS_RECORDS_MAX + 1, 0, 0),
    ),
    ("dns-question-short", "no type", DnsMessage.parse, DNS[:-1]),
    ("dns-record-short", "fixed part cut", DnsMessage.parse, dns_with(b"\1a\0" + bytes(9), 0, 1, 0, 0)),
    ("dns-record-short", "RDATA past the message", DnsMessage.parse, patch(record(1, A4), 21, b"\xff\xff")),
    ("dns-name-short", "no root", DnsMessage.parse, dns_with(b"\4abcd", 1, 0, 0, 0)),
    ("dns-name-short", "label past the message", DnsMessage.parse, dns_with(b"\x3fabcd", 1, 0, 0, 0)),
    ("dns-name-short", "pointer cut", DnsMessage.parse, dns_with(b"\3abc\xc0", 1, 0, 0, 0)),
    ("dns-label-type", "64-octet label", DnsMessage.parse, dns_with(b"\x40" + b"a" * 64 + b"\0\0\1\0\1", 1, 0, 0, 0)),
    ("dns-label-type", "10 label", DnsMessage.parse, dns_with(b"\x80abcdefgh", 1, 0, 0, 0)),
    ("dns-pointer", "to itself", DnsMessage.parse, dns_with(b"\xc0\x0c\0\1\0\1", 1, 0, 0, 0)),
    ("dns-pointer", "forward", DnsMessage.parse, dns_with(b"\xc0\x20\0\1\0\1" + b"\1a\0\0\1\0\1", 2, 0, 0, 0)),
    ("dns-pointer", "loop of a label", DnsMessage.parse, dns_with(b"\1a\xc0\x0c\0\1\0\1", 1, 0, 0, 0)),
    ("dns-pointer", "into the header", DnsMessage.parse, dns_with(b"\xc0\x00\0\1\0\1", 1, 0, 0, 0)),
    ("dns-pointer", "a chain too long", DnsMessage.parse, pointer_chain(DNS_POINTERS_MAX + 1)),
    ("dns-name-length", "257 octets", DnsMessage.parse, dns_with(LONG_NAME + b"\0\1\0\1", 1, 0, 0, 0)),
    (
        "dns-name-length",
        "256 octets, by a pointer",
        DnsMessage.parse,
        dns_with(LONG_NAME[64:] + b"\0\1\0\1" + b"\x3f" + b"b" * 63 + b"\xc0\x0c\0\1\0\1", 2, 0, 0, 0),
    ),
    ("dns-rdata", "A of 3 bytes", DnsMessage.parse, record(dns.A, b"abc")),
    ("dns-rdata", "AAAA of 4 bytes", DnsMessage.parse, record(dns.AAAA, b"abcd")),
    ("dns-rdata", "CNAME and more", DnsMessage.parse, record(dns.CNAME, b"\1a\0x")),
    ("dns-rdata", "MX of 2 bytes", DnsMessage.parse, record(dns.MX, b"\0\1")),
    ("dns-rdata", "SRV of 6 bytes", DnsMessage.parse, record(dns.SRV, b"\0\1\0\1\0\1")),
    ("dns-rdata", "SOA cut", DnsMessage.parse, record(dns.SOA, b"\0\0" + bytes(19))),
    ("dns-rdata", "TXT string past its record", DnsMessage.parse, record(dns.TXT, b"\5abc")),
    ("dns-rdata", "TXT of nothing", DnsMessage.parse, record(dns.TXT, b"")),
    ("dns-rdata", "OPT option cut", DnsMessage.parse, record(dns.OPT, b"\0\x0a\0")),
    ("dns-rdata", "OPT option past its record", DnsMessage.parse, record(dns.OPT, b"\0\x0a\0\x05abc")),
]


def reason(values: list[frame.Value]) -> None:
    """Raise what ``dissect`` has swallowed, so that it fits the table."""
    last = values[-1]
    assert isinstance(last, frame.Broken)
    raise Malformed(last.reason, last.detail)


@pytest.mark.parametrize("want, case, parse, data", ROWS, ids=[f"{row[0]}:{row[1]}" for row in ROWS])
def test_reason(want, case, parse, data):
    with pytest.raises(Malformed) as caught:
        parse(data)
    assert caught.value.reason == want


def test_the_valid_ones_are_valid():
    """Or the table would prove nothing."""
    Ethernet.parse(ETHERNET), Arp.parse(ARP), Ipv4.parse(IPV4), Ipv6.parse(IPV6)
    Udp.parse(UDP, A4, B4), Udp.parse(UDP6, A6, B6), Tcp.parse(TCP, A4, B4), Icmp.parse(ICMP)
    Icmpv6.parse(ICMPV6, A6, B6), ndp.parse(NS, A6, B6), IgmpReport.parse(IGMP), MldReport.parse(MLD, A6, B6)
    Dhcp.parse(DHCP), DnsMessage.parse(DNS)
    assert Ipv6.parse(extended(60, b"\x3b\0\1\4\0\0\0\0" + b"x")).payload == b"x"
    assert Tcp.parse(tcp_with_options(b"\x02\x04\x05\xb4")).options.mss == 1460
    assert IgmpReport.parse(igmp(RECORD4, 1)).records[0].group == A4
    assert DnsMessage.parse(record(dns.A, A4)).answers[0].rdata == A4
    assert DnsMessage.parse(pointer_chain(DNS_POINTERS_MAX)).answers[1].name == "a"
    assert ndp.parse(nd_with_options(b"\x01\x01" + MAC), A6, B6).link_address(1) == MAC


def test_every_reason_in_the_source_has_a_row():
    source = "".join(path.read_text() for path in Path(multicast.__file__).parent.glob("*.py"))
    named = set(re.findall(r'Malformed\(\s*"([^"]+)"', source)) | set(re.findall(r'_need\([^"]*"([^"]+)"', source))
    templates = set(re.findall(r'Malformed\(f"\{name\}(-[^"]+)"', source))
    named |= {name + rest for name in ("igmp", "mld") for rest in templates}
    assert named == {row[0] for row in ROWS}


# What is odd but must be read ----------------------------------------------------------------------------------------


def test_dhcp_without_an_end_option_ends_with_its_bytes():
    assert Dhcp.parse(DHCP[:-1]).message_type == 1


def test_dhcp_options_behind_the_end_are_not_read():
    assert Dhcp.parse(DHCP + b"\x0c\x01x").option(12) is None


def test_urgent_pointer_beyond_the_data_is_kept():
    assert Tcp.parse(Tcp(1, 2, flags=0x30, urgent=0xFFFF, payload=b"x").emit(A4, B4), A4, B4).urgent == 0xFFFF


def test_known_tcp_option_of_a_wrong_length_means_nothing():
    options = Tcp.parse(tcp_with_options(b"\x02\x05abc\x03\x02\x01")).options
    assert (options.mss, options.wscale) == (None, None)
    assert options.unknown == ((2, b"abc"), (3, b""))


def test_repeated_tcp_option_counts_once():
    options = Tcp.parse(tcp_with_options(b"\x02\x04\x05\xb4\x02\x04\0\x01")).options
    assert (options.mss, options.unknown) == (1460, ((2, b"\0\x01"),))


def test_tcp_options_end_at_the_end_mark():
    assert Tcp.parse(tcp_with_options(b"\0\x02\0\xff")).options.layout == (0,)


def test_a_name_of_255_octets_is_read():
    name = b"\x3f" + b"a" * 63
    data = dns_with(name * 3 + b"\x3d" + b"b" * 61 + b"\0\0\1\0\1", 1, 0, 0, 0)
    assert len(DnsMessage.parse(data).questions[0].name) == 253


def test_icmp_error_about_a_packet_that_is_cut():
    quoted = Icmp.unreachable(3, IPV4[:28]).quoted()
    assert quoted.payload == b"payload!" and quoted.dst == B4
    assert Icmp.unreachable(3, IPV4[:21]).quoted().payload == b"p"
    with pytest.raises(Malformed, match="ipv4-short"):
        Icmp.unreachable(3, IPV4[:12]).quoted()


def test_unchecked_datagram_over_ipv4_is_read():
    assert Udp.parse(Udp(1, 2, b"x").emit(A4, B4, checksum=False), A4, B4).payload == b"x"
