"""QEMU's edges without QEMU: what is missing is one line, the program it boots, its control channel, its watcher."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import aero_lab as al
from aero_lab.guests.qemu import command, watch
from aero_lab.guests.qemu.kernel import STUB, multiboot
from aero_lab.guests.qemu.qmp import Qmp, QmpError
from aero_lab.machine.boot import BootImage

PATIENCE = 30.0


def program(folder: Path, text: str) -> str:
    path = folder / "qemu-system-i386"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# What is missing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("echo QEMU emulator version 6.2.0", "needs QEMU 7.2 or later, .* is 6.2.0"),
        ("echo something else", "does not say that it is QEMU"),
        ("exit 1", "does not say that it is QEMU"),
    ],
)
def test_a_qemu_that_cannot_do_it_is_named(tmp_path, monkeypatch, says, expected):
    program(tmp_path, says)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(command.Unavailable, match=expected) as raised:
        command.find()
    assert "\n" not in str(raised.value) and command.why_not() == str(raised.value)


def test_no_qemu_at_all_is_one_line_also_in_a_lab(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = "a qemu guest needs qemu-system-i386 or qemu-system-x86_64, which is not there"
    with al.Lab(progress=False) as lab:
        with pytest.raises(al.UsageError) as raised:
            lab.guest("qemu")
        assert str(raised.value) == line and lab.guests == []


@pytest.mark.parametrize("version", ["7.2.0", "7.2.22 (Debian 1:7.2+dfsg-7)", "10.1.50"])
def test_a_qemu_that_can_do_it_is_taken(tmp_path, monkeypatch, version):
    path = program(tmp_path, f'echo "QEMU emulator version {version}"')
    monkeypatch.setenv("PATH", f"{tmp_path}")
    assert command.find() == path and command.why_not() is None


def test_user_mistakes_are_one_line(tmp_path):
    with al.Lab(virtual=True, progress=False) as lab:
        with pytest.raises(al.UsageError, match="real time"):
            lab.guest("qemu")
    with al.Lab(progress=False) as lab:
        with pytest.raises(al.UsageError, match="no option colour; there is cmdline, "):
            lab.guest("qemu", colour="red")
        with pytest.raises(al.UsageError, match="profile= is of scripted guests"):
            lab.guest("qemu", profile="linux")
        path = program(tmp_path, "echo QEMU emulator version 7.2.0")
        with pytest.raises(al.UsageError, match="nic must be one of e1000, virtio-net, not 'rtl8139'"):
            lab.guest("qemu", nic="rtl8139", program=path, kernel="/nowhere/vmlinuz")
        with pytest.raises(al.UsageError, match="/nowhere/vmlinuz"):
            lab.guest("qemu", program=path, kernel="/nowhere/vmlinuz")
        assert lab.guests == []


# The program it boots -------------------------------------------------------------------------------------------------


def test_the_multiboot_program_puts_every_piece_in_its_place():
    """Its instructions, carried out by a processor of unicorn's, end at the kernel's entry with memory as it was to
    be."""
    unicorn = pytest.importorskip("unicorn")
    from unicorn import x86_const as x86

    gdt = struct.pack("<4Q", 0, 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF)
    kernel, ramdisk, params = os.urandom(5000), os.urandom(3000), bytes(4096)
    pieces = (
        (0x1000, gdt), (0x10000, params), (0x20000, b"a line\0"), (0x1000000, kernel), (0x7F00000, ramdisk),
    )  # fmt: skip
    image = BootImage(pieces, 0x1000100, {"esi": 0x10000, "esp": 0xFFF0}, "a line", initrd=(0x7F00000, len(ramdisk)))
    elf = multiboot(image)
    assert elf.find(struct.pack("<I", 0x1BADB002)) < 8192
    entry, table, count = struct.unpack_from("<I", elf, 24)[0], *struct.unpack_from("<I12xH", elf, 28)[:1], 0
    count = struct.unpack_from("<H", elf, 44)[0]
    emulator = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    emulator.mem_map(0, 128 << 20)
    ends = []
    for number in range(count):
        kind, offset, _, address, size, whole, _, _ = struct.unpack_from("<8I", elf, table + 32 * number)
        assert kind == 1 and size == whole
        emulator.mem_write(address, elf[offset : offset + size])
        ends.append(address + size)
    assert max(ends) - STUB < 64 << 20, "QEMU loads all that lies between"
    stop = 0x1000100
    emulator.emu_start(entry, stop, timeout=10 * 1_000_000, count=1_000_000)
    assert emulator.reg_read(x86.UC_X86_REG_EIP) == stop
    assert emulator.reg_read(x86.UC_X86_REG_ESI) == 0x10000 and emulator.reg_read(x86.UC_X86_REG_ESP) == 0xFFF0
    assert emulator.reg_read(x86.UC_X86_REG_CS) == 0x10 and emulator.reg_read(x86.UC_X86_REG_SS) == 0x18
    moved = struct.unpack_from("<I", emulator.mem_read(0x10000 + 0x218, 4))[0]
    told = params[:0x218] + struct.pack("<I", moved) + params[0x21C:]
    for address, data in (
        (0x1000, gdt),
        (0x10000, told),
        (0x20000, b"a line\0"),
        (0x1000000, kernel),
        (moved, ramdisk),
    ):
        assert bytes(emulator.mem_read(address, len(data))) == data, hex(address)


# Control --------------------------------------------------------------------------------------------------------------


class Monitor(threading.Thread):
    """A QEMU monitor that answers by a table."""

    def __init__(self, sock: socket.socket, answers: dict):
        super().__init__(daemon=True)
        self.sock, self.answers, self.asked = sock, answers, []
        self.start()

    def run(self) -> None:
        self.sock.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        for line in self.sock.makefile("rb"):
            question = json.loads(line)
            self.asked.append(question)
            self.sock.sendall(b'{"event": "SOMETHING", "timestamp": {}}\r\n')
            answer = self.answers.get(question["execute"], {"return": {}})
            self.sock.sendall(json.dumps(answer).encode() + b"\r\n")


def test_control_asks_and_understands():
    ours, theirs = socket.socketpair()
    monitor = Monitor(theirs, {"query-status": {"return": {"running": True}}, "bad": {"error": {"desc": "no such"}}})
    qmp = Qmp(ours)
    assert qmp.execute("query-status") == {"running": True}
    assert qmp.execute("set_link", name="nic", up=False) == {}
    with pytest.raises(QmpError, match="bad: no such"):
        qmp.execute("bad")
    assert [q["execute"] for q in monitor.asked] == ["qmp_capabilities", "query-status", "set_link", "bad"]
    assert monitor.asked[2]["arguments"] == {"name": "nic", "up": False}
    theirs.shutdown(socket.SHUT_RDWR)
    with pytest.raises(QmpError, match="does not answer"):
        qmp.execute("query-status")
    qmp.close()
    theirs.close()


# The watcher ----------------------------------------------------------------------------------------------------------

OWNER = """
import os, socket, subprocess, sys, time
ours, theirs = socket.socketpair()
child = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], str(theirs.fileno()), "/bin/sh", "-c",
                          "echo $$; exec sleep 1000"], pass_fds=[theirs.fileno()], stdout=1)
