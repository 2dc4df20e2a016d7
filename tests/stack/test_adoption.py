"""Connections that go on after their stack was restored, and connections that a gateway opens to its guest."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import AeroLabError, UsageError
from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.stack import Closed, Established, Stack, TcpConfig, Writable

from .net import A4, A6, ACK, FAR4, FAR6, FIN, MAC_B, RST, SYN, End, Net, plain
from .peer import M32, PSH, Peer, data_of

families = pytest.mark.parametrize("family", [4, 6])
CONFIG = TcpConfig(time_wait=SECOND)


def restored(options: dict | None = None, **more) -> Peer:
    """A peer in the middle of a connection, and a gateway that has only the connection's addresses."""
    p = Peer(more.pop("tcp", CONFIG), "gateway", **more)
    p.seq, p.ack, p.tsecr = 0xFFFFFF00, 0xFFFFFFF0, 123_456
    p.conn = p.stack.adopt((p.it, p.dport), (p.me, p.sport), p.now, **({"mss": 1460} if options is None else options))
    return p


@families
def test_numbers_come_from_the_first_segment(family):
    p = restored(family=family)
    assert p.conn.state == "ESTABLISHED" and p.conn.room == 0 and p.conn.write(b"too early", p.now) == 0
    assert p.wait(60 * SECOND) == [], "nothing can be said yet"
    p.send(b"question", PSH | ACK)
    assert any(isinstance(e, Established) for e in p.events) and any(isinstance(e, Writable) for e in p.events)
    assert p.conn.read(100, p.now) == b"question"
    assert p.conn.write(b"answer", p.now) == 6
    (answer,) = p.step()
    assert (answer.tcp.seq, answer.tcp.ack, answer.tcp.payload) == (p.ack & M32, p.seq & M32, b"answer")
    assert answer.tcp.options.timestamps == (123_457, p.clock), "later than what the peer has seen before"


def test_without_timestamps_and_scaling():
    p = restored({}, ts=False, window=2000)
    p.send(b"x")
    p.conn.write(bytes(10_000), p.now)
    segments = p.step()
    assert all(s.tcp.options.timestamps is None for s in segments)
    assert set(data_of(segments)) == {536} and sum(data_of(segments)) == 1608
    assert p.conn.options == {"mss": 536, "send_shift": -1, "recv_shift": -1, "sack": False}


def test_what_was_agreed_on_is_kept():
    p = restored({"mss": 1000, "send_shift": 7, "recv_shift": 3, "sack": True}, window=100)
    p.send(b"x")
    assert p.conn.info()["snd_wnd"] == 100 << 7
    (dup,) = p.send(b"y", seq=p.seq + 1)
    assert dup.tcp.options.sack == (((p.seq + 1) & M32, (p.seq + 2) & M32),)
    assert dup.tcp.window << 3 > 200_000
    assert p.conn.options == {"mss": 1000, "send_shift": 7, "recv_shift": 3, "sack": True}


def test_a_fin_may_be_the_first_thing_heard():
    p = restored()
    (ack,) = p.send(b"bye", FIN | ACK)
    assert ack.tcp.ack == p.seq & M32 and p.conn.state == "CLOSE-WAIT" and p.conn.read(9, p.now) == b"bye"
    p.conn.shutdown(p.now)
    (fin,) = p.step()
    p.ack += 1
    p.send()
    assert fin.tcp.flags & FIN and p.stack.open_connections == 0 and p.conn.reason == "closed"


def test_what_was_asked_for_before_goes_out_after():
    p = restored()
    p.conn.shutdown(p.now)
    assert p.wait(SECOND) == []
    (fin,) = p.send()
    assert fin.tcp.flags & FIN and fin.tcp.seq == p.ack & M32


def test_a_keepalive_probe_teaches_the_right_numbers():
    """It begins one byte low; data that keeps coming one byte further on tells."""
    p = restored()
    p.send(seq=p.seq - 1)
    for _ in range(2):
        p.send(b"data", PSH | ACK, seq=p.seq)
    assert p.conn.read(9, p.now) == b"data"
    p.seq += 4
    p.send(b" and more", PSH | ACK)
    assert p.conn.read(99, p.now) == b" and more"


def test_a_keepalive_probe_with_a_byte_is_no_data():
    p = restored()
    p.send(b"\0", seq=p.seq - 1)
    assert p.conn.readable == 0
    p.send(b"data", PSH | ACK)
    assert p.conn.read(9, p.now) == b"data"


def test_a_lost_byte_after_an_empty_segment_is_not_skipped():
    p = restored()
    p.send()
    p.send(b"bcd", PSH | ACK, seq=p.seq + 1)  # "a" was lost
    p.send(b"a", PSH | ACK, seq=p.seq)
    p.send(b"bcd", PSH | ACK, seq=p.seq + 1)
    assert p.conn.read(9, p.now) == b"abcd"


def test_segments_that_teach_nothing():
    p = restored()
    p.send(b"no ack", PSH, seq=5)
    assert p.conn.readable == 0 and p.wait(SECOND) == []
    p.send(b"", RST, seq=77)
    assert p.conn.reason == "reset" and p.stack.open_connections == 0


def test_a_new_connection_of_the_same_addresses_ends_the_old():
    p = restored()
    old = p.conn
    (synack,) = p.syn(seq=5000)
    assert old.reason == "reset" and synack.tcp.flags & SYN and synack.tcp.ack == 5001


