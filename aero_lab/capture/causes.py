"""Why each frame was sent: one cause a row, compiled, from the columns alone.

Theory of operation
-------------------
Most causes follow from the row itself (ARP, DHCP, SYN). What TCP data is follows from what its direction of the
conversation sent before, so a small state is kept for each *half*: one direction of one conversation **at one point**,
as each point sees every frame once. A half remembers the next new sequence number, and up to four holes: ranges below
it that were not seen here. New data is payload. Data seen before is a duplicate when the receiver had acknowledged it
here, else a retransmission. Data that fills a hole is payload that was overtaken when it comes within the initial
round-trip time (at least 3 ms, Wireshark's figure) of the hole's opening, else a retransmission of something lost
before this point.

A frame is judged where it is first seen. At later points it is the same frame (identity and direction join the rows),
so it has the same cause there; when one point sees the same frame twice, the network duplicated it.

Where packets travel without their frames, a row at the tunnel has no link address that tells whose conversation it is.
The identities do: a conversation of packets is that of the frames they were, from the first one that is known again.

These are Wireshark's categories: its ``tcp.analysis.retransmission`` and ``fast_retransmission`` are RETRANSMISSION
here, ``spurious_retransmission`` is DUPLICATE, ``out_of_order`` is PAYLOAD, ``keep_alive(_ack)`` and
``zero_window_probe(_ack)`` are KEEPALIVE.
"""

from __future__ import annotations

import numpy as np

from ..bounds import CAPTURE_IDENTITIES
from ..causes import Cause
from ..compiled.memory import copy, i64_native, i64_native_field, put_i64_native, put_i64_native_field, u8
from ..compiled.records import new_records
from ..compiled.registry import BYTES, I64, entry, kernel, record_type, records_type
from ..limits import CAPTURE_HALF_FLOWS, MS
from ..wire import ipv4, tcp
from . import columns as c
from . import schema as s
from .access import load_field, put_u8, put_u32le, put_u64le, store_field, u16le, u32le, u64le
from .segment import KIND_RELAYED, KIND_UNKNOWN
from .tables import mixed

REORDER_WINDOW = 3 * MS
HOLES = 4
HALF = np.dtype(
    [
        (name, np.int64)
        for name in ("owner", "started", "nxt", "isn", "acked", "window", "probe", "syn_time", "rtt", "holes")
    ]
    + [(name, np.int64, HOLES) for name in ("left", "right", "opened")]
)
"""What one direction of a conversation did at one point. ``owner`` is the half's number + 1; ``started`` tells that
``nxt`` is known, ``acked`` and ``isn`` are -1 when unknown, ``window`` is as advertised (-1 unknown), ``rtt`` is the
handshake's."""
HALF_RECORD, HALVES = record_type(HALF), records_type(HALF)

UNKNOWN, PAYLOAD, ACK, HANDSHAKE = int(Cause.UNKNOWN), int(Cause.PAYLOAD), int(Cause.ACK), int(Cause.HANDSHAKE)
RETRANSMISSION, DUPLICATE, KEEPALIVE = int(Cause.RETRANSMISSION), int(Cause.DUPLICATE), int(Cause.KEEPALIVE)
ARP, DHCP, DNS, ICMP = int(Cause.ARP), int(Cause.DHCP), int(Cause.DNS), int(Cause.ICMP)
BROADCAST, FRAMING = int(Cause.BROADCAST), int(Cause.TUNNEL_FRAMING)

A_CAUSE = s.AT["cause"]
A_DELAY = s.AT["tunnel_delay"]
M32 = 0xFFFFFFFF
POINTS = len(s.POINTS)
HALVES_OF_FLOW = 2 * POINTS
FLOW_STATE = 40
"""Bytes of state of a conversation: number of its present connection + 1, the initial sequence numbers + 1 of both
sides, whether anything but SYNs was seen, and of one without link addresses the conversation + 1 that it is."""
ALIAS = 32


