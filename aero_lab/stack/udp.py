"""Sending UDP datagrams (RFC 768)."""

from ..compiled.registry import BYTES, I64, kernel
from ..wire import udp
from .drops import Count, Drop
from .neighbours import resolve
from .output import send_packet, transport_checksum
from .world import W_T, count, drop


@kernel(I64(W_T, BYTES, I64, I64, I64, I64, I64, I64, BYTES, I64, I64, I64))
def send_udp(W, tx, src_hi, src_lo, sport, dst_hi, dst_lo, dport, data, ttl, cause, now):
    """Send one datagram; ``data`` is its payload behind eight bytes of room for the header, which is written there.

    1; 0 when there is no room or no link address yet, or when it exceeds 65,535 bytes.
    """
    family4 = dst_hi == 0 and (dst_lo >> 32) == 0xFFFF
    total = len(data)
    if total > 65535 - (20 if family4 else 0):
        return drop(W, Drop.UDP_TOO_BIG)
    mac_hi, mac_lo = 0, 0
    if W.ethernet:
        if family4 and dst_lo & 0xFFFFFFFF == 0xFFFFFFFF:
            mac_hi, mac_lo = 0xFFFF, 0xFFFFFFFF
        elif family4 and (dst_lo & 0xFFFFFFFF) >> 28 == 14:
            mac_hi, mac_lo = 0x0100, 0x5E000000 | (dst_lo & 0x7FFFFF)
        elif not family4 and (dst_hi >> 56) & 0xFF == 0xFF:
            mac_hi, mac_lo = 0x3333, dst_lo & 0xFFFFFFFF
        else:
            i = resolve(W, tx, dst_hi, dst_lo, now)
            if i < 0:
                return 0
            mac_hi, mac_lo = W.n_mac_hi[i], W.n_mac_lo[i]
    udp.put_srcport(data, 0, sport)
    udp.put_dstport(data, 0, dport)
    udp.put_length(data, 0, total)
    udp.put_checksum(data, 0, 0)
    checksum = transport_checksum(data, 0, total, src_hi, src_lo, dst_hi, dst_lo, 17)
    udp.put_checksum(data, 0, 0xFFFF if checksum == 0 else checksum)
    count(W, Count.DATAGRAMS_OUT)
    return send_packet(W, tx, data, 0, total, 17, src_hi, src_lo, dst_hi, dst_lo, mac_hi, mac_lo, ttl, cause, now)
