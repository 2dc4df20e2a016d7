"""What TCP promises, one test a promise, seen from a peer made by hand: options, windows, acknowledgements, timers,
ends."""

import pytest

from aero_lab.limits import MS, OVERRUN_PER_CONNECTION, SECOND
from aero_lab.stack import Closed, EndOfStream, Readable, TcpConfig, Writable
from aero_lab.wire.tcp import TcpOptions

from .net import CWR, ECE, FIN, RST, SYN
from .peer import ACK, M32, PSH, Peer, data_of

families = pytest.mark.parametrize("family", [4, 6])


# Segment size -------------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("ts", [True, False])
@pytest.mark.parametrize("mss", [64, 536, 700, 1460, 9000])
def test_no_segment_exceeds_the_peers_mss_or_the_mtu(family, ts, mss):
    """RFC 9293 section 3.7.1, RFC 6691: options come out of the payload, SACK blocks included."""
    p = Peer(TcpConfig(congestion="none", nagle=False), family=family, ts=ts, mss=mss)
    conn = p.open()
    p.send(b"x" * 10, seq=p.seq + 100)  # a gap, so that data carries SACK blocks too
    p.send(b"x" * 10, seq=p.seq + 200)
    conn.write(bytes(40_000), p.now)
    segments = [s for s in p.step() if s.tcp.payload]
    headers = 40 if family == 4 else 60
    most = min(1500, mss + headers)
    assert segments and max(s.size for s in segments) <= most
    assert sum(s.size >= most - 36 for s in segments) >= len(segments) - 1, "and they are no smaller than need be"


def test_without_an_mss_option_the_default_holds():
    """RFC 9293 section 3.7.1: 536 for IPv4, 1220 for IPv6."""
    for family, mss in ((4, 536), (6, 1220)):
        p = Peer(family=family, mss=None, ts=False)
        p.open().write(bytes(5000), p.now)
        assert max(data_of(p.step())) == mss


@families
@pytest.mark.parametrize("mtu", [1280, 1500, 9000, 65520])
def test_the_mss_announced_follows_the_mtu(family, mtu):
    p = Peer(family=family, mtu=mtu)
    p.open()
    assert p.synack.tcp.options.mss == mtu - (40 if family == 4 else 60)


# Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wscale", [None, 0, 3, 14, 15])
def test_window_scaling(wscale):
    """RFC 7323 section 2: used only when both offer it; a shift beyond 14 counts as 14; a SYN's window is never
    scaled."""
    p = Peer(TcpConfig(send_buffer=1 << 20, congestion="none"), wscale=wscale, window=30, ts=False)
    p.window = 30
    conn = p.open()
    assert (p.synack.tcp.options.wscale is None) == (wscale is None)
    conn.write(bytes(1 << 20), p.now)
    sent = sum(data_of(p.step()))
    shift = min(wscale or 0, 14)
    assert (30 << shift) - 1460 < sent <= 30 << shift or sent == 0 and 30 << shift <= 30


def test_options_not_offered_are_not_used():
    p = Peer(ts=False, sack=False, wscale=None)
    conn = p.open()
    assert p.synack.tcp.options == TcpOptions(mss=1460, layout=p.synack.tcp.options.layout)
    assert p.synack.tcp.window == 65535
    p.send(b"abc", seq=p.seq + 5)
    conn.write(b"abc", p.now)
    assert all(s.tcp.options.timestamps is None and not s.tcp.options.sack for s in p.step() + p.all)


def test_timestamps_are_echoed_and_run():
    """RFC 7323 section 3: TSecr is the TSval of the segment that the acknowledgement is for; TSval is a clock of
    milliseconds."""
    p = Peer()
    p.open()
    first = p.send(b"a" * 100, tsval=p.clock) + p.send(b"b" * 100, tsval=p.clock + 1)
    assert [s.tcp.options.timestamps[1] for s in first] == [p.clock]
    before = first[-1].tcp.options.timestamps[0]
    p.now += 250 * MS
    (later,) = p.send(b"c" * 100) + p.send(b"d" * 100)
    assert (later.tcp.options.timestamps[0] - before) & M32 == 250


