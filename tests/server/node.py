"""Programs for Node, with packages of its registry: clients that others wrote, in a process of their own.

``await run(script, "ws", argument)`` installs what is named (once for a test process, in a temporary directory), runs
the script as an ES module and returns what it printed as JSON. Without node or npm, or without the registry, the test
is skipped; in CI that is a failure.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

INSTALL_PATIENCE, RUN_PATIENCE = 240, 45
"""Seconds: for a registry that is slow, for a machine that is."""
PINNED = {"ws": "ws@8", "werift": "werift@0.22"}
"""Versions, by name of the package."""


def _missing(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@functools.cache
def folder(packages: tuple[str, ...]) -> Path:
    """A directory where these packages can be imported."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        _missing("no node and npm on this machine")
    path = Path(tempfile.mkdtemp(prefix="aero-node-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    (path / "package.json").write_text('{"private": true, "type": "module"}')
    wanted = [PINNED.get(name, name) for name in packages]
    if wanted:
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", *wanted]
        try:
            done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=INSTALL_PATIENCE)
        except subprocess.TimeoutExpired:
            _missing(f"npm did not install {wanted} in time")
        else:
            if done.returncode:
                _missing(f"npm did not install {wanted}: {done.stderr[-500:]}")
    return path


async def run(script: str, packages: tuple[str, ...] = (), *arguments: Any, patience: float = RUN_PATIENCE) -> Any:
    """What a script prints, as JSON. ``arguments`` are ``args`` in it."""
    where = await asyncio.to_thread(folder, packages)
    path = where / f"program-{abs(hash(script)):x}.mjs"
    path.write_text(f"const args = JSON.parse(process.argv[2]);\n{script}")
    process = await asyncio.create_subprocess_exec(
        "node",
        str(path),
        json.dumps(arguments),
        cwd=where,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(patience):
            out, err = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()[-2000:]
    return json.loads(out)
