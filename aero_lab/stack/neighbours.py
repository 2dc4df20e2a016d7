"""The neighbour cache: who on the link has which address (ARP, RFC 826; neighbour discovery, RFC 4861).

A gateway learns guests from their traffic, so a guest with a static address is served before it ever sends ARP. An
address that is not known is asked for at most :data:`SOLICITATIONS` times, a second apart; what waits for it waits in
its own queue (TCP) or is refused (datagrams), never here.
"""

from ..compiled.registry import BYTES, I64, kernel
from ..limits import NEVER, SECOND
from ..wire import arp, ethernet, icmpv6
from .drops import Count, Drop
from .output import finish, put_ethernet, put_ip, room_for, transport_checksum
from .world import NEIGHBOURS, OWN4, OWN6, ROLE_GATEWAY, V4_MAPPED, W_T, count, drop

FREE, INCOMPLETE, REACHABLE = 0, 1, 2
SOLICITATIONS = 3
"""RFC 4861 section 10, MAX_UNICAST_SOLICIT and MAX_MULTICAST_SOLICIT; also for ARP."""
RETRANSMIT = SECOND
LIFETIME = 1200 * SECOND
"""Age at which an entry is asked for again before use."""
CAUSE_ARP = 7


@kernel(I64(W_T, I64, I64))
def find_neighbour(W, hi, lo):
    """Index of an address in the cache, or -1."""
    for i in range(NEIGHBOURS):
        if W.n_lo[i] == lo and W.n_hi[i] == hi and W.n_state[i] != FREE:
            return i
    return -1


@kernel(I64(W_T, I64, I64, I64))
def new_neighbour(W, hi, lo, now):
    """A fresh entry for an address; the oldest entry gives way when the cache is full."""
    best = 0
    oldest = NEVER
    for i in range(NEIGHBOURS):
        if W.n_state[i] == FREE:
            best = i
            break
        if W.n_at[i] < oldest:
            oldest = W.n_at[i]
            best = i
    W.n_hi[best] = hi
    W.n_lo[best] = lo
    W.n_state[best] = INCOMPLETE
    W.n_at[best] = now
    W.n_probes[best] = 0
    return best


@kernel(I64(W_T, I64, I64, I64, I64, I64))
def learn(W, hi, lo, mac_hi, mac_lo, now):
    """Enter or refresh a neighbour. A change bumps ``neigh_version``, which makes connections look their peer up
    again."""
    if mac_hi & 0x0100:
        return -1
    i = find_neighbour(W, hi, lo)
    if i < 0:
        i = new_neighbour(W, hi, lo, now)
    if W.n_state[i] != REACHABLE or W.n_mac_hi[i] != mac_hi or W.n_mac_lo[i] != mac_lo:
        W.n_mac_hi[i] = mac_hi
        W.n_mac_lo[i] = mac_lo
        W.n_state[i] = REACHABLE
        W.neigh_version = W.neigh_version + 1
        W.link_wait = 0
    W.n_at[i] = now
    W.n_probes[i] = 0
    return i


@kernel(I64(W_T, BYTES, I64, I64))
def solicit(W, tx, i, now):
    """Ask for the link address of entry ``i``: an ARP request, or a neighbour solicitation to the solicited-node
    group."""
    W.n_at[i] = now
    W.n_probes[i] = W.n_probes[i] + 1
    hi, lo = W.n_hi[i], W.n_lo[i]
    if hi == 0 and (lo >> 32) == 0xFFFF:
        at = room_for(W, tx, 14 + arp.SIZE)
        if at < 0:
            return drop(W, Drop.TX_FULL)
        source = 0
        for k in range(OWN4):
            if k < W.own4_n and ((W.own4[k] ^ lo) & W.own4_mask[k]) & 0xFFFFFFFF == 0:
                source = W.own4[k]
                break
        body = put_ethernet(W, tx, at, 0xFFFF, 0xFFFFFFFF, ethernet.TYPE_ARP)
        arp.put_htype(tx, body, 1)
        arp.put_ptype(tx, body, ethernet.TYPE_IPV4)
        arp.put_lengths(tx, body, 0x0604)
        arp.put_op(tx, body, arp.REQUEST)
        arp.put_sha_hi(tx, body, W.mac_hi)
        arp.put_sha_lo(tx, body, W.mac_lo)
        arp.put_spa(tx, body, source)
        arp.put_tha_hi(tx, body, 0)
        arp.put_tha_lo(tx, body, 0)
        arp.put_tpa(tx, body, lo & 0xFFFFFFFF)
        count(W, Count.ARP_OUT)
        return finish(W, tx, at, 14 + arp.SIZE, -1, CAUSE_ARP, now)
    at = room_for(W, tx, 14 + 40 + 32)
    if at < 0:
        return drop(W, Drop.TX_FULL)
    group = (0x1FF000000) | (lo & 0xFFFFFF)
    body = put_ethernet(W, tx, at, 0x3333, 0xFF000000 | (lo & 0xFFFFFF), ethernet.TYPE_IPV6)
    source_hi, source_lo = 0, 0
    for k in range(OWN6):
        if k < W.own6_n and source_hi == 0:
            source_hi, source_lo = W.own6_hi[k], W.own6_lo[k]
    group_hi = (0xFF02 - 0x10000) << 48
    icmp_at = put_ip(W, tx, body, source_hi, source_lo, group_hi, group, 58, 32, 255, 0, 0)
    icmpv6.put_type(tx, icmp_at, icmpv6.NEIGHBOUR_SOLICIT)
    icmpv6.put_code(tx, icmp_at, 0)
    icmpv6.put_checksum(tx, icmp_at, 0)
    icmpv6.put_rest(tx, icmp_at, 0)
    icmpv6.put_target_hi(tx, icmp_at, hi)
    icmpv6.put_target_lo(tx, icmp_at, lo)
    put_link_option(W, tx, icmp_at + 24, icmpv6.OPT_SOURCE_LINK)
    icmpv6.put_checksum(tx, icmp_at, transport_checksum(tx, icmp_at, 32, source_hi, source_lo, group_hi, group, 58))
    count(W, Count.ARP_OUT)
    return finish(W, tx, at, 14 + 40 + 32, -1, CAUSE_ARP, now)


