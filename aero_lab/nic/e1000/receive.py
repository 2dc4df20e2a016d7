"""From the ring of frames into the guest's memory (SDM 3.2).

``R`` is the receiver's packet buffer: frames for which the driver has given no descriptors wait there, and when it is
full whoever fills it is held back. What :meth:`FrameRing.push` refuses all the same counts as missed (MPC, RXO).
"""

from __future__ import annotations

from ...compiled.memory import ones_complement_sum, u16_field
from ...compiled.registry import BYTES, I64, VOID, kernel
from ...rings.frame_ring import count, descriptor, frame_len, frame_off, get_head, get_refused, get_tail, release
from ..dma import dma_get64, dma_put8, dma_put64, dma_write
from ..port import DIRTY, P
from .filters import (
    INEXACT,
    REJECTED,
    S_DD,
    S_EOP,
    S_PIF,
    S_VP,
    accept,
    check_sums,
    is_tagged,
    kind_of,
    vlan_accepted,
)
from .interrupts import cause, received, update_pin
from .names import (
    CSUM_PCSS,
    CTRL,
    CTRL_VME,
    RCTL,
    RCTL_BSEX,
    RCTL_EN,
    RCTL_LPE,
    RCTL_SECRC,
    RDBAH,
    RDBAL,
    RDH,
    RDLEN,
    RDT,
    RXCSUM,
    RXDMT0,
    RXO,
    STATUS,
    STATUS_LU,
)
from .state import D
from .statistics import FCS, MPC, RNBC, ROC, RUC, bump, count_arrival, count_received

BATCH = 64
"""Frames taken in one call."""
FRAME_LEAST, FRAME_MOST, FRAME_LONG = 14, 1522, 16384 - FCS
"""Sizes without frame check sequence; the last is for RCTL.LPE (SDM 13.4.22)."""
NO_ROOM, NO_FIT = -1, -2
DIRTY_LEAST = DIRTY - 72
"""A frame has at most 64 buffers (16384 / 256): with so many ranges noted there might not be room for its own."""
NOWHERE = -1 << 40
"""An address beyond memory, and all those near it."""
tag_of = u16_field(14)


@kernel(I64(D))
def buffer_shift(D):
    """Binary logarithm of the size of a receive buffer (SDM 13.4.22, BSIZE and BSEX)."""
    size = D.reg[RCTL] >> 16 & 3
    if D.reg[RCTL] & RCTL_BSEX and size:
        return 15 - size
    return 11 - size


@kernel(I64(D))
def ring_base(D):
    """Address of the descriptors; beyond 2**63 it comes out as no address of memory, which it is not."""
    high = D.reg[RDBAH]
    return NOWHERE if high >= 1 << 31 else high << 32 | D.reg[RDBAL]


@kernel(I64(D))
def free_descriptors(D):
    """Descriptors that the driver has given and that are not used yet, or -1 when head or tail lies outside the
    ring."""
    n = D.reg[RDLEN] >> 4
    head, tail = D.reg[RDH], D.reg[RDT]
    if head >= n or tail >= n:
        return -1
    return tail - head if tail >= head else tail - head + n


@kernel(VOID(D, P, BYTES, BYTES, I64, I64, I64, I64, I64, I64))
def _piece(D, P, ram, frame, at, size, strip, address, start, number):
    """Store ``number`` bytes of a frame from ``start`` on: without its tag if that is stripped, with a frame check
    sequence behind it if that is wanted."""
    if address < 0:
        address = NOWHERE  # it must not come back to memory by counting up
    data = min(size - strip - start, number)
    if data > 0:
        if strip and start == 0:
            dma_write(P, ram, address, 12, frame, at)
            dma_write(P, ram, address + 12, data - 12, frame, at + 16)
        else:
            dma_write(P, ram, address, data, frame, at + start + strip)
    for i in range(max(data, 0), number):
        dma_put8(P, ram, address + i, 0)


