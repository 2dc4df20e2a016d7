"""``parse(emit(x)) == x`` for every value, ``buffer_len`` tells the size, and results never alias their input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.wire import ndp
from aero_lab.wire.arp import Arp
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.dns import DnsMessage
from aero_lab.wire.ethernet import Ethernet
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.multicast import IgmpReport, MldReport
from aero_lab.wire.tcp import Tcp, TcpOptions
from aero_lab.wire.udp import Udp

from . import strategies as s

PLAIN = [
    (Ethernet, s.ethernets),
    (Arp, s.arps),
    (Ipv4, s.ipv4s),
    (Ipv6, s.ipv6s),
    (Icmp, s.icmps),
    (IgmpReport, s.igmp_reports),
    (TcpOptions, s.tcp_options()),
    (Dhcp, s.dhcps),
    (DnsMessage, s.dns_messages),
]
TRANSPORTS = [
    (Udp, s.udps, s.ends),
    (Tcp, s.tcps, s.ends),
    (Icmpv6, s.icmpv6s, s.ends6),
    (MldReport, s.mld_reports, s.ends6),
]


@pytest.mark.parametrize("kind, values", PLAIN, ids=lambda each: getattr(each, "__name__", ""))
def test_plain(kind, values):
    @given(values)
    def check(value):
        data = value.emit()
        assert kind.parse(data) == value
        assert kind.parse(memoryview(bytearray(data))) == value
        assert len(data) == value.buffer_len()
        assert hash(kind.parse(data)) == hash(value)

    check()


@pytest.mark.parametrize("kind, values, ends", TRANSPORTS, ids=lambda each: getattr(each, "__name__", ""))
def test_between_addresses(kind, values, ends):
    @given(values, ends)
    def check(value, ends):
        data = value.emit(*ends)
        assert kind.parse(data, *ends) == value
        assert kind.parse(data) == value
        assert len(data) == value.buffer_len()

    check()


@given(s.nd_messages, s.ends6)
def test_neighbour_discovery(value, ends):
    data = value.emit(*ends)
    assert ndp.parse(data) == value
    assert len(data) == value.buffer_len()


@pytest.mark.parametrize("kind, values", PLAIN, ids=lambda each: getattr(each, "__name__", ""))
def test_values_outlive_their_buffer(kind, values):
    @settings(max_examples=20)
    @given(values)
    def check(value):
        buffer = bytearray(value.emit())
        parsed = kind.parse(buffer)
        buffer[:] = bytes(len(buffer))
        assert parsed == value

    check()


@given(s.ethernets)
def test_padding_to_the_least_frame(value):
    data = value.emit(pad=True)
    assert len(data) == max(60, value.buffer_len())
    parsed = Ethernet.parse(data)
    assert parsed.payload.startswith(value.payload) and not any(parsed.payload[len(value.payload) :])


@given(st.one_of(s.ipv4s, s.ipv6s), st.binary(min_size=1, max_size=40))
def test_padding_behind_a_packet_is_ignored(value, padding):
    assert type(value).parse(value.emit() + padding) == value


@given(s.udps, s.ends, st.binary(min_size=1, max_size=40))
def test_bytes_behind_a_datagram_are_ignored(value, ends, padding):
    assert Udp.parse(value.emit(*ends) + padding, *ends) == value
