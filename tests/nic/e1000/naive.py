"""A slow, plain 82540EM, written from the data sheet: rings, filters, offloads, timers, causes. Registers are a dict,
memory is bytes, frames are ``bytes``; nothing of the fast one is used but its frame rings."""

from __future__ import annotations

import struct

from aero_lab.rings import FrameRing

NEVER = (1 << 62) - 1
AUTONEG = 1_000_000
SUMS = {"GORCL": "GORCH", "GOTCL": "GOTCH", "TORL": "TORH", "TOTL": "TOTH"}
HIGH = {high: low for low, high in SUMS.items()}
STATISTICS = set(
    """MPC ROC RUC RNBC PRC64 PRC127 PRC255 PRC511 PRC1023 PRC1522 GPRC BPRC MPRC GPTC TPR TPT PTC64 PTC127 PTC255
    PTC511 PTC1023 PTC1522 MPTC BPTC TSCTC TSCTFC""".split()
) | set(SUMS)  # fmt: skip
MASKS = {
    "RCTL": 0x06DFB3FE, "VET": 0xFFFF, "ITR": 0xFFFF, "RDBAL": ~15, "TDBAL": ~15, "RDLEN": 0xFFF80, "TDLEN": 0xFFF80,
    "RDH": 0xFFFF, "RDT": 0xFFFF, "TDH": 0xFFFF, "TDT": 0xFFFF, "RDTR": 0xFFFF, "RADV": 0xFFFF, "TIDV": 0xFFFF,
    "TADV": 0xFFFF, "RSRPD": 0xFFF, "RXCSUM": 0x7FF,
}  # fmt: skip
CAUSES = 0x1F6DF
TURNS = 4096
"""Descriptors taken at a time."""


