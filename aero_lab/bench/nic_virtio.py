"""A driver for virtio-net that does nothing but keep it busy, compiled: what a guest's costs, without the guest.

It does for each frame what Linux's does: writes a descriptor and an entry of the available ring, notifies once a batch,
reads the ISR, and takes every element of the used ring. A packet's header lies in front of it, in one piece with it, as
Linux lays it out where it can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiled.memory import put_i64_native
from ..compiled.registry import BYTES, I64, PLAIN, VOID, entry, kernel
from ..machine.call import address_of, call_serve
from ..nic.dma import put_u16_le, put_u32_le, u16_le, u32_le
from ..nic.port import POLL, PORTS, READ, WRITE
from ..nic.virtio_net import VirtioNet
from ..nic.virtio_net.registers import ISR, NOTIFY
from ..nic.virtqueue import NEXT
from ..nic.virtqueue import WRITE as DEVICE_WRITES
from ..rings.frame_ring import count, release

RING, SLOT = 256, 2048
DESC, AVAIL, USED = 0x0000, 0x1000, 0x2000
TX_QUEUE, RX_QUEUE, TX_BUFFERS, RX_BUFFERS = 0x10000, 0x20000, 0x100000, 0x200000
RAM = 4 << 20
LONG_HEADER = 12
TSO_PIECE = 16384
"""Bytes of a packet to be segmented that lie behind each descriptor but the first."""
FEATURES = 1 << 32 | 1 << 29 | 1 << 28 | 1 << 15 | 1 << 11 | 1 << 1 | 1


@kernel(VOID(BYTES, I64, I64, I64, I64, I64))
def put_descriptor(ram, queue, i, address, length, flags):
    """One descriptor, linked to the one behind it."""
    at = queue + DESC + 16 * i
    put_i64_native(ram, at, address)
    put_i64_native(ram, at + 8, length | flags << 32 | (i + 1 & (RING - 1)) << 48)


@kernel(VOID(BYTES, I64, I64, I64))
def put_available(ram, queue, index, head):
    """Entry ``index`` of the available ring."""
    put_u16_le(ram, queue + AVAIL + 4 + 2 * (index & (RING - 1)), head)


@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES, I64, I64, I64))
def notify(serve, states, ports, ram, T, R, queue, number, index):
    """Show the driver's index, have the device work, and look at what it used: how many elements."""
    put_u16_le(ram, queue + AVAIL + 2, index)
    call_serve(serve, states, ports, ram, T, R, WRITE, 0, NOTIFY + 4 * number, 2, number, 0)
    call_serve(serve, states, ports, ram, T, R, READ, 0, ISR, 1, 0, 0)
    ports[0].dirty_count = 0
    return u16_le(ram, queue + USED + 2)


@entry
@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES, I64, I64, I64))
def virtio_sends(serve, states, ports, ram, T, R, frames, size, batch):
    """Send ``frames`` frames of ``size`` bytes, ``batch`` for each notification; how many came back."""
    done = 0
    index = u16_le(ram, TX_QUEUE + AVAIL + 2)
    seen = index
    while frames > 0:
        number = min(frames, batch)
        for _ in range(number):
            at = index & (RING - 1)
            put_descriptor(ram, TX_QUEUE, at, TX_BUFFERS + SLOT * at, LONG_HEADER + size, 0)
            put_available(ram, TX_QUEUE, index, at)
            index = index + 1 & 0xFFFF
        used = notify(serve, states, ports, ram, T, R, TX_QUEUE, 1, index)
        while seen != used:
            if u32_le(ram, TX_QUEUE + USED + 4 + 8 * (seen & (RING - 1))) == seen & (RING - 1):
                done += 1
            seen = seen + 1 & 0xFFFF
        release(T, count(T))
        frames -= number
    return done


