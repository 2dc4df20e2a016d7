"""Checksum insertion and segmentation, against a twin, scapy and tshark, and with offsets that make no sense."""

from __future__ import annotations

import shutil
import struct
import subprocess

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aero_lab.nic import offload
from aero_lab.nic.limits import FRAME_MOST
from aero_lab.nic.offload import IPV6, UDP
from aero_lab.rings import FrameRing
from aero_lab.rings import frame_ring as ring

from . import naive_offload as naive

A4, B4 = "10.0.2.15", "203.0.113.9"
A6, B6 = "fd00::15", "2001:db8::9"
ETHERNET = bytes.fromhex("020000000001 020000000015".replace(" ", ""))


def buffer_of(data: bytes, margin: int = 3) -> np.ndarray:
    """``data`` in the middle of a buffer whose other bytes are not zero."""
    return np.frombuffer(b"\xa5" * margin + data + b"\xa5" * 64, np.uint8).copy()


@given(st.binary(max_size=120), st.integers(-2, 130), st.integers(-2, 130), st.integers(-2, 130), st.booleans())
@example(b"\xff\xff\0\0", 0, 4, 2, True)  # the checksum is zero, and is spelt otherwise in UDP
@example(b"\xff\xff\0\0", 0, 4, 2, False)
@example(b"abcdef", 3, 3, 4, False)
@example(b"", 0, 0, 0, False)
def test_insertion_is_its_twin_and_writes_nowhere_else(frame, start, end, at, is_udp):
    expected = naive.with_checksum(frame, start, end, at, is_udp)
    buffer = buffer_of(frame)
    done = offload.put_checksum(buffer, 3, len(frame), start, end, at, int(is_udp))
    assert done == (expected is not None)
    assert bytes(buffer) == bytes(buffer_of(frame if expected is None else expected))


def cut(packet: bytes, l3: int, l4: int, header: int, mss: int, kind: int, into: FrameRing) -> list[bytes]:
    """What a card does: room for each segment, the headers, a piece of the payload, and the finishing touch. When the
    ring is full it is emptied, and the work goes on where it stopped."""
    number = offload.segment_count(len(packet), l3, l4, header, mss, kind, FRAME_MOST)
    out: list[bytes] = []
    for index in range(number):
        piece = packet[header + index * mss : header + (index + 1) * mss]
        size = header + len(piece)
        if not into.has_room(size):
            out += [frame.data for frame in into.pop_many(1 << 20)]
        at = ring.reserve(into.array, size)
        into.array[at : at + size] = np.frombuffer(packet[:header] + piece, np.uint8)
        offload.fix_segment(into.array, at, size, l3, l4, kind, index, number, mss)
        ring.commit(into.array, at, size, 0, 0, -1, 0, 0)
    assert into.refused == 0
    return out + [frame.data for frame in into.pop_many(1 << 20)]


@st.composite
def packets(draw):
    """A packet with whatever in its headers, and sound offsets; frames are tagged, addresses and options differ."""
    kind = draw(st.sampled_from([0, IPV6, UDP, IPV6 | UDP]))
    tags = draw(st.sampled_from([b"", bytes.fromhex("81000005"), bytes.fromhex("88a8000281000003")]))
    ethernet = draw(st.binary(min_size=12, max_size=12)) + tags + (b"\x86\xdd" if kind & IPV6 else b"\x08\0")
    options = 8 * draw(st.integers(0, 3)) if kind & IPV6 else 4 * draw(st.integers(0, 10))
    least = 40 if kind & IPV6 else 20
    ip = draw(st.binary(min_size=least + options, max_size=least + options))
    more = 0 if kind & UDP else 4 * draw(st.integers(0, 10))
    transport = draw(st.binary(min_size=8 if kind & UDP else 20 + more, max_size=8 if kind & UDP else 20 + more))
    seed = draw(st.binary(min_size=1, max_size=9))
    data = (seed * 1300)[: draw(st.integers(0, 7000))]
    head = ethernet + ip + transport
    mss = draw(st.one_of(st.integers(1, 1600), st.integers(50, 300), st.just(1460)))
    return head + data, len(ethernet), len(ethernet) + len(ip), len(head), mss, kind


@given(packets(), st.sampled_from([(4, 8192), (256, 1 << 19)]))
def test_segmentation_is_its_twin(packet, dimensions):
    frame, l3, l4, header, mss, kind = packet
    expected = naive.segments(frame, l3, l4, header, mss, bool(kind & IPV6), bool(kind & UDP))
    assert cut(frame, l3, l4, header, mss, kind, FrameRing(*dimensions)) == expected
    assert offload.segment_count(len(frame), l3, l4, header, mss, kind, FRAME_MOST) == len(expected)