@pytest.mark.parametrize("back", [1, 1000, 1 << 30])
def test_paws(back):
    """RFC 7323 section 5: an older timestamp is acknowledged and dropped, its data never taken; a RST passes."""
    p = Peer()
    conn = p.open()
    answer = p.send(b"old", seq=p.seq, tsval=(p.clock - 10 - back) & M32)
    assert p.stack.drops["tcp-paws"] == 1 and conn.readable == 0
    assert [s.tcp.ack for s in answer] == [p.seq & M32]
    p.send(b"new")
    assert conn.read(10, p.now) == b"new"
    p.send(flags=RST, tsval=(p.clock - 10_000) & M32)
    assert conn.closed


def test_a_segment_without_the_agreed_timestamp_is_dropped():
    """RFC 7323 section 3.2."""
    p = Peer()
    conn = p.open()
    p.send(b"x", seq=p.seq, ts=False)
    assert p.stack.drops == {"tcp-no-timestamp": 1} and conn.readable == 0


@families
def test_sack_blocks_on_the_wire(family):
    """RFC 2018 section 4: the most recent range first; RFC 2883: a duplicate in front of all."""
    p = Peer(family=family)
    conn = p.open()
    base = p.seq

    def blocks(at: int, size: int) -> list[tuple[int, int]]:
        (answer,) = p.send(bytes(size), seq=base + at)
        assert answer.tcp.ack == base
        return [(left - base, right - base) for left, right in answer.tcp.options.sack]

    assert blocks(100, 50) == [(100, 150)]
    assert blocks(300, 50) == [(300, 350), (100, 150)]
    assert blocks(150, 50) == [(100, 200), (300, 350)]
    assert blocks(500, 50) == [(500, 550), (100, 200), (300, 350)]
    assert blocks(310, 20) == [(310, 330), (300, 350), (100, 200)] or blocks(310, 20)[0] == (310, 330)
    (answer,) = p.send(bytes(100), seq=base)
    assert answer.tcp.ack == base + 200 and (300 + base, 350 + base) in answer.tcp.options.sack
    (answer,) = p.send(bytes(100), seq=base)
    assert answer.tcp.options.sack[0] == (base, base + 100), "a duplicate below the acknowledgement"
    assert conn.readable == 200


def test_only_the_holes_are_sent_again():
    p = Peer(TcpConfig(congestion="none", rack=False), mss=1000, ts=False)
    conn = p.open()
    conn.write(bytes(10_000), p.now)
    first = p.step()
    base = p.ack
    p.now += 10 * MS
    again = p.send(sack=((base + 1000, base + 2000),))
    again += p.send(sack=((base + 1000, base + 2000), (base + 3000, base + 6000)))
    assert data_of(first) == [1000] * 10
    assert sorted({s.tcp.seq - base for s in again if s.tcp.payload}) == [0, 2000]
    assert conn.info()["retransmits"] == 2


# Acknowledging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_delayed_acknowledgements_by_count(count):
    p = Peer(TcpConfig(delack_segments=count, delack_time=40 * MS))
    p.open()
    answers = [len(p.send(bytes(1448))) for _ in range(3 * count)]
    assert answers == ([0] * (count - 1) + [1]) * 3


@pytest.mark.parametrize("time", [5 * MS, 40 * MS, 200 * MS])
def test_delayed_acknowledgements_by_time(time):
    p = Peer(TcpConfig(delack_time=time))
    p.open()
    start = p.now
    assert p.send(b"x") == []
    assert [s.now - start for s in p.wait(SECOND)] == [time]


def test_quick_acknowledgements_at_the_start():
    p = Peer(TcpConfig(quick_acks=3, delack_segments=2))
    p.open()
    assert [len(p.send(bytes(100))) for _ in range(7)] == [1, 1, 1, 0, 1, 0, 1]


def test_nagle_holds_small_segments_back():
    """RFC 9293 section 3.7.4."""
    p = Peer(TcpConfig(nagle=True))
    conn = p.open()
    for _ in range(5):
        conn.write(b"ab", p.now)
    assert data_of(p.step()) == [2]
    p.ack += 2
    assert data_of(p.send()) == [8]
    q = Peer(TcpConfig(nagle=False))
    conn = q.open()
    for _ in range(5):
        conn.write(b"ab", q.now)
    assert data_of(q.step()) == [2] * 5


# Windows ------------------------------------------------------------------------------------------


