"""Slow, plain twins of the stack's kernels: written from the RFCs, with dicts and bytes; they share no code."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

M32 = 0xFFFFFFFF


def half_siphash(key: bytes, message: bytes) -> int:
    """HalfSipHash-2-4 with a 32-bit tag, for any message, after the published reference algorithm."""
    k0, k1 = int.from_bytes(key[:4], "little"), int.from_bytes(key[4:8], "little")
    v = [k0, k1, 0x6C796765 ^ k0, 0x74656462 ^ k1]

    def rotate(x: int, by: int) -> int:
        return ((x << by) | (x >> (32 - by))) & M32

    def sip_round() -> None:
        v[0] = (v[0] + v[1]) & M32
        v[1] = rotate(v[1], 5) ^ v[0]
        v[0] = rotate(v[0], 16)
        v[2] = (v[2] + v[3]) & M32
        v[3] = rotate(v[3], 8) ^ v[2]
        v[0] = (v[0] + v[3]) & M32
        v[3] = rotate(v[3], 7) ^ v[0]
        v[2] = (v[2] + v[1]) & M32
        v[1] = rotate(v[1], 13) ^ v[2]
        v[2] = rotate(v[2], 16)

    whole = len(message) // 4 * 4
    blocks = [message[i : i + 4] for i in range(0, whole, 4)]
    blocks.append(message[whole:].ljust(3, b"\0") + bytes([len(message) & 0xFF]))
    for block in blocks:
        word = int.from_bytes(block, "little")
        v[3] ^= word
        sip_round()
        sip_round()
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        sip_round()
    return v[1] ^ v[3]


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def chain_complete(kind: int, data: bytes) -> bool:
    """Whether an IPv6 header chain holds its upper-layer header, and no fragment header (RFC 7112)."""
    for _ in range(8):
        if kind in (0, 43, 60):
            if len(data) < 8:
                return False
            size = 8 + 8 * data[1]
            if size > len(data):
                return False
            kind, data = data[0], data[size:]
            continue
        return kind != 44 and len(data) >= {6: 20, 17: 8, 58: 8}.get(kind, 0)
    return False


@dataclass
class Datagram:
    born: int
    source: bytes
    pieces: dict[tuple[int, int], tuple[bytes, bool]] = field(default_factory=dict)
    """``(start, end) -> (bytes, more fragments follow)``"""
    first: bytes = b""
    """The first fragment's packet as it came."""
    ecn: set[int] = field(default_factory=set)
    refused: bool = False


