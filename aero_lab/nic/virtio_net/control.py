"""The control queue: the receive filter, the address, VLANs, announcements (5.1.6.5)."""

from __future__ import annotations

from ...compiled.registry import BYTES, I64, VOID, kernel
from ..port import P
from ..virtqueue import (
    queue_ask,
    queue_give,
    queue_head,
    queue_publish,
    queue_take,
    queue_waiting,
    queue_walk,
)
from .interrupts import interrupt_queue, judge
from .receive import put_byte
from .registers import has, live
from .state import (
    ANNOUNCE,
    CONTROL,
    CTRL_MAC_ADDR,
    CTRL_RX,
    CTRL_RX_EXTRA,
    CTRL_VLAN,
    GUEST_ANNOUNCE,
    MACS,
    RING_EVENT_IDX,
    RING_INDIRECT_DESC,
    D,
)
from .transmit import chain_u8

CLASS_RX, CLASS_MAC, CLASS_VLAN, CLASS_ANNOUNCE = 0, 1, 2, 3
RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST = range(6)
MAC_TABLE_SET, MAC_ADDR_SET = 0, 1
VLAN_ADD, VLAN_DEL = 0, 1
ANNOUNCE_ACK = 0
OK, ERROR = 0, 1


@kernel(I64(D, P, BYTES, I64, I64))
def chain_number(D, port, ram, offset, size):
    """A number of the chain, its low byte first."""
    value = 0
    for i in range(size):
        value |= chain_u8(D, port, ram, offset + i) << 8 * i
    return value


@kernel(I64(D, P, BYTES, I64))
def chain_mac(D, port, ram, offset):
    """An address in the chain."""
    value = 0
    for i in range(6):
        value = value << 8 | chain_u8(D, port, ram, offset + i)
    return value


@kernel(I64(D, I64, I64))
def set_mode(D, command, on):
    """One of the switches of the receive filter."""
    if command > RX_ALLMULTI and has(D, CTRL_RX_EXTRA) == 0:
        return ERROR
    if command == RX_PROMISC:
        D.promisc = on
    elif command == RX_ALLMULTI:
        D.allmulti = on
    elif command == RX_ALLUNI:
        D.alluni = on
    elif command == RX_NOMULTI:
        D.nomulti = on
    elif command == RX_NOUNI:
        D.nouni = on
    elif command == RX_NOBCAST:
        D.nobcast = on
    else:
        return ERROR
    return OK


@kernel(I64(D, P, BYTES, I64))
def set_table(D, port, ram, size):
    """Both tables of addresses, a count in front of each. Nothing changes unless all of it is there."""
    if size < 2 + 8:
        return ERROR
    unicast = chain_number(D, port, ram, 2, 4)
    behind = 6 + 6 * unicast
    if behind + 4 > size:
        return ERROR
    multicast = chain_number(D, port, ram, behind, 4)
    if behind + 4 + 6 * multicast > size:
        return ERROR
    D.unicast_all = 1 if unicast > MACS else 0
    D.multicast_all = 1 if multicast > MACS else 0
    D.unicast_count = 0 if unicast > MACS else unicast
    D.multicast_count = 0 if multicast > MACS else multicast
    for i in range(D.unicast_count):
        D.unicast[i] = chain_mac(D, port, ram, 6 + 6 * i)
    for i in range(D.multicast_count):
        D.multicast[i] = chain_mac(D, port, ram, behind + 4 + 6 * i)
    return OK


@kernel(I64(D, P, BYTES))
def obey(D, port, ram):
    """Do what the chain says; the answer."""
    size = D.chain.readable
    if size < 2:
        return ERROR
    kind = chain_u8(D, port, ram, 0)
    command = chain_u8(D, port, ram, 1)
    if kind == CLASS_RX and has(D, CTRL_RX) and size >= 3:
        return set_mode(D, command, 1 if chain_u8(D, port, ram, 2) else 0)
    if kind == CLASS_MAC and command == MAC_TABLE_SET and has(D, CTRL_RX):
        return set_table(D, port, ram, size)
    if kind == CLASS_MAC and command == MAC_ADDR_SET and has(D, CTRL_MAC_ADDR) and size >= 8:
        D.mac = chain_mac(D, port, ram, 2)
        D.generation = D.generation + 1 & 0xFF
        return OK
    if kind == CLASS_VLAN and has(D, CTRL_VLAN) and size >= 4:
        vlan = chain_number(D, port, ram, 2, 2)
        if vlan > 0xFFF or command > VLAN_DEL:
            return ERROR
        bit = 1 << (vlan & 31)
        word = D.vlans[vlan >> 5]
        D.vlans[vlan >> 5] = word | bit if command == VLAN_ADD else word & ~bit
        return OK
    if kind == CLASS_ANNOUNCE and command == ANNOUNCE_ACK and has(D, GUEST_ANNOUNCE):
        D.config_status = D.config_status & ~ANNOUNCE
        return OK
    return ERROR


@kernel(VOID(D, P, BYTES))
def control(D, port, ram):
    """Do what waits in the control queue. A chain without room for the answer is none: it comes back, undone."""
    if live(D) == 0 or port.master == 0:
        return
    q = D.queue[CONTROL]
    event_idx = has(D, RING_EVENT_IDX)
    for _ in range(queue_waiting(q, port, ram)):
        head = queue_head(q, port, ram)
        if head < 0 or queue_walk(q, D.chain, port, ram, head, has(D, RING_INDIRECT_DESC)) == 0:
            break
        queue_take(q)
        D.control_commands = D.control_commands + 1
        if D.chain.disorder or D.chain.writable == 0:
            D.control_errors = D.control_errors + 1
            queue_give(q, port, ram, head, 0)
            continue
        answer = obey(D, port, ram)
        D.control_errors = D.control_errors + answer
        put_byte(D, port, ram, D.chain.readable, answer)
        queue_give(q, port, ram, head, 1)
    told = queue_publish(q, port, ram, event_idx)
    if judge(D, port):
        queue_ask(q, port, ram, event_idx)
        if told:
            interrupt_queue(D, port, CONTROL)
