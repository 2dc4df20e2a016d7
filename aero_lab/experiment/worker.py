"""One half of a real-time run in a process of its own, so that its CPU time is its own.

The parent writes one JSON object a line to standard input and reads one answer a line from standard output; the first
line says which half this is. When the parent goes away, however it ended, so does this process.

Commands: ``run`` (client: one workload), ``rtt`` (client: PINGs through the tunnel), ``measure`` (CPU time, counters),
``capture`` (write what was recorded to a file), ``clear`` (forget it), ``stop``.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..capture import Recorder
from ..compiled.registry import load_all
from ..engine import RealEngine
from ..errors import AeroLabError, UsageError
from ..limits import MS, PARENT_CHECK
from ..paths import get_path
from ..paths.base import Far, Path
from ..transports.base import TransportEnd
from ..transports.memory import SharedMemoryTransport
from ..tunnels import Bench, seeded
from ..wire.address import ip, ip_text
from .worker_guests import KINDS
from .worker_mips import BesidePc

if TYPE_CHECKING:
    from ..worlds import HostWorld

BESIDE = "beside-pc"
"""What stands for a guest where an emulated PC shares the client's core, see :mod:`.worker_mips`."""
RTT_PINGS, RTT_PATIENCE = 11, 5.0
"""PINGs of the tunnel whose round-trip times are taken, and seconds that one may take."""


class Half(ABC):
    """What both halves have in common: engine, transport end, recorder, figures."""

    point: str

    def __init__(self, spec: dict[str, Any]):
        self.spec = spec
        self.recorder = Recorder(points=(self.point,), epoch_ns=spec["epoch_ns"], meta=spec["meta"])
        self.engine = RealEngine()
        self._parent = os.getppid()
        self.engine.call(self._look_for_parent)
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make this half of the path and put it on the engine."""

    def attach(self) -> dict[str, TransportEnd]:
        """This half's ends of the memory that both processes share."""
        ends: dict[str, TransportEnd] = {}
        for name, ticket in self.spec["tickets"].items():
            end = ends[name] = SharedMemoryTransport.attach(ticket)
            self.engine.on_close(end.close)
            self.engine.call(self.engine.driver.watch, end.wake_fd, end.clear_wake)
        return ends

    @property
    def path(self) -> Path:
        """The option of this run, with its settings."""
        return get_path(self.spec["option"], **self.spec["settings"])

    def bench(self, world: Any = None, **more: Any) -> Bench:
        """What this half gives its tunnels."""
        spec = self.spec
        return Bench(
            self.engine, self.path, self.recorder, world, mtu=spec["mtu"], ack_policy=spec["ack_policy"],
            seed=spec["seed"], address=spec["address"], transport_settings=spec["transport_settings"], **more,
        )  # fmt: skip

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """What the parent may ask for, by name."""
        return {"measure": self.measure, "capture": self.capture, "clear": self.clear}

    def about(self) -> dict[str, Any]:
        """What the parent has to know before it goes on."""
        return {"pid": os.getpid()}

    def _look_for_parent(self) -> None:
        """A parent that was killed cannot say so, and while a workload runs nobody reads standard input."""
        if os.getppid() != self._parent:
            os._exit(1)
        self.engine.loop.call_later(PARENT_CHECK, self._look_for_parent)

    @property
    @abstractmethod
    def node(self) -> Any:
        """This half of the path."""

    def cpu(self) -> float:
        """CPU seconds that this half took so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    def clear(self) -> dict[str, Any]:
        """Forget what was recorded: another workload begins."""
        self.engine.call(self.recorder.clear)
        return {}

    def measure(self) -> dict[str, Any]:
        """CPU seconds of this half so far, the clock, and counters; and where the LAN is, what the guest's bytes
        were acknowledged for."""
        found = {
            "cpu": self.cpu(),
            "now": self.engine.now(),
            "counters": {},
        }
        try:
            found["counters"] = self.engine.call(lambda: self.node.counters)
            if self.path.lan_side == self.spec["role"]:
                found["ack_policy"] = self.engine.call(lambda: self.node.lan.tcp.ack_policy)
        except UsageError:
            pass  # nothing of the guest has come so far as to the network there
        return found

    def capture(self, path: str) -> dict[str, Any]:
        """Write what was recorded; returns how many frames."""
        kept = self.recorder.capture()
        with open(path, "wb") as out:
            pickle.dump(kept, out, protocol=pickle.HIGHEST_PROTOCOL)
        return {"frames": len(kept)}


class Client(Half):
    """Guest, NIC and the client half of the path."""

    point = "nic"
    port: Any

    def build(self) -> None:
        self.prepare()
        ends = self.attach()
        self.engine.call(self._plug_in, lambda guest: self._join(guest, ends))

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {**super().commands(), "online": self.online, "run": self.run, "rtt": self.rtt}

    def prepare(self) -> None:
        """On the main thread: what of the guest takes long."""
        self._rng = seeded(self.spec["seed"], 1, "guest")
        self.hosted = {**KINDS, BESIDE: BesidePc}[self.spec["guest"]](self.spec, self.engine)
        self.hosted.prepare(self._rng)

    def _plug_in(self, join: Callable[[Any], Any]) -> None:
        self.guest = self.hosted.plug_in(self._rng)
        self.port = join(self.guest)

    def _join(self, guest: Any, ends: dict[str, TransportEnd]) -> Any:
        port = self.bench().near(guest, 1, ends)
        self.engine.add(guest, port)
        return port

    def rtt(self, number: int = RTT_PINGS) -> dict[str, Any]:
        """Round-trip times of the tunnel itself, ms, by PINGs of its own, one after the other."""
        came = threading.Event()
        times: list[float] = []

        def answered(rtt: int) -> None:
            times.append(rtt / MS)
            came.set()

        self.port.on_rtt = answered
        for _ in range(number):
            came.clear()
            if not self.engine.call(lambda: self.port.ping(self.engine.now())):
                break
            if not came.wait(RTT_PATIENCE):
                break
        return {"rtt_ms": times}

    @property
    def node(self) -> Any:
        return self.port

    def online(self, timeout: float) -> dict[str, Any]:
        """Wait until DHCP has given an address."""
        self.hosted.online(timeout)
        return {"nic": self.hosted.nic}

    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Run one workload to its end."""
        return self.hosted.run(workload, parameters, timeout).to_dict()

    def cpu(self) -> float:
        return super().cpu() - self.hosted.cpu()


