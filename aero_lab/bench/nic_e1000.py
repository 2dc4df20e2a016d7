"""A driver for the 82540EM that does nothing but keep it busy, compiled: what a guest's costs, without the guest.

It does for each frame what Linux's does: writes a descriptor, moves the tail once a batch, reads the causes, looks at
every descriptor's status and gives it back. Registers are reached as the machine reaches them, through a pointer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.memory import put_i64_native, store_field, u8
from ..compiled.registry import BYTES, I64, PLAIN, entry, kernel
from ..machine.call import address_of, call_serve
from ..nic.e1000 import E1000
from ..nic.e1000.names import OFFSETS
from ..nic.e1000.transmit import DEXT, EOP, RS, TSE
from ..nic.port import POLL, PORTS, READ, WRITE
from ..rings.frame_ring import count, release

RING, TX_RING, RX_RING, TX_BUFFERS, RX_BUFFERS, SLOT = 256, 0x10000, 0x20000, 0x100000, 0x200000, 2048
RAM = 4 << 20
ICR, TDT, RDT = OFFSETS["ICR"], OFFSETS["TDT"], OFFSETS["RDT"]
put_u8 = store_field(0, 1, False)
TSO_PIECE = 16384
"""Bytes of a packet to be segmented that lie behind each descriptor."""
DATA, POPTS, DD, IP_TCP = 1 << 20, 3 << 40, 1, 3


@entry
@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES, I64, I64, I64, I64))
def e1000_sends(serve, states, ports, ram, T, R, at, frames, size, batch):
    """Send ``frames`` frames of ``size`` bytes, ``batch`` for each move of the tail, from descriptor ``at`` on; how
    many descriptors were done."""
    done = 0
    upper = size | DATA | (EOP | RS | DEXT) << 24
    while frames > 0:
        number = min(frames, batch)
        first = at
        for _ in range(number):
            put_i64_native(ram, TX_RING + 16 * at, TX_BUFFERS + SLOT * at)
            put_i64_native(ram, TX_RING + 16 * at + 8, upper)
            at = at + 1 & (RING - 1)
        call_serve(serve, states, ports, ram, T, R, WRITE, 0, TDT, 4, at, 0)
        call_serve(serve, states, ports, ram, T, R, READ, 0, ICR, 4, 0, 0)
        for _ in range(number):
            done += u8(ram, TX_RING + 16 * first + 12) & DD
            first = first + 1 & (RING - 1)
        ports[0].dirty_count = 0
        release(T, count(T))
        frames -= number
    return done


@entry
@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES, I64, I64, I64, I64, I64))
def e1000_segments(serve, states, ports, ram, T, R, at, packets, size, header, mss):
    """Send packets of ``size`` bytes, to be cut behind the first ``header`` after every ``mss``; how many segments came
    out."""
    sent = 0
    for _ in range(packets):
        put_i64_native(ram, TX_RING + 16 * at, 14 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40)
        context = (size - header) | (TSE | DEXT | IP_TCP) << 24 | header << 40 | mss << 48
        put_i64_native(ram, TX_RING + 16 * at + 8, context)
        at = at + 1 & (RING - 1)
        offset = 0
        while offset < size:
            length = header if offset == 0 else min(size - offset, TSO_PIECE)
            last = EOP | RS if offset + length == size else 0
            put_i64_native(ram, TX_RING + 16 * at, TX_BUFFERS + offset)
            put_i64_native(ram, TX_RING + 16 * at + 8, length | DATA | (last | TSE | DEXT) << 24 | POPTS)
            at = at + 1 & (RING - 1)
            offset += length
        call_serve(serve, states, ports, ram, T, R, WRITE, 0, TDT, 4, at, 0)
        call_serve(serve, states, ports, ram, T, R, READ, 0, ICR, 4, 0, 0)
        ports[0].dirty_count = 0
        sent += count(T)
        release(T, count(T))
    return sent


@entry
@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES, I64))
def e1000_receives(serve, states, ports, ram, T, R, at):
    """Take what waits in ``R`` into the buffers from descriptor ``at`` on, and give them back; how many frames."""
    done = 0
    for _ in range(count(R) + 1):  # moving the tail lets the card store more at once
        call_serve(serve, states, ports, ram, T, R, POLL, 0, 0, 0, 0, 0)
        call_serve(serve, states, ports, ram, T, R, READ, 0, ICR, 4, 0, 0)
        before = done
        while u8(ram, RX_RING + 16 * at + 12) & DD:
            put_u8(ram, RX_RING + 16 * at + 12, 0)
            at = at + 1 & (RING - 1)
            done += 1
        call_serve(serve, states, ports, ram, T, R, WRITE, 0, RDT, 4, at - 1 & (RING - 1), 0)
        ports[0].dirty_count = 0
        if done == before:
            break
    return done


class E1000Driver:
    """The card, its memory, and the driver."""

    model = "e1000"

    def __init__(self) -> None:
        self.nic = E1000()
        self.ram = np.zeros(RAM, np.uint8)
        self.nic.port.master = 1
        states = self.nic.records if PLAIN else self.nic.records.view(np.uint8)
        rings = self.nic.tx.array, self.nic.rx.array
        self._call: tuple[Any, ...] = (address_of(E1000.serve), states, self.nic.ports, self.ram, *rings)
        for i in range(RING):
            cells = self.ram[RX_RING + 16 * i :].view(np.int64)
            cells[0], cells[1] = RX_BUFFERS + SLOT * i, 0
        for name, value in {
            "TDBAL": TX_RING, "TDLEN": 16 * RING, "TCTL": 2, "RDBAL": RX_RING, "RDLEN": 16 * RING,
            "RXCSUM": 0x300, "RCTL": 0x8002, "RDT": RING - 1, "IMS": 0x9D,
        }.items():  # fmt: skip
            self.nic.write(OFFSETS[name], value, ram=self.ram)

    def put(self, data: bytes, slots: bool = True) -> None:
        """Put what is sent into memory: one frame in every buffer, or one packet over all."""
        for i in range(RING if slots else 1):
            start = TX_BUFFERS + SLOT * i
            self.ram[start : start + len(data)] = np.frombuffer(data, np.uint8)

    def _at(self, name: str) -> int:
        return self.nic.read(OFFSETS[name])

    def sends(self, frames: int, size: int, batch: int) -> int:
        return e1000_sends(*self._call, self._at("TDT"), frames, size, batch)

    def segments(self, packets: int, size: int, header: int, mss: int) -> int:
        return e1000_segments(*self._call, self._at("TDT"), packets, size, header, mss)

    def receives(self) -> int:
        return e1000_receives(*self._call, self._at("RDT") + 1 & (RING - 1))
