"""The columns of a capture: names, types, units, what Wireshark calls them, and how they lie in memory.

One table, :data:`COLUMNS`, from which follow the DataFrame, the parquet schema and ``docs/columns.md``. Raw columns lie
one after another in *one* byte array (a kernel argument costs seven machine words, so forty arrays would be forty times
that): column ``c`` of row ``i`` of a block of ``capacity`` rows is at ``capacity * AT[c] + i * width``. Wide columns
come first and ``capacity`` is a multiple of 8, so each is aligned. Which values a row has is one bit set,
:data:`HAS_ETHERNET` and so on, in the column ``has``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

SCHEMA_VERSION = 1

POINTS = ("nic", "tunnel", "egress")
"""Capture points: the guest's NIC, the tunnel (the frame inside each message), the egress."""
DIRECTIONS = ("tx", "rx")
"""Seen from the guest: ``tx`` leaves it."""
POINT_OF = {name: number for number, name in enumerate(POINTS)}
DIRECTION_OF = {name: number for number, name in enumerate(DIRECTIONS)}
UNKNOWN_DIRECTION = 2

# What a row has: one bit a group of columns.
HAS_ETHERNET = 1 << 0
HAS_TYPE = 1 << 1
HAS_VLAN = 1 << 2
HAS_IP = 1 << 3
HAS_IPV4 = 1 << 4
HAS_FRAGMENT = 1 << 5
HAS_PROTO = 1 << 6
HAS_PORTS = 1 << 7
HAS_TCP = 1 << 8
HAS_UDP = 1 << 9
HAS_MSS = 1 << 10
HAS_WSCALE = 1 << 11
HAS_SACK_PERM = 1 << 12
HAS_SACK = 1 << 13
HAS_TIMESTAMP = 1 << 14
HAS_ICMP = 1 << 15
HAS_ECHO = 1 << 16
HAS_ARP = 1 << 17
HAS_ARP_IP = 1 << 18
HAS_DHCP = 1 << 19
HAS_DNS = 1 << 20
HAS_MESSAGE = 1 << 21
HAS_FLOW = 1 << 22
HAS_ID = 1 << 23
HAS_DELAY = 1 << 24
HAS_DIRECTION = 1 << 25
ALWAYS = 0


class Column(NamedTuple):
    """One column of ``frames()``."""

    name: str
    raw: str
    """Raw column it comes from, "" when it is counted."""
    dtype: str
    """pandas dtype; ``category`` for text."""
    has: int
    """Bit of ``has`` that says the row has a value; 0: each row has."""
    unit: str
    wireshark: str
    """What it equals of ``tshark -T fields`` (first occurrence): the first of these fields that the frame has; "" when
    Wireshark has none."""
    meaning: str
    formula: str = ""
    """How it is computed, where it is not a field of the frame as it stands."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Wireshark's fields, in the order in which they are asked."""
        return tuple(_FIELD.findall(self.wireshark))

    @property
    def null(self) -> str:
        """Which rows have no value; "" when each has one."""
        return NO_VALUE[self.has]


NO_VALUE = {
    ALWAYS: "", HAS_ETHERNET: "frames shorter than an Ethernet header, and other link layers",
    HAS_TYPE: "as `eth_src`, and frames with an 802.3 length", HAS_VLAN: "frames without an 802.1Q tag",
    HAS_IP: "frames without an IP header", HAS_IPV4: "frames without an IPv4 header",
    HAS_FRAGMENT: "frames without an IPv4 header or an IPv6 fragment header", HAS_PROTO: "frames without an IP header",
    HAS_PORTS: "packets but those of TCP and UDP, and later fragments", HAS_TCP: "frames without a whole TCP header",
    HAS_UDP: "frames without a whole UDP header", HAS_MSS: "segments without the option",
    HAS_WSCALE: "segments without the option", HAS_SACK: "segments without the option",
    HAS_TIMESTAMP: "segments without the option", HAS_ICMP: "frames without a whole ICMP header",
    HAS_ECHO: "frames that are no echo request or reply", HAS_ARP: "frames that are not ARP",
    HAS_ARP_IP: "frames that are not ARP for IPv4 over Ethernet", HAS_DHCP: "frames that are not DHCPv4",
    HAS_DNS: "frames that are not DNS over UDP", HAS_MESSAGE: "rows of other points than the tunnel",
    HAS_FLOW: "frames without IP, later fragments, and headers that were cut",
    HAS_ID: "frames without an identity", HAS_DELAY: "the first sighting, and frames without an identity",
    HAS_DIRECTION: "packets of files that do not say",
}  # fmt: skip
"""Which rows have no value, by the bit of ``has``."""
_FIELD = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")

