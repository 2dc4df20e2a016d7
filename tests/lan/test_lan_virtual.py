"""The whole LAN in virtual time: our stack as guest, our stack as gateway, our far end as the world."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

from aero_lab.audit import Audit
from aero_lab.causes import Cause
from aero_lab.egress.contract import Answer
from aero_lab.errors import Malformed
from aero_lab.lan import Policy
from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.services.content import content_bytes
from aero_lab.services.ntp import NtpPacket
from aero_lab.services.udp_probe import make_probe, read_probe
from aero_lab.stack import TcpConfig
from aero_lab.wire import dhcp, dns, icmp, udp
from aero_lab.wire.address import IP4_ANY, IP4_BROADCAST, MAC_BROADCAST, ip
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.dns import DnsMessage
from aero_lab.wire.ethernet import TYPE_IPV4, Ethernet
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.ipv4 import Ipv4

from .bench import ECHO, FILES, GATEWAY, GUEST, GUEST_MAC, SINK, SOURCE, VirtualBench

GET = b"GET %b HTTP/1.1\r\nHost: files.lab\r\nConnection: close\r\n\r\n"


def body(raw: bytes) -> bytes:
    return bytes(raw).partition(b"\r\n\r\n")[2]


def frame(payload: bytes, src: bytes = GUEST, dst: bytes = GATEWAY, protocol: int = udp.PROTOCOL) -> bytes:
    return Ethernet(MAC_BROADCAST, GUEST_MAC, TYPE_IPV4, Ipv4(src, dst, protocol, payload).emit()).emit()


def test_download_is_byte_exact_and_both_ends_close():
    b = VirtualBench()
    client = b.guest.open((FILES, 80), GET % b"/bytes/1000000")
    assert b.run(lambda: client.ended)
    assert body(client.got) == content_bytes(1_000_000)
    client.finish = True
    assert b.run(lambda: client.reason is not None)
    assert client.reason == "closed"
    (row,) = b.lan_rows()
    assert (row["reason"], row["state"]) == ("closed", "ended")
    assert row["bytes_down"] == len(client.got)
    b.run_for(200)
    assert b.lan.stack.open_connections == b.lan.egress.stack.open_connections == b.far.stack.open_connections == 0
    assert b.far.sessions == 0 and len(b.lan.tcp) == 0 and not b.lan.egress._flows


def test_upload_is_byte_exact():
    b = VirtualBench()
    data = content_bytes(700_001)
    head = b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
    client = b.guest.open((FILES, 80), head + data)
    assert b.run(lambda: client.ended)
    assert json.loads(body(client.got)) == {"bytes": len(data), "sha256": sha256(data).hexdigest()}


def test_echo_with_half_close():
    b = VirtualBench()
    data = content_bytes(600_000)
    client = b.guest.open((ECHO, 7), data, finish=True)
    assert b.run(lambda: client.reason is not None)
    assert (client.reason, bytes(client.got)) == ("closed", data)
    assert b.lan_rows()[0]["reason"] == "closed"


def test_through_a_bad_link_to_the_world():
    link = Link(rtt="20ms", loss=0.02, reorder=0.05, duplicate=0.01, corrupt=0.005)
    b = VirtualBench(link, seed=3)
    client = b.guest.open((FILES, 80), GET % b"/bytes/300000")
    assert b.run(lambda: client.ended, 600)
    assert body(client.got) == content_bytes(300_000)


def test_handshake_is_answered_when_the_far_side_answered():
    b = VirtualBench(Link(rtt="100ms"))
    client = b.guest.open((FILES, 80))
    assert b.run(lambda: client.established)
    assert 100 * MS <= b.now < 110 * MS
    assert b.lan_rows()[0]["answered_at"] >= 100 * MS


def test_a_guest_that_does_not_read_stops_the_world_and_costs_a_bounded_amount():
    # With a delay in it: an endless source at no distance would fill one instant for ever.
    b = VirtualBench(Link(rtt="10ms"), guest_tcp=TcpConfig(recv_buffer=65536))
    client = b.guest.open((SOURCE, 19), read=False)
    b.run_for(30)
    before = b.lan_rows()[0]["bytes_down"]
    assert 65536 <= before <= 65536 + 2 * 262144
    b.run_for(30)
    assert b.lan_rows()[0]["bytes_down"] == before, "the window holds everything up"
    client.read = True
    b.guest.step(b.now)
    assert b.run(lambda: len(client.got) > 2_000_000)
    assert bytes(client.got) == content_bytes(len(client.got))
    client.conn.abort(b.now)
    b.run_for(1)
    assert b.lan_rows()[0]["reason"] == "reset-by-guest"
    assert b.far.sessions == 0


def test_a_world_that_does_not_read_stops_the_guest():
    b = VirtualBench()
    b.far._tcp[SINK, 9] = Stubborn()
    client = b.guest.open((SINK, 9), bytes(3_000_000))
    b.run_for(60)
    row = b.lan_rows()[0]
    assert row["bytes_up"] < 600_000 and row["state"] == "open"
    assert len(client.to_send) > 1_000_000, "the guest could not get rid of it"
    assert client.reason is None, "never a reset for being fast"


class Stubborn:
    """A service that never takes a byte."""

    room = 0
    done = working = False

    def connected(self, conn=None):
        return self

    def data(self, view):
        raise AssertionError("no room was offered")

    def eof(self):
        pass

    def output(self, most):
        return b""


@pytest.mark.parametrize(
    ("where", "reason", "guest_reason"),
    [
        ((FILES, 81), "refused", "refused"),
        ((ip("203.0.113.99"), 80), "unreachable", None),
        ((ip("10.0.2.2"), 54), "denied-gateway", "refused"),
        ((ip("255.255.255.255"), 80), "denied-reserved", None),
    ],
)
def test_what_the_guest_hears_when_it_cannot_connect(where, reason, guest_reason):
    b = VirtualBench(policy=Policy(allow_private=True))
    client = b.guest.open(where)
    b.run(lambda: client.reason is not None, 5)
    if where[0] != IP4_BROADCAST:
        assert b.lan_rows()[0]["reason"] == reason
    if guest_reason:
        assert client.reason == guest_reason
    assert not client.established


def test_lab_services_are_reached_through_the_forward_map_only():
    b = VirtualBench(forward_tcp={})
    client = b.guest.open((FILES, 80))
    b.run(lambda: client.reason is not None, 5)
    assert client.reason == "refused"
    assert b.lan_rows()[0]["reason"] == "denied-documentation"


def test_connection_limit_is_a_reset():
    b = VirtualBench(max_tcp=2)
    clients = [b.guest.open((ECHO, 7)) for _ in range(2)]
    assert b.run(lambda: all(client.established for client in clients))
    late = b.guest.open((ECHO, 7))
    b.run(lambda: late.reason is not None or late.established, 3)
    assert (late.reason, late.established) == ("refused", False)
    assert b.lan_rows()[-1]["reason"] == "limit"


def ask_dns(b: VirtualBench, name: str, rtype: int = dns.A) -> DnsMessage:
    number = len(b.guest.datagrams)
    payload = DnsMessage.query(77, name, rtype).emit()
    while not b.guest.stack.udp_send(GUEST, 40053, GATEWAY, 53, payload, b.now):
        b.run_for(0.01)
    assert b.run(lambda: len(b.guest.datagrams) > number, 10)
    return DnsMessage.parse(b.guest.datagrams[-1].payload)


def test_names_of_the_lab_and_names_of_the_world():
    b = VirtualBench()
    assert ask_dns(b, "files.lab").answers[0].rdata == FILES
    assert ask_dns(b, "dns.msftncsi.com").answers[0].rdata == ip("131.107.255.255")
    assert ask_dns(b, "nowhere.example").rcode == dns.NXDOMAIN
    assert b.lan.dns.counters["lookups"] == 1
    b = VirtualBench(names={}, policy=Policy(allow_private=True))
    assert ask_dns(b, "echo.lab").answers[0].rdata == ECHO, "asked over the paper world's own DNS"
    b = VirtualBench(names={})
    assert ask_dns(b, "echo.lab").rcode == dns.NXDOMAIN, "an address that must not be reached"


def send_udp(b: VirtualBench, where: tuple[bytes, int], payload: bytes, port: int = 40000) -> None:
    while not b.guest.stack.udp_send(GUEST, port, *where, payload, b.now):
        b.run_for(0.01)


def test_udp_echo_ntp_and_idle_end():
    b = VirtualBench(Link(rtt="30ms"))
    send_udp(b, (ECHO, 7), b"neither a probe nor lost while the gateway's address is asked for")
    assert b.run(lambda: len(b.guest.datagrams) == 1)
    b.guest.datagrams.clear()
    send_udp(b, (ECHO, 7), make_probe(5, b.now, 160))
    assert b.run(lambda: len(b.guest.datagrams) == 1)
    answer = b.guest.datagrams[0]
    assert (answer.src, answer.sport, answer.dport) == (ECHO, 7, 40000)
    probe = read_probe(answer.payload)
    assert probe.received - probe.sent == 15 * MS
    send_udp(b, (ip("203.0.113.14"), 123), NtpPacket(transmit=99).emit())
    assert b.run(lambda: len(b.guest.datagrams) == 2)
    assert NtpPacket.parse(b.guest.datagrams[1].payload).originate == 99
    b.run_for(61)
    assert [row["reason"] for row in b.lan_rows()] == ["idle", "idle"]
    assert len(b.lan.udp) == 0


def test_large_datagrams_travel_in_fragments():
    b = VirtualBench()
    payload = content_bytes(9000)
    send_udp(b, (ECHO, 7), payload)
    assert b.run(lambda: bool(b.guest.datagrams), 5)
    assert b.guest.datagrams[0].payload == payload


def test_nobody_at_the_port_is_told():
    b = VirtualBench(policy=Policy(allow_private=True))
    send_udp(b, (ECHO, 1234), b"anyone?")
    assert b.run(lambda: bool(b.guest.icmp), 5)
    message = b.guest.icmp[0]
    assert (message.src, message.type, message.code) == (ECHO, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)
    assert b.lan_rows()[0]["state"] == "refused"
    b.run_for(61)
    assert b.lan_rows()[0]["reason"] == "refused"


@pytest.mark.parametrize("where", [GATEWAY, FILES])
def test_ping(where):
    b = VirtualBench()
    while not b.guest.stack.icmp_echo(GUEST, where, 7, 9, b"payload", b.now):
        b.run_for(0.01)
    assert b.run(lambda: bool(b.guest.icmp), 5)
    reply = b.guest.icmp[0]
    assert (reply.src, reply.type, reply.rest, reply.payload) == (where, 0, 7 << 16 | 9, b"payload")


def test_ping_of_what_must_not_be_reached_is_told_and_counted():
    b = VirtualBench()
    while not b.guest.stack.icmp_echo(GUEST, ip("192.168.1.1"), 7, 9, b"", b.now):
        b.run_for(0.01)
    b.run_for(2)
    (message,) = b.guest.icmp
    assert (message.src, message.type, message.code) == (GATEWAY, icmp.UNREACHABLE, icmp.ADMINISTRATIVELY_PROHIBITED)
    assert b.lan.counters["lan.echo-denied-private"] == 1


def dhcp_request(kind: int, *options) -> bytes:
    message = Dhcp(dhcp.BOOT_REQUEST, 42, GUEST_MAC, ((53, bytes((kind,))), *options))
    return frame(udp.Udp(68, 67, message.emit(dhcp.BOOTP_SIZE)).emit(IP4_ANY, IP4_BROADCAST), IP4_ANY, IP4_BROADCAST)


def sent_by_lan(b: VirtualBench, raw: bytes) -> list:
    b.lan.rx.push(raw)
    b.lan.step(b.now)
    return b.lan.tx.pop_many(64)


def test_dhcp_on_the_wire():
    b = VirtualBench()
    frames = sent_by_lan(b, dhcp_request(dhcp.DISCOVER))
    assert [len(f.data) for f in frames] == [328, 328]
    assert all(f.cause == Cause.DHCP for f in frames)
    first, second = (Ethernet.parse(f.data) for f in frames)
    assert (first.dst, second.dst) == (MAC_BROADCAST, GUEST_MAC)
    assert first.src == bytes.fromhex("020000000001")
    packets = [Ipv4.parse(each.payload) for each in (first, second)]
    assert [(p.src, p.dst, p.ttl, p.tos, p.df, p.id) for p in packets] == [
        (GATEWAY, IP4_BROADCAST, 64, 0, True, 1),
        (GATEWAY, GUEST, 64, 0, True, 2),
    ]
    datagram = udp.Udp.parse(packets[0].payload, packets[0].src, packets[0].dst)
    assert (datagram.srcport, datagram.dstport) == (67, 68)
    assert Dhcp.parse(datagram.payload).message_type == dhcp.OFFER
    acked = sent_by_lan(b, dhcp_request(dhcp.REQUEST))
    assert Dhcp.parse(acked[0].data[42:]).message_type == dhcp.ACK
    assert b.lan.dhcp.leased_to == GUEST_MAC


def dhcp_from(mac_address: bytes, kind: int, src: bytes = IP4_ANY, dst: bytes = IP4_BROADCAST) -> bytes:
    message = Dhcp(dhcp.BOOT_REQUEST, 43, mac_address, ((53, bytes((kind,))),), ciaddr=src)
    packet = Ipv4(src, dst, udp.PROTOCOL, udp.Udp(68, 67, message.emit(dhcp.BOOTP_SIZE)).emit(src, dst)).emit()
    return Ethernet(MAC_BROADCAST, mac_address, TYPE_IPV4, packet).emit()


@pytest.mark.parametrize("dst", [GATEWAY, IP4_BROADCAST])
def test_a_lease_is_extended_where_it_is_used(dst):
    b = VirtualBench()
    (answer,) = sent_by_lan(b, dhcp_from(GUEST_MAC, dhcp.REQUEST, GUEST, dst))
    frame_ = Ethernet.parse(answer.data)
    packet = Ipv4.parse(frame_.payload)
    assert (frame_.dst, packet.dst, packet.src) == (GUEST_MAC, GUEST, GATEWAY)
    assert Dhcp.parse(packet.payload[8:]).message_type == dhcp.ACK
    assert sent_by_lan(b, dhcp_from(GUEST_MAC, dhcp.RELEASE, GUEST, GATEWAY)) == []
    assert b.lan.dhcp.leased_to is None


def test_a_second_client_gets_nothing_while_the_first_is_heard():
    b = VirtualBench()
    second = bytes.fromhex("020000000077")
    sent_by_lan(b, dhcp_request(dhcp.REQUEST))
    client = b.guest.open((FILES, 80), GET % b"/ncsi.txt")
    assert b.run(lambda: client.ended)
    for sign in (b"datagram", b"flow"):
        b.run_for(50)
        if sign == b"datagram":
            send_udp(b, (ECHO, 7), b"x")
        else:
            b.guest.open((ECHO, 7), b"y")
        b.run_for(50)
        b.guest.stack.tx.pop_many(64)
        assert sent_by_lan(b, dhcp_from(second, dhcp.DISCOVER)) == []
        refused = sent_by_lan(b, dhcp_from(second, dhcp.REQUEST))
        assert [Dhcp.parse(f.data[42:]).message_type for f in refused] == [dhcp.NAK]
    b.run_for(61)
    assert [Dhcp.parse(f.data[42:]).message_type for f in sent_by_lan(b, dhcp_from(second, dhcp.DISCOVER))] == [2, 2]
    sent_by_lan(b, dhcp_from(second, dhcp.REQUEST))
    assert b.lan.dhcp.leased_to == second


def test_a_guest_with_an_address_of_its_own_is_served_without_any_dhcp():
    """Names, UDP and TCP, from another address of the network than the lease."""
    b = VirtualBench()
    own = ip("10.0.2.77")
    b.guest.stack.set_address(((own, 24),), GATEWAY)
    payload = DnsMessage.query(9, "files.lab").emit()
    while not b.guest.stack.udp_send(own, 4000, GATEWAY, 53, payload, b.now):
        b.run_for(0.01)
    assert b.run(lambda: bool(b.guest.datagrams), 5)
    assert b.guest.datagrams[0].dst == own
    client = b.guest.open((FILES, 80), GET % b"/ncsi.txt")
    assert b.run(lambda: client.ended)
    assert body(client.got) == b"Microsoft NCSI" and b.lan.dhcp.leased_to is None


def test_nothing_but_dhcp_and_dns_before_a_lease_if_so_configured():
    b = VirtualBench(require_lease=True)
    client = b.guest.open((FILES, 80))
    b.run_for(0.5)
    send_udp(b, (ECHO, 7), b"x")
    assert ask_dns(b, "files.lab").answers
    assert not client.established and b.lan_rows() == []
    b.lan.rx.push(dhcp_request(dhcp.REQUEST))
    assert b.run(lambda: client.established, 10)
    assert b.lan.counters["lan.no-lease"] >= 2


def test_chatter_and_hostile_frames_disturb_no_flow():
    b = VirtualBench()
    client = b.guest.open((FILES, 80), GET % b"/bytes/200000")
    junk = [
        frame(udp.Udp(5355, 5355, b"who").emit(GUEST, ip("224.0.0.252")), dst=ip("224.0.0.252")),
        frame(udp.Udp(137, 137, b"name").emit(GUEST, ip("10.0.2.255")), dst=ip("10.0.2.255")),
        frame(udp.Udp(68, 67, b"\x01" * 100).emit(IP4_ANY, IP4_BROADCAST), IP4_ANY, IP4_BROADCAST),
        frame(udp.Udp(9, 53, b"\0" * 5).emit(GUEST, GATEWAY)),
        frame(udp.Udp(9, 9, b"").emit(IP4_ANY, FILES), src=IP4_ANY, dst=FILES),
        frame(Icmp(8, 0, 1, b"x").emit(), dst=ip("127.0.0.1"), protocol=1),
        frame(Icmp(3, 3, 0, b"x" * 28).emit(), dst=FILES, protocol=1),
        b"\xff" * 60,
        b"",
        b"\0" * 13,
    ]
    for _ in range(20):
        for raw in junk:
            if raw:
                b.lan.rx.push(raw)
        b.run_for(0.01)
    assert b.run(lambda: client.ended)
    assert body(client.got) == content_bytes(200_000)


def test_close_ends_every_flow_and_tells_both_sides():
    b = VirtualBench()
    clients = [b.guest.open((ECHO, 7), b"hello") for _ in range(3)]
    assert b.run(lambda: all(client.got for client in clients))
    send_udp(b, (ECHO, 7), b"x")
    b.run_for(0.1)
    b.lan.close(b.now)
    b.run_for(1)
    assert all(client.reason == "reset" for client in clients)
    assert {row["reason"] for row in b.lan_rows()} == {"lan-closed"}
    assert b.far.sessions == 0


def test_same_seed_same_run():
    def trace(seed):
        b = VirtualBench(Link(rtt="10ms", loss=0.05), seed=seed)
        client = b.guest.open((FILES, 80), GET % b"/bytes/100000")
        assert b.run(lambda: client.ended)
        return b.now, b.lan.counters, b.lan_rows()

    assert trace(5) == trace(5)
    assert trace(5) != trace(6)


def test_counters_name_their_part():
    b = VirtualBench()
    client = b.guest.open((FILES, 80), GET % b"/ncsi.txt")
    assert b.run(lambda: client.ended)
    counters = b.lan.counters
    assert counters["egress.tcp-opened"] == 1
    assert counters["stack.frames-in"] > 0
    assert body(client.got) == b"Microsoft NCSI"
    with pytest.raises(Malformed):
        Dhcp.parse(b"")
    assert b.lan.poll_at(b.now) > b.now or b.now < SECOND


def test_names_that_are_denied_are_audited():
    b = VirtualBench(names={}, policy=Policy(blocked_domains=("bad.example",)))
    audit = Audit()
    b.lan.flows._audit = audit.source(0)
    b.lan.egress.resolve = lambda query, name, rtype, now: b.lan.resolved(
        query, Answer.of(name, (ip("10.0.0.1"),)), now
    )
    assert ask_dns(b, "x.bad.example").rcode == ask_dns(b, "inner.example").rcode == dns.NXDOMAIN
    rows = [(row["kind"], row["protocol"], row["name"], row["reason"], row["source"]) for row in audit.rows()]
    assert rows == [
        ("denied", "dns", "x.bad.example", "denied-blocked-domain", "10.0.2.15:40053"),
        ("denied", "dns", "inner.example", "denied-private", "10.0.2.15:40053"),
    ]
