"""The two register interfaces: virtio-pci modern (4.1.4) and, for transitional devices, the legacy one (4.1.4.8).

Undefined places read 0, writes to them are ignored. Reads of any width see the bytes they name; writes have the
width of their field (4.1.3.1), others are ignored.
"""

from __future__ import annotations

from ...compiled.registry import I64, VOID, kernel
from ..limits import QUEUE_MOST
from ..port import P
from ..virtqueue import queue_placed, queue_reset
from .state import (
    CTRL_RX,
    CTRL_VLAN,
    CTRL_VQ,
    DRIVER,
    DRIVER_OK,
    FEATURES_OK,
    LINK_UP,
    NEEDS,
    NEEDS_RESET,
    NO_VECTOR,
    QUEUES,
    VECTORS,
    D,
)

COMMON, NOTIFY, ISR, DEVICE, TABLE, PENDING = 0x0000, 0x1000, 0x2000, 0x3000, 0x3800, 0x3C00
"""Parts of the memory window: the four of the vendor capabilities, and those of MSI-X."""
PART = 0x100
NOTIFY_MULTIPLIER = 4
LEGACY_CONFIG, LEGACY_CONFIG_MSIX = 20, 24
"""Where the configuration begins in the legacy interface, without and with MSI-X enabled (4.1.4.8)."""
LEGACY_PAGE = 12
"""Legacy queues begin at a page of 4 KiB, and so does their used ring (2.7.2)."""

_DEPENDENT = tuple(1 << bit for bit in NEEDS)
_NEEDED = tuple(sum(1 << other for other in others) for others in NEEDS.values())


@kernel(I64(D, I64))
def has(D, bit):
    """1 when a feature was accepted."""
    return (D.features_low >> bit if bit < 32 else D.features_high >> bit - 32) & 1


@kernel(I64(D))
def live(D):
    """1 when the driver said that it is ready. Legacy drivers used queues a little earlier (3.1.2)."""
    if D.broken:
        return 0
    if D.legacy:
        return 1 if D.status & (DRIVER | DRIVER_OK) else 0
    return 1 if D.status & (FEATURES_OK | DRIVER_OK) == FEATURES_OK | DRIVER_OK else 0


@kernel(I64(D))
def queue_count(D):
    """How many queues the device has: the control queue comes with its feature."""
    return QUEUES if D.offered_low >> CTRL_VQ & 1 else QUEUES - 1


@kernel(VOID(D, P))
def device_reset(D, port):
    """What writing 0 to the status does (2.4)."""
    D.resets = D.resets + 1
    D.mac = D.mac_at_reset
    D.feature_select = 0
    D.driver_select = 0
    D.features_low = 0
    D.features_high = 0
    D.status = 0
    D.legacy = 0
    D.isr = 0
    D.config_vector = NO_VECTOR
    D.queue_select = 0
    D.config_status = LINK_UP if port.cable else 0
    D.segment = 0
    D.broken = 0
    D.reason = 0
    D.filtered = 0
    D.promisc = 1  # until the driver says otherwise: one that has no control queue wants every frame
    D.allmulti = 0
    D.alluni = 0
    D.nomulti = 0
    D.nouni = 0
    D.nobcast = 0
    D.unicast_count = 0
    D.multicast_count = 0
    D.unicast_all = 0
    D.multicast_all = 0
    for i in range(128):
        D.vlans[i] = 0
    for i in range(QUEUES):
        queue_reset(D.queue[i])
        D.queue[i].entries = QUEUE_MOST
        D.queue[i].vector = NO_VECTOR
    for v in range(VECTORS):
        D.pending[v] = 0
    port.rx_wait = 0
    port.tx_wait = 0


@kernel(I64(D))
def features_sound(D):
    """1 when the device can work with the features the driver accepted (2.2.2, 3.1.1, 5.1.3.1, 6.1)."""
    low = D.features_low
    if low & ~D.offered_low or D.features_high & ~D.offered_high or D.features_high & 1 == 0:
        return 0
    for i in range(len(_DEPENDENT)):
        if low & _DEPENDENT[i] and low & _NEEDED[i] == 0:
            return 0
    return 1


@kernel(VOID(D, P, I64))
def write_status(D, port, value):
    """The driver moves on, or starts over. The device alone asks for a reset, and takes that back only in one."""
    if value == 0:
        device_reset(D, port)
        return
    if D.legacy == 0 and value & FEATURES_OK and D.status & FEATURES_OK == 0 and features_sound(D) == 0:
        D.refused_features = D.refused_features + 1
        value &= ~FEATURES_OK
    D.status = value & ~NEEDS_RESET | D.status & NEEDS_RESET
    D.filtered = has(D, CTRL_RX) | has(D, CTRL_VLAN) << 1
    port.rx_wait = 0


