"""Held acknowledgements: what the peer is told stays behind what arrived, and nothing else does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.compiled.records import new_records
from aero_lab.limits import HELD_FIN_PATIENCE, MS, SECOND
from aero_lab.link import Link
from aero_lab.stack import Closed, Connection, EndOfStream, TcpConfig, holding, world

from .net import FIN, HOSTILE, End, Net, plain
from .peer import ACK, M32, Peer
from .twins import get, put

FULL = 1448
LONG = TcpConfig(time_wait=SECOND)


def held(**more) -> Peer:
    peer = Peer(more.pop("tcp", LONG), "gateway", hold=True, **more)
    peer.open()
    return peer


def shown(peer: Peer, segments: list) -> list[int]:
    """Payload bytes that each segment acknowledges."""
    return [(s.tcp.ack - peer.synack.tcp.ack) & M32 for s in segments]


def edge(peer: Peer, segment) -> int:
    return shown(peer, [segment])[0] + (segment.tcp.window << (peer.synack.tcp.options.wscale or 0))


# One promise a test -------------------------------------------------------------------------------


def test_nothing_is_acknowledged_before_it_may_be():
    p = held()
    for _ in range(6):
        assert p.send(bytes(FULL)) == []
    assert p.wait(10 * SECOND) == [], "held data makes no acknowledgement, at no time"
    assert p.conn.read(1 << 20, p.now) == bytes(6 * FULL), "and is delivered all the same"
    assert shown(p, p.step()) == [0], "reading opens the window: the one thing to say"
    assert p.conn.release_acks(2 * FULL, p.now)
    assert shown(p, p.step()) == [2 * FULL]


def test_what_is_released_follows_the_rule_for_delayed_acknowledgements():
    p = held()
    for _ in range(5):
        p.send(bytes(FULL))
    assert not p.conn.release_acks(FULL, p.now) and p.step() == []
    (late,) = p.wait(40 * MS)
    assert shown(p, [late]) == [FULL]
    assert not p.conn.release_acks(2 * FULL, p.now)
    assert p.conn.release_acks(3 * FULL, p.now), "the second full segment"
    assert not p.conn.release_acks(3 * FULL, p.now), "the same again says nothing"
    assert not p.conn.release_acks(FULL, p.now), "nor does less"
    assert shown(p, p.step()) == [3 * FULL]
    p.conn.release_acks(5 * FULL, p.now)
    assert shown(p, p.wait(SECOND)) == [5 * FULL]


def test_small_segments_count_as_segments():
    p = held()
    for _ in range(3):
        p.send(b"key")
    assert p.conn.release_acks(9, p.now)
    assert shown(p, p.step()) == [9]


def test_leave_that_comes_before_the_data_changes_nothing():
    """An acknowledgement then follows as without holding."""
    p = held()
    p.conn.release_acks(1 << 40, p.now)
    assert p.send(bytes(FULL)) == []
    assert shown(p, p.send(bytes(FULL))) == [2 * FULL]
    p.send(b"x")
    assert shown(p, p.wait(SECOND)) == [2 * FULL + 1]


def test_our_data_carries_no_more_than_may_be_acknowledged():
    p = held()
    p.send(bytes(FULL))
    p.conn.write(b"answer", p.now)
    assert shown(p, p.step()) == [0]
    p.conn.release_acks(100, p.now)
    p.conn.write(b"more", p.now)
    assert shown(p, p.step()) in ([100], [])


def test_holding_from_the_middle_keeps_what_was_acknowledged():
    p = Peer(LONG, "gateway")
    p.open()
    assert shown(p, p.send(bytes(FULL)) + p.send(bytes(FULL))) == [2 * FULL]
    p.conn.hold_acks(p.now)
    assert p.send(bytes(FULL)) + p.send(bytes(FULL)) == []
    p.send(flags=ACK, seq=p.seq - 4 * FULL)
    assert shown(p, p.all[-1:]) == [2 * FULL]


def test_the_right_edge_is_where_it_would_be():
    """Reading opens the window though nothing is acknowledged; the edge never moves left."""
    p = held(tcp=TcpConfig(recv_buffer=64 << 10, time_wait=SECOND))
    free = Peer(TcpConfig(recv_buffer=64 << 10, time_wait=SECOND), "gateway")
    free.open()
    for _ in range(40):
        for q in (p, free):
            q.send(bytes(FULL))
            q.conn.read(1 << 20, q.now)
    edges = [edge(p, s) for s in p.all[1:]]
    assert set(shown(p, p.all[1:])) == {0}
    assert edges == sorted(edges)
    for q in (p, free):
        lag = 40 * FULL + (64 << 10) - edge(q, q.all[-1])
        assert 0 <= lag <= 16 << 10, "a window is told of when it opened by a quarter of the buffer"


def test_without_scaling_the_edge_follows_what_is_released():
    """65535 bytes beyond the number shown are all that the field can say; then the peer stands still, so leave is told
    at once."""
    p = held(wscale=None, ts=False)
    for _ in range(44):
        p.send(bytes(1460))
        p.conn.read(1 << 20, p.now)
    assert p.conn.info()["rcv_adv"] - p.conn.info()["irs"] - 1 == 65535
    assert p.conn.release_acks(1460, p.now), "less than a segment of window is left"
    assert [edge(p, s) for s in p.step()] == [65535 + 1460]


@pytest.mark.parametrize("sack", [True, False])
def test_a_gap_is_told_at_the_held_edge(sack):
    p = held(sack=sack)
    p.send(bytes(FULL))
    out = []
    for i in range(1, 4):
        out += p.send(bytes(FULL), seq=p.seq + i * FULL)
    assert shown(p, out) == [0, 0, 0], "three duplicates, from which the peer learns of the loss"
    assert not any(s.tcp.options.sack for s in out), "held data before the gap would look lost"
    assert p.conn.release_acks(FULL, p.now), "with a gap behind it leave is told at once"
    (ack,) = p.step()
    assert shown(p, [ack]) == [FULL]
    start = (p.seq + FULL) & M32
    assert ack.tcp.options.sack == (((start, start + 3 * FULL),) if sack else ())
    assert p.send(bytes(FULL), seq=p.seq) == [], "what fills the gap is held again"
    assert p.conn.readable == 5 * FULL


def test_a_duplicate_of_held_data_is_answered_without_saying_that_it_is_here():
    p = held()
    p.send(bytes(2 * 1000))
    (answer,) = p.send(bytes(1000), seq=p.seq - 2000)
    assert shown(p, [answer]) == [0] and answer.tcp.options.sack == ()
    p.conn.release_acks(2000, p.now)
    p.wait(SECOND)
    (answer,) = p.send(bytes(1000), seq=p.seq - 2000)
    assert answer.tcp.options.sack == (((p.seq - 2000) & M32, (p.seq - 1000) & M32),), "RFC 2883, once it was told"


def test_probes_are_answered():
    """Keepalives and window probes stand one byte before what is acknowledged."""
    p = held()
    p.send(bytes(500))
    (answer,) = p.send(seq=p.seq - 501)
    assert shown(p, [answer]) == [0]


def test_the_timestamp_echoed_is_that_of_what_is_acknowledged():
    """RFC 7323 section 4.3: so the peer's samples span the time that its data was held."""
    p = held(tcp=TcpConfig(delack_segments=1, time_wait=SECOND))
    sent = []
    for _ in range(10):
        sent.append(p.clock)
        p.send(bytes(100))
        p.now += 7 * MS
    echoes = []
    for i in range(1, 11):
        p.conn.release_acks(100 * i, p.now)
        echoes += [s.tcp.options.timestamps[1] for s in p.wait(50 * MS)]
    assert echoes == [sent[0], *sent[:1], *sent[1:9]] or echoes == sent


