"""A capture made up for benches: mixed frames of many flows at both points, the same for the same seed.

Frames are rows of one byte matrix, filled by numpy a column at a time: templates first, then what differs from frame
to frame (addresses, ports, sequence numbers, stamps). Sequence and acknowledgement numbers go on as in real flows, so
that causes have something to follow.
"""

from __future__ import annotations

import numpy as np

from ..capture import Capture
from ..capture import schema as s
from ..capture.capture import Block
from ..limits import MS

SNAP = 96
MSS = 1448
GUEST, GATEWAY = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
DELAY = 20 * MS
"""From one point to the other."""
GAP = 2_000
"""Mean time between two frames at one point, ns."""
START = 1_700_000_000_000_000_000
KINDS = ("data", "ack", "sack", "syn", "data6", "ack6", "vlan", "udp", "dns", "ping", "ping6", "arp")
FAMILIES = (
    (0.72, {"data": 0.56, "ack": 0.37, "sack": 0.07}), (0.13, {"data6": 0.6, "ack6": 0.4}),
    (0.02, {"vlan": 1.0}), (0.08, {"udp": 1.0}), (0.03, {"dns": 1.0}), (0.01, {"ping": 1.0}), (0.01, {"ping6": 1.0}),
)  # fmt: skip
"""Shares of the flows, and of the kinds of frames in a flow."""
ARP = 0.02


def _frames() -> dict[str, tuple[bytes, int]]:
    """A template of each kind, from guest to gateway, and the length of the whole frame."""
    ethernet = GATEWAY + GUEST
    v4, v6 = ethernet + b"\x08\0", ethernet + b"\x86\xdd"

    def ip(proto: int, size: int) -> bytes:
        return b"\x45\0" + size.to_bytes(2, "big") + b"\0\0\x40\0\x40" + bytes([proto]) + bytes(10)

    def ip6(proto: int, size: int) -> bytes:
        return b"\x60\0\0\0" + size.to_bytes(2, "big") + bytes([proto, 64]) + bytes.fromhex("fd00aee0") + bytes(28)

    def tcp(flags: int, options: bytes) -> bytes:
        return bytes(12) + bytes([(20 + len(options)) << 2, flags]) + b"\xfa\xf0" + bytes(4) + options

    stamps = b"\1\1\x08\x0a" + bytes(8)
    sack = stamps + b"\1\1\x05\x0a" + bytes(8)
    syn = b"\2\4\5\xb4\4\2\x08\x0a" + bytes(8) + b"\1\3\3\7"
    plain = {
        "data": (v4 + ip(6, 52 + MSS) + tcp(0x18, stamps), 66 + MSS),
        "ack": (v4 + ip(6, 52) + tcp(0x10, stamps), 66),
        "sack": (v4 + ip(6, 64) + tcp(0x10, sack), 78),
        "syn": (v4 + ip(6, 60) + tcp(0x02, syn), 74),
        "data6": (v6 + ip6(6, 32 + MSS) + tcp(0x18, stamps), 86 + MSS),
        "ack6": (v6 + ip6(6, 32) + tcp(0x10, stamps), 86),
        "vlan": (ethernet + b"\x81\0\0\x07\x08\0" + ip(6, 52 + MSS) + tcp(0x18, stamps), 70 + MSS),
        "udp": (v4 + ip(17, 1228) + b"\0\0\0\0\x04\xb8\0\0", 1242),
        "dns": (v4 + ip(17, 57) + b"\0\0\0\x35\0\x25\0\0\0\0\1\0\0\1" + bytes(6) + b"\5files\3lab\0\0\1\0\1", 71),
        "ping": (v4 + ip(1, 84) + b"\x08\0\0\0", 98),
        "ping6": (v6 + ip6(58, 64) + b"\x80\0\0\0", 118),
        "arp": (b"\xff" * 6 + GUEST + bytes.fromhex("0806000108000604000102") + bytes(21), 60),
    }
    return {name: (head, size) for name, (head, size) in plain.items()}


