"""Guests of a real-time run, as the client process has them: one class a kind, all asked the same three things."""

from __future__ import annotations

import random
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..engine import RealEngine, TimedOut
from ..limits import SECOND

if TYPE_CHECKING:
    from ..guests.scripted.workloads import WorkloadResult

NIC = "e1000"
"""Network card of guests that have one of their own."""
ASK_EVERY = 0.1
"""Seconds between two questions whether there is an address yet."""


class HostedGuest(ABC):
    """A guest of the client process.

    Parameters
    ----------
    spec: of the run: ``profile``, ``mtu``.
    """

    host: Any
    """What is plugged in: its rings, its address."""

    def __init__(self, spec: dict[str, Any], engine: RealEngine):
        self.spec, self.engine = spec, engine

    def prepare(self, rng: random.Random) -> None:  # noqa: B027
        """On the main thread, before anything is joined: what takes long."""

    @abstractmethod
    def plug_in(self, rng: random.Random) -> Any:
        """On the engine's thread: the host."""

    @abstractmethod
    def online(self, timeout: float) -> None:
        """Have it get an address, and wait until it has."""

    @abstractmethod
    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> WorkloadResult:
        """Run one workload to its end."""

    @property
    def nic(self) -> str | None:
        """Model of its network card, where it has one of its own."""
        return None

    def cpu(self) -> float:
        """CPU seconds of this process that the guest itself took so far: not part of what an option costs."""
        return 0.0


class ScriptedHosted(HostedGuest):
    """Our own TCP/IP host. Its work is part of the process's, and cannot be told apart."""

    def plug_in(self, rng: random.Random) -> Any:
        from ..guests.scripted.guest import ScriptedGuest

        self.host = ScriptedGuest(self.spec["profile"], rng, self.engine.now(), mtu=self.spec["mtu"])
        return self.host

    def online(self, timeout: float) -> None:
        limit = round(timeout * SECOND)
        self.engine.run(lambda: self.host.start(self.host.wait_online(limit), "wait-online"), limit)

    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> WorkloadResult:
        from ..guests.scripted.workloads import make

        def start() -> Any:
            return self.host.start(make(workload, self.host, **parameters), workload)

        return self.engine.run(start, round(timeout * SECOND))


class TapHosted(HostedGuest):
    """The host kernel's own TCP/IP in a network namespace."""

    def plug_in(self, rng: random.Random) -> Any:
        from ..guests.tap.guest import TapGuest

        self.host = TapGuest(rng, mtu=self.spec["mtu"], addresses="dhcp")
        self.engine.on_close(self.host.close)
        self.host.attach(self.engine.driver)
        return self.host

    def online(self, timeout: float) -> None:
        self.host.configure(None, timeout)

    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> WorkloadResult:
        try:
            return self.host.workload(workload, timeout, parameters)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"not done within {timeout:g} s") from None


class ShellHosted(HostedGuest):
    """A Linux with a shell on its console."""

    address: str | None = None

    @property
    def nic(self) -> str | None:
        return NIC

    def online(self, timeout: float) -> None:
        from ..handles_shell import INTERFACE, addresses

        end = time.monotonic() + timeout
        while True:
            said = self.host.run(f"ip -o addr show dev {INTERFACE} scope global", timeout=timeout).output
            self.address = addresses(said)[0]
            if self.address is not None:
                return
            if time.monotonic() > end:
                raise TimedOut(f"no IPv4 address within {timeout:g} s")
            time.sleep(ASK_EVERY)

    def run(self, workload: str, parameters: dict[str, Any], timeout: float) -> WorkloadResult:
        from ..guests.linux.session import NotDone
        from ..guests.shell import workloads

        try:
            return workloads.run(self.host.run, workload, parameters, timeout)
        except NotDone:
            raise TimedOut(f"not done within {timeout:g} s") from None


class LinuxHosted(ShellHosted):
    """Debian on the emulated PC, on a thread of its own."""

    def prepare(self, rng: random.Random) -> None:
        from ..handles_linux import open_linux

        self.host = open_linux(nic=NIC, progress=False)
        self.engine.on_close(self.host.unplug)
        self.engine.on_close(self.host.close)

    def plug_in(self, rng: random.Random) -> Any:
        self.host.attach(self.engine.driver, _mac(rng), "queue", self.spec["mtu"])
        return self.host

    def online(self, timeout: float) -> None:
        self.host.go_online()
        super().online(timeout)

    def cpu(self) -> float:
        thread = self.host._thread
        if thread is None or thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


class QemuHosted(ShellHosted):
    """The same Linux under QEMU, which is another process."""

    def prepare(self, rng: random.Random) -> None:
        from ..handles_qemu import open_qemu

        self.host = open_qemu(nic=NIC, mac=_mac(rng), mtu=self.spec["mtu"])
        self.engine.on_close(self.host.close)

    def plug_in(self, rng: random.Random) -> Any:
        self.host.attach(self.engine.driver)
        return self.host

    def online(self, timeout: float) -> None:
        self.host.boot()
        super().online(timeout)


def _mac(rng: random.Random) -> bytes:
    return b"\x52\x54\x00" + rng.getrandbits(24).to_bytes(3, "big")


KINDS: dict[str, type[HostedGuest]] = {
    "scripted": ScriptedHosted,
    "tap": TapHosted,
    "linux": LinuxHosted,
    "qemu": QemuHosted,
}
"""By the names that users give them."""
