"""A real-time run: services here, client and proxy in processes of their own."""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ..capture import Capture
from ..errors import AeroLabError
from ..limits import WORKER_PATIENCE
from ..wire.address import ip_text


class WorkerFailed(AeroLabError):
    """A client or proxy process ended, or did not answer in time."""


class Worker:
    """A child process that is one half of a run, see :mod:`.worker`."""

    def __init__(self, role: str, spec: dict[str, Any], fds: tuple[int, ...]):
        self.role = role
        self._log = tempfile.TemporaryFile()
        # What this process imports the package from is what the child has to import it from.
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aero_lab.experiment.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            pass_fds=fds,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its children in order
        )
        self._buffer = b""
        self._tell({"role": role, **spec})

    def ready(self) -> None:
        """Wait until the half stands."""
        self._answer(WORKER_PATIENCE)

    def ask(self, do: str, patience: float = WORKER_PATIENCE, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer; raises what went wrong there."""
        self._tell({"do": do, **arguments})
        return self._answer(patience)

    def stop(self) -> None:
        """End the process: ask first, then insist. May be called twice."""
        if self._process.poll() is None:
            try:
                self._tell({"do": "stop"})
                self._process.stdin.close()  # type: ignore[union-attr]
                self._process.wait(5)
            except (WorkerFailed, OSError, subprocess.TimeoutExpired):
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError:
            raise self._gone() from None

    def _answer(self, patience: float) -> dict[str, Any]:
        end = time.monotonic() + patience
        out = self._process.stdout
        assert out is not None
        while b"\n" not in self._buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise WorkerFailed(f"the {self.role} process did not answer within {patience:g} s")
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


class RealRun:
    """Services, proxy process and client process of one run; a context manager that leaves none of them behind."""

    def __init__(self, option: str, profile: str, mtu: int, seed: int, meta: dict[str, Any], ack_policy: str = "early"):
        from ..egress.services_host import ServicesHost
        from ..engine import RealEngine
        from ..transports.memory import SharedMemoryTransport

        self._engine = RealEngine("aero-lab-services")
        self._workers: list[Worker] = []
        self._tickets: tuple = ()
        try:
            services = ServicesHost()
            self._engine.on_close(services.stop)
            self._engine.call(services.start, self._engine.loop)
            self._tickets = SharedMemoryTransport.create_tickets()
            self.epoch_ns = time.time_ns() - self._engine.now()
            """Wall clock less the clock of both processes, which is what frame times have added."""
            spec = {
                "ack_policy": ack_policy,
                "option": option,
                "profile": profile,
                "mtu": mtu,
                "seed": seed,
                "meta": meta,
                "epoch_ns": self.epoch_ns,
                "forward_tcp": _texts(services.forward_tcp),
                "forward_udp": _texts(services.forward_udp),
            }
            for role, ticket in zip(("proxy", "client"), self._tickets):
                self._workers.append(Worker(role, {**spec, "ticket": ticket.text}, ticket.fds))
                ticket.close()
            for worker in self._workers:
                worker.ready()
        except BaseException:
            self.close()
            raise

    @property
    def proxy(self) -> Worker:
        return self._workers[0]

    @property
    def client(self) -> Worker:
        return self._workers[1]

    def capture(self) -> Capture:
        """What both processes recorded, in one capture."""
        with tempfile.TemporaryDirectory() as folder:
            parts = []
            for worker in (self.client, self.proxy):
                path = Path(folder) / worker.role
                worker.ask("capture", path=str(path))
                with path.open("rb") as file:
                    parts.append(pickle.load(file))  # written a moment ago by a child of ours, in a folder of ours
            return Capture.merged(*parts)

    def close(self) -> None:
        """End both processes and the services. May be called twice."""
        for worker in reversed(self._workers):
            worker.stop()
        for ticket in self._tickets:
            ticket.close()
        self._engine.close()

    def __enter__(self) -> RealRun:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _texts(forwards: dict) -> list:
    return [((ip_text(a), p), (ip_text(b), q)) for (a, p), (b, q) in forwards.items()]
