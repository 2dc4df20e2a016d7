"""The QEMU guest as the user handles it."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .handles_shell import Shell

if TYPE_CHECKING:
    from .guests.qemu.guest import QemuGuest
    from .lab import Lab

OPTIONS = {"nic", "mac", "ram_mb", "kernel", "initrd", "cmdline", "program"}
"""What a qemu guest takes."""


class Qemu(Shell):
    """The image of the Linux guest under QEMU, with QEMU's network card."""

    kind = "qemu"
    _host: QemuGuest

    @classmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Qemu:
        if lab.virtual:
            raise UsageError("a qemu guest lives in real time: Lab() without virtual=True")
        if unknown := sorted(set(options) - OPTIONS):
            raise UsageError(f"a qemu guest has no option {unknown[0]}; there is {', '.join(sorted(OPTIONS))}")
        options.setdefault("mac", b"\x52\x54\x00" + lab._rng(number, "guest").getrandbits(24).to_bytes(3, "big"))
        host = open_qemu(mtu=lab.mtu, **options)
        lab._engine.on_close(host.close)
        try:

            def make_host(rng: random.Random, now: int) -> QemuGuest:
                host.attach(lab._engine.driver)  # type: ignore[union-attr]
                return host

            guest = cls(lab, name, *lab._engine.call(lab._connect, number, name, make_host))
            host.boot()  # a frame of its own is what the proxy waits for next
        except BaseException:
            lab._engine.call(host.close)
            raise
        return guest

    @property
    def nic_model(self) -> str:
        """Model of its network card: ``"e1000"`` or ``"virtio-net"``."""
        return self._host.machine.pc.nic or "none"

    @property
    def nic_counters(self) -> dict[str, int]:
        """Frames and bytes as they passed the network card."""
        return self._call(lambda: self._host.nic_counters)

    def plugged_in(self) -> None:
        self._get_online()

    def close(self) -> None:
        """End QEMU."""
        self._call(self._host.close)

    def __repr__(self) -> str:
        version = ".".join(map(str, self._host.machine.version))
        what = f"Linux under QEMU {version}, {self.nic_model}"
        return f"<Guest {self.name}: {what}, {self.mac}, {self._address or 'no address yet'}, {self._host.state}>"


def open_qemu(
    *,
    nic: str = "e1000",
    mac: bytes = b"\x52\x54\x00\x12\x34\x56",
    mtu: int = 1500,
    ram_mb: int = 128,
    kernel: str | os.PathLike[str] | None = None,
    initrd: str | os.PathLike[str] | None = None,
    cmdline: str | None = None,
    program: str | None = None,
    netdev: str | None = None,
) -> QemuGuest:
    """A QEMU guest that has just been switched on; :meth:`~aero_lab.guests.qemu.guest.QemuGuest.boot` waits for it.

    Parameters
    ----------
    nic: ``"e1000"`` or ``"virtio-net"``.
    mac: hardware address.
    mtu: largest MTU of its network.
    ram_mb: memory in megabytes.
    kernel, initrd, cmdline: your own instead of those of the image; the shell must prompt with ``"/ # "``.
    program: which QEMU; by default ``qemu-system-i386``, or ``qemu-system-x86_64``.
    netdev: what the network card is connected to instead of a lab, in QEMU's words, such as ``"user"``.
    """
    from .guests.image.fetch import get_image
    from .guests.qemu.command import Pc, find
    from .guests.qemu.guest import QemuGuest

    find(program)  # before an image is fetched for nothing
    changes: dict[str, Any] = {} if cmdline is None else {"cmdline": cmdline}
    start = Path(initrd) if initrd is not None else None
    if kernel is None:
        image = get_image()
        kernel, start = image.kernel, start or image.initrd
    pc = Pc(Path(kernel), start, nic, mac, mtu, ram_mb, **changes)
    return QemuGuest(pc, program, netdev)
