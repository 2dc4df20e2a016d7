"""The device as one record, and the numbers of its specification (Virtual I/O Device 1.2, sections 2, 4.1 and 5.1)."""

from __future__ import annotations

import numpy as np

from ...compiled.registry import record_type, records_type
from ..virtqueue import CHAIN, QUEUE

VENDOR = 0x1AF4
MODERN, TRANSITIONAL = 0x1041, 0x1000
"""PCI device identities."""

RX, TX, CONTROL = 0, 1, 2
QUEUES = 3

# Features by their bits.
CSUM, GUEST_CSUM, CTRL_GUEST_OFFLOADS, MTU, MAC = 0, 1, 2, 3, 5
GUEST_TSO4, GUEST_TSO6, GUEST_ECN, HOST_TSO4, HOST_TSO6, HOST_ECN = 7, 8, 9, 11, 12, 13
MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN, CTRL_RX_EXTRA, GUEST_ANNOUNCE, CTRL_MAC_ADDR = (
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    23,
)
ANY_LAYOUT, RING_INDIRECT_DESC, RING_EVENT_IDX, VERSION_1 = 27, 28, 29, 32

FEATURE_NAMES = {
    CSUM: "CSUM", GUEST_CSUM: "GUEST_CSUM", CTRL_GUEST_OFFLOADS: "CTRL_GUEST_OFFLOADS", MTU: "MTU", MAC: "MAC",
    GUEST_TSO4: "GUEST_TSO4", GUEST_TSO6: "GUEST_TSO6", GUEST_ECN: "GUEST_ECN", HOST_TSO4: "HOST_TSO4",
    HOST_TSO6: "HOST_TSO6", HOST_ECN: "HOST_ECN", MRG_RXBUF: "MRG_RXBUF", STATUS: "STATUS", CTRL_VQ: "CTRL_VQ",
    CTRL_RX: "CTRL_RX", CTRL_VLAN: "CTRL_VLAN", CTRL_RX_EXTRA: "CTRL_RX_EXTRA", GUEST_ANNOUNCE: "GUEST_ANNOUNCE",
    CTRL_MAC_ADDR: "CTRL_MAC_ADDR", ANY_LAYOUT: "ANY_LAYOUT", RING_INDIRECT_DESC: "RING_INDIRECT_DESC",
    RING_EVENT_IDX: "RING_EVENT_IDX", VERSION_1: "VERSION_1",
}  # fmt: skip

NEEDS: dict[int, tuple[int, ...]] = {
    GUEST_TSO4: (GUEST_CSUM,), GUEST_TSO6: (GUEST_CSUM,), GUEST_ECN: (GUEST_TSO4, GUEST_TSO6),
    HOST_TSO4: (CSUM,), HOST_TSO6: (CSUM,), HOST_ECN: (HOST_TSO4, HOST_TSO6),
    CTRL_RX: (CTRL_VQ,), CTRL_VLAN: (CTRL_VQ,), CTRL_RX_EXTRA: (CTRL_VQ,), GUEST_ANNOUNCE: (CTRL_VQ,),
    CTRL_MAC_ADDR: (CTRL_VQ,), CTRL_GUEST_OFFLOADS: (CTRL_VQ,),
}  # fmt: skip
"""Features that make sense only with one of others (5.1.3.1)."""

# Device status (2.1).
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 0x40, 0x80

NO_VECTOR = 0xFFFF
"""MSI-X vector of what sends no messages (4.1.5.1.2)."""
VECTORS = 4
"""MSI-X vectors: configuration and a queue each, as Linux asks for them."""

ISR_QUEUE, ISR_CONFIG = 1, 2

LINK_UP, ANNOUNCE = 1, 2
"""Bits of the configuration's status (5.1.4)."""

# The header in front of each packet (5.1.6).
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_ECN = 0, 1, 4, 0x80
HEADER, LONG_HEADER = 10, 12
"""Its size; the longer one, with the number of buffers, stands with MRG_RXBUF and in version 1 of the interface."""

MACS = 64
"""Addresses kept of each table of the receive filter; with more the device takes all, as one with a small filter may
(5.1.6.5.2)."""

COUNTERS = """
tx_frames tx_bytes tx_packets tx_segmented tx_dropped_size tx_dropped_header tx_dropped_writable tx_dropped_offload
tx_dropped_link
rx_frames rx_bytes rx_dropped_size rx_dropped_filter rx_dropped_link rx_dropped_room rx_skipped_chains
control_commands control_errors notifications interrupts messages broken_queues refused_features refused_queues resets
"""


def _ints(names: str) -> list[tuple[str, str]]:
    return [(name, "<i8") for name in names.split()]


def _arrays(size: int, names: str) -> list[tuple[str, str, tuple[int]]]:
    return [(name, "<i8", (size,)) for name in names.split()]


VIRTIO_NET = np.dtype(
    [
        *_ints("""
        mac mac_at_reset mtu strict legacy_bar modern_bar
        offered_low offered_high feature_select driver_select features_low features_high
        status legacy isr config_vector generation queue_select config_status filtered segment broken reason identity
        frame_most
        promisc allmulti alluni nomulti nouni nobcast unicast_count multicast_count unicast_all multicast_all
        """),
        *_ints(COUNTERS),
        *_arrays(MACS, "unicast multicast"),
        *_arrays(128, "vlans"),
        *_arrays(4 * VECTORS, "vectors"),
        *_arrays(VECTORS, "pending"),
        ("queue", QUEUE, (QUEUES,)),
        ("chain", CHAIN),
    ],
    align=True,
)
"""mac, mac_at_reset: the address in use and the one it returns to; numbers of 48 bits. mtu: 0 when none is offered.
strict: only what contract AERO-W7-VIRTIO has. legacy_bar, modern_bar: where the two interfaces lie, -1 for none.
offered_*, features_*: 32 bits each of what is offered and was accepted.
legacy: the driver uses the legacy interface. segment: segments of the packet at the head of TX that are sent already.
broken, reason: a queue was found broken, and why. identity: of the next frame sent, 0 when they have none.
frame_most: bytes of the longest frame that passes.
vlans: 4096 bits. vectors: the table of MSI-X, as it reads."""

D = record_type(VIRTIO_NET)
DEVICES = records_type(VIRTIO_NET)
