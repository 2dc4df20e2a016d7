"""The registers of the 82540EM: where each stands, and which of its bits can be written.

Offsets are those of Intel's "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (SDM,
document 317453), table 13-2. Kernels index ``D.reg`` by offset / 4, so the names of this module are those words'
numbers.
"""

from __future__ import annotations

import numpy as np

from ...compiled.registry import PLAIN

M32 = 0xFFFFFFFF
WINDOW = 0x20000
"""Bytes of the memory window (SDM 13.2)."""
WORDS = WINDOW >> 2

OFFSETS: dict[str, int] = {
    "CTRL": 0x0000, "STATUS": 0x0008, "EECD": 0x0010, "EERD": 0x0014, "CTRL_EXT": 0x0018, "FLA": 0x001C,
    "MDIC": 0x0020, "FCAL": 0x0028, "FCAH": 0x002C, "FCT": 0x0030, "VET": 0x0038,
    "ICR": 0x00C0, "ITR": 0x00C4, "ICS": 0x00C8, "IMS": 0x00D0, "IMC": 0x00D8,
    "RCTL": 0x0100, "FCTTV": 0x0170, "TXCW": 0x0178, "RXCW": 0x0180,
    "TCTL": 0x0400, "TIPG": 0x0410, "AIFS": 0x0458, "LEDCTL": 0x0E00, "PBA": 0x1000,
    "FCRTL": 0x2160, "FCRTH": 0x2168, "RDFH": 0x2410, "RDFT": 0x2418, "RDFHS": 0x2420, "RDFTS": 0x2428, "RDFPC": 0x2430,
    "RDBAL": 0x2800, "RDBAH": 0x2804, "RDLEN": 0x2808, "RDH": 0x2810, "RDT": 0x2818, "RDTR": 0x2820,
    "RXDCTL": 0x2828, "RADV": 0x282C, "RSRPD": 0x2C00, "TXDMAC": 0x3000,
    "TDFH": 0x3410, "TDFT": 0x3418, "TDFHS": 0x3420, "TDFTS": 0x3428, "TDFPC": 0x3430,
    "TDBAL": 0x3800, "TDBAH": 0x3804, "TDLEN": 0x3808, "TDH": 0x3810, "TDT": 0x3818, "TIDV": 0x3820,
    "TXDCTL": 0x3828, "TADV": 0x382C, "TSPMT": 0x3830,
    # Statistics (SDM 13.7).
    "CRCERRS": 0x4000, "ALGNERRC": 0x4004, "SYMERRS": 0x4008, "RXERRC": 0x400C, "MPC": 0x4010, "SCC": 0x4014,
    "ECOL": 0x4018, "MCC": 0x401C, "LATECOL": 0x4020, "COLC": 0x4028, "DC": 0x4030, "TNCRS": 0x4034, "SEC": 0x4038,
    "CEXTERR": 0x403C, "RLEC": 0x4040, "XONRXC": 0x4048, "XONTXC": 0x404C, "XOFFRXC": 0x4050, "XOFFTXC": 0x4054,
    "FCRUC": 0x4058, "PRC64": 0x405C, "PRC127": 0x4060, "PRC255": 0x4064, "PRC511": 0x4068, "PRC1023": 0x406C,
    "PRC1522": 0x4070, "GPRC": 0x4074, "BPRC": 0x4078, "MPRC": 0x407C, "GPTC": 0x4080, "GORCL": 0x4088,
    "GORCH": 0x408C, "GOTCL": 0x4090, "GOTCH": 0x4094, "RNBC": 0x40A0, "RUC": 0x40A4, "RFC": 0x40A8, "ROC": 0x40AC,
    "RJC": 0x40B0, "MGTPRC": 0x40B4, "MGTPDC": 0x40B8, "MGTPTC": 0x40BC, "TORL": 0x40C0, "TORH": 0x40C4,
    "TOTL": 0x40C8, "TOTH": 0x40CC, "TPR": 0x40D0, "TPT": 0x40D4, "PTC64": 0x40D8, "PTC127": 0x40DC,
    "PTC255": 0x40E0, "PTC511": 0x40E4, "PTC1023": 0x40E8, "PTC1522": 0x40EC, "MPTC": 0x40F0, "BPTC": 0x40F4,
    "TSCTC": 0x40F8, "TSCTFC": 0x40FC,
    "RXCSUM": 0x5000, "MTA": 0x5200, "RA": 0x5400, "VFTA": 0x5600,
    "WUC": 0x5800, "WUFC": 0x5808, "WUS": 0x5810, "MANC": 0x5820, "IPAV": 0x5838, "IP4AT": 0x5840, "IP6AT": 0x5880,
    "WUPL": 0x5900, "WUPM": 0x5A00, "FFLT": 0x5F00, "FFMT": 0x9000, "FFVT": 0x9800, "PBM": 0x10000,
}  # fmt: skip
"""Offset of each register by its name; of a table, of its first word."""

ALIASES: dict[int, tuple[int, int]] = {
    0x0040: (0x5400, 32), 0x0108: (0x2820, 1), 0x0110: (0x2800, 3), 0x0120: (0x2810, 1), 0x0128: (0x2818, 1),
    0x0160: (0x2160, 1), 0x0168: (0x2168, 1), 0x0200: (0x5200, 128), 0x0420: (0x3800, 3), 0x0430: (0x3810, 1),
    0x0438: (0x3818, 1), 0x0440: (0x3820, 1), 0x0600: (0x5600, 128), 0x8000: (0x2410, 1), 0x8008: (0x2418, 1),
    0x8010: (0x3410, 1), 0x8018: (0x3418, 1),
}  # fmt: skip
"""Where the 82542 had a register: ``alias: (offset, words)`` (SDM 13.2, table 13-2, "alias")."""

