"""A child process that obeys commands: one JSON object a line each way, over its standard input and output."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from ..errors import AeroLabError
from ..guests.tap.namespace import Namespace
from ..limits import WORKER_PATIENCE

STOP_PATIENCE = 5.0
"""Seconds that a child may take to end after it was asked to."""


class WorkerFailed(AeroLabError):
    """A child process ended, or did not answer in time."""


class Child:
    """A module of this package as a process of its own.

    Parameters
    ----------
    role: what errors call it; told to the module too, as its argument.
    module: its name; it reads a line that says what it shall be, answers, and obeys until ``stop`` or the end of its
        standard input.
    spec: the rest of that first line; None: :meth:`begin` gives it, and the module gets ready meanwhile.
    fds: descriptors that it inherits under their numbers.
    where: a namespace to live in; None: that of this process.
    """

    def __init__(
        self,
        role: str,
        module: str,
        spec: dict[str, Any] | None = None,
        fds: tuple[int, ...] = (),
        where: Namespace | None = None,
    ):
        self.role = role
        self.until: float | None = None
        """Monotonic seconds after which no answer is waited for any more, whatever patience there is."""
        self._log = tempfile.TemporaryFile()
        # What this process imports the package from is what the child has to import it from.
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path}
        argv = [sys.executable, "-m", module, role]
        self._process: Any
        self._stdin: IO[bytes]
        self._stdout: IO[bytes]
        if where is None:
            self._process = process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                pass_fds=fds,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
            )
            assert process.stdin is not None and process.stdout is not None
            self._stdin, self._stdout = process.stdin, process.stdout
        else:
            assert not fds, "descriptors do not go into a namespace"
            theirs_in, ours_in = os.pipe()
            ours_out, theirs_out = os.pipe()
            self._stdin, self._stdout = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb")
            try:
                self._process = where.spawn(
                    argv, stdin=theirs_in, stdout=theirs_out, stderr=self._log, env=environment
                )  # fmt: skip
            except BaseException:
                self._close_pipes()
                raise
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
        self._buffer = b""
        if spec is not None:
            self.begin(spec)

    def begin(self, spec: dict[str, Any]) -> None:
        """Say what it shall be."""
        self._tell({"role": self.role, **spec})

    def ready(self) -> dict[str, Any]:
        """Wait until the child stands; what it tells about itself."""
        return self._answer(WORKER_PATIENCE)

    def ask(self, do: str, patience: float = WORKER_PATIENCE, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer; raises what went wrong there."""
        self._tell({"do": do, **arguments})
        return self._answer(patience)

    def stop(self) -> None:
        """End the process: ask first, then insist. May be called twice."""
        if self._process.poll() is None:
            try:
                self._tell({"do": "stop"})
                self._stdin.close()
                self._process.wait(STOP_PATIENCE)
            except (WorkerFailed, OSError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._stdin, self._stdout, self._log):
            try:
                pipe.close()
            except OSError:
                pass

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(message).encode() + b"\n")
            self._stdin.flush()
        except OSError:
            raise self._gone() from None

    def _answer(self, patience: float) -> dict[str, Any]:
        began = time.monotonic()
        end = began + patience if self.until is None else min(began + patience, self.until)
        out = self._stdout
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise WorkerFailed(f"the {self.role} process did not answer within {max(end - began, 0):.3g} s")
            data = os.read(out.fileno(), 65536)
            if not data:
                raise self._gone()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        if not answer["ok"]:
            raise AeroLabError(answer["error"])
        return answer["value"]

    def _gone(self) -> WorkerFailed:
        try:
            code: Any = self._process.wait(2)
        except subprocess.TimeoutExpired:
            code = "closed its pipes"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        return WorkerFailed(f"the {self.role} process ended ({code}){said}")