@entry
@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES, I64, I64, I64, I64))
def virtio_segments(serve, states, ports, ram, T, R, packets, size, header, mss):
    """Send packets of ``size`` bytes, to be cut behind the first ``header`` after every ``mss``; how many segments came
    out."""
    sent = 0
    put_i64_native(ram, TX_BUFFERS, 1 | 1 << 8 | header << 16 | mss << 32 | 34 << 48)
    put_u32_le(ram, TX_BUFFERS + 8, 16)
    index = u16_le(ram, TX_QUEUE + AVAIL + 2)
    for _ in range(packets):
        i = 0
        offset = -LONG_HEADER
        while offset < size:
            end = header if offset < 0 else min(size, offset + TSO_PIECE)
            flags = NEXT if end < size else 0
            put_descriptor(ram, TX_QUEUE, i, TX_BUFFERS + LONG_HEADER + offset, end - offset, flags)
            offset = end
            i += 1
        put_available(ram, TX_QUEUE, index, 0)
        index = index + 1 & 0xFFFF
        notify(serve, states, ports, ram, T, R, TX_QUEUE, 1, index)
        sent += count(T)
        release(T, count(T))
    return sent


@entry
@kernel(I64(I64, BYTES, PORTS, BYTES, BYTES, BYTES))
def virtio_receives(serve, states, ports, ram, T, R):
    """Take what waits in ``R`` into buffers, and give them back; how many frames."""
    done = 0
    index = u16_le(ram, RX_QUEUE + AVAIL + 2)
    seen = u16_le(ram, RX_QUEUE + USED + 2)
    for _ in range(count(R) + 1):
        call_serve(serve, states, ports, ram, T, R, POLL, 0, 0, 0, 0, 0)
        used = u16_le(ram, RX_QUEUE + USED + 2)
        if used == seen:
            break
        while seen != used:
            put_available(ram, RX_QUEUE, index, u32_le(ram, RX_QUEUE + USED + 4 + 8 * (seen & (RING - 1))))
            index = index + 1 & 0xFFFF
            seen = seen + 1 & 0xFFFF
            done += 1
        notify(serve, states, ports, ram, T, R, RX_QUEUE, 0, index)
    return done


class VirtioDriver:
    """The card, its memory, and the driver."""

    model = "virtio-net"

    def __init__(self) -> None:
        self.nic = VirtioNet()
        self.ram = np.zeros(RAM, np.uint8)
        self.nic.port.master = 1
        states = self.nic.records if PLAIN else self.nic.records.view(np.uint8)
        rings = self.nic.tx.array, self.nic.rx.array
        self._call: tuple[Any, ...] = (address_of(VirtioNet.serve), states, self.nic.ports, self.ram, *rings)
        for at, value, size in (
            (0x14, 0, 1), (0x14, 3, 1), (0x08, 0, 4), (0x0C, FEATURES & 0xFFFFFFFF, 4), (0x08, 1, 4),
            (0x0C, FEATURES >> 32, 4), (0x14, 0x0B, 1),
        ):  # fmt: skip
            self.nic.write(at, value, size, ram=self.ram)
        for number, queue in ((0, RX_QUEUE), (1, TX_QUEUE)):
            self.nic.write(0x16, number, 2)
            for at, part in ((0x20, DESC), (0x28, AVAIL), (0x30, USED)):
                self.nic.write(at, queue + part)
            self.nic.write(0x1C, 1, 2)
        for i in range(RING):
            descriptor = self.ram[RX_QUEUE + DESC + 16 * i :].view(np.int64)
            descriptor[0], descriptor[1] = RX_BUFFERS + SLOT * i, SLOT | DEVICE_WRITES << 32
            self.ram[RX_QUEUE + AVAIL + 4 + 2 * i] = i
        self.ram[RX_QUEUE + AVAIL + 3] = RING >> 8
        self.nic.write(0x14, 0x0F, 1, ram=self.ram)
        self.nic.write(NOTIFY, 0, 2, ram=self.ram)

    def put(self, data: bytes, slots: bool = True) -> None:
        """Put what is sent into memory: one frame in every buffer, or one packet over all."""
        for i in range(RING if slots else 1):
            start = TX_BUFFERS + SLOT * i
            self.ram[start : start + LONG_HEADER] = 0
            self.ram[start + LONG_HEADER : start + LONG_HEADER + len(data)] = np.frombuffer(data, np.uint8)

    def sends(self, frames: int, size: int, batch: int) -> int:
        return virtio_sends(*self._call, frames, size, batch)

    def segments(self, packets: int, size: int, header: int, mss: int) -> int:
        return virtio_segments(*self._call, packets, size, header, mss)

    def receives(self) -> int:
        return virtio_receives(*self._call)
