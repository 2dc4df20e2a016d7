"""Segments: laid out as written down, and believed only when they are whole."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from aero_lab.backends.segment import COMMANDS, EVENTS, HID_IN, NET_RX, NET_TX, Segment
from aero_lab.errors import UsageError


def test_the_header_as_written_down():
    segment = Segment([(NET_TX, 64), (NET_RX, 128)])
    assert bytes(segment.memory[:48]) == bytes.fromhex(
        "41495043 01000000 10010000 02000000"  # "AIPC", version, 272 bytes, two rings
        "02000000 30000000 40000000 00000000"  # NET_TX, its header at 48, 64 bytes
        "03000000 80000000 80000000 00000000"  # NET_RX, its header at 128, 128 bytes
    )
    assert bytes(segment.memory[48:64]) == bytes.fromhex("00000000 00000000 00000000 40000000")
    assert len(segment.array) == Segment.size_for([(NET_TX, 64), (NET_RX, 128)]) == 272


def test_a_runtime_has_four_rings():
    segment = Segment()
    sizes = {queue.kind: queue.capacity for queue in segment.queues}
    assert sizes == {COMMANDS: 32768, EVENTS: 32768, NET_TX: 524288, NET_RX: 524288}
    again = Segment.attach(bytearray(segment.memory))
    assert again.queues == segment.queues and repr(again) == repr(segment)
    with pytest.raises(UsageError, match="no ring of kind 4"):
        segment.queue(HID_IN)


@pytest.mark.parametrize(
    ("queues", "says"),
    [
        ([], "1 to 64 rings"),
        ([(NET_TX, 64)] * 65, "1 to 64 rings"),
        ([(NET_TX, 100)], "power of two of bytes"),
        ([(NET_TX, 32)], "power of two of bytes"),
        ([(NET_TX, 1 << 31)], "power of two of bytes"),
    ],
)
def test_what_cannot_be_laid_out(queues, says):
    with pytest.raises(UsageError, match=says):
        Segment(queues)


def test_memory_that_is_too_small_or_cannot_be_written_to():
    with pytest.raises(UsageError, match="does not lie in 100 bytes"):
        Segment([(NET_TX, 128)], bytearray(100))
    with pytest.raises(UsageError, match="can be written to"):
        Segment([(NET_TX, 64)], bytes(200))


DAMAGES = {
    "too short": (0, None, "too short"),
    "another magic": (0, 0x43504942, "no segment of rings"),
    "another version": (4, 2, "version 2"),
    "longer than it is": (8, 100_000, "does not lie in"),
    "too short for its rings": (8, 20, "does not lie in"),
    "no rings": (12, 0, "0 rings does not lie"),
    "rings without end": (12, 0xFFFFFFFF, "does not lie in"),
    "a ring outside": (20, 272 - 16 - 60, "ring 0 .* outside"),
    "a ring far outside": (20, 0xFFFFFFFC, "ring 0 .* outside"),
    "a ring in the header": (20, 16, "ring 0 .* outside"),
    "a ring at an odd place": (20, 50, "ring 0 .* outside"),
    "no power of two": (24, 60, "60 bytes, which is no power of two"),
    "two sizes": (48 + 12, 128, "two sizes: 64 and 128"),
    "rings over each other": (36, 48, "two sizes"),
    "something reserved": (28, 1, "ring 0 .* outside"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_no_segment_is_one_line(what):
    at, value, says = DAMAGES[what]
    raw = bytearray(Segment([(NET_TX, 64), (NET_RX, 128)]).memory)
    if value is None:
        del raw[10:]
    else:
        struct.pack_into("<I", raw, at, value)
    with pytest.raises(UsageError, match=says) as caught:
        Segment.attach(raw)
    assert "\n" not in str(caught.value)


def test_rings_must_not_lie_over_each_other():
    raw = bytearray(Segment([(NET_TX, 64), (NET_RX, 64)]).memory)
    struct.pack_into("<I", raw, 36, 48)
    with pytest.raises(UsageError, match="over each other"):
        Segment.attach(raw)


def test_it_lies_in_the_memory_it_was_given():
    raw = np.zeros(1000, np.uint8)
    segment = Segment([(NET_TX, 64)], raw)
    assert bytes(raw[:4]) == b"AIPC" and len(segment.array) == 16 + 16 + 16 + 64
