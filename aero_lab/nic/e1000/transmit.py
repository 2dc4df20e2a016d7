"""From the guest's memory onto the wire (SDM 3.3 to 3.5).

Theory of operation
-------------------
The driver lays descriptors into a ring and moves its tail (TDT); the card takes them from the head (TDH) on. Three
kinds exist: *legacy* ones and *data* descriptors, each a piece of a packet, the last with EOP; and *context*
descriptors, which carry no data but say where the headers lie that checksums and segmentation need. There are two
contexts, one for packets that are to be segmented (TSE) and one for all others; each holds until it is replaced.

A packet is taken as a whole. :func:`transmit` walks from the head to its end, adding up sizes; then its bytes are
gathered straight from guest memory into the room reserved for the frame in ``T``, where checksums are put in and
headers are made right, in place; then its descriptors are marked done (DD) and the head moves on. Nothing was changed
before that, so when ``T`` is full the packet stays where it is and is tried again (``P.tx_wait``): the ring holds the
driver back, no frame is lost. Of a packet that goes out as many segments ``tx_sent`` remembers how many have gone.

A driver may move the tail in the middle of a packet. The card takes what there is, as hardware does: those bytes are
copied to ``D.held``, their descriptors are done, and when the end comes the rest is put behind them and the packet is
sent from there. What does not fit is dropped to its end, and counted. So no packet is longer than ``HELD`` bytes, no
call takes more than ``TURNS`` descriptors, and a ring whose head or tail lies outside it moves nothing.

Without a link frames go onto a dead wire: taken, done, lost, and counted.

Every descriptor gets DD, whether it asked for it (RS) or not; the interrupt is only for those that did.
"""

from __future__ import annotations

from ...compiled.memory import copy, put_u16
from ...compiled.registry import BYTES, I64, VOID, kernel
from ...rings.frame_ring import commit, find_room
from ..dma import dma_get8, dma_get64, dma_put8, dma_read, put_u32_le, u32_le
from ..offload import IPV6, UDP, fix_segment, put_checksum, segment_count
from ..port import P
from .filters import kind_of
from .interrupts import cause, received, transmitted, update_pin
from .names import (
    CTRL,
    CTRL_VME,
    RCTL,
    RCTL_EN,
    RCTL_LBM,
    RXO,
    STATUS,
    STATUS_LU,
    TCTL,
    TCTL_EN,
    TDBAH,
    TDBAL,
    TDH,
    TDLEN,
    TDT,
    TXD_LOW,
    TXDCTL,
    TXQE,
    VET,
)
from .phy import CONTROL, CONTROL_LOOPBACK
from .receive import FRAME_LEAST, NO_ROOM, receive_frame
from .state import HELD, D
from .statistics import MPC, TSCTC, TSCTFC, bump, count_sent

TURNS = 4096
"""Descriptors taken in one call."""
FRAME_LONGEST = 16288
"""Largest packet (SDM 3.3.3)."""

# Command bits, alike in legacy and data descriptors but for two (SDM 3.3.3, 3.3.7).
EOP, IC, TSE, RS, DEXT, VLE, IDE = 1, 4, 4, 8, 0x20, 0x40, 0x80
CONTEXT_TCP, CONTEXT_IP = 1, 2
POPTS_IXSM, POPTS_TXSM = 1, 2
DD = 1
CONTEXT, DATA, LEGACY, UNKNOWN = 0, 1, 2, 3
WAIT, DONE = 0, 1


@kernel(I64(I64))
def kind_of_descriptor(upper):
    """What the upper half of a descriptor says it is. Types 2 and 3 are taken for 0 and 1."""
    if upper >> 24 & DEXT == 0:
        return LEGACY
    kind = upper >> 20 & 15
    return kind & 1 if kind < 4 else UNKNOWN


@kernel(I64(I64))
def length_of(upper):
    """Bytes of a packet that a descriptor brings."""
    kind = kind_of_descriptor(upper)
    if kind == LEGACY:
        return upper & 0xFFFF
    return upper & 0xFFFFF if kind == DATA else 0


@kernel(I64(D))
def ring_base(D):
    """Address of the descriptors; beyond 2**63 it comes out as no address of memory, which it is not."""
    high = D.reg[TDBAH]
    return -1 << 40 if high >= 1 << 31 else high << 32 | D.reg[TDBAL]