def _put(rows: np.ndarray, where: np.ndarray, at: np.ndarray, values: np.ndarray, width: int) -> None:
    """Write big-endian numbers of ``width`` bytes at ``at`` of the chosen rows."""
    for i in range(width):
        rows[where, at + i] = (values >> (8 * (width - 1 - i))) & 0xFF


def mixed(number: int = 1_000_000, flows: int = 1000, seed: int = 1) -> Capture:
    """``number`` frames of ``flows`` flows, each frame at the NIC and later at the tunnel (or the other way round)."""
    rng = np.random.default_rng(seed)
    half = (number + 1) // 2
    templates = _frames()
    flow = rng.integers(0, flows, half)
    kind = _kinds(flow, flows, rng)
    rows = np.zeros((half, SNAP), np.uint8)
    size = np.zeros(half, np.int64)
    for which, name in enumerate(KINDS):
        head, length = templates[name]
        here = kind == which
        rows[here, : len(head)] = np.frombuffer(head, np.uint8)
        size[here] = length
    up = rng.random(half) < 0.5
    up[_is(kind, "arp", "syn")] = True
    _addresses(rows, kind, flow, up)
    _numbers(rows, kind, flow, up, rng)
    return _capture(rows, size, up, number, rng)


def _kinds(flow: np.ndarray, flows: int, rng: np.random.Generator) -> np.ndarray:
    """A kind for each frame, as its flow has them, and some ARP."""
    family = np.searchsorted(np.cumsum([share for share, _ in FAMILIES]), (np.arange(flows) + 0.5) / flows)[flow]
    kind = np.zeros(len(flow), np.int64)
    for number, (_, shares) in enumerate(FAMILIES):
        here = np.flatnonzero(family == number)
        kind[here] = rng.choice([KINDS.index(name) for name in shares], len(here), p=list(shares.values()))
    kind[rng.random(len(flow)) < ARP] = KINDS.index("arp")
    _, first = np.unique(np.where(_is(kind, "data", "ack", "sack"), flow, -1), return_index=True)
    kind[first[1:]] = KINDS.index("syn")  # what begins a flow; the first is of those that are none
    return kind


def _is(kind: np.ndarray, *names: str) -> np.ndarray:
    return np.isin(kind, [KINDS.index(name) for name in names])


def _addresses(rows: np.ndarray, kind: np.ndarray, flow: np.ndarray, up: np.ndarray) -> None:
    """Both ends of each frame; those that go down swap what the templates have."""
    down = ~up
    rows[down, :6], rows[down, 6:12] = np.frombuffer(GUEST, np.uint8), np.frombuffer(GATEWAY, np.uint8)
    six = _is(kind, "data6", "ack6", "ping6")
    four = ~six & ~_is(kind, "arp")
    at = np.where(_is(kind, "vlan"), 18, 14)
    here, there = 0x0A00020F + 0 * flow, 0xCB007100 + flow % 97  # 10.0.2.15 and 97 servers in 203.0.113.0
    for where, first, second in ((four & up, here, there), (four & down, there, here)):
        _put(rows, where, at[where] + 12, first[where], 4)
        _put(rows, where, at[where] + 16, second[where], 4)
    for where, first, second in ((six & up, 8, 24), (six & down, 24, 8)):
        _put(rows, where, 14 + first + 8 + 0 * at[where], 0x15 + 0 * flow[where], 8)
        rows[where, 14 + second : 18 + second] = np.frombuffer(bytes.fromhex("20010db8"), np.uint8)
        rows[where, 14 + first : 18 + first] = np.frombuffer(bytes.fromhex("fd00aee0"), np.uint8)
        _put(rows, where, 14 + second + 8 + 0 * at[where], flow[where] % 97, 8)
    arp = _is(kind, "arp")
    _put(rows, arp, 28 + 0 * at[arp], here[arp], 4)
    _put(rows, arp, 38 + 0 * at[arp], 0x0A000202 + 0 * flow[arp], 4)