@kernel(I64(I64, I64))
def later(a, b):
    """How far sequence number ``a`` is behind ``b``: negative when it is before it."""
    return ((a - b + 0x80000000) & M32) - 0x80000000


@kernel(I64(HALF_RECORD, I64, I64))
def _fill(half, seq, end):
    """Take ``seq`` to ``end`` out of the holes; returns when the hole it fell in was opened, else -1."""
    opened, kept, split = -1, 0, -1
    number = half.holes
    for i in range(number):
        left, right, when = half.left[i], half.right[i], half.opened[i]
        if later(seq, right) < 0 and later(end, left) > 0:
            opened = when
            if later(seq, left) > 0 and later(end, right) < 0:
                split = right
            if later(seq, left) > 0:
                right = seq
            elif later(end, right) < 0:
                left = end
            else:
                continue
        half.left[kept], half.right[kept], half.opened[kept] = left, right, when
        kept += 1
    if split >= 0 and kept < HOLES:  # with all holes in use, what is behind counts as seen
        half.left[kept], half.right[kept], half.opened[kept] = end, split, opened
        kept += 1
    half.holes = kept
    return opened


@kernel(I64(HALF_RECORD, I64, I64, I64))
def _advance(half, seq, end, now):
    """Note data or FIN from ``seq`` to ``end`` beyond what was sent before, opening a hole when some is missing."""
    if half.started and later(seq, half.nxt) > 0:
        if half.holes == HOLES:
            for i in range(HOLES - 1):
                half.left[i], half.right[i], half.opened[i] = half.left[i + 1], half.right[i + 1], half.opened[i + 1]
            half.holes = HOLES - 1
        i = half.holes
        half.left[i], half.right[i], half.opened[i] = half.nxt, seq, now
        half.holes = i + 1
    half.nxt = end
    half.started = 1
    return 0


@kernel(I64(HALF_RECORD, HALF_RECORD, I64, I64, I64, I64, I64))
def _data(mine, theirs, seq, end, size, fin, now):
    """Cause of a segment with data, or with a FIN alone (``size`` 0)."""
    new = PAYLOAD if size > 0 else HANDSHAKE
    if not mine.started:
        _advance(mine, seq, end, now)
        return new
    acked = theirs.acked
    if size == 1 and not fin:
        behind = later(mine.nxt, seq)
        if behind == 1 and acked >= 0 and (later(acked, mine.nxt) >= 0 or theirs.window == 0):
            mine.probe = 1
            return KEEPALIVE
        if behind == 0 and theirs.window == 0:  # zero-window probe; not counted as sent until it is taken
            mine.probe = 1
            return KEEPALIVE
    if later(end, mine.nxt) > 0:
        if later(seq, mine.nxt) < 0:
            _fill(mine, seq, mine.nxt)
        _advance(mine, seq, end, now)
        return new
    opened = _fill(mine, seq, end)
    if opened >= 0:
        return new if now - opened <= max(REORDER_WINDOW, mine.rtt) else RETRANSMISSION
    return DUPLICATE if acked >= 0 and later(acked, end) >= 0 else RETRANSMISSION


@kernel(I64(HALF_RECORD, HALF_RECORD, I64, I64, I64, I64, I64, I64))
def _segment(mine, theirs, flags, seq, ack, window, size, now):
    """Cause of one TCP segment; brings both halves up to date."""
    fin = flags & tcp.FIN
    if flags & tcp.SYN:
        why = HANDSHAKE if size == 0 else PAYLOAD
        if mine.started and mine.isn == seq:
            why = RETRANSMISSION
        else:
            mine.started, mine.isn, mine.nxt, mine.holes = 1, seq, (seq + 1 + size) & M32, 0
            mine.probe = 0
            if not flags & tcp.ACK:
                mine.syn_time = now
    elif flags & tcp.RST:
        why = HANDSHAKE
    elif size > 0 or fin:
        why = _data(mine, theirs, seq, (seq + size + fin) & M32, size, fin, now)
    elif mine.started and later(mine.nxt, seq) == 1:
        why = KEEPALIVE
        mine.probe = 1
    elif theirs.probe and mine.acked == ack and mine.nxt == seq:
        why = KEEPALIVE
    else:
        why = ACK
        if not mine.started:
            mine.started, mine.nxt = 1, seq
    if flags & tcp.ACK:
        if mine.acked < 0 or later(ack, mine.acked) > 0 or flags & tcp.SYN:
            mine.acked = ack
        if mine.syn_time >= 0 and not flags & tcp.SYN:
            mine.rtt = now - mine.syn_time
            theirs.rtt = mine.rtt
            mine.syn_time = -1
    theirs.probe = 0
    mine.window = -1 if flags & (tcp.SYN | tcp.RST) else window
    return why


