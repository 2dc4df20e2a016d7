"""The 82540EM as Python holds it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UsageError
from ..base import Nic
from ..function import Bar, Function
from .eeprom import contents
from .names import M32, OFFSETS, WINDOW
from .serve import e1000_serve
from .state import COUNTERS, E1000_DTYPE, EEPROM_WORDS, HELD
from .statistics import FIRST, LAST

IO_WINDOW = 0x40
TABLES = ("MTA", "RA", "VFTA", "IP4AT", "IP6AT", "WUPM", "FFLT", "FFMT", "FFVT", "PBM")
"""Names that stand for more than one register; :attr:`E1000.registers` leaves them out."""
WIDE = {"GORCH": "GORCL", "GOTCH": "GOTCL", "TORH": "TORL", "TOTH": "TOTL"}
BOUNDS = {
    "tx_held": HELD, "tx_cursor": 0xFFFF, "wire_address": EEPROM_WORDS - 1, "wire_take": 2, "wire_write": 2,
    "wire_count": 9 + 1024, "tx_sent": 1 << 20, "ioaddr": M32,
}  # fmt: skip
"""Largest values of the fields that kernels index with, or count from."""


class E1000(Nic):
    """An Intel 82540EM ("e1000"), in slot 5."""

    model = "e1000"
    dtype = E1000_DTYPE
    serve = e1000_serve
    function = Function(
        vendor=0x8086,
        product=0x100E,
        class_code=0x020000,
        slot=5,
        subsystem=(0x8086, 0x100E),
        revision=2,
        bars=(Bar(WINDOW), Bar(IO_WINDOW, "io")),
    )

    def setup(self, state: Any) -> None:
        for at, word in enumerate(contents(self.mac)):
            state.eeprom[at] = word

    @property
    def counters(self) -> dict[str, int]:
        return {name: int(getattr(self.state, name)) for name in COUNTERS}

    @property
    def registers(self) -> dict[str, int]:
        reg = self.state.reg
        out = {}
        for name, offset in OFFSETS.items():
            if name in WIDE:
                out[name] = int(reg[OFFSETS[WIDE[name]] >> 2]) >> 32
            elif name not in TABLES:
                out[name] = int(reg[offset >> 2]) & M32
        return out

    def fields(self) -> dict[str, np.ndarray]:
        state = self.state
        out = {name: np.array(getattr(state, name), np.int64) for name in self.dtype.names or () if name != "held"}
        out["held"] = np.array(state.held, np.uint8).view(np.int64)
        return out

    def set_fields(self, values: dict[str, np.ndarray]) -> None:
        held = np.ascontiguousarray(values["held"]).view(np.uint8)
        super().set_fields({**values, "held": held})

    @classmethod
    def check(cls, values: dict[str, np.ndarray]) -> None:
        for name, value in values.items():
            low, high = int(value.min()), int(value.max())
            if name == "reg":
                wide = np.zeros(len(value), bool)
                wide[FIRST : LAST + 1] = True  # pairs of statistics are kept as one number
                low, high = int(value.min()), int(value[~wide].max())
                fine = 0 <= low and high <= M32
            elif name in ("eeprom", "phy"):
                fine = 0 <= low and high <= 0xFFFF
            elif name in BOUNDS:
                fine = 0 <= low and high <= BOUNDS[name]
            elif name == "held":
                fine = True
            else:
                fine = 0 <= low
            if not fine:
                raise UsageError(f"field {name!r} of the e1000 has no such value")
