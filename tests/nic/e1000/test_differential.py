"""Any driver at all, sane or not, against the plain card: registers, memory, frames, pin and deadlines."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aero_lab.nic.port import LINK
from aero_lab.rings import FrameRing

from .naive import HIGH, STATISTICS, NaiveCard
from .rig import MAC, PEER, Rig

RAM = 1 << 16
TX, RX, BUFFERS = 0x1000, 0x2000, 0x4000
NAMES = """CTRL VET RCTL TCTL ITR ICS IMS IMC ICR RDBAL RDBAH RDLEN RDH RDT RDTR RADV RSRPD TDBAL TDBAH TDLEN TDH TDT
TIDV TADV RXCSUM""".split()
READABLE = [*(set(NAMES) - {"ICS", "IMC"}), "STATUS", *STATISTICS, *HIGH]

seeds = st.integers(0, 255)
small = st.integers(0, 20)
values = st.one_of(
    small, st.sampled_from([0x100, 0x8002, 0x8032, 0x30002, 0x2004002, 0x702, 0x40, 1 << 26, 1 << 30, 0xFFFFFFFF]),
    st.integers(0, 0xFFFFFFFF),
)  # fmt: skip
controls = st.integers(0, 0x06DFB3FE).map(lambda v: v | 2)
addresses = st.one_of(
    st.integers(BUFFERS, RAM - 1), st.integers(0, RAM + 100), st.sampled_from([0, 1 << 32, 1 << 63, 0xE0000000])
)  # fmt: skip
lengths = st.one_of(st.integers(0, 200), st.integers(0, 2000), st.just(54))
commands = st.integers(0, 255)
slots = st.integers(0, 7)

tx_legacy = st.builds(
    lambda a, n, c, *more: struct.pack("<QHBBBBH", a, n, more[0], c & ~0x20, 0, more[1], more[2]),
    addresses, lengths, commands, st.integers(0, 80), st.integers(0, 80), st.integers(0, 0xFFFF),
)  # fmt: skip
tx_data = st.builds(
    lambda a, n, c, p, s, k: struct.pack("<QIBBH", a, n | k << 20 | (c | 0x20) << 24, 0, p, s),
    addresses, lengths, commands, st.integers(0, 3), st.integers(0, 0xFFFF), st.sampled_from([1, 1, 1, 1, 3, 7]),
)  # fmt: skip
tx_context = st.builds(
    lambda ip, tu, c, h, m: struct.pack("<BBHBBHIBBH", *ip, *tu, (c | 0x20) << 24, 0, h, m),
    st.tuples(st.sampled_from([14, 14, 18, 200]), st.integers(0, 80), st.sampled_from([0, 33, 500])),
    st.tuples(st.sampled_from([34, 34, 54, 10]), st.integers(0, 80), st.sampled_from([0, 60])),
    commands, st.sampled_from([54, 54, 66, 74, 0, 255]), st.sampled_from([0, 1, 20, 100, 1460, 0xFFFF]),
)  # fmt: skip
rx_descriptor = st.builds(lambda a: struct.pack("<QQ", a, 0), addresses)

transport = st.builds(
    lambda proto, n, seed: (proto, bytes((seed + i * 3) & 255 for i in range(n))),
    st.sampled_from([6, 17, 1]), st.integers(0, 60), seeds,
)  # fmt: skip


def a_frame(dst, tag, v6, body, fix, flip, pad):
    """A frame with an IP packet, more or less right."""
    proto, data = body
    if v6:
        packet = struct.pack(">IHBB", 6 << 28, len(data), proto, 64) + bytes(range(32)) + data
    else:
        packet = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(data), 1, 0, 64, proto, 0, 0x0A000001, 0x0A000002) + data
    packet = bytearray(packet)
    if fix:  # right checksums
        from .naive import ones

        if not v6:
            packet[10:12] = (ones(bytes(packet[:20])) ^ 0xFFFF).to_bytes(2, "big")
        at, l4 = {6: 16, 17: 6, 1: 2}[proto], 40 if v6 else 20
        if len(data) >= at + 2:
            packet[l4 + at : l4 + at + 2] = b"\0\0"
            pseudo = bytes(packet[8:40] if v6 else packet[12:20]) + struct.pack(">HH", proto, len(data))
            total = ones(struct.pack(">HH", ones(pseudo), ones(bytes(packet[l4:]))))
            packet[l4 + at : l4 + at + 2] = (total ^ 0xFFFF or 0xFFFF).to_bytes(2, "big")
    if flip is not None and flip < len(packet):
        packet[flip] ^= 0x11
    link = dst + PEER + (b"" if tag is None else struct.pack(">HH", 0x8100, tag)) + (b"\x86\xdd" if v6 else b"\x08\0")
    return link + bytes(packet) + bytes(pad)


destinations = st.sampled_from([MAC, MAC, b"\xff" * 6, bytes.fromhex("01005e000001"), bytes.fromhex("525400000099")])
frames = st.one_of(
    st.builds(
        a_frame, destinations, st.one_of(st.none(), st.integers(0, 0xFFFF)), st.booleans(), transport, st.booleans(),
        st.one_of(st.none(), st.integers(0, 60)), st.integers(0, 5),
    ),
    st.builds(lambda d, n, s: (d + PEER + bytes((s + i) & 255 for i in range(n)))[:n], destinations,
              st.one_of(st.integers(0, 80), st.sampled_from([1518, 1522, 1523, 3000, 9000, 16381])), seeds),
)  # fmt: skip

steps = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), values),
    st.tuples(st.just("write"), st.just("RCTL"), controls),
    st.tuples(st.just("write"), st.sampled_from(["MTA0", "MTA16", "MTA127", "VFTA0", "VFTA64"]), values),
    st.tuples(st.just("read"), st.sampled_from(READABLE)),
    st.tuples(st.just("tx"), slots, st.one_of(tx_legacy, tx_data, tx_data, tx_context)),
    st.tuples(st.just("kick"), st.integers(1, 7)),
    st.tuples(st.just("kick"), st.integers(1, 3)),
    st.tuples(st.just("rx"), slots, rx_descriptor),
    st.tuples(st.just("give"), st.integers(1, 7)),
    st.tuples(st.just("arrive"), frames),
    st.tuples(st.just("arrive"), frames),
    st.tuples(st.just("poll"), st.sampled_from([0, 1, 500, 20_000, 1_000_000])),
    st.tuples(st.just("cable"), st.booleans()),
    st.tuples(st.just("drain")),
    st.tuples(st.just("bytes"), st.integers(BUFFERS, RAM - 200), st.builds(
        a_frame, destinations, st.none(), st.booleans(), transport, st.booleans(), st.none(), st.just(0))),
)  # fmt: skip


class Pair:
    """Both cards, told the same."""

    def __init__(self):
        self.rig = Rig(RAM)
        self.rig.nic.tx, self.rig.nic.rx = FrameRing(8, 1 << 15), FrameRing(8, 1 << 16)
        contents = bytes((i * 7 + (i >> 8) * 13) & 0xFF for i in range(RAM))
        contents = contents[:TX] + bytes(0x3000) + contents[TX + 0x3000 :]
        self.rig.ram[:] = np.frombuffer(contents, np.uint8)
        self.plain = NaiveCard(MAC, contents, FrameRing(8, 1 << 15), FrameRing(8, 1 << 16))
        self.now = 0
        start = {"TDBAL": TX, "TDLEN": 128, "TCTL": 2, "RDBAL": RX, "RDLEN": 128, "IMS": 0xD7, "RXCSUM": 0x700}
        for i in range(8):
            self.put(RX + 16 * i, struct.pack("<QQ", BUFFERS + 2048 * i, 0))
            self.put(TX + 16 * i, struct.pack("<QHBBBBH", BUFFERS + 2048 * i, 100, 0, 9, 0, 0, 0))
        for name, value in (start | {"RCTL": 0x8002, "RDT": 5}).items():
            self.write(name, value)

    def put(self, address, data):
        self.rig.put(address, data)
        self.plain.ram[address : address + len(data)] = data

    def write(self, name, value):
        self.rig.now = self.now
        at: str | int = name
        for table, start in (("MTA", 0x5200), ("VFTA", 0x5600)):
            if name.startswith(table):
                at = start + 4 * int(name[len(table) :])
        self.rig.write(at, value)
        self.plain.write(name, value, self.now)

    def step(self, what, *more):
        self.rig.now = self.now
        if what == "write":
            self.write(*more)
        elif what == "read":
            assert self.rig.read(more[0]) == self.plain.read(more[0], self.now), more[0]
        elif what == "tx":
            self.put(TX + 16 * more[0], more[1])
        elif what == "rx":
            self.put(RX + 16 * more[0], more[1])
        elif what == "kick":
            self.write("TDT", (self.plain.get("TDT") + more[0]) % 8)
        elif what == "give":
            self.write("RDT", (self.plain.get("RDT") + more[0]) % 8)
        elif what == "arrive":
            assert self.rig.nic.rx.push(more[0]) == self.plain.rx.push(more[0])
        elif what == "poll":
            self.now += more[0]
            self.rig.poll(self.now)
            self.plain.poll(self.now)
        elif what == "cable":
            self.rig.nic.access(LINK, value=int(more[0]), now=self.now)
            self.plain.plug(more[0], self.now)
        elif what == "bytes":
            self.put(*more)
        else:
            self.drain()
        self.compare()

    def drain(self):
        ours = [f.data for f in self.rig.nic.tx.pop_many(100)]
        assert ours == [f.data for f in self.plain.tx.pop_many(100)]

    def compare(self):
        assert self.rig.pin == self.plain.pin
        assert self.rig.due == self.plain.due
        assert len(self.rig.nic.rx) == len(self.plain.rx) and len(self.rig.nic.tx) == len(self.plain.tx)
        assert bytes(self.rig.ram) == bytes(self.plain.ram)


PACKET = a_frame(MAC, None, False, (6, bytes(range(60))), True, None, 0)
TSO = struct.pack("<BBHBBHIBBH", 14, 24, 33, 34, 50, 0, 0x27 << 24, 0, 54, 20)
PIECE = struct.pack("<QIBBH", BUFFERS, 94 | 1 << 20 | 0x2D << 24, 0, 3, 0)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(steps, max_size=40))
@example([("bytes", BUFFERS, PACKET), ("tx", 0, TSO), ("tx", 1, PIECE), ("kick", 2), ("drain",), ("read", "TSCTC")])
@example([("kick", 7), ("kick", 7), ("drain",), ("poll", 0), ("drain",), ("read", "GOTCL"), ("read", "GOTCH")])
@example([("write", "TDLEN", 196610), ("kick", 1), ("kick", 7), ("read", "TDH"), ("poll", 1), ("read", "TDH")])
@example([("arrive", PACKET)] * 7 + [("poll", 0), ("read", "RNBC"), ("give", 3), ("read", "GPRC"), ("read", "ICR")])
def test_any_driver_against_the_plain_card(program):
    pair = Pair()
    for step in program:
        pair.step(*step)
    pair.step("poll", 0)
    pair.drain()
    for name in READABLE:
        pair.step("read", name)
