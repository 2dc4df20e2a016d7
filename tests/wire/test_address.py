"""Addresses and their text."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.wire import address as a

from . import strategies as s


@given(s.ip4s | s.ip6s)
@example(bytes(16))
@example(bytes(10) + b"\xff\xff\x0a\0\0\1")
def test_text_and_back(packed):
    assert a.ip(a.ip_text(packed)) == packed
    family = AF_INET if len(packed) == 4 else AF_INET6
    assert inet_pton(family, a.ip_text(packed)) == packed
    if not ip_address(packed).is_reserved:  # inet_ntop writes ::/96 in mixed notation
        assert a.ip_text(packed) == inet_ntop(family, packed)


NO_ADDRESSES = [
    "",
    "10.0.2",
    "10.0.2.2.2",
    "010.0.2.2",
    "0x0a.0.2.2",
    "10.514",
    "167772674",
    "256.0.0.1",
    "fe80::1%eth0",
]
NO_ADDRESSES += ["::1::", " 1.2.3.4", "1.2.3.4 ", "10.0.2.2/24", "١.٢.٣.٤", "files.lab"]
NO_MACS = ["", "02:00:00:00:00", "02:00:00:00:00:00:01", "0200.0000.0001", "02:00-00:00:00:01", "g2:00:00:00:00:01"]
NO_MACS += ["02:00:00:00:00:1"]


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address(text):
    with pytest.raises(UsageError, match="not an IP address"):
        a.ip(text)


@given(s.macs)
def test_mac(packed):
    assert a.mac(a.mac_text(packed)) == packed
    assert a.mac(a.mac_text(packed).upper().replace(":", "-")) == packed


@pytest.mark.parametrize("text", NO_MACS)
def test_what_is_no_mac(text):
    with pytest.raises(UsageError, match="not a MAC address"):
        a.mac(text)


@pytest.mark.parametrize("bad", [b"", b"abc", bytes(5), bytes(15)])
def test_packed_addresses_have_their_length(bad):
    with pytest.raises(UsageError):
        a.ip_text(bad)
    with pytest.raises(UsageError):
        a.mac_text(bad)


@given(s.ip4s, st.integers(0, 32), s.ip4s)
def test_prefixes_of_ipv4(packed, length, other):
    net = IPv4Network((packed, length), strict=False)
    assert a.in_prefix(other, packed, length) == (ip_address(other) in net)
    assert a.prefix_mask(length) == net.netmask.packed
    assert a.directed_broadcast(packed, length) == net.broadcast_address.packed
    assert a.network(f"{a.ip_text(packed)}/{length}") == (packed, length)


@given(s.ip6s, st.integers(0, 128), s.ip6s)
def test_prefixes_of_ipv6(packed, length, other):
    net = IPv6Network((packed, length), strict=False)
    assert a.in_prefix(other, packed, length) == (ip_address(other) in net)
    assert a.in_prefix(packed, packed, length)
    assert a.prefix_mask(length, 16) == net.netmask.packed
    assert not a.in_prefix(b"abcd", packed, 0)


def test_a_mask_has_a_length():
    with pytest.raises(UsageError):
        a.prefix_mask(33)


@pytest.mark.parametrize("text", ["10.0.2.0", "10.0.2.0/33", "10.0.2.0/", "::/129", "10.0.2.0/-1", "10.0.2.0/x", "/24"])
def test_what_is_no_network(text):
    with pytest.raises(UsageError):
        a.network(text)


@given(s.ip4s | s.ip6s)
def test_kinds(packed):
    address = ip_address(packed)
    assert a.is_multicast(packed) == address.is_multicast
    assert a.is_link_local(packed) == address.is_link_local


def test_derived_addresses():
    assert a.multicast_mac(a.ip("224.0.0.252")) == a.mac("01:00:5e:00:00:fc")
    assert a.multicast_mac(a.ip("239.255.255.250")) == a.mac("01:00:5e:7f:ff:fa")
    assert a.multicast_mac(a.ip("ff02::1:3")) == a.mac("33:33:00:01:00:03")
    assert a.solicited_node(a.ip("fe80::2aa:ff:fe28:9c5a")) == a.ip("ff02::1:ff28:9c5a")
    assert a.link_local(a.mac("34:56:78:9a:bc:de")) == a.ip("fe80::3656:78ff:fe9a:bcde")  # RFC 4291 appendix A
    assert a.eui64_address(a.ip("fd00:aee0::"), a.mac("02:00:00:00:00:01")) == a.ip("fd00:aee0::ff:fe00:1")
    assert a.is_group_mac(a.MAC_BROADCAST) and not a.is_group_mac(a.mac("02:00:00:00:00:01"))
