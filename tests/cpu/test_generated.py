"""What the generator writes is what lies in the tree, and the table covers what it should."""

from __future__ import annotations

from pathlib import Path

import aero_lab.cpu
from aero_lab.cpu.generate import texts
from aero_lab.cpu.opcodes import NUMBERS, ROWS

HERE = Path(aero_lab.cpu.__file__).parent


def test_generated_files_are_up_to_date():
    for name, text in texts().items():
        assert (HERE / name).read_text() == text, f"run python -m aero_lab.cpu.generate: {name} is old"


def test_every_operation_is_dispatched_once():
    both = (HERE / "dispatch.py").read_text() + (HERE / "dispatch_more.py").read_text()
    for name, number in NUMBERS.items():
        calls = both.count(f".{name}(c, k, ram, e)")
        expected = 2 if name == "undefined" and "dispatch_more(c" not in both else 1
        assert calls == expected, f"{name} ({number}) is called {calls} times"


def test_the_one_byte_opcodes_are_all_there():
    known = {row.code for row in ROWS if row.code < 0x100}
    prefixes = {0x0F, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3}
    assert set(range(0x100)) - known - prefixes == set()