class Proxy(Half):
    """The server half of the path: LAN, NAT and host sockets."""

    point = "tunnel"
    server: Any

    def build(self) -> None:
        self.engine.call(self._serve, self.attach())

    def world(self) -> HostWorld:
        """The services of the parent, and the rest of the world."""
        from ..worlds import HostWorld

        tcp, udp = (
            {(ip(a), p): (ip(b), q) for (a, p), (b, q) in self.spec[table]} for table in ("forward_tcp", "forward_udp")
        )
        world = HostWorld(
            self.engine.driver,
            tcp,
            udp,
            ack_policy=self.spec["ack_policy"],
            far="kernel" if self.path.needs_kernel else "lan",
        )
        self.engine.on_close(world.close)
        return world

    def _serve(self, ends: dict[str, TransportEnd]) -> None:
        network = self.bench(self.world()).network(1)
        self.server = self.path.server(Far(ends, network, self.recorder, self.spec["mtu"]))
        self.engine.add(self.server)

    @property
    def node(self) -> Any:
        return self.server


class Services:
    """The services alone, for a run whose proxy cannot reach those of the parent."""

    def __init__(self, spec: dict[str, Any]):
        from ..egress.services_host import ServicesHost

        self.engine = RealEngine("aero-lab-services")
        self._services = ServicesHost()
        self.engine.on_close(self._services.stop)
        self.engine.call(self._services.start, self.engine.loop)
        know_digests(spec["digest_of"])

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """What the parent may ask for, by name."""
        return {}

    def about(self) -> dict[str, Any]:
        """Where the services are."""
        return {
            "pid": os.getpid(),
            "forward_tcp": forwards_text(self._services.forward_tcp),
            "forward_udp": forwards_text(self._services.forward_udp),
        }


def know_digests(sizes: Iterable[int]) -> None:
    """Work out the digests of downloads before they begin: else the time to the first byte would be that of an MD5."""
    from ..services.content import content_md5

    for size in sizes:
        content_md5(size)


def forwards_text(forwards: dict) -> list:
    """A forward map as JSON can hold it."""
    return [((ip_text(a), p), (ip_text(b), q)) for (a, p), (b, q) in forwards.items()]


def serve(half: Half | Services, answer: Callable[[dict[str, Any]], None]) -> None:
    """Obey commands until ``stop`` or the end of standard input."""
    commands = half.commands()
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("do")
        if name == "stop":
            return
        try:
            answer({"ok": True, "value": commands[name](**request)})
        except AeroLabError as error:
            answer({"ok": False, "error": str(error)})


def make_half(spec: dict[str, Any]) -> Half | Services:
    """The half that the parent asked for."""
    if spec["role"] == "services":
        return Services(spec)
    if spec["transport"] != "memory":
        from .worker_tunnels import ClientHalf, ServerHalf

        return (ClientHalf if spec["role"] == "client" else ServerHalf)(spec)
    return (Client if spec["role"] == "client" else Proxy)(spec)


def main() -> None:
    # Whatever prints by accident must not end up between the answers.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")

    if sys.argv[1:] != ["services"]:
        load_all()  # which takes longer than to learn what for
    spec = json.loads(sys.stdin.readline())
    try:
        half = make_half(spec)
    except AeroLabError as error:
        answer({"ok": False, "error": str(error)})
        return
    try:
        answer({"ok": True, "value": half.about()})
        serve(half, answer)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        half.engine.close()


if __name__ == "__main__":
    main()
