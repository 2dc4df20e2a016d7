"""Programs for Node, with packages of its registry: clients that others wrote, in a process of their own.

``await run(script, "ws", argument)`` runs the script as an ES module beside what is named, and returns what it printed
as JSON. Packages are those that npm has installed for the whole machine, as CI does before anything else; otherwise
they are installed in a temporary directory, once for a test process. Where they cannot be had, the test is skipped with
the reason, and fails in CI.
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

INSTALL_PATIENCE, RUN_PATIENCE, ATTEMPTS = 100, 45, 3
"""Seconds: for a registry that is slow, for a machine that is; and how often a registry is asked."""
PINNED = {"ws": "8", "werift": "0.22"}
"""Versions, by name of the package: how they begin. ``.ci/run`` names them too."""


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
    there = {name: installed(name) for name in packages}
    if all(there.values()):
        (path / "node_modules").mkdir()
        for name, where in there.items():
            (path / "node_modules" / name).symlink_to(where)  # type: ignore[arg-type]
        return path
    wanted = [f"{name}@{PINNED[name]}" for name in packages]
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
    _missing(f"npm did not install {', '.join(wanted)}: {why}")
    return path


def installed(name: str) -> Path | None:
    """Where npm has this package, in the version that is wanted, for the whole machine."""
    asked = subprocess.run(["npm", "root", "--global"], capture_output=True, text=True, timeout=INSTALL_PATIENCE)
    about = Path(asked.stdout.strip()) / name / "package.json"
    if asked.returncode or not about.is_file():
        return None
    version = json.loads(about.read_text())["version"]
    return about.parent if version.startswith(PINNED[name] + ".") else None


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