@kernel(I64(HALVES, BYTES, BYTES, I64))
def _half(halves, slots, world, number):
    """Index of the state of half ``number`` (flow, point, side); an old half gives way when all are taken."""
    held = u32le(slots, 4 * number)
    if held > 0 and halves[held - 1].owner == number + 1:
        return held - 1
    at = i64_native(world, 8)
    put_i64_native(world, 8, (at + 1) % len(halves))
    put_u32le(slots, 4 * number, at + 1)
    half = halves[at]
    half.owner, half.started, half.nxt, half.isn, half.acked = number + 1, 0, 0, -1, -1
    half.window, half.probe, half.syn_time, half.rtt, half.holes = -1, 0, -1, 0, 0
    return at


@kernel(I64(BYTES, BYTES, I64, I64, I64, I64, I64))
def _connection(world, conversations, number, side, flags, seq, is_tcp):
    """Number of the connection that a conversation is at: a SYN with a new initial sequence number begins one."""
    at = FLOW_STATE * number
    current = i64_native(conversations, at)
    if is_tcp and flags & (tcp.SYN | tcp.ACK) == tcp.SYN:
        isn = i64_native(conversations, at + 8 + 8 * side)
        if current and isn != seq + 1 and (isn > 0 or i64_native(conversations, at + 24)):
            current = 0
    if current == 0:
        current = i64_native(world, 0) + 1
        put_i64_native(world, 0, current)
        put_i64_native(conversations, at, current)
        for i in range(3):
            put_i64_native(conversations, at + 8 + 8 * i, 0)
    if is_tcp and flags & tcp.SYN:
        put_i64_native(conversations, at + 8 + 8 * side, seq + 1)
    else:
        put_i64_native(conversations, at + 24, 1)
    return current - 1


@kernel(I64(BYTES, I64, I64, I64))
def _plain_cause(out, rows, row, has):
    """Cause of a row that is not TCP."""
    group = u8(out, rows * c.A_GROUP + row)
    if has & s.HAS_ARP:
        return ARP
    if not has & s.HAS_IP:
        return BROADCAST if group else UNKNOWN
    proto = u8(out, rows * c.A_PROTO + row)
    if has & s.HAS_UDP:
        src, dst = u16le(out, rows * c.A_SRCPORT + 2 * row), u16le(out, rows * c.A_DSTPORT + 2 * row)
        if src == 67 or src == 68 or dst == 67 or dst == 68 or src == 546 or src == 547 or dst == 546 or dst == 547:
            return DHCP
        if src == 53 or dst == 53:
            return DNS
    elif proto == ipv4.ICMPV6 and has & s.HAS_ICMP:
        kind = u8(out, rows * c.A_ICMP_TYPE + row)
        if 133 <= kind <= 137:
            return ARP
        if kind == 143 or 130 <= kind <= 132:
            return BROADCAST
        return ICMP
    elif proto == ipv4.ICMP or proto == ipv4.ICMPV6:
        return ICMP
    return BROADCAST if group else PAYLOAD


