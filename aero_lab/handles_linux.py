"""The Linux guest as the user handles it: Debian on the emulated PC.

It has a console, a shell, the machine it runs on and, with ``nic=``, a network card, by which its own drivers and its
own TCP/IP go through the lab.
"""

from __future__ import annotations

import os
import random
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import handles
from .errors import UsageError
from .handles import Guest
from .handles_qemu import Qemu
from .handles_replay import Replay
from .handles_shell import Shell
from .wire.address import mac as parse_mac

if TYPE_CHECKING:
    from .guests.linux.guest import LinuxGuest
    from .guests.scripted.workloads import WorkloadResult
    from .lab import Lab
    from .lan import Lan
    from .machine.machine import Machine
    from .nic.base import Nic

OPTIONS = {"nic", "mac", "backend", "clock", "ram_mb", "seed", "kernel", "initrd", "cmdline", "fresh", "progress"}
"""What :func:`open_linux` takes."""
NIC = "e1000"
"""The network card of a guest that says nothing of one; with a kernel or an initrd of one's own it has none."""
NO_NIC = "this guest has no network card: lab.guest('linux', nic='e1000') has one"


class Linux(Shell):
    """A Linux on the emulated PC, resumed from the snapshot of its first boot."""

    kind = "linux"
    networked = False
    _host: LinuxGuest

    @classmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Linux:
        clock = options.pop("clock", "instructions" if lab.virtual else "host")
        if lab.virtual and clock == "host":
            raise UsageError("in a lab in virtual time a machine's clock is its instructions")
        if unknown := sorted(set(options) - OPTIONS):
            raise UsageError(f"a linux guest has no option {unknown[0]}; there is {', '.join(sorted(OPTIONS))}")
        from .guests.linux.cable import check_backend
        from .nic.models import check_model

        if "kernel" not in options and "initrd" not in options:
            options.setdefault("nic", NIC)
        mac, backend = options.pop("mac", None), options.pop("backend", "queue")
        if options.get("nic") is None:
            if mac is not None or backend != "queue":
                raise UsageError(f"{'mac' if mac is not None else 'backend'}= is of a network card; {NO_NIC}")
            host = open_linux(clock=clock, **options)
            if lab.virtual:
                lab._engine.call(cls._schedule, lab, host)
            return cls._keep(cls(lab, name, host, None, None, ()))
        check_model(options["nic"])
        check_backend(backend)
        if lab.virtual and backend != "queue":
            raise UsageError("backend= is for real time: in virtual time nothing stands between card and tunnel")
        address = parse_mac(mac) if mac is not None else None
        if address is not None and address[0] & 1:
            raise UsageError(f"{mac!r} is no address of a single network card")
        host = open_linux(clock=clock, **options)
        try:

            def make_host(rng: random.Random, now: int) -> LinuxGuest:
                own = address or bytes((0x52, 0x54, 0)) + rng.randbytes(3)
                if lab.virtual:
                    host.schedule(lab._engine, own)
                else:
                    host.attach(lab._engine.driver, own, backend, lab.mtu)  # type: ignore[union-attr]
                    lab._engine.on_close(host.unplug)  # registered before the machine's end, so called after it
                return host

            guest = cls(lab, name, *lab._engine.call(lab._connect, number, name, make_host))
            guest.networked = True
            cls._keep(guest)
            host.go_online()
        except BaseException:
            host.close()
            raise
        return guest

    @staticmethod
    def _schedule(lab: Lab, host: LinuxGuest) -> None:
        """Put a machine without a network card on a lab's scheduler."""
        host.schedule(lab._engine)
        lab._engine.add(host)

    @staticmethod
    def _keep(guest: Linux) -> Linux:
        """A machine ends with its guest, and with the lab."""
        weakref.finalize(guest, guest._host.close)
        guest._lab._engine.on_close(guest._host.close)
        return guest

    @property
    def machine(self) -> Machine:
        """The PC itself: registers, screenshot, disassembly, breakpoints, snapshots."""
        return self._host.machine

    def paused(self) -> Any:
        """A context in which the machine stands still: to save, fork or step it."""
        return self._host.paused()

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the whole machine to a file; its size. :meth:`aero_lab.Machine.load` reads it."""
        return self._host.save(path)

    def fork(self) -> LinuxGuest:
        """Another guest that goes on from here by itself, outside of the lab."""
        return self._host.fork()

    def _wired(self) -> None:
        if not self.networked:
            raise UsageError(NO_NIC)

    def _workload(self, name: str, timeout: float | None, parameters: dict[str, Any]) -> WorkloadResult:
        self._wired()
        return super()._workload(name, timeout, parameters)

    @property
    def nic(self) -> Nic | None:
        """Its network card: registers, counters, rings."""
        return self.machine.nics[0] if self.machine.nics else None

    @property
    def lan(self) -> Lan:
        self._wired()
        return super().lan

    @property
    def mac(self) -> str:
        self._wired()
        return super().mac

    @property
    def address(self) -> str | None:
        """IPv4 address, None before there is one. The guest is asked for it as long as it has none."""
        return super().address if self.networked else None

    @property
    def address6(self) -> str | None:
        """IPv6 address that reaches beyond the link, None before a router advertised its prefix."""
        return super().address6 if self.networked else None

    @property
    def tunnel(self) -> dict[str, int]:
        return super().tunnel if self.networked else {}

    @property
    def counters(self) -> dict[str, int]:
        return super().counters if self.networked else {}

    def snapshot(self) -> bytes:
        if not self.networked:
            raise UsageError(f"{NO_NIC}; save(path) writes the machine")
        return super().snapshot()

    def wait_online(self, timeout: float = 60.0, family: int = 4) -> str:
        """Wait until the guest has an address of this family that reaches beyond the link; returns it."""
        self._wired()
        return super().wait_online(timeout, family)

    def plugged_in(self) -> None:
        self._get_online()

    def set_link(self, up: bool) -> None:
        """Pull the cable out of the network card, or plug it in; the guest's driver notices."""
        self._wired()
        self._call(lambda: self._host.set_link(up))

    @property
    def nic_model(self) -> str:
        """Model of its network card, ``"none"`` where there is none."""
        return self.nic.model if self.nic is not None else "none"

    @property
    def nic_counters(self) -> dict[str, int]:
        """What its network card counted."""
        return self.nic.counters if self.nic is not None else {}

    def relink(self) -> None:
        """Pull the cable and plug it in again."""
        self._wired()
        super().relink()

    def __repr__(self) -> str:
        card = f", {self.nic_model}, {self.mac}, {self._address or 'no address yet'}" if self.networked else ""
        return f"<Guest {self.name}: Linux on the emulated PC{card}, {self._host.state}>"


