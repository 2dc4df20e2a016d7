"""x87 instructions against unicorn, whose x87 is that of QEMU 5.0: results, comparisons, loads, stores, moves.

What QEMU 5.0 does otherwise is left out here, each with the place of the manual (SDM) that says what is right; a
processor's own answers judge all of it in ``test_x87.py``:

* exception flags and C1 (volume 1, 8.1.3.2 and 8.1.3.3): its operations do not put them into the status word;
* stack faults (8.5.1.1): every register here holds a number, but ST(7) for what pushes one;
* unnormals, pseudo-infinities, pseudo-NaNs, pseudo-denormals (8.2.2): operands are what a processor makes;
* unmasked responses (8.5): everything is masked;
* FLD and FST of a signalling NaN (4.8.3.5): it stays one;
* constants under directed rounding (8.3.2): always to nearest;
* FCOMI and its like (volume 2, FCOMI): OF, SF and AF stay as they were;
* FXTRACT and FSCALE of infinities and NaNs, FXTRACT of zero (volume 2, on each): its own answers;
* FSCALE under precision control (8.1.5.2): rounds as that says; FPREM, FPREM1 (volume 2): by way of double precision;
* FBSTP (volume 2, and 4.8.4 for the direction): truncates, and stores more than eighteen digits;
* FLDCW (8.1.5): bits that do not exist stay.
"""

from __future__ import annotations

import numpy as np
import pytest

from aero_lab.compiled.registry import PLAIN

from . import x87_images
from .x87_digests import name
from .x87_states import forms, states

unicorn = pytest.importorskip("unicorn")

COUNT = 4 if PLAIN else 100
CODE, DATA, OUT = 0x1000, 0x4000, 0x5000
LEFT_OUT = {(1, 0x28), (1, 0xF5), (1, 0xF8), (7, 0x30)}
TOP, CONDITIONS, ZF_PF_CF = 0x3800, 0x4500, 0x45


def normal_states() -> np.ndarray:
    s = states(COUNT, True, seed=5)
    man, exponent = s["regs"]["man"], s["regs"]["se"] & 0x7FFF
    man |= np.where(exponent != 0, np.uint64(1 << 63), np.uint64(0))
    man &= np.where(exponent == 0, np.uint64((1 << 63) - 1), np.uint64((1 << 64) - 1))
    man |= np.where((exponent == 0x7FFF) & (man != 1 << 63), np.uint64(1 << 62), np.uint64(0))
    s["fsw"] &= TOP
    s["ftw"] = np.uint32(3) << (2 * ((s["fsw"] >> 11) + 7 & 7))
    return s


def usable(esc: int, modrm: int, s: np.ndarray) -> np.ndarray:
    """Rows in which unicorn follows the manual, see above."""
    a, b = (s["regs"]["se"][:, i].astype(int) & 0x7FFF for i in (0, 1))
    finite = (a != 0x7FFF) & (b != 0x7FFF)
    if esc == 1 and 0xE8 <= modrm <= 0xEE:
        return s["fcw"] >> 10 & 3 == 0
    if (esc, modrm) == (1, 0xF4):
        return (a != 0) & (a != 0x7FFF)
    if (esc, modrm) == (1, 0xFD):
        return finite & (s["fcw"] >> 8 & 3 == 3)
    if (esc, modrm) in ((1, 0), (5, 0)):
        bits = np.ascontiguousarray(s["mem"][:, :8]).view("<u8")[:, 0]
        width, fraction = (32, 23) if esc == 1 else (64, 52)
        exponent = (1 << (width - 1 - fraction)) - 1
        number = bits >> np.uint64(fraction) & np.uint64(exponent) != exponent
        infinite = bits & np.uint64((1 << fraction) - 1) == 0
        return number | infinite | (bits >> np.uint64(fraction - 1) & np.uint64(1) == 1)
    return np.ones(len(s), bool)


def compares(esc: int, modrm: int) -> bool:
    """Whether C3, C2 and C0 are the answer."""
    reg = modrm >> 3 & 7
    if esc in (0, 2, 4, 6) and (modrm < 0xC0 or esc != 2):
        return reg in (2, 3)
    return (esc, modrm) in ((2, 0xE9), (1, 0xE4), (1, 0xE5)) or (esc == 5 and modrm >= 0xE0)


def judged(esc: int, modrm: int, given: np.ndarray) -> np.ndarray:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    uc.mem_map(0, 0x10000)
    code = b"\xdd\x25" + DATA.to_bytes(4, "little")
    if modrm < 0xC0:
        code += bytes([0xD8 + esc, modrm | 5]) + (DATA + 112).to_bytes(4, "little")
    else:
        code += bytes([0xD8 + esc, modrm])
    code += b"\xdd\x35" + OUT.to_bytes(4, "little")
    uc.mem_write(CODE, code)
    out = given.copy()
    for i in range(len(given)):
        uc.mem_write(DATA, given[i].tobytes())
        uc.reg_write(unicorn.x86_const.UC_X86_REG_EFLAGS, int(given["eflags"][i]) | 2)
        uc.emu_start(CODE, CODE + len(code))
        flags = uc.reg_read(unicorn.x86_const.UC_X86_REG_EFLAGS) & 0x8D5
        raw = bytes(uc.mem_read(OUT, 108)) + flags.to_bytes(4, "little") + bytes(uc.mem_read(DATA + 112, 16))
        out[i] = np.frombuffer(raw, given.dtype)[0]
    return out


@pytest.mark.parametrize("esc", range(8))
def test_forms_agree_with_unicorn(esc):
    every = normal_states()
    for form in forms():
        names_st7 = form[1] >= 0xC0 and form[1] & 7 == 7 and not (esc == 1 and form[1] >= 0xE0)
        if form[0] != esc or form in LEFT_OUT or names_st7:
            continue
        given = every[usable(*form, every)]
        assert len(given) >= COUNT // 5
        ours, its = x87_images.run(*form, given), judged(*form, given)
        assert ours is not None
        words = TOP | (CONDITIONS if compares(*form) else 0)
        flags = ZF_PF_CF if form[1] >= 0xE8 and esc in (3, 7) else 0x8D5
        wrong = (ours["fsw"] & words != its["fsw"] & words) | (ours["fcw"] != its["fcw"] & 0xFFFF)
        wrong |= (ours["eflags"] & flags) != (its["eflags"] & flags)
        wrong |= (ours["regs"] != its["regs"]).any(axis=1) | (ours["mem"] != its["mem"]).any(axis=1)
        first = np.nonzero(wrong)[0]
        assert not len(first), (name(*form), len(first), given[first[0]], ours[first[0]], its[first[0]])
