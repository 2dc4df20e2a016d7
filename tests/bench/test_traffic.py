"""The source of segments for the benches, against packets packed by ``struct``."""

import random
import struct

import numpy as np
import pytest

from aero_lab.bench.traffic import flow_record, generate
from aero_lab.rings import FrameRing

from ..stack.model import wire

LINK = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0"


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("link", [b"", LINK])
@pytest.mark.parametrize("size", [0, 1, 700])
def test_generated_segments_are_their_twins(six, link, size):
    """Round robin over the flows; numbers go on; both checksums are right; a full ring ends it."""
    rng = random.Random(size)
    ends = [(rng.randbytes(16 if six else 4), rng.randbytes(16 if six else 4)) for _ in range(3)]
    starts = [(0xFFFFFFF0, 5000), (1, 0xFFFFFFFF), (7, 9)]
    flows = b"".join(
        flow_record(link, src, dst, 1000 + i, 80, *starts[i], echo=77) for i, (src, dst) in enumerate(ends)
    )  # fmt: skip
    payload = rng.randbytes(2000)
    ring = FrameRing(16, 1 << 16)
    header = len(link) + (40 if six else 20) + 32
    table, data = (np.frombuffer(bytearray(raw), np.uint8) for raw in (flows, payload))
    sent = generate(ring.array, table, data, 5, 20, len(link), header, size, 100, 33)
    assert sent == 16
    for i, record in enumerate(ring.pop_many(16)):
        number = 5 + i
        flow, turn = number % 3, i // 3
        (src, dst), (seq, ack) = ends[flow], starts[flow]
        options = b"\1\1\x08\x0a" + struct.pack(">II", 2 + turn, 77)
        at = number * 61 % (len(payload) - size)
        segment = wire.tcp(
            src, dst, 1000 + flow, 80, seq + turn * size, ack + 100 * (turn + 1), wire.ACK, 65535, options,
            payload[at : at + size],
        )  # fmt: skip
        more = {"ident": number, "fragment": 0x4000}
        assert record.data == link + wire.ip(src, dst, wire.TCP, segment, **more)
        assert (record.t_ns, record.frame_id, record.flow) == (33, number + 1, -1)
