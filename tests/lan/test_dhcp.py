"""The DHCP server, byte by byte against the contract and against scapy's reading."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from scapy.layers.dhcp import BOOTP, DHCP

from aero_lab.bounds import DHCP_SILENCE
from aero_lab.errors import UsageError
from aero_lab.lan.config import LanConfig
from aero_lab.lan.dhcp import TABLE, DhcpServer, Holder, Input, Lease, classify
from aero_lab.limits import SECOND
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


@pytest.mark.parametrize("unicast", [True, False])
@pytest.mark.parametrize("flags", [0, 0x8000])
def test_renewing_and_rebinding_are_answered_straight_to_the_address_in_use(unicast, flags):
    """RFC 2131 section 4.1: ciaddr comes before the broadcast flag."""
    server = DhcpServer(LanConfig())
    (reply,) = server.handle(request(dhcp.REQUEST, ciaddr=LEASE, flags=flags), 0, unicast)
    message = Dhcp.parse(reply.payload)
    assert (reply.dst_mac, reply.dst) == (CLIENT, LEASE)
    assert (message.message_type, message.yiaddr, message.ciaddr, message.flags) == (dhcp.ACK, LEASE, LEASE, flags)
    assert [code for code, _ in message.options] == [53, 54, 1, 3, 6, 51, 58, 59]


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
    assert server.leased_to is None
    for elsewhere in (bytes(4), ip("192.168.7.20"), ip("255.255.255.255"), GATEWAY):
        assert server.handle(request(dhcp.INFORM, ciaddr=elsewhere)) == []
    assert server.handle(request(dhcp.INFORM, ciaddr=ip("10.0.2.50"), chaddr=MAC_BROADCAST)) == []
    assert server.counters["inform-elsewhere"] == 5


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
        (b"\x01\x01\x10" + request(dhcp.DISCOVER)[3:], "dhcp-hardware"),
        (b"\x01\x01\x00" + request(dhcp.DISCOVER)[3:], "dhcp-hardware"),
        (request(dhcp.DISCOVER)[:240] + b"\x35", "dhcp-option-length"),
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


def test_release_of_another_address_is_passed_over():
    server = DhcpServer(LanConfig())
    server.handle(request(dhcp.REQUEST))
    server.handle(request(dhcp.RELEASE, ciaddr=ip("10.0.2.99")))
    assert server.leased_to == CLIENT and server.counters["ignored"] == 1
    server.handle(request(dhcp.RELEASE, (54, GATEWAY), ciaddr=LEASE))
    assert server.leased_to is None


def test_the_clients_identifier_comes_back_behind_everything_else():
    """RFC 6842; what nobody needs is cut off."""
    server = DhcpServer(LanConfig(domain="lab", mtu=9000))
    whole = server.handle(request(dhcp.DISCOVER, (61, b"\xff" + bytes(63)), (55, bytes((1, 3, 6, 15, 28, 42)))))[0]
    message = Dhcp.parse(whole.payload)
    assert [code for code, _ in message.options] == [53, 54, 1, 3, 6, 51, 58, 59, 26, 15, 61]
    assert message.text(dhcp.OPT_DOMAIN_NAME) == "lab"
    assert message.option(61) == b"\xff" + bytes(63)
    assert Dhcp.parse(server.handle(request(dhcp.REQUEST, (61, bytes(65))))[0].payload).option(61) is None
    nak = Dhcp.parse(server.handle(request(dhcp.REQUEST, (61, b"me"), (50, ip("192.168.1.1"))))[0].payload)
    assert [code for code, _ in nak.options] == [53, 54, 56, 61] and "network" in nak.text(dhcp.OPT_MESSAGE)


def test_every_answer_fits_what_every_client_takes():
    server = DhcpServer(LanConfig(domain="x" * 60 + ".lab", mtu=9000))
    for kind in (dhcp.DISCOVER, dhcp.REQUEST):
        assert all(len(r.payload) <= 548 for r in server.handle(request(kind, (61, bytes(64)))))


@pytest.mark.parametrize("domain", ["a..b", "x" * 65, "lab.", "l b", "x." * 40 + "lab"])
def test_domains_that_cannot_be_told(domain):
    with pytest.raises(UsageError):
        LanConfig(domain=domain)


def test_what_the_holder_says_of_itself_is_kept_and_clean():
    server = DhcpServer(LanConfig())
    assert server.holder is None
    server.handle(request(dhcp.REQUEST, (12, b"my\x1b[31mhost\xff\0"), (60, b"udhcp 1.36")), 77)
    assert server.holder == Holder(CLIENT, "my[31mhost", "udhcp 1.36", 77)


# The table ------------------------------------------------------------------------------------------------------------

OTHER = mac("52:54:00:00:00:02")
WRONG = ip("192.168.7.20")
INPUTS = {
    Input.DISCOVER: (dhcp.DISCOVER, (), {}),
    Input.SELECTING: (dhcp.REQUEST, ((54, GATEWAY), (50, LEASE)), {}),
    Input.INIT_REBOOT: (dhcp.REQUEST, ((50, LEASE),), {}),
    Input.RENEWING: (dhcp.REQUEST, (), {"ciaddr": LEASE}),
    Input.REBINDING: (dhcp.REQUEST, (), {"ciaddr": LEASE}),
    Input.BARE: (dhcp.REQUEST, (), {}),
    Input.INFORM: (dhcp.INFORM, (), {"ciaddr": ip("10.0.2.50")}),
    Input.RELEASE: (dhcp.RELEASE, ((54, GATEWAY),), {"ciaddr": LEASE}),
    Input.DECLINE: (dhcp.DECLINE, ((54, GATEWAY), (50, LEASE)), {}),
}


def send(server, what, chaddr=CLIENT, now=0, **fields):
    kind, options, more = INPUTS[what]
    replies = server.handle(request(kind, *options, chaddr=chaddr, **more, **fields), now, what is Input.RENEWING)
    return [Dhcp.parse(reply.payload).message_type for reply in replies]


def test_the_table_is_whole():
    assert set(TABLE) == {(lease, what) for lease in Lease for what in Input}
    assert all(callable(getattr(DhcpServer, f"_{action}")) for action in TABLE.values())


@pytest.mark.parametrize("what", list(Input))
def test_inputs_are_told_apart(what):
    """RFC 2131 table 4."""
    kind, options, fields = INPUTS[what]
    message = Dhcp.parse(request(kind, *options, **fields))
    assert classify(message, unicast=what is Input.RENEWING) is what


FREE = {
    Input.DISCOVER: [dhcp.OFFER] * 2,
    Input.SELECTING: [dhcp.ACK] * 2,
    Input.INIT_REBOOT: [dhcp.ACK] * 2,
    Input.RENEWING: [dhcp.ACK],
    Input.REBINDING: [dhcp.ACK],
    Input.BARE: [dhcp.ACK] * 2,
    Input.INFORM: [dhcp.ACK],
    Input.RELEASE: [],
    Input.DECLINE: [],
}
TAKES = {Input.SELECTING, Input.INIT_REBOOT, Input.RENEWING, Input.REBINDING, Input.BARE}


@pytest.mark.parametrize("what", list(Input))
def test_free_and_own_lease(what):
    server = DhcpServer(LanConfig())
    assert send(server, what) == FREE[what]
    assert server.leased_to == (CLIENT if what in TAKES else None)
    server = DhcpServer(LanConfig())
    send(server, Input.SELECTING)
    assert send(server, what) == FREE[what]
    assert server.leased_to == (None if what in (Input.RELEASE, Input.DECLINE) else CLIENT)


@pytest.mark.parametrize("what", list(Input))
def test_another_clients_lease(what):
    server = DhcpServer(LanConfig())
    send(server, Input.SELECTING)
    expected = [dhcp.NAK] if what in TAKES else [dhcp.ACK] if what is Input.INFORM else []
    assert send(server, what, OTHER) == expected
    assert server.leased_to == CLIENT
    always = DhcpServer(LanConfig(dhcp_always_ack=True))
    send(always, Input.SELECTING)
    assert send(always, what, OTHER) == FREE[what]


def test_a_lease_whose_time_is_over_is_free():
    server = DhcpServer(LanConfig(lease_time=100))
    send(server, Input.SELECTING)
    send(server, Input.RENEWING, now=50 * SECOND)
    assert send(server, Input.DISCOVER, OTHER, now=150 * SECOND - 1) == []
    assert send(server, Input.DISCOVER, OTHER, now=150 * SECOND) == [dhcp.OFFER] * 2
    assert send(server, Input.SELECTING, OTHER, now=150 * SECOND) == [dhcp.ACK] * 2
    assert server.leased_to == OTHER and server.counters["new-holder"] == 1


def test_a_client_that_is_silent_for_long_gives_way():
    heard = 0
    server = DhcpServer(LanConfig(), lambda: heard)
    send(server, Input.SELECTING)
    heard = 30 * SECOND
    assert send(server, Input.DISCOVER, OTHER, now=heard + DHCP_SILENCE - 1) == []
    assert send(server, Input.DISCOVER, OTHER, now=heard + DHCP_SILENCE) == [dhcp.OFFER] * 2
    assert server.leased_to == CLIENT, "an offer takes nothing away"
    send(server, Input.SELECTING, OTHER, now=heard + DHCP_SILENCE)
    assert send(server, Input.RENEWING, CLIENT, now=heard + DHCP_SILENCE) == [dhcp.NAK], "the first one asks afresh"


@pytest.mark.parametrize("what", list(Input))
def test_relayed_messages_are_dropped(what):
    server = DhcpServer(LanConfig())
    assert send(server, what, giaddr=ip("10.9.9.1"), hops=1) == []
    assert server.counters == {"dhcp-relayed": 1} and server.leased_to is None


def test_options_in_the_overloaded_fields_count():
    """RFC 2132 section 9.3: the message type itself may stand in ``file``."""
    server = DhcpServer(LanConfig())
    fields = {"op": dhcp.BOOT_REQUEST, "xid": 1, "chaddr": CLIENT}
    inside = Dhcp(**fields, options=((52, b"\1"),), file=b"\x35\1\3\x32\4" + WRONG + b"\xff").emit(300)
    assert Dhcp.parse(server.handle(inside)[0].payload).message_type == dhcp.NAK
    both = Dhcp(**fields, options=((52, b"\3"), (53, b"\3")), file=b"\xff", sname=b"\x32\4" + LEASE + b"\xff")
    assert Dhcp.parse(server.handle(both.emit(300))[0].payload).message_type == dhcp.ACK


def test_scapy_writes_what_we_read():
    """A client that is not ours: DISCOVER, REQUEST, RELEASE as scapy builds them."""
    server = DhcpServer(LanConfig())

    def theirs(*options, **fields):
        return bytes(BOOTP(chaddr=CLIENT, xid=5, flags=0x8000, **fields) / DHCP(options=[*options, "end"]))

    offer = BOOTP(server.handle(theirs(("message-type", "discover"), ("client_id", b"\1" + CLIENT)))[0].payload)
    told = dict(option[:2] for option in offer[DHCP].options if option != "end")
    assert (offer.yiaddr, told["message-type"], told["client_id"]) == ("10.0.2.15", 2, b"\1" + CLIENT)
    asked = theirs(("message-type", "request"), ("server_id", told["server_id"]), ("requested_addr", offer.yiaddr))
    ack = BOOTP(server.handle(asked)[0].payload)
    assert ack[DHCP].options[0] == ("message-type", 5) and server.leased_to == CLIENT
    nak = BOOTP(server.handle(theirs(("message-type", "request"), ("requested_addr", "192.168.1.5")))[0].payload)
    assert nak[DHCP].options[0] == ("message-type", 6) and nak.yiaddr == "0.0.0.0"
    assert server.handle(theirs(("message-type", "release"), ("server_id", "10.0.2.2"), ciaddr="10.0.2.15")) == []
    assert server.leased_to is None


class Clients(RuleBasedStateMachine):
    """Three clients in any order: the address is never promised to one while another, who is heard, has it."""

    def __init__(self):
        super().__init__()
        self.now = self.heard = 0
        self.server = DhcpServer(LanConfig(lease_time=3600), lambda: self.heard)
        self.owner: bytes | None = None
        self.until = self.since = 0

    @rule(what=st.sampled_from(list(Input)), who=st.sampled_from([CLIENT, OTHER, mac("52:54:00:00:00:03")]))
    def message(self, what, who):
        held = self.owner is not None and self.now < self.until
        heard = self.now - max(self.since, self.heard) < DHCP_SILENCE
        got = set(send(self.server, what, who, self.now))
        if held and heard and who != self.owner:
            assert got <= {dhcp.NAK} or what is Input.INFORM
        else:
            assert dhcp.NAK not in got
            if what in TAKES:
                assert got == {dhcp.ACK}
                self.owner, self.since, self.until = who, self.now, self.now + 3600 * SECOND
            elif what in (Input.RELEASE, Input.DECLINE) and held and who == self.owner:
                self.owner = None
        if self.owner is None or self.now < self.until:
            assert self.server.leased_to == self.owner

    @rule(seconds=st.integers(0, 4000))
    def time_passes(self, seconds):
        self.now += seconds * SECOND

    @rule()
    def the_holder_speaks(self):
        self.heard = self.now


TestClients = Clients.TestCase
TestClients.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


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