theirs.close()
time.sleep(1000)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")
def test_a_program_dies_with_an_owner_that_was_killed():
    owner = subprocess.Popen([sys.executable, "-c", OWNER, watch.__file__], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert not gone(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait(lambda: gone(pid), "the program outlived its owner")
    owner.stdout.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_a_program_dies_with_a_watcher_that_was_killed():
    ours, theirs = socket.socketpair()
    argv = [
        sys.executable,
        "-I",
        "-S",
        watch.__file__,
        str(theirs.fileno()),
        "/bin/sh",
        "-c",
        "echo $$; exec sleep 999",
    ]
    with subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        pid = int(watcher.stdout.readline())
        watcher.kill()
        wait(lambda: gone(pid), "the program outlived its watcher")
    ours.close()
    theirs.close()


def test_a_watcher_ends_as_its_program_did():
    for script, status in (("exit 7", 7), ("kill -9 $$", 137)):
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-I", "-S", watch.__file__, str(theirs.fileno()), "/bin/sh", "-c", script]
        assert subprocess.run(argv, pass_fds=[theirs.fileno()], timeout=PATIENCE).returncode == status
        ours.close()
        theirs.close()
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-I", "-S", watch.__file__, str(theirs.fileno()), "/nowhere/qemu"]
    done = subprocess.run(argv, pass_fds=[theirs.fileno()], timeout=PATIENCE, capture_output=True, text=True)
    assert done.returncode == 127 and "/nowhere/qemu: No such file" in done.stderr
