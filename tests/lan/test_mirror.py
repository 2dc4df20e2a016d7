"""``ack_policy="mirror"`` move by move: the guest's TCP hears what the far side acknowledged, no more and no less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.bounds import MIRROR_POLL_MAX, MIRROR_POLL_MIN
from aero_lab.errors import UsageError
from aero_lab.lan.config import LanConfig
from aero_lab.limits import MS, NEVER

from .test_tcp_nat import Bench as NatBench


class Bench(NatBench):
    def __init__(self, **egress):
        super().__init__(ack_policy="mirror")
        for name, value in egress.items():
            setattr(self.egress, name, value)
        self.nat.egress = self.egress  # the policy is settled when the two meet

    def guest_sends(self, conn, data, now):
        conn.inbox += data
        self.nat.readable(conn, now)

    def row(self):
        return self.table.rows()[-1]


def test_only_what_the_far_side_acknowledged_is_released():
    b = Bench()
    conn, flow = b.open()
    assert conn.released == 0, "held from before the handshake is done"
    b.guest_sends(conn, b"0123456789", 40)
    assert b.egress.taken[flow] == b"0123456789", "the bytes themselves are not held up"
    assert conn.released == 0
    b.egress.acked[flow] = 4
    b.nat.after_egress(40 + MIRROR_POLL_MIN)
    assert conn.released == 4
    b.egress.acked[flow] = 10
    b.nat.after_egress(10 * MS)
    assert conn.released == 10
    assert b.nat.poll_at() == NEVER, "nothing held, nothing asked"
    assert b.row()["ack_policy"] == "mirror"


def test_early_holds_nothing():
    b = NatBench()
    conn, flow = b.open()
    assert conn.released is None and b.egress.asked == 0
    assert b.table.rows()[0]["ack_policy"] == "early"
    assert b.nat.poll_at() == NEVER


def test_an_acknowledgement_that_is_there_at_once_costs_no_wait():
    b = Bench()
    conn, flow = b.open()
    b.egress.acked[flow] = 100
    b.egress.taken[flow] = bytearray(90)  # sent and acknowledged before
    conn.context.record.bytes_up = 90
    b.guest_sends(conn, b"0123456789", 40)
    assert conn.released == 100 and b.nat.poll_at() == NEVER


def test_the_guests_end_is_mirrored_and_keeps_the_flow_until_then():
    b = Bench()
    conn, flow = b.open()
    b.guest_sends(conn, b"abc", 40)
    b.egress.acked[flow] = 3
    b.nat.end_of_stream(conn, 50)
    assert b.egress.calls[-1] == ("shutdown", flow)
    assert conn.released == 3, "the end is not acknowledged yet"
    b.nat.eof(flow, 60)
    assert ("shutdown",) in conn.calls
    assert len(b.nat) == 1 and b.row()["state"] == "finished"
    b.egress.acked[flow] = 4
    b.nat.after_egress(60 * MS)
    assert conn.released == 4
    assert b.egress.calls[-1] == ("close", flow)
    assert b.ended() == ["closed"]
    assert b.nat.poll_at() == NEVER


def test_an_end_that_is_acknowledged_before_the_far_one_comes():
    b = Bench()
    conn, flow = b.open()
    b.nat.end_of_stream(conn, 50)
    b.egress.acked[flow] = 1
    b.nat.after_egress(50 * MS)
    assert conn.released == 1 and len(b.nat) == 1
    b.nat.eof(flow, 60 * MS)
    assert b.ended() == ["closed"]


def test_bytes_from_the_world_carry_the_acknowledgement_that_came_with_them():
    b = Bench()
    conn, flow = b.open()
    b.guest_sends(conn, b"request", 40)
    b.egress.acked[flow] = 7
    order = []
    release, write = conn.release_acks, conn.write
    conn.release_acks = lambda upto, now: (order.append("release"), release(upto, now))
    conn.write = lambda data, now: (order.append("write"), write(data, now))[1]
    b.nat.data(flow, memoryview(b"answer"), 41)
    assert order == ["release", "write"]


def test_a_far_reset_leaves_the_bytes_unacknowledged():
    b = Bench()
    conn, flow = b.open()
    b.guest_sends(conn, b"lost", 40)
    b.egress.gone.add(flow)
    b.nat.after_egress(50 * MS)
    assert conn.released == 0
    b.nat.reset(flow, 51 * MS)
    assert conn.released == 0 and conn.calls[-1] == ("abort",)
    assert b.nat.poll_at() == NEVER and len(b.nat._mirror) == 0


def test_a_system_that_cannot_tell_mirrors_what_it_accepted_and_says_so():
    b = Bench(tells_unacked=False)
    conn, flow = b.open()
    b.egress.takes = 4
    b.guest_sends(conn, b"0123456789", 40)
    assert conn.released == 4, "accepted, not merely received"
    assert b.egress.asked == 0
    assert b.row()["ack_policy"] == "mirror-accepted"
    assert b.nat.ack_policy == "mirror-accepted"
    b.egress.takes = None
    b.nat.drained(flow, 50)
    b.nat.end_of_stream(conn, 51)
    b.nat.eof(flow, 52)
    assert conn.released == 11 and b.ended() == ["closed"]


@pytest.mark.parametrize(
    ("rtt", "first"), [(0, MIRROR_POLL_MIN), (8 * MS, MS), (10_000 * MS, MIRROR_POLL_MAX), (1, MIRROR_POLL_MIN)]
)
def test_how_often_it_is_asked_follows_the_round_trip_and_slackens(rtt, first):
    b = Bench(rtt=rtt)
    conn, flow = b.open()
    b.guest_sends(conn, b"x" * 100, MS)
    looks, now, gaps = b.egress.asked, MS, []
    for _ in range(12):
        due = b.nat.poll_at()
        gaps.append(due - now)
        now = due
        b.nat.after_egress(now)
    assert gaps[0] == first
    assert all(b >= a for a, b in zip(gaps, gaps[1:])) and gaps[-1] == MIRROR_POLL_MAX
    assert b.egress.asked == looks + 12
    b.nat.after_egress(now + 1)
    assert b.egress.asked == looks + 12, "not before its time"
    b.egress.acked[flow] = 50
    now = b.nat.poll_at()
    b.nat.after_egress(now)
    assert b.nat.poll_at() - now == first, "progress: quick again"


def test_asking_ahead_of_time_neither_slackens_nor_postpones():
    b = Bench(rtt=8 * MS)
    conn, flow = b.open()
    b.guest_sends(conn, b"x", MS)
    due = b.nat.poll_at()
    for i in range(20):
        b.guest_sends(conn, b"x", MS + i)
    assert b.nat.poll_at() == due


def test_one_round_asks_for_all_flows_that_are_nearly_due():
    b = Bench()
    pairs = [b.open() for _ in range(50)]
    for i, (conn, _) in enumerate(pairs):
        b.guest_sends(conn, b"x", MS + i * 1000)
    asked = b.egress.asked
    rounds, now = 0, MS
    while b.egress.asked < asked + 50:
        now = b.nat.poll_at()
        b.nat.after_egress(now)
        rounds += 1
    assert rounds == 1


def test_an_egress_that_steps_on_acknowledgements_is_asked_after_each_step():
    b = Bench(steps_on_acks=True)
    conn, flow = b.open()
    b.guest_sends(conn, b"x", 40)
    assert b.nat.poll_at() == NEVER
    b.egress.acked[flow] = 1
    b.nat.after_egress(41)
    assert conn.released == 1


def test_unknown_policies_are_refused():
    with pytest.raises(UsageError, match="ack_policy must be one of early, mirror"):
        LanConfig(ack_policy="late")


@given(st.data())
def test_nothing_stalls_and_nothing_is_released_too_soon(data):
    """Whatever order things happen in: never more than the far side acknowledged, and everything in the end."""
    b = Bench(tells_unacked=data.draw(st.booleans()))
    conn, flow = b.open()
    sent, guest_fin, far_fin, now = 0, False, False, 100
    for _ in range(data.draw(st.integers(1, 30))):
        now += data.draw(st.integers(1, 5 * MS))
        move = data.draw(st.sampled_from(["up", "down", "take", "ack", "look", "guest-fin", "far-fin"]))
        if move == "up" and not guest_fin:
            chunk = data.draw(st.binary(max_size=50))
            sent += len(chunk)
            b.guest_sends(conn, chunk, now)
        elif move == "down" and not far_fin and b.nat.room(flow):
            b.nat.data(flow, memoryview(b"down"), now)
        elif move == "take":
            b.egress.takes = data.draw(st.one_of(st.none(), st.integers(0, 60)))
            b.nat.drained(flow, now)
        elif move == "ack":
            out = len(b.egress.taken.get(flow, b"")) + (flow in b.egress.ended)
            b.egress.acked[flow] = data.draw(st.integers(b.egress.acked.get(flow, 0), out))
        elif move == "look":
            b.nat.after_egress(now)
        elif move == "guest-fin" and not guest_fin:
            guest_fin = True
            b.nat.end_of_stream(conn, now)
        elif move == "far-fin" and not far_fin:
            far_fin = True
            b.nat.eof(flow, now)
        if b.egress.tells_unacked:
            assert conn.released <= b.egress.acked.get(flow, 0)
        held = len(b.egress.taken.get(flow, b"")) + (flow in b.egress.ended) - conn.released
        assert not held or not len(b.nat) or b.nat.poll_at() < NEVER, "something is held and nobody will ask"
    b.egress.takes = None
    b.nat.drained(flow, now)
    if not guest_fin:
        b.nat.end_of_stream(conn, now)
    if not far_fin:
        b.nat.eof(flow, now)
    b.egress.acked[flow] = sent + 1
    for _ in range(3):
        now = max(now, min(b.nat.poll_at(), now + MIRROR_POLL_MAX))
        b.nat.after_egress(now)
    assert conn.released == sent + 1
    assert b.ended() == ["closed"]