def _numbers(rows: np.ndarray, kind: np.ndarray, flow: np.ndarray, up: np.ndarray, rng: np.random.Generator) -> None:
    """Ports, sequence numbers that go on, acknowledgements of what the other side sent, stamps, identifiers."""
    count = len(rows)
    order = np.arange(count)
    transport = np.where(_is(kind, "data6", "ack6", "ping6"), 54, np.where(_is(kind, "vlan"), 38, 34))
    tcp = _is(kind, "data", "ack", "sack", "syn", "data6", "ack6", "vlan")
    for where, mine, theirs in ((up, 0, 2), (~up, 2, 0)):
        ports = where & (tcp | _is(kind, "udp"))
        _put(rows, ports, transport[ports] + mine, 20000 + flow[ports], 2)
        _put(rows, ports, transport[ports] + theirs, 80 + flow[ports] % 3, 2)
        dns = where & _is(kind, "dns")
        _put(rows, dns, transport[dns] + mine, 40000 + flow[dns], 2)
        _put(rows, dns, transport[dns] + theirs, 53 + 0 * flow[dns], 2)
    four = ~_is(kind, "data6", "ack6", "ping6", "arp")
    _put(rows, four, transport[four] - 16, order[four], 2)
    carried = np.where(_is(kind, "data", "data6", "vlan"), MSS, 0)
    half = flow * 2 + up
    by_half = np.argsort(half, kind="stable")
    sent = np.cumsum(carried[by_half]) - carried[by_half]
    starts = np.flatnonzero(np.diff(half[by_half], prepend=-1))
    sent -= np.repeat(sent[starts], np.diff(np.append(starts, count)))
    seq = np.empty(count, np.int64)
    seq[by_half] = sent + 1000 * (half[by_half] % 1000) + 1
    again = rng.random(count) < 0.01  # what was sent before
    seq = np.where(again & (carried > 0), np.maximum(seq - carried, 1), seq)
    seq = np.where(_is(kind, "syn"), 1000 * (half % 1000), seq)  # one initial sequence number: one connection a flow
    _put(rows, tcp, transport[tcp] + 4, seq[tcp], 4)
    _put(rows, tcp, transport[tcp] + 8, 1000 * ((half[tcp] ^ 1) % 1000) + 1 + order[tcp] * 7, 4)
    stamped = tcp & ~_is(kind, "syn")
    _put(rows, stamped, transport[stamped] + 24, 100_000 + order[stamped] // 500, 4)
    _put(rows, stamped, transport[stamped] + 28, 90_000 + order[stamped] // 500, 4)
    sack = _is(kind, "sack")
    _put(rows, sack, transport[sack] + 36, seq[sack] + 2 * MSS, 4)
    _put(rows, sack, transport[sack] + 40, seq[sack] + 3 * MSS, 4)
    echo = _is(kind, "ping", "ping6")
    _put(rows, echo, transport[echo] + 4, flow[echo], 2)
    _put(rows, echo, transport[echo] + 6, order[echo], 2)
    dns = _is(kind, "dns")
    _put(rows, dns, transport[dns] + 8, order[dns], 2)
    _put(rows, dns & ~up, transport[dns & ~up] + 10, 0x8180 + 0 * order[dns & ~up], 2)


def _capture(rows: np.ndarray, size: np.ndarray, up: np.ndarray, number: int, rng: np.random.Generator) -> Capture:
    """The frames at both points, in order of time."""
    half = len(rows)
    sent = START + np.cumsum(rng.integers(GAP // 2, GAP + GAP // 2, half))
    index = np.zeros(2 * half, s.INDEX)
    for at, name in ((0, "nic"), (half, "tunnel")):
        part = index[at : at + half]
        part["t_ns"] = sent + np.where(up == (name == "nic"), 0, DELAY)
        part["off"] = np.arange(half) * SNAP
        part["cap_len"], part["frame_len"] = np.minimum(size, SNAP), size
        part["frame_id"] = np.arange(1, half + 1)
        part["point"], part["direction"] = s.POINT_OF[name], np.where(up, 0, 1)
        part["message_len"] = size + 4 if name == "tunnel" else 0
    index = np.ascontiguousarray(index[np.argsort(index["t_ns"], kind="stable")][:number])
    block = Block(rows.reshape(-1), index.view(np.uint8), 0, s.INDEX_SIZE, number)
    return Capture((block,), {"made": "mixed"}, {}, SNAP)
