"""What an Intel processor made of :mod:`.x87_states`, as a digest an instruction, kept in ``x87_digests.json``.

``python -m tests.cpu.x87_digests`` records the table anew, on such a processor.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from . import hardware
from .x87_states import forms, states

TABLE = Path(__file__).with_name("x87_digests.json")
MANY, FEW = 2048, 24
"""States a form: of compiled kernels, and of plain ones."""


def name(esc: int, modrm: int) -> str:
    return f"{0xD8 + esc:02x} {modrm:02x}" if modrm >= 0xC0 else f"{0xD8 + esc:02x} /{modrm >> 3}"


def instruction(esc: int, modrm: int) -> bytes:
    """What the judge runs."""
    return bytes([0xD8 + esc, modrm]) if modrm >= 0xC0 else hardware.with_memory(0xD8 + esc, modrm >> 3)


def digest(out: np.ndarray) -> str:
    return hashlib.sha256(out.tobytes()).hexdigest()[:12]


def record() -> dict[str, list[str]]:
    table: dict[str, list[str]] = {name(*form): [] for form in forms()}
    for masked in (True, False):
        given = states(MANY, masked)
        for form in forms():
            out = hardware.run(instruction(*form), given)
            table[name(*form)] += [digest(out[:FEW]), digest(out)]
    return table


if __name__ == "__main__":
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record().items()]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
