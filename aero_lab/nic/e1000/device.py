"""The 82540EM as Python holds it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UsageError
from ..base import Nic
from ..function import Bar, Function
from ..port import NEVER
from .eeprom import contents
from .names import M32, OFFSETS, WINDOW, WRITABLE
from .serve import e1000_serve
from .state import COUNTERS, E1000_DTYPE, EEPROM_WORDS, HELD
from .statistics import WIDE_MOST

IO_WINDOW = 0x40
TABLES = ("MTA", "RA", "VFTA", "IP4AT", "IP6AT", "WUPM", "FFLT", "FFMT", "FFVT", "PBM")
"""Names that stand for more than one register; :attr:`E1000.registers` leaves them out."""
WIDE = {"GORCH": "GORCL", "GOTCH": "GOTCL", "TORH": "TORL", "TOTH": "TOTL"}
BOUNDS = {
    "tx_held": HELD, "tx_cursor": 0xFFFF, "tx_sent": 1 << 20, "wire_address": EEPROM_WORDS - 1, "wire_take": 2,
    "wire_write": 2, "wire_count": 9 + 1024, "eeprom": 0xFFFF, "phy": 0xFFFF,
}  # fmt: skip
"""Largest values of fields that kernels index with, count from or add to; of all others 32 bits."""
UNBOUNDED = {*COUNTERS, "rx_seen", "rx_refused", "identity"}


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
            if name == "held":
                continue  # any bytes
            most = BOUNDS.get(name, NEVER if name in UNBOUNDED or name.endswith("_at") else M32)
            limits = np.full(value.shape, most, np.int64)
            if name == "reg":
                for register, mask in WRITABLE.items():
                    if mask:
                        limits[OFFSETS[register] >> 2] = mask
                for pair in WIDE.values():
                    limits[OFFSETS[pair] >> 2] = WIDE_MOST
            if (value < 0).any() or (value > limits).any():
                raise UsageError(f"field {name!r} of the e1000 has no such value")
