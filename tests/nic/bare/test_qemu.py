"""The same bare driver on QEMU's 82540EM and on ours: what registers, descriptors and memory said."""

from __future__ import annotations

import struct

import pytest

from aero_lab.nic.e1000 import E1000
from aero_lab.nic.e1000.names import OFFSETS as R

from .program import DELAY, WAIT, Program, needs_nasm, needs_qemu, ours, qemu

pytestmark = [needs_nasm, needs_qemu, pytest.mark.timeout(300)]

MAC = "52:54:00:12:34:56"
TX, RX, OUT, IN = 0x300000, 0x301000, 0x310000, 0x320000
SELF, PEER = bytes.fromhex("525400123456"), bytes.fromhex("02aabbccddee")


def both(program: Program, tmp_path) -> tuple[list[int], list[int]]:
    theirs = qemu(program, tmp_path, f"e1000,mac={MAC}")
    mine, _ = ours(program, [E1000(MAC)])
    assert len(mine) == len(theirs) > 0
    return mine, theirs


def test_registers_keep_the_same_bits(tmp_path):
    """What is read back from registers with all ones and a pattern in them."""
    program = Program()
    names = "RDBAL RDBAH RDLEN RDH RDT TDBAL TDBAH TDLEN TDH TDT VET FCAL FCAH FCT".split()
    for name in names:
        for value in (0xA5A5A5A5, 0):
            program.write(R[name], value).read(R[name])
    program.read(R["STATUS"], R["RA"], R["RA"] + 4, R["IMS"], R["ICR"])
    program.write(R["IMS"], 0x9D).read(R["IMS"]).write(R["IMC"], 0x81).read(R["IMS"])
    program.write(R["ICS"], 0x85).read(R["ICR"], R["ICR"])
    program.write(R["MTA"] + 16, 0xDEADBEEF).read(R["MTA"] + 16).write(R["VFTA"] + 508, 0x1234).read(R["VFTA"] + 508)
    mine, theirs = both(program, tmp_path)
    exact = {2 * names.index(n) for n in ("RDBAH", "TDBAH", "RDH", "TDH", "TDT", "RDT")}  # others it does not mask
    for at, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        if at == 2 * len(names):
            assert a == b & 0xFF == 0x83  # it has bits of later chips besides
        elif at > 2 * len(names) or at in exact or at & 1:
            assert a == b, (at, hex(a), hex(b))


def test_eeprom_and_phy_say_the_same(tmp_path):
    program = Program()
    for word in (0, 1, 2, 0x0B, 0x0C, 0x0D, 0x0E):
        program.write(R["EERD"], word << 8 | 1).read(R["EERD"])
    for register in (2, 3, 9, 17):
        program.write(R["MDIC"], 2 << 26 | 1 << 21 | register << 16).read(R["MDIC"])
    program.write(R["MDIC"], 2 << 26 | 5 << 21 | 2 << 16).read(R["MDIC"])
    mine, theirs = both(program, tmp_path)
    assert [v for v in mine[:7]] == [v for v in theirs[:7]]
    assert [v & 0xFFFF for v in mine[7:9]] == [v & 0xFFFF for v in theirs[7:9]] == [0x0141, 0x0C20]
    assert mine[10] & 0xFFFF == theirs[10] & 0xFFFF == 0xAC00
    assert mine[11] >> 30 & 1 == theirs[11] >> 30 & 1 == 1


def bring_up(program: Program, rings: int = 8) -> Program:
    """Loopback in the PHY, rings, both directions on; frame check sequence stripped."""
    program.write(R["MDIC"], 1 << 26 | 1 << 21 | 0x4140)
    for i in range(rings):
        program.put(RX + 16 * i, struct.pack("<QQ", IN + 2048 * i, 0))
    for name, value in {
        "RDBAL": RX, "RDLEN": 16 * rings, "RDH": 0, "RDT": rings - 1, "TDBAL": TX, "TDLEN": 16 * rings, "TDH": 0,
        "TDT": 0, "RCTL": 2 | 1 << 15 | 1 << 26, "TCTL": 0x0103F0FA,
    }.items():  # fmt: skip
        program.write(R[name], value)
    program.add(DELAY, 1_000_000)  # QEMU's receiver opens a second later; an instruction takes it a microsecond here
    return program


def legacy(address, length, command=9, cso=0, css=0, special=0):
    return struct.pack("<QHBBBBH", address, length, cso, command, 0, css, special)


def data(address, length, command=9, popts=0, special=0):
    return struct.pack("<QIBBH", address, length | 1 << 20 | (command | 0x20) << 24, 0, popts, special)


