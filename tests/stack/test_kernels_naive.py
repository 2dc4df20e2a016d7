"""TCP's kernels against their plain twins."""

import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aero_lab.compiled.records import new_records
from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.link import Link
from aero_lab.stack import Stack, StackConfig, TcpConfig, congestion, connections, receive, recovery, tcp_options, world
from aero_lab.stack.drops import Drop
from aero_lab.stack.states import State

from .net import B4, HOSTILE, Net, plain, transfer
from .twins import Cubic, Receiver, Rtt, get, parse_options, put, scoreboard, unwrap

word = st.integers(0, 0xFFFFFFFF)


def a_world(**values) -> object:
    records = new_records(world.WORLD, 1)
    put(records[0], **values)
    return records[0]


def a_tcb(**values) -> object:
    records = new_records(world.TCB, 1)
    put(records[0], **values)
    return records[0]


# Numbers and options ------------------------------------------------------------------------------


@given(word, st.integers(0, 1 << 40))
@example(0, 0)
@example(0x80000000, 0x180000000 + (1 << 31))
def test_unwrap(wire, near):
    value = world.unwrap(wire, near)
    assert value & 0xFFFFFFFF == wire and abs(value - near) <= 1 << 31
    if abs(value - near) < 1 << 31:
        assert value == unwrap(wire, near)


one_option = st.one_of(
    st.just(b"\0"),
    st.just(b"\1"),
    st.binary(min_size=2, max_size=2).map(lambda b: b"\2\4" + b),
    st.integers(0, 255).map(lambda n: bytes([3, 3, n])),
    st.just(b"\4\2"),
    st.binary(min_size=8, max_size=8).map(lambda b: b"\x08\x0a" + b),
    st.integers(1, 4).flatmap(
        lambda n: st.binary(min_size=8 * n, max_size=8 * n).map(lambda b: bytes([5, 2 + len(b)]) + b)
    ),
    st.tuples(st.integers(2, 255), st.integers(0, 40), st.binary(max_size=8)).map(lambda t: bytes([t[0], t[1]]) + t[2]),
)
OPTIONS = a_world()


@given(st.one_of(st.binary(max_size=40), st.lists(one_option, max_size=6).map(b"".join)))
@example(b"\1\1\x08\x0a\0\0\0\1\0\0\0\2")
@example(b"\1\1\x08\x0a\0\0\0\1\0\0\0")
def test_option_parser(data):
    data = data[:40]
    buffer = np.frombuffer(bytearray(b"\xff" * 3 + data + b"\xff" * 48), np.uint8)
    found = tcp_options.parse_options(OPTIONS, buffer, 3, 3 + len(data))
    expected = parse_options(data)
    if expected is None:
        assert found == Drop.TCP_OPTIONS
        return
    assert found == 0
    n = get(OPTIONS, "seg_blocks")
    assert expected == {
        "mss": get(OPTIONS, "seg_mss"),
        "wscale": get(OPTIONS, "seg_wscale"),
        "sack_ok": get(OPTIONS, "seg_sack_ok"),
        "ts": (get(OPTIONS, "seg_tsval"), get(OPTIONS, "seg_tsecr")) if get(OPTIONS, "seg_has_ts") else None,
        "blocks": list(zip(get(OPTIONS, "seg_block_l")[:n], get(OPTIONS, "seg_block_r")[:n])),
    }


# Receiving ----------------------------------------------------------------------------------------

SIZE = 2048
HEAP = np.zeros(SIZE, np.uint8)


