"""Parting frames and packets: against a plain reading of them, frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.lan import strip as s
from aero_lab.rings import FrameRing
from aero_lab.stack.addresses import from_pair, to_pair
from aero_lab.wire.address import ip, mac

GATEWAY, GUEST, OTHER = mac("02:00:00:00:00:01"), mac("52:54:00:00:00:0f"), mac("52:54:00:00:00:10")
ALL = b"\xff" * 6
ADDRESSES4 = [ip(text) for text in ("10.0.2.15", "10.0.2.16", "0.0.0.0", "10.0.2.2")]
ADDRESSES6 = [ip(text) for text in ("fd00::1", "fe80::2", "::", "fd00:aee0::2", "8000::1")]


def new_state() -> np.ndarray:
    state = np.zeros(s.STATE_SIZE, np.uint8)
    cells = state.view(np.int64)
    cells[0], cells[1] = int.from_bytes(GATEWAY[:2], "big"), int.from_bytes(GATEWAY[2:], "big")
    return state


def counted(state: np.ndarray) -> dict[str, int]:
    return {name: int(state.view(np.int64)[at >> 3]) for name, at in s.COUNTERS.items()}


def table(state: np.ndarray) -> dict[bytes, bytes]:
    cells = state.view(np.int64)
    rows = [cells[(s.TABLE + i * s.ROW) >> 3 :][:4].tolist() for i in range(min(int(cells[2]), s.NEIGHBOURS))]
    return {from_pair(hi, lo): a.to_bytes(2, "big") + b.to_bytes(4, "big") for hi, lo, a, b in rows}


class Plain:
    """What a station does with a frame, in so many words."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.rest: list[bytes] = []
        self.counts = dict.fromkeys(s.COUNTERS, 0)
        self.table: dict[bytes, bytes] = {}
        self._order: list[bytes] = []

    def frame(self, frame: bytes) -> None:
        why = self._frame(frame)
        self.counts["frames_up"] += 1
        self.counts["bytes_up"] += len(frame)
        if why:
            self.counts[why] += 1

    def _frame(self, frame: bytes) -> str:
        if len(frame) < 14:
            return "ethernet-short"
        if not frame[0] & 1 and frame[:6] != GATEWAY:
            return "not-for-us"
        kind, at = frame[12:14], 14
        if kind == b"\x81\x00":
            if len(frame) < 18 or int.from_bytes(frame[14:16], "big") & 0xFFF:
                return "vlan"
            kind, at = frame[16:18], 18
        if kind == b"\x08\x06":
            self.rest.append(frame)
            return ""
        if kind not in (b"\x08\x00", b"\x86\xdd"):
            return "ethernet-type"
        packet = self.packet(frame[at:])
        if packet is None:
            return "no-ip"
        if self._neighbourly(packet):
            self.rest.append(frame)
            return ""
        self.packets.append(packet)
        self._learn(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24], frame[6:12])
        return "packets_up"

    @staticmethod
    def packet(data: bytes) -> bytes | None:
        if data and data[0] >> 4 == 4 and len(data) >= 20:
            length = int.from_bytes(data[2:4], "big")
            return data if length < 20 else data[:length]
        if data and data[0] >> 4 == 6 and len(data) >= 40:
            return data[: 40 + int.from_bytes(data[4:6], "big")]
        return None

    @staticmethod
    def _neighbourly(packet: bytes) -> bool:
        if packet[0] >> 4 == 6:
            return packet[6] == 58 and len(packet) > 40 and 133 <= packet[40] <= 137
        head = 4 * (packet[0] & 15)
        whole = int.from_bytes(packet[6:8], "big") & 0x1FFF == 0
        return packet[9] == 17 and whole and len(packet) >= head + 8 and packet[head + 2 : head + 4] == b"\0\x43"

    def _learn(self, address: bytes, source: bytes) -> None:
        if source[0] & 1 or not any(address):
            return
        if address not in self.table:
            self._order.append(address)
            if len(self._order) > s.NEIGHBOURS:
                del self.table[self._order.pop(0)]
        self.table[address] = source


@st.composite
def packets(draw: Any) -> bytes:
    body = draw(st.binary(max_size=30))
    if draw(st.booleans()):
        proto = draw(st.sampled_from([6, 17, 17, 1]))
        if proto == 17:
            port = draw(st.sampled_from([67, 53, 68]))
            body = b"\0\x44" + port.to_bytes(2, "big") + bytes(4) + body
        head = draw(st.sampled_from([5, 5, 5, 6, 15, 0]))
        length = draw(st.sampled_from([20 + len(body), 20 + len(body), 0, 19, 65535, 24]))
        fragment = draw(st.sampled_from([0, 0, 0x4000, 1, 0x2000]))
        words = [0x40 | head, 0, *length.to_bytes(2, "big"), 0, 1, *fragment.to_bytes(2, "big"), 64, proto, 0, 0]
        return bytes(words) + draw(st.sampled_from(ADDRESSES4)) + draw(st.sampled_from(ADDRESSES4)) + body
    kind = draw(st.sampled_from([6, 58, 58]))
    if kind == 58:
        body = bytes([draw(st.sampled_from([128, 132, 133, 135, 137, 138]))]) + body
    length = draw(st.sampled_from([len(body), len(body), 0, 65535, 1]))
    head = b"\x60\0\0\0" + length.to_bytes(2, "big") + bytes([kind, 64])
    return head + draw(st.sampled_from(ADDRESSES6)) + draw(st.sampled_from(ADDRESSES6)) + body


