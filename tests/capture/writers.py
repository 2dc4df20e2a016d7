"""Capture files as other programs write them, by hand with ``struct``: either byte order, options of every kind."""

import struct


class Writer:
    """pcapng in one byte order."""

    def __init__(self, order: str = "<"):
        self.order = order

    def block(self, kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = len(body) + 12
        return struct.pack(self.order + "II", kind, size) + body + struct.pack(self.order + "I", size)

    def options(self, *options: tuple[int, bytes]) -> bytes:
        if not options:
            return b""
        raw = b"".join(
            struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in options
        )
        return raw + bytes(4)

    def u32(self, value: int) -> bytes:
        return struct.pack(self.order + "I", value)

    def u64(self, value: int) -> bytes:
        return struct.pack(self.order + "Q", value)

    def section(self, *options: tuple[int, bytes]) -> bytes:
        return self.block(0x0A0D0D0A, struct.pack(self.order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + self.options(*options))

    def interface(self, link: int = 1, snap: int = 0, *options: tuple[int, bytes]) -> bytes:
        return self.block(1, struct.pack(self.order + "HHI", link, 0, snap) + self.options(*options))

    def packet(
        self, frame: bytes, ticks: int = 0, interface: int = 0, size: int = 0, *options: tuple[int, bytes]
    ) -> bytes:
        """An enhanced packet block."""
        head = struct.pack(
            self.order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), size or len(frame)
        )
        return self.block(6, head + frame + bytes(-len(frame) % 4) + self.options(*options))

    def simple(self, frame: bytes, size: int = 0) -> bytes:
        return self.block(3, self.u32(size or len(frame)) + frame)

    def obsolete(self, frame: bytes, ticks: int, interface: int = 0, *options: tuple[int, bytes]) -> bytes:
        head = struct.pack(self.order + "HHIIII", interface, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
        return self.block(2, head + frame + bytes(-len(frame) % 4) + self.options(*options))


def pcap(frames, order="<", magic=0xA1B2C3D4, network=1, snap=65535) -> bytes:
    """A classic pcap file; ``magic`` says which kind."""
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, network)
    for i, frame in enumerate(frames):
        out += struct.pack(order + "IIII", 1_600_000_000, i, len(frame), len(frame))
        out += (struct.pack(order + "IHBB", 3, 0x800, 0, 0) if magic == 0xA1B2CD34 else b"") + frame
    return out


def walk(data: bytes, order: str = "<") -> list[tuple[int, bytes]]:
    """Type and body of each block of one section."""
    out, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        assert size % 4 == 0 and struct.unpack_from(order + "I", data, at + size - 4)[0] == size
        out.append((kind, data[at + 8 : at + size - 4]))
        at += size
    return out


def options_of(body: bytes, at: int, order: str = "<") -> list[tuple[int, bytes]]:
    """The options that begin at ``at`` of a block's body."""
    out = []
    while at + 4 <= len(body):
        code, size = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            break
        out.append((code, body[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return out