@given(
    st.integers(1, 1 << 33),
    st.lists(st.tuples(st.integers(-40, 700), st.integers(1, 120), st.integers(0, 60)), max_size=40),
)
def test_ranges_against_a_set_of_bytes(start, segments):
    """Data in any order, overlapping, below the edge and beyond it, with reading in between: same bytes, same
    ranges."""
    W = a_world(role=world.ROLE_SERVER)
    c = a_tcb(rcv_nxt=start, rcv_read=start, recv_mask=SIZE - 1, recv_size=500, rcv_fin=-1, overrun=-1, released=1)
    twin = Receiver(start)
    read = start
    for ahead, size, reading in segments:
        edge = read + 500
        put(c, rcv_adv=edge, recv_size=500)
        seq = max(twin.nxt + ahead, 1)
        buffer = np.array([n * 31 + 7 & 0xFF for n in range(seq, seq + size)], np.uint8)
        beyond = seq > twin.nxt
        at_once = receive.receive(W, c, HEAP, buffer, 0, seq, size)
        before = twin.nxt
        # In-order data may use the whole buffer; a server's edge is its buffer, here larger than the window.
        twin.receive(seq, size, edge if beyond else read + SIZE)
        assert get(c, "rcv_nxt") == twin.nxt
        n = get(c, "blocks")
        assert list(zip(get(c, "block_l")[:n], get(c, "block_r")[:n])) == twin.ranges()
        if beyond or twin.held:
            assert at_once == 1, "a gap is told at once (RFC 5681 section 4.2)"
        for number in [*range(before, twin.nxt), *twin.held]:
            assert HEAP[number & (SIZE - 1)] == number * 31 + 7 & 0xFF
        assert get(c, "bytes_in") == twin.nxt - start
        read = min(read + reading, twin.nxt)
        put(c, rcv_read=read)


def test_more_ranges_than_can_be_remembered_are_dropped_and_counted():
    W = a_world(role=world.ROLE_SERVER)
    c = a_tcb(
        rcv_nxt=1, rcv_read=1, recv_mask=SIZE - 1, recv_size=SIZE, rcv_adv=1 + SIZE, rcv_fin=-1, overrun=-1, released=1
    )
    buffer = np.zeros(8, np.uint8)
    for i in range(world.BLOCKS + 5):
        receive.receive(W, c, HEAP, buffer, 0, 10 + 10 * i, 5)
    assert get(c, "blocks") == world.BLOCKS and get(W, "drops")[Drop.TCP_OUT_OF_ORDER_FULL] == 5
    receive.receive(W, c, HEAP, buffer, 0, 15, 5)
    assert get(c, "blocks") == world.BLOCKS - 1, "one that touches others still joins them"


# The table of connections -------------------------------------------------------------------------


@given(st.integers(0, 1 << 30), st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120))
def test_table_against_a_dict(seed, steps):
    """Opening and closing at random: every address is found where it is, and no other."""
    limit = 24
    stack = Stack(
        StackConfig(role="gateway", medium="ip", max_connections=limit, addresses=((B4, 24),),
                    tcp=TcpConfig(send_buffer=128, recv_buffer=128)),
        random.Random(seed), 0,
    )  # fmt: skip
    W, tcb = stack._world[0], stack._tcb

    def address(n: int) -> tuple[int, ...]:
        """Few different words, so that addresses share most of theirs."""
        return (n & 1, 5 + (n >> 1 & 1), 80 + (n >> 2 & 3), n >> 4, 9, 1000 + n % 3)

    def find(n: int) -> int:
        local_hi, local_lo, lport, remote_hi, remote_lo, rport = address(n)
        return connections.lookup(W, tcb, remote_hi, remote_lo, rport, local_hi, local_lo, lport)

    model: dict[tuple[int, ...], int] = {}
    for opening, n in steps:
        key = address(n)
        if opening and key not in model:
            slot = connections.open_slot(W, tcb, 4, *key, 0)
            if len(model) == limit:
                assert slot == -1
                continue
            assert slot not in model.values() and 0 <= slot < limit
            model[key] = slot
        elif not opening and key in model:
            slot = model.pop(key)
            put(tcb[slot], released=1)
            connections.close_slot(W, tcb, slot, world.R_CLOSED)
        assert stack.open_connections == len(model)
        assert stack.free_slots == limit - len(model)
        for other in range(41):
            assert find(other) == model.get(address(other), -1)
    taken = [entry - 1 for entry in get(W, "hash") if entry]
    assert sorted(taken) == sorted(model.values())


