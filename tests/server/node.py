"""Programs for Node, with packages of its registry: clients that others wrote, in a process of their own.

``await run(script, "ws", argument)`` installs what is named (once for a test process, in a temporary directory), runs
the script as an ES module and returns what it printed as JSON. Without node or npm the test is skipped, in CI it fails;
a registry that cannot be reached, which is nobody's fault here, skips it with the reason.
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

INSTALL_PATIENCE, RUN_PATIENCE, ATTEMPTS = 100, 45, 2
"""Seconds: for a registry that is slow, for a machine that is; and how often a registry is asked."""
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
        why = ""
        for _ in range(ATTEMPTS):
            try:
                done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=INSTALL_PATIENCE)
            except subprocess.TimeoutExpired:
                why = "it took too long"
                continue
            if not done.returncode:
                return path
            why = done.stderr[-300:].strip()
        pytest.skip(f"npm did not install {', '.join(wanted)}: {why}")
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