def open_linux(
    *,
    nic: str | None = None,
    clock: str = "host",
    ram_mb: int | None = None,
    seed: int = 0,
    kernel: str | os.PathLike[str] | None = None,
    initrd: str | os.PathLike[str] | None = None,
    cmdline: str | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> LinuxGuest:
    """A Linux guest without a lab; fetched, built and booted when that was never done.

    Parameters
    ----------
    nic: model of its network card, ``"e1000"`` or ``"virtio-net"``.
    clock: ``"host"``: it runs by itself, in a thread of its own; ``"instructions"``: it runs while it is asked
        something, the same each time.
    ram_mb: memory in megabytes, 128 by default.
    seed: of the machine.
    kernel, initrd, cmdline: your own instead of those of the image; the shell must prompt with ``"/ # "``.
    fresh: boot now, even where a snapshot could be resumed.
    progress: show bars.
    """
    from .compiled.registry import warmup
    from .guests.image.fetch import get_image
    from .guests.linux.boot import RAM_MB, Boot
    from .guests.linux.guest import LinuxGuest
    from .nic.models import check_model

    if clock not in ("host", "instructions"):
        raise UsageError(f"clock must be 'host' or 'instructions', not {clock!r}")
    if nic is not None:
        check_model(nic)
    changes: dict[str, Any] = {"nic": nic, "ram_mb": RAM_MB if ram_mb is None else ram_mb, "seed": seed}
    if cmdline is not None:
        changes["cmdline"] = cmdline
    if kernel is None:
        image = get_image()
        boot = Boot(image.kernel, Path(initrd) if initrd is not None else image.initrd, **changes)
    else:
        boot = Boot(Path(kernel), Path(initrd) if initrd is not None else None, **changes)
        boot.check()
    warmup(progress, "cpu", *(("nic",) if nic is not None else ()))
    start = boot.start if fresh else boot.resume
    return LinuxGuest(start(clock=clock, progress=progress))


HANDLES: dict[str, type[Guest]] = {**handles.HANDLES, "linux": Linux, "qemu": Qemu, "replay": Replay}
"""Kinds of guests by name."""
