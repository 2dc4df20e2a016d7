"""The policy: every special-use range at both its ends, and the disguises of IPv4 in IPv6."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.lan.policy import Policy, looks_numeric, special_use
from aero_lab.lan.special_use import IPV4, IPV6, examine
from aero_lab.wire.address import ip, ip_text

ROWS = [*IPV4, *IPV6]
TRANSLATED = ("64:ff9b::/96", "2002::/16")
"""Judged by the IPv4 address inside."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.text)
def test_every_row_to_its_edges(row):
    network = ipaddress.ip_network(row.text)
    for address in (network.network_address, network.broadcast_address, network[len_middle(network)]):
        if row.text not in TRANSLATED:
            assert special_use(address.packed) is not None, address
    neighbours = [n for n in (int(network[0]) - 1, int(network[-1]) + 1) if 0 <= n < 1 << network.max_prefixlen]
    for number in neighbours:
        outside = type(network[0])(number)
        expected = any(outside in ipaddress.ip_network(other.text) for other in ROWS if other.text not in TRANSLATED)
        beyond = outside.version == 6 and outside not in ipaddress.ip_network("2000::/3")
        if outside.version == 4 or not any(outside in ipaddress.ip_network(text) for text in TRANSLATED):
            assert (special_use(outside.packed) is not None) == (expected or beyond), outside


def len_middle(network) -> int:
    return network.num_addresses // 2


def test_the_longest_prefix_gives_the_reason():
    for text, why in (
        ("192.88.99.2", "relay"), ("192.0.0.9", "protocol-assignments"), ("192.0.0.192", "metadata"),
        ("255.255.255.255", "broadcast"), ("0.0.0.0", "unspecified"), ("0.1.2.3", "this-network"),
        ("169.254.1.1", "link-local"), ("100.100.100.200", "metadata"), ("100.100.100.201", "shared"),
        ("192.31.196.1", "as112"), ("192.52.193.1", "relay"), ("192.175.48.6", "as112"),
        ("2001:2::1", "benchmarking"), ("2001:20::1", "orchid"), ("2001:1::1", "protocol-assignments"),
        ("2001:db8::1", "documentation"), ("100::1", "discard"), ("5f00::1", "segment-routing"),
        ("3fff:fff::1", "documentation"), ("fd00:ec2::254", "metadata"), ("fd00::1", "private"),
        ("64:ff9b:1::808:808", "translation"), ("4000::1", "reserved"), ("::", "unspecified"),
    ):  # fmt: skip
        assert special_use(ip(text)) == why, text


@given(st.integers(0, (1 << 32) - 1))
def test_ipv4_agrees_with_the_list_of_networks(number):
    address = ipaddress.IPv4Address(number)
    expected = any(address in ipaddress.ip_network(row.text) for row in IPV4)
    assert (special_use(address.packed) is not None) == expected


def _inside(row, number: int) -> int:
    network = ipaddress.ip_network(row.text)
    return int(network[0]) | number >> network.prefixlen


anything = st.integers(0, (1 << 128) - 1)
near = st.one_of(anything, st.builds(_inside, st.sampled_from(IPV6), anything))


@given(near)
def test_ipv6_lets_through_no_more_than_the_standard_library(number):
    address = ipaddress.IPv6Address(number)
    if special_use(address.packed) is None:
        inside = address.sixtofour or (
            ipaddress.IPv4Address(number & 0xFFFFFFFF) if address in ipaddress.ip_network("64:ff9b::/96") else None
        )
        judged = inside if inside is not None else address
        assert judged.is_global and not judged.is_multicast, address


@given(st.integers(0, (1 << 32) - 1))
def test_ipv4_lets_through_no_more_than_the_standard_library(number):
    address = ipaddress.IPv4Address(number)
    if special_use(address.packed) is None:
        assert address.is_global and not address.is_multicast


PRIVATE4 = [ip(text) for text in ("10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "224.0.0.1")]
PUBLIC4 = ip("8.8.8.8")
FORMS = {
    "mapped": lambda a: ip("::ffff:0:0")[:12] + a,
    "compatible": lambda a: bytes(12) + a,
    "translated": lambda a: ip("::ffff:0:0:0")[:12] + a,
    "nat64": lambda a: ip("64:ff9b::")[:12] + a,
    "nat64 local": lambda a: ip("64:ff9b:1::")[:12] + a,
    "6to4": lambda a: b"\x20\x02" + a + bytes(10),
    "teredo client": lambda a: ip("2001::")[:4] + ip("65.54.227.120") + bytes(4) + bytes(b ^ 255 for b in a),
    "teredo server": lambda a: ip("2001::")[:4] + a + bytes(4) + bytes(b ^ 255 for b in PUBLIC4),
    "isatap": lambda a: ip("2a00:1450::")[:8] + bytes.fromhex("00005efe") + a,
    "isatap global": lambda a: ip("2a00:1450::")[:8] + bytes.fromhex("02005efe") + a,
}
LEADS_ON = ("nat64", "6to4", "isatap", "isatap global")
"""With a public address inside these are ordinary public addresses."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inside", PRIVATE4, ids=lambda a: ipaddress.ip_address(a).exploded)
def test_every_disguise_of_ipv4_is_seen_through(form, inside):
    why = special_use(FORMS[form](inside))
    assert why is not None
    if form != "nat64 local":
        assert why == special_use(inside), "the reason is that of the address inside"
    assert ip_text(inside) in examine(FORMS[form](inside)).detail or form == "nat64 local"


@pytest.mark.parametrize("form", FORMS)
def test_disguises_of_public_addresses(form):
    assert (special_use(FORMS[form](PUBLIC4)) is None) == (form in LEADS_ON)


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


def test_private_can_be_allowed_but_not_what_is_no_host_nor_metadata():
    policy = Policy(allow_private=True)
    for text in ("10.0.0.1", "127.0.0.1", "192.168.1.1", "203.0.113.1", "fd00::1", "::1", "169.254.1.1"):
        assert policy.address(ip(text)) is None
    for text in (
        "224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::", "169.254.169.254", "::ffff:169.254.169.254",
        "64:ff9b::168.63.129.16", "fd00:ec2::254", "100.100.100.200", "192.0.0.192",
    ):  # fmt: skip
        assert policy.address(ip(text)) is not None, text
    assert "allowed here" in policy.examine(ip("10.0.0.1")).detail


@pytest.mark.parametrize(
    ("name", "numeric"),
    [
        ("2130706433", True), ("127.1", True), ("0177.0.0.1", True), ("0x7f.0.0.1", True), ("0x7f000001", True),
        ("10.0.0.08", True), ("a.b.0x1f", True), ("1.", True), ("0x", True), ("files.lab", False), ("1.0xfg", False),
        ("4chan.org", False), ("1.1.1.1.in-addr.arpa", False), ("x1", False), ("", False), ("127.0.0.1.nip.io", False),
    ],
)  # fmt: skip
def test_names_that_are_numbers_do_not_resolve(name, numeric):
    assert looks_numeric(name) == numeric
    assert (Policy().name(name) == "numeric-name") == numeric


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
