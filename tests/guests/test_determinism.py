"""One seed gives one run: in another process, with other hashes, and with kernels that are not compiled."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from aero_lab.link import Link

from .bench import Bench

ROOT = Path(__file__).parents[2]


def digest() -> str:
    """Of every frame and its time: a Windows guest starts up and works over a hostile link."""
    link = Link(rtt="20ms", loss=0.03, duplicate=0.01, reorder=0.05, corrupt=0.01)
    bench = Bench("windows7", seed=11, link=link)
    for name, parameters in (("download", {"size": 60_000}), ("upload", {"size": 60_000}), ("game", {"duration": 1.0})):
        bench.run(name, **parameters)
    bench.wait(10)
    total = hashlib.sha256()
    for when, frame in bench.frames:
        total.update(f"{when} {len(frame)} ".encode() + frame)
    return f"{len(bench.frames)} {total.hexdigest()}"


def test_another_process_without_compiled_kernels_sees_the_same_frames():
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from tests.guests.test_determinism import digest; print(digest())"]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert told.stdout.strip() == digest(), told.stderr
