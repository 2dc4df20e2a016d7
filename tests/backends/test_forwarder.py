"""The forwarder: both directions, what is lost and why, and the line it logs."""

from __future__ import annotations

import pytest

from aero_lab.backends import Forwarder, RingBackend, Segment
from aero_lab.backends.segment import NET_RX, NET_TX
from aero_lab.errors import UsageError
from aero_lab.limits import NEVER, SECOND
from aero_lab.rings import FrameRing


def pair(tx: int = 4096, rx: int = 4096, **more) -> tuple[RingBackend, Forwarder]:
    segment = Segment([(NET_TX, tx), (NET_RX, rx)])
    return RingBackend(segment), Forwarder(Segment.attach(segment.array), **more)


def nonzero(forwarder: Forwarder) -> dict[str, int]:
    return {name: count for name, count in forwarder.counters.items() if count}


def test_frames_go_both_ways():
    backend, forwarder = pair()
    assert forwarder.poll_at(0) == NEVER
    for number in range(3):
        backend.transmit(bytes((number,)) * 100)
        forwarder.into.push(bytes((number,)) * 200)
    assert forwarder.poll_at(5) == 5
    forwarder.step(7)
    assert [(frame.data[0], len(frame.data), frame.t_ns) for frame in forwarder.out.pop_many()] == [
        (0, 100, 7), (1, 100, 7), (2, 100, 7),
    ]  # fmt: skip
    assert [backend.poll_receive() for _ in range(4)] == [bytes((n,)) * 200 for n in range(3)] + [None]
    assert nonzero(forwarder) == {"txFrames": 3, "txBytes": 300, "rxFrames": 3, "rxBytes": 600}
    forwarder.step(8)
    assert forwarder.counters["txRingEmpty"] == 1 and forwarder.poll_at(9) == NEVER


def test_frames_are_numbered_on_request():
    backend, forwarder = pair()
    forwarder.number_frames(100)
    for _ in range(3):
        backend.transmit(b"frame")
    forwarder.step(0)
    backend.transmit(b"frame")
    forwarder.step(1)
    assert [frame.frame_id for frame in forwarder.out.pop_many()] == [101, 103, 105, 107]


def test_a_tunnel_that_refuses_loses_one_frame_a_tick():
    backend, forwarder = pair(out=FrameRing(2, 1 << 14))
    for number in range(6):
        backend.transmit(bytes((number,)) * 10)
    forwarder.step(0)
    forwarder.step(1)
    assert [frame.data[0] for frame in forwarder.out.pop_many()] == [0, 1]
    forwarder.step(2)
    assert [frame.data[0] for frame in forwarder.out.pop_many()] == [4, 5], "2 and 3 were refused, one a tick"
    assert forwarder.counters["txDroppedSendError"] == forwarder.counters["txDroppedTunnelBackpressure"] == 2


def test_one_that_waits_loses_none():
    backend, forwarder = pair(out=FrameRing(2, 1 << 14), wait=True)
    for number in range(6):
        backend.transmit(bytes((number,)) * 10)
    got = []
    for tick in range(3):
        forwarder.step(tick)
        assert forwarder.poll_at(tick) == NEVER, "nothing can be done until somebody takes them"
        got += [frame.data[0] for frame in forwarder.out.pop_many()]
    assert got == list(range(6)) and forwarder.counters["txDroppedSendError"] == 0


def test_without_a_tunnel_frames_are_dropped():
    backend, forwarder = pair()
    forwarder.connected = False
    backend.transmit(b"a")
    backend.transmit(b"b")
    assert forwarder.poll_at(3) == 3
    forwarder.step(3)
    assert nonzero(forwarder) == {"txDroppedNoTunnel": 2} and len(forwarder.out) == 0


def test_a_full_ring_to_the_guest_makes_frames_pending_in_order():
    backend, forwarder = pair(rx=256)
    for number in range(10):
        forwarder.into.push(bytes((number,)) * 60)
    forwarder.step(0)
    assert nonzero(forwarder) == {
        "txRingEmpty": 1, "rxFrames": 4, "rxBytes": 240, "rxRingFull": 1, "rxPendingFrames": 6, "rxPendingBytes": 360,
    }  # fmt: skip
    forwarder.into.push(b"\x0a" * 60)
    got = []
    for tick in range(1, 6):
        while (frame := backend.poll_receive()) is not None:
            got.append(frame[0])
        forwarder.step(tick)
    assert got == list(range(11)) and forwarder.counters["rxFrames"] == 11
    assert forwarder.counters["rxPendingFrames"] == forwarder.counters["rxPendingBytes"] == 0


