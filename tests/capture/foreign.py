"""Captures that other programs make: tcpdump and dumpcap in network namespaces of our own, QEMU's filter-dump.

Nothing leaves the namespaces; QEMU's guest is the boot ROM of its network card, behind its user-mode network.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 30.0
MARK = b"the last frame of this capture"


def missing(*programs: str) -> str:
    """Why these programs cannot be run here in namespaces of our own, or nothing."""
    absent = [name for name in programs if not shutil.which(name)]
    if absent:
        return f"{' and '.join(absent)} not installed"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and privileges"
    return ""


def until(what: str, true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait for something, and say what for when it does not come."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {patience:.0f} s"
        time.sleep(0.05)


class Wire:
    """Two hosts, each in a namespace, with a cable between them."""

    def __init__(self) -> None:
        self.names = [f"aerocap{os.getpid()}{side}" for side in "ab"]

    def run(self, side: int, *command: str, check: bool = True, input: bytes | None = None) -> bytes:
        done = subprocess.run(
            ["ip", "netns", "exec", self.names[side], *command], capture_output=True, timeout=60, input=input
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr.decode()}"
        return done.stdout

    def start(self, side: int, *command: str) -> subprocess.Popen:
        return subprocess.Popen(
            ["ip", "netns", "exec", self.names[side], *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Wire:
        try:
            for name in self.names:
                subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
            a, b = self.names
            subprocess.run(["ip", "-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b],
                           check=True, timeout=30)  # fmt: skip
            for side, name in enumerate(self.names):
                for setup in (
                    ["addr", "add", f"10.77.0.{side + 1}/24", "dev", "cable"],
                    ["addr", "add", f"fd77::{side + 1}/64", "dev", "cable", "nodad"],
                    ["link", "set", "cable", "up"],
                    ["link", "set", "lo", "up"],
                ):
                    subprocess.run(["ip", "-n", name, *setup], check=True, timeout=30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, timeout=30)


RAW = """
import socket, struct, sys, time
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(("cable", 0))
data = sys.stdin.buffer.read()
while data:
    (size,) = struct.unpack("<I", data[:4])
    raw.send(data[4 : 4 + size])
    data = data[4 + size :]
"""
SERVER = """
import socket, sys, threading
def serve(family, address):
    listener = socket.create_server((address, 7777), family=family)
    ready.release()
    peer, _ = listener.accept()
    while data := peer.recv(65536):
        peer.sendall(data[:100])
    peer.close()
ready = threading.Semaphore(0)
threads = [threading.Thread(target=serve, args=a) for a in
           ((socket.AF_INET, "10.77.0.2"), (socket.AF_INET6, "fd77::2"))]
for thread in threads: thread.start()
for thread in threads: ready.acquire()
print("ready", flush=True)
for thread in threads: thread.join()
"""
CLIENT = """
import socket
for family, address in ((socket.AF_INET, "10.77.0.2"), (socket.AF_INET6, "fd77::2")):
    peer = socket.create_connection((address, 7777), 20)
    for size in (1, 100, 3000, 40000):
        peer.sendall(b"x" * size)
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(65536): pass
    peer.close()
    nobody = socket.socket(family, socket.SOCK_DGRAM)
    for size in (0, 10, 2000):
        nobody.sendto(b"y" * size, (address, 9999))
refused = socket.socket()
refused.settimeout(20)
print(refused.connect_ex(("10.77.0.2", 7778)))
"""
MARKER = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.sendto(sys.argv[1].encode(), ("10.77.0.2", 9998))
"""


def traffic(wire: Wire, frames: list[bytes]) -> None:
    """TCP, UDP and ICMP of the two kernels over both IP versions, errors and fragments among them, and ``frames``
    raw."""
    import struct

    server = wire.start(1, sys.executable, "-c", SERVER)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        wire.run(0, sys.executable, "-c", CLIENT)
    finally:
        server.kill()
        server.communicate()
    for address in ("10.77.0.2", "fd77::2"):
        wire.run(0, "ping", "-c", "2", "-i", "0.1", "-W", "5", address, check=False)
        wire.run(0, "ping", "-c", "1", "-s", "4000", "-W", "5", address, check=False)
    raw = b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)
    wire.run(0, sys.executable, "-c", RAW, input=raw)


@contextlib.contextmanager
def capturing(wire: Wire, path: Path, *command: str) -> Iterator[None]:
    """Have a program capture into ``path`` what passes while the block runs, to the last frame."""
    process = wire.start(1, *command)

    def seen() -> bool:
        assert process.poll() is None, process.communicate()[1].decode()
        wire.run(0, sys.executable, "-c", MARKER, MARK.decode() + here)
        time.sleep(0.1)
        return path.exists() and (MARK + here.encode()) in path.read_bytes()

    try:
        here = ": begin"
        until(f"frame in {path.name}", seen)
        yield
        here = ": end"
        until(f"last frame in {path.name}", seen)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def qemu(path: Path, folder: Path) -> None:
    """Let a PC without a disk boot from its network card, into QEMU's own network: DHCP, ARP, TFTP."""
    (folder / "boot.txt").write_text("no boot sector")
    command = [
        "qemu-system-i386", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "32", "-boot", "n", "-no-reboot",
        "-netdev", f"user,id=net,restrict=on,tftp={folder},bootfile=boot.txt", "-device", "e1000,netdev=net",
        "-object", f"filter-dump,id=dump,netdev=net,file={path},maxlen=65536",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def seen() -> bool:
        assert process.poll() is None, process.communicate()[1].decode()
        return path.exists() and b"\0\1boot.txt\0" in path.read_bytes()  # asked for by TFTP

    try:
        until("TFTP request of the boot ROM", seen, 90)
        time.sleep(0.5)
    finally:
        process.kill()
        process.communicate()