@kernel(I64(D, P, BYTES, BYTES, I64, I64, I64, I64, I64))
def store_frame(D, P, ram, frame, at, size, strip, status, tag):
    """Store a frame in as many buffers as it takes and complete their descriptors: 0, ``NO_ROOM``, or ``NO_FIT`` when
    the whole ring is too small for it."""
    free = free_descriptors(D)
    if free < 0:
        D.bad_rings = D.bad_rings + 1
        return NO_ROOM
    n = D.reg[RDLEN] >> 4
    base = ring_base(D)
    head, tail = D.reg[RDH], D.reg[RDT]
    before = free
    while head != tail and dma_get64(P, ram, base + 16 * head) == 0:  # a null descriptor is skipped
        dma_put64(P, ram, base + 16 * head + 8, S_DD << 32)
        head = head + 1 if head + 1 < n else 0
        free -= 1
    D.reg[RDH] = head
    shift = buffer_shift(D)
    total = size - strip + (0 if D.reg[RCTL] & RCTL_SECRC else FCS)
    need = (total + (1 << shift) - 1) >> shift
    if need >= n:
        return NO_FIT
    if need > 1:
        i = head
        found = 0
        while i != tail and found < need:
            if dma_get64(P, ram, base + 16 * i):
                found += 1
            i = i + 1 if i + 1 < n else 0
        if found < need:
            return NO_ROOM
    elif free < 1:
        return NO_ROOM
    start = D.reg[RXCSUM] & CSUM_PCSS
    checksum = ones_complement_sum(frame, at + start, size - start) if start < size else 0
    done = 0
    while done < total:
        address = dma_get64(P, ram, base + 16 * head)
        result = S_DD << 32
        if address:
            number = min(total - done, 1 << shift)
            _piece(D, P, ram, frame, at, size, strip, address, done, number)
            done += number
            result = number | checksum << 16 | (status | S_DD | (S_EOP if done == total else 0)) << 32 | tag << 48
        dma_put64(P, ram, base + 16 * head + 8, result)
        head = head + 1 if head + 1 < n else 0
        free -= 1
    D.reg[RDH] = head
    threshold = n >> (1 + (D.reg[RCTL] >> 8 & 3))
    if free <= threshold and before > threshold:
        cause(D, RXDMT0)
    return 0


@kernel(I64(D, P, BYTES, BYTES, I64, I64))
def receive_frame(D, P, ram, frame, at, size):
    """One frame from the wire: 1 when it was stored, 0 when it was dropped (and counted), ``NO_ROOM`` when it has to
    wait."""
    if size < FRAME_LEAST:
        count_arrival(D, size)
        bump(D, RUC, 1)
        D.rx_too_short = D.rx_too_short + 1
        return 0
    if size > FRAME_MOST and (D.reg[RCTL] & RCTL_LPE == 0 or size > FRAME_LONG):
        count_arrival(D, size)
        bump(D, ROC, 1)
        D.rx_too_long = D.rx_too_long + 1
        return 0
    kind = kind_of(frame, at)
    verdict = accept(D, frame, at, kind)
    if verdict == REJECTED:
        count_arrival(D, size)
        D.rx_filtered = D.rx_filtered + 1
        return 0
    tagged = is_tagged(D, frame, at, size)
    status = check_sums(D, frame, at, size, tagged)
    if verdict == INEXACT:
        status |= S_PIF
    strip = 0
    tag = 0
    if tagged:
        if vlan_accepted(D, tag_of(frame, at)) == 0:
            count_arrival(D, size)
            D.rx_vlan_filtered = D.rx_vlan_filtered + 1
            return 0
        if D.reg[CTRL] & CTRL_VME:
            tag = tag_of(frame, at)
            status |= S_VP
            strip = 4
    done = store_frame(D, P, ram, frame, at, size, strip, status, tag)
    if done == NO_ROOM:
        return NO_ROOM
    count_arrival(D, size)
    count_received(D, size, kind)
    if done == NO_FIT:
        D.rx_no_fit = D.rx_no_fit + 1
        bump(D, MPC, 1)
        cause(D, RXO)
        return 0
    D.rx_frames = D.rx_frames + 1
    D.rx_bytes = D.rx_bytes + size
    return 1


@kernel(VOID(D, BYTES))
def _note_missed(D, R):
    """What the ring refused since the last time was missed."""
    refused = get_refused(R, 0)
    if refused != D.rx_refused:
        bump(D, MPC, max(refused - D.rx_refused, 0))
        D.rx_refused = refused
        cause(D, RXO)


@kernel(VOID(D, P, BYTES, BYTES, I64))
def receive(D, P, ram, R, now):
    """Take up to a batch of frames out of ``R``."""
    _note_missed(D, R)
    waiting = min(count(R), BATCH)
    if waiting == 0 or P.master == 0:
        return
    taken = 0
    stored = 0
    smallest = FRAME_LONG
    if D.reg[STATUS] & STATUS_LU == 0:
        D.rx_link_down = D.rx_link_down + waiting
        taken = waiting
    elif D.reg[RCTL] & RCTL_EN == 0:
        D.rx_disabled = D.rx_disabled + waiting
        taken = waiting
    else:
        while taken < waiting and P.dirty_count < DIRTY_LEAST:
            d = descriptor(R, taken)
            size = frame_len(R, d)
            done = receive_frame(D, P, ram, R, frame_off(R, d), size)
            if done == NO_ROOM:
                P.rx_wait = 1
                fresh = get_tail(R, 0) - max(D.rx_seen, get_head(R, 0) + taken)
                bump(D, RNBC, max(fresh, 0))
                D.rx_seen = get_tail(R, 0)
                break
            if done:
                stored += 1
                smallest = min(smallest, size)
            taken += 1
    release(R, taken)
    P.moved = P.moved + taken
    received(D, stored, smallest, now)
    update_pin(D, P, now)