RAW: dict[str, str] = {
    "frame_time": "i8", "frame_id": "i8", "tunnel_delay": "i8",
    "has": "u4", "frame_len": "u4", "cap_len": "u4", "message_len": "u4", "ip_len": "u4",
    "tcp_seq": "u4", "tcp_ack": "u4", "sack_le": "u4", "sack_re": "u4", "tsval": "u4", "tsecr": "u4",
    "eth_src": "i4", "eth_dst": "i4", "ip_src": "i4", "ip_dst": "i4", "arp_src": "i4", "arp_dst": "i4", "flow_id": "i4",
    "eth_type": "u2", "vlan_id": "u2", "ip_id": "u2", "ip_frag": "u2", "srcport": "u2", "dstport": "u2",
    "tcp_flags": "u2", "tcp_window_size": "u2", "tcp_len": "u2", "mss": "u2", "udp_length": "u2",
    "icmp_ident": "u2", "icmp_seq": "u2", "arp_opcode": "u2", "dns_id": "u2",
    "point": "u1", "direction": "u1", "kind": "u1", "side": "u1", "group": "u1", "cause": "u1",
    "ip_version": "u1", "ip_proto": "u1", "ip_ttl": "u1", "ip_dsfield": "u1", "ip_flags": "u1", "tcp_hdr_len": "u1",
    "wscale": "u1", "sack_count": "u1", "icmp_type": "u1", "icmp_code": "u1", "dhcp_type": "u1", "dns_response": "u1",
}  # fmt: skip
"""Raw columns, widest first. Addresses and flows are numbers into the tables of the dissection; ``side`` is 1 when the
sender is the second of its conversation's two ends; ``group`` is 1 for frames to a multicast or broadcast MAC
address."""

WIDTH = {name: np.dtype(raw).itemsize for name, raw in RAW.items()}


def _layout() -> dict[str, int]:
    at, out = 0, {}
    for name in RAW:
        out[name] = at
        at += WIDTH[name]
    return out


AT = _layout()
ROW_SIZE = sum(WIDTH.values())
"""Bytes one row takes in a raw block."""

