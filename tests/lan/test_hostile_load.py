"""A guest, or a world, that wants to exhaust the proxy: bounded memory, bounded flows, and the others go on."""

from __future__ import annotations

from aero_lab.limits import LAN_ENDED_FLOWS
from aero_lab.link import Link
from aero_lab.services.content import content_bytes
from aero_lab.wire import tcp, udp
from aero_lab.wire.tcp import ACK, SYN, Tcp

from .bench import ECHO, FILES, GUEST, SINK, SOURCE, VirtualBench
from .test_careless_proxies import Raw, frame, send
from .test_lan_virtual import GET, Stubborn, body


def size(b: VirtualBench) -> int:
    """Bytes that the LAN's tables hold, roughly: what would grow without bound if anything did."""
    lan = b.lan
    return (
        sum(len(each) for each in (lan.tcp, lan.udp, lan._echoes, lan.flows.live, lan.egress._flows))
        + len(lan.stack._connections)
        + lan.stack.open_connections
    )


def test_65535_tiny_segments_in_order_and_in_no_order():
    b = VirtualBench()
    raw = Raw(b, (SINK, 9))
    raw.open()
    other = b.guest.open((FILES, 80), GET % b"/bytes/300000")
    number, ack = 1, raw.peer
    ours = raw.port.to_bytes(2, "big")
    b.guest.wire = lambda frames, way: [each for each in frames if way == "up" or each[36:38] != ours]
    for position in range(65_535):
        segment = Tcp(raw.port, 9, (raw.iss + number) & 0xFFFFFFFF, ack, ACK, 64240, payload=b"x")
        raw.b.lan.rx.push(frame(segment.emit(GUEST, SINK), tcp.PROTOCOL, SINK))
        number += 1
        if position % 512 == 511:
            b.run_for(0.001)
    assert b.run(lambda: other.ended, 60)
    assert body(other.got) == content_bytes(300_000)
    assert b.run(lambda: b.lan_rows()[0]["bytes_up"] == 65_535, 60)
    hole = number + 1
    for position in range(2000):  # every second byte only: ranges that can never be joined
        segment = Tcp(raw.port, 9, (raw.iss + hole + 2 * position) & 0xFFFFFFFF, ack, ACK, 64240, payload=b"y")
        b.lan.rx.push(frame(segment.emit(GUEST, SINK), tcp.PROTOCOL, SINK))
        if position % 512 == 511:
            b.run_for(0.001)
    b.run_for(0.1)
    assert b.lan.counters["stack.drop.tcp-out-of-order-full"] > 1900
    assert b.lan_rows()[0]["bytes_up"] == 65_535 and b.lan_rows()[0]["state"] == "open"


def test_a_flood_of_syns_that_nobody_answers():
    b = VirtualBench(Link(rtt="10ms"), max_tcp=700)
    served = b.guest.open((ECHO, 7), content_bytes(50_000))
    assert b.run(lambda: len(served.got) == 50_000, 20)
    most = 0
    for port in range(10_000, 16_000):
        syn = Tcp(port, 4321, 1, 0, SYN, 64240)
        b.lan.rx.push(frame(syn.emit(GUEST, b"\xcb\x00\x71\x63"), tcp.PROTOCOL, b"\xcb\x00\x71\x63"))
        if port % 500 == 499:
            b.run_for(0.001)
            most = max(most, len(b.lan.tcp))
    assert most <= 700
    served.to_send = memoryview(content_bytes(50_000))
    assert b.run(lambda: len(served.got) == 100_000, 20), "who is served goes on being served"
    b.run_for(10)
    assert len(b.lan.tcp) == 1 and len(b.lan.egress._flows) == 1
    late = b.guest.open((ECHO, 7), b"after the flood", finish=True)
    assert b.run(lambda: late.reason is not None, 20)
    assert bytes(late.got) == b"after the flood"
    assert len(b.lan.flows) <= LAN_ENDED_FLOWS + 700


def test_handshakes_that_are_never_finished_end_by_themselves():
    b = VirtualBench(max_tcp=40)
    send(b, GUEST, 9, (ECHO, 7), b"")
    b.guest.wire = lambda frames, way: [raw for raw in frames if way == "up" or raw[23:24] != b"\x06"]
    for port in range(20_000, 20_200):
        b.lan.rx.push(frame(Tcp(port, 7, 1, 0, SYN, 64240).emit(GUEST, ECHO), tcp.PROTOCOL, ECHO))
    b.run_for(0.5)
    refused = b.lan.tcp.counters["limit"] + b.lan.counters["stack.drop.tcp-no-slot"]
    assert len(b.lan.tcp) == 40 and refused == 160
    b.run_for(300)
    assert len(b.lan.tcp) == 0 and b.lan.flows.reasons["timeout"] == 40
    assert b.lan.stack.open_connections == 0 and b.far.sessions == 0
    b.guest.wire = None
    client = b.guest.open((ECHO, 7), b"room again", finish=True)
    assert b.run(lambda: client.reason is not None, 10)
    assert bytes(client.got) == b"room again"


def test_many_that_do_not_read_and_many_that_are_not_read():
    b = VirtualBench(Link(rtt="5ms"))
    b.far._tcp[SINK, 9] = Stubborn()
    deaf = [b.guest.open((SOURCE, 19), read=False) for _ in range(8)]
    stuck = [b.guest.open((SINK, 9), bytes(1_000_000)) for _ in range(8)]
    b.run_for(20)
    before = [row["bytes_up"] + row["bytes_down"] for row in b.lan_rows()]
    held = size(b)
    b.run_for(120)
    assert [row["bytes_up"] + row["bytes_down"] for row in b.lan_rows()] == before and size(b) == held
    assert all(each.reason is None for each in deaf + stuck)
    good = b.guest.open((FILES, 80), GET % b"/bytes/500000")
    assert b.run(lambda: good.ended, 30)
    assert body(good.got) == content_bytes(500_000)


def test_datagrams_to_everywhere_cost_a_bounded_number_of_flows():
    b = VirtualBench(max_udp=32)
    send(b, GUEST, 40_000, (ECHO, 7), b"kept")
    for port in range(1, 2001):
        datagram = udp.Udp(port, 7, b"x").emit(GUEST, ECHO)
        b.lan.rx.push(frame(datagram, udp.PROTOCOL, ECHO))
        if port % 200 == 0:
            b.run_for(0.001)
    assert len(b.lan.udp) == 32 and len(b.lan.egress._flows) == 32
    assert b.lan.udp.counters["limit"] == 2001 - 32
    send(b, GUEST, 40_000, (ECHO, 7), b"kept, too")
    assert [d.payload for d in b.guest.datagrams if d.dport == 40_000] == [b"kept", b"kept, too"]
    b.run_for(61)
    assert len(b.lan.udp) == 0 and b.lan.flows.reasons["idle"] == 32
