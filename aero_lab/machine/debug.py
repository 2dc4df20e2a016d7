"""Looking into a machine that stands still: registers by name, memory by linear address, instructions as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..cpu import state
from ..errors import UsageError

_GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
_CONTROL = ("cr0", "cr2", "cr3", "cr4")
NAMES = (*_GENERAL, "eip", "eflags", *_SEGMENTS, *_CONTROL)
_FLAGS = (("CF", 0), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9), ("DF", 10), ("OF", 11))
PRESENT, BIG_PAGE = 1, 0x80


class Registers:
    """The processor's registers: ``registers.eax``; general registers, ``eip`` and ``eflags`` can be set."""

    __slots__ = ("_core", "_eflags", "_set_eflags")

    def __init__(self, core: Any, eflags: Callable[[], int], set_eflags: Callable[[int], Any]):
        for name, value in (("_core", core), ("_eflags", eflags), ("_set_eflags", set_eflags)):
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> int:
        c = state.row(self._core.cpu)
        if name in _GENERAL:
            return int(c.gpr[_GENERAL.index(name)])
        if name == "eflags":
            return int(self._eflags())
        if name in _SEGMENTS:
            return int(c.seg_sel[_SEGMENTS.index(name)])
        if name in NAMES:
            return int(getattr(c, name))
        raise AttributeError(f"no register {name!r}; there are {', '.join(NAMES)}")

    def __setattr__(self, name: str, value: int) -> None:
        c = state.row(self._core.cpu)
        value = int(value) & 0xFFFFFFFF
        if name in _GENERAL:
            c.gpr[_GENERAL.index(name)] = value
        elif name == "eip":
            c.eip = value
        elif name == "eflags":
            self._set_eflags(value)
        else:
            raise UsageError(f"register {name!r} cannot be set; {', '.join(_GENERAL)}, eip and eflags can")

    def as_dict(self) -> dict[str, int]:
        """All registers by name."""
        return {name: getattr(self, name) for name in NAMES}

    def __dir__(self) -> list[str]:
        return [*NAMES, "as_dict"]

    def __repr__(self) -> str:
        values = self.as_dict()
        flags = " ".join(name for name, bit in _FLAGS if values["eflags"] >> bit & 1)
        rows = [
            " ".join(f"{name.upper()}={values[name]:08x}" for name in _GENERAL[:4]),
            " ".join(f"{name.upper()}={values[name]:08x}" for name in _GENERAL[4:]),
            f"EIP={values['eip']:08x} EFLAGS={values['eflags']:08x} [{flags}]",
            " ".join(f"{name.upper()}={values[name]:04x}" for name in _SEGMENTS),
            " ".join(f"{name.upper()}={values[name]:08x}" for name in _CONTROL),
        ]
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        return f"<pre>{self!r}</pre>"


def _word(ram: np.ndarray, at: int) -> int:
    return int.from_bytes(ram[at : at + 4].tobytes(), "little") if at + 4 <= len(ram) else 0


def physical(core: Any, linear: int) -> int | None:
    """The physical address behind a linear one by the page tables, changing nothing; None when it is not mapped."""
    c = state.row(core.cpu)
    linear &= 0xFFFFFFFF
    if not int(c.cr0) & state.CR0_PG:
        return linear
    entry = _word(core.ram, (int(c.cr3) & 0xFFFFF000) + (linear >> 22) * 4)
    if not entry & PRESENT:
        return None
    if entry & BIG_PAGE and int(c.cr4) & state.CR4_PSE:
        return entry & 0xFFC00000 | linear & 0x3FFFFF
    entry = _word(core.ram, (entry & 0xFFFFF000) + (linear >> 12 & 1023) * 4)
    return entry & 0xFFFFF000 | linear & 0xFFF if entry & PRESENT else None


def read_linear(core: Any, linear: int, size: int) -> bytes:
    """Memory at a linear address, up to the first byte that is not mapped to RAM."""
    out = b""
    while len(out) < size:
        at = physical(core, linear + len(out))
        if at is None or at >= len(core.ram):
            break
        part = min(size - len(out), 4096 - (at & 4095), len(core.ram) - at)
        out += core.ram[at : at + part].tobytes()
    return out


class Listing(str):
    """Disassembled instructions, one a line."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self)}</pre>"


def disassemble(core: Any, address: int | None, count: int) -> Listing:
    """``count`` instructions from a linear address, or from where the processor stands."""
    import capstone

    c = state.row(core.cpu)
    if address is None:
        address = (int(c.seg_base[state.CS]) + int(c.eip)) & 0xFFFFFFFF
    wide = int(c.mode) & state.M_CODE32
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32 if wide else capstone.CS_MODE_16)
    engine.skipdata = True  # what is no instruction is shown as bytes
    code = read_linear(core, address, 15 * count)
    lines = [
        f"{i.address:08x}  {i.bytes.hex():<22}{i.mnemonic} {i.op_str}".rstrip()
        for i in engine.disasm(code, address, count)
    ]
    return Listing("\n".join(lines) if lines else f"{address:08x}  not mapped")