# The end ------------------------------------------------------------------------------------------


def test_the_fin_waits_for_its_own_leave():
    p = held()
    p.send(b"last", FIN | ACK)
    assert p.conn.state == "CLOSE-WAIT" and any(isinstance(e, EndOfStream) for e in p.events)
    assert p.wait(SECOND) == []
    assert not p.conn.release_acks(4, p.now)
    assert shown(p, p.wait(SECOND)) == [4]
    assert p.conn.release_acks(5, p.now)
    assert shown(p, p.step()) == [5]


def test_last_ack_lasts_until_the_fin_was_acknowledged():
    p = held()
    p.send(b"last", FIN | ACK)
    p.conn.shutdown(p.now)
    (fin,) = p.step()
    assert fin.tcp.flags & FIN and shown(p, [fin]) == [0]
    p.ack += 1
    p.send()
    assert p.conn.state == "LAST-ACK" and p.stack.open_connections == 1
    (again,) = p.send(flags=FIN | ACK, seq=p.seq - 1)
    assert shown(p, [again]) == [0], "the peer repeats its FIN and is answered"
    p.conn.release_acks(5, p.now)
    assert shown(p, p.step()) == [5]
    assert p.stack.open_connections == 0 and p.conn.reason == "closed"


def test_time_wait_begins_when_the_fin_was_acknowledged():
    p = held()
    p.conn.shutdown(p.now)
    p.ack += len(p.step())
    p.send()
    assert p.conn.state == "FIN-WAIT-2"
    p.send(b"last", FIN | ACK)
    assert p.conn.state == "TIME-WAIT" and p.conn.read(9, p.now) == b"last"
    p.wait(5 * SECOND)
    assert p.stack.open_connections == 1, "2 MSL are not counted from a FIN that nobody heard of"
    assert not any(isinstance(e, Closed) for e in p.events), "nor is the end told"
    assert p.conn.release_acks(5, p.now)
    assert shown(p, p.step()) == [5] and p.conn.reason == "closed"
    p.wait(SECOND)
    assert p.stack.open_connections == 0
    assert not p.conn.release_acks(6, p.now)


