"""Gets ready what the tests of the core call without a machine around it: kernels that no user calls."""

from __future__ import annotations

import numpy as np

from aero_lab.compiled.registry import PLAIN, warmup
from aero_lab.cpu.core import Core, code_written, read_eflags, write_eflags
from aero_lab.cpu.execute import run


def compile_core() -> None:
    """Compile the core's kernels as Python calls them, or load them: a test has a time limit, and its worker a twin."""
    if PLAIN:
        return
    core = Core(np.zeros(1 << 16, np.uint8))
    core.forget()
    code_written(*core.arrays[:3], 0, 1)
    write_eflags(core.cpu, read_eflags(core.cpu))
    run(*core.arrays)  # the budget is 0


if __name__ == "__main__":
    warmup(False, "cpu")
    compile_core()
