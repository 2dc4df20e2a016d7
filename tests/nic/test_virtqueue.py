"""Split virtqueues by themselves: every chain that there can be against a walk in plain Python, and the indices."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.compiled.records import new_records
from aero_lab.nic import virtqueue as vq
from aero_lab.nic.port import new_ports, row

DESC, AVAIL, USED, TABLE = 0x1000, 0x2000, 0x3000, 0x4000
RAM = 0x8000


class Broken(Exception):
    """With a reason of :mod:`aero_lab.nic.virtqueue`."""


def walked(ram: bytes, size: int, head: int, indirect: bool) -> list[tuple[int, int, bool]]:
    """The pieces of a chain (address, length, device writes), as section 2.7.5 of the standard has it."""

    def descriptor(table: int, i: int) -> tuple[int, int, int, int]:
        at = table + 16 * i
        inside = 0 <= at and at + 16 <= len(ram)
        return struct.unpack("<qIHH", ram[at : at + 16] if inside else b"\xff" * 16)

    table, entries, most, nested = DESC, size, size, False
    pieces: list[tuple[int, int, bool]] = []
    while True:
        if head >= entries:
            raise Broken(vq.NEXT_OUT_OF_RANGE)
        address, length, flags, following = descriptor(table, head)
        if flags & 4:
            if not indirect:
                raise Broken(vq.INDIRECT_NOT_OFFERED)
            if nested:
                raise Broken(vq.INDIRECT_NESTED)
            if flags & 1:
                raise Broken(vq.INDIRECT_AND_NEXT)
            if length == 0 or length % 16:
                raise Broken(vq.INDIRECT_SIZE)
            table, entries, most, nested, head = address, length // 16, 256, True, 0
            continue
        if len(pieces) == most:
            raise Broken(vq.CHAIN_TOO_LONG)
        pieces.append((address, length, bool(flags & 2)))
        if not flags & 1:
            return pieces
        head = following


def queue(size: int = 8) -> tuple[Any, Any, Any, np.ndarray]:
    """A queue that is in use, a place for a chain, a port, and memory."""
    tables = new_records(vq.QUEUE, 1), new_records(vq.CHAIN, 1), new_ports()
    q = row(tables[0])
    q.entries, q.enabled, q.desc, q.avail, q.used = size, 1, DESC, AVAIL, USED
    return _Record(tables[0]), _Record(tables[1]), _Record(tables[2]), np.zeros(RAM, np.uint8)


class _Record:
    """A record that kernels take and Python reads by names."""

    def __init__(self, table: Any):
        object.__setattr__(self, "raw", table[0])
        object.__setattr__(self, "_row", row(table))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._row, name, value)


small = st.integers(0, 9)
descriptors = st.lists(
    st.tuples(
        st.sampled_from([TABLE, TABLE + 16, DESC, 0x5000, RAM - 8, -1, 1 << 62]),
        st.sampled_from([0, 1, 7, 16, 32, 48, 60, 100, 1600]), st.sampled_from([0, 1, 1, 1, 2, 3, 3, 4, 4, 5, 6, 8]),
        small,
    ),
    min_size=8, max_size=8,
)  # fmt: skip


@given(descriptors, descriptors, st.sampled_from([1, 2, 4, 8]), st.integers(0, 7), st.booleans())
@settings(max_examples=300)
def test_any_chain_is_walked_as_the_standard_says(direct, table, size, head, indirect):
    q, chain, port, ram = queue(size)
    for base, rows in ((DESC, direct), (TABLE, table)):
        for i, each in enumerate(rows):
            ram[base + 16 * i : base + 16 * i + 16] = np.frombuffer(struct.pack("<qIHH", *each), np.uint8)
    done = vq.queue_walk(q.raw, chain.raw, port.raw, ram, head, int(indirect))
    try:
        pieces = walked(bytes(ram), size, head, indirect)
    except Broken as broken:
        assert done == 0
        assert vq.REASONS[int(q.broken)] == vq.REASONS[broken.args[0]]
        return
    assert done == 1 and q.broken == 0
    count = int(chain.count)
    got = [(int(chain.address[i]), int(chain.length[i])) for i in range(count)]
    assert got == [(address if address >= 0 else vq.NOWHERE, length) for address, length, _ in pieces]
    readers = [write for _, _, write in pieces].count(False)
    assert chain.readers == readers and chain.first == pieces[0][1]
    assert chain.readable == sum(length for _, length, write in pieces if not write)
    assert chain.writable == sum(length for _, length, write in pieces if write)
    assert bool(chain.disorder) == any(not write for _, _, write in pieces[readers:])


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.data())
@settings(max_examples=60)
def test_bytes_are_found_wherever_they_lie(lengths, data):
    """What is read from, or written to, a place in a chain is what one would get from its pieces joined."""
    q, chain, port, ram = queue(16)
    ram[0x5000:0x6000] = np.arange(0x1000) * 7 & 0xFF
    pieces = []
    for i, length in enumerate(lengths):
        address = 0x5000 + 64 * i + data.draw(small)
        more = 1 if i + 1 < len(lengths) else 0
        ram[DESC + 16 * i : DESC + 16 * i + 16] = np.frombuffer(
            struct.pack("<qIHH", address, length, more, i + 1), np.uint8
        )
        pieces.append((address, length))
    assert vq.queue_walk(q.raw, chain.raw, port.raw, ram, 0, 0)
    total = sum(lengths)
    for _ in range(4):
        offset = data.draw(st.integers(0, total))
        size = data.draw(st.integers(0, total - offset))
        whole = b"".join(bytes(ram[at : at + length]) for at, length in pieces)
        target = np.zeros(300, np.uint8)
        vq.chain_read(chain.raw, port.raw, ram, offset, size, target, 5)
        assert bytes(target[5 : 5 + size]) == whole[offset : offset + size] and not target[5 + size :].any()
        source = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)).ljust(300, b"\0"), np.uint8).copy()
        vq.chain_write(chain.raw, port.raw, ram, offset, size, source, 0)
        whole = whole[:offset] + bytes(source[:size]) + whole[offset + size :]
        assert b"".join(bytes(ram[at : at + length]) for at, length in pieces) == whole


@given(st.integers(0, 65535), st.integers(0, 65535), st.sampled_from([1, 2, 8, 256]))
def test_how_many_wait_and_what_is_a_jump(taken, index, size):
    q, _, port, ram = queue(size)
    q.next_avail = taken
    ram[AVAIL + 2 : AVAIL + 4] = np.frombuffer(struct.pack("<H", index), np.uint8)
    ahead = (index - taken) % 65536
    assert vq.queue_waiting(q.raw, port.raw, ram) == (ahead if ahead <= size else 0)
    assert q.broken == (0 if ahead <= size else vq.INDEX_JUMPED)
    assert vq.queue_waiting(q.raw, port.raw, ram) == (ahead if ahead <= size else 0)


@given(st.integers(0, 65535), st.integers(0, 9), st.integers(0, 65535), st.booleans(), st.booleans())
def test_when_the_driver_is_told(start, number, event, event_idx, quiet):
    """Section 2.7.10: with EVENT_IDX when the index passes the one named, else unless the flag is set; and never when
    nothing was used."""
    q, _, port, ram = queue(8)
    q.next_used = q.signalled = start
    ram[AVAIL : AVAIL + 2] = np.frombuffer(struct.pack("<H", int(quiet)), np.uint8)
    ram[AVAIL + 4 + 16 : AVAIL + 6 + 16] = np.frombuffer(struct.pack("<H", event), np.uint8)
    for i in range(number):
        vq.queue_give(q.raw, port.raw, ram, i, 100 + i)
    told = vq.queue_publish(q.raw, port.raw, ram, int(event_idx))
    passed = any((start + i) % 65536 == event for i in range(number))
    assert told == (number > 0 and (passed if event_idx else not quiet))
    for i in range(max(0, number - 8), number):
        at = USED + 4 + 8 * ((start + i) % 8)
        assert struct.unpack("<II", bytes(ram[at : at + 8])) == (i, 100 + i)
    if number:
        assert struct.unpack("<H", bytes(ram[USED + 2 : USED + 4])) == ((start + number) % 65536,)
    assert vq.queue_publish(q.raw, port.raw, ram, int(event_idx)) == 0