ALIASED = 0x8020
"""Below this offset an access may be to an alias."""

WRITABLE: dict[str, int] = {
    "STATUS": 0, "RXCW": 0, "FCAH": 0xFFFF, "FCT": 0xFFFF, "VET": 0xFFFF, "FCTTV": 0xFFFF, "ITR": 0xFFFF,
    "RCTL": 0x06DFB3FE, "TIPG": 0x3FFFFFFF, "TXCW": 0xC000FFFF, "FCRTH": 0x8000FFF8, "FCRTL": 0x8000FFF8,
    "RDBAL": 0xFFFFFFF0, "RDLEN": 0x000FFF80, "RDH": 0xFFFF, "RDT": 0xFFFF, "RDTR": 0xFFFF, "RADV": 0xFFFF,
    "TDBAL": 0xFFFFFFF0, "TDLEN": 0x000FFF80, "TDH": 0xFFFF, "TDT": 0xFFFF, "TIDV": 0xFFFF, "TADV": 0xFFFF,
    "RSRPD": 0x0FFF, "RXCSUM": 0x07FF,
}  # fmt: skip
"""Bits that a write changes, where not all of them; of those a kernel of its own answers, what it stores."""


def _table(values: np.ndarray):
    """Constants that a kernel indexes; a list in plain mode, whose numbers are Python's."""
    return values.tolist() if PLAIN else values


def _masks() -> np.ndarray:
    masks = np.full(WORDS, M32, np.int64)
    for name, mask in WRITABLE.items():
        masks[OFFSETS[name] >> 2] = mask
    masks[OFFSETS["CRCERRS"] >> 2 : (OFFSETS["TSCTFC"] >> 2) + 1] = 0
    for entry in range(16):
        masks[(OFFSETS["RA"] >> 2) + 2 * entry + 1] = 0x8003FFFF
    return masks[: 0x6000 >> 2]


def _homes() -> np.ndarray:
    homes = np.arange(ALIASED >> 2, dtype=np.int64)
    for alias, (offset, words) in ALIASES.items():
        for word in range(words):
            homes[(alias >> 2) + word] = (offset >> 2) + word
    return homes


MASKS = _table(_masks())
"""Writable bits by word, up to 6000h; above all bits are."""
MASKED = 0x6000 >> 2
HOMES = _table(_homes())
"""The word that an access below :data:`ALIASED` means."""

(
    CTRL, STATUS, EECD, EERD, CTRL_EXT, MDIC, VET, ICR, ITR, ICS, IMS, IMC, RCTL, TCTL, PBA, RDBAL, RDBAH, RDLEN, RDH,
    RDT, RDTR, RADV, RSRPD, TDBAL, TDBAH, TDLEN, TDH, TDT, TIDV, TXDCTL, TADV, RXCSUM, MTA, RA, VFTA,
) = (
    OFFSETS[name] >> 2
    for name in """
    CTRL STATUS EECD EERD CTRL_EXT MDIC VET ICR ITR ICS IMS IMC RCTL TCTL PBA RDBAL RDBAH RDLEN RDH
    RDT RDTR RADV RSRPD TDBAL TDBAH TDLEN TDH TDT TIDV TXDCTL TADV RXCSUM MTA RA VFTA
    """.split()
)  # fmt: skip

# CTRL (SDM 13.4.1)
CTRL_FD, CTRL_SLU, CTRL_SPEED_1000, CTRL_SWDPIN0, CTRL_SWDPIN2 = 1, 0x40, 0x200, 1 << 18, 1 << 20
CTRL_RST, CTRL_VME, CTRL_PHY_RST = 1 << 26, 1 << 30, 1 << 31
# STATUS (SDM 13.4.2)
STATUS_FD, STATUS_LU, STATUS_1000 = 1, 2, 0x80
# CTRL_EXT (SDM 13.4.6)
EXT_EE_RST = 1 << 13
# ICR, ICS, IMS, IMC (SDM 13.4.17)
(
    TXDW, TXQE, LSC, RXSEQ, RXDMT0, RXO, RXT0, MDAC, TXD_LOW, SRPD,
) = 1, 2, 4, 8, 0x10, 0x40, 0x80, 0x200, 0x8000, 0x10000  # fmt: skip
CAUSES = 0x1F6DF
"""The causes that this device has."""
# RCTL (SDM 13.4.22)
RCTL_EN, RCTL_SBP, RCTL_UPE, RCTL_MPE, RCTL_LPE, RCTL_LBM = 2, 4, 8, 0x10, 0x20, 0xC0
RCTL_BAM, RCTL_VFE, RCTL_CFIEN, RCTL_CFI, RCTL_BSEX, RCTL_SECRC = (
    1 << 15, 1 << 18, 1 << 19, 1 << 20, 1 << 25, 1 << 26,
)  # fmt: skip
# RXCSUM (the last of SDM 13.4)
CSUM_PCSS, CSUM_IPOFL, CSUM_TUOFL, CSUM_IPV6OFL = 0xFF, 0x100, 0x200, 0x400
# TCTL (SDM 13.4.33)
TCTL_EN = 2
# RDTR: flush what the delay timer keeps (SDM 13.4.30)
RDTR_FPD = 1 << 31
# RAH: valid, and compared with the source address (SDM 13.5.3)
RAH_AV, RAH_SOURCE = 1 << 31, 1 << 16
