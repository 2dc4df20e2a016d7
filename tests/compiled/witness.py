"""A pytest plugin that takes no table's word: which kernels a test runs, and whether it notices when one does nothing.

With ``NUMBA_DISABLE_JIT=1`` kernels are plain functions. Each chosen test is run once with kernels that make a note of
their first call. Then, for each kernel that it is said to be a twin of, the kernel's code is taken out (it gives 0 and
does nothing) and the test is run again: it has to fail. At the end it runs once more as it was, and has to pass.

``WITNESS_IN`` names a JSON file ``{test: [kernel, ...]}``, ``WITNESS_OUT`` the one that is written: ``{"ran": {test:
[kernel, ...]}, "unnoticed": {kernel: [test, ...]}, "noticed": {kernel: test}, "hung": [kernel, ...]}``. Of a test with
parameters its cases are taken one by one until one of them notices. ``hung`` are kernels without which a test came to
no end: what it was patient for is reckoned from what it takes with them.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from types import CodeType
from typing import Any

import pytest

TURNING, WAITING = (3.0, 3.0), (30.0, 10.0)
"""Seconds, and times what the test takes with the kernel, after which a test that hangs without it has noticed that it
is gone: of the processor, for one that turns in a loop, which is nearly all of them; by the clock, for one that waits,
on a machine that does other things too."""
NOTE = "_the_witness_notes"


class Hung(BaseException):
    """A run took too long."""


def function_of(name: str) -> Any:
    """The plain function of a kernel."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def instead(function: Any, body: str) -> CodeType:
    """Code that takes the same arguments and is ``body``, in which ``{}`` stands for them."""
    code = function.__code__
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    scope: dict[str, Any] = {}
    exec(f"def {code.co_name}({arguments}):\n    {body.format(arguments)}\n", scope)
    return scope[code.co_name].__code__


class Witness:
    def __init__(self) -> None:
        with open(os.environ["WITNESS_IN"]) as file:
            self.claims: dict[str, list[str]] = json.load(file)
        self.functions = {name: function_of(name) for names in self.claims.values() for name in names}
        self.codes: dict[str, CodeType] = {name: f.__code__ for name, f in self.functions.items()}
        for function in self.functions.values():
            function.__globals__[NOTE] = self.note
        self.seen: set[str] = set()
        self.ran: dict[str, set[str]] = {test: set() for test in self.claims}
        self.noticed: dict[str, str] = {}
        self.unnoticed: dict[str, list[str]] = {}
        self.hung: list[str] = []

    def note(self, name: str, *arguments: Any) -> Any:
        """The first call of a kernel in a test; the next ones are its own again."""
        self.seen.add(name)
        function = self.functions[name]
        function.__code__ = self.codes[name]
        return function(*arguments)

    def pytest_sessionstart(self) -> None:
        """One short run after another: no shrinking, nothing remembered, always the same examples."""
        from hypothesis import HealthCheck, Phase, settings

        settings.register_profile(
            "witness", deadline=None, derandomize=True, database=None, max_examples=40, stateful_step_count=30,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        settings.load_profile("witness")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        test = item.nodeid.split("[")[0]
        if all(kernel in self.noticed for kernel in self.claims.get(test, [])):
            item.runtest = lambda: None  # type: ignore[attr-defined]  # its other cases have nothing to add
        self.seen = seen = set()
        for name, function in self.functions.items():
            function.__code__ = instead(function, f"return {NOTE}({name!r}, {{}})")
        took = time.process_time(), time.monotonic()
        try:
            outcome = yield
        finally:
            took = time.process_time() - took[0], time.monotonic() - took[1]
            for name, function in self.functions.items():
                function.__code__ = self.codes[name]
        self.ran.setdefault(test, set()).update(seen)
        if outcome.excinfo is None:
            wanted = [k for k in self.claims.get(test, []) if k in seen and k not in self.noticed]
            for kernel in wanted:
                if self.fails_without(item, kernel, *took):
                    self.noticed[kernel] = item.nodeid
                    self.unnoticed.pop(kernel, None)
                else:
                    self.unnoticed.setdefault(kernel, []).append(item.nodeid)
            if wanted:
                item.runtest()  # what a broken run left behind must not be what the next one noticed

    def fails_without(self, item: pytest.Item, kernel: str, processor: float, clock: float) -> bool:
        """``processor`` and ``clock`` are the seconds that it took with the kernel."""
        function = self.functions[kernel]
        code = function.__code__

        def hung(number: int, frame: Any) -> None:
            raise Hung

        before = signal.signal(signal.SIGPROF, hung), signal.signal(signal.SIGALRM, hung)
        function.__code__ = instead(function, "return 0")
        try:
            signal.setitimer(signal.ITIMER_PROF, TURNING[0] + TURNING[1] * processor)
            signal.setitimer(signal.ITIMER_REAL, WAITING[0] + WAITING[1] * clock)
            item.runtest()
            if getattr(item, "_excinfo", None):  # a unittest case keeps what it raised
                item._excinfo = None  # type: ignore[attr-defined]
                return True
        except Hung:
            self.hung.append(kernel)
            return True
        except (Exception, pytest.fail.Exception):
            return True
        finally:
            function.__code__ = code
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGPROF, before[0])
            signal.signal(signal.SIGALRM, before[1])
        return False

    def pytest_sessionfinish(self) -> None:
        with open(os.environ["WITNESS_OUT"], "w") as file:
            ran = {test: sorted(names) for test, names in self.ran.items()}
            found = {"ran": ran, "noticed": self.noticed, "unnoticed": self.unnoticed, "hung": self.hung}
            json.dump(found, file, indent=1)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Witness(), "kernel-witness")