@st.composite
def frames(draw: Any) -> bytes:
    packet = draw(st.one_of(packets(), st.binary(max_size=50)))
    kind = {4: b"\x08\x00", 6: b"\x86\xdd"}.get(packet[0] >> 4 if packet else 0, b"\x08\x00")
    kind = draw(st.sampled_from([kind, kind, kind, b"\x08\x06", b"\x88\xcc", b"\x08\x00"]))
    tag = draw(st.sampled_from([b"", b"", b"", b"\x81\x00\xe0\x00", b"\x81\x00\x00\x05"]))
    destination = draw(st.sampled_from([GATEWAY, GATEWAY, ALL, OTHER, b"\x33\x33\0\0\0\1"]))
    source = draw(st.sampled_from([GUEST, OTHER, ALL]))
    frame = destination + source + tag + kind + packet + bytes(draw(st.sampled_from([0, 0, 18])))
    return frame[: draw(st.sampled_from([None, None, None, 13, 15, 17]))]


@given(st.lists(frames(), max_size=40))
@settings(max_examples=150)
def test_frames_are_parted_as_a_plain_reading_parts_them(sent: list[bytes]) -> None:
    source, up, rest = (FrameRing(64, 1 << 17) for _ in range(3))
    state, plain = new_state(), Plain()
    for i, frame in enumerate(sent):
        assert source.push(frame or b"\0", 7, i + 1, 3, 2, 1)
        plain.frame(frame or b"\0")
    assert s.strip(source.array, up.array, rest.array, state, 256) == len(sent)
    got = up.pop_many(64)
    assert [each.data for each in got] == plain.packets
    assert [each.data for each in rest.pop_many(64)] == plain.rest
    assert counted(state) == plain.counts
    assert table(state) == plain.table
    assert all(each[1:] == (7, each.frame_id, 3, 2, 1) and each.frame_id for each in got)


def test_more_addresses_than_are_remembered_push_out_the_oldest() -> None:
    state, plain = new_state(), Plain()
    for i in range(s.NEIGHBOURS + 5):
        address, source = bytes((10, 0, 2, i + 1)), bytes((2, 0, 0, 0, 1, i))
        assert s.note(state, *to_pair(address), int.from_bytes(source[:2], "big"), int.from_bytes(source[2:], "big"))
        plain._learn(address, source)
    assert table(state) == plain.table and len(plain.table) == s.NEIGHBOURS
    assert s.note(state, *to_pair(ip("10.0.2.99")), 0x0100, 0) == 0  # a group lives nowhere


def test_strip_takes_no_more_than_there_is_room_for() -> None:
    packet = bytes([0x45, 0, 0, 28, *bytes(5), 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]) + bytes(8)
    source, up, rest = FrameRing(8, 1 << 12), FrameRing(2, 1 << 12), FrameRing(8, 1 << 12)
    for _ in range(5):
        assert source.push(GATEWAY + GUEST + b"\x08\x00" + packet, 0)
    state = new_state()
    assert s.strip(source.array, up.array, rest.array, state, 256) == 2
    assert (len(source), len(up), counted(state)["frames_up"]) == (3, 2, 2)
    up.clear()
    assert s.strip(source.array, up.array, rest.array, state, 1) == 1


@given(st.lists(packets(), max_size=20))
@settings(max_examples=100)
def test_packets_get_the_header_of_the_neighbour_who_is_meant(sent: list[bytes]) -> None:
    state = new_state()
    known = {ip("10.0.2.15"): GUEST, ip("fd00::1"): OTHER, ip("8000::1"): GUEST}
    for address, where in known.items():
        s.note(state, *to_pair(address), int.from_bytes(where[:2], "big"), int.from_bytes(where[2:], "big"))
    down, into = FrameRing(32, 1 << 17), FrameRing(32, 1 << 17)
    expected, strangers = [], 0
    for packet in sent:
        assert down.push(packet, 5, 9, 1, 2, 3)
        if Plain.packet(packet) is None:
            continue
        to = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        if to in known:
            expected.append(known[to] + GATEWAY + (b"\x08\x00" if len(to) == 4 else b"\x86\xdd") + packet)
        else:
            strangers += 1
    met = 0
    for _ in range(len(sent) + 1):
        result = s.wrap(down.array, into.array, state, 256)
        if not result & s.STRANGER:
            break
        met += 1
        down.pop()
    got = into.pop_many(64)
    assert [each.data for each in got] == expected and met == strangers
    assert all(each[1:] == (5, 9, 1, 2, 3) for each in got)


def test_packets_for_groups_need_no_neighbour() -> None:
    down, into, state = FrameRing(8, 1 << 12), FrameRing(2, 1 << 12), new_state()
    v4 = bytes([0x45, 0, 0, 20, *bytes(5), 17, 0, 0, 10, 0, 2, 2])
    for packet in (v4 + ip("255.255.255.255"), v4 + ip("239.129.2.3"), v4 + ip("255.255.255.255")):
        assert down.push(packet, 0)
    assert s.wrap(down.array, into.array, state, 256) == 2 | s.WAIT
    assert [each.data[:6].hex() for each in into.pop_many()] == ["ffffffffffff", "01005e010203"]
    down.clear()
    assert down.push(b"\x60\0\0\0\0\0\x3b\x40" + ip("fe80::1") + ip("ff02::1:ff00:7"), 0)
    assert s.wrap(down.array, into.array, state, 256) == 1
    assert into.pop_many()[0].data[:6].hex() == "3333ff000007"
