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

import numpy as np

from ..capture import Capture
from ..capture.schema import POINT_OF
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

    def ready(self) -> dict[str, Any]:
        """Wait until the half stands; what it tells about itself."""
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

    def __init__(
        self,
        option: str,
        profile: str,
        mtu: int,
        seed: int,
        meta: dict[str, Any],
        ack_policy: str = "early",
        transport: str = "memory",
        digest_of: tuple[int, ...] = (),
        guest: str = "scripted",
        settings: dict[str, Any] | None = None,
    ):
        """``settings``: of the option. ``digest_of``: sizes of downloads whose digests the services are to know before
        they begin."""
        from ..egress.services_host import ServicesHost
        from ..engine import RealEngine
        from ..paths import get_path
        from ..services.content import content_md5

        self._engine = RealEngine("aero-lab-services")
        self._workers: list[Worker] = []
        self._tickets: tuple = ()
        # Over shared memory a frame keeps its identity; messages of flows have none.
        self._identified = transport == "memory" or get_path(option).lan_side == "client"
        self._ordered = transport in IN_ORDER
        try:
            services = ServicesHost()
            self._engine.on_close(services.stop)
            self._engine.call(services.start, self._engine.loop)
            for size in digest_of:
                content_md5(size)  # else the time to the first byte would be that of an MD5
            self.epoch_ns = time.time_ns() - self._engine.now()
            """Wall clock less the clock of both processes, which is what frame times have added."""
            spec = {
                "ack_policy": ack_policy,
                "option": option,
                "settings": settings or {},
                "transport": transport,
                "guest": guest,
                "profile": profile,
                "mtu": mtu,
                "seed": seed,
                "meta": meta,
                "epoch_ns": self.epoch_ns,
                "forward_tcp": _texts(services.forward_tcp),
                "forward_udp": _texts(services.forward_udp),
            }
            if transport == "memory":
                self._share_memory(spec)
            else:
                # One after the other: the proxy says where it is.
                self._workers.append(Worker("proxy", spec, ()))
                url = self.proxy.ready()["url"]
                self._workers.append(Worker("client", {**spec, "url": url}, ()))
                self.client.ready()
        except BaseException:
            self.close()
            raise

    def _share_memory(self, spec: dict[str, Any]) -> None:
        from ..paths import get_path
        from ..transports.memory import SharedMemoryTransport

        channels = get_path(spec["option"], **spec["settings"]).channels(spec["mtu"])
        pairs = {channel.name: SharedMemoryTransport.create_tickets() for channel in channels}
        for side, role in enumerate(("proxy", "client")):
            tickets = {name: pair[side] for name, pair in pairs.items()}
            self._tickets += tuple(tickets.values())
            texts = {name: ticket.text for name, ticket in tickets.items()}
            fds = tuple(fd for ticket in tickets.values() for fd in ticket.fds)
            self._workers.append(Worker(role, {**spec, "tickets": texts}, fds))
            for ticket in tickets.values():
                ticket.close()
        for worker in self._workers:
            worker.ready()

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
            if not self._identified:
                pair_by_order(*parts, ordered=self._ordered)
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


IN_ORDER = ("websocket", "webrtc")
"""Transports that deliver all, in order."""


def pair_by_order(client: Capture, proxy: Capture, ordered: bool = True) -> bool:
    """Give frames that two processes saw one identity, where the tunnel between them carried none.

    A WebSocket delivers all, in order (``ordered``; not every data channel does): the n-th frame of a direction at the
    guest's NIC is the n-th in the tunnel. When lengths say otherwise (something was not recorded, or the tunnel was
    made anew) no frame is paired. Either way the identities of the two recorders, which began to count at the same
    number, are told apart. Returns whether all is paired as it should be.
    """
    sides = [_tables(client, "nic"), _tables(proxy, "tunnel")]
    sound = True
    for direction in range(2):
        lengths = [_column(tables, "frame_len", direction) for tables in sides]
        common = min(map(len, lengths))
        same = ordered and bool((lengths[0][:common] == lengths[1][:common]).all())
        sound = sound and same
        for side, tables in enumerate(sides):
            first = (1 + direction + (0 if same else 2 * side)) << PAIR_BITS
            for table in tables:
                rows = (table["direction"] == direction) & (table["frame_len"] > 0)
                number = int(rows.sum())
                table["frame_id"][rows] = np.arange(first, first + number)
                first += number
    return sound


PAIR_BITS = 40
"""Room for as many frames of one direction."""


def _tables(capture: Capture, point: str) -> list[Any]:
    wanted = POINT_OF[point]
    tables = [block.descriptors() for block in capture.blocks]
    assert all((table["point"] == wanted).all() for table in tables)
    return tables


def _column(tables: list[Any], name: str, direction: int) -> Any:
    rows = [table[name][(table["direction"] == direction) & (table["frame_len"] > 0)] for table in tables]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _texts(forwards: dict) -> list:
    return [((ip_text(a), p), (ip_text(b), q)) for (a, p), (b, q) in forwards.items()]
