"""Our stack against the host's kernel, over a TAP in a namespace of its own.

One child process plays all scenarios of ``kernel_peer.py`` (compiled kernels are loaded once); each is a test here.
Needs unprivileged user and network namespaces, ``/dev/net/tun`` and the ``ip`` command, and says so where they are not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aero_lab.compiled.registry import PLAIN

from .kernel_peer import SCENARIOS

HERE = Path(__file__).resolve().parent
PROBE = "ip tuntap add mode tap name probe0 && ip link set probe0 up"


@pytest.fixture(scope="module")
def results() -> dict[str, dict]:
    if PLAIN:
        pytest.skip("the kernel's timers do not wait for interpreted kernels; this runs in compiled mode")
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs the command {tool!r}")
    inside = ["unshare", "-Urn"]
    probe = subprocess.run([*inside, "sh", "-c", PROBE], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no TAP in a network namespace here: {probe.stderr.strip()}")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])}
    command = [*inside, sys.executable, str(HERE / "kernel_peer.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}


@pytest.mark.root
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_kernel_and_we_agree(results, name):
    assert results[name]["error"] is None, results[name]["error"]
