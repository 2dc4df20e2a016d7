"""A pytest plugin that takes no table's word: which kernels a test runs, and whether it notices when one does nothing.

With ``NUMBA_DISABLE_JIT=1`` kernels are plain functions. Each chosen test is run once under a profiler that notes the
kernels it calls. Then, for each kernel that it is said to be a twin of, the kernel's code is taken out (it gives 0 and
does nothing) and the test is run again: it has to fail. At the end it runs once more as it was, and has to pass.

``WITNESS_IN`` names a JSON file ``{test: [kernel, ...]}``, ``WITNESS_OUT`` the one that is written: ``{"ran": {test:
[kernel, ...]}, "unnoticed": {kernel: [test, ...]}, "noticed": {kernel: test}}``. Of a test with parameters its cases
are taken one by one until one of them notices.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from types import CodeType, FrameType
from typing import Any

import pytest

PATIENCE = 20.0
"""Seconds after which a test that hangs without a kernel has noticed that it is gone."""


class Hung(BaseException):
    """A run took too long."""


def function_of(name: str) -> Any:
    """The plain function of a kernel."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def gutted(function: Any) -> CodeType:
    """Code that takes the same arguments and gives 0."""
    code = function.__code__
    arguments = ", ".join(code.co_varnames[: code.co_argcount])
    scope: dict[str, Any] = {}
    exec(f"def {code.co_name}({arguments}):\n    return 0\n", scope)
    return scope[code.co_name].__code__


class Witness:
    def __init__(self) -> None:
        with open(os.environ["WITNESS_IN"]) as file:
            self.claims: dict[str, list[str]] = json.load(file)
        self.functions = {name: function_of(name) for names in self.claims.values() for name in names}
        self.codes: dict[CodeType, str] = {f.__code__: name for name, f in self.functions.items()}
        self.ran: dict[str, set[str]] = {test: set() for test in self.claims}
        self.noticed: dict[str, str] = {}
        self.unnoticed: dict[str, list[str]] = {}

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
        seen: set[str] = set()

        def note(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call":
                name = self.codes.get(frame.f_code)
                if name is not None:
                    seen.add(name)

        sys.setprofile(note)
        try:
            outcome = yield
        finally:
            sys.setprofile(None)
        self.ran.setdefault(test, set()).update(seen)
        if outcome.excinfo is None:
            wanted = [k for k in self.claims.get(test, []) if k in seen and k not in self.noticed]
            for kernel in wanted:
                if self.fails_without(item, kernel):
                    self.noticed[kernel] = item.nodeid
                    self.unnoticed.pop(kernel, None)
                else:
                    self.unnoticed.setdefault(kernel, []).append(item.nodeid)
            if wanted:
                item.runtest()  # what a broken run left behind must not be what the next one noticed

    def fails_without(self, item: pytest.Item, kernel: str) -> bool:
        function = self.functions[kernel]
        code = function.__code__

        def hung(number: int, frame: Any) -> None:
            raise Hung

        before = signal.signal(signal.SIGALRM, hung)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        function.__code__ = gutted(function)
        try:
            item.runtest()
            if getattr(item, "_excinfo", None):  # a unittest case keeps what it raised
                item._excinfo = None  # type: ignore[attr-defined]
                return True
        except (Exception, Hung, pytest.fail.Exception):
            return True
        finally:
            function.__code__ = code
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return False

    def pytest_sessionfinish(self) -> None:
        with open(os.environ["WITNESS_OUT"], "w") as file:
            ran = {test: sorted(names) for test, names in self.ran.items()}
            json.dump({"ran": ran, "noticed": self.noticed, "unnoticed": self.unnoticed}, file, indent=1)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Witness(), "kernel-witness")