def context(ip, tu, command, header, mss, payload):
    return struct.pack("<BBHBBHIBBH", *ip, *tu, payload | (command | 0x20) << 24, 0, header, mss)


def packet(dst=SELF, payload=b"x" * 40, flags=0x18):
    tcp = struct.pack(">HHIIBBHHH", 1, 2, 1000, 0, 0x50, flags, 8192, 0, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 7, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return dst + PEER + b"\x08\0" + ip + tcp + payload


def run_frames(tmp_path, descriptors: list[bytes], memory: bytes, expected: int, setup=None):
    """Give descriptors, wait until the last is done, and read what came back: (length and status, bytes) of each.

    Not compared is TPR, which QEMU counts behind the filter, and the IC of legacy descriptors, of which it takes no
    notice.
    """
    program = bring_up(Program())
    if setup:
        setup(program)
    program.put(OUT, memory)
    for i, raw in enumerate(descriptors):
        program.put(TX + 16 * i, raw)
    program.write(R["TDT"], len(descriptors))
    program.add(WAIT, TX + 16 * (len(descriptors) - 1) + 12, 1)
    if expected:
        program.add(WAIT, RX + 16 * (expected - 1) + 12, 1)
    for i in range(expected + 1):
        program.get(RX + 16 * i + 8, 8)
    program.read(R["RDH"], R["TDH"], R["GPRC"], R["GPTC"], R["TPT"], R["MPRC"], R["BPRC"])
    for i in range(expected):
        program.get(IN + 2048 * i, 128)
    mine, theirs = both(program, tmp_path)

    def digest(said):
        out = []
        for i in range(expected + 1):
            low, high = said[2 * i], said[2 * i + 1]
            out.append((low & 0xFFFF, high & 0x0B, high >> 8 & 0xFF, high >> 16))
        return out, said[2 * (expected + 1) :]

    assert digest(mine) == digest(theirs)
    return digest(mine)


def test_frames_in_pieces_and_whole(tmp_path):
    frame = packet()
    memory = frame.ljust(256, b"\0") + packet(b"\xff" * 6).ljust(256, b"\0") + packet(bytes.fromhex("0200000000aa"))
    descriptors = [
        legacy(OUT, 20, 0), legacy(OUT + 20, len(frame) - 20), legacy(OUT + 256, 94), legacy(OUT + 512, 94),
        data(OUT, 94),
    ]  # fmt: skip
    (status, rest) = run_frames(tmp_path, descriptors, memory, 3)
    assert [s[:2] for s in status] == [(94, 3)] * 3 + [(0, 0)] and rest[:2] == [3, 5]


def test_checksums(tmp_path):
    frame = packet()
    pseudo = sum(struct.unpack(">4H", frame[26:34])) + 6 + len(frame) - 34
    frame = frame[:50] + pseudo.to_bytes(2, "big") + frame[52:]
    descriptors = [
        context((14, 24, 33), (34, 50, 0), 1, 0, 0, 0), data(OUT, 94, popts=3), data(OUT, 94, popts=1),
        data(OUT, 94, popts=2),
    ]  # fmt: skip
    run_frames(tmp_path, descriptors, frame, 3)


@pytest.mark.parametrize("mss", [30, 45, 120])  # no segment below 60 bytes: QEMU fills those
def test_segments(tmp_path, mss):
    payload = bytes(range(100))
    frame = packet(payload=payload, flags=0x19)
    pseudo = sum(struct.unpack(">4H", frame[26:34])) + 6
    frame = frame[:50] + pseudo.to_bytes(2, "big") + frame[52:]
    descriptors = [
        context((14, 24, 33), (34, 50, 0), 7, 54, mss, 100), data(OUT, 54, 4, popts=3), data(OUT + 54, 60, 4),
        data(OUT + 114, 40, 13),
    ]  # fmt: skip
    status, _ = run_frames(tmp_path, descriptors, frame, -(-100 // mss))
    assert [s[0] for s in status] == [54 + min(mss, 100 - i) for i in range(0, 100, mss)] + [0]


def test_tags_go_in_and_come_out(tmp_path):
    descriptors = [legacy(OUT, 94, 9 | 0x40, special=0x6123), legacy(OUT, 94)]
    status, _ = run_frames(
        tmp_path, descriptors, packet(), 2, lambda p: p.write(R["VET"], 0x8100).write(R["CTRL"], 0x40140240)
    )
    assert status[0] == (94, 0x0B, 0, 0x6123) and status[1][1] == 3
