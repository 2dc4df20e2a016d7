"""Runs x87 instructions on states in the layout of :mod:`.hardware`, many in a call, without the rest of the core."""

from __future__ import annotations

from typing import Any

import numpy as np

from aero_lab.compiled.memory import load_field, store_field
from aero_lab.compiled.records import new_records
from aero_lab.compiled.registry import BYTES, I64, entry, kernel
from aero_lab.cpu.state import CPU_DTYPE, CPUS, C
from aero_lab.cpu.wide import shl
from aero_lab.cpu.x87_memory import ENVIRONMENT, KEEP_OUT, LOAD, MEMORY_FORMS, load_form, store_form, stored
from aero_lab.cpu.x87_register import SETS_FLAGS, register_form
from aero_lab.cpu.x87_stack import put_words, status_word, tag_word

from .hardware import STATE

_load = {size: load_field(0, size, False) for size in (2, 4, 8)}
_store = {size: store_field(0, size, False) for size in (1, 2, 4, 8)}
load16, load32, load64 = _load[2], _load[4], _load[8]
store8, store16, store32, store64 = _store[1], _store[2], _store[4], _store[8]
REGISTERS, FLAGS, MEMORY = 28, 108, 112
UNDEFINED = -1


@kernel(I64(C, BYTES, I64))
def take(c, images, at):
    """The state of an image; gives its EFLAGS."""
    put_words(c, load32(images, at), load32(images, at + 4))
    tags = load32(images, at + 8)
    c.ftag = 0
    for i in range(8):
        if tags >> (2 * i) & 3 != 3:
            c.ftag |= 1 << i
        place = (c.ftop + i) & 7
        c.st_man[place] = load64(images, at + REGISTERS + 10 * i)
        c.st_exp[place] = load16(images, at + REGISTERS + 10 * i + 8)
    return load32(images, at + FLAGS)


@kernel(I64(C, BYTES, I64))
def give(c, images, at):
    store32(images, at, c.fcw)
    store32(images, at + 4, status_word(c))
    store32(images, at + 8, tag_word(c))
    for i in range(8):
        place = (c.ftop + i) & 7
        store64(images, at + REGISTERS + 10 * i, c.st_man[place])
        store16(images, at + REGISTERS + 10 * i + 8, c.st_exp[place])
    return 0


@kernel(I64(C, BYTES, I64, I64, I64))
def memory_operand(c, images, at, esc, reg):
    form = MEMORY_FORMS[esc * 8 + reg]
    size = form & 15
    if size == 0 or form & ENVIRONMENT:
        return UNDEFINED
    if form & LOAD:
        low = 0
        for i in range(min(size, 8) // 2):
            low |= shl(load16(images, at + 2 * i), 16 * i)
        c.x_lo, c.x_hi = low, load16(images, at + 8)
        load_form(c, esc, reg)
        return 0
    flags = store_form(c, esc, reg)
    if flags & KEEP_OUT == 0:
        if size == 2:
            store16(images, at, c.x_lo & 0xFFFF)
        elif size == 4:
            store32(images, at, c.x_lo & 0xFFFFFFFF)
        else:
            store64(images, at, c.x_lo)
        if size == 10:
            store16(images, at + 8, c.x_hi)
    stored(c, esc, reg, flags)
    return 0


@entry
@kernel(I64(CPUS, BYTES, I64, I64, I64))
def run_images(cpus, images, count, esc, modrm):
    """Run one instruction on each image."""
    c = cpus[0]
    for n in range(count):
        at = 128 * n
        flags = take(c, images, at)
        if modrm < 0xC0:
            done = memory_operand(c, images, at + MEMORY, esc, modrm >> 3)
        else:
            done = register_form(c, esc, modrm, flags)
            if done & SETS_FLAGS and done > 0:
                flags = done & ~SETS_FLAGS
        if done < 0:
            return done
        store32(images, at + FLAGS, flags)
        give(c, images, at)
    return 0


def run(opcode: int, modrm: int, states: np.ndarray) -> np.ndarray | None:
    """What the kernels make of the states; None where there is no such instruction. A memory form is named by a
    ``modrm`` below C0."""
    assert states.dtype == STATE
    out = states.copy()
    done = run_images(_cpus(), out.view(np.uint8), len(out), opcode & 7, modrm)
    return None if done < 0 else out


_made: list[Any] = []


def _cpus() -> Any:
    if not _made:
        _made.append(new_records(CPU_DTYPE, 1))
    return _made[0]