class Reassembly:
    """Reassembly with sets and dicts. ``take`` gives a whole packet, None when held, or the reason word of a drop."""

    def __init__(self, slots: int, per_source: int, fragments: int, timeout: int, header: int):
        self.slots, self.per_source, self.fragments, self.timeout = slots, per_source, fragments, timeout
        self.header = header
        self.table: dict[tuple, Datagram] = {}
        self.drops: dict[str, int] = {}

    def _drop(self, reason: str) -> str:
        self.drops[reason] = self.drops.get(reason, 0) + 1
        return reason

    def expire(self, now: int) -> tuple[int, list[bytes]]:
        """How many datagrams were forgotten, and the first fragments to be quoted."""
        over = [k for k, d in self.table.items() if d.born + self.timeout <= now]
        quotes = []
        for key in over:
            datagram = self.table.pop(key)
            if not datagram.refused:
                self._drop("fragment-timeout")
                if datagram.first:
                    quotes.append(datagram.first)
        return len(over), quotes

    def take(self, packet: bytes, now: int) -> bytes | str | None:
        """Take one fragment, a whole IP packet."""
        if len(packet) < 20:
            return self._drop("fragment-malformed")
        if packet[0] >> 4 == 4:
            return self._take_v4(packet, now)
        return self._take_v6(packet, now)

    def _take_v4(self, packet: bytes, now: int) -> bytes | str | None:
        header = (packet[0] & 15) * 4
        word = int.from_bytes(packet[6:8], "big")
        more, start, data = bool(word & 0x2000), (word & 0x1FFF) * 8, packet[header:]
        if header < 20 or header > len(packet) or (not more and start == 0):
            return self._drop("fragment-malformed")
        if not data:
            return self._drop("fragment-empty")
        if more and len(data) % 8:
            return self._drop("fragment-unaligned")
        if header + start + len(data) > 65535:
            return self._drop("fragment-too-long")
        key = (4, packet[12:16], packet[16:20], packet[9], packet[4:6])
        datagram = self._find(key, now)
        outcome = self._insert(datagram, packet, start, data, more, packet[1] & 3)
        if outcome is not True:
            return outcome
        whole = bytearray(datagram.first[: (datagram.first[0] & 15) * 4])
        header = len(whole)
        whole += b"".join(datagram.pieces[k][0] for k in sorted(datagram.pieces))
        if len(whole) > 65535:
            datagram.refused = True
            return self._drop("fragment-too-long")
        del self.table[key]
        whole[2:4] = len(whole).to_bytes(2, "big")
        whole[6:8] = (int.from_bytes(whole[6:8], "big") & 0xC000).to_bytes(2, "big")
        if 3 in datagram.ecn:
            whole[1] |= 3
        whole[10:12] = b"\0\0"
        whole[10:12] = checksum(bytes(whole[:header])).to_bytes(2, "big")
        return bytes(whole)

    def _take_v6(self, packet: bytes, now: int) -> bytes | str | None:
        if len(packet) < 48:
            return self._drop("fragment-malformed")
        kind, at = packet[6], 40
        while kind in (0, 43, 60):
            if at + 16 > len(packet):
                return self._drop("fragment-malformed")
            kind, at = packet[at], at + 8 + 8 * packet[at + 1]
        if kind != 44 or at + 8 > len(packet):
            return self._drop("fragment-malformed")
        if at + 8 > self.header:
            return self._drop("fragment-header-long")
        word = int.from_bytes(packet[at + 2 : at + 4], "big")
        more, start, data = bool(word & 1), word & 0xFFF8, packet[at + 8 :]
        if not data:
            return self._drop("fragment-empty")
        if more and len(data) % 8:
            return self._drop("fragment-unaligned")
        if at - 40 + start + len(data) > 65535:
            return self._drop("fragment-too-long")
        if start == 0 and not chain_complete(packet[at], data):
            return self._drop("fragment-header-chain")
        if start == 0 and not more:
            return self._finish_v6(packet, data, {})
        key = (6, packet[8:24], packet[24:40], packet[at + 4 : at + 8])
        datagram = self._find(key, now)
        traffic_class = (packet[0] << 4 | packet[1] >> 4) & 0xFF
        outcome = self._insert(datagram, packet, start, data, more, traffic_class & 3)
        if outcome is not True:
            return outcome
        payload = b"".join(datagram.pieces[k][0] for k in sorted(datagram.pieces))
        whole = self._finish_v6(datagram.first, payload, datagram.ecn)
        if len(whole) > 65535 + 40:
            datagram.refused = True
            return self._drop("fragment-too-long")
        del self.table[key]
        return whole

    @staticmethod
    def _finish_v6(first: bytes, payload: bytes, ecn: object) -> bytes:
        kind, at, patch = first[6], 40, 6
        while kind != 44:
            kind, at, patch = first[at], at + 8 + 8 * first[at + 1], at
        whole = bytearray(first[:at])
        whole[patch] = first[at]
        whole[4:6] = ((at - 40 + len(payload)) & 0xFFFF).to_bytes(2, "big")
        if 3 in ecn:  # type: ignore[operator]
            whole[1] |= 0x30
        return bytes(whole) + payload

    def _find(self, key: tuple, now: int) -> Datagram:
        held = self.table.get(key)
        if held is not None:
            if held.born + self.timeout > now:
                return held
            del self.table[key]
            if not held.refused:
                self._drop("fragment-timeout")
        source = key[1]
        own = [k for k, d in self.table.items() if d.source == source]
        if len(own) >= self.per_source:
            self._drop("fragment-source-limit")
            del self.table[own[0]]
        elif len(self.table) >= self.slots:
            self._drop("fragment-evicted")
            del self.table[next(iter(self.table))]
        self.table[key] = Datagram(now, source)
        return self.table[key]

    def _insert(
        self, datagram: Datagram, packet: bytes, start: int, data: bytes, more: bool, ecn: int
    ) -> bool | str | None:
        """True when the payload is complete."""
        end = start + len(data)

        def refuse(reason: str) -> str:
            datagram.refused = True
            return self._drop(reason)

        if datagram.refused:
            return self._drop("fragment-refused")
        same = datagram.pieces.get((start, end))
        if same is not None:
            if same[1] != more:
                return refuse("fragment-end-conflict")
            return self._drop("fragment-duplicate") if same[0] == data else refuse("fragment-overlap")
        if any(start < e and s < end for s, e in datagram.pieces):
            return refuse("fragment-overlap")
        total = next((e for (_, e), (_, m) in datagram.pieces.items() if not m), None)
        if total is not None and (not more or end > total):
            return refuse("fragment-end-conflict")
        if not more and any(e > end for _, e in datagram.pieces):
            return refuse("fragment-end-conflict")
        if len(datagram.pieces) >= self.fragments:
            return refuse("fragment-too-many")
        datagram.ecn.add(ecn)
        if 0 in datagram.ecn and len(datagram.ecn) > 1:
            return refuse("fragment-ecn")
        datagram.pieces[start, end] = (data, more)
        if start == 0:
            datagram.first = packet
        # Whole when the pieces, in order, touch each other from 0 to the end.
        reach = 0
        for s, e in sorted(datagram.pieces):
            if s != reach:
                return None
            reach = e
        return True if any(not m for _, m in datagram.pieces.values()) else None
