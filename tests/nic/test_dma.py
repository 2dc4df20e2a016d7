"""A card's way to memory: whatever the address, what is there is read and written, the rest is ones and lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.nic import dma
from aero_lab.nic.port import DIRTY, MESSAGES, NEVER, new_ports, row

SIZE = 3 * 4096
MOST, LEAST = (1 << 63) - 1, -(1 << 63)


def memory() -> np.ndarray:
    return (np.arange(SIZE, dtype=np.int64) * 7 % 251).astype(np.uint8)


def port():
    ports = new_ports()
    return ports[0], row(ports)


def pages(P) -> set[int]:
    return {page for i in range(int(P.dirty_count)) for page in range(int(P.dirty_first[i]), int(P.dirty_last[i]) + 1)}


ADDRESSES = st.one_of(
    st.integers(0, SIZE - 1), st.integers(SIZE - 16, SIZE + 16), st.integers(-16, 16), st.integers(LEAST, MOST)
)


@given(address=ADDRESSES, width=st.sampled_from([1, 2, 4, 8]), value=st.integers(0, (1 << 63) - 1))
def test_numbers(address, width, value):
    ram, before = memory(), memory()
    record, P = port()
    get = {1: dma.dma_get8, 2: dma.dma_get16, 4: dma.dma_get32, 8: dma.dma_get64}[width]
    put = {1: dma.dma_put8, 2: dma.dma_put16, 4: dma.dma_put32, 8: dma.dma_put64}[width]
    inside = 0 <= address <= SIZE - width
    expected = -1 if width == 8 else (1 << 8 * width) - 1
    if inside:
        expected = int.from_bytes(before[address : address + width].tobytes(), "little", signed=width == 8)
    assert get(record, ram, address) == expected
    assert int(P.bad_dma) == (not inside) and not pages(P)
    value &= (1 << 8 * width) - 1
    put(record, ram, address, value - (1 << 64) if value >> 63 else value)
    if inside:
        before[address : address + width] = np.frombuffer(value.to_bytes(width, "little"), np.uint8)
        assert pages(P) == {address >> 12, address + width - 1 >> 12}
    assert (ram == before).all() and int(P.bad_dma) == 2 * (not inside)
    assert inside or not pages(P)


@given(address=ADDRESSES, size=st.integers(0, 5000), at=st.integers(0, 100))
def test_runs_of_bytes(address, size, at):
    ram, before = memory(), memory()
    record, P = port()
    there = min(max(SIZE - address, 0), size) if address >= 0 else 0
    got = np.full(6000, 0x55, np.uint8)
    dma.dma_read(record, ram, address, size, got, at)
    expected = np.full(6000, 0x55, np.uint8)
    expected[at : at + size] = 0xFF
    expected[at : at + there] = before[max(address, 0) : max(address, 0) + there]
    assert (got == expected).all() and int(P.bad_dma) == (there < size) and (ram == before).all()
    source = np.arange(6000, dtype=np.int64).astype(np.uint8)
    dma.dma_write(record, ram, address, size, source, at)
    if there:
        before[address : address + there] = source[at : at + there]
        assert pages(P) == set(range(address >> 12, (address + there - 1 >> 12) + 1))
    assert (ram == before).all() and int(P.bad_dma) == 2 * (there < size)
    assert dma._there(ram, address, size) == there
    record, P = port()
    assert dma.dma_inside(record, ram, address, size) == (0 <= address <= SIZE - size) == (not int(P.bad_dma))


@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 20_000)), max_size=300))
def test_every_page_that_was_written_is_noted_once_it_counts(writes):
    record, P = port()
    wanted: set[int] = set()
    for address, size in writes:
        dma.note_write(record, address, size)
        wanted |= set(range(address >> 12, (address + size - 1 >> 12) + 1))
    assert int(P.dirty_all) or wanted <= pages(P)
    assert int(P.dirty_count) <= DIRTY and (len(writes) > DIRTY or not int(P.dirty_all))
    assert len(writes) > DIRTY or pages(P) == wanted, "nothing is noted that was not written"


def test_a_ring_and_its_buffers_take_two_places_and_not_one_a_frame():
    record, P = port()
    for frame in range(64):
        dma.note_write(record, 0x100000 + 2048 * frame, 1500)
        dma.note_write(record, 0x8000 + 16 * frame, 16)
    assert int(P.dirty_count) < 10 and pages(P) == {8, *range(0x100, 0x120)}


def test_messages_wait_once_each_and_are_bounded():
    record, P = port()
    for number in range(MESSAGES + 3):
        dma.send_message(record, 0xFEE00000, number % (MESSAGES + 1))
        dma.send_message(record, 0xFEE00000, 0)
    assert int(P.message_count) == MESSAGES and int(P.messages_lost) == 1
    assert [int(P.message_data[i]) for i in range(MESSAGES)] == list(range(MESSAGES))
    assert {int(P.message_address[i]) for i in range(MESSAGES)} == {0xFEE00000}


@pytest.mark.parametrize("name", ["intx", "rx_wait", "tx_wait", "dirty_count", "message_count", "moved"])
def test_a_port_begins_at_rest(name):
    _, P = port()
    assert int(getattr(P, name)) == 0 and int(P.due) == NEVER and int(P.cable) == int(P.cable_seen) == 1