def test_zero_window_probes():
    """RFC 9293 section 3.8.6.1: probes with growing intervals for ever while they are answered; data goes as the
    window opens."""
    p = Peer(TcpConfig(data_retries=3), window=0)
    conn = p.open()
    conn.write(b"hello", p.now)
    probes = []
    for _ in range(40):
        for s in p.wait(30 * SECOND):
            assert not s.tcp.payload and s.tcp.seq == (p.ack - 1) & M32
            probes.append(s.now)
            p.send(window=0)
    gaps = [after - before for before, after in zip(probes, probes[1:])]
    assert len(gaps) > 10 and gaps == sorted(gaps) and gaps[-1] == 60 * SECOND and gaps[1] == 2 * gaps[0]
    assert p.stack.counters["window-probes"] == len(probes) and not conn.closed
    assert data_of(p.send(window=100)) == [5]


def test_a_peer_that_does_not_answer_probes_is_given_up():
    p = Peer(TcpConfig(data_retries=3), window=0)
    conn = p.open()
    conn.write(b"hello", p.now)
    p.wait(3600 * SECOND)
    assert conn.reason == "timeout" and p.stack.free_slots == 8


def test_the_window_closes_and_opens_again():
    """What is not read fills the window to its very end; reading sends an update (section 3.8.6.2.2)."""
    p = Peer(TcpConfig(recv_buffer=16 << 10), wscale=7)
    conn = p.open()
    sent = 0
    while sent < 16 << 10:
        p.send(bytes(1024))
        sent += 1024
    p.wait(SECOND)
    assert p.all[-1].tcp.window == 0 and conn.readable == 16 << 10
    p.send(b"y", seq=p.seq)
    assert conn.readable == 16 << 10
    conn.read(100, p.now)
    assert p.step() == [], "a hundred bytes are not worth a segment"
    conn.read(8 << 10, p.now)
    (update,) = p.step()
    assert update.tcp.window << conn.info()["rcv_shift"] == (8 << 10) + 100 & ~((1 << conn.info()["rcv_shift"]) - 1)


