"""The kernels' fields and the checked views read the same numbers; what kernels write, values read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numba import njit

from aero_lab.wire import arp, ethernet, icmp, icmpv6, ipv4, ipv6, ndp, tcp, udp

from . import naive
from . import strategies as s

A6, B6 = bytes(15) + b"\1", bytes(15) + b"\2"


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(b"?" + data), np.uint8)  # at an odd offset, as in a ring


@njit
def read_ethernet(b, out):
    out[0] = (ethernet.get_dst_hi(b, 1) << 32) | ethernet.get_dst_lo(b, 1)
    out[1] = (ethernet.get_src_hi(b, 1) << 32) | ethernet.get_src_lo(b, 1)
    out[2] = ethernet.get_type(b, 1)


@njit
def read_vlan(b, out):
    out[0] = ethernet.get_vlan_tci(b, 1)
    out[1] = ethernet.get_vlan_type(b, 1)


@njit
def read_arp(b, out):
    out[0] = arp.get_htype(b, 1)
    out[1] = arp.get_ptype(b, 1)
    out[2] = arp.get_lengths(b, 1)
    out[3] = arp.get_op(b, 1)
    out[4] = (arp.get_sha_hi(b, 1) << 32) | arp.get_sha_lo(b, 1)
    out[5] = arp.get_spa(b, 1)
    out[6] = (arp.get_tha_hi(b, 1) << 32) | arp.get_tha_lo(b, 1)
    out[7] = arp.get_tpa(b, 1)


@njit
def read_ipv4(b, out):
    out[0] = ipv4.get_version_ihl(b, 1)
    out[1] = ipv4.get_tos(b, 1)
    out[2] = ipv4.get_total_length(b, 1)
    out[3] = ipv4.get_id(b, 1)
    out[4] = ipv4.get_fragment(b, 1)
    out[5] = ipv4.get_ttl(b, 1)
    out[6] = ipv4.get_protocol(b, 1)
    out[7] = ipv4.get_checksum(b, 1)
    out[8] = ipv4.get_src(b, 1)
    out[9] = ipv4.get_dst(b, 1)


@njit
def read_ipv6(b, out):
    out[0] = ipv6.get_version_class_flow(b, 1)
    out[1] = ipv6.get_payload_length(b, 1)
    out[2] = ipv6.get_next_header(b, 1)
    out[3] = ipv6.get_hop_limit(b, 1)
    out[4] = ipv6.get_src_hi(b, 1)
    out[5] = ipv6.get_src_lo(b, 1)
    out[6] = ipv6.get_dst_hi(b, 1)
    out[7] = ipv6.get_dst_lo(b, 1)


@njit
def read_udp(b, out):
    out[0] = udp.get_srcport(b, 1)
    out[1] = udp.get_dstport(b, 1)
    out[2] = udp.get_length(b, 1)
    out[3] = udp.get_checksum(b, 1)


@njit
def read_tcp(b, out):
    out[0] = tcp.get_srcport(b, 1)
    out[1] = tcp.get_dstport(b, 1)
    out[2] = tcp.get_seq(b, 1)
    out[3] = tcp.get_ack(b, 1)
    out[4] = ((tcp.get_data_offset(b, 1) & 15) << 8) | tcp.get_flags(b, 1)
    out[5] = (tcp.get_data_offset(b, 1) >> 4) * 4
    out[6] = tcp.get_window(b, 1)
    out[7] = tcp.get_checksum(b, 1)
    out[8] = tcp.get_urgent(b, 1)


@njit
def read_icmp(b, out):
    out[0] = icmp.get_type(b, 1)
    out[1] = icmp.get_code(b, 1)
    out[2] = icmp.get_checksum(b, 1)
    out[3] = icmp.get_rest(b, 1)


@njit
def read_target(b, out):
    out[0] = icmpv6.get_target_hi(b, 1)
    out[1] = icmpv6.get_target_lo(b, 1)


def signed(data: bytes, at: int) -> int:
    value = naive.number(data, at, 8)
    return value - (1 << 64) if value >> 63 else value


def mac_number(data: bytes) -> int:
    return naive.number(data, 0, 6)


def want_ethernet(data):
    view = ethernet.EthernetView(data)
    return [mac_number(view.dst), mac_number(view.src), view.outer_type]


def want_vlan(data):
    tag, view = ethernet.EthernetView(data).tags[0], ethernet.EthernetView(data)
    return [tag.tci, view.type]


def want_arp(data):
    view = arp.ArpView(data)
    numbers = [view.htype, view.ptype, view.lengths, view.op]
    return numbers + [naive.number(each, 0, len(each)) for each in (view.sha, view.spa, view.tha, view.tpa)]


def want_ipv4(data):
    view = ipv4.Ipv4View(data)
    addresses = [naive.number(each, 0, 4) for each in (view.src, view.dst)]
    return [
        0x40 | view.header_len // 4,
        view.tos,
        view.total_length,
        view.id,
        view.fragment,
        view.ttl,
        view.protocol,
        view.checksum,
        *addresses,
    ]


def want_ipv6(data):
    view = ipv6.Ipv6View(data)
    first = 6 << 28 | view.traffic_class << 20 | view.flow_label
    halves = [signed(each, at) for each in (view.src, view.dst) for at in (0, 8)]
    return [first, view.payload_length, view.next_header, view.hop_limit, *halves]


def want_udp(data):
    view = udp.UdpView(data)
    return [view.srcport, view.dstport, view.length, view.checksum]


def want_tcp(data):
    v = tcp.TcpView(data)
    return [v.srcport, v.dstport, v.seq, v.ack, v.flags, v.header_len, v.window, v.checksum, v.urgent]


def want_icmp(data):
    view = icmp.IcmpView(data)
    return [view.type, view.code, view.checksum, view.rest]


def want_target(data):
    target = ndp.parse(data).target
    return [signed(target, 0), signed(target, 8)]


CASES = {
    "ethernet": (read_ethernet, want_ethernet, s.ethernets.map(lambda v: v.emit())),
    "vlan": (read_vlan, want_vlan, s.ethernets.filter(lambda v: len(v.tags) == 1).map(lambda v: v.emit())),
    "arp": (read_arp, want_arp, s.arps.map(lambda v: v.emit())),
    "ipv4": (read_ipv4, want_ipv4, s.ipv4s.map(lambda v: v.emit())),
    "ipv6": (read_ipv6, want_ipv6, s.ipv6s.map(lambda v: v.emit())),
    "udp": (read_udp, want_udp, s.udps.map(lambda v: v.emit(A6, B6))),
    "tcp": (read_tcp, want_tcp, s.tcps.map(lambda v: v.emit(A6, B6))),
    "icmp": (read_icmp, want_icmp, s.icmps.map(lambda v: v.emit())),
    "icmpv6": (read_icmp, want_icmp, s.icmpv6s.map(lambda v: v.emit(A6, B6))),
    "target": (
        read_target,
        want_target,
        s.nd_messages.filter(lambda v: hasattr(v, "target")).map(lambda v: v.emit(A6, B6)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fields_read_what_views_read(name):
    read, want, valid = CASES[name]

    @settings(max_examples=50)
    @given(valid)
    def check(data):
        expected = want(data)
        out = np.zeros(len(expected), np.int64)
        read(array(data), out)
        assert out.tolist() == expected

    check()


@njit
def write_tcp(b, v):
    tcp.put_srcport(b, 0, v[0])
    tcp.put_dstport(b, 0, v[1])
    tcp.put_seq(b, 0, v[2])
    tcp.put_ack(b, 0, v[3])
    tcp.put_data_offset(b, 0, 0x50 | (v[4] >> 8))
    tcp.put_flags(b, 0, v[4])
    tcp.put_window(b, 0, v[5])
    tcp.put_urgent(b, 0, v[6])


@settings(max_examples=50)
@given(s.tcps)
def test_values_read_what_fields_write(value):
    buffer = np.zeros(20, np.uint8)
    numbers = (value.srcport, value.dstport, value.seq, value.ack, value.flags, value.window, value.urgent)
    write_tcp(buffer, np.array(numbers, np.int64))
    parsed = tcp.Tcp.parse(buffer.tobytes())
    assert (
        parsed.srcport,
        parsed.dstport,
        parsed.seq,
        parsed.ack,
        parsed.flags,
        parsed.window,
        parsed.urgent,
    ) == numbers