@pytest.mark.parametrize("first", ["peer", "we"])
def test_a_fin_that_is_never_released_does_not_keep_the_slot(first):
    p = held()
    if first == "peer":
        p.send(b"", FIN | ACK)
    p.conn.shutdown(p.now)
    p.ack += len(p.step())
    if first == "we":
        p.send()
        p.send(b"", FIN | ACK)
    p.send()
    assert p.stack.open_connections == 1
    p.wait(HELD_FIN_PATIENCE + SECOND)
    assert p.stack.open_connections == 0 and p.stack.free_slots == p.stack.config.max_connections


def test_a_released_slot_is_no_longer_spoken_to():
    p = held()
    old = p.conn
    p.send(bytes(100))
    old.abort(p.now)
    p.step()
    p.sport += 1
    p.seq, p.hold = 9000, True
    p.open()
    assert p.conn is not old and p.conn._slot == old._slot
    p.send(bytes(100))
    assert not old.release_acks(1 << 30, p.now) and p.conn.info()["ack_hold"] == 0


# Against plain twins ------------------------------------------------------------------------------


@settings(max_examples=plain(60, 200))
@given(
    st.integers(0, 1 << 33),
    st.lists(
        st.one_of(
            st.tuples(st.just("data"), st.integers(1, 3000), st.integers(0, 3)),
            st.tuples(st.just("ack"), st.integers(0, 6000), st.just(0)),
        ),
        max_size=60,
    ),
)
def test_remembered_timestamps_against_a_list(start, steps):
    """The echo is always of a segment that begins at or before the number shown, and the latest such while no more than
    there is room for are remembered."""
    c = new_records(world.TCB, 1)[0]
    put(c, irs=start, rcv_nxt=start + 1, last_ack_sent=start + 1, ack_hold=0, ts_recent=5)
    nxt, clock, upto = start + 1, 5, 0
    every: list[tuple[int, int]] = []
    expected, exact = 5, True
    for kind, amount, tick in steps:
        if kind == "data":
            clock += tick
            if nxt > get(c, "last_ack_sent"):
                exact = exact and get(c, "marks") < world.MARKS
                holding.note_timestamp(c, nxt, clock)
                if not every or every[-1][1] != clock:
                    every.append((nxt, clock))
            else:
                expected = clock
                put(c, ts_recent=clock)
            nxt += amount
            put(c, rcv_nxt=nxt)
            continue
        upto += amount
        put(c, ack_hold=upto)
        assert holding.ack_number(c) == min(nxt, start + 1 + upto)
        put(c, last_ack_sent=holding.ack_number(c))
        holding.settle_timestamps(c, 1)
        ready = [ts for seq, ts in every if seq <= get(c, "last_ack_sent")]
        expected = max([expected, *ready])
        assert get(c, "ts_recent") <= expected and get(c, "ts_recent") in {5, *(ts for _, ts in every), expected}
        if exact:
            assert get(c, "ts_recent") == expected
        every = [(seq, ts) for seq, ts in every if seq > get(c, "last_ack_sent")]
        assert get(c, "marks") <= world.MARKS


