"""The processor that runs the tests as judge of x87 instructions: one instruction on many states at a time.

Each state is what FNSAVE writes (108 bytes, SDM figure 8-9), then the arithmetic flags and 16 bytes of memory. A
loop of machine code restores it, runs the instruction and saves it again. FNSAVE does not wait, so instructions that
leave an unmasked exception can be looked at too.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import re
import sys
from pathlib import Path

import numpy as np


def _vendor() -> str:
    if not (sys.platform.startswith("linux") and platform.machine() == "x86_64"):
        return ""
    found = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else ""


AVAILABLE = _vendor() == "GenuineIntel"
WHY_NOT = "x87 instructions are compared in every detail, open ones included, with an Intel processor under Linux"

STATE = np.dtype(
    [
        ("fcw", "<u4"), ("fsw", "<u4"), ("ftw", "<u4"), ("fip", "<u4"), ("fcs", "<u4"), ("fdp", "<u4"), ("fds", "<u4"),
        ("regs", [("man", "<u8"), ("se", "<u2")], 8), ("eflags", "<u4"), ("mem", "u1", 16),
    ]
)  # fmt: skip
assert STATE.itemsize == 128
MEMORY = 0x70
"""Where in a state its bytes of memory begin."""
ARITHMETIC_FLAGS = 0x8D5
"""OF, SF, ZF, AF, PF, CF of EFLAGS: the only ones a state may set."""


def with_memory(opcode: int, reg: int) -> bytes:
    """An instruction whose operand is the state's memory: ``[rdi+0x70]``."""
    return bytes([opcode, 0x40 | reg << 3 | 7, MEMORY])


def run(instruction: bytes, states: np.ndarray) -> np.ndarray:
    """What the processor makes of the states; the pointers to the last instruction are left out."""
    assert AVAILABLE and states.dtype == STATE
    assert not (states["eflags"] & ~np.uint32(ARITHMETIC_FLAGS)).any()
    assert not (states["fsw"] & ~states["fcw"] & 0x3F).any(), "a pending exception would stop the process"
    # mov eax,[rdi+108]; push rax; popfq; frstor [rdi]; INSTRUCTION; pushfq; pop rax; mov [rdi+108],eax; fnsave [rdi]
    body = bytes.fromhex("8b476c 50 9d dd27") + instruction + bytes.fromhex("9c 58 89476c dd37")
    # sub rdi,-128; dec rsi; jnz; ret
    body += bytes.fromhex("4883ef80 48ffce")
    body += bytes([0x75, 256 - len(body) - 2, 0xC3])
    out = states.copy()
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(body)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_long)(address)(out.ctypes.data, len(out))
    out["eflags"] &= ARITHMETIC_FLAGS
    for name in ("fcw", "fsw", "ftw"):
        out[name] &= 0xFFFF
    for name in ("fip", "fcs", "fdp", "fds"):
        out[name] = 0
    return out
