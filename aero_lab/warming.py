"""Kernels of several groups, compiled by two processes at once: on a machine whose kernels are all to be made the
first command waits for the longer half only.

The other process keeps what it makes where every process of this package looks for kernels, so that this one has
nothing to take over from it. Whatever it did not come to, because it could not be started or has ended, is made here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from .compiled import registry

APART = ("cpu", "nic")
"""Groups that have so little in common with the others that they are made apart: more than half of all the work."""
LOOK = 0.2
"""Seconds between two looks at how far the other process is."""


def warmup(progress: bool = True, *groups: str) -> int:
    """As :func:`aero_lab.compiled.registry.warmup`: get every kernel of these groups ready, by two processes where
    both have something to do and there are two processors."""
    groups = groups or ("network",)
    apart = tuple(group for group in groups if group in APART)
    rest = tuple(group for group in groups if group not in APART)
    number = len(registry.pending(*groups))
    if apart and rest and processors() > 1 and registry.pending(*apart) and registry.pending(*rest):
        with contextlib.suppress(OSError), _Other(apart) as other:
            registry.warmup(progress, *rest)
            other.wait(progress)
    registry.warmup(progress, *groups)
    return number


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class _Other:
    """The process that compiles some groups; a context manager that leaves none behind."""

    def __init__(self, groups: tuple[str, ...]):
        self._groups = groups
        self._made = 0
        # What this process imports the package from is what the other has to import it from.
        path = os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__, *groups],
            stdin=subprocess.PIPE,  # closed when this process ends, however it ends: then the other ends too
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what it cannot make is tried here, where its error is seen
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for this process, which then ends the other
        )
        self._reader = threading.Thread(target=self._count, name="aero-lab-warming", daemon=True)
        self._reader.start()

    def _count(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for _ in self.process.stdout:
                self._made += 1

    def wait(self, progress: bool) -> None:
        """Until it has ended, with a bar of its kernels."""
        from tqdm.auto import tqdm

        total = sum(registry.group_of(each.py_func.__module__) in self._groups for each in registry._kernels)
        what = f"{' and '.join(self._groups)} kernels"
        hidden = not progress or self.process.poll() is not None
        with tqdm(total=total, desc=what, unit="", leave=False, disable=hidden) as bar:
            while self.process.poll() is None:
                bar.n = self._made
                bar.refresh()
                time.sleep(LOOK)

    def __enter__(self) -> _Other:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def main(groups: tuple[str, ...]) -> None:
    """What the other process does: a line for each kernel, inner ones included, and an end when its parent's comes."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1 << 10):
                pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    registry._on_ready = lambda name: os.write(1, name.encode() + b"\n") and None
    for dispatcher in registry.pending(*groups):
        dispatcher.prepare()


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