@kernel(VOID(D, I64, I64))
def load_context(D, lower, upper):
    """A context descriptor (SDM 3.3.6)."""
    command = upper >> 24 & 0xFF
    if command & TSE:
        D.tso_ipcss = lower & 0xFF
        D.tso_tucss = lower >> 32 & 0xFF
        D.tso_paylen = upper & 0xFFFFF
        D.tso_hdrlen = upper >> 40 & 0xFF
        D.tso_mss = upper >> 48 & 0xFFFF
        D.tso_command = command
        return
    D.ctx_ipcss = lower & 0xFF
    D.ctx_ipcso = lower >> 8 & 0xFF
    D.ctx_ipcse = lower >> 16 & 0xFFFF
    D.ctx_tucss = lower >> 32 & 0xFF
    D.ctx_tucso = lower >> 40 & 0xFF
    D.ctx_tucse = lower >> 48 & 0xFFFF
    D.ctx_command = command


@kernel(VOID(D, P, BYTES, I64))
def _seek(D, P, ram, position):
    """Move the cursor ``position`` bytes on from the start of descriptor ``tx_cursor``."""
    n = D.reg[TDLEN] >> 4
    base = ring_base(D)
    i = D.tx_cursor
    for _ in range(TURNS):
        length = length_of(dma_get64(P, ram, base + 16 * i + 8))
        if position < length:
            break
        position -= length
        i = i + 1 if i + 1 < n else 0
    D.tx_cursor = i
    D.tx_offset = position


@kernel(VOID(D, P, BYTES, I64, BYTES, I64))
def _take(D, P, ram, size, target, to):
    """Read the next ``size`` bytes of the packet from guest memory. They are there: somebody added them up."""
    n = D.reg[TDLEN] >> 4
    base = ring_base(D)
    for _ in range(TURNS):
        if size == 0:
            return
        upper = dma_get64(P, ram, base + 16 * D.tx_cursor + 8)
        part = min(length_of(upper) - D.tx_offset, size)
        if part > 0:
            address = dma_get64(P, ram, base + 16 * D.tx_cursor)
            dma_read(P, ram, address + D.tx_offset if address >= 0 else -1, part, target, to)
            to += part
            size -= part
            D.tx_offset = D.tx_offset + part
        if D.tx_offset >= length_of(upper):
            D.tx_cursor = D.tx_cursor + 1 if D.tx_cursor + 1 < n else 0
            D.tx_offset = 0


@kernel(VOID(D, P, BYTES, I64, I64, I64, BYTES, I64))
def gather(D, P, ram, first, position, size, T, to):
    """Copy ``size`` bytes of the packet from ``position`` on into ``T``: from what is held, or else from the buffers of
    the descriptors from ``first`` on."""
    if D.tx_held:
        copy(T, to, D.held, position, size)
        return
    D.tx_cursor = first
    _seek(D, P, ram, position)
    _take(D, P, ram, size, T, to)


@kernel(I64(D, P, BYTES, I64, I64))
def hold(D, P, ram, first, number):
    """Put the bytes of ``number`` descriptors behind what is held; how many are held then, or -1 when it is too
    much. Nothing else changes."""
    n = D.reg[TDLEN] >> 4
    base = ring_base(D)
    at = D.tx_held
    i = first
    for _ in range(number):
        length = length_of(dma_get64(P, ram, base + 16 * i + 8))
        if at + length > HELD:
            return -1
        address = dma_get64(P, ram, base + 16 * i)
        there = min(max(len(ram) - address, 0), length) if address >= 0 else 0
        if there > 0:
            copy(D.held, at, ram, address, there)
        if there < length:
            P.bad_dma = P.bad_dma + 1
            for k in range(there, length):
                D.held[at + k] = 0xFF
        at += length
        i = i + 1 if i + 1 < n else 0
    return at


@kernel(VOID(D, P, BYTES, BYTES, I64, I64, I64))
def _loop_back(D, P, ram, T, room, size, now):
    """The frame at ``room`` comes back from the PHY (SDM 8.9) or the MAC (RCTL.LBM); without a buffer it is missed."""
    D.loopbacks = D.loopbacks + 1
    if D.reg[RCTL] & RCTL_EN:
        done = receive_frame(D, P, ram, T, room, size)
        if done == NO_ROOM:
            bump(D, MPC, 1)
            cause(D, RXO)
        received(D, 1 if done == 1 else 0, size, now)


