"""Writes ``images.py`` from the sources beside it, with nasm: ``python -m aero_lab.bench.bare.assemble``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ("sieve", "crc", "quicksort")


def assembled(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, name)
        command = ["nasm", "-f", "bin", "-I", f"{HERE}/", "-o", str(out), str(HERE / f"{name}.asm")]
        subprocess.run(command, check=True)
        return out.read_bytes()


def text() -> str:
    """The module as it should be."""
    lines = ['"""Assembled programs: written by ``assemble.py``, not by hand."""', "", "IMAGES = {"]
    for name in PROGRAMS:
        digits = assembled(name).hex()
        lines.append(f'    "{name}": (')
        lines += [f'        "{digits[i : i + 96]}"' for i in range(0, len(digits), 96)]
        lines.append("    ),")
    return "\n".join([*lines, "}", '"""Boot sectors by name, in hexadecimal."""', ""])


if __name__ == "__main__":
    (HERE / "images.py").write_text(text())
    sys.exit(0)
