"""Every kernel has a twin, and the twin notices: the tables of ``twins`` against the sources, and by execution."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aero_lab.compiled import registry
from aero_lab.compiled.registry import PLAIN

from .kernels import ROOT, defined
from .twins import TWINS

TESTS = ROOT.parent / "tests"
EMPTY = {"aero_lab.cpu.op_system.nop"}
"""Kernels that do nothing anyway."""
SAMPLE = 13
"""In an ordinary run a kernel of every so many-th test is tried; all of them take an hour."""
SHARD, PATIENCE = 40, 1800
"""Kernels that are tried in one process of the long run, and the seconds that it may take: minutes on a machine that
does nothing else."""
LENGTHY = ("tests/stack/test_model_", "tests/cpu/test_differential.py::test_one_of_each")
"""Tests that take long by themselves as plain Python: in an ordinary run their kernels are not tried."""


def claims() -> dict[str, list[str]]:
    """``test -> kernels`` with their modules."""
    return {
        test: [f"{module}.{name}" for module, names in modules.items() for name in names.split()]
        for test, modules in TWINS.items()
    }


def named() -> list[str]:
    return [kernel for kernels in claims().values() for kernel in kernels]


def shards() -> dict[str, list[str]]:
    """All kernels, in parts that end within minutes: ``room-number -> kernels``, by the room of their tests."""
    rooms: dict[str, list[str]] = {}
    for test, kernels in claims().items():
        rooms.setdefault(test.split("/")[1], []).extend(k for k in kernels if k not in EMPTY)
    return {
        f"{room}-{at // SHARD + 1}": kernels[at : at + SHARD]
        for room, kernels in sorted(rooms.items())
        for at in range(0, len(kernels), SHARD)
    }


def defines(path: Path) -> set[str]:
    """Tests that a file defines, and the state machines it makes tests of."""
    out = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            out.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute) and node.value.attr == "TestCase":
            out |= {f"{target.id}::runTest" for target in node.targets if isinstance(target, ast.Name)}
    return out


def test_every_kernel_has_a_twin_and_every_twin_a_kernel():
    assert sorted(named()) == sorted(defined()), "tests/compiled/twins names each kernel once"


@pytest.mark.skipif(PLAIN, reason="the registry knows kernels only when they are compiled")
def test_the_sources_are_read_as_the_registry_reads_them():
    """No kernel is registered in a way that reading the sources misses."""
    registry.pending("network", "cpu")
    registered = {
        f"{k.py_func.__module__}.{k.py_func.__name__}" for k in registry._kernels if "aero_lab." in k.py_func.__module__
    }
    assert registered <= defined() and len(registered) > 200


@pytest.mark.parametrize("test", TWINS)
def test_the_named_tests_are_there(test):
    file, _, name = test.partition("::")
    assert name in defines(ROOT.parent / file)


def witnessed(wanted: dict[str, list[str]], tmp_path: Path) -> dict[str, dict]:
    """What :mod:`.witness` saw of these claims."""
    (tmp_path / "in.json").write_text(json.dumps(wanted))
    environment = {
        **os.environ, "NUMBA_DISABLE_JIT": "1",
        "WITNESS_IN": str(tmp_path / "in.json"), "WITNESS_OUT": str(tmp_path / "out.json"),
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-p", "tests.compiled.witness"]
    done = subprocess.run(
        [*command, "--timeout=0", *wanted], cwd=TESTS.parent, env=environment, capture_output=True, text=True,
        timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return json.loads((tmp_path / "out.json").read_text())


def try_kernels(chosen: set[str], tmp_path: Path, **beside: list[str]) -> dict[str, dict]:
    """Have these kernels taken out one by one; ``beside`` are claims that are tried with them and not judged here."""
    chosen = chosen - EMPTY
    wanted = {test: kept for test, kernels in claims().items() if (kept := [k for k in kernels if k in chosen])}
    others = {test: kernels for test, kernels in beside.items() if test not in wanted}
    assert len(others) == len(beside), "these tests are among those that are judged"
    seen = witnessed(wanted | others, tmp_path)
    idle = {k: t for t, kernels in wanted.items() for k in kernels if k not in seen["ran"].get(t, ())}
    assert not idle, "these tests do not run these kernels"
    unnoticed = {kernel: tests for kernel, tests in seen["unnoticed"].items() if kernel in chosen}
    assert not unnoticed, "these tests pass without these kernels"
    assert chosen <= set(seen["noticed"])
    return seen


@pytest.mark.skipif(PLAIN, reason="the same in either mode: it starts a process of its own")
def test_some_twins_notice_when_their_kernel_does_nothing(tmp_path):
    """And the witness is no yes-man: a test that does not run a kernel, and one that does not look at what it did, are
    found out."""
    idle = "tests/wire/test_checksum.py::test_fold"
    blind = "tests/rings/test_frame_ring.py::test_attach_believes_only_a_ring"
    step, fold, push = "aero_lab.stack.core.step", "aero_lab.wire.checksum.fold", "aero_lab.rings.frame_ring.push"
    quick = [kernels[0] for test, kernels in claims().items() if not test.startswith(LENGTHY)]
    chosen = set(quick[::SAMPLE]) - {step, fold, push}
    seen = try_kernels(chosen, tmp_path, **{idle: [step, fold], blind: [push]})
    assert step not in seen["ran"][idle] and seen["noticed"][fold] == idle
    assert step not in seen["noticed"] and push not in seen["noticed"]


def test_every_kernel_is_in_one_shard():
    parts = shards()
    assert sorted(kernel for part in parts.values() for kernel in part) == sorted(defined() - EMPTY)
    assert all(0 < len(part) <= SHARD for part in parts.values())


@pytest.mark.long
@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.skipif(PLAIN, reason="the same in either mode: it starts a process of its own")
@pytest.mark.parametrize("shard", shards())
def test_each_twin_notices_when_its_kernel_does_nothing(shard, tmp_path):
    """``-k stack-2`` is one part of a room, ``-k "stack-"`` a room."""
    try_kernels(set(shards()[shard]), tmp_path)
