"""Every bound of the network cards, each with its source.

Sizes are bytes, unless the name says otherwise.
"""

from __future__ import annotations

FRAME_LEAST, FRAME_MOST = 14, 1522
"""Frames that a card passes in either direction, without FCS: 1500 bytes of payload and up to two VLAN tags."""
JUMBO_MOST = 65535 + 22
"""The longest that a card can be told to pass: an IP packet of any size, its header and two tags."""
SEGMENTS_MOST = 256
"""Frames that one packet may be segmented into: 65,535 bytes take 45 of 1460 bytes, and 123 of 536."""

# virtio ---------------------------------------------------------------------------------------------------------------
QUEUE_MOST = 256
"""Entries of a virtqueue, and what a queue has until its driver wants fewer."""
CHAIN_MOST = 256
"""Descriptors of a chain, those of an indirect table included. Linux uses at most 19 for a packet."""
PACKET_MOST = 1 << 20
"""Bytes of the largest packet to be segmented that is looked at."""
RX_BUDGET = 256
"""Frames handed to a guest at most at one poll."""
