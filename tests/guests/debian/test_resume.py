"""A boot that is saved, loaded and forked half way is the boot that was left alone."""

from __future__ import annotations

import time

from aero_lab.guests.linux.boot import Boot
from aero_lab.machine.machine import Machine

HALF_WAY, FURTHER = 130_000_000, 40_000_000
"""Instructions: in the middle of the kernel's own initialisation, and some 40 ticks of its timer later."""


def test_half_a_boot_goes_on_from_a_file_as_from_memory(plain_image, tmp_path):
    whole = Boot.of(plain_image).power_on()
    whole.run(instructions=HALF_WAY + FURTHER)
    m = Boot.of(plain_image).power_on()
    while m.icount < HALF_WAY:
        m.run(instructions=min(7_777_777, HALF_WAY - m.icount))
    m.save(tmp_path / "half")
    machines = [m, Machine.load(tmp_path / "half"), m.fork()]
    assert len({each.state_hash() for each in machines}) == 1
    for each in machines:
        each.run(instructions=FURTHER)
    assert {each.state_hash() for each in [whole, *machines]} == {whole.state_hash()}
    assert machines[1].console.since(0) == whole.console.since(0) and whole.console.size > 1000


def test_another_clock_takes_the_prompt_over(machine, tmp_path):
    """From instruction-count time to the host's and back: the guest's clocks only ever go forward."""
    machine.save(tmp_path / "m")
    live = Machine.load(tmp_path / "m", clock="host")
    before, started = live.now, time.monotonic()
    assert live.run(ns=200_000_000, timeout=30) == "time"
    assert live.now >= before + 200_000_000 and time.monotonic() - started >= 0.15
    live.save(tmp_path / "m")
    back = Machine.load(tmp_path / "m", clock="instructions")
    now = back.now
    back.console.write("echo still $((6*7))\n")
    assert back.run(until="still 42", instructions=500_000_000) == "text" and back.now > now