@kernel(I64(W_T, BYTES, I64, I64))
def put_link_option(W, tx, at, kind):
    """Write the source or target link-layer address option of RFC 4861 section 4.6.1."""
    ethernet.put_dst_hi(tx, at, (kind << 8) | 1)
    ethernet.put_dst_lo(tx, at, (W.mac_hi << 16) | (W.mac_lo >> 16))
    ethernet.put_src_hi(tx, at, W.mac_lo & 0xFFFF)
    return 0


@kernel(I64(W_T, I64, I64))
def on_link(W, hi, lo):
    """1 when an address is reached without a router, else 0. To a gateway everything it answers is on its one link."""
    if W.role == ROLE_GATEWAY:
        return 1
    if hi == 0 and (lo >> 32) == 0xFFFF:
        for k in range(OWN4):
            if k < W.own4_n and ((W.own4[k] ^ lo) & W.own4_mask[k]) & 0xFFFFFFFF == 0:
                return 1
        return 0
    if (hi >> 54) & 0x3FF == 0x3FA:  # fe80::/10
        return 1
    for k in range(OWN6):
        if k < W.own6_n:
            prefix = W.own6_prefix[k]
            if prefix <= 64:
                if prefix == 0 or (hi ^ W.own6_hi[k]) >> (64 - prefix) == 0:
                    return 1
            elif hi == W.own6_hi[k] and (
                prefix >= 128 and lo == W.own6_lo[k] or prefix < 128 and (lo ^ W.own6_lo[k]) >> (128 - prefix) == 0
            ):
                return 1
    return 0


@kernel(I64(W_T, BYTES, I64, I64, I64))
def resolve(W, tx, hi, lo, now):
    """Cache entry to send to for a destination, or -1 while its link address is being asked for (or there is no
    route)."""
    if on_link(W, hi, lo) == 0:
        if hi == 0 and (lo >> 32) == 0xFFFF:
            if W.router4 == 0:
                drop(W, Drop.NEIGHBOUR_UNRESOLVED)
                return -1
            lo = V4_MAPPED | W.router4
        else:
            if W.router6_hi == 0 and W.router6_lo == 0:
                drop(W, Drop.NEIGHBOUR_UNRESOLVED)
                return -1
            hi, lo = W.router6_hi, W.router6_lo
    i = find_neighbour(W, hi, lo)
    if i >= 0 and W.n_state[i] == REACHABLE and now - W.n_at[i] < LIFETIME:
        return i
    if i < 0 or W.n_state[i] == REACHABLE:
        if i < 0:
            i = new_neighbour(W, hi, lo, now)
        W.n_state[i] = INCOMPLETE
        W.n_probes[i] = 0
        solicit(W, tx, i, now)
    return -1


@kernel(I64(W_T))
def neighbour_deadline(W):
    """When the next solicitation is due, or NEVER."""
    due = NEVER
    for i in range(NEIGHBOURS):
        if W.n_state[i] == INCOMPLETE:
            due = min(due, W.n_at[i] + RETRANSMIT)
    return due


@kernel(I64(W_T, BYTES, I64))
def neighbour_timers(W, tx, now):
    """Ask again, or give an entry up after the last try."""
    for i in range(NEIGHBOURS):
        if W.n_state[i] == INCOMPLETE and W.n_at[i] + RETRANSMIT <= now:
            if W.n_probes[i] >= SOLICITATIONS:
                W.n_state[i] = FREE
                drop(W, Drop.NEIGHBOUR_UNRESOLVED)
            else:
                solicit(W, tx, i, now)
    return 0