class Mirror(Net):
    """A gateway that holds, and lets go of what was read, ``behind`` ns later (the far side's round trip)."""

    def __init__(self, *rest, behind: int, **more):
        super().__init__(*rest, role="gateway", tap=True, **more)
        self.behind = behind
        self.queues: dict[int, list[tuple[int, int]]] = {}
        self.upto: dict[int, int] = {}
        self.conns: dict[int, Connection] = {}
        self.irs: dict[int, int] = {}
        self.held = self.hold
        self.filter = self.honest

    def hold(self, conn) -> None:
        conn.hold_acks(self.now)
        conn.accept(self.now)
        self.conns[conn.remote[1]] = conn
        self.irs[conn.remote[1]] = conn.info()["irs"]
        self.queues[conn.id], self.upto[conn.id] = [], 0

    def let_go(self) -> None:
        for conn in self.conns.values():
            end = self.ends.get(("b", conn.id))
            if end is None:
                continue
            read = len(end.got) + (1 if end.eof and not conn.readable else 0)
            queue = self.queues[conn.id]
            if read > (queue[-1][1] if queue else self.upto[conn.id]):
                queue.append((self.now + self.behind, read))
            while queue and queue[0][0] <= self.now:
                self.upto[conn.id] = queue.pop(0)[1]
                conn.release_acks(self.upto[conn.id], self.now)

    def honest(self, seen) -> bool:
        """Nothing that leaves the gateway acknowledges more than was let go."""
        if seen.side == "b" and seen.tcp is not None and seen.flags & ACK:
            port = seen.tcp.dstport
            if port in self.conns:
                told = (seen.tcp.ack - self.irs[port] - 1) & M32
                assert told <= self.upto[self.conns[port].id]
        return True

    def turn(self) -> int:
        for _ in range(1000):
            due = super().turn()
            self.let_go()
            due = min([due, self.b.poll_at(self.now), *(queue[0][0] for queue in self.queues.values() if queue)])
            if due > self.now and not len(self.b.tx):
                return due
        raise AssertionError("the mirror spins")


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("behind", [0, 3 * MS, 80 * MS])
def test_holding_causes_no_retransmission(sack, behind):
    """On a clean wire: held data looks neither lost nor duplicated, and the sender's round trip has the hold in it."""
    net = Mirror(Link(rtt=4 * MS), 3, TcpConfig(sack=sack, time_wait=SECOND), behind=behind)
    size = plain(60_000, 1_000_000)
    data = net.rng.randbytes(size)
    net.accept_with = far = End(data=data[:1000])
    near = net.connect(data)
    net.run(lambda: net.a.open_connections == net.b.open_connections == 0, 120 * SECOND)
    assert far.got == data and near.got == data[:1000] and near.reason == far.reason == "closed"
    assert net.a.counters["retransmissions"] == 0
    srtt = near.conn.info()["srtt"]
    assert behind // plain(8, 2) + 4 * MS <= srtt <= 2 * behind + 60 * MS
    net.check_over()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", range(plain(1, 6)))
def test_a_hostile_link_under_holding(seed, family):
    config = TcpConfig(time_wait=SECOND, sack=seed % 3 > 0)
    net = Mirror(HOSTILE, seed, config, family=family, behind=(0, 15 * MS)[seed % 2])
    size = plain(30_000, 400_000)
    up, down = net.rng.randbytes(size), net.rng.randbytes(size)
    net.accept_with = far = End(data=down)
    near = net.connect(up)
    net.run(lambda: net.a.open_connections == net.b.open_connections == 0, 2000 * SECOND)
    assert far.got == up and near.got == down and near.reason == far.reason == "closed"
    net.check_over()
