"""The kernel registry: one signature, compiled late, the user's numba left alone."""

import gc
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from aero_lab.compiled import registry
from aero_lab.compiled.registry import BYTES, I64, PLAIN, entry, kernel

compiled_only = pytest.mark.skipif(PLAIN, reason="there is nothing to compile in plain mode")


@kernel(I64(I64, I64))
def add(a, b):
    return a + b


@kernel(I64(I64))
def add_one_and_two(a):
    return add(add(a, 1), 2)


@entry
@kernel(I64(BYTES, I64))
def total(buffer, factor):
    out = 0
    for i in range(len(buffer)):
        out += buffer[i]
    return add_one_and_two(out * factor)


def test_kernels_call_kernels():
    assert total(np.arange(5, dtype=np.uint8), 10) == 103


@compiled_only
def test_literal_arguments_do_not_compile_a_callee_again():
    one = kernel(I64(I64, I64))(lambda a, b: a + b)

    @kernel(I64(I64))
    def twice(a):
        return one(one(a, 1), 2)

    for each in (one, twice):
        each._cache = numba.core.caching.NullCache()
    twice.prepare()
    assert list(one.overloads) == [(numba.int64, numba.int64)]


@compiled_only
def test_an_entry_refuses_any_other_signature():
    total.prepare()
    for wrong in ((np.zeros(3), 1), (np.zeros(3, np.uint8), "x"), (np.zeros((2, 2), np.uint8), 1), ()):
        with pytest.raises(TypeError):
            total(*wrong)


@compiled_only
def test_a_kernel_that_is_no_entry_can_be_called_from_python_too():
    add_one_and_two.prepare()
    assert add(3, 4) == 7 and add(3, 4) == 7 and add_one_and_two(1) == 4
    with pytest.raises(TypeError):
        add("a", "b")
    assert not add.is_entry and total.is_entry


@compiled_only
def test_compiling_leaves_settings_and_collector_alone():
    def state():
        return (
            numba.config.OPT,
            numba.config.CACHE_DIR,
            numba.types.Record.__repr__,
            gc.isenabled(),
            os.environ.get("NUMBA_CACHE_DIR"),
        )

    @kernel(I64(I64))
    def broken(a):
        return a.no_such_thing

    before = state()
    with pytest.raises(numba.TypingError):
        broken.prepare()
    assert state() == before and registry._compile_depth == 0
    gc.disable()
    try:
        entry(kernel(I64(I64))(lambda a: a + 41)).prepare()
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert state() == before


WARM = """
import json, sys
from aero_lab.compiled import registry
from aero_lab.rings import frame_ring
registry.KERNEL_MODULES = {"network": ("aero_lab.rings.frame_ring",)}
imported = sum(k.ready for k in registry._kernels)
entries = [k.py_func.__name__ for k in registry.pending()]
first, names = registry.warmup(progress=False), [k.py_func.__name__ for k in registry._kernels if k.ready]
print(json.dumps([imported, entries, first, registry.warmup(), names, "tqdm.auto" in sys.modules]))
"""


@compiled_only
def test_importing_compiles_nothing_and_a_warm_process_loads_only_what_python_calls(tmp_path):
    environment = {**os.environ, "AERO_LAB_CACHE_DIR": str(tmp_path)}

    def run():
        return json.loads(subprocess.check_output([sys.executable, "-c", WARM], env=environment))

    imported, entries, first, second, ready, _ = run()
    assert imported == 0 and first == len(entries) > 0 and second == 0
    assert set(entries) < set(ready), "callees were compiled on the way"
    imported, again, first, second, ready, _ = run()
    assert imported == 0 and again == [] and first == second == 0
    assert ready == [], "what waits on disk is loaded by its first call"


@compiled_only
def test_the_bar_counts_every_kernel(monkeypatch):
    seen = []

    class Bar:
        n = 0

        def __init__(self, total, **options):
            self.total = total
            seen.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def set_postfix_str(self, text, refresh):
            self.text = text

        def update(self, by=1):
            self.n += by

    class Fake:
        def __init__(self, name, ready=False, module="tests.fake"):
            self.ready, self.is_entry, self.name = ready, True, name
            self.py_func = SimpleNamespace(__module__=module)

        def waits_on_disk(self):
            return self.name == "on disk"

        def prepare(self):
            self.ready = True
            registry._on_ready(self.name)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    monkeypatch.setattr(registry, "KERNEL_MODULES", {"network": (), "cpu": ()})
    inner = Fake("inner")
    inner.is_entry = False
    monkeypatch.setattr(registry, "_kernels", [Fake("a"), Fake("there", ready=True), Fake("b"), inner])
    assert registry.warmup() == 2
    assert seen[0].total == seen[0].n == 3 and seen[0].text == "b" and registry._on_ready is None

    cpu = Fake("step", module="aero_lab.cpu.execute")
    monkeypatch.setattr(registry, "_kernels", [Fake("c"), cpu])
    assert registry.pending() == registry._kernels[:1] and registry.pending("cpu") == [cpu]
    assert registry.warmup() == 1 and not cpu.ready
    assert registry.warmup(True, "network", "cpu") == 1 and cpu.ready
    assert [bar.total for bar in seen[1:]] == [1, 1]


def test_plain_mode_is_plain():
    if PLAIN:
        assert registry.pending() == [] and registry.warmup() == 0 and total.__name__ == "total"
    else:
        assert isinstance(total, numba.core.registry.CPUDispatcher)
