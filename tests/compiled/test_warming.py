"""Kernels compiled by two processes at once: all are made, nobody is left behind, what fails there is made here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from aero_lab import warming
from aero_lab.compiled import registry

PATIENCE = 60.0

CHILD = """
import sys, time
from types import SimpleNamespace
from aero_lab import warming
from aero_lab.compiled import registry

class Kernel:
    py_func = SimpleNamespace(__name__="slow", __module__="aero_lab.cpu.slow")
    def prepare(self):
        registry._on_ready("slow")
        time.sleep(600)

registry.pending = lambda *groups: [Kernel()]
warming.main(("cpu",))
"""
"""The other process, at a kernel that takes longer than any test."""


class Rig:
    """A registry of four kernels, two of them of the processor's group, and the processes that were begun."""

    def __init__(self, monkeypatch, program):
        self.made, self.processes = [], []
        self.missing = {"network": ["a", "b"], "cpu": ["c", "d"], "nic": []}
        start = subprocess.Popen

        def popen(command, **settings):
            assert command[1:] == ["-m", "aero_lab.warming", "cpu", "nic"]
            self.processes.append(start([sys.executable, "-c", program], **settings))
            return self.processes[-1]

        def warmup(progress, *groups):
            done = [name for group in groups for name in self.missing[group]]
            self.made.append((groups, done))
            for group in groups:
                self.missing[group] = []
            return len(done)

        monkeypatch.setattr(registry, "pending", lambda *groups: [n for g in groups for n in self.missing[g]])
        monkeypatch.setattr(registry, "warmup", warmup)
        monkeypatch.setattr(subprocess, "Popen", popen)
        monkeypatch.setattr(warming, "processors", lambda: 2)


def test_the_other_process_makes_the_processor_while_this_one_makes_the_network(monkeypatch):
    rig = Rig(monkeypatch, "print('c'); print('d')")
    wait = warming._Other.wait

    def waited(other, progress):
        wait(other, progress)
        rig.missing["cpu"] = []  # what it has made is on disk now

    monkeypatch.setattr(warming._Other, "wait", waited)
    assert warming.warmup(False, "network", "cpu", "nic") == 4
    assert rig.made == [(("network",), ["a", "b"]), (("network", "cpu", "nic"), [])]
    assert [process.returncode for process in rig.processes] == [0]


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import os; os.abort()", "1/0"])
def test_what_the_other_process_does_not_make_is_made_here(monkeypatch, program):
    rig = Rig(monkeypatch, program)
    assert warming.warmup(False, "network", "cpu", "nic") == 4
    assert rig.made == [(("network",), ["a", "b"]), (("network", "cpu", "nic"), ["c", "d"])]
    assert rig.processes[0].returncode not in (0, None)


def test_so_it_is_where_no_process_can_be_started(monkeypatch):
    rig = Rig(monkeypatch, "")

    def refused(*command, **settings):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)
    assert warming.warmup(False, "network", "cpu", "nic") == 4
    assert rig.made == [(("network", "cpu", "nic"), ["a", "b", "c", "d"])]


@pytest.mark.parametrize(
    ("processors", "missing", "groups"),
    [
        (1, {}, ("network", "cpu", "nic")),
        (2, {"cpu": []}, ("network", "cpu", "nic")),
        (2, {"network": []}, ("network", "cpu", "nic")),
        (2, {}, ("network",)),
        (2, {}, ("cpu", "nic")),
    ],
)
def test_one_process_does_where_two_would_bring_nothing(monkeypatch, processors, missing, groups):
    rig = Rig(monkeypatch, "")
    rig.missing |= missing
    monkeypatch.setattr(warming, "processors", lambda: processors)
    warming.warmup(False, *groups)
    assert rig.processes == [] and [each[0] for each in rig.made] == [groups]


def test_an_interrupt_ends_the_other_process_too(monkeypatch):
    rig = Rig(monkeypatch, CHILD)

    def interrupted(progress, *groups):
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "warmup", interrupted)
    with pytest.raises(KeyboardInterrupt):
        warming.warmup(False, "network", "cpu", "nic")
    assert rig.processes[0].returncode == -signal.SIGKILL


def test_the_other_process_ends_when_its_parent_has_been_killed():
    """By the end of its standard input: a parent that is killed has no time to end its children."""
    other = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None and other.stdout is not None
    try:
        assert other.stdout.readline() == b"slow\n"  # it is at work
        other.stdin.close()
        assert other.wait(PATIENCE) == 1
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


@pytest.mark.skipif(registry.PLAIN, reason="plain mode compiles nothing")
def test_kernels_that_another_process_made_are_only_loaded_here(tmp_path):
    """Two real processes on one empty cache, at the same kernels at the same time; a third finds all of them."""
    program = """
import sys
from aero_lab.compiled import registry
from aero_lab.framing import l2_tunnel
mine = [k for k in registry._kernels if k.is_entry]
todo = [k for k in mine if not k.waits_on_disk()]
for k in todo if sys.argv[1] == "forth" else reversed(todo):
    k.prepare()
print(len(mine), len(todo))
"""
    environment = {**os.environ, "AERO_LAB_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    both = [
        subprocess.Popen([*command, way], env=environment, stdout=subprocess.PIPE, text=True)
        for way in ("forth", "back")
    ]
    said = [process.communicate(timeout=300)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    third = subprocess.run([*command, "forth"], env=environment, capture_output=True, text=True, timeout=300)
    assert int(said[0][0]) > 1 and third.stdout.split() == [said[0][0], "0"], third.stderr
