"""A driver for tests: it knows the data sheet and the card only by its registers and its memory."""

from __future__ import annotations

import struct

import numpy as np

from aero_lab.nic.e1000 import E1000
from aero_lab.nic.e1000.names import OFFSETS

TX_RING, RX_RING, TX_BUFFERS, RX_BUFFERS = 0x10000, 0x20000, 0x40000, 0x80000
RAM = 1 << 20
SLOT = 2048
MAC = bytes.fromhex("525400123456")
PEER = bytes.fromhex("525400aabbcc")
BROADCAST = b"\xff" * 6

EOP, IFCS, IC, TSE, RS, RPS, DEXT, VLE, IDE = 1, 2, 4, 4, 8, 0x10, 0x20, 0x40, 0x80


def frame(size: int = 100, dst: bytes = MAC, src: bytes = PEER, kind: int = 0x88B5, seed: int = 0) -> bytes:
    """A frame of ``size`` bytes that nobody confuses with another seed's."""
    body = bytes((seed * 17 + i * 7 + (i >> 8)) & 0xFF for i in range(size))
    return (dst + src + kind.to_bytes(2, "big") + body)[:size]


class Rig:
    """A card, a memory, and a driver for them."""

    def __init__(self, ram: int = RAM, **more):
        self.nic = E1000(MAC, **more)
        self.ram = np.zeros(ram, np.uint8)
        self.nic.port.master = 1
        self.now = 0
        self.tx_size = self.rx_size = 0

    # Registers
    def read(self, name: str | int, size: int = 4) -> int:
        return self.nic.read(OFFSETS[name] if isinstance(name, str) else name, size, now=self.now)

    def write(self, name: str | int, value: int, size: int = 4) -> None:
        self.nic.write(
            OFFSETS[name] if isinstance(name, str) else name, value, size, now=self.now, ram=self.ram
        )  # fmt: skip

    def poll(self, now: int | None = None) -> None:
        if now is not None:
            self.now = now
        self.nic.poll(self.now, self.ram)

    def cause(self) -> int:
        """What ICR says; reading clears it."""
        return self.read("ICR")

    @property
    def pin(self) -> int:
        return int(self.nic.port.intx)

    @property
    def due(self) -> int:
        return int(self.nic.port.due)

    # Memory
    def put(self, address: int, data: bytes) -> None:
        self.ram[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def get(self, address: int, size: int) -> bytes:
        return bytes(self.ram[address : address + size])

    # Sending
    def tx_ring(self, size: int = 16) -> None:
        """Set a ring of ``size`` descriptors up, and switch the transmitter on."""
        self.tx_size = size
        self.write("TDBAL", TX_RING)
        self.write("TDLEN", 16 * size)
        self.write("TDH", 0)
        self.write("TDT", 0)
        self.write("TCTL", 2)

    def descriptor(self, index: int, data: bytes) -> None:
        self.put(TX_RING + 16 * index, data)

    def legacy(self, index, address, length, command=EOP | RS, cso=0, css=0, special=0) -> None:
        self.descriptor(index, struct.pack("<QHBBBBH", address, length, cso, command, 0, css, special))

    def data(self, index, address, length, command=EOP | RS, popts=0, special=0, kind=1) -> None:
        upper = length | kind << 20 | (command | DEXT) << 24
        self.descriptor(index, struct.pack("<QIBBH", address, upper, 0, popts, special))

    def context(
        self, index, ip=(0, 0, 0), tu=(0, 0, 0), payload=0, command=0, header=0, mss=0, kind=0
    ) -> None:  # fmt: skip
        upper = payload | kind << 20 | (command | DEXT) << 24
        raw = struct.pack("<BBHBBHIBBH", *ip, *tu, upper, 0, header, mss)
        self.descriptor(index, raw)

    def tx_done(self, index: int) -> int:
        return self.get(TX_RING + 16 * index + 12, 1)[0] & 1

    def send(self, data: bytes, command: int = EOP | RS, **more) -> None:
        """Send one frame by a legacy descriptor."""
        at = self.read("TDT")
        buffer = TX_BUFFERS + at * SLOT
        self.put(buffer, data)
        self.legacy(at, buffer, len(data), command, **more)
        self.write("TDT", (at + 1) % self.tx_size)

    def sent(self) -> list[bytes]:
        return [f.data for f in self.nic.tx.pop_many(1 << 20)]

    # Receiving
    def rx_ring(self, size: int = 16, control: int = 0x8002 | 1 << 26, given: int | None = None) -> None:
        """Set a ring up with all but one of its descriptors given, and switch the receiver on: broadcasts accepted,
        frame check sequence stripped."""
        self.rx_size = size
        for i in range(size):
            self.put(RX_RING + 16 * i, struct.pack("<QQ", RX_BUFFERS + i * SLOT, 0))
        self.write("RDBAL", RX_RING)
        self.write("RDLEN", 16 * size)
        self.write("RDH", 0)
        self.write("RCTL", control)
        self.write("RDT", size - 1 if given is None else given)

    def arrive(self, *frames: bytes) -> None:
        for data in frames:
            assert self.nic.rx.push(data)
        self.poll()

    def rx(self, index: int) -> tuple[int, int, int, int, int]:
        """Length, checksum, status, errors and special of a receive descriptor."""
        return struct.unpack("<HHBBH", self.get(RX_RING + 16 * index + 8, 8))

    def received(self, index: int) -> bytes:
        """The bytes of a frame of one buffer."""
        length, _, status, _, _ = self.rx(index)
        assert status & 3 == 3, status
        return self.get(RX_BUFFERS + index * SLOT, length)