@kernel(VOID(D, P, BYTES, BYTES, I64, I64, I64, I64, I64))
def _send(D, P, ram, T, room, size, tag, now, frame):
    """Publish the frame of ``size`` bytes at ``frame``, with a VLAN tag (or none: -1); four bytes in front are free."""
    if tag >= 0:
        for i in range(3):
            put_u32_le(T, room + 4 * i, u32_le(T, frame + 4 * i))
        put_u16(T, room + 12, D.reg[VET])
        put_u16(T, room + 14, tag)
        size += 4
    kind = kind_of(T, room)
    if D.phy[CONTROL] & CONTROL_LOOPBACK or D.reg[RCTL] & RCTL_LBM:
        _loop_back(D, P, ram, T, room, size, now)
    else:
        commit(T, room, size, now, D.identity, -1, 0, 0)
        P.moved = P.moved + 1
        if D.identity:
            D.identity = D.identity + 2
    D.tx_frames = D.tx_frames + 1
    D.tx_bytes = D.tx_bytes + size
    count_sent(D, size, kind)


@kernel(VOID(D, BYTES, I64, I64, I64))
def _checksums(D, T, frame, size, last):
    """Put in the checksums that the packet's first descriptor (or, of legacy ones, its last) asks for."""
    if D.tx_extended == 0:
        if last >> 24 & IC and put_checksum(T, frame, size, last >> 40 & 0xFF, size, last >> 16 & 0xFF, 0) == 0:
            D.tx_bad_checksums = D.tx_bad_checksums + 1
        return
    if D.tx_popts & POPTS_IXSM:
        end = min(D.ctx_ipcse + 1, size) if D.ctx_ipcse else size
        if put_checksum(T, frame, size, D.ctx_ipcss, end, D.ctx_ipcso, 0) == 0:
            D.tx_bad_checksums = D.tx_bad_checksums + 1
    if D.tx_popts & POPTS_TXSM:
        end = min(D.ctx_tucse + 1, size) if D.ctx_tucse else size
        udp = 0 if D.ctx_command & CONTEXT_TCP else 1
        if put_checksum(T, frame, size, D.ctx_tucss, end, D.ctx_tucso, udp) == 0:
            D.tx_bad_checksums = D.tx_bad_checksums + 1


@kernel(I64(D, P, BYTES, BYTES, I64, I64, I64, I64, I64))
def _send_segments(D, P, ram, T, first, size, last, tag, now):
    """Send a packet as segments (SDM 3.5): ``DONE``, or ``WAIT`` when the ring was full before the last."""
    header, mss = D.tso_hdrlen, D.tso_mss
    kind = (0 if D.tso_command & CONTEXT_IP else IPV6) | (0 if D.tso_command & CONTEXT_TCP else UDP)
    number = segment_count(size, D.tso_ipcss, D.tso_tucss, header, mss, kind, FRAME_LONGEST)
    if number == 0:
        D.tx_bad_segmentation = D.tx_bad_segmentation + 1
        bump(D, TSCTFC, 1)
        return DONE
    extra = 4 if tag >= 0 else 0
    for index in range(D.tx_sent, number):
        at = header + index * mss
        length = min(size - at, mss)
        room = find_room(T, header + length + extra)
        if room < 0:
            return WAIT
        frame = room + extra
        gather(D, P, ram, first, 0, header, T, frame)
        gather(D, P, ram, first, at, length, T, frame + header)
        fix_segment(T, frame, header + length, D.tso_ipcss, D.tso_tucss, kind, index, number, mss)
        _send(D, P, ram, T, room, header + length, tag, now, frame)
        D.tx_sent = index + 1
    D.tx_segmented = D.tx_segmented + 1
    bump(D, TSCTC, 1)
    return DONE


@kernel(I64(D, P, BYTES, BYTES, I64, I64, I64, I64))
def _send_packet(D, P, ram, T, first, size, last, now):
    """Send the packet of ``size`` bytes whose last descriptor says ``last``: ``DONE`` also when it was dropped (and
    counted), or ``WAIT``."""
    if size == 0:
        return DONE  # a null descriptor
    if D.reg[STATUS] & STATUS_LU == 0:
        D.tx_link_down = D.tx_link_down + 1
        return DONE
    tag = last >> 48 & 0xFFFF if last >> 24 & VLE and D.reg[CTRL] & CTRL_VME else -1
    if D.tx_tse:
        return _send_segments(D, P, ram, T, first, size, last, tag, now)
    extra = 4 if tag >= 0 else 0
    if size < FRAME_LEAST:
        D.tx_too_short = D.tx_too_short + 1
        return DONE
    if size + extra > FRAME_LONGEST:
        D.tx_too_long = D.tx_too_long + 1
        return DONE
    room = find_room(T, size + extra)
    if room < 0:
        return WAIT
    frame = room + extra
    gather(D, P, ram, first, 0, size, T, frame)
    _checksums(D, T, frame, size, last)
    _send(D, P, ram, T, room, size, tag, now, frame)
    return DONE


