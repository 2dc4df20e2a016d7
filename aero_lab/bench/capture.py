"""``bench capture``: how many frames a second go from a pcapng file into columns, and from memory into a file, on one
core.

The file is the same each time: a million mixed frames of a thousand flows at both points (:mod:`.frames`), cut to 96
bytes. ``read/pcapng`` times :func:`aero_lab.read_pcap`: from the file to a DataFrame with every column.
``write/pcapng`` times :func:`aero_lab.write_pcapng` of what was read.

Peers do what their users would: scapy and dpkt read packets, dissect them from Ethernet to TCP and put the fields that
are columns of ours into lists; tshark prints the fields that are columns of ours. They are given the first frames of
the same file, as many as they get through in a second or two, and counted per frame.

Time is CPU time: of the measuring thread, and of tshark's process. Each works one round unmeasured before each measured
one: what the kernel takes to find and clear the memory that another has just given back is not the reader's time. So
the first read of a process is slower than what is told here, by half and more.
"""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

from ..capture import Capture, load_pcap, read_pcap, write_pcapng
from ..capture.schema import COLUMNS
from ..errors import AeroLabError
from .frames import mixed
from .peers import installed
from .report import Progress, Result, chosen

SAMPLES = 5
FRAMES, FLOWS = 1_000_000, 1000
PEER_FRAMES = {"scapy": 4_000, "dpkt": 40_000, "tshark": 40_000}
"""Frames a peer is given."""


@dataclass(frozen=True)
class Case:
    name: str
    peers: tuple[str, ...]


CASES = (Case("read/pcapng", ("scapy", "dpkt", "tshark")), Case("write/pcapng", ("scapy", "dpkt")))


def chosen_cases(names: Sequence[str] | None) -> list[Case]:
    """The cases whose names begin with one of ``names``; all when there are none."""
    return chosen(CASES, names)


class Files:
    """The file to be read, and beginnings of it for the peers."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.whole = mixed(FRAMES, FLOWS).save(folder / "mixed.pcapng")
        self.capture = load_pcap(self.whole)

    def first(self, number: int) -> Path:
        """A file of the first ``number`` frames."""
        path = self.folder / f"{number}.pcapng"
        if not path.exists():
            write_pcapng(path, self._beginning(number))
        return path

    def frames(self, number: int) -> list[bytes]:
        beginning = self._beginning(number)
        return [beginning.frame(i + 1) for i in range(len(beginning))]

    def _beginning(self, number: int) -> Capture:
        import numpy as np

        return self.capture.select(np.arange(1, min(number, len(self.capture)) + 1))


Sample = Callable[[], tuple[int, float]]
"""One round: frames, and CPU seconds."""


def timed(work: Callable[[], int]) -> Sample:
    """A round of work that returns how many frames it did."""

    def sample() -> tuple[int, float]:
        start = time.thread_time()
        number = work()
        return number, time.thread_time() - start

    return sample


def _read(files: Files) -> int:
    frames = read_pcap(files.whole)
    if frames.attrs["warning"] or len(frames.columns) != len(COLUMNS):
        raise AeroLabError(f"read/pcapng: not all was read: {frames.attrs['warning']}")
    return len(frames)


def _write(files: Files) -> int:
    write_pcapng(files.folder / "out.pcapng", files.capture)
    return len(files.capture)


def scapy_read(path: Path) -> Callable[[], int]:
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Dot1Q, Ether
    from scapy.utils import RawPcapNgReader

    ours = {
        Ether: ("src", "dst", "type"), Dot1Q: ("vlan",), ARP: ("op", "psrc", "pdst"),
        IP: ("version", "src", "dst", "proto", "len", "ttl", "tos", "id", "flags", "frag"),
        IPv6: ("version", "src", "dst", "nh", "plen", "hlim", "tc"),
        TCP: ("sport", "dport", "seq", "ack", "flags", "window", "dataofs", "options"), UDP: ("sport", "dport", "len"),
        ICMP: ("type", "code", "id", "seq"),
    }  # fmt: skip

    def work() -> int:
        rows = []
        for data, about in RawPcapNgReader(str(path)):
            packet: Any = Ether(data)
            row: list[Any] = [about.tshigh, about.tslow, about.wirelen, len(data)]
            while packet:
                row += [getattr(packet, name) for name in ours.get(type(packet), ())]
                packet = packet.payload
            rows.append(row)
        return len(rows)

    return work


def dpkt_read(path: Path) -> Callable[[], int]:
    import dpkt

    names = {
        dpkt.ethernet.Ethernet: ("src", "dst", "type"), dpkt.arp.ARP: ("op", "spa", "tpa"),
        dpkt.ip.IP: ("v", "src", "dst", "p", "len", "ttl", "tos", "id", "df", "mf", "offset"),
        dpkt.ip6.IP6: ("v", "src", "dst", "nxt", "plen", "hlim", "fc"),
        dpkt.tcp.TCP: ("sport", "dport", "seq", "ack", "flags", "win", "off", "opts"),
        dpkt.udp.UDP: ("sport", "dport", "ulen"), dpkt.icmp.ICMP: ("type", "code"),
    }  # fmt: skip

    def work() -> int:
        rows = []
        with path.open("rb") as file:
            for when, data in dpkt.pcapng.Reader(file):
                row: list[Any] = [when, len(data)]
                packet: Any = dpkt.ethernet.Ethernet(data)
                while not isinstance(packet, bytes):
                    row += [getattr(packet, name) for name in names.get(type(packet), ())]
                    if isinstance(packet, dpkt.tcp.TCP):
                        row += dpkt.tcp.parse_opts(packet.opts)
                    packet = getattr(packet, "data", b"")
                rows.append(row)
        return len(rows)

    return work


def tshark_read(path: Path, number: int) -> Sample:
    fields = [field for column in COLUMNS for field in column.fields]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f"]
    for option in ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "tcp.relative_sequence_numbers:FALSE"):
        command += ["-o", option]
    for field in fields:
        command += ["-e", field]

    def sample() -> tuple[int, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, timeout=300)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        rows = done.stdout.count(b"\n")
        if rows != number:
            raise AeroLabError(f"tshark printed {rows} rows of {number}")
        return rows, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return sample


def scapy_write(files: Files, frames: list[bytes]) -> Callable[[], int]:
    from scapy.utils import RawPcapNgWriter

    def work() -> int:
        writer = RawPcapNgWriter(str(files.folder / "scapy.pcapng"))
        writer.linktype = 1
        for frame in frames:
            writer.write(frame)
        writer.close()
        return len(frames)

    return work


def dpkt_write(files: Files, frames: list[bytes]) -> Callable[[], int]:
    import dpkt

    def work() -> int:
        with (files.folder / "dpkt.pcapng").open("wb") as file:
            writer = dpkt.pcapng.Writer(file)
            for frame in frames:
                writer.writepkt(frame, 1.5)
        return len(frames)

    return work


def peer_sample(case: Case, peer: str, files: Files) -> tuple[Sample | None, str | None]:
    """A peer's round of the same work, or why there is none."""
    if peer == "tshark":
        if which("tshark") is None:
            return None, "tshark is not installed"
        number = min(PEER_FRAMES[peer], len(files.capture))
        return tshark_read(files.first(number), number), None
    if not installed(peer):
        return None, f"{peer} is not installed"
    number = PEER_FRAMES[peer]
    if case.name == "read/pcapng":
        return timed((scapy_read if peer == "scapy" else dpkt_read)(files.first(number))), None
    return timed((scapy_write if peer == "scapy" else dpkt_write)(files, files.frames(number))), None


