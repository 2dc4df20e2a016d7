"""What all tests share: kernels are compiled once, hypothesis is bounded, and a wrong machine is named, not guessed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

# Shared, slow machines: a deadline per example would test the machine. Derandomised in CI so that a failure repeats.
settings.register_profile(
    "default",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("default")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels once, before the workers of pytest-xdist would each do it at the same time: the processor's
    in a process of their own, beside the others."""
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        from aero_lab.compiled.registry import PLAIN, warmup

        if PLAIN:
            return
        with subprocess.Popen([sys.executable, "-m", "tests.cpu.ready"], cwd=session.config.rootpath) as processor:
            warmup(False, "network", "nic", "reproduce")
        assert processor.returncode == 0, "the processor's kernels do not compile"
