"""The 8259A pair against a model with sets and a list of priorities, and against its data sheet."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.machine.bus import LINES, bus_access

from .naive import NaivePic, NaivePics
from .rig import board

A, B = 0x20, 0xA0
BYTES = st.integers(0, 255)
OPS = st.lists(
    st.one_of(
        st.tuples(st.just("line"), st.sampled_from([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]), st.booleans()),
        st.tuples(st.just("line"), st.sampled_from([10, 11, 5]), st.booleans()),
        st.tuples(st.just("ack")),
        st.tuples(st.just("ocw1"), st.integers(0, 1), BYTES),
        st.tuples(st.just("ocw2"), st.integers(0, 1), BYTES),
        st.tuples(st.just("ocw2"), st.integers(0, 1), st.sampled_from([0x20, 0x60, 0x62, 0xA0, 0xC3, 0x80, 0])),
        st.tuples(st.just("ocw3"), st.integers(0, 1), BYTES),
        st.tuples(st.just("init"), st.integers(0, 1), BYTES, BYTES, BYTES),
        st.tuples(st.just("elcr"), st.integers(0, 1), BYTES),
        st.tuples(st.just("read"), st.integers(0, 1), st.integers(0, 1)),
    ),
    max_size=60,
)


def initialised():
    """A board whose controllers stand as after a plain initialisation, and the model in the same state."""
    bus, twin = board(), NaivePics()
    bus.write(0, 0x43, 0x30)  # the timer lets go of IRQ 0
    for chip, (port, base, third) in enumerate(((A, 0x20, 4), (B, 0x28, 2))):
        for a0, value in ((0, 0x11), (1, base), (1, third), (1, 1), (1, 0)):
            bus.write(0, port + a0, value)
            twin.chips[chip].write(a0, value)
        bus.write(0, 0x4D0 + chip, 0)
    return bus, twin


def drive(bus, lines: int) -> None:
    """Put these lines up and all others down, as PCI does."""
    bus_access(bus.records, LINES, 0, 0, 0, lines)


@given(ops=OPS)
@settings(max_examples=300)
def test_the_pair_is_its_twin(ops):
    bus, twin = initialised()
    up: set[int] = set()
    for op in ops:
        if op[0] == "line":
            up = up | {op[1]} if op[2] else up - {op[1]}
            drive(bus, sum(1 << irq for irq in up))
            twin.chips[op[1] >> 3].line(op[1] & 7, op[2])
        elif op[0] == "ack":
            assert bus.acknowledge() == twin.acknowledge()
        elif op[0] == "init":
            icw1 = (op[2] & 0x17 & ~8) | 0x10 if op[1] else (op[2] & 0x15) | 0x10
            for a0, value in ((0, icw1), (1, op[3]), (1, 4), (1, op[4] & 0x13)):
                bus.write(0, (A, B)[op[1]] + a0, value)
                twin.chips[op[1]].write(a0, value)
        elif op[0] == "elcr":
            value = op[2] & (0xF8, 0xDE)[op[1]]
            bus.write(0, 0x4D0 + op[1], op[2])
            chip = twin.chips[op[1]]
            chip.level = {n for n in range(8) if value >> n & 1}
            for n in chip.level:
                (chip.requests.add if n in chip.lines else chip.requests.discard)(n)
            assert bus.read(0, 0x4D0 + op[1]) == value
        elif op[0] == "read":
            assert bus.read(0, (A, B)[op[1]] + op[2]) == twin.chips[op[1]].read(op[2])
        else:
            a0 = int(op[0] == "ocw1")
            value = op[2] if a0 else (op[2] & 0xE7 if op[0] == "ocw2" else op[2] & 0x67 | 8)
            bus.write(0, (A, B)[op[1]] + a0, value)
            twin.chips[op[1]].write(a0, value)
        twin.settle()
        assert bool(bus.row.intr) == twin.intr
        for chip in (0, 1):
            model = twin.chips[chip]
            assert int(bus.row.pic_isr[chip]) == NaivePic.bits(model.serving)
            assert int(bus.row.pic_irr[chip]) == NaivePic.bits(model.requests)


def test_a_request_that_goes_away_is_spurious():
    """IR7's vector, nothing in service; from the second controller its own seventh, and the cascade is in service."""
    bus, _ = initialised()
    drive(bus, 1 << 5)
    drive(bus, 0)
    assert bus.acknowledge() == 0x27 and int(bus.row.pic_isr[0]) == 0 and int(bus.row.spurious) == 1
    bus.write(0, B + 1, 0xFF)
    drive(bus, 1 << 10)
    bus.write(0, B + 1, 0)
    assert bus.acknowledge() == 0x2A


def test_a_level_triggered_line_asks_again_after_its_end():
    bus, _ = initialised()
    bus.write(0, 0x4D1, 0x04)
    drive(bus, 1 << 10)
    assert bus.acknowledge() == 0x2A
    bus.write(0, B, 0x20)
    bus.write(0, A, 0x20)
    assert bus.row.intr and bus.acknowledge() == 0x2A
    drive(bus, 0)
    bus.write(0, B, 0x20)
    bus.write(0, A, 0x20)
    assert not bus.row.intr


def test_an_edge_waits_through_the_mask_and_is_served_once():
    bus, _ = initialised()
    bus.write(0, A + 1, 0x10)
    drive(bus, 1 << 4)
    assert not bus.row.intr
    bus.write(0, A + 1, 0)
    assert bus.row.intr and bus.acknowledge() == 0x24
    bus.write(0, A, 0x20)
    assert not bus.row.intr
