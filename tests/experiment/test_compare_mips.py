"""What an emulated PC loses to the client part that shares its core."""

from __future__ import annotations

import random
from math import log
from statistics import median

import pytest

from aero_lab.cpu.state import CS, row
from aero_lab.experiment.compare import compare
from aero_lab.experiment.worker_mips import BEHIND, ORIGIN, PROGRAM, RAM_MB, RATE, ROUNDS, TICK, Mips, Pace, interval
from aero_lab.limits import MS, SECOND
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
    table = compare("C", size=100_000, mips=True, progress=False)
    (run,) = table.runs
    assert run.ok, run.error
    found = run.extra["mips"]
    assert "error" not in found and run.guest_mips_idle == found["idle"] > 0 and found["loaded"] > 0
    assert run.guest_mips_loaded == found["loaded"]
    assert found["mbps"] > 0 and len(found["idle_mips"]) == ROUNDS + 1 and len(found["loaded_mips"]) == ROUNDS
    assert 0 < found["left_low"] <= found["left"] <= found["left_high"]
    assert found["loaded"] == pytest.approx(found["left"] * median(found["idle_mips"]))
    costs = next(part for part in table.summary() if part[0] == "what it costs")
    told = costs[2][0][costs[1].index("left to\nthe PC")]
    assert told.startswith(f"{found['left']:.0%} ({found['left_low'] * 100:.0f}–"), told


def test_a_core_whose_speed_drifts_changes_nothing():
    """A quarter slower within the measurement, which is far more than an option takes."""
    speed = [200.0 - 4 * place for place in range(2 * ROUNDS + 1)]
    found = Mips(speed[::2], [0.97 * each for each in speed[1::2]], [40.0] * ROUNDS).to_dict()
    assert found["left"] == pytest.approx(0.97) and found["idle"] == median(speed[::2])
    assert found["left_low"] == pytest.approx(found["left_high"])


def test_a_slice_that_went_wrong_moves_neither_figure_nor_interval():
    alone, beside = [100.0] * (ROUNDS + 1), [90.0] * ROUNDS
    beside[3], alone[8] = 20.0, 10.0
    found = Mips(alone, beside, [40.0] * ROUNDS).to_dict()
    assert found["left"] == found["left_low"] == 0.9 and found["left_high"] < 1.7


def test_the_interval_holds_the_median_as_often_as_it_says():
    rng = random.Random(5)
    for draw, true in (
        (lambda: rng.gauss(0.9, 0.1), 0.9),
        (lambda: rng.expovariate(1), log(2)),
    ):
        inside = 0
        for _ in range(2000):
            low, high = interval([draw() for _ in range(ROUNDS)])
            inside += low <= true <= high
        assert 0.945 < inside / 2000 < 0.985, "0.961 of a dozen"
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0) and interval([1.0]) == (1.0, 1.0)


def test_load_keeps_its_rate_whoever_comes_late():
    rng, now = random.Random(3), 7 * SECOND
    pace, read = Pace(now), 0
    assert pace.due(now + SECOND, wanted=False) == 0, "nothing is owed for the time before"
    began = now = now + SECOND
    for _ in range(500):
        now = max(pace.next(now), now) + rng.choice((0, 0, 3 * MS, 60 * MS))
        read += pace.due(now, wanted=True)
    assert abs(read - (now - began) * RATE // SECOND) <= 1
    # One that cannot keep up is not owed for ever.
    assert pace.due(now + 5 * SECOND, wanted=True) == BEHIND * RATE // SECOND
    assert pace.next(now) - now <= TICK


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

    monkeypatch.setattr("aero_lab.warming.warmup", compiling)
    with pytest.raises(Compiling) as caught:
        compare("C", progress=False, **asked)
    assert caught.value.args == (groups,)