def test_ending_an_unheard_connection():
    """Abort says nothing (no number would be believed), a peer's later segment meets a RST; the dead are given up."""
    p = restored(tcp=TcpConfig(time_wait=SECOND, keepalive_idle=100 * SECOND))
    p.conn.abort(p.now)
    assert p.step() == [] and p.conn.reason == "aborted"
    (rst,) = p.send(b"x")
    assert rst.tcp.flags & RST and rst.tcp.seq == p.ack & M32
    silent = p.stack.adopt((p.it, 81), (p.me, p.sport), p.now)
    p.wait(99 * SECOND)
    assert silent.state == "ESTABLISHED"
    assert p.wait(2 * SECOND) == [] and silent.reason == "timeout" and p.stack.open_connections == 0


def test_acknowledgements_can_be_held_from_the_start():
    p = restored()
    p.conn.hold_acks(p.now)
    assert p.send(b"x" * 1400) + p.send(b"y" * 1400) == []
    p.conn.release_acks(2800, p.now)
    assert [s.tcp.ack for s in p.step()] == [p.seq & M32]


def test_bad_arguments():
    p = restored()
    with pytest.raises(AeroLabError, match="in use"):
        p.stack.adopt((p.it, p.dport), (p.me, p.sport), p.now)
    for wrong in ({"mss": 10}, {"mss": 70_000}, {"send_shift": 15}, {"recv_shift": -2}):
        with pytest.raises(UsageError):
            p.stack.adopt((p.it, 99), (p.me, p.sport), p.now, **wrong)
    while p.stack.free_slots:
        p.stack.adopt((p.it, 1000 + p.stack.free_slots), (p.me, p.sport), p.now)
    with pytest.raises(AeroLabError, match="slots"):
        p.stack.adopt((p.it, 99), (p.me, p.sport), p.now)


@settings(max_examples=plain(5, 25), deadline=None)
@given(seed=st.integers(0, 1 << 20), lost=st.sampled_from([0.0, 0.05]), family=st.sampled_from([4, 6]))
def test_a_stack_is_replaced_under_a_connection(seed, lost, family):
    """The guest notices nothing but a pause: what each side sends afterwards arrives whole.

    The first segment has to be the guest's oldest: what was lost before it, nobody could know of.
    """
    link = Link(rtt=10 * MS)
    net = Net(link, seed, CONFIG, family=family, role="gateway", tap=False)
    a, b = net.pair(b"before", b"earlier")
    net.run(lambda: a.got == b"earlier" and b.got == b"before", 60 * SECOND)
    net.wait(SECOND)  # nothing is in flight, or it would be lost with the old stack
    options, local, remote = b.conn.options, b.conn.local, b.conn.remote
    net.b = Stack(net.b.config, random.Random(seed + 1), net.now)
    net.ends.pop(("b", b.conn.id))
    net.set_link(link)
    fresh = End(net.b.adopt(local, remote, net.now, **options), shutdown_after=True)
    fresh.data = memoryview(net.rng.randbytes(30_000))
    net.ends["b", fresh.conn.id] = fresh
    more = net.rng.randbytes(30_000)
    a.data, a.sent, a.shutdown_after = memoryview(more), 0, True
    net.run(lambda: fresh.established, net.now + 10 * SECOND)
    net.set_link(Link(rtt=10 * MS, loss=lost))
    net.run(lambda: net.a.open_connections == net.b.open_connections == 0, net.now + 2000 * SECOND)
    assert fresh.got == more and a.got == b"earlier" + bytes(fresh.data)
    assert a.reason == fresh.reason == "closed"
    net.check_over()


# A gateway opens ----------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("src", ["own", "foreign"])
def test_a_gateway_connects_to_its_guest(family, known, src):
    """From its own address or any other, whether or not the guest has spoken yet: it is asked for."""
    net = Net(Link(rtt=2 * MS), 5, CONFIG, family=family, role="gateway", tap=True)
    net.a.listen(22)
    guest, far = (A4, FAR4) if family == 4 else (A6, FAR6)
    if known:
        net.pair(b"x")
    source = far if src == "foreign" else None
    before = set(net.ends)
    conn = net.b.connect(guest, 22, src=source, now=net.now)
    up, down = net.rng.randbytes(20_000), net.rng.randbytes(20_000)
    net.accept_with = inside = End(data=down)
    net.ends["b", conn.id] = outside = End(conn, up)
    net.run(lambda: outside.reason is not None and inside.reason is not None, 60 * SECOND)
    assert outside.reason == inside.reason == "closed" and inside.got == up and outside.got == down
    assert inside.conn.remote == (far if source else net.b.addresses[0 if family == 4 else 1][0], conn.local[1])
    asked = [s for s in net.seen if s.side == "b" and s.tcp is None and s.frame[0] & 1]
    assert bool(asked) != known
    assert len(set(net.ends) - before) == 2
    if not known:
        assert net.a.neighbours().get(net.b.addresses[0 if family == 4 else 1][0]) == MAC_B


def test_a_guest_that_is_not_there():
    """The attempt ends as unanswered; a guest that refuses is believed."""
    net = Net(Link(), 5, TcpConfig(syn_retries=2), role="gateway")
    conn = net.b.connect(bytes([10, 0, 2, 99]), 22, src=FAR4, now=net.now)
    net.ends["b", conn.id] = end = End(conn)
    net.run(lambda: end.reason is not None, 100 * SECOND)
    assert end.reason == "timeout"
    conn = net.b.connect(A4, 23, src=FAR4, now=net.now)
    net.ends["b", conn.id] = end = End(conn)
    net.run(lambda: end.reason is not None, net.now + 100 * SECOND)
    assert end.reason == "refused"
    assert any(isinstance(e, Closed) for e in end.events)
    net.check_over()