@given(
    st.integers(-4, 4000), st.integers(-4, 90), st.integers(-4, 140), st.integers(-4, 200), st.integers(-4, 1600),
    st.integers(0, 3),
)  # fmt: skip
def test_whatever_a_driver_claims_is_answered_by_its_twin(size, l3, l4, header, mss, kind):
    expected = naive.segments(bytes(max(size, 0)), l3, l4, header, mss, bool(kind & IPV6), bool(kind & UDP))
    assert offload.segment_count(size, l3, l4, header, mss, kind, FRAME_MOST) == (len(expected) if size >= 0 else 0)


@pytest.mark.parametrize(
    ("claim", "number"),
    [
        ((14 + 40 + 65000, 14, 34, 54, 1460, 0), 45),
        ((54 + 256, 14, 34, 54, 1, 0), 256),
        ((54 + 257, 14, 34, 54, 1, 0), 0),  # more than a card may send for one packet
        ((54 + 3000, 14, 34, 54, 0, 0), 0),  # mss 0 would never end
        ((54 + 3000, 14, 34, 54, -1, 0), 0),
        ((54 + 3000, 14, 34, 54, 1468, 0), 3),
        ((54 + 3000, 14, 34, 54, 1469, 0), 0),  # segments larger than a frame
        ((54 + 100, 14, 34, 54, 60000, 0), 1),  # of which there is one, and it fits
        ((54, 14, 34, 54, 1460, 0), 1),
        ((53, 14, 34, 54, 1460, 0), 0),  # a packet shorter than its headers
        ((54 + 3000, 14, 33, 54, 1460, 0), 0),
        ((54 + 3000, 14, 34, 53, 1460, 0), 0),
        ((54 + 3000, 14, 34, 54, 1400, IPV6), 0),  # no room for an IPv6 header there
        ((42 + 3000, 14, 34, 42, 1400, UDP), 3),
        ((42 + 3000, 14, 34, 41, 1400, UDP), 0),
        ((1 << 62, 14, 34, 54, 1 << 61, 0), 0),
    ],
)
def test_refusals_by_number(claim, number):
    assert offload.segment_count(*(*claim, FRAME_MOST)) == number


def test_the_largest_frame_is_the_cards_choice():
    assert offload.segment_count(54 + 30000, 14, 34, 54, 8960, 0, 9018) == 4
    assert offload.segment_count(54 + 30000, 14, 34, 54, 8965, 0, 9018) == 0


TAGS = st.sampled_from(
    [b"", bytes.fromhex("81000005"), bytes.fromhex("88a8000281000003"), bytes.fromhex("8100000181000003")]
)


@given(
    TAGS, st.booleans(), st.sampled_from([6, 17, 1, 58]), st.binary(max_size=50), st.integers(0, 3),
    st.binary(max_size=5),
    st.sampled_from(["", "short", "fragment", "total", "version", "flip", "zero"]), st.integers(0, 10**6),
)  # fmt: skip
def test_sound_checksums_are_told_from_others(tags, v6, protocol, data, words, padding, harm, where):
    """A packet is built whole and then harmed; the twin says from the bytes alone whether it is still sound."""
    head = {6: bytes(16) + b"\0\0" + bytes(2), 17: bytes(6) + b"\0\0"}.get(protocol, b"")
    head = bytearray(head)
    if protocol == 6:
        head[12] = 0x50
    body = bytearray(bytes(head) + data)
    length = len(body)
    if v6:
        ip = bytearray(b"\x60\0\0\0" + struct.pack(">HBB", length, protocol, 64) + bytes(range(32)))
        pseudo = bytes(ip[8:40])
    else:
        ip = bytearray(struct.pack(">BBHHHBBH", 0x45 + words, 0, 20 + 4 * words + length, 7, 0x4000, 64, protocol, 0))
        ip += bytes(range(8)) + b"\1" * 4 * words
        pseudo = bytes(range(8))
    if protocol in (6, 17):
        field = 16 if protocol == 6 else 6
        if protocol == 17:
            body[4:6] = struct.pack(">H", length)
        value = 0xFFFF - naive.ones_sum(pseudo + struct.pack(">II", length, protocol) + bytes(body))
        body[field : field + 2] = struct.pack(">H", value or 0xFFFF)
        if harm == "zero":
            body[field : field + 2] = b"\0\0"
    if harm == "fragment" and not v6:
        ip[6:8] = struct.pack(">H", 0x2000 if where & 1 else 1 + where % 0x1FFF)
    elif harm == "total":
        at = 4 if v6 else 2
        ip[at : at + 2] = struct.pack(">H", where & 0xFFFF)
    elif harm == "version":
        ip[0] = where & 0xFF
    frame = bytearray(ETHERNET + tags + (b"\x86\xdd" if v6 else b"\x08\0") + ip + body + padding)
    if harm == "flip":
        frame[where % len(frame)] ^= 1 + where % 255
    elif harm == "short":
        del frame[max(14, len(frame) - 1 - where % 30) :]
    assert offload.checksum_sound(buffer_of(bytes(frame)), 3, len(frame)) == naive.sound(bytes(frame))


