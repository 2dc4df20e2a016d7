"""A sweep in a file, for the command line.

::

    seeds = 20
    timeout = 600

    [grid]
    option = "ABC"
    transport = ["websocket", "webrtc"]
    rtt = ["10ms", "100ms"]
    loss = [0, 0.001, 0.01]
    rate = ["none", ["1Mbit/s", "10Mbit/s"]]   # a list inside a list is up and down
    size = "1MB"

    [transport]                                # what a name belongs to, where it needs saying:
    congestion = ["cubic", "reno"]             # link, workload, option, transport
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from . import grid as grids

_TOP = ("seeds", "timeout", "grid", *grids.ROOMS)


@dataclass(frozen=True)
class Spec:
    """What a file asks for."""

    plan: grids.Plan
    name: str
    """Stem of the file."""


def read(path: str | Path) -> Spec:
    """Read a file; :class:`UsageError`, one line, for whatever is wrong with it."""
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    unknown = [name for name in document if name not in _TOP]
    if unknown:
        meant = grids.near(unknown[0], _TOP)
        raise UsageError(f"{path}: {unknown[0]!r} is not of a sweep{meant}; there is {', '.join(_TOP)}")
    grid: Any = document.get("grid")
    if not isinstance(grid, dict) or not grid:
        raise UsageError(f"{path} has no [grid]")
    axes = dict(grid)
    for room in grids.ROOMS:
        inner = document.get(room, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{path}: {room} is a table; the axis {room} belongs under [grid]")
        axes.update((f"{room}__{name}", value) for name, value in inner.items())
    try:
        return Spec(grids.plan(axes, document.get("seeds", 1), document.get("timeout", 600.0)), path.stem)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