def measure(
    seconds: float, cases: Sequence[str] | None = None, peers: bool = True, progress: Progress | None = None
) -> list[Result]:
    """Run the cases, samples of ours and of the peers taken in turn."""
    todo = chosen_cases(cases)
    tell: Progress = progress or (lambda done, total, what: None)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="aero_lab-bench-") as folder:
        tell(0, len(todo), "making the file")
        files = Files(Path(folder))
        for done, case in enumerate(todo):
            tell(done, len(todo), case.name)
            results += _measure_case(case, files, seconds, peers)
    tell(len(todo), len(todo), "")
    return results


def _measure_case(case: Case, files: Files, seconds: float, peers: bool) -> list[Result]:
    ours = timed((lambda: _read(files)) if case.name == "read/pcapng" else (lambda: _write(files)))
    samples: list[float] = []
    rows: list[tuple[Result, Sample | None]] = []
    for name in case.peers if peers else ():
        sample, reason = peer_sample(case, name, files)
        row = Result(case.name, "frames/s", samples, name, reason=reason)
        if sample is not None and PEER_FRAMES[name] < len(files.capture):
            row.note = f"per frame, over the first {PEER_FRAMES[name]:,} frames of the same file"
        rows.append((row, sample))
    if not rows:
        rows.append((Result(case.name, "frames/s", samples), None))
    for _ in range(SAMPLES):
        ours()
        samples.append(_rate(ours, seconds / SAMPLES))
        for row, sample in rows:
            if sample is not None:
                try:
                    sample()
                    row.peer_samples.append(_rate(sample, 0))
                except Exception as error:  # another version of a peer must not end the run
                    row.reason = row.reason or f"{row.peer}: {type(error).__name__}: {error}"
    return [row for row, _ in rows]


def _rate(sample: Sample, seconds: float) -> float:
    """Frames a second, over one round at least and ``seconds``."""
    number, spent = 0, 0.0
    while spent <= seconds:
        done, took = sample()
        number, spent = number + done, spent + took
        if not done:
            raise AeroLabError("nothing was read or written")
        if spent > seconds:
            break
    return number / max(spent, 1e-9)