# Identities: what is remembered of a frame that was seen, so that it is known again at another point. A power of two of
# slots; 0 in the set of points marks a free one.
IDENTITY_SIZE = 32
seen_id, put_seen_id = i64_native_field(0), put_i64_native_field(0)
seen_time, put_seen_time = i64_native_field(8), put_i64_native_field(8)
seen_len, put_seen_len = load_field(16, 4), store_field(16, 4)
seen_cause, put_seen_cause = load_field(20, 1), store_field(20, 1)
seen_points, put_seen_points = load_field(21, 1), store_field(21, 1)
seen_point, put_seen_point = load_field(22, 1), store_field(22, 1)
seen_direction, put_seen_direction = load_field(23, 1), store_field(23, 1)
seen_conversation, put_seen_conversation = load_field(24, 4), store_field(24, 4)  # its number + 1, 0 for none
seen_bare, put_seen_bare = load_field(28, 4), store_field(28, 4)  # without a link header
FIRST_IDENTITIES = 1 << 15
FLOWS_NUMBERED, NEXT_HALF, IDENTITIES = 0, 8, 16
"""Where the world has how many flows were numbered, the next half to give, and the identities in the table."""


@kernel(I64(BYTES, I64, I64))
def _identity(seen, identity, direction):
    """Offset of the slot of a frame, or of the free one where it belongs. Eight frames that follow each other are
    neighbours in the table, as they are in a capture."""
    mask = len(seen) // IDENTITY_SIZE - 1
    at = ((mixed(identity >> 3, direction, 0) << 3) | (identity & 7)) & mask
    while True:
        slot = IDENTITY_SIZE * at
        if seen_points(seen, slot) == 0:
            return slot
        if seen_id(seen, slot) == identity and seen_direction(seen, slot) == direction:
            return slot
        at = (at + 1) & mask


