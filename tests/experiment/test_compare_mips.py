"""What an emulated PC loses to the client part that shares its core."""

from __future__ import annotations

import pytest

from aero_lab.cpu.state import CS, row
from aero_lab.experiment.compare import compare
from aero_lab.experiment.worker_mips import ORIGIN, PROGRAM, RAM_MB
from aero_lab.machine.machine import Machine


def test_the_program_works_on_its_memory_for_ever():
    machine = Machine(RAM_MB)
    machine.write(ORIGIN, PROGRAM)
    c = row(machine.core.cpu)
    c.eip, c.seg_sel[CS], c.seg_base[CS] = ORIGIN, 0, 0
    machine.core.refresh()
    before = machine.read(0x1000, 4096)
    stop = machine.run(instructions=100_000)
    after = machine.read(0x1000, 4096)
    assert stop == "instructions" and machine.icount >= 100_000
    assert after != before and after.count(0) < 200, "all of the 4 KiB, and random"
    assert machine.read(0x2000, 64) == bytes(64) and machine.read(ORIGIN, len(PROGRAM)) == PROGRAM


def test_a_cell_tells_what_its_client_part_takes():
    (run,) = compare("C", size=100_000, mips=True, progress=False).runs
    assert run.ok, run.error
    found = run.extra["mips"]
    assert "error" not in found and run.guest_mips_idle == found["idle"] > 0 and run.guest_mips_loaded > 0
    assert found["mbps"] > 0 and len(found["idle_mips"]) == len(found["loaded_mips"]) == 3


@pytest.mark.parametrize(
    ("asked", "groups"),
    [
        ({"mips": True}, ("network", "cpu")),
        ({"mips": False}, ("network",)),
        ({"mips": True, "virtual": True}, ("network",)),
        ({"guest": "linux"}, ("network", "cpu", "nic")),
    ],
)
def test_what_will_run_is_compiled_before_anything_is_measured(monkeypatch, asked, groups):
    class Compiling(Exception):
        pass

    def compiling(progress, *named):
        raise Compiling(named)

    monkeypatch.setattr("aero_lab.compiled.registry.warmup", compiling)
    with pytest.raises(Compiling) as caught:
        compare("C", progress=False, **asked)
    assert caught.value.args == (groups,)