@kernel(I64(D, P, I64))
def vector_of(D, port, value):
    """The vector that a driver chose, or none when the device has no such (4.1.5.1.2.1)."""
    return value & 0xFFFF if value & 0xFFFF < VECTORS else NO_VECTOR


@kernel(I64(D, I64))
def config_byte(D, at):
    """A byte of the device's configuration (5.1.4)."""
    if at < 6:
        return D.mac >> 8 * (5 - at) & 0xFF
    if at < 8:
        return D.config_status >> 8 * (at - 6) & 0xFF
    if at < 10:
        return 1 if at == 8 else 0  # max_virtqueue_pairs
    if at < 12:
        return D.mtu >> 8 * (at - 10) & 0xFF
    return 0


@kernel(I64(D, I64, I64))
def read_config(D, at, size):
    """Read the device's configuration."""
    value = 0
    for i in range(size):
        value |= config_byte(D, at + i) << 8 * i
    return value


@kernel(I64(D, I64))
def common_word(D, at):
    """32 bits of the common configuration (4.1.4.3); of a queue that is not there all is 0."""
    if at == 0x00:
        return D.feature_select
    if at == 0x04:
        return D.offered_low if D.feature_select == 0 else D.offered_high if D.feature_select == 1 else 0
    if at == 0x08:
        return D.driver_select
    if at == 0x0C:
        return D.features_low if D.driver_select == 0 else D.features_high if D.driver_select == 1 else 0
    if at == 0x10:
        return D.config_vector | queue_count(D) << 16
    if at == 0x14:
        return D.status | D.generation << 8 | D.queue_select << 16
    if D.queue_select >= queue_count(D):
        return 0
    q = D.queue[D.queue_select]
    if at == 0x18:
        return q.entries | q.vector << 16
    if at == 0x1C:
        return q.enabled | D.queue_select << 16
    address = 0
    if at == 0x20 or at == 0x24:
        address = q.desc
    elif at == 0x28 or at == 0x2C:
        address = q.avail
    elif at == 0x30 or at == 0x34:
        address = q.used
    return (address >> 32 if at & 4 else address) & 0xFFFFFFFF


@kernel(I64(I64, I64, I64))
def half(address, at, value):
    """An address with its low or high half replaced, as a signed number."""
    if at & 4:
        return address & 0xFFFFFFFF | ((value & 0x7FFFFFFF) - (value & 0x80000000)) << 32
    return address & ~0xFFFFFFFF | value


@kernel(VOID(D, P, I64, I64, I64))
def write_common(D, port, at, size, value):
    """Write a field of the common configuration."""
    if at == 0x14 and size == 1:
        write_status(D, port, value & 0xFF)
    elif at == 0x16 and size == 2:
        D.queue_select = value & 0xFFFF
    elif at == 0x10 and size == 2:
        D.config_vector = vector_of(D, port, value)
    elif at == 0x00 and size == 4:
        D.feature_select = value & 0xFFFFFFFF
    elif at == 0x08 and size == 4:
        D.driver_select = value & 0xFFFFFFFF
    elif at == 0x0C and size == 4:
        if D.status & FEATURES_OK == 0:
            if D.driver_select == 0:
                D.features_low = value & 0xFFFFFFFF
            elif D.driver_select == 1:
                D.features_high = value & 0xFFFFFFFF
    elif D.queue_select < queue_count(D):
        q = D.queue[D.queue_select]
        if at == 0x1A and size == 2:
            q.vector = vector_of(D, port, value)
        elif q.enabled:
            return  # what is in use stays where it is, until a reset (4.1.4.3.2)
        elif at == 0x18 and size == 2:
            if D.strict == 0:
                q.entries = value & 0xFFFF
        elif at == 0x1C and size == 2:
            if value & 0xFFFF == 1:
                if queue_placed(q):
                    q.enabled = 1
                else:
                    D.refused_queues = D.refused_queues + 1
        elif size == 4 and (at == 0x20 or at == 0x24):
            q.desc = half(q.desc, at, value)
        elif size == 4 and (at == 0x28 or at == 0x2C):
            q.avail = half(q.avail, at, value)
        elif size == 4 and (at == 0x30 or at == 0x34):
            q.used = half(q.used, at, value)


@kernel(I64(D, P))
def read_isr(D, port):
    """The ISR, which reading clears (4.1.4.5)."""
    value = D.isr
    D.isr = 0
    return value