@kernel(VOID(D))
def forget_packet(D):
    """No packet is under way."""
    D.tx_held = 0
    D.tx_open = 0
    D.tx_skip = 0
    D.tx_sent = 0


@kernel(VOID(D, P, BYTES, I64, I64))
def _complete(D, P, ram, number, now):
    """Mark ``number`` descriptors from the head on as done."""
    n = D.reg[TDLEN] >> 4
    base = ring_base(D)
    head = D.reg[TDH]
    for _ in range(number):
        at = base + 16 * head + 8
        command = dma_get8(P, ram, at + 3)
        dma_put8(P, ram, at + 4, dma_get8(P, ram, at + 4) | DD)
        if command & RS:
            transmitted(D, command & IDE, now)
        head = head + 1 if head + 1 < n else 0
    D.reg[TDH] = head


@kernel(I64(D, P, BYTES, BYTES, I64, I64))
def _next_packet(D, P, ram, T, most, now):
    """Take the packet at the head, or what there is of it, of at most ``most`` descriptors: how many they were, or 0
    when ``T`` has no room for it."""
    n = D.reg[TDLEN] >> 4
    base = ring_base(D)
    head, tail = D.reg[TDH], D.reg[TDT]
    size = D.tx_held
    number = 0
    upper = 0
    ended = 0
    i = head
    while i != tail and number < most and ended == 0:
        upper = dma_get64(P, ram, base + 16 * i + 8)
        kind = kind_of_descriptor(upper)
        number += 1
        i = i + 1 if i + 1 < n else 0
        if kind == CONTEXT or kind == UNKNOWN:
            if kind == CONTEXT:
                load_context(D, dma_get64(P, ram, base + 16 * i - 16 if i else base + 16 * n - 16), upper)
            else:
                D.tx_bad_descriptors = D.tx_bad_descriptors + 1
            if D.tx_open == 0:
                _complete(D, P, ram, number, now)
                return number
            continue
        if D.tx_open == 0:
            D.tx_open = 1
            D.tx_extended = 1 if kind == DATA else 0
            D.tx_tse = 1 if kind == DATA and upper >> 24 & TSE else 0
            D.tx_popts = upper >> 40 & 0xFF if kind == DATA else 0
        size += length_of(upper)
        ended = upper >> 24 & EOP
    if ended and D.tx_skip == 0 and size <= HELD:
        held = D.tx_held
        if held:
            D.tx_held = hold(D, P, ram, head, number)
        if _send_packet(D, P, ram, T, head, size, upper, now) == WAIT:
            D.tx_held = held
            if held == 0:
                D.tx_open = 0
            return 0
    elif D.tx_skip == 0:
        held = hold(D, P, ram, head, number) if ended == 0 else -1
        if held < 0:
            D.tx_overlong_packets = D.tx_overlong_packets + 1
            D.tx_skip = 1
        else:
            D.tx_held = held
    if ended:
        forget_packet(D)
    _complete(D, P, ram, number, now)
    return number


@kernel(VOID(D, P, BYTES, BYTES, I64))
def transmit(D, P, ram, T, now):
    """Send what the driver has given."""
    P.tx_wait = 0
    n = D.reg[TDLEN] >> 4
    head, tail = D.reg[TDH], D.reg[TDT]
    if head == tail or P.master == 0 or D.reg[TCTL] & TCTL_EN == 0:
        return
    if head >= n or tail >= n:
        D.bad_rings = D.bad_rings + 1
        return
    left = TURNS
    while D.reg[TDH] != tail:
        number = _next_packet(D, P, ram, T, left, now) if left else 0
        if number == 0:
            P.tx_wait = 1
            break
        left -= number
    head = D.reg[TDH]
    if head == tail:
        cause(D, TXQE)
    low = (D.reg[TXDCTL] >> 25 & 0x7F) * 8
    if low and (tail - head if tail >= head else tail - head + n) <= low:
        cause(D, TXD_LOW)
    update_pin(D, P, now)