def test_pending_frames_are_bounded_in_bytes_and_the_newest_are_dropped():
    backend, forwarder = pair(rx=256, pending_bytes=130)
    for number in range(8):
        forwarder.into.push(bytes((number,)) * 60)
    forwarder.step(0)
    assert forwarder.counters["rxPendingBytes"] == 120 and forwarder.counters["rxDroppedPendingOverflow"] == 2
    got = []
    for tick in range(3):
        while (frame := backend.poll_receive()) is not None:
            got.append(frame[0])
        forwarder.step(tick)
    assert got == [0, 1, 2, 3, 4, 5]


def test_no_pending_frames_at_all():
    _, forwarder = pair(rx=256, pending_bytes=0)
    for _ in range(6):
        forwarder.into.push(bytes(60))
    forwarder.step(0)
    assert forwarder.counters["rxDroppedNetRxFull"] == 2 and forwarder.counters["rxPendingFrames"] == 0


def test_a_waiting_forwarder_leaves_frames_to_the_tunnel():
    backend, forwarder = pair(rx=8192, wait=True)
    for _ in range(200):
        forwarder.into.push(bytes(60))
    forwarder.step(0)
    assert len(forwarder.into) == 200 - 128 and forwarder.counters["rxPendingFrames"] == 0
    assert forwarder.poll_at(1) == NEVER
    for _ in range(100):
        backend.poll_receive()
    assert forwarder.poll_at(1) == 1


@pytest.mark.parametrize("full", [False, True], ids=["an empty ring", "a full ring"])
def test_frames_that_never_fit(full):
    _, forwarder = pair(rx=256)
    for _ in range(4 * full):
        forwarder.into.push(bytes(60))
    forwarder.into.push(bytes(253))
    forwarder.step(0)
    assert forwarder.counters["rxDroppedRingTooSmall"] == 1 and forwarder.counters["rxPendingFrames"] == 0


def test_while_it_is_stopped():
    backend, forwarder = pair()
    forwarder.running = False
    backend.transmit(b"stays")
    forwarder.into.push(b"goes")
    assert forwarder.poll_at(1) == 1
    forwarder.step(1)
    assert nonzero(forwarder) == {"rxDroppedWhileStopped": 1} and forwarder.poll_at(1) == NEVER
    forwarder.running = True
    forwarder.step(2)
    assert forwarder.out.pop_many()[0].data == b"stays"


def test_damage_in_the_guests_ring_is_counted_and_passed():
    backend, forwarder = pair()
    backend.transmit(b"good")
    backend.transmit(b"bad!")
    segment = forwarder.segment
    segment.array[segment.queue(NET_TX).offset + 16 + 8 + 3] = 0x7F
    forwarder.step(0)
    backend.transmit(b"next")
    forwarder.step(1)
    assert [frame.data for frame in forwarder.out.pop_many()] == [b"good", b"next"]
    assert (forwarder.counters["txCorrupt"], forwarder.counters["txCorruptBytes"]) == (1, 8)


def test_the_line_it_logs():
    backend, forwarder = pair(rx=256, pending_bytes=60)
    backend.transmit(bytes(100))
    for _ in range(6):
        forwarder.into.push(bytes(60))
    forwarder.step(0)
    line = "l2: open tx=1f/100B rx=4f/240B drop+{rx_full=0, pending=1, tx_bp=0} pending=1f/60B"
    assert forwarder.log_line(0) == line and forwarder.log_line(SECOND - 1) is None
    assert forwarder.log_line(SECOND) == line.replace("pending=1, ", "pending=0, "), "what is new, not what was"
    forwarder.connected = False
    assert (forwarder.log_line(2 * SECOND) or "").startswith("l2: closed tx=")
    forwarder.running = False
    assert (forwarder.log_line(3 * SECOND) or "").startswith("l2: stopped tx=")


def test_what_cannot_be():
    with pytest.raises(UsageError, match="must not be negative"):
        pair(pending_bytes=-1)