@kernel(I64(D, P, I64, I64))
def read_memory(D, port, at, size):
    """Read in the memory window."""
    part = at & ~(PART - 1)
    value = 0
    if at >= COMMON and at < COMMON + PART:
        value = common_word(D, at & ~3) >> 8 * (at & 3)
    elif at >= ISR and at < ISR + PART:
        return read_isr(D, port) if at == ISR else 0
    elif at >= DEVICE and at < DEVICE + PART:
        return read_config(D, at - DEVICE, size)
    elif part == TABLE and at < TABLE + 16 * VECTORS:
        value = D.vectors[at - TABLE >> 2] >> 8 * (at & 3)
    elif at == PENDING:
        for v in range(VECTORS):
            value |= D.pending[v] << v
    return value & (1 << 8 * size) - 1


@kernel(I64(D, P, I64, I64, I64))
def write_memory(D, port, at, size, value):
    """Write in the memory window. The number of a queue that was notified, or -1."""
    if at < PART:
        write_common(D, port, at, size, value)
    elif at >= NOTIFY and at < NOTIFY + NOTIFY_MULTIPLIER * QUEUES:
        if at & NOTIFY_MULTIPLIER - 1 == 0 and size >= 2:
            return (at - NOTIFY) // NOTIFY_MULTIPLIER
    elif at >= TABLE and at < TABLE + 16 * VECTORS and size == 4 and at & 3 == 0:
        D.vectors[at - TABLE >> 2] = value & (1 if at & 12 == 12 else 0xFFFFFFFC if at & 12 == 0 else 0xFFFFFFFF)
    return -1


@kernel(I64(D, P, I64, I64))
def read_legacy(D, port, at, size):
    """Read in the legacy window of ports (4.1.4.8)."""
    config = LEGACY_CONFIG_MSIX if port.msix else LEGACY_CONFIG
    if at >= config:
        return read_config(D, at - config, size)
    there = D.queue_select < queue_count(D)
    value = 0
    word = at & ~3
    if word == 0:
        value = D.offered_low
    elif word == 4:
        value = D.features_low
    elif word == 8 and there:
        value = D.queue[D.queue_select].desc >> LEGACY_PAGE
    elif word == 12:
        value = (QUEUE_MOST if there else 0) | D.queue_select << 16
    elif at == 18:
        return D.status
    elif at == 19:
        return read_isr(D, port)
    elif word == 20:
        value = D.config_vector | (D.queue[D.queue_select].vector if there else NO_VECTOR) << 16
    return value >> 8 * (at & 3) & (1 << 8 * size) - 1


@kernel(VOID(D, I64))
def place_legacy(D, page):
    """A legacy driver says where the selected queue lies, all of it, by its first page; 0 takes it away."""
    q = D.queue[D.queue_select]
    vector = q.vector
    queue_reset(q)
    q.vector = vector
    q.entries = QUEUE_MOST
    if page == 0:
        return
    q.desc = page << LEGACY_PAGE
    q.avail = q.desc + 16 * q.entries
    q.used = (q.avail + 6 + 2 * q.entries + (1 << LEGACY_PAGE) - 1 >> LEGACY_PAGE) << LEGACY_PAGE
    q.enabled = 1


@kernel(I64(D, P, I64, I64, I64))
def write_legacy(D, port, at, size, value):
    """Write in the legacy window of ports. The number of a queue that was notified, or -1."""
    config = LEGACY_CONFIG_MSIX if port.msix else LEGACY_CONFIG
    there = D.queue_select < queue_count(D)
    if at >= config:
        for i in range(min(size, config + 6 - at)):  # before there was a command for it, so was the address set
            shift = 8 * (5 - (at - config + i))
            D.mac = D.mac & ~(0xFF << shift) | (value >> 8 * i & 0xFF) << shift
    elif at == 4 and size == 4:
        D.legacy = 1
        D.features_low = value & D.offered_low
    elif at == 8 and size == 4:
        if there:
            D.legacy = 1
            place_legacy(D, value & 0xFFFFFFFF)
    elif at == 14 and size == 2:
        D.queue_select = value & 0xFFFF
    elif at == 16 and size == 2:
        return value & 0xFFFF if value & 0xFFFF < queue_count(D) else -1
    elif at == 18 and size == 1:
        if value & 0xFF:
            D.legacy = 1
        write_status(D, port, value & 0xFF)
    elif at == 20 and size == 2:
        D.config_vector = vector_of(D, port, value)
    elif at == 22 and size == 2 and there:
        D.queue[D.queue_select].vector = vector_of(D, port, value)
    return -1