# The sender's books -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"rack": False}, {"congestion": "none"}, {"congestion": "newreno", "ecn": True}]
)
@pytest.mark.parametrize("seed", range(plain(2, 6)))
def test_scoreboard_against_a_recount_after_every_step(options, seed):
    net = Net(HOSTILE, seed, TcpConfig(**options))
    looked = 0

    def recount() -> None:
        nonlocal looked
        for stack in (net.a, net.b):
            c = stack._tcb[0]
            if get(c, "state") in (State.CLOSED, State.TIME_WAIT, State.SYN_SENT, State.SYN_RECEIVED):
                continue
            books = scoreboard(stack, 0)
            assert books["sacked_bytes"] == get(c, "sacked_bytes")
            assert books["lost_bytes"] == get(c, "lost_bytes")
            flight = get(c, "snd_nxt") - get(c, "snd_una") - get(c, "sacked_bytes") - get(c, "lost_bytes")
            assert books["in_flight"] == flight
            looked += 1

    net.script = recount
    size = plain(60_000, 300_000)
    a, b = transfer(net, net.rng.randbytes(size), net.rng.randbytes(size), 3600 * SECOND)
    assert len(a.got) == len(b.got) == size and looked > 10
    net.check_over()


@given(
    st.lists(st.integers(1_000, 5 * SECOND), min_size=1, max_size=50), st.sampled_from([1, 20 * MS, 200 * MS, SECOND])
)
def test_rtt_estimator(samples, least):
    """RFC 6298 in integers of a nanosecond: within a few of them of the exact fractions."""
    W = a_world(tcp_rto_min=least, tcp_rto_max=60 * SECOND)
    c = a_tcb()
    twin = Rtt(least, 60 * SECOND)
    for r in samples:
        recovery.sample_rtt(W, c, r)
        twin.sample(r)
        assert abs(get(c, "srtt") - twin.srtt) <= 8
        assert abs(get(c, "rttvar") - twin.var) <= 16
        assert abs(get(c, "rto") - twin.rto) <= 72
    assert get(c, "min_rtt") == min(samples)


# Congestion windows -------------------------------------------------------------------------------


