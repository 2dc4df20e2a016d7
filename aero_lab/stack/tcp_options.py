"""TCP options, in and out (RFC 9293 section 3.2, RFC 7323, RFC 2018, RFC 2883)."""

from ..compiled.memory import put_u8, put_u16, put_u32, u8, u16, u32
from ..compiled.registry import BYTES, I64, kernel
from .drops import Drop
from .holding import ack_number
from .world import C_T, W_T, unwrap

TIMESTAMPS_ALIGNED = 0x0101080A  # NOP NOP kind length, as every system sends it (RFC 7323 appendix A)
MAX_OPTIONS = 40


@kernel(I64(W_T, BYTES, I64, I64))
def parse_options(W, buf, at, end):
    """Read the options between ``at`` and ``end`` into ``W.seg_*``. 0, or the :class:`Drop` reason when they are
    malformed.

    A length below 2 or past the header makes the whole segment malformed: what follows cannot be trusted.
    """
    W.seg_mss = 0
    W.seg_wscale = -1
    W.seg_sack_ok = 0
    W.seg_has_ts = 0
    W.seg_blocks = 0
    if end - at == 12 and u32(buf, at) == TIMESTAMPS_ALIGNED:
        W.seg_has_ts = 1
        W.seg_tsval = u32(buf, at + 4)
        W.seg_tsecr = u32(buf, at + 8)
        return 0
    while at < end:
        kind = u8(buf, at)
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if at + 2 > end:
            return Drop.TCP_OPTIONS
        size = u8(buf, at + 1)
        if size < 2 or at + size > end:
            return Drop.TCP_OPTIONS
        if kind == 2 and size == 4:
            W.seg_mss = u16(buf, at + 2)
        elif kind == 3 and size == 3:
            W.seg_wscale = min(u8(buf, at + 2), 14)  # RFC 7323 section 2.3
        elif kind == 4 and size == 2:
            W.seg_sack_ok = 1
        elif kind == 8 and size == 10:
            W.seg_has_ts = 1
            W.seg_tsval = u32(buf, at + 2)
            W.seg_tsecr = u32(buf, at + 6)
        elif kind == 5 and size >= 10 and (size - 2) % 8 == 0:
            number = min((size - 2) // 8, 4)
            for i in range(number):
                W.seg_block_l[i] = u32(buf, at + 2 + 8 * i)
                W.seg_block_r[i] = u32(buf, at + 6 + 8 * i)
            W.seg_blocks = number
        at += size
    return 0


@kernel(I64(C_T, I64))
def ts_clock(c, now):
    """Our timestamp clock: milliseconds from a random start (RFC 7323 section 5.4)."""
    return (now // 1_000_000 + c.ts_offset) & 0xFFFFFFFF


@kernel(I64(W_T, C_T, BYTES, I64, I64))
def put_syn_options(W, c, tx, at, now):
    """Write the options of a SYN or SYN-ACK in the configured system's order; returns their length."""
    start = at
    put_u16(tx, at, 0x0204)
    put_u16(tx, at + 2, W.tcp_mss if c.family == 4 else W.tcp_mss - 20)
    at += 4
    if W.tcp_layout == 0:  # linux: mss, sack + timestamps, nop, scale
        if c.ts_ok:
            if c.sack_ok:
                put_u16(tx, at, 0x0402)
            else:
                put_u16(tx, at, 0x0101)
            put_u16(tx, at + 2, 0x080A)
            put_u32(tx, at + 4, ts_clock(c, now))
            put_u32(tx, at + 8, c.ts_recent)
            at += 12
        elif c.sack_ok:
            put_u32(tx, at, 0x01010402)
            at += 4
        if c.rcv_shift >= 0:
            put_u32(tx, at, 0x01030300 | c.rcv_shift)
            at += 4
    else:  # windows7: mss, nop, scale, then nop nop sack, or sack + timestamps
        if c.rcv_shift >= 0:
            put_u32(tx, at, 0x01030300 | c.rcv_shift)
            at += 4
        if c.ts_ok:
            if c.sack_ok:
                put_u16(tx, at, 0x0402)
            else:
                put_u16(tx, at, 0x0101)
            put_u16(tx, at + 2, 0x080A)
            put_u32(tx, at + 4, ts_clock(c, now))
            put_u32(tx, at + 8, c.ts_recent)
            at += 12
        elif c.sack_ok:
            put_u32(tx, at, 0x01010402)
            at += 4
    return at - start


@kernel(I64(C_T))
def blocks_to_send(c):
    """SACK blocks waiting to be told, the duplicate's included."""
    if c.sack_ok == 0:
        return 0
    blocks = c.blocks
    if c.ack_hold >= 0 and ack_number(c) < c.rcv_nxt:
        blocks = 0  # held data before the gap would look lost
    return blocks + (1 if c.dsack_r > c.dsack_l else 0)


@kernel(I64(C_T, BYTES, I64, I64))
def put_block(c, tx, at, i):
    """Write out-of-order range ``i`` as one SACK block."""
    put_u32(tx, at, c.block_l[i])
    put_u32(tx, at + 4, c.block_r[i])
    return at + 8


@kernel(I64(W_T, C_T, BYTES, I64, I64, I64))
def put_options(W, c, tx, at, number, now):
    """Write timestamps and ``number`` SACK blocks: the duplicate first (RFC 2883), then the most recent range, then the
    others."""
    start = at
    if c.ts_ok:
        put_u32(tx, at, TIMESTAMPS_ALIGNED)
        put_u32(tx, at + 4, ts_clock(c, now))
        put_u32(tx, at + 8, c.ts_recent)
        at += 12
    if number > 0:
        put_u16(tx, at, 0x0101)
        put_u8(tx, at + 2, 5)
        put_u8(tx, at + 3, 2 + 8 * number)
        at += 4
        if c.dsack_r > c.dsack_l:
            put_u32(tx, at, c.dsack_l)
            put_u32(tx, at + 4, c.dsack_r)
            at += 8
            number -= 1
        recent = -1
        for i in range(c.blocks):
            if c.block_l[i] <= c.recent_l and c.recent_l < c.block_r[i]:
                recent = i
        if recent >= 0 and number > 0:
            at = put_block(c, tx, at, recent)
            number -= 1
        for i in range(c.blocks):
            if i != recent and number > 0:
                at = put_block(c, tx, at, i)
                number -= 1
    return at - start


@kernel(I64(W_T, C_T))
def update_mss(W, c):
    """Largest payload of a segment: the peer's MSS and the path MTU less what every segment carries (RFC 6691)."""
    headers = 40 if c.family == 4 else 60
    mss = min(c.peer_mss, c.pmtu - headers)
    if c.ts_ok:
        mss -= 12
    c.mss = max(mss, 8)
    return c.mss


@kernel(I64(W_T, C_T, I64))
def unwrap_left(W, c, i):
    """Left edge of an arrived SACK block in our 64-bit numbers."""
    return unwrap(W.seg_block_l[i], c.snd_una)


@kernel(I64(W_T, C_T, I64))
def unwrap_right(W, c, i):
    """Right edge of an arrived SACK block in our 64-bit numbers."""
    return unwrap(W.seg_block_r[i], c.snd_una)
