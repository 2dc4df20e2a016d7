"""Which QEMU there is, and the command line it is started with."""

from __future__ import annotations

import functools
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError
from ...limits import MTU_DEFAULT
from ...machine.boot import CONSOLE, TUNED, linux
from ...wire.address import mac_text
from .kernel import multiboot

PROGRAMS = ("qemu-system-i386", "qemu-system-x86_64")
"""Programs that run the guest, the first that is there."""
OLDEST = (7, 2)
"""First version with ``-netdev stream``."""
NICS = {"e1000": ("e1000", 5), "virtio-net": ("virtio-net-pci", 8)}
"""Network cards by our names: QEMU's name, and the PCI slot that ours have too."""
CPU = "pentium3"
"""What the image's kernel asks for, and no more: nothing it would have to be patched for at start."""
RNG_SEED = 32
"""Bytes that the guest's random numbers begin with."""
VERSION_PATIENCE = 30.0
"""Seconds for a program to say its version."""


class Unavailable(UsageError):
    """No QEMU guest can run here; the message says why."""


def find(program: str | None = None) -> str:
    """Path of a QEMU that can do it; :class:`Unavailable` says what is missing."""
    names = (program,) if program is not None else PROGRAMS
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        raise Unavailable(f"a qemu guest needs {' or '.join(names)}, which is not there")
    version = version_of(path)
    if version is None:
        raise Unavailable(f"{path} does not say that it is QEMU")
    if version < OLDEST:
        raise Unavailable(f"a qemu guest needs QEMU {OLDEST[0]}.{OLDEST[1]} or later, {path} is {_dotted(version)}")
    return path


@functools.cache
def version_of(path: str) -> tuple[int, ...] | None:
    """The version of a QEMU, None when it tells none."""
    try:
        said = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=VERSION_PATIENCE
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?", said)
    return tuple(int(part) for part in match.groups(default="0")) if match else None


def why_not(program: str | None = None) -> str | None:
    """Why no QEMU guest can run here, None when one can."""
    try:
        find(program)
    except Unavailable as error:
        return str(error)
    return None


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


@dataclass(frozen=True)
class Pc:
    """The PC that QEMU emulates.

    Parameters
    ----------
    kernel, initrd: files, as the emulated PC takes them.
    nic: one of :data:`NICS`, None for none.
    mac: its hardware address.
    mtu: largest MTU of its network.
    ram_mb: memory, in megabytes.
    cmdline: of the kernel.
    """

    kernel: Path
    initrd: Path | None
    nic: str | None
    mac: bytes
    mtu: int = MTU_DEFAULT
    ram_mb: int = 128
    cmdline: str = f"{CONSOLE} {TUNED}"

    def __post_init__(self) -> None:
        if self.nic is not None and self.nic not in NICS:
            raise UsageError(f"nic must be one of {', '.join(NICS)}, not {self.nic!r}")

    def image(self) -> bytes:
        """What QEMU boots; :class:`UsageError` for files that cannot be booted."""
        seed = secrets.token_bytes(RNG_SEED)
        return multiboot(linux(self.kernel, self.initrd, self.cmdline, ram_bytes=self.ram_mb << 20, rng_seed=seed))

    def command(self, program: str, image: int, console: int, control: int, netdev: str) -> list[str]:
        """The command line.

        Parameters
        ----------
        image: descriptor of a file that holds :meth:`image`.
        console, control: descriptors of connected Unix sockets: serial port and QMP.
        netdev: QEMU's description of what the NIC is connected to, without its identifier: ``"user"``, or as
            :func:`stream` gives it.
        """
        words = [
            program, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "pc", "-accel", "tcg", "-cpu", CPU, "-m", str(self.ram_mb),
            "-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console",
            "-chardev", f"socket,id=control,fd={control}", "-mon", "chardev=control,mode=control",
            "-kernel", f"/dev/fd/{image}",
        ]  # fmt: skip
        if self.nic is not None:
            model, slot = NICS[self.nic]
            device = f"{model},id=nic,netdev=net,mac={mac_text(self.mac)},addr={slot},romfile="
            if self.nic == "virtio-net" and self.mtu > MTU_DEFAULT:
                device += f",host_mtu={self.mtu}"
            words += ["-netdev", f"{netdev},id=net", "-device", device]
        return words


def stream(descriptor: int) -> str:
    """A netdev: frames over a connected stream socket, each behind its length in four bytes."""
    return f"stream,server=off,addr.type=fd,addr.str={descriptor}"
