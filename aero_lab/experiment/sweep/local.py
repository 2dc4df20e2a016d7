"""Runs in processes of this machine. A process that ends on the way costs no row: another takes its place."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...bounds import SWEEP_AHEAD, SWEEP_ATTEMPTS
from ...errors import AeroLabError
from .grid import key_of
from .rows import FAILED_WORKER, Row, failure, make_row

Config = dict[str, Any]

PROGRAM = ("-m", "aero_lab.experiment.sweep.worker")
"""What Python runs in a worker."""


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def here(configs: Iterable[Config], captures: str | None = None) -> Iterator[Row]:
    """The rows of these runs, one after the other, in this process."""
    for config in configs:
        yield make_row(config, captures)


class Worker:
    """A child process, and the runs it has been given: it is at the first of them."""

    def __init__(self) -> None:
        self.given: deque[Config] = deque()
        self._log = tempfile.TemporaryFile()
        # What this process imports the package from is what the child has to import it from.
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._in, self.out = self.process.stdin, self.process.stdout
        self._buffer = b""

    def give(self, config: Config, captures: str | None) -> None:
        """Add a run to what it has to do; one that has ended is noticed when its rows are looked for."""
        self.given.append(config)
        with contextlib.suppress(OSError):
            self._in.write(json.dumps({"config": config, "captures": captures}).encode() + b"\n")
            self._in.flush()

    def rows(self) -> list[Row] | None:
        """Rows that are there now, once the pipe is readable; None when the process has ended."""
        data = os.read(self.out.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        found = [json.loads(line) for line in lines]
        for _ in found:
            self.given.popleft()
        return found

    def last_words(self) -> str:
        """How it ended, and the last line it wrote."""
        code = self.process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        return f"the process that made this run ended ({code}){said}"

    def close(self) -> None:
        """End it. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for file in (self._in, self.out, self._log):
            with contextlib.suppress(OSError):
                file.close()


class Pool:
    """A number of workers; a context manager that leaves none behind."""

    def __init__(self, workers: int):
        self._selector = selectors.DefaultSelector()
        self.workers: list[Worker] = []
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> Worker:
        worker = Worker()
        self.workers.append(worker)
        self._selector.register(worker.out, selectors.EVENT_READ, worker)
        return worker

    def rows(self, configs: Iterable[Config], captures: str | None = None) -> Iterator[Row]:
        """The rows of these runs, as they come."""
        todo = deque(configs)
        attempts: Counter[str] = Counter()
        while True:
            for ahead in range(SWEEP_AHEAD):  # in turn, so that the last runs are not all one worker's
                for worker in self.workers:
                    if todo and len(worker.given) == ahead:
                        worker.give(todo.popleft(), captures)
            if not any(worker.given for worker in self.workers):
                return
            for key, _ in self._selector.select():
                worker: Worker = key.data
                rows = worker.rows()
                if rows is not None:
                    yield from rows
                    continue
                yield from self._replace(worker, todo, attempts)

    def _replace(self, worker: Worker, todo: deque[Config], attempts: Counter[str]) -> Iterator[Row]:
        """A worker has ended: what it was at is tried again, unless it has ended several; what it had yet to do waits
        for the next."""
        why = worker.last_words()
        self._selector.unregister(worker.out)
        self.workers.remove(worker)
        worker.close()
        lost = list(worker.given)
        todo.extendleft(reversed(lost[1:]))
        if lost:
            key = key_of(lost[0])
            attempts[key] += 1
            if attempts[key] < SWEEP_ATTEMPTS:
                todo.append(lost[0])
            else:
                yield failure(lost[0], f"{why}, {SWEEP_ATTEMPTS} times", FAILED_WORKER)
        elif not todo:
            raise AeroLabError(why)
        self._start()

    def close(self) -> None:
        """End all workers. May be called twice."""
        for worker in self.workers:
            worker.close()
        self.workers = []
        self._selector.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