@entry
@kernel(I64(BYTES, BYTES))
def move_identities(seen, larger):
    """Put what one table of identities remembers into an empty larger one; returns how many."""
    moved = 0
    for i in range(len(seen) // IDENTITY_SIZE):
        slot = IDENTITY_SIZE * i
        if seen_points(seen, slot) != 0:
            copy(larger, _identity(larger, seen_id(seen, slot), seen_direction(seen, slot)), seen, slot, IDENTITY_SIZE)
            moved += 1
    return moved


@kernel(I64(BYTES, I64, I64))
def _bare(out, rows, row):
    """Whether a row's frame has no link addresses."""
    return 1 if u32le(out, rows * c.A_HAS + 4 * row) & s.HAS_ETHERNET == 0 else 0


@kernel(I64(BYTES, I64, I64, I64, BYTES, BYTES, BYTES))
def _conversation(out, rows, row, number, conversations, seen, older):
    """The conversation that a row of conversation ``number`` belongs to, by the frame that its packet was elsewhere."""
    bare = _bare(out, rows, row)
    if u32le(out, rows * c.A_HAS + 4 * row) & s.HAS_ID:
        identity, direction = u64le(out, rows * c.A_ID + 8 * row), u8(out, rows * c.A_DIRECTION + row)
        slot = _identity(seen, identity, direction)
        other, other_bare = seen_conversation(seen, slot), seen_bare(seen, slot)
        if seen_points(seen, slot) == 0:
            slot = _identity(older, identity, direction)
            other, other_bare = seen_conversation(older, slot), seen_bare(older, slot)
        if other and other_bare != bare:
            if bare:
                put_i64_native(conversations, FLOW_STATE * number + ALIAS, other)
            else:
                put_i64_native(conversations, FLOW_STATE * (other - 1) + ALIAS, number + 1)
    alias = i64_native(conversations, FLOW_STATE * number + ALIAS)
    return alias - 1 if bare and alias else number


@kernel(I64(BYTES, I64, I64, I64, BYTES, I64, I64))
def _again(out, rows, row, why, seen, slot, now):
    """Cause of a row whose frame is remembered at ``slot``, where this sighting is noted; sets the row's delay."""
    point = u8(out, rows * c.A_POINT + row)
    if seen_bare(seen, slot) == _bare(out, rows, row) and seen_len(seen, slot) != u32le(out, rows * c.A_LEN + 4 * row):
        return why
    points = seen_points(seen, slot)
    put_seen_points(seen, slot, points | (1 << point))
    if seen_point(seen, slot) != point:
        put_u64le(out, rows * A_DELAY + 8 * row, now - seen_time(seen, slot))
        put_u32le(out, rows * c.A_HAS + 4 * row, u32le(out, rows * c.A_HAS + 4 * row) | s.HAS_DELAY)
    return DUPLICATE if points & (1 << point) else seen_cause(seen, slot)


@kernel(I64(BYTES, I64, I64, I64, BYTES, BYTES, BYTES, I64, I64))
def _recognised(out, rows, row, why, world, seen, older, conversation, now):
    """Cause of a row whose frame may have been seen before, at another point or at this one; remembers it."""
    identity, direction = u64le(out, rows * c.A_ID + 8 * row), u8(out, rows * c.A_DIRECTION + row)
    slot = _identity(seen, identity, direction)
    if seen_points(seen, slot) != 0:
        return _again(out, rows, row, why, seen, slot, now)
    before = _identity(older, identity, direction)
    if seen_points(older, before) != 0:
        return _again(out, rows, row, why, older, before, now)
    point = u8(out, rows * c.A_POINT + row)
    put_i64_native(world, IDENTITIES, i64_native(world, IDENTITIES) + 1)
    put_seen_id(seen, slot, identity)
    put_seen_time(seen, slot, now)
    put_seen_len(seen, slot, u32le(out, rows * c.A_LEN + 4 * row))
    put_seen_cause(seen, slot, why)
    put_seen_points(seen, slot, 1 << point)
    put_seen_point(seen, slot, point)
    put_seen_direction(seen, slot, direction)
    put_seen_conversation(seen, slot, conversation + 1)
    put_seen_bare(seen, slot, _bare(out, rows, row))
    return why


@entry
@kernel(I64(BYTES, I64, I64, I64, BYTES, BYTES, HALVES, BYTES, BYTES, BYTES))
def classify(out, rows, first, number, world, conversations, halves, slots, seen, older):
    """Set ``cause`` and ``tunnel_delay`` of rows ``first`` to ``first + number`` and number their flows by connection.

    The rest is state that goes on from call to call: ``world`` holds counters; ``conversations`` has :data:`FLOW_STATE`
    bytes for each number that the dissector gave; ``slots`` four bytes for each half of each connection; ``seen`` the
    identities seen lately and ``older`` those before, with room in ``seen`` for each row, at most half full.
    """
    for i in range(number):
        row = first + i
        has = u32le(out, rows * c.A_HAS + 4 * row)
        kind = u8(out, rows * c.A_KIND + row)
        if kind != 0:
            why = KEEPALIVE if kind == 1 or kind == 2 else FRAMING
            if KIND_RELAYED <= kind < KIND_UNKNOWN:
                why = kind - KIND_RELAYED
            put_u8(out, rows * A_CAUSE + row, why)
            continue
        why, flow_id, conversation = UNKNOWN, -1, -1
        point = u8(out, rows * c.A_POINT + row)
        now = u64le(out, rows * c.A_TIME + 8 * row)
        if has & s.HAS_FLOW:
            side = u8(out, rows * c.A_SIDE + row)
            is_tcp = 1 if has & s.HAS_TCP else 0
            flags, seq = u16le(out, rows * c.A_FLAGS + 2 * row), u32le(out, rows * c.A_SEQ + 4 * row)
            conversation = u32le(out, rows * c.A_FLOW + 4 * row)
            number_of = _conversation(out, rows, row, conversation, conversations, seen, older)
            flow_id = _connection(world, conversations, number_of, side, flags, seq, is_tcp)
            put_u32le(out, rows * c.A_FLOW + 4 * row, flow_id)
            if is_tcp:
                base = HALVES_OF_FLOW * flow_id + 2 * point
                a = _half(halves, slots, world, base + side)
                b = _half(halves, slots, world, base + 1 - side)
                if a == b:  # the second took the first one's place
                    a = _half(halves, slots, world, base + side)
                mine, theirs = halves[a], halves[b]
                ack, window = u32le(out, rows * c.A_ACK + 4 * row), u16le(out, rows * c.A_WINDOW + 2 * row)
                size = u16le(out, rows * c.A_TCP_LEN + 2 * row)
                why = _segment(mine, theirs, flags, seq, ack, window, size, now)
                if why == PAYLOAD:
                    if u16le(out, rows * c.A_SRCPORT + 2 * row) == 53 or u16le(out, rows * c.A_DSTPORT + 2 * row) == 53:
                        why = DNS
        if not has & s.HAS_TCP:
            why = _plain_cause(out, rows, row, has)
        if has & s.HAS_ID:
            why = _recognised(out, rows, row, why, world, seen, older, conversation, now)
        put_u8(out, rows * A_CAUSE + row, why)
    return number


class State:
    """What the classification remembers from chunk to chunk. It grows with the conversations of a capture, not with its
    frames: of frames only the latest are known again."""

    def __init__(self) -> None:
        self.world = np.zeros(64, np.uint8)
        self._numbers = self.world.view(np.int64)
        self.conversations = np.zeros(64 * FLOW_STATE, np.uint8)
        self.slots = np.zeros(64 * 4 * HALVES_OF_FLOW, np.uint8)
        self.halves = new_records(HALF, CAPTURE_HALF_FLOWS)  # untouched pages cost nothing
        self._conversations = 0
        self.seen = np.zeros(IDENTITY_SIZE * FIRST_IDENTITIES, np.uint8)
        self.older = np.zeros(IDENTITY_SIZE, np.uint8)

    def classify(self, out: np.ndarray, rows: int, number: int, conversations: int) -> None:
        """Classify the first ``number`` rows of a chunk, after ``conversations`` were numbered in all."""
        has = _column(out, rows, number, "has")
        syns = int(np.count_nonzero((has & s.HAS_TCP != 0) & (_column(out, rows, number, "tcp_flags") & 0x12 == 0x02)))
        known = len(self.conversations) // FLOW_STATE
        new = max(0, conversations - self._conversations)
        self._conversations = max(conversations, self._conversations)
        if conversations > known:
            self.conversations = _larger(self.conversations, FLOW_STATE * max(conversations, 2 * known))
        connections = int(self._numbers[0]) + new + syns
        if 4 * HALVES_OF_FLOW * connections > len(self.slots):
            self.slots = _larger(self.slots, max(4 * HALVES_OF_FLOW * connections, 2 * len(self.slots)))
        self._make_room(int(np.count_nonzero(has & s.HAS_ID)))
        classify(
            out, rows, 0, number, self.world, self.conversations, self.halves, self.slots, self.seen, self.older
        )  # fmt: skip

    def _make_room(self, more: int) -> None:
        """Have room in the table of identities for ``more``."""
        wanted = 2 * (int(self._numbers[2]) + more)
        slots = len(self.seen) // IDENTITY_SIZE
        if wanted <= slots:
            return
        if wanted > 2 * CAPTURE_IDENTITIES:  # remember two generations, then forget the elder
            self.older, self._numbers[2] = self.seen, 0
            self.seen = np.zeros(max(len(self.seen), IDENTITY_SIZE << (2 * more).bit_length()), np.uint8)
            return
        larger = np.zeros(IDENTITY_SIZE << max(slots.bit_length() + 1, wanted.bit_length()), np.uint8)
        move_identities(self.seen, larger)
        self.seen = larger


def _column(out: np.ndarray, rows: int, number: int, name: str) -> np.ndarray:
    at, width = rows * s.AT[name], s.WIDTH[name]
    return out[at : at + width * number].view(s.RAW[name])


def _larger(array: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros(size, np.uint8)
    out[: len(array)] = array
    return out
