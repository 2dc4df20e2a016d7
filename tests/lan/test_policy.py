"""The policy: every special-use range at both its ends, and the disguises of IPv4 in IPv6."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.lan.policy import Policy, special_use
from aero_lab.wire.address import ip

RANGES = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
    "240.0.0.0/4",
]  # fmt: skip


@pytest.mark.parametrize("text", RANGES)
def test_special_ranges_to_their_edges(text):
    network = ipaddress.ip_network(text)
    first, last = network.network_address, network.broadcast_address
    assert special_use(first.packed) and special_use(last.packed)
    for neighbour in (int(first) - 1, int(last) + 1):
        if 0 <= neighbour < 1 << 32:
            outside = ipaddress.IPv4Address(neighbour)
            expected = any(outside in ipaddress.ip_network(other) for other in RANGES)
            assert (special_use(outside.packed) is not None) == expected


@given(st.integers(0, (1 << 32) - 1))
def test_ipv4_agrees_with_the_list_of_networks(number):
    address = ipaddress.IPv4Address(number)
    expected = any(address in ipaddress.ip_network(text) for text in RANGES) or str(address) == "168.63.129.16"
    assert (special_use(address.packed) is not None) == expected


@pytest.mark.parametrize(
    "text",
    [
        "::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::1",
        "2002:a00:1::", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
        "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1", "100::1", "5f00::1",
        "4000::1", "::10.0.0.1", "2001:10::1", "2001:2::1",
    ],
)  # fmt: skip
def test_ipv6_that_is_not_the_public_internet(text):
    assert special_use(ip(text)) is not None


@pytest.mark.parametrize("text", ["2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_ipv6_that_is(text):
    assert special_use(ip(text)) is None


@pytest.mark.parametrize(
    "text", ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"]
)
def test_metadata_services(text):
    assert Policy().address(ip(text)) is not None


@pytest.mark.parametrize("text", ["0177.0.0.1", "127.1", "0x7f.0.0.1", "2130706433", "10.0.0.01", "fe80::1%eth0"])
def test_odd_spellings_are_no_addresses_at_all(text):
    with pytest.raises(UsageError):
        ip(text)


def test_private_can_be_allowed_but_not_groups():
    policy = Policy(allow_private=True)
    for text in ("10.0.0.1", "127.0.0.1", "192.168.1.1", "203.0.113.1", "fd00::1", "::1"):
        assert policy.address(ip(text)) is None
    for text in ("224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"):
        assert policy.address(ip(text)) is not None


def test_ports():
    policy = Policy(tcp_ports=frozenset({80}), udp_ports=frozenset())
    public = ip("8.8.8.8")
    assert policy.tcp(public, 80) is None
    assert policy.tcp(public, 81) == "port"
    assert policy.udp(public, 53) == "port", "an empty list allows none"
    assert Policy().tcp(public, 1) is Policy().udp(public, 65535) is None


def test_domains():
    policy = Policy(allowed_domains=(".Example.com.", "  ", "."), blocked_domains=("bad.example.com",))
    assert policy.name("example.com") is None
    assert policy.name("www.example.com") is None
    assert policy.name("notexample.com") == "not-allowed-domain"
    assert policy.name("bad.example.com") == policy.name("very.bad.example.com") == "blocked-domain"
    assert policy.name("notbad.example.com") is None
    assert Policy(blocked_domains=("x.org",)).name("y.org") is None
