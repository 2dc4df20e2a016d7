"""Losing and finding again: detectors of loss, congestion windows, path MTU, ICMP, and numbers that wrap, over a
tapped link."""

import pytest

from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.stack import Datagram, IcmpMessage, Stack, TcpConfig
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6

from .net import A4, A6, B4, B6, FIN, SYN, End, Net, Seen, plain, transfer
from .peer import Peer, data_of

families = pytest.mark.parametrize("family", [4, 6])
roles = pytest.mark.parametrize("role", ["server", "gateway"])


def lose(net: Net, *numbers: int, side: str = "a") -> None:
    """Lose the data segments of ``side`` with these numbers, counted from 0, retransmissions included."""
    count = -1

    def passes(seen: Seen) -> bool:
        nonlocal count
        if seen.side == side and seen.data:
            count += 1
            return count not in numbers
        return True

    net.filter = passes


def sizes(net: Net, side: str = "a") -> list[int]:
    return [len(s.data) for s in net.seen if s.side == side and s.data]


# Loss ---------------------------------------------------------------------------------------------

DETECTORS = {"rack": {}, "rfc6675": {"rack": False}, "newreno": {"sack": False}}


@families
@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("gone", [(5,), (5, 7), (4, 5, 6)])
def test_losses_in_the_middle_are_repaired_without_a_timeout(family, detector, gone):
    """Each lost segment is sent again once, one recovery, no timeout (RFC 8985, RFC 6675, RFC 6582)."""
    net = Net(Link(rtt=50 * MS), tcp=TcpConfig(**DETECTORS[detector]), tap=True, family=family)
    a, b = net.pair()
    lose(net, *gone)
    data = net.rng.randbytes(60_000)
    a.data = memoryview(data)
    net.wait(SECOND)
    i = a.conn.info()
    assert bytes(b.got) == data
    assert (i["retransmits"], i["timeouts"], net.a.counters["fast-recoveries"]) == (len(gone), 0, 1)
    assert i["sacked_bytes"] == i["lost_bytes"] == 0


def test_a_lost_tail_is_found_by_a_probe():
    """RFC 8985 section 7: two round trips later, well before the RTO."""
    net = Net(Link(rtt=100 * MS), tap=True, tcp=TcpConfig(rto_min=SECOND))
    a, b = net.pair()
    lose(net, 9)
    data = net.rng.randbytes(10 * 1448)
    start = net.now
    a.data = memoryview(data)
    net.wait(5 * SECOND)
    assert bytes(b.got) == data and a.conn.info()["timeouts"] == 0 and net.a.counters["tail-loss-probes"] == 1
    last = [s.now for s in net.seen if s.side == "a" and s.data][-1]
    assert 200 * MS <= last - start <= 600 * MS


def test_without_rack_a_lost_tail_waits_for_the_timeout():
    net = Net(Link(rtt=100 * MS), tap=True, tcp=TcpConfig(rto_min=SECOND, rack=False))
    a, b = net.pair()
    lose(net, 9)
    a.data = memoryview(bytes(10 * 1448))
    net.wait(5 * SECOND)
    assert len(b.got) == 14480 and a.conn.info()["timeouts"] == 1


def test_a_lost_retransmission_is_found_by_rack():
    """RFC 6675 has no word for it and waits; RACK sees that what was sent later has arrived."""
    timeouts = {}
    for detector in ("rack", "rfc6675"):
        net = Net(Link(rtt=50 * MS), tap=True, tcp=TcpConfig(congestion="none", **DETECTORS[detector]))
        a, b = net.pair()
        # 5 is the loss; the first retransmission is the next segment that carries the same number.
        seen: dict[int, int] = {}

        def passes(s: Seen, seen=seen) -> bool:
            if s.side == "a" and s.data:
                seen[s.tcp.seq] = seen.get(s.tcp.seq, 0) + 1
                return not (list(seen).index(s.tcp.seq) == 5 and seen[s.tcp.seq] <= 2)
            return True

        net.filter = passes
        a.data = memoryview(bytes(2_000_000))
        net.wait(5 * SECOND)
        assert len(b.got) == 2_000_000
        timeouts[detector] = a.conn.info()["timeouts"]
    assert timeouts["rack"] == 0 < timeouts["rfc6675"]