def ones(data: bytes) -> int:
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class NaiveCard:
    def __init__(self, mac: bytes, ram: bytes, tx: FrameRing, rx: FrameRing):
        self.mac, self.ram, self.tx, self.rx = mac, bytearray(ram), tx, rx
        self.cable, self.link_down_until, self.refused = True, None, 0
        self.now = 0
        self.reset()

    def reset(self) -> None:
        self.r: dict[str, int] = {"CTRL": 0x140241, "VET": 0x8100}
        self.mta, self.vfta = [0] * 128, [0] * 128
        self.ra: list[tuple[bytes, int]] = [(self.mac, 1 << 31)] + [(bytes(6), 0)] * 15
        self.icr = self.ims = 0
        self.pin = False
        self.timer: dict[str, int | None] = dict.fromkeys(("rdtr", "radv", "tidv", "tadv"))
        self.quiet_until = 0
        self.pending: bytes | None = None  # an unfinished packet's bytes
        self.first: tuple[bool, bool, int] = (False, False, 0)
        self.skip = False
        self.segments_gone = 0
        self.context: dict[str, int] = dict.fromkeys("ipcss ipcso ipcse tucss tucso tucse command".split(), 0)
        self.tso: dict[str, int] = dict.fromkeys("ipcss tucss header mss command".split(), 0)
        self.up = self.has_link()
        self.rnbc_seen = getattr(self, "rnbc_seen", 0)
        self.waits = False

    def get(self, name: str) -> int:
        return self.r.get(name, 0)

    # Memory: ones beyond its end
    def load(self, address: int, size: int) -> bytes:
        there = bytes(self.ram[address : address + size]) if address < len(self.ram) else b""
        return there.ljust(size, b"\xff")

    def save(self, address: int, data: bytes) -> None:
        room = max(len(self.ram) - address, 0)
        self.ram[address : address + min(len(data), room)] = data[:room]

    # Interrupts
    def settle(self, now: int) -> None:
        if self.icr & self.ims == 0:
            self.pin = False
        elif not self.pin and now >= self.quiet_until:
            self.pin = True
            self.quiet_until = now + 256 * self.get("ITR")

    @property
    def due(self) -> int:
        times = [t for t in self.timer.values() if t is not None]
        if self.link_down_until is not None:
            times.append(self.link_down_until)
        if self.icr & self.ims and not self.pin:
            times.append(self.quiet_until)
        return min(times, default=NEVER)

    def delay(self, first: str, second: str, wait: int, most: int, now: int) -> None:
        self.timer[first] = now + 1024 * wait
        if most and self.timer[second] is None:
            self.timer[second] = now + 1024 * most

    # Link
    def has_link(self) -> bool:
        return self.cable and self.link_down_until is None and bool(self.get("CTRL") & 0x40)

    def look_at_link(self) -> None:
        if self.has_link() != self.up:
            self.up = not self.up
            self.icr |= 4

    def plug(self, up: bool, now: int) -> None:
        if up and not self.cable:
            self.link_down_until = now + AUTONEG
        self.cable, self.waits = up, False
        self.look_at_link()
        self.settle(now)

    # Registers
    def read(self, name: str, now: int) -> int:
        if name == "ICR":
            value, self.icr = self.icr, 0
            self.settle(now)
            return value
        if name == "IMS":
            return self.ims
        if name == "STATUS":
            return 0x83 if self.up else 0x81
        if name in HIGH:
            return self.r.pop(HIGH[name], 0) >> 32
        if name in SUMS:
            return self.get(name) & 0xFFFFFFFF
        if name in STATISTICS:
            return self.r.pop(name, 0)
        return self.get(name)

    def write(self, name: str, value: int, now: int) -> None:
        self.waits, self.now = False, now
        if name == "ICR":
            self.icr &= ~value
        elif name == "ICS":
            self.icr |= value & CAUSES
        elif name == "IMS":
            self.ims |= value & CAUSES
        elif name == "IMC":
            self.ims &= ~value
        elif name == "CTRL":
            if value & 1 << 26:
                self.reset()
                return
            self.r["CTRL"] = value
            self.look_at_link()
        elif name.startswith("MTA"):
            self.mta[int(name[3:])] = value
        elif name.startswith("VFTA"):
            self.vfta[int(name[4:])] = value
        else:
            self.r[name] = value & MASKS.get(name, 0xFFFFFFFF) & 0xFFFFFFFF
        if name in ("TDH", "TDLEN", "TDBAL", "TDBAH"):
            self.forget()
        if name == "RDTR" and value >> 31 and (self.timer["rdtr"], self.timer["radv"]) != (None, None):
            self.timer["rdtr"] = self.timer["radv"] = None
            self.icr |= 0x80
        if name in ("TDT", "TCTL"):
            self.transmit(now)
        if name in ("RDT", "RCTL", "RDH"):
            self.receive(now)
        self.settle(now)

    def poll(self, now: int) -> None:
        self.now = now
        if self.link_down_until is not None and self.link_down_until <= now:
            self.link_down_until, self.waits = None, False
            self.look_at_link()
        for pair, bit in ((("rdtr", "radv"), 0x80), (("tidv", "tadv"), 1)):
            if any((self.timer[t] or NEVER) <= now for t in pair if self.timer[t] is not None):
                self.icr |= bit
                for t in pair:
                    self.timer[t] = None
        self.transmit(now)
        if not self.waits:
            self.receive(now)
        self.settle(now)

    # Sending
    def forget(self) -> None:
        self.pending, self.skip, self.segments_gone = None, False, 0

    def base(self, which: str) -> int:
        return self.get(which + "BAH") << 32 | self.get(which + "BAL")

    def transmit(self, now: int) -> None:
        n, base, tail = self.get("TDLEN") // 16, self.base("TD"), self.get("TDT")
        if self.get("TDH") == tail or not self.get("TCTL") & 2:
            return
        if self.get("TDH") >= n or tail >= n:
            return
        left = TURNS
        while self.get("TDH") != tail and left:
            packet, taken, at, ended, special = b"", [], self.get("TDH"), False, (0, 0, 0)
            while at != tail and not ended and len(taken) < left:
                address, low, high = struct.unpack("<QII", self.load(base + 16 * at, 16))
                command, dtyp = low >> 24, low >> 20 & 15
                taken.append((at, command))
                at = (at + 1) % n
                if command & 0x20 and (dtyp > 3 or dtyp % 2 == 0):
                    if dtyp <= 3:
                        self.load_context(struct.unpack("<16B", self.load(base + 16 * taken[-1][0], 16)))
                    if self.pending is None and not packet and len(taken) == 1:
                        break
                    continue
                extended = bool(command & 0x20)
                length = low & 0xFFFFF if extended else low & 0xFFFF
                if self.pending is None:
                    self.pending = b""
                    self.first = extended, extended and bool(command & 4), high >> 8 & 0xFF
                packet += self.load(address, length)
                ended = bool(command & 1)
                special = (command, low, high)
            else:
                assert self.pending is not None
                if ended:
                    if not self.skip and len(self.pending) + len(packet) > 256 << 10:
                        self.skip = True
                    if not self.skip and not self.send(self.pending + packet, special):
                        if self.pending == b"":
                            self.pending = None
                        return
                    self.forget()
                else:
                    if not self.skip and len(self.pending) + len(packet) > 256 << 10:
                        self.skip = True
                    elif not self.skip:
                        self.pending += packet
            for index, command in taken:
                status = self.load(base + 16 * index + 12, 1)[0]
                self.save(base + 16 * index + 12, bytes([status | 1]))
                if command & 8:
                    if command & 0x80 and self.get("TIDV"):
                        self.delay("tidv", "tadv", self.get("TIDV"), self.get("TADV"), now)
                    else:
                        self.icr |= 1
                        self.timer["tidv"] = self.timer["tadv"] = None
            self.r["TDH"] = at
            left -= len(taken)
        if self.get("TDH") == tail:
            self.icr |= 2

    def load_context(self, raw: tuple[int, ...]) -> None:
        names = ("ipcss", "ipcso", "ipcse", "tucss", "tucso", "tucse")
        values = (raw[0], raw[1], raw[2] | raw[3] << 8, raw[4], raw[5], raw[6] | raw[7] << 8)
        if raw[11] & 4:
            self.tso = {
                "ipcss": raw[0], "tucss": raw[4], "header": raw[13], "mss": raw[14] | raw[15] << 8, "command": raw[11],
            }  # fmt: skip
        else:
            self.context = dict(zip(names, values, strict=True)) | {"command": raw[11]}

    def send(self, data: bytes, last: tuple[int, int, int]) -> bool:
        """False when there is no room for it."""
        command, low, high = last
        if not data or not self.up:
            return True
        tag = None
        if command & 0x40 and self.get("CTRL") & 1 << 30:
            tag = struct.pack(">HH", self.get("VET"), high >> 16)
        extended, tse, popts = self.first
        if tse:
            frames = self.cut(data)
            if frames is None:
                self.bump("TSCTFC")
                return True
            for frame in frames[self.segments_gone :]:
                if not self.give(frame, tag):
                    return False
                self.segments_gone += 1
            self.bump("TSCTC")
            return True
        if len(data) < 14 or len(data) + (4 if tag else 0) > 16288:
            return True
        if not extended:
            if command & 4:
                data = self.insert(data, high >> 8 & 0xFF, len(data), low >> 16 & 0xFF, False)
        else:
            for bit, kind in ((1, "ip"), (2, "tu")):
                if popts & bit:
                    end = self.context[kind + "cse"]
                    udp = kind == "tu" and not self.context["command"] & 1
                    end = min(end + 1, len(data)) if end else len(data)
                    data = self.insert(data, self.context[kind + "css"], end, self.context[kind + "cso"], udp)
        return self.give(data, tag)

    @staticmethod
    def insert(data: bytes, start: int, end: int, at: int, udp: bool) -> bytes:
        if start > end or end > len(data) or at + 2 > len(data):
            return data
        value = ones(data[start:end]) ^ 0xFFFF
        if udp and value == 0:
            value = 0xFFFF
        return data[:at] + value.to_bytes(2, "big") + data[at + 2 :]

    def cut(self, data: bytes) -> list[bytes] | None:
        """The segments of a packet, or None."""
        l3, l4, header, mss = self.tso["ipcss"], self.tso["tucss"], self.tso["header"], self.tso["mss"]
        v4, tcp = bool(self.tso["command"] & 2), bool(self.tso["command"] & 1)
        if mss == 0 or l4 < l3 + (20 if v4 else 40) or header < l4 + (20 if tcp else 8) or header > len(data):
            return None
        parts = [data[i : i + mss] for i in range(header, len(data), mss)] or [b""]
        if len(parts) > 256 or header + len(parts[0]) > 16288:
            return None
        out = []
        for i, part in enumerate(parts):
            f = bytearray(data[:header] + part)
            if v4:
                f[l3 + 2 : l3 + 4] = (len(f) - l3).to_bytes(2, "big")
                ident = (int.from_bytes(f[l3 + 4 : l3 + 6], "big") + i) & 0xFFFF
                f[l3 + 4 : l3 + 6] = ident.to_bytes(2, "big")
                f[l3 + 10 : l3 + 12] = b"\0\0"
                f[l3 + 10 : l3 + 12] = (ones(bytes(f[l3:l4])) ^ 0xFFFF).to_bytes(2, "big")
                addresses = bytes(f[l3 + 12 : l3 + 20])
            else:
                f[l3 + 4 : l3 + 6] = (len(f) - l3 - 40 & 0xFFFF).to_bytes(2, "big")
                addresses = bytes(f[l3 + 8 : l3 + 40])
            at = l4 + (16 if tcp else 6)
            if tcp:
                seq = int.from_bytes(f[l4 + 4 : l4 + 8], "big") + i * mss & 0xFFFFFFFF
                f[l4 + 4 : l4 + 8] = seq.to_bytes(4, "big")
                if i:
                    f[l4 + 13] &= ~0x80 & 0xFF
                if i < len(parts) - 1:
                    f[l4 + 13] &= ~0x09 & 0xFF
            else:
                f[l4 + 4 : l4 + 6] = (len(f) - l4).to_bytes(2, "big")
            f[at : at + 2] = b"\0\0"
            pseudo = addresses + struct.pack(">HH", 6 if tcp else 17, len(f) - l4)
            value = ones(struct.pack(">HH", ones(pseudo), ones(bytes(f[l4:])))) ^ 0xFFFF
            f[at : at + 2] = (value or (0 if tcp else 0xFFFF)).to_bytes(2, "big")
            out.append(bytes(f))
        return out

    def give(self, data: bytes, tag: bytes | None) -> bool:
        if tag:
            data = data[:12] + tag + data[12:]
        if not self.tx.has_room(len(data)):
            return False
        if self.get("RCTL") & 0xC0:
            self.loop_back(data)
        else:
            self.tx.push(data)
        size = max(64, len(data) + 4)
        for name in ("TPT", "GPTC", self.class_of("PTC", size)):
            self.bump(name)
        for name in ("GOTCL", "TOTL"):
            self.r[name] = self.get(name) + size
        if data[0] & 1:
            self.bump("BPTC" if data[:6] == b"\xff" * 6 else "MPTC")
        return True

    def loop_back(self, data: bytes) -> None:
        if self.get("RCTL") & 2:
            verdict = self.take(data)
            if verdict is None:
                self.bump("MPC")
                self.icr |= 0x40
            elif verdict:
                self.tell([len(data)])

    def bump(self, name: str, by: int = 1) -> None:
        self.r[name] = self.get(name) + by

    @staticmethod
    def class_of(name: str, size: int) -> str:
        for limit in (64, 127, 255, 511, 1023):
            if size <= limit:
                return f"{name}{limit}"
        return name + "1522"

    # Receiving
    def receive(self, now: int) -> None:
        self.waits = False
        missed = self.rx.refused - self.refused
        if missed:
            self.bump("MPC", missed)
            self.icr |= 0x40
            self.refused += missed
        done = []
        frames = [f.data for f in self.rx.peek_many(64)]
        taken = 0
        for data in frames:
            if not self.up or not self.get("RCTL") & 2:
                taken += 1
                continue
            verdict = self.take(data)
            if verdict is None:
                self.waits = True
                total = self.rx.given
                first = total - len(self.rx) + taken
                self.bump("RNBC", max(0, total - max(self.rnbc_seen, first)))
                self.rnbc_seen = total
                break
            taken += 1
            if verdict:
                done.append(len(data))
        self.rx.pop_many(taken)
        self.tell(done)
        self.settle(now)

    def tell(self, done: list[int]) -> None:
        """Frames of these sizes were stored."""
        if done:
            if min(done) <= self.get("RSRPD"):
                self.icr |= 1 << 16
            if self.get("RDTR"):
                self.delay("rdtr", "radv", self.get("RDTR"), self.get("RADV"), self.now)
            else:
                self.icr |= 0x80
                self.timer["rdtr"] = self.timer["radv"] = None

    def arrived(self, data: bytes) -> None:
        self.bump("TPR")
        self.r["TORL"] = self.get("TORL") + max(64, len(data) + 4)

    def take(self, data: bytes) -> bool | None:
        rctl, size = self.get("RCTL"), len(data)
        if size < 14 or size > (16380 if rctl & 0x20 else 1522):
            self.arrived(data)
            self.bump("RUC" if size < 14 else "ROC")
            return False
        group, broadcast = bool(data[0] & 1), data[:6] == b"\xff" * 6
        vector = int.from_bytes(data[:6], "little") >> (36, 35, 34, 32)[rctl >> 12 & 3] & 0xFFF
        exact = (broadcast and rctl & 1 << 15) or any(rah >> 31 and a == data[:6] for a, rah in self.ra)
        inexact = (rctl & 8) if not group else (rctl & 16 or self.mta[vector >> 5] >> (vector & 31) & 1)
        if not exact and not inexact:
            self.arrived(data)
            return False
        tagged = size >= 18 and int.from_bytes(data[12:14], "big") == self.get("VET")
        status = self.checks(data, 18 if tagged else 14) | (0 if exact else 0x80)
        stored, tci = data, 0
        if tagged:
            tci = int.from_bytes(data[14:16], "big")
            if rctl & 1 << 18:
                wrong_cfi = rctl & 1 << 19 and bool(tci & 0x1000) != bool(rctl & 1 << 20)
                if wrong_cfi or not self.vfta[(tci & 0xFFF) >> 5] >> (tci & 31) & 1:
                    self.arrived(data)
                    return False
            if self.get("CTRL") & 1 << 30:
                stored = data[:12] + data[16:]
                status |= 8
        if not status & 8:
            tci = 0
        start = self.get("RXCSUM") & 0xFF
        checksum = ones(data[start:])
        stored += b"" if rctl & 1 << 26 else bytes(4)
        verdict = self.place(stored, status, checksum, tci)
        if verdict is None:
            return None
        self.arrived(data)
        wire = max(64, size + 4)
        self.bump("GPRC")
        self.bump(self.class_of("PRC", wire))
        self.r["GORCL"] = self.get("GORCL") + wire
        if group:
            self.bump("BPRC" if broadcast else "MPRC")
        if not verdict:
            self.bump("MPC")
            self.icr |= 0x40
        return verdict

    def place(self, data: bytes, status: int, checksum: int, tci: int) -> bool | None:
        n, base, tail = self.get("RDLEN") // 16, self.base("RD"), self.get("RDT")
        rctl = self.get("RCTL")
        if self.get("RDH") >= n or tail >= n:
            return None
        before = (tail - self.get("RDH")) % n

        def address(i):
            return struct.unpack("<Q", self.load(base + 16 * i, 8))[0]

        def finish(i, length, packet, stat, errors, special):
            self.save(base + 16 * i + 8, struct.pack("<HHBBH", length, packet, stat, errors, special))

        while self.get("RDH") != tail and address(self.get("RDH")) == 0:
            finish(self.get("RDH"), 0, 0, 1, 0, 0)
            self.r["RDH"] = (self.get("RDH") + 1) % n
        bits = rctl >> 16 & 3
        size = (2048, 1024, 512, 256)[bits] * (16 if rctl & 1 << 25 and bits else 1)
        parts = [data[i : i + size] for i in range(0, len(data), size)]
        if len(parts) >= n:
            return False
        places, at = [], self.get("RDH")
        while at != tail and sum(1 for p in places if address(p)) < len(parts):
            places.append(at)
            at = (at + 1) % n
        if sum(1 for p in places if address(p)) < len(parts):
            return None
        head = self.get("RDH")
        left = list(parts)
        while left:
            where = address(head)
            if where:
                part = left.pop(0)
                self.save(where, part)
                stat = status & 0xFF | 1 | (0 if left else 2)
                finish(head, len(part), checksum, stat, status >> 8, tci)
            else:
                finish(head, 0, 0, 1, 0, 0)
            head = (head + 1) % n
        self.r["RDH"] = head
        threshold = n >> (1 + (rctl >> 8 & 3))
        if (tail - head) % n <= threshold < before:
            self.icr |= 0x10
        return True

    def checks(self, data: bytes, l3: int) -> int:
        wanted = self.get("RXCSUM")
        kind, packet = int.from_bytes(data[l3 - 2 : l3], "big"), data[l3:]
        out = 0
        if kind == 0x0800 and len(packet) >= 20 and wanted & 0x300:
            header, total = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
            if packet[0] >> 4 != 4 or header < 20 or total < header or total > len(packet):
                return 4
            if wanted & 0x100:
                out |= 0x40
                if ones(packet[:header]) != 0xFFFF:
                    return out | 0x4000
            if not wanted & 0x200 or int.from_bytes(packet[6:8], "big") & 0x3FFF:
                return out or 4
            protocol, inner, addresses = packet[9], packet[header:total], packet[12:20]
        elif kind == 0x86DD and len(packet) >= 40 and wanted & 0x600 == 0x600:
            length = int.from_bytes(packet[4:6], "big")
            if packet[0] >> 4 != 6 or length > len(packet) - 40:
                return 4
            protocol, inner, addresses = packet[6], packet[40 : 40 + length], packet[8:40]
        else:
            return 4
        fits = (protocol == 6 and len(inner) >= 20) or (protocol == 17 and len(inner) >= 8 and inner[6:8] != b"\0\0")
        if fits:
            pseudo = addresses + struct.pack(">HH", protocol, len(inner))
            good = ones(struct.pack(">HH", ones(pseudo), ones(inner))) == 0xFFFF
            out |= 0x20 | (0 if good else 0x2000)
        return out or 4
