"""One half of a real-time run in a process of its own, so that its CPU time is its own.

The parent writes one JSON object a line to standard input and reads one answer a line from standard output; the first
line says which half this is. When the parent goes away, however it ended, so does this process.

Commands: ``run`` (client: one workload), ``measure`` (CPU time, counters), ``capture`` (write what was recorded to a
file), ``stop``.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ..capture import Recorder
from ..compiled.registry import load_all
from ..engine import RealEngine
from ..errors import AeroLabError
from ..limits import PARENT_CHECK, SECOND
from ..paths import get_path
from ..paths.base import Wire
from ..transports.memory import SharedMemoryTransport
from ..wire.address import ip, ip_text


def seeded(seed: int, part: str) -> random.Random:
    """The generator of one part of a run; no part draws from another's."""
    return random.Random(f"{seed}/1/{part}")


class Half(ABC):
    """What both halves have in common: engine, transport end, recorder, figures."""

    point: str

    def __init__(self, spec: dict[str, Any]):
        self.spec = spec
        self.recorder = Recorder(points=(self.point,), epoch_ns=spec["epoch_ns"], meta=spec["meta"])
        self.engine = RealEngine()
        self.end = SharedMemoryTransport.attach(spec["ticket"])
        self.engine.on_close(self.end.close)
        self.engine.call(self.engine.driver.watch, self.end.wake_fd, self.end.clear_wake)
        self._parent = os.getppid()
        self.engine.call(self._look_for_parent)

    def _look_for_parent(self) -> None:
        """A parent that was killed cannot say so, and while a workload runs nobody reads standard input."""
        if os.getppid() != self._parent:
            os._exit(1)
        self.engine.loop.call_later(PARENT_CHECK, self._look_for_parent)

    @abstractmethod
    def counters(self) -> dict[str, int]:
        """Counters of this half, by name."""

    def measure(self) -> dict[str, Any]:
        """CPU seconds of this process so far, the clock, and counters."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu": used.ru_utime + used.ru_stime,
            "now": self.engine.now(),
            "counters": self.engine.call(self.counters),
        }

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

    def __init__(self, spec: dict[str, Any]):
        from ..guests.scripted.guest import ScriptedGuest

        super().__init__(spec)

        def build() -> None:
            now, mtu = self.engine.now(), spec["mtu"]
            self.guest = ScriptedGuest(spec["profile"], seeded(spec["seed"], "guest"), now, mtu=mtu)
            wire = Wire(self.guest.nic_tx, self.guest.nic_rx)
            self.port = get_path(spec["option"]).client(wire, self.end, self.recorder, mtu)
            self.engine.add(self.guest, self.port)

        self.engine.call(build)

    def counters(self) -> dict[str, int]:
        return self.port.counters

    def online(self, timeout: float) -> dict[str, Any]:
        """Wait until DHCP has given an address."""
        limit = round(timeout * SECOND)
        self.engine.run(lambda: self.guest.start(self.guest.wait_online(limit), "wait-online"), limit)
        return {"address": ip_text(self.guest.address or bytes(4))}

    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Run one workload to its end."""
        from ..guests.scripted.workloads import make

        def start() -> Any:
            return self.guest.start(make(workload, self.guest, **parameters), workload)

        return self.engine.run(start, round(timeout * SECOND)).to_dict()


class Proxy(Half):
    """The server half of the path: LAN, NAT and host sockets."""

    point = "tunnel"
    server: Any

    def __init__(self, spec: dict[str, Any]):
        from ..lan import Lan
        from ..worlds import HostWorld

        super().__init__(spec)
        tcp, udp = (
            {(ip(a), p): (ip(b), q) for (a, p), (b, q) in table} for table in (spec["forward_tcp"], spec["forward_udp"])
        )

        def build() -> None:
            now, mtu = self.engine.now(), spec["mtu"]
            world = HostWorld(self.engine.driver, tcp, udp, ack_policy=spec["ack_policy"])
            self.engine.on_close(world.close)

            def make_lan() -> Lan:
                def make_egress(sink: Any) -> Any:
                    return world.make_egress(sink, seeded(spec["seed"], "egress"), now)

                return Lan(world.lan_config(mtu), make_egress, seeded(spec["seed"], "lan"), now)

            self.server = get_path(spec["option"]).server(self.end, make_lan, self.recorder, mtu)
            self.engine.add(self.server)

        self.engine.call(build)

    def counters(self) -> dict[str, int]:
        return self.server.lan.counters

    def measure(self) -> dict[str, Any]:
        """As every half, and what the guest's bytes were acknowledged for."""
        return {**super().measure(), "ack_policy": self.engine.call(lambda: self.server.lan.tcp.ack_policy)}


def serve(half: Half, answer: Callable[[dict[str, Any]], None]) -> None:
    """Obey commands until ``stop`` or the end of standard input."""
    commands: dict[str, Callable[..., dict[str, Any]]] = {"measure": half.measure, "capture": half.capture}
    if isinstance(half, Client):
        commands |= {"online": half.online, "run": half.run}
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("do")
        if name == "stop":
            return
        try:
            answer({"ok": True, "value": commands[name](**request)})
        except AeroLabError as error:
            answer({"ok": False, "error": str(error)})


def main() -> None:
    # Whatever prints by accident must not end up between the answers.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")

    spec = json.loads(sys.stdin.readline())
    load_all()
    half: Half = (Client if spec["role"] == "client" else Proxy)(spec)
    try:
        answer({"ok": True, "value": {"pid": os.getpid()}})
        serve(half, answer)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        half.engine.close()


if __name__ == "__main__":
    main()
