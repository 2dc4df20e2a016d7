"""Both backends as a card has them: drops with a reason, bounds, statistics."""

from __future__ import annotations

import pytest

from aero_lab.backends import QueueBackend, RingBackend, Segment
from aero_lab.backends.backend import Tally
from aero_lab.backends.ring import RingEnd
from aero_lab.backends.segment import NET_RX, NET_TX
from aero_lab.errors import UsageError
from aero_lab.rings import FrameRing


def far_side(segment: Segment) -> tuple[RingEnd, RingEnd]:
    """What a forwarder has: NET_TX to read, NET_RX to write."""
    return (
        RingEnd(segment, NET_TX, Tally("tx", "popped"), 4096), RingEnd(segment, NET_RX, Tally("rx", "pushed"), 4096),
    )  # fmt: skip


def test_the_queue_takes_so_many_frames_and_drops_the_newest():
    queue = QueueBackend()
    assert all(queue.transmit(bytes((number & 0xFF,)) * 2048) for number in range(1024))
    assert not queue.transmit(b"one too many") and not queue.transmit(bytes(2049))
    assert all(queue.push_rx_frame(bytes(2048)) for _ in range(1024))
    assert not queue.push_rx_frame(b"") and not queue.push_rx_frame(bytes(3000)) and queue.waiting
    assert queue.stats == {
        "tx_enqueued_frames": 1024, "tx_enqueued_bytes": 1024 * 2048,
        "tx_dropped_oversize": 1, "tx_dropped_oversize_bytes": 2049,
        "tx_dropped_full": 1, "tx_dropped_full_bytes": 12,
        "rx_enqueued_frames": 1024, "rx_enqueued_bytes": 1024 * 2048,
        "rx_dropped_oversize": 1, "rx_dropped_oversize_bytes": 3000,
        "rx_dropped_full": 1, "rx_dropped_full_bytes": 0,
    }  # fmt: skip
    assert [frame[0] for frame in queue.drain_tx_frames()] == [number & 0xFF for number in range(1024)]
    assert queue.drain_tx_frames() == [] and len(queue.poll_receive() or b"") == 2048
    assert queue.push_rx_frame(b"again") and "1024 for it" in repr(queue)


def test_a_queue_takes_short_frames_no_more_than_long_ones():
    queue = QueueBackend(frames=4)
    for _ in range(50):
        assert [queue.transmit(bytes(size)) for size in (10, 2048, 3, 2000, 1)] == [True] * 4 + [False]
        assert [len(frame) for frame in queue.drain_tx_frames()] == [10, 2048, 3, 2000]


def test_a_queue_that_waits_leaves_frames_in_the_cards_ring():
    queue = QueueBackend(frames=4, wait=True)
    ring = FrameRing(16, 1 << 14)
    for number in range(10):
        ring.push(bytes((number,)) * 60)
    assert queue.send(ring, 256) == 4 and len(ring) == 6 and queue.send(ring, 256) == 0
    assert queue.stats["tx_dropped_full"] == 0
    queue.drain_tx_frames()
    assert queue.send(ring, 3) == 3 and [frame[0] for frame in queue.drain_tx_frames()] == [4, 5, 6]


def test_frames_for_the_guest_go_as_far_as_its_ring_has_room():
    queue = QueueBackend(frames=8)
    ring = FrameRing(4, 1 << 14)
    for number in range(8):
        queue.push_rx_frame(bytes((number,)) * 60)
    assert queue.receive(ring, 3) == 3 and queue.receive(ring, 3) == 1 and queue.receive(ring, 3) == 0
    assert [frame.data[0] for frame in ring.pop_many()] == [0, 1, 2, 3] and len(queue.rx) == 4


def test_the_ring_backend_counts_what_it_drops():
    segment = Segment([(NET_TX, 4096), (NET_RX, 4096)])
    backend = RingBackend(segment)
    sent, given = far_side(segment)
    assert [backend.transmit(bytes(1500)) for _ in range(3)] == [True, True, False]
    assert not backend.transmit(bytes(2049))
    assert [len(sent.pop_one() or b"") for _ in range(3)] == [1500, 1500, 0]
    assert given.push_one(bytes(2049)) and given.push_one(b"here") and backend.waiting
    assert backend.poll_receive() == b"here" and backend.poll_receive() is None and not backend.waiting
    assert backend.stats == {
        "tx_pushed_frames": 2, "tx_pushed_bytes": 3000,
        "tx_dropped_oversize": 1, "tx_dropped_oversize_bytes": 2049,
        "tx_dropped_full": 1, "tx_dropped_full_bytes": 1500, "tx_stalled": 0,
        "rx_popped_frames": 1, "rx_popped_bytes": 4,
        "rx_dropped_oversize": 1, "rx_dropped_oversize_bytes": 2049,
        "rx_corrupt": 0, "rx_corrupt_bytes": 0, "rx_broken": 0,
    }  # fmt: skip


def test_a_frame_too_long_for_the_ring_itself_is_too_long():
    backend = RingBackend(Segment([(NET_TX, 64), (NET_RX, 64)]))
    assert backend.transmit(bytes(60)) and not backend.transmit(bytes(61))
    assert backend.stats["tx_dropped_oversize"] == 1 and backend.stats["tx_dropped_full"] == 0


def test_damage_is_counted_and_the_ring_goes_on():
    segment = Segment([(NET_TX, 4096), (NET_RX, 4096)])
    backend = RingBackend(segment)
    _, given = far_side(segment)
    for payload in (b"good", b"bad!", b"lost"):
        given.push_one(payload)
    segment.array[segment.queue(NET_RX).offset + 16 + 8 + 1] = 0xFF
    assert backend.poll_receive() == b"good" and backend.poll_receive() is None
    given.push_one(b"next")
    assert backend.poll_receive() == b"next"
    assert (backend.stats["rx_corrupt"], backend.stats["rx_corrupt_bytes"], backend.stats["rx_broken"]) == (1, 16, 0)


def test_a_pause_clears_both_rings():
    segment = Segment([(NET_TX, 4096), (NET_RX, 4096)])
    backend = RingBackend(segment)
    sent, given = far_side(segment)
    backend.transmit(b"a")
    given.push_one(b"b")
    backend.clear()
    assert sent.pop_one() is None and backend.poll_receive() is None
    assert backend.transmit(b"c") and sent.pop_one() == b"c"


@pytest.mark.parametrize("make", [lambda: QueueBackend(frame_most=0), lambda: QueueBackend(frames=3)])
def test_sizes_that_cannot_be(make):
    with pytest.raises(UsageError):
        make()


def test_a_segment_without_the_rings_is_refused():
    with pytest.raises(UsageError, match="no ring of kind 3"):
        RingBackend(Segment([(NET_TX, 64)]))
