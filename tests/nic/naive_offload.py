"""Checksum insertion and segmentation as one would write them down from the RFCs, with no eye on speed."""

import struct


def ones_sum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def with_checksum(frame: bytes, start: int, end: int, at: int, is_udp: bool) -> bytes | None:
    """The frame with the checksum of ``start:end`` stored at ``at``; None where it cannot be."""
    if not 0 <= start <= end <= len(frame) or not 0 <= at <= len(frame) - 2:
        return None
    value = 0xFFFF - ones_sum(frame[start:end])
    if is_udp and value == 0:
        value = 0xFFFF
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]


def segments(packet: bytes, l3: int, l4: int, header: int, mss: int, v6: bool, is_udp: bool) -> list[bytes]:
    """All segments of a packet, each a frame; none when it cannot be done."""
    if mss < 1 or l3 < 0 or l4 - l3 < (40 if v6 else 20) or header - l4 < (8 if is_udp else 20) or header > len(packet):
        return []
    data = packet[header:]
    pieces = [data[i : i + mss] for i in range(0, len(data), mss)] or [b""]
    if len(pieces) > 256 or header + len(pieces[0]) > 1522:
        return []
    out = []
    for i, piece in enumerate(pieces):
        ip, transport = bytearray(packet[l3:l4]), bytearray(packet[l4:header])
        length = len(transport) + len(piece)
        if v6:
            ip[4:6] = struct.pack(">H", len(ip) - 40 + length)
            pseudo = bytes(ip[8:40])
        else:
            ip[2:4] = struct.pack(">H", len(ip) + length)
            ip[4:6] = struct.pack(">H", (int.from_bytes(ip[4:6], "big") + i) % 65536)
            ip[10:12] = b"\0\0"
            ip[10:12] = struct.pack(">H", 0xFFFF - ones_sum(bytes(ip)))
            pseudo = bytes(ip[12:20])
        pseudo += struct.pack(">II", length, 17 if is_udp else 6)
        if is_udp:
            transport[4:6] = struct.pack(">H", length)
            field = slice(6, 8)
        else:
            transport[4:8] = struct.pack(">I", (int.from_bytes(transport[4:8], "big") + i * mss) % 2**32)
            if i:
                transport[13] &= 0x7F  # CWR
            if i + 1 < len(pieces):
                transport[13] &= 0xF6  # FIN, PSH
            field = slice(16, 18)
        transport[field] = b"\0\0"
        value = 0xFFFF - ones_sum(pseudo + bytes(transport) + piece)
        transport[field] = struct.pack(">H", value or (0xFFFF if is_udp else 0))
        out.append(packet[:l3] + bytes(ip) + bytes(transport) + piece)
    return out


def sound(frame: bytes) -> bool:
    """Whether it holds a whole TCP or UDP packet with a checksum, and that is right."""
    kind, rest = frame[12:14], frame[14:]
    for _ in range(2):
        if kind in (b"\x81\0", b"\x88\xa8") and len(rest) >= 4:
            kind, rest = rest[2:4], rest[4:]
    if kind == b"\x08\0" and len(rest) >= 20 and rest[0] >> 4 == 4:
        header = 4 * (rest[0] & 15)
        total, _, fragment = struct.unpack(">HHH", rest[2:8])
        protocol, addresses = rest[9], rest[12:20]
        if header < 20 or fragment & 0x3FFF:
            return False
    elif kind == b"\x86\xdd" and len(rest) >= 40 and rest[0] >> 4 == 6:
        header, protocol, addresses = 40, rest[6], rest[8:40]
        total = 40 + int.from_bytes(rest[4:6], "big")
    else:
        return False
    if total > len(rest) or protocol not in (6, 17) or total - header < (20 if protocol == 6 else 8):
        return False
    segment = rest[header:total]
    if protocol == 17 and segment[6:8] == b"\0\0":
        return False
    return ones_sum(addresses + struct.pack(">II", len(segment), protocol) + segment) == 0xFFFF