COLUMNS: tuple[Column, ...] = (
    Column("frame_number", "", "uint32", ALWAYS, "", "frame.number", "Position in the capture, from 1."),
    Column("frame_time", "frame_time", "int64", ALWAYS, "ns", "frame.time_epoch × 10⁹",
           "When the frame passed the point: nanoseconds since 1970, or of the lab's clock (virtual time starts at 0).",
           "ticks of the file × resolution + offset, rounded down to ns"),
    Column("point", "point", "category", ALWAYS, "", "frame.interface_name",
           "Where it was seen: nic, tunnel or egress."),
    Column("direction", "direction", "category", HAS_DIRECTION, "", "frame.packet_flags_direction (2 is tx, 1 is rx)",
           "tx leaves the guest, rx goes to it; null when the file does not say."),
    Column("frame_len", "frame_len", "uint32", ALWAYS, "bytes", "frame.len",
           "Length of the frame, whatever the snap length kept of it. In rows of tunnel messages that hold no "
           "frame: the bytes that they carry for the guest, 0 when there are none."),
    Column("frame_cap_len", "cap_len", "uint32", ALWAYS, "bytes", "frame.cap_len", "Bytes of it that were kept."),
    Column("frame_id", "frame_id", "Int64", HAS_ID, "", "frame.packet_id",
           "Identity of the frame from end to end, unique within its direction: joins the rows of one frame "
           "at several points."),
    Column("message_len", "message_len", "UInt32", HAS_MESSAGE, "bytes", "",
           "Length of the tunnel message, framing included; tunnel rows only.", "`frame_len` + framing"),
    Column("tunnel_delay", "tunnel_delay", "Int64", HAS_DELAY, "ns", "",
           "Time since the frame of this `frame_id` and `direction` was first seen, at another point.",
           "`frame_time` − `frame_time` of the first row of this `frame_id` and `direction`"),
    Column("eth_src", "eth_src", "category", HAS_ETHERNET, "", "eth.src", "Source MAC address."),
    Column("eth_dst", "eth_dst", "category", HAS_ETHERNET, "", "eth.dst", "Destination MAC address."),
    Column("eth_type", "eth_type", "UInt16", HAS_TYPE, "", "eth.type",
           "EtherType in the Ethernet header (0x8100 when the frame is tagged); null for 802.3 length frames."),
    Column("vlan_id", "vlan_id", "UInt16", HAS_VLAN, "", "vlan.id", "VLAN of the first 802.1Q tag."),
    Column("ip_version", "ip_version", "UInt8", HAS_IP, "", "ip.version", "4 or 6."),
    Column("ip_src", "ip_src", "category", HAS_IP, "", "ip.src or ipv6.src", "Source address."),
    Column("ip_dst", "ip_dst", "category", HAS_IP, "", "ip.dst or ipv6.dst", "Destination address."),
    Column("ip_proto", "ip_proto", "UInt8", HAS_PROTO, "",
           "ip.proto or ipv6.fraghdr.nxt or ipv6.routing.nxt or ipv6.dstopts.nxt or ipv6.hopopts.nxt or ipv6.nxt",
           "Protocol of the payload, behind any IPv6 extension headers.",
           "IPv6: next header of the last extension header"),
    Column("ip_len", "ip_len", "UInt32", HAS_IP, "bytes", "ip.len or ipv6.plen + 40",
           "Length of the IP packet by its header.", "IPv6: payload length + 40"),
    Column("ip_ttl", "ip_ttl", "UInt8", HAS_IP, "hops", "ip.ttl or ipv6.hlim", "Time to live or hop limit."),
    Column("ip_dsfield", "ip_dsfield", "UInt8", HAS_IP, "", "ip.dsfield or ipv6.tclass", "DSCP and ECN bits."),
    Column("ip_id", "ip_id", "UInt16", HAS_IPV4, "", "ip.id", "IPv4 identification."),
    Column("ip_flags_df", "ip_flags", "boolean", HAS_IPV4, "", "ip.flags.df", "Don't fragment.",
           "bit 14 of the fragment field"),
    Column("ip_flags_mf", "ip_flags", "boolean", HAS_FRAGMENT, "", "ip.flags.mf or ipv6.fraghdr.more",
           "More fragments follow.", "bit 13 of the fragment field; IPv6: bit 0 of the fragment header's"),
    Column("ip_frag", "ip_frag", "UInt16", HAS_FRAGMENT, "8 bytes", "ip.frag_offset or ipv6.fraghdr.offset",
           "Fragment offset; each IPv4 packet has one, IPv6 packets with a fragment header."),
    Column("srcport", "srcport", "UInt16", HAS_PORTS, "", "tcp.srcport or udp.srcport", "Source port."),
    Column("dstport", "dstport", "UInt16", HAS_PORTS, "", "tcp.dstport or udp.dstport", "Destination port."),
    Column("tcp_seq", "tcp_seq", "UInt32", HAS_TCP, "", "tcp.seq_raw", "Sequence number as sent."),
    Column("tcp_ack", "tcp_ack", "UInt32", HAS_TCP, "", "tcp.ack_raw", "Acknowledgement number as sent."),
    Column("tcp_flags", "tcp_flags", "UInt16", HAS_TCP, "", "tcp.flags", "The twelve bits behind the data offset."),
    Column("tcp_flags_fin", "tcp_flags", "boolean", HAS_TCP, "", "tcp.flags.fin", "FIN.", "`tcp_flags` & 1"),
    Column("tcp_flags_syn", "tcp_flags", "boolean", HAS_TCP, "", "tcp.flags.syn", "SYN.", "`tcp_flags` & 2"),
    Column("tcp_flags_reset", "tcp_flags", "boolean", HAS_TCP, "", "tcp.flags.reset", "RST.", "`tcp_flags` & 4"),
    Column("tcp_flags_push", "tcp_flags", "boolean", HAS_TCP, "", "tcp.flags.push", "PSH.", "`tcp_flags` & 8"),
    Column("tcp_flags_ack", "tcp_flags", "boolean", HAS_TCP, "", "tcp.flags.ack", "ACK.", "`tcp_flags` & 16"),
    Column("tcp_window_size", "tcp_window_size", "UInt16", HAS_TCP, "", "tcp.window_size_value",
           "Window field, not scaled."),
    Column("tcp_hdr_len", "tcp_hdr_len", "UInt8", HAS_TCP, "bytes", "tcp.hdr_len", "TCP header with its options.",
           "data offset × 4"),
    Column("tcp_len", "tcp_len", "UInt16", HAS_TCP, "bytes", "tcp.len", "Payload: IP payload without the TCP header.",
           "end of the IP packet (by `ip_len`, at most that of the frame) − start of the TCP header − `tcp_hdr_len`"),
    Column("tcp_options_mss_val", "mss", "UInt16", HAS_MSS, "bytes", "tcp.options.mss_val", "Maximum segment size."),
    Column("tcp_options_wscale_shift", "wscale", "UInt8", HAS_WSCALE, "bits", "tcp.options.wscale.shift",
           "Window scale."),
    Column("tcp_options_sack_perm", "", "boolean", HAS_TCP, "", "tcp.options.sack_perm present", "SACK permitted.",
           "whether the option is there"),
    Column("tcp_options_sack_count", "sack_count", "UInt8", HAS_SACK, "", "tcp.options.sack.count", "SACK blocks.",
           "(length of the option − 2) / 8"),
    Column("tcp_options_sack_le", "sack_le", "UInt32", HAS_SACK, "", "tcp.options.sack_le",
           "Left edge of the first SACK block."),
    Column("tcp_options_sack_re", "sack_re", "UInt32", HAS_SACK, "", "tcp.options.sack_re",
           "Right edge of the first SACK block."),
    Column("tcp_options_timestamp_tsval", "tsval", "UInt32", HAS_TIMESTAMP, "", "tcp.options.timestamp.tsval",
           "Sender's timestamp."),
    Column("tcp_options_timestamp_tsecr", "tsecr", "UInt32", HAS_TIMESTAMP, "", "tcp.options.timestamp.tsecr",
           "Echoed timestamp."),
    Column("udp_length", "udp_length", "UInt16", HAS_UDP, "bytes", "udp.length",
           "UDP header and payload, by the header."),
    Column("icmp_type", "icmp_type", "UInt8", HAS_ICMP, "", "icmp.type or icmpv6.type", "ICMP or ICMPv6 type."),
    Column("icmp_code", "icmp_code", "UInt8", HAS_ICMP, "", "icmp.code or icmpv6.code", "ICMP or ICMPv6 code."),
    Column("icmp_ident", "icmp_ident", "UInt16", HAS_ECHO, "", "icmp.ident or icmpv6.echo.identifier",
           "Identifier of an echo."),
    Column("icmp_seq", "icmp_seq", "UInt16", HAS_ECHO, "", "icmp.seq or icmpv6.echo.sequence_number",
           "Sequence number of an echo."),
    Column("arp_opcode", "arp_opcode", "UInt16", HAS_ARP, "", "arp.opcode", "1 request, 2 reply."),
    Column("arp_src", "arp_src", "category", HAS_ARP_IP, "", "arp.src.proto_ipv4", "Sender's IPv4 address in ARP."),
    Column("arp_dst", "arp_dst", "category", HAS_ARP_IP, "", "arp.dst.proto_ipv4", "Target's IPv4 address in ARP."),
    Column("dhcp_type", "dhcp_type", "UInt8", HAS_DHCP, "", "dhcp.option.dhcp",
           "DHCP message type, 1 DISCOVER to 8 INFORM (DHCPv4)."),
    Column("dns_id", "dns_id", "UInt16", HAS_DNS, "", "dns.id", "DNS transaction (UDP ports 53, 5353 and 5355)."),
    Column("dns_response", "dns_response", "boolean", HAS_DNS, "", "dns.flags.response", "Whether it is an answer."),
    Column("flow_id", "flow_id", "Int32", HAS_FLOW, "", "",
           "Conversation, numbered from 0 in order of first appearance, the same at each point and in both "
           "directions. TCP and UDP: both addresses and ports (a SYN with a new initial sequence number begins a new "
           "one); other protocols: addresses and protocol, echoes also by identifier; with a known direction also the "
           "guest's MAC address, so that guests may have one IP address.",
           "number of (guest's MAC address, unordered pair of (address, port), protocol), counted on by a SYN whose "
           "initial sequence number is new"),
    Column("cause", "cause", "category", ALWAYS, "", "",
           "Why the bytes of the frame were spent.", "see the section on causes"),
)  # fmt: skip
"""Every column of ``frames()``, in order."""

