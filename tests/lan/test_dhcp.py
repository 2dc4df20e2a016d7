"""The DHCP server, byte by byte against the contract and against scapy's reading."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from aero_lab.lan.config import LanConfig
from aero_lab.lan.dhcp import DhcpServer
from aero_lab.wire import dhcp
from aero_lab.wire.address import IP4_BROADCAST, MAC_BROADCAST, ip, mac
from aero_lab.wire.dhcp import Dhcp

CLIENT = mac("52:54:00:12:34:56")
LEASE, GATEWAY = ip("10.0.2.15"), ip("10.0.2.2")


def request(kind, *options, **fields) -> bytes:
    fields = {"op": dhcp.BOOT_REQUEST, "xid": 0x1234ABCD, "chaddr": CLIENT, **fields}
    return Dhcp(options=((53, bytes((kind,))), *options), **fields).emit(dhcp.BOOTP_SIZE)


# Written out by hand from the contract: fixed part, cookie, options in their order.
OFFER = bytes.fromhex(
    "02010600" "1234abcd" "0000" "8000" "00000000" "0a00020f" "0a000202" "00000000"
    "525400123456" + "00" * 10 + "00" * 64 + "00" * 128 + "63825363"
    "350102" "36040a000202" "0104ffffff00" "03040a000202" "06040a000202" "330400015180" "3a040000a8c0" "3b0400012750"
    "ff"
)  # fmt: skip


def test_offer_is_the_contract_to_the_byte():
    server = DhcpServer(LanConfig())
    first, second = server.handle(request(dhcp.DISCOVER, flags=0x8000))
    assert first.payload == second.payload == OFFER
    assert len(OFFER) + 42 == 328
    assert (first.dst_mac, first.dst) == (MAC_BROADCAST, IP4_BROADCAST)
    assert (second.dst_mac, second.dst) == (CLIENT, LEASE)
    assert server.leased_to is None


@pytest.mark.parametrize(
    "options",
    [
        ((54, GATEWAY), (50, LEASE)),
        ((54, ip("192.168.7.1")), (50, ip("192.168.7.20"))),  # another server's offer: we are the only one here
        ((50, LEASE),),  # INIT-REBOOT
        (),
    ],
)
def test_request_is_acknowledged(options):
    server = DhcpServer(LanConfig())
    replies = server.handle(request(dhcp.REQUEST, *options, flags=0x8000))
    assert len(replies) == 2
    assert replies[0].payload == OFFER.replace(bytes.fromhex("350102"), bytes.fromhex("350105"))
    assert server.leased_to == CLIENT


def test_renewal_names_the_address_in_ciaddr():
    server = DhcpServer(LanConfig())
    message = Dhcp.parse(server.handle(request(dhcp.REQUEST, ciaddr=LEASE))[0].payload)
    assert (message.message_type, message.yiaddr, message.ciaddr) == (dhcp.ACK, LEASE, bytes(4))


@pytest.mark.parametrize("kept", [{"ciaddr": ip("192.168.7.20")}, {}])
def test_keeping_another_networks_address_is_refused(kept):
    options = () if kept else ((50, ip("192.168.7.20")),)
    server = DhcpServer(LanConfig())
    (reply,) = server.handle(request(dhcp.REQUEST, *options, **kept))
    message = Dhcp.parse(reply.payload)
    assert message.message_type == dhcp.NAK
    assert message.yiaddr == bytes(4)
    assert message.address(dhcp.OPT_SERVER_ID) == GATEWAY
    assert (reply.dst_mac, reply.dst) == (MAC_BROADCAST, IP4_BROADCAST)
    assert server.leased_to is None
    always = DhcpServer(LanConfig(dhcp_always_ack=True))
    assert Dhcp.parse(always.handle(request(dhcp.REQUEST, *options, **kept))[0].payload).message_type == dhcp.ACK


def test_release_and_decline_free_the_lease_of_their_client_only():
    for kind in (dhcp.RELEASE, dhcp.DECLINE):
        server = DhcpServer(LanConfig())
        server.handle(request(dhcp.REQUEST))
        assert server.handle(request(kind, chaddr=mac("52:54:00:00:00:01"))) == []
        assert server.leased_to == CLIENT
        assert server.handle(request(kind)) == []
        assert server.leased_to is None


def test_inform_gets_parameters_and_no_address():
    server = DhcpServer(LanConfig())
    (reply,) = server.handle(request(dhcp.INFORM, ciaddr=ip("10.0.2.50")))
    message = Dhcp.parse(reply.payload)
    assert (reply.dst_mac, reply.dst) == (CLIENT, ip("10.0.2.50"))
    assert (message.message_type, message.yiaddr) == (dhcp.ACK, bytes(4))
    assert message.address(dhcp.OPT_DNS) == GATEWAY
    assert message.option(dhcp.OPT_LEASE_TIME) is None
    assert server.handle(request(dhcp.INFORM)) == []
    assert server.leased_to is None


def test_another_mtu_is_told_behind_the_usual_options():
    message = Dhcp.parse(DhcpServer(LanConfig(mtu=9000)).handle(request(dhcp.DISCOVER))[0].payload)
    assert message.options[-1] == (dhcp.OPT_MTU, (9000).to_bytes(2, "big"))
    assert [code for code, _ in message.options] == [53, 54, 1, 3, 6, 51, 58, 59, 26]


def test_scapy_reads_the_same():
    packet = BOOTP(DhcpServer(LanConfig()).handle(request(dhcp.DISCOVER))[0].payload)
    assert (packet.yiaddr, packet.siaddr, packet.xid) == ("10.0.2.15", "10.0.2.2", 0x1234ABCD)
    options = [option for option in packet[DHCP].options if option != "end"]
    assert options == [
        ("message-type", 2),
        ("server_id", "10.0.2.2"),
        ("subnet_mask", "255.255.255.0"),
        ("router", "10.0.2.2"),
        ("name_server", "10.0.2.2"),
        ("lease_time", 86400),
        ("renewal_time", 43200),
        ("rebinding_time", 75600),
    ]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "dhcp-short"),
        (request(dhcp.DISCOVER)[:239], "dhcp-short"),
        (b"\x01\x06\x06" + request(dhcp.DISCOVER)[3:], "dhcp-hardware"),
        (request(dhcp.DISCOVER)[:236] + b"\0\0\0\0" + request(dhcp.DISCOVER)[240:], "dhcp-cookie"),
        (request(dhcp.DISCOVER)[:240] + b"\x35\x09\x01", "dhcp-option-length"),
        (request(dhcp.OFFER), None),  # a server's word, from a client
        (request(dhcp.DISCOVER, op=dhcp.BOOT_REPLY), None),
        (request(99), None),
        (request(dhcp.DISCOVER)[:240], None),  # plain BOOTP
    ],
)
def test_what_is_no_request_is_counted_and_gets_no_answer(payload, reason):
    server = DhcpServer(LanConfig())
    assert server.handle(payload) == []
    if reason is not None:
        assert server.counters[reason] == 1


def test_missing_end_mark_and_padding_are_forgiven():
    whole = request(dhcp.DISCOVER)
    assert len(DhcpServer(LanConfig()).handle(whole[:240] + b"\0\0\x35\x01\x01")) == 2


@given(st.binary(max_size=400), st.integers(0, 2**32))
def test_no_bytes_raise(tail, seed):
    base = bytearray(request(dhcp.REQUEST, (50, LEASE)))
    noise = random.Random(seed)
    for _ in range(noise.randrange(20)):
        base[noise.randrange(len(base))] = noise.randrange(256)
    server = DhcpServer(LanConfig())
    for payload in (bytes(base), bytes(base[:240]) + tail, tail):
        for reply in server.handle(payload):
            Dhcp.parse(reply.payload)