@given(st.floats(0, 1e12))
def test_cube_root(x):
    assert congestion.cube_root(x) == pytest.approx(x ** (1 / 3), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("segments", [2, 10, 100])
@pytest.mark.parametrize("mss", [536, 1448])
def test_newreno_against_the_formula(segments, mss):
    """RFC 5681: cwnd doubles a round trip up to ssthresh, then grows by one segment; a loss halves the flight."""
    W = a_world(tcp_cc=congestion.NEWRENO, tcp_icw=segments)
    c = a_tcb(mss=mss)
    congestion.cc_open(W, c)
    assert get(c, "cwnd") == segments * mss
    put(c, ssthresh=8 * segments * mss)
    for turn in range(1, 10):
        before = get(c, "cwnd")
        for _ in range(before // mss):
            congestion.cc_acked(W, c, mss, get(c, "cwnd"), 0)
        assert get(c, "cwnd") == ((segments << turn) * mss if turn <= 3 else before + mss)
    window = get(c, "cwnd")
    # What limited transmit sent in the meantime counts for nothing (RFC 5681 section 3.1).
    for flight, reduced in ((window // 2, window // 4), (window, window // 2), (2 * window, window // 2)):
        put(c, cwnd=window)
        congestion.cc_loss(W, c, flight, 0)
        assert get(c, "cwnd") == get(c, "ssthresh") == max(reduced, 2 * mss)
    congestion.cc_timeout(W, c, window, 0)
    assert get(c, "cwnd") == mss


@pytest.mark.parametrize("rtt", [20 * MS, 100 * MS, 300 * MS])
@pytest.mark.parametrize("w_max", [50, 200, 1000])
def test_cubic_against_the_closed_formula(rtt, w_max):
    """RFC 9438: after a loss the window follows C (t - K)^3 + W_max (or Reno where that is more) within a segment or
    2 %."""
    mss = 1448
    W = a_world(tcp_cc=congestion.CUBIC, tcp_icw=10)
    c = a_tcb(mss=mss, min_rtt=rtt)
    congestion.cc_open(W, c)
    put(c, cwnd=w_max * mss, ssthresh=w_max * mss)
    congestion.cc_loss(W, c, w_max * mss, 0)
    start = get(c, "cwnd") / mss
    assert start == pytest.approx(0.7 * w_max, abs=0.01) and get(c, "ssthresh") == get(c, "cwnd")
    twin = Cubic(w_max, start)
    rounds = int(min(2 * twin.k * SECOND / rtt, 150)) + 2
    for turn in range(rounds):
        now = turn * rtt
        acks = int(get(c, "cwnd")) // mss
        for i in range(acks):
            congestion.cc_acked(W, c, mss, get(c, "cwnd"), now + rtt * i // acks)
        t = (turn + 1) * rtt / 1e9
        window = get(c, "cwnd") / mss
        low = twin.window(t)
        assert window >= min(low, 1.4 * start * 1.5) * 0.98 - 1
        assert window <= max(low, twin.reno(t, rtt / 1e9), twin.window(t + rtt / 1e9)) * 1.02 + 1.5
    # A second loss below the old maximum: fast convergence (section 4.7).
    put(c, cwnd=int(0.8 * w_max) * mss)
    congestion.cc_loss(W, c, get(c, "cwnd"), 0)
    assert get(c, "cubic_w_max") == pytest.approx(int(0.8 * w_max) * 0.85, rel=0.01)
    assert get(c, "cubic_prior") == pytest.approx(int(0.8 * w_max), rel=0.01)


def test_the_reno_friendly_estimate_goes_on_as_reno_from_the_window_before_the_loss():
    """RFC 9438 section 4.3: alpha is 3 (1 - beta) / (1 + beta) until W_est reaches cwnd_prior, then 1. Fast
    convergence put W_max (17) below cwnd_prior (20): between the two the estimate still grows slowly."""
    mss, rtt = 1000, MS
    W = a_world(tcp_cc=congestion.CUBIC, tcp_icw=10)
    c = a_tcb(mss=mss, min_rtt=rtt)
    congestion.cc_open(W, c)
    put(c, cwnd=20 * mss, ssthresh=20 * mss, cubic_w_max=25.0)
    congestion.cc_loss(W, c, 20 * mss, 0)
    assert get(c, "cubic_w_max") == pytest.approx(17.0) and get(c, "cubic_prior") == 20.0
    slow = 3 * 0.3 / 1.7
    seen = set()
    for turn in range(3000):
        window, before = get(c, "cwnd") / mss, get(c, "cubic_w_est") if turn else get(c, "cwnd") / mss
        congestion.cc_acked(W, c, mss, get(c, "cwnd"), turn * rtt // 16)
        grown = (get(c, "cubic_w_est") - before) * window
        assert grown == pytest.approx(slow if before < 20.0 else 1.0, rel=1e-6), (turn, before)
        seen.add(int(before > 17.0) + int(before >= 20.0))
    assert seen == {0, 1, 2}


def test_cubic_after_a_timeout_starts_with_k_of_zero():
    """RFC 9438 section 4.8: the epoch after a timeout has W_max where slow start ended, and nothing to come back to."""
    mss = 1000
    W = a_world(tcp_cc=congestion.CUBIC, tcp_icw=10)
    c = a_tcb(mss=mss, min_rtt=100 * MS)
    congestion.cc_open(W, c)
    put(c, cwnd=100 * mss, ssthresh=100 * mss)
    congestion.cc_timeout(W, c, 100 * mss, 0)
    assert get(c, "cwnd") == mss and get(c, "ssthresh") == 70 * mss
    put(c, cwnd=70 * mss)
    congestion.cc_acked(W, c, mss, 70 * mss, SECOND)
    assert get(c, "cubic_k") == 0.0 and get(c, "cubic_origin") == get(c, "cubic_w_max") == 70.0


def test_no_congestion_control_means_none():
    W = a_world(tcp_cc=congestion.NONE, tcp_icw=10)
    c = a_tcb(mss=1000)
    congestion.cc_open(W, c)
    for call in (congestion.cc_loss, congestion.cc_timeout):
        call(W, c, 10_000, 0)
    assert get(c, "cwnd") == congestion.UNLIMITED


def test_deadlines_are_the_least_of_the_timers():
    W = a_world()
    names = "t_rto t_persist t_delack t_keep t_wait t_rack t_tlp".split()
    for least in names:
        c = a_tcb(slot=3, **{name: 500 if name == least else NEVER for name in names})
        world.rearm(W, c)
        assert get(W, "deadline")[3] == 500
    assert isinstance(Link(), Link)