COLUMN = {column.name: column for column in COLUMNS}

# One captured frame's descriptor, written by the tap and by the file readers: 64 bytes.
INDEX_SIZE = 64
INDEX = np.dtype(
    {
        "names": ["t_ns", "off", "cap_len", "frame_len", "frame_id", "message_len", "point", "direction", "kind",
                  "link", "flags", "opt_len", "opt_off", "interface", "swapped"],
        "formats": ["<i8", "<i8", "<u4", "<u4", "<i8", "<u4", "u1", "u1", "u1", "u1", "<u4", "<u4", "<i8", "<u2", "u1"],
        "offsets": [0, 8, 16, 20, 24, 32, 36, 37, 38, 39, 40, 44, 48, 56, 58],
        "itemsize": INDEX_SIZE,
    }
)  # fmt: skip
"""``off`` is where the frame's bytes begin in its data array; ``message_len`` 0 means no message around it; ``kind`` is
the type byte of a tunnel message (0: it holds the frame); ``link`` is a number of :data:`LINKS`. Of frames from files:
``flags`` is ``epb_flags``, ``opt_off`` and ``opt_len`` where in the data array the packet's options are (``swapped``:
in big-endian order), ``interface`` is the number of its interface in :attr:`.capture.Capture.interfaces` + 1."""

ETHERNET, RAW_IP, NULL, LOOP, LINUX_SLL, LINUX_SLL2, OTHER_LINK = 0, 1, 2, 3, 4, 5, 255
LINKS = {
    ETHERNET: ("Ethernet", 1), RAW_IP: ("raw IP", 101), NULL: ("BSD loopback", 0), LOOP: ("OpenBSD loopback", 108),
    LINUX_SLL: ("Linux cooked v1", 113), LINUX_SLL2: ("Linux cooked v2", 276),
}  # fmt: skip
"""Link layers that are dissected: name and LINKTYPE of the file formats."""
LINK_OF = {number: link for link, (_, number) in LINKS.items()} | {12: RAW_IP, 14: RAW_IP, 228: RAW_IP, 229: RAW_IP}
"""The other way round. Raw IP has several numbers."""
