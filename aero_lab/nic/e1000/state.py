"""The 82540EM as one record: its registers, what stands behind them, and what is counted for us."""

from __future__ import annotations

import numpy as np

from ...compiled.registry import record_type, records_type
from .names import WORDS

EEPROM_WORDS = 64
"""A 93C46 of 1 kbit (SDM 5.6: the 82540EM's)."""
PHY_WORDS = 32
HELD = 256 << 10
"""Most bytes of a packet whose end the driver has not given yet, and of one that is to be segmented."""

_STATE = """
    rdtr_at radv_at tidv_at tadv_at itr_at autoneg_at
    plugged phy_lost
    ioaddr
    wire_bits wire_count wire_address wire_reading wire_take wire_out wire_write wire_enabled
    ctx_ipcss ctx_ipcso ctx_ipcse ctx_tucss ctx_tucso ctx_tucse ctx_command
    tso_ipcss tso_tucss tso_paylen tso_hdrlen tso_mss tso_command
    tx_popts tx_extended tx_tse tx_held tx_open tx_skip tx_sent tx_cursor tx_offset
    rx_seen rx_refused identity
"""
_COUNTERS = """
    tx_frames tx_bytes rx_frames rx_bytes tx_segmented
    tx_too_long tx_too_short tx_bad_segmentation tx_bad_descriptors tx_overlong_packets tx_bad_checksums
    tx_link_down
    rx_filtered rx_vlan_filtered rx_too_long rx_too_short rx_disabled rx_link_down rx_no_fit
    bad_rings partial_writes loopbacks
"""
COUNTERS = tuple(_COUNTERS.split())
"""What is counted besides the registers of the data sheet; see ``docs/nic.md``."""

E1000_DTYPE = np.dtype(
    [
        *[(name, "<i8") for name in (_STATE + _COUNTERS).split()],
        ("phy", "<i8", (PHY_WORDS,)),
        ("eeprom", "<i8", (EEPROM_WORDS,)),
        ("reg", "<i8", (WORDS,)),
        ("held", "u1", (HELD,)),
    ]
)
"""``reg`` are the registers by offset / 4; of a 64-bit pair of statistics the lower word holds the whole number.

rdtr_at, radv_at, tidv_at, tadv_at, itr_at, autoneg_at: when a timer runs out, ``NEVER`` when it does not run; of the
    interrupt throttle the time before which the pin does not rise.
plugged, phy_lost: the cable is in; the PHY's link has been down since its status was read.
ioaddr: the register that the I/O window shows.
wire_...: the serial EEPROM's shift register, bits taken, the address, whether a word is read out or taken in, DO, what
    is to be written when CS falls, whether writes are allowed.
ctx_..., tso_...: the last context descriptor without and with TSE.
tx_popts, tx_extended, tx_tse, tx_held, tx_open, tx_skip, tx_sent: the packet under way: what its first descriptor said,
    bytes held of it, that it is open, that its rest is dropped; segments of it that have gone out.
tx_cursor, tx_offset: where the packet's bytes are being read: descriptor and offset in its buffer.
rx_seen, rx_refused: frames of R that were looked at once and had no room; frames that R had refused so far.
identity: what the next frame sent is known by, from end to end; 0 when frames have no numbers.
"""

D = record_type(E1000_DTYPE)
DS = records_type(E1000_DTYPE)