def tcp_packet(v6: bool, flags: str, size: int, mss: int) -> tuple[bytes, int, int, int, int, int]:
    """As Linux hands it to a card: lengths of the whole, a checksum that is no more than a start."""
    inet = pytest.importorskip("scapy.layers.inet", reason="scapy is not installed")
    inet6 = pytest.importorskip("scapy.layers.inet6")
    data = bytes(i * 7 & 0xFF for i in range(size))
    segment = inet.TCP(
        sport=40000, dport=80, seq=0xFFFFFF00, ack=9, flags=flags, chksum=0x1234,
        options=[("Timestamp", (5, 6)), ("NOP", None), ("NOP", None)],
    )  # fmt: skip
    if v6:
        whole = bytes(inet6.IPv6(src=A6, dst=B6) / segment / data)
        return ETHERNET + b"\x86\xdd" + whole, 14, 54, 14 + 40 + 32, mss, IPV6
    whole = bytes(inet.IP(src=A4, dst=B4, id=0xFFFE, chksum=0, ttl=64, flags="DF") / segment / data)
    return ETHERNET + b"\x08\0" + whole, 14, 34, 14 + 20 + 32, mss, 0


@pytest.mark.parametrize("v6", [False, True])
def test_scapy_builds_the_same_segments(v6):
    frame, l3, l4, header, mss, kind = tcp_packet(v6, "FPAC", 4000, 1000)
    from scapy.layers.l2 import Ether

    made = cut(frame, l3, l4, header, mss, kind, FrameRing(256, 1 << 19))
    expected = []
    for i in range(4):
        whole = Ether(frame)
        segment = whole["TCP"]
        segment.seq = (0xFFFFFF00 + 1000 * i) % 2**32
        segment.flags = ("FPA" if i == 3 else "A") + ("C" if i == 0 else "")
        segment.payload = type(segment.payload)(frame[header + 1000 * i : header + 1000 * (i + 1)])
        del segment.chksum
        if v6:
            del whole["IPv6"].plen
        else:
            whole["IP"].id = (0xFFFE + i) % 65536
            del whole["IP"].len, whole["IP"].chksum
        expected.append(bytes(whole))
    assert made == expected


FIELDS = "tcp.checksum.status ip.checksum.status tcp.len tcp.flags.fin tcp.analysis.flags _ws.malformed"


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize(("v6", "mss"), [(False, 1448), (True, 1428)])
def test_tshark_finds_one_stream_without_a_flaw(v6, mss, tmp_path):
    """All checksums are right, no segment is missing or seen twice, and the last one alone says FIN."""
    frames = cut(*tcp_packet(v6, "FPA", 20000, mss), FrameRing(8, 1 << 15))
    path = tmp_path / "segments.pcap"
    records = b"".join(struct.pack("<IIII", 0, i, len(f), len(f)) + f for i, f in enumerate(frames))
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records)
    command = ["tshark", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    command += ["-T", "fields", *(word for name in FIELDS.split() for word in ("-e", name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    sums, ip_sums, sizes, fins, analysis, malformed = zip(
        *(r.split("\t") for r in done.stdout.splitlines()), strict=True
    )
    number = -(-20000 // mss)
    assert [int(size) for size in sizes] == [mss] * (number - 1) + [20000 - (number - 1) * mss]
    assert set(sums) == {"1"} and set(ip_sums) == ({""} if v6 else {"1"})
    assert [fin in ("1", "True") for fin in fins] == [False] * (number - 1) + [True]
    assert set(analysis) == {""} and set(malformed) == {""}
