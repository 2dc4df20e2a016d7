"""The notebooks and small data sets that come with the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import UsageError

_PACKAGE = Path(__file__).resolve().parent.parent


def source(kind: str) -> Path:
    """Folder of the shipped ``"notebooks"`` or ``"datasets"``: inside a wheel, beside the package in a clone."""
    for candidate in (_PACKAGE / "share" / kind, _PACKAGE.parent / kind):
        if candidate.is_dir():
            return candidate
    raise UsageError(f"this installation carries no {kind}")


def copy_walkthroughs(folder: Path, overwrite: bool = False) -> tuple[list[Path], list[Path]]:
    """Copy notebooks and data sets into ``folder``; returns what was copied and what was there and left alone."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    copied, kept = [], []
    for kind, patterns, below in (("notebooks", ("*.ipynb",), "."), ("datasets", ("*",), "datasets")):
        for pattern in patterns:
            for item in sorted(source(kind).glob(pattern)):
                target = folder / below / item.name
                if not item.is_file():
                    continue
                if target.exists() and not overwrite:
                    kept.append(target)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(item, target)
                copied.append(target)
    return copied, kept


def open_jupyterlab(folder: Path) -> int:
    """Run JupyterLab on ``folder`` until it is closed; returns its exit code."""
    try:
        return subprocess.call([sys.executable, "-m", "jupyterlab", str(folder)])
    except KeyboardInterrupt:
        return 0
