"""Frames we build, as tshark reads them: fields, valid checksums and nothing malformed."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest

from aero_lab.wire import dhcp, dns, frame, ndp, rdata, tcp
from aero_lab.wire.address import ip, mac, multicast_mac, solicited_node
from aero_lab.wire.arp import Arp
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.dns import DnsMessage, Edns, Record
from aero_lab.wire.ethernet import Vlan
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import ROUTER_ALERT, Ipv4
from aero_lab.wire.ipv6 import DESTINATION, Fragment, Ipv6, Options
from aero_lab.wire.multicast import IgmpReport, MldReport
from aero_lab.wire.tcp import Tcp, TcpOptions
from aero_lab.wire.udp import Udp

pytestmark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")

GUEST, LAN = mac("02:00:00:00:00:15"), mac("02:00:00:00:00:01")
A, B = ip("10.0.2.15"), ip("10.0.2.2")
A6, B6 = ip("fe80::15"), ip("fe80::2")
QUERY = DnsMessage.query(7, "files.lab", edns=Edns(1232))
RECORDS = (
    Record("files.lab", dns.CNAME, dns.IN, 9, "www.files.lab"),
    Record("www.files.lab", dns.A, dns.IN, 9, ip("203.0.113.1")),
    Record("www.files.lab", dns.AAAA, dns.IN, 9, ip("2001:db8::1")),
    Record("lab", dns.MX, dns.IN, 9, rdata.Mx(5, "mail.files.lab")),
    Record("lab", dns.TXT, dns.IN, 9, (b"hello",)),
    Record("_x._tcp.lab", dns.SRV, dns.IN, 9, rdata.Srv(1, 2, 3, "files.lab")),
    Record("lab", dns.SOA, dns.IN, 9, rdata.Soa("ns.lab", "root.lab", 1, 2, 3, 4, 5)),
)


def udp(payload: bytes, srcport: int, dstport: int) -> bytes:
    return frame.udp_frame(GUEST, LAN, A, B, srcport, dstport, payload)


ADVERT = ndp.RouterAdvert(
    hop_limit=61,
    flags=ndp.RA_OTHER,
    lifetime=1800,
    options=(ndp.source_link(LAN), ndp.Prefix(ip("fd00:aee0::")), ndp.Mtu(1500), ndp.Rdnss(600, (B6,))),
)
SYN = Tcp(
    49152, 80, 0xFFFFFFFF, flags=tcp.SYN | tcp.ECE | tcp.CWR, window=8192,
    options=TcpOptions(mss=1460, wscale=8, sack_permitted=True, layout=(2, 1, 3, 1, 1, 4)),
)  # fmt: skip
SACKED = Tcp(1, 80, 5, 6, urgent=3, options=TcpOptions(sack=((7, 9), (11, 13)), timestamps=(100, 200)))
DISCOVER = Dhcp(
    dhcp.BOOT_REQUEST, 0x1234, GUEST, flags=0x8000,
    options=(dhcp.u8_option(53, 1), dhcp.ip_option(50, A), dhcp.text_option(12, "win7"), dhcp.u8_option(55, 1, 15)),
)  # fmt: skip

CASES: list[tuple[bytes, dict[str, str]]] = [
    (
        frame.arp_frame(Arp.request(GUEST, A, B)),
        {"eth.dst": "ff:ff:ff:ff:ff:ff", "arp.opcode": "1", "arp.src.hw_mac": "02:00:00:00:00:15",
         "arp.src.proto_ipv4": "10.0.2.15", "arp.dst.proto_ipv4": "10.0.2.2"},
    ),
    (
        frame.ip_frame(GUEST, LAN, Ipv4(A, B, 17, Udp(1, 9, b"abc").emit(A, B), ttl=9, id=77, tos=3), (Vlan(7, 5),)),
        {"vlan.id": "7", "vlan.priority": "5", "ip.ttl": "9", "ip.id": "0x004d", "ip.dsfield.ecn": "3",
         "ip.flags.df": "0", "udp.length": "11", "udp.dstport": "9"},
    ),
    (
        frame.ip_frame(GUEST, LAN, Ipv4(A, B, 17, b"x" * 16, mf=True, offset=1480, options=(ROUTER_ALERT,))),
        {"ip.flags.mf": "1", "ip.hdr_len": "24", "ip.opt.ra": "0"},
    ),
    (
        frame.tcp_frame(GUEST, LAN, A, B, SYN),
        {"tcp.srcport": "49152", "tcp.seq_raw": "4294967295", "tcp.flags": "0x00c2", "tcp.window_size_value": "8192",
         "tcp.options.mss_val": "1460", "tcp.options.wscale.shift": "8", "tcp.hdr_len": "32",
         "tcp.options": "020405b4010303080101 0402".replace(" ", "")},
    ),
    (
        frame.tcp_frame(GUEST, LAN, A6, B6, SACKED),
        {"ipv6.src": "fe80::15", "tcp.ack_raw": "6", "tcp.urgent_pointer": "3", "tcp.options.timestamp.tsval": "100",
         "tcp.options.timestamp.tsecr": "200", "tcp.options.sack_le": "7,11", "tcp.options.sack_re": "9,13"},
    ),
    (
        frame.icmp_frame(GUEST, LAN, A, B, Icmp.echo_request(1, 2, b"abc")),
        {"icmp.type": "8", "icmp.ident": "1", "icmp.seq": "2"},
    ),
    (
        frame.icmp_frame(LAN, GUEST, B, A, Icmp.unreachable(4, Ipv4(A, B, 17, Udp(1, 2).emit(A, B)).emit(), 1400)),
        {"icmp.type": "3", "icmp.code": "4", "icmp.mtu": "1400", "udp.dstport": "2"},
    ),
    (
        frame.icmp_frame(GUEST, multicast_mac(solicited_node(B6)), A6, solicited_node(B6),
                         ndp.NeighbourSolicit(B6, (ndp.source_link(GUEST),))),
        {"ipv6.hlim": "255", "icmpv6.nd.ns.target_address": "fe80::2", "icmpv6.opt.linkaddr": "02:00:00:00:00:15"},
    ),
    (
        frame.icmp_frame(LAN, GUEST, B6, A6, ndp.NeighbourAdvert(B6, options=(ndp.target_link(LAN),))),
        {"icmpv6.nd.na.flag.s": "1", "icmpv6.nd.na.flag.o": "1", "icmpv6.nd.na.flag.r": "0"},
    ),
    (
        frame.icmp_frame(LAN, GUEST, B6, ip("ff02::1"), ADVERT),
        {"icmpv6.nd.ra.cur_hop_limit": "61", "icmpv6.nd.ra.flag.o": "1", "icmpv6.nd.ra.router_lifetime": "1800",
         "icmpv6.opt.prefix": "fd00:aee0::", "icmpv6.opt.prefix.length": "64", "icmpv6.opt.mtu": "1500",
         "icmpv6.opt.rdnss": "fe80::2"},
    ),
    (
        frame.icmp_frame(LAN, GUEST, B6, A6, Icmpv6.packet_too_big(1280, Ipv6(A6, B6, 59).emit())),
        {"icmpv6.type": "2", "icmpv6.mtu": "1280"},
    ),
    (
        frame.ip_frame(GUEST, LAN, Ipv6(A6, B6, 17, Udp(5, 6, b"x").emit(A6, B6), traffic_class=4, flow_label=5,
                                        extensions=(Options(DESTINATION), Fragment(0, False, 99)))),
        {"ipv6.tclass": "0x04", "ipv6.flow": "0x05", "ipv6.fraghdr.ident": "0x63", "udp.srcport": "5"},
    ),
    (frame.igmp_frame(GUEST, A, IgmpReport.join(ip("224.0.0.252"), ip("239.255.255.250"))),
     {"igmp.type": "0x22", "igmp.num_grp_recs": "2", "igmp.maddr": "224.0.0.252,239.255.255.250", "ip.ttl": "1"}),
    (frame.mld_frame(GUEST, A6, MldReport.join(ip("ff02::1:3"))),
     {"icmpv6.type": "143", "icmpv6.mldr.mar.multicast_address": "ff02::1:3", "ipv6.hlim": "1"}),
    (
        udp(DISCOVER.emit(300), 68, 67),
        {"dhcp.option.dhcp": "1", "dhcp.id": "0x00001234", "dhcp.option.requested_ip_address": "10.0.2.15",
         "dhcp.option.hostname": "win7", "dhcp.option.request_list_item": "1,15", "dhcp.flags.bc": "1"},
    ),
    (
        udp(QUERY.emit(), 49152, 53),
        {"dns.id": "0x0007", "dns.qry.name": "files.lab", "dns.flags.response": "0", "dns.rr.udp_payload_size": "1232"},
    ),
    (
        frame.udp_frame(LAN, GUEST, B, A, 53, 49152, QUERY.reply(answers=RECORDS).emit()),
        {"dns.flags.rcode": "0", "dns.cname": "www.files.lab", "dns.a": "203.0.113.1", "dns.aaaa": "2001:db8::1",
         "dns.mx.mail_exchange": "mail.files.lab", "dns.txt": "hello", "dns.srv.target": "files.lab",
         "dns.soa.mname": "ns.lab", "dns.count.answers": "7"},
    ),
]  # fmt: skip
# Checksums that tshark found right or could not check; 1 is "good", 2 "unverified".
STATUS = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmp.checksum.status",
          "icmpv6.checksum.status", "igmp.checksum.status")  # fmt: skip
PREFERENCES = ("ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE",
               "tcp.relative_sequence_numbers:FALSE")  # fmt: skip


def pcap(frames: list[bytes]) -> bytes:
    """A capture file of Ethernet frames, one a second."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for at, data in enumerate(frames):
        out.append(struct.pack("<IIII", at, 0, len(data), len(data)) + data)
    return b"".join(out)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict[str, str]]:
    """What tshark says of every case, by field; the whole table costs one run."""
    path = tmp_path_factory.mktemp("tshark") / "frames.pcap"
    path.write_bytes(pcap([data for data, _ in CASES]))
    fields = sorted({field for _, want in CASES for field in want}) + [*STATUS, "_ws.malformed"]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]
    for preference in PREFERENCES:
        command += ["-o", preference]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [dict(zip(fields, line.split("|"))) for line in done.stdout.rstrip("\n").split("\n")]


def plain(text: str) -> str:
    """Without the leading zeros of hexadecimal numbers, which differ between versions."""
    return hex(int(text, 16)) if text.startswith("0x") else text


@pytest.mark.parametrize("number", range(len(CASES)), ids=[frame.summary(data)[-50:] for data, _ in CASES])
def test_fields(rows, number):
    assert len(rows) == len(CASES)
    want = CASES[number][1]
    assert {field: plain(rows[number][field]) for field in want} == {field: plain(each) for field, each in want.items()}


@pytest.mark.parametrize("number", range(len(CASES)), ids=[frame.summary(data)[-50:] for data, _ in CASES])
def test_nothing_is_wrong(rows, number):
    assert not rows[number]["_ws.malformed"]
    statuses = [status for field in STATUS for status in rows[number][field].split(",") if status]
    assert all(status in ("1", "2") for status in statuses)
    assert "1" in statuses or "arp" in frame.summary(CASES[number][0]).lower()
