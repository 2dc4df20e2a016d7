"""Other PC emulators, as processes whose output is what the guest says on its first serial port (Bochs: port 0xE9).

What is measured is the processor time of the whole process between two marks there, as it is for us: other work on the
machine does not count, and a translator's compile threads do.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import AeroLabError

MOST_OUTPUT = 4 << 20
"""Bytes of a serial port that are kept."""
PATIENCE = 120.0
"""Seconds of the host's time that a mark is waited for."""


def process_seconds(pid: int) -> float:
    """Processor time of a process with all its threads, those included that have ended.

    The scheduler's own account of the living ones is exact to the nanosecond, that of the whole process counts ticks of
    10 ms.
    """
    try:
        live = [Path(folder, "schedstat").read_text() for folder in Path(f"/proc/{pid}/task").iterdir()]
        exact = sum(int(text.split()[0]) for text in live) * 1e-9
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError, IndexError):
        raise AeroLabError(f"process {pid} has ended") from None
    return max(exact, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


PR_SET_PDEATHSIG = 1
"""``prctl(2)``: the signal that a process gets when whoever started it has ended."""


def _end_with(parent: int, libc: Any) -> None:
    """Said in the new process: end when the one that starts it does, in whatever way that happens."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was quicker
        os._exit(1)


class SerialProcess:
    """An emulator that runs, and what it prints on its serial port. It does not outlive this process."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None):
        tied = partial(_end_with, os.getpid(), ctypes.CDLL(None)) if sys.platform.startswith("linux") else None
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True, preexec_fn=tied,
        )  # fmt: skip
        assert self.process.stdout is not None
        self._fd = self.process.stdout.fileno()
        self.output = b""

    def __enter__(self) -> SerialProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stdin):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def wait(self, mark: bytes, begin: int = 0) -> tuple[float, float]:
        """Wait for ``mark`` after ``begin`` bytes of output: processor and wall-clock seconds when it came."""
        deadline = time.monotonic() + PATIENCE
        while self.output.find(mark, begin) < 0:
            left = deadline - time.monotonic()
            if left <= 0 or len(self.output) > MOST_OUTPUT:
                raise AeroLabError(f"{mark!r} did not come; the last output was {self.output[-60:]!r}")
            ready, _, _ = select.select([self._fd], [], [], min(left, 0.2))
            data = os.read(self._fd, 1 << 16) if ready else b""
            self.output += data
            if not data and self.process.poll() is not None:
                raise AeroLabError(f"the emulator ended early; its last output was {self.output[-60:]!r}")
        return process_seconds(self.process.pid), time.perf_counter()

    def send(self, text: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()


class Emulator:
    """One of the peers."""

    name = ""
    linux = False
    """Whether it can be handed a kernel and an initrd."""
    why_no_linux = "boots from disks only; the bare-metal programs compare it"

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        raise NotImplementedError

    def bare(self, sector: Path) -> SerialProcess:
        """Boot a sector."""
        raise NotImplementedError

    def boot(self, kernel: Path, initrd: Path, cmdline: str) -> SerialProcess:
        """Boot a kernel."""
        raise AeroLabError(self.why_no_linux)


class Qemu(Emulator):
    """QEMU with its translator, on one thread per processor as it comes."""

    name = "qemu-tcg"
    linux = True
    _common = (
        "qemu-system-i386", "-accel", "tcg", "-cpu", "pentium3", "-m", "128", "-display", "none", "-serial", "stdio",
        "-monitor", "none", "-no-reboot", "-nic", "none",
    )  # fmt: skip

    def missing(self) -> str | None:
        return _absent("qemu-system-i386")

    def bare(self, sector: Path) -> SerialProcess:
        return SerialProcess([*self._common, "-drive", f"file={sector},format=raw,if=floppy"])

    def boot(self, kernel: Path, initrd: Path, cmdline: str) -> SerialProcess:
        return SerialProcess([*self._common, "-kernel", str(kernel), "-initrd", str(initrd), "-append", cmdline])


class Bochs(Emulator):
    name = "bochs"
    _roms = (Path("/usr/share/bochs"), Path("/usr/share/vgabios"))

    def missing(self) -> str | None:
        found = _absent("bochs")
        if found or all(self._rom(name) for name in ("BIOS-bochs-latest", "VGABIOS-lgpl-latest")):
            return found
        return "bochs has no BIOS here"

    def _rom(self, name: str) -> Path | None:
        spellings = (name, name.lower(), "vgabios.bin" if name.startswith("VGA") else name)
        return next((f / s for f in self._roms for s in spellings if (f / s).is_file()), None)

    def bare(self, sector: Path) -> SerialProcess:
        folder = sector.parent
        floppy = folder / "floppy.img"
        floppy.write_bytes(sector.read_bytes().ljust(1474560, b"\0"))
        settings = folder / "bochsrc"
        settings.write_text(
            f'megs: 32\nromimage: file="{self._rom("BIOS-bochs-latest")}"\n'
            f'vgaromimage: file="{self._rom("VGABIOS-lgpl-latest")}"\n'
            f'floppya: 1_44="{floppy}", status=inserted\nboot: floppy\nport_e9_hack: enabled=1\n'
            f"log: {folder}/log\npanic: action=fatal\nerror: action=ignore\ndisplay_library: term\n"
            "config_interface: textconfig\ncpu: model=p3_katmai, ips=100000000\n"
        )
        orders = folder / "orders"
        orders.write_text("c\n")  # Debian's stops in its debugger first
        command = ["bochs", "-q", "-f", str(settings), "-rc", str(orders)]
        return SerialProcess(command, environment={**os.environ, "TERM": "xterm"})


V86_SCRIPT = """
const { V86 } = require("v86"), fs = require("fs"), path = require("path");
const options = JSON.parse(process.argv[2]);
const read = name => {
    const b = fs.readFileSync(name);
    return { buffer: b.buffer.slice(b.byteOffset, b.byteOffset + b.length) };
};
const emulator = new V86({
    wasm_path: path.join(path.dirname(require.resolve("v86")), "v86.wasm"),
    memory_size: 128 << 20, vga_memory_size: 2 << 20, autostart: true, disable_speaker: true,
    bios: read(options.bios), ...(options.vga ? { vga_bios: read(options.vga) } : {}),
    ...(options.floppy ? { fda: read(options.floppy) } : {}),
    ...(options.kernel ? { bzimage: read(options.kernel), initrd: read(options.initrd) } : {}),
    ...(options.kernel ? { cmdline: options.cmdline } : {}),
});
emulator.add_listener("serial0-output-byte", byte => fs.writeSync(1, Buffer.from([byte])));
process.stdin.on("data", data => { for (const byte of data) emulator.serial_send_bytes(0, [byte]); });
"""


class V86(Emulator):
    """v86 with its WebAssembly translator, under node, with the BIOS images of other packages."""

    name = "v86"
    linux = True
    _bios = Path("/usr/share/seabios/bios.bin")
    _vga = Path("/usr/share/seabios/vgabios-stdvga.bin")

    def missing(self) -> str | None:
        if _absent("node"):
            return _absent("node")
        found = subprocess.run(
            ["node", "-e", 'require.resolve("v86")'], env=self._environment(), capture_output=True, check=False
        )
        if found.returncode:
            return "v86 is not installed (npm install -g v86)"
        return None if self._bios.is_file() else f"v86 has no BIOS here ({self._bios}, of package seabios)"

    def _environment(self) -> dict[str, str]:
        paths = [os.environ.get("NODE_PATH", "")]
        if shutil.which("npm"):
            asked = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False)
            paths.append(asked.stdout.strip())
        return {**os.environ, "NODE_PATH": os.pathsep.join(p for p in paths if p)}

    def _run(self, **options: str) -> SerialProcess:
        options |= {"bios": str(self._bios)} | ({"vga": str(self._vga)} if self._vga.is_file() else {})
        return SerialProcess(["node", "-e", V86_SCRIPT, "-", json.dumps(options)], environment=self._environment())

    def bare(self, sector: Path) -> SerialProcess:
        floppy = sector.parent / "floppy.img"
        floppy.write_bytes(sector.read_bytes().ljust(1474560, b"\0"))
        return self._run(floppy=str(floppy))

    def boot(self, kernel: Path, initrd: Path, cmdline: str) -> SerialProcess:
        return self._run(kernel=str(kernel), initrd=str(initrd), cmdline=cmdline)


def _absent(program: str) -> str | None:
    if not sys.platform.startswith("linux"):
        return "peers are measured under Linux"
    return None if shutil.which(program) else f"{program} is not installed"


EMULATORS: tuple[Emulator, ...] = (Qemu(), Bochs(), V86())
