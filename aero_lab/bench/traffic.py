"""Segments by the million: a compiled source of distinct, valid TCP frames for the stack's benches.

Each flow is a record of :data:`FLOW_SIZE` bytes: its headers from Ethernet to TCP options as they go on the wire, then
what changes from segment to segment. :func:`generate` writes frames straight into a stack's receive ring.
"""

from __future__ import annotations

import struct

from ..compiled.memory import copy, i64_native_field, ones_complement_sum, put_i64_native_field, put_u32
from ..compiled.registry import BYTES, I64, entry, kernel
from ..rings.frame_ring import commit, reserve
from ..wire import ipv4, ipv6, tcp

FLOW_SIZE = 256
SEQ, ACK, PSEUDO, STAMP = 128, 136, 144, 152
get_flow_seq, put_flow_seq = i64_native_field(SEQ), put_i64_native_field(SEQ)
get_flow_ack, put_flow_ack = i64_native_field(ACK), put_i64_native_field(ACK)
get_flow_pseudo = i64_native_field(PSEUDO)
"""Sum of the words of the pseudo header, without the length."""
get_flow_stamp, put_flow_stamp = i64_native_field(STAMP), put_i64_native_field(STAMP)
TSVAL = 24
"""Where the timestamp stands in a TCP header that carries NOP, NOP and the timestamps option."""


@entry
@kernel(I64(BYTES, BYTES, BYTES, I64, I64, I64, I64, I64, I64, I64))
def generate(ring, flows, payload, first, number, ip_at, header, size, ack_step, now):
    """Write ``number`` segments of ``size`` payload bytes into ``ring``, round robin over the flows from ``first``.

    ``header`` is the length of all headers, ``ip_at`` that of the link header. Sequence numbers go on by ``size``,
    acknowledgement numbers by ``ack_step``; both checksums are computed. Returns how many found room.
    """
    count = len(flows) // FLOW_SIZE
    tcp_at = ip_at + (20 if flows[ip_at] >> 4 == 4 else 40)
    for i in range(number):
        flow = ((first + i) % count) * FLOW_SIZE
        at = reserve(ring, header + size)
        if at < 0:
            return i
        copy(ring, at, flows, flow, header)
        copy(ring, at + header, payload, ((first + i) * 61) % (len(payload) - size), size)
        length = header - tcp_at + size
        ack = get_flow_ack(flows, flow) + ack_step
        put_flow_ack(flows, flow, ack)
        seq = get_flow_seq(flows, flow)
        put_flow_seq(flows, flow, seq + size)
        stamp = get_flow_stamp(flows, flow) + 1
        put_flow_stamp(flows, flow, stamp)
        tcp.put_seq(ring, at + tcp_at, seq)
        tcp.put_ack(ring, at + tcp_at, ack)
        put_u32(ring, at + tcp_at + TSVAL, stamp)
        if tcp_at - ip_at == 20:
            ipv4.put_total_length(ring, at + ip_at, 20 + length)
            ipv4.put_id(ring, at + ip_at, first + i)
            ipv4.put_checksum(ring, at + ip_at, 0)
            ipv4.put_checksum(ring, at + ip_at, 0xFFFF ^ ones_complement_sum(ring, at + ip_at, 20))
        else:
            ipv6.put_payload_length(ring, at + ip_at, length)
        tcp.put_checksum(ring, at + tcp_at, 0)
        total = ones_complement_sum(ring, at + tcp_at, length) + get_flow_pseudo(flows, flow) + length
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        tcp.put_checksum(ring, at + tcp_at, 0xFFFF ^ total)
        commit(ring, at, header + size, now, first + i + 1, -1, 0, 0)
    return number


def flow_record(
    link: bytes, src: bytes, dst: bytes, sport: int, dport: int, seq: int, ack: int, echo: int, stamp: int = 1
) -> bytes:
    """One flow: the headers of its segments behind the link header ``link``, and where its numbers stand."""
    segment = struct.pack("!HHIIBBHHHHBBII", sport, dport, 0, 0, 0x80, tcp.ACK, 65535, 0, 0, 0x0101, 8, 10, 0, echo)
    if len(src) == 4:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, ipv4.FLAG_DF, 64, ipv4.TCP, 0) + src + dst
    else:
        packet = struct.pack("!IHBB", 0x60000000, 0, ipv4.TCP, 64) + src + dst
    addresses = src + dst
    pseudo = ipv4.TCP + sum(int.from_bytes(addresses[i : i + 2], "big") for i in range(0, len(addresses), 2))
    numbers = struct.pack("=qqqq", seq, ack, pseudo, stamp)
    return ((link + packet + segment).ljust(SEQ, b"\0") + numbers).ljust(FLOW_SIZE, b"\0")