@families
@pytest.mark.parametrize("buffer,beyond", [(64 << 10, 64 << 10), (64 << 10, 1 << 20), (256 << 10, 1 << 20)])
def test_a_gateway_takes_in_order_data_beyond_the_window(family, buffer, beyond):
    """As the original's probe sends: 1200 bytes a segment, no look at the window, never a retransmission."""
    assert beyond <= OVERRUN_PER_CONNECTION
    size = buffer + beyond
    p = Peer(TcpConfig(recv_buffer=buffer), role="gateway", family=family, wscale=None, ts=False, sack=False)
    conn = p.open()
    sent = bytes(i * 7 & 0xFF for i in range(1199)) + b"\n"
    total = (sent * (size // 1200 + 1))[:size]
    for at in range(0, size, 1200):
        p.send(total[at : at + 1200])
    got = bytearray()
    while data := conn.read(50_000, p.now):
        got += data
    assert bytes(got) == total
    assert beyond <= p.stack.counters["overrun-bytes"] <= beyond + 1
    assert "tcp-beyond-buffer" not in p.stack.drops


def test_beyond_the_overrun_the_gateway_cuts():
    p = Peer(role="gateway", wscale=None, ts=False, sack=False)
    conn = p.open()
    for _ in range((4 << 20) // 1200):
        p.send(bytes(1200))
    assert OVERRUN_PER_CONNECTION <= conn.readable <= 4 << 20
    assert p.stack.drops["tcp-beyond-buffer"] > 0


def test_a_server_keeps_to_its_window():
    p = Peer(TcpConfig(recv_buffer=8 << 10), ts=False)
    conn = p.open()
    for _ in range(20):
        p.send(bytes(1200))
    assert conn.readable <= 8 << 10


# Timers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "initial,most,retries,gaps",
    [
        (1.0, 60, 5, [1, 2, 4, 8, 16]),
        (0.25, 60, 4, [0.25, 0.5, 1, 2]),
        (3.0, 10, 4, [3, 6, 10, 10]),
    ],
)
def test_a_syn_is_repeated_with_doubling_intervals(initial, most, retries, gaps):
    """RFC 6298 section 5, with settable initial value, bound and number."""
    tcp = TcpConfig(rto_initial=int(initial * SECOND), rto_max=most * SECOND, syn_retries=retries)
    p = Peer(tcp, role="guest")
    conn = p.stack.connect(p.me, 80, now=p.now)
    syns = p.wait(1000 * SECOND)
    assert {s.tcp.flags & (SYN | ACK) for s in syns} == {SYN}
    times = [s.now for s in syns]
    assert [(after - before) / SECOND for before, after in zip(times, times[1:])] == gaps
    assert conn.reason == "timeout"


@pytest.mark.parametrize("least", [20, 200, 1000])
def test_data_is_repeated_with_the_minimum_set(least):
    """After an RTT of 1 ms the RTO is the minimum; then it doubles until the connection is given up (RFC 6298)."""
    p = Peer(TcpConfig(rto_min=least * MS, data_retries=4, rack=False), role="server")
    conn = p.open(rtt=1 * MS)
    conn.write(b"x" * 100, p.now)
    sent = p.wait(600 * SECOND)
    times = [s.now for s in sent]
    assert [(after - before) // MS for before, after in zip(times, times[1:])] == [least << i for i in range(4)]
    assert conn.reason == "timeout" and isinstance(p.events[-1], Closed)


def test_keepalive():
    """RFC 9293 section 3.8.4: idle, then probes at their interval, then the end; an answer starts anew."""
    p = Peer(TcpConfig(keepalive_idle=100 * SECOND, keepalive_interval=10 * SECOND, keepalive_probes=3))
    conn = p.open()
    start = p.now
    (probe,) = p.wait(101 * SECOND)
    assert probe.now - start == 100 * SECOND and probe.tcp.seq == (p.ack - 1) & M32 and not probe.tcp.payload
    p.send()
    start = p.now
    probes = p.wait(200 * SECOND)
    assert [(s.now - start) // SECOND for s in probes] == [100, 110, 120]
    assert conn.reason == "timeout" and p.now - start >= 130 * SECOND
    quiet = Peer()
    quiet.open()
    assert quiet.wait(86400 * SECOND) == [], "off unless asked for"


# Ends ---------------------------------------------------------------------------------------------


@families
def test_half_close(family):
    """After their FIN we still send; after our FIN we still receive."""
    p = Peer(family=family)
    conn = p.open()
    p.send(b"last words", flags=ACK | FIN)
    assert isinstance(p.events[-1], EndOfStream) and isinstance(p.events[-2], Readable)
    assert conn.state == "CLOSE-WAIT" and conn.read(100, p.now) == b"last words"
    conn.write(b"answer", p.now)
    assert p.take(p.wait(SECOND)) == b"answer"
    p.send()
    conn.shutdown(p.now)
    p.take(p.step())
    assert conn.state == "LAST-ACK"
    p.send()
    assert conn.reason == "closed" and p.stack.free_slots == 8

    q = Peer(family=family)
    conn = q.open()
    conn.shutdown(q.now)
    q.take(q.step())
    q.send()
    assert conn.state == "FIN-WAIT-2" and conn.write(b"x", q.now) == 0
    q.send(b"more")
    assert conn.read(10, q.now) == b"more"
    q.send(flags=FIN | ACK)
    assert conn.reason == "closed" and q.stack.flows()[0]["state"] == "TIME-WAIT"


def in_time_wait(**options) -> Peer:
    p = Peer(TcpConfig(time_wait=60 * SECOND), **options)
    p.open().shutdown(p.now)
    p.take(p.step())
    p.send(flags=FIN | ACK)
    assert p.stack.flows()[0]["state"] == "TIME-WAIT"
    return p


def test_time_wait_lasts_and_starts_again_for_a_fin_that_comes_again():
    p = in_time_wait()
    p.wait(40 * SECOND)
    (answer,) = p.send(flags=FIN | ACK, seq=p.seq - 1)
    assert answer.tcp.ack == p.seq & M32
    p.wait(59 * SECOND)
    assert p.stack.open_connections == 1
    p.wait(2 * SECOND)
    assert p.stack.open_connections == 0 and p.stack.free_slots == 8


@pytest.mark.parametrize("ts", [True, False])
def test_time_wait_gives_way_to_a_new_connection(ts):
    """RFC 6191: a SYN that cannot be old opens the next connection between the same ports; an old one does not."""
    p = in_time_wait(ts=ts)
    p.now += SECOND
    p.seq -= 500
    if ts:
        old = p.syn(options=TcpOptions(1460, timestamps=((p.clock - 5000) & M32, 0)), seq=p.seq)
    else:
        old = p.syn(seq=p.seq)
    assert [s.tcp.flags & SYN for s in old] == [0] and p.stack.flows()[0]["state"] == "TIME-WAIT"
    p.seq += 500 if ts else 100_000
    p.conn = None
    p.open()
    assert p.stack.counters["connections"] == 2 and p.stack.open_connections == 1


# ECN ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours,theirs", [(True, True), (True, False), (False, True)])
def test_ecn_negotiation(ours, theirs):
    """RFC 3168 section 6.1.1, passive and active."""
    p = Peer(TcpConfig(ecn=ours))
    conn = p.open(SYN | (ECE | CWR if theirs else 0))
    both = ours and theirs
    assert p.synack.tcp.flags & (ECE | CWR) == (ECE if both else 0) and p.synack.ecn == 0
    conn.write(bytes(3000), p.now)
    assert {s.ecn for s in p.step() if s.tcp.payload} == {2 if both else 0}
    q = Peer(TcpConfig(ecn=ours), role="guest")
    q.stack.connect(q.me, 80, now=0)
    (syn,) = q.step()
    assert syn.tcp.flags & (ECE | CWR) == (ECE | CWR if ours else 0)


def test_ecn_echo_and_response():
    """RFC 3168 sections 6.1.2 and 6.1.3: CE is echoed until CWR; an echo halves once a window and is answered by
    CWR."""
    p = Peer(TcpConfig(ecn=True, delack_segments=1, congestion="newreno"), ts=False)
    conn = p.open(SYN | ECE | CWR)
    assert [s.tcp.flags & ECE for s in p.send(b"a", ecn=2)] == [0]
    assert [s.tcp.flags & ECE for s in p.send(b"b", ecn=3)] == [ECE]
    assert [s.tcp.flags & ECE for s in p.send(b"c", ecn=2)] == [ECE]
    assert [s.tcp.flags & ECE for s in p.send(b"d", flags=ACK | CWR, ecn=2)] == [0]
    conn.write(bytes(200_000), p.now)
    flight = p.step()
    before = conn.info()["cwnd"]
    p.ack += 1460
    p.now += 10 * MS
    p.send(flags=ACK | ECE)
    p.ack += 1460
    more = p.send(flags=ACK | ECE)
    assert conn.info()["cwnd"] == max(len(flight) * 1460 // 2, 2920) < before, "once a window"
    more += [s for _ in range(6) for s in (setattr(p, "ack", p.ack + 1460), p.send())[1]]
    marked = [bool(s.tcp.flags & CWR) for s in more if s.tcp.payload]
    assert marked[0] and sum(marked) == 1
    assert conn.info()["retransmits"] == 0


# Output -------------------------------------------------------------------------------------------


def test_a_full_transmit_ring_stops_output_and_loses_nothing():
    """Output asks for room before it builds a segment; the ring's slots are the bound, and it goes on when there is
    room."""
    p = Peer(TcpConfig(send_buffer=4 << 20, congestion="none", rack=False), wscale=10, mss=1000, ts=False)
    p.window = 65535
    conn = p.open()
    p.send()
    total = bytes(range(256)) * (1 << 13)
    assert conn.write(total, p.now) == len(total)
    while p.stack.poll_at(p.now) <= p.now:
        p.stack.step(p.now)
    p.stack.step(p.now)
    assert len(p.stack.tx) == 1024 - 32 and p.stack.counters["output-stopped"] > 0, "32 places are left to others"
    assert p.stack.udp_send(p.it, 53, p.me, 53, b"an answer", p.now) and len(p.stack.tx) == 1024 - 31
    got = bytearray()
    segments = p.step()
    while len(got) < len(total):
        more = p.take(segments)
        assert more, "output goes on by itself"
        got += more
        segments = p.send()
    assert bytes(got) == total and conn.info()["retransmits"] == 0 and p.stack.drops == {}


def test_writable_follows_a_write_that_was_cut():
    p = Peer(TcpConfig(send_buffer=4096, congestion="none", nagle=False))
    conn = p.open()
    assert conn.write(bytes(10_000), p.now) == 4096 and conn.room == 0
    assert not any(isinstance(e, Writable) for e in p.events)
    p.take(p.step())
    p.send()
    assert isinstance(p.events[-1], Writable) and conn.room == 4096


def test_psh_marks_the_end_of_what_was_written():
    p = Peer(TcpConfig(nagle=False), ts=False)
    p.open().write(bytes(4000), p.now)
    assert [s.tcp.flags & PSH for s in p.step() if s.tcp.payload] == [0, 0, PSH]