def test_rack_bears_reordering_and_rfc_6675_does_not():
    """Nothing is lost, one frame in twenty is held back: counting segments repairs what was never broken, time
    learns."""
    again = {}
    for rack in (True, False):
        net = Net(Link(rtt=40 * MS, reorder=0.05, reorder_by=4 * MS), 3, TcpConfig(rack=rack, congestion="none"))
        size = plain(300_000, 4 << 20)
        near, far = transfer(net, bytes(size), b"", 600 * SECOND)
        assert len(far.got) == size and near.reason == "closed"
        again[rack] = net.a.counters["retransmissions"]
    assert again[True] * 5 <= again[False]


def test_duplicates_are_told_by_dsack():
    net = Net(Link(rtt=20 * MS, duplicate=1.0), tap=True)
    a, b = net.pair()
    a.data = memoryview(bytes(5000))
    net.wait(SECOND)
    assert len(b.got) == 5000 and net.b.counters["duplicates-in"] > 0 and net.a.counters["dsacks-in"] > 0


# Congestion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("congestion", ["newreno", "cubic"])
@pytest.mark.parametrize("segments", [1, 4, 10])
def test_slow_start_doubles_from_the_initial_window(congestion, segments):
    """RFC 5681 section 3.1, RFC 6928: what leaves in each round trip; acknowledged segment by segment."""
    tcp = TcpConfig(congestion=congestion, initial_cwnd_segments=segments, delack_segments=1, send_buffer=1 << 20)
    net = Net(Link(rtt=100 * MS), tcp=tcp, tcp_b=TcpConfig(recv_buffer=4 << 20, delack_segments=1), tap=True)
    a, _ = net.pair()
    start = net.now
    a.data = memoryview(bytes(1 << 20))
    net.wait(450 * MS)
    rounds = [0] * 5
    for s in net.seen:
        if s.side == "a" and s.data:
            rounds[(s.now - start) // (100 * MS)] += 1
    assert rounds == [segments << i for i in range(5)]


def test_congestion_avoidance_of_newreno_is_one_segment_a_round_trip():
    """RFC 5681 section 3.1, after one loss has set ssthresh to half of what was in flight."""
    tcp = TcpConfig(congestion="newreno", delack_segments=1, send_buffer=4 << 20)
    net = Net(Link(rtt=100 * MS), tcp=tcp, tcp_b=TcpConfig(recv_buffer=4 << 20, delack_segments=1), tap=True)
    a, _ = net.pair()
    lose(net, 40)
    a.data = memoryview(bytes(4 << 20))
    net.run(lambda: net.a.counters["fast-recoveries"] == 1, net.now + 10 * SECOND)
    half = a.conn.info()["ssthresh"]
    net.run(lambda: a.conn.info()["recovery"] == 0, net.now + 10 * SECOND)
    mss = a.conn.info()["mss"]
    net.wait(150 * MS)
    before = a.conn.info()["cwnd"]
    net.wait(1000 * MS)
    grown = (a.conn.info()["cwnd"] - before) / mss
    assert half <= before <= half + 3 * mss and 9 <= grown <= 11


@pytest.mark.parametrize("congestion,share", [("newreno", 0.5), ("cubic", 0.7)])
def test_a_loss_reduces_the_window_once(congestion, share):
    net = Net(
        Link(rtt=100 * MS), tcp=TcpConfig(congestion=congestion, send_buffer=1 << 20, recv_buffer=1 << 20), tap=True
    )
    a, _ = net.pair()
    lose(net, 60, 62, 64)
    a.data = memoryview(bytes(1 << 20))
    net.run(lambda: net.a.counters["fast-recoveries"] == 1, net.now + 10 * SECOND)
    # Of the initial window and one more segment for each acknowledged one.
    assert a.conn.info()["ssthresh"] == int(share * (10 + 60) * a.conn.info()["mss"])
    net.run(lambda: a.conn.info()["recovery"] == 0, net.now + 10 * SECOND)
    assert net.a.counters["fast-recoveries"] == 1


def test_a_lost_retransmission_reduces_the_window_again():
    """RFC 5681 section 4.3: two indications of congestion, two reductions, one recovery."""
    tcp = TcpConfig(congestion="newreno", send_buffer=1 << 20, recv_buffer=1 << 20, rto_min=SECOND)
    net = Net(Link(rtt=100 * MS), tcp=tcp, tap=True)
    a, b = net.pair()
    seen: dict[int, int] = {}

    def passes(s: Seen) -> bool:
        if s.side != "a" or not s.data:
            return True
        seen[s.tcp.seq] = seen.get(s.tcp.seq, 0) + 1
        return list(seen).index(s.tcp.seq) != 60 or seen[s.tcp.seq] > 2

    net.filter = passes
    a.data = memoryview(bytes(1 << 20))
    net.run(lambda: net.a.counters["fast-recoveries"] == 1, net.now + 10 * SECOND)
    first = a.conn.info()["ssthresh"]
    net.run(lambda: a.conn.info()["recovery"] == 0, net.now + 10 * SECOND)
    assert (a.conn.info()["ssthresh"], net.a.counters["fast-recoveries"]) == (first // 2, 1)
    net.wait(30 * SECOND)
    assert len(b.got) == 1 << 20 and a.conn.info()["timeouts"] == 0


def test_a_timeout_goes_back_to_one_segment():
    net = Net(Link(rtt=100 * MS), tap=True)
    a, b = net.pair()
    a.data = memoryview(bytes(100_000))
    net.wait(150 * MS)
    net.closed_ends = {"a"}
    net.run(lambda: a.conn.info()["timeouts"] == 1, net.now + 10 * SECOND)
    i = a.conn.info()
    assert i["cwnd"] == i["mss"]
    net.closed_ends = set()
    net.wait(60 * SECOND)
    assert len(b.got) == 100_000


# Path MTU -----------------------------------------------------------------------------------------


def too_big(peer: Peer, packet: bytes, mtu: int) -> None:
    if len(peer.me) == 4:
        message = Icmp(3, 4, mtu, packet[:28]).emit()
        peer.put(Ipv4(peer.me, peer.it, 1, message).emit())
    else:
        message = Icmpv6(2, 0, mtu, packet[:88]).emit(peer.me, peer.it)
        peer.put(Ipv6(peer.me, peer.it, 58, message).emit())


@families
def test_path_mtu_discovery(family):
    """RFC 1191, RFC 8201: what was too big goes again in smaller pieces, at once; everything after fits."""
    mtu = 1000 if family == 4 else 1300
    p = Peer(family=family)
    conn = p.open()
    data = bytes(i & 0xFF for i in range(5000))
    conn.write(data, p.now)
    first = p.step()
    assert first[0].size == 1500
    too_big(p, first[0].ip.emit(), mtu)
    again = p.step()
    assert again and max(s.size for s in again) <= mtu and conn.info()["pmtu"] == mtu
    got = b""
    for _ in range(20):
        got += p.take(again)
        p.now += 10 * MS
        again = p.send()
    assert got == data
    conn.write(data, p.now)
    assert max(s.size for s in p.step()) <= mtu


@families
def test_forged_path_mtu_messages(family):
    """RFC 5927: a quote with a number that was never sent is dropped; no MTU goes below the floor, nor up again."""
    p = Peer(family=family)
    conn = p.open()
    conn.write(bytes(3000), p.now)
    packet = bytearray(p.step()[0].ip.emit())
    at = 20 if family == 4 else 40
    forged = packet[:]
    forged[at + 4 : at + 8] = ((int.from_bytes(packet[at + 4 : at + 8], "big") - 5_000_000) & 0xFFFFFFFF).to_bytes(
        4, "big"
    )
    too_big(p, bytes(forged), 600)
    p.step()
    assert conn.info()["pmtu"] == 1500 and p.stack.drops == {"icmp-quote": 1}
    too_big(p, bytes(packet), 68)
    p.step()
    assert conn.info()["pmtu"] == (552 if family == 4 else 1280)
    too_big(p, bytes(packet), 9000)
    p.step()
    assert conn.info()["pmtu"] == (552 if family == 4 else 1280)


@families
def test_a_black_hole_is_found(family):
    """RFC 2923: large packets vanish and nobody says so; after timeouts the connection falls back and gets through."""
    net = Net(Link(rtt=20 * MS), tap=True, family=family)
    net.filter = lambda seen: len(seen.frame) <= 1350
    a, b = net.pair()
    data = net.rng.randbytes(plain(20_000, 200_000))
    a.data = memoryview(data)
    net.run(lambda: len(b.got) == len(data), net.now + 60 * SECOND)
    assert bytes(b.got) == data and net.a.counters["black-holes"] >= 1
    assert max(sizes(net)[-5:]) <= 1280


@families
def test_the_smaller_mtu_of_the_two_ends_rules(family):
    net = Net(Link(rtt=MS), mtu=9000, mtu_b=1300, tap=True, family=family)
    a, b = net.pair(bytes(50_000), bytes(50_000))
    net.wait(5 * SECOND)
    assert len(a.got) == len(b.got) == 50_000
    assert max(len(s.frame) for s in net.seen) <= 14 + 1300


# Numbers ------------------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("side", ["a", "b"])
def test_sequence_numbers_cross_two_to_the_32nd(family, side):
    """With losses on both sides of the border, windows and SACK blocks across it."""
    link = Link(rtt=20 * MS, loss=0.03, reorder=0.05, duplicate=0.02)

    def numbers(start: int) -> int:
        net = Net(link, 5, family=family, start=start, tap=True)
        net.connect(sport=7000)
        net.run(lambda: any(s.side == side and s.flags & SYN for s in net.seen))
        return next(s.tcp.seq for s in net.seen if s.side == side and s.flags & SYN)

    size = plain(60_000, 600_000)
    start = ((1 << 32) - size // 2 - numbers(0)) % (1 << 32) * 4000
    net = Net(link, 5, family=family, start=start)
    net.accept_with = far = End(data=net.rng.randbytes(size))
    near = net.connect(net.rng.randbytes(size), sport=7000)
    net.run(lambda: far.eof and near.eof, start + 3600 * SECOND)
    end = near if side == "a" else far
    assert end.conn.info()["iss"] < 1 << 32 < end.conn.info()["snd_nxt"]
    assert far.got == bytes(near.data) and near.got == bytes(far.data)


def test_the_peers_numbers_cross_too():
    p = Peer(iss=(1 << 32) - 2000)
    conn = p.open()
    base = p.seq
    (answer,) = p.send(b"c" * 1000, seq=base + 2000)
    assert answer.tcp.options.sack == (((base + 2000) & 0xFFFFFFFF, (base + 3000) & 0xFFFFFFFF),)
    p.send(b"a" * 1000)
    (answer,) = p.send(b"b" * 1000)
    assert answer.tcp.ack == 1000 - 1999 + 2000 and conn.read(9999, p.now) == b"a" * 1000 + b"b" * 1000 + b"c" * 1000


# Roles and ICMP -----------------------------------------------------------------------------------


@families
@roles
def test_all_roles_both_families(family, role):
    net = Net(Link(rtt=10 * MS), role=role, family=family, tap=True)
    a, b = transfer(net, b"request" * 1000, b"answer" * 1000, 200 * SECOND)
    assert (bytes(b.got), bytes(a.got)) == (b"request" * 1000, b"answer" * 1000)
    assert a.reason == b.reason == "closed" and b.conn.local == (net.server, 80)
    assert {s.side for s in net.seen if s.flags & FIN} == {"a", "b"}
    net.check_over()


@families
@pytest.mark.parametrize(
    "how,reason",
    [("reset", "refused"), ("host-unreachable", "unreachable"), ("net-unreachable", "unreachable"),
     ("port-unreachable", "unreachable"), ("prohibited", "unreachable"), ("drop", "timeout")],
)  # fmt: skip
def test_a_gateway_refuses(family, how, reason):
    """Held until the far side has answered; no SYN-ACK before, and the guest hears why."""
    net = Net(role="gateway", family=family, tap=True, tcp=TcpConfig(syn_retries=2))
    held = []
    net.held = held.append
    a = net.connect()
    net.wait(500 * MS)
    assert held and not any(s.side == "b" and s.tcp for s in net.seen) and a.reason is None
    net.held = lambda conn: conn.refuse(how, net.now)
    held[0].refuse(how, net.now)
    net.wait(60 * SECOND)
    assert a.reason == reason
    net.check_over()


def test_a_server_refuses_ports_nobody_listens_on():
    net = Net()
    a = net.connect(port=81)
    net.wait(SECOND)
    assert a.reason == "refused" and net.b.drops == {"tcp-no-connection": 1}


@families
@pytest.mark.parametrize("size", [0, 56, 1400, 4000])
def test_echo(family, size):
    net = Net(Link(rtt=10 * MS), family=family)
    src, dst = (A4, B4) if family == 4 else (A6, B6)
    net.a.icmp_echo(src, dst, 7, 1, b"", net.now)  # asks for the link address
    net.wait(SECOND)
    net.others.clear()
    assert net.a.icmp_echo(src, dst, 7, 2, bytes(size), net.now)
    net.wait(SECOND)
    replies = [e for e in net.others if isinstance(e, IcmpMessage) and e.type in (0, 129)]
    assert [(e.src, e.rest, len(e.payload)) for e in replies] == [(dst, 7 << 16 | 2, size)]


@families
def test_unreachable_and_time_exceeded(family):
    """A gateway quotes what it cannot deliver, and is the last router for a packet whose time is up."""
    net = Net(role="gateway", family=family)
    src, dst = (A4 if family == 4 else A6), net.server

    def send(ttl: int) -> list[IcmpMessage]:
        net.others.clear()
        assert net.a.udp_send(src, 4000, dst, 9, b"quoted", net.now, ttl=ttl)
        net.wait(SECOND)
        for event in [e for e in net.others if isinstance(e, Datagram)]:
            net.b.unreachable(event, "port-unreachable", net.now)
        net.wait(SECOND)
        return [e for e in net.others if isinstance(e, IcmpMessage)]

    net.a.udp_send(src, 4000, dst, 9, b"", net.now)
    net.wait(2 * SECOND)
    (error,) = send(64)
    assert (error.type, error.code) == ((3, 3) if family == 4 else (1, 4)) and b"quoted" in error.payload
    (error,) = send(1)
    assert (error.type, error.code) == ((11, 0) if family == 4 else (3, 0))
    assert error.src == (B4 if family == 4 else B6)


def test_a_stack_without_addresses_sends_frames_and_takes_any():
    net = Net()
    net.a.set_address(())
    assert net.a.send_frame(b"\xff" * 6 + b"\2\0\0\0\0\2" + b"\x88\xb5" + bytes(46), 0)
    net.wait(SECOND)
    assert net.b.drops.get("ethernet-type") == 1
    assert isinstance(net.a, Stack) and net.a.step(net.now) is None


def test_data_of_counts_payload_only():
    p = Peer()
    p.open().write(b"abc", p.now)
    assert data_of(p.step()) == [3]
