"""Sending UDP datagrams, whole or in fragments (RFC 768, RFC 791, RFC 8200 section 4.5)."""

from ..compiled.memory import copy, ones_complement_sum, put_u8, put_u16, put_u32
from ..compiled.registry import BYTES, I64, kernel
from ..wire import ethernet, udp
from .drops import Count, Drop
from .neighbours import resolve
from .output import finish, put_ethernet, put_ip, room_for, words
from .world import W_T, count, drop, random32

FRAGMENT = 44


@kernel(I64(W_T, BYTES, I64, I64, BYTES, I64, I64, I64))
def put_piece(W, tx, at, skip, data, length, ports, checksum):
    """Write bytes ``skip`` .. ``skip + length`` of the datagram (its eight header bytes included) at ``at``."""
    done = 0
    if skip == 0:
        udp.put_srcport(tx, at, ports >> 16)
        udp.put_dstport(tx, at, ports & 0xFFFF)
        udp.put_length(tx, at, 8 + len(data))
        udp.put_checksum(tx, at, checksum)
        done = 8
    copy(tx, at + done, data, skip + done - 8, length - done)
    return 0


@kernel(I64(W_T, BYTES, I64, I64, I64, I64, I64, I64, BYTES, I64, I64, I64))
def send_udp(W, tx, src_hi, src_lo, sport, dst_hi, dst_lo, dport, data, ttl, cause, now):
    """Send one datagram. 1; 0 when there is no room or no link address yet, or when it exceeds 65,535 bytes."""
    family4 = dst_hi == 0 and (dst_lo >> 32) == 0xFFFF
    ip_size = 20 if family4 else 40
    total = 8 + len(data)
    if total > 65535 - (20 if family4 else 0):
        return drop(W, Drop.UDP_TOO_BIG)
    mac_hi, mac_lo = 0, 0
    if W.ethernet:
        group4 = family4 and (dst_lo & 0xFFFFFFFF) >> 28 == 14
        if family4 and dst_lo & 0xFFFFFFFF == 0xFFFFFFFF:
            mac_hi, mac_lo = 0xFFFF, 0xFFFFFFFF
        elif group4:
            mac_hi, mac_lo = 0x0100, 0x5E000000 | (dst_lo & 0x7FFFFF)
        elif not family4 and (dst_hi >> 56) & 0xFF == 0xFF:
            mac_hi, mac_lo = 0x3333, dst_lo & 0xFFFFFFFF
        else:
            i = resolve(W, tx, dst_hi, dst_lo, now)
            if i < 0:
                return 0
            mac_hi, mac_lo = W.n_mac_hi[i], W.n_mac_lo[i]
    checksum = words(src_hi, src_lo) + words(dst_hi, dst_lo) + 17 + total + sport + dport + total
    checksum += ones_complement_sum(data, 0, len(data))
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    checksum = 0xFFFF ^ checksum
    if checksum == 0:
        checksum = 0xFFFF
    ports = (sport << 16) | dport
    ethertype = ethernet.TYPE_IPV4 if family4 else ethernet.TYPE_IPV6
    count(W, Count.DATAGRAMS_OUT)
    if ip_size + total <= W.mtu:
        at = room_for(W, tx, 14 + ip_size + total)
        if at < 0:
            return drop(W, Drop.TX_FULL)
        here = put_ethernet(W, tx, at, mac_hi, mac_lo, ethertype)
        body = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, 17, total, ttl, 0, 0)
        put_piece(W, tx, body, 0, data, total, ports, checksum)
        return finish(W, tx, at, 14 + ip_size + total, -1, cause, now)
    room = (W.mtu - ip_size - (0 if family4 else 8)) & ~7
    identity = W.ip_id
    token = random32(W)
    skip = 0
    while skip < total:
        length = min(room, total - skip)
        more = 1 if skip + length < total else 0
        extra = 0 if family4 else 8
        at = room_for(W, tx, 14 + ip_size + extra + length)
        if at < 0:
            return drop(W, Drop.TX_FULL)
        here = put_ethernet(W, tx, at, mac_hi, mac_lo, ethertype)
        if family4:
            W.ip_id = identity  # put_ip counts it up: every fragment gets the same number
            body = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, 17, length, ttl, 0, (more << 13) | (skip >> 3))
        else:
            body = put_ip(W, tx, here, src_hi, src_lo, dst_hi, dst_lo, FRAGMENT, 8 + length, ttl, 0, 0)
            put_u8(tx, body, 17)
            put_u8(tx, body + 1, 0)
            put_u16(tx, body + 2, skip | more)
            put_u32(tx, body + 4, token)
            body += 8
        put_piece(W, tx, body, skip, data, length, ports, checksum)
        finish(W, tx, at, 14 + ip_size + extra + length, -1, cause, now)
        skip += length
    return 1
