"""Every bound of the network cards, each with its source.

Sizes are bytes, unless the name says otherwise.
"""

from __future__ import annotations

FRAME_LEAST, FRAME_MOST = 14, 1522
"""Frames that a card passes in either direction, without FCS: 1500 bytes of payload and up to two VLAN tags."""
SEGMENTS_MOST = 256
"""Frames that one packet may be segmented into: 65,535 bytes take 45 of 1460 bytes, and 123 of 536."""
