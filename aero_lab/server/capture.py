"""A capture file for each tunnel: its Ethernet frames as pcapng, written as they pass.

The layout is that of the original's capture files: one interface ``l2-tunnel``, nanosecond times, each frame flagged
inbound (from the guest) or outbound (to it). Frames may be cut, to a length or to their headers. A file grows to a cap
and then no more; a file that cannot be written is given up, and its tunnel goes on. A thread writes it: a disk that is
slow loses frames, which are counted, and holds up nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from time import time_ns

import numpy as np

from ..bounds import CAPTURE_FILE_BUFFER, DISK_PATIENCE
from ..capture import schema
from ..capture.pcapng import INBOUND, INTERFACE, ORDER, OUTBOUND, PACKET, SECTION, SNAPLEN, block, option
from ..capture.redact import headers_size
from ..disk import QueuedFile
from ..limits import BATCH, MS
from ..rings import FrameRing

APPLICATION, INTERFACE_NAME = b"aero-l2-proxy", b"l2-tunnel"
_END = struct.pack("<HH", 0, 0)
_HEAD = struct.Struct("<IIIIIII")
_TAIL = struct.Struct("<HHIHHI")


def preamble(snap: int = 0, link: int = schema.ETHERNET) -> bytes:
    """Section header and interface, of frames that begin with ``link``, a number of
    :data:`~aero_lab.capture.schema.LINKS`."""
    section = struct.pack("<IHHq", ORDER, 1, 0, -1) + option(4, APPLICATION) + _END
    interface = struct.pack("<HHI", schema.LINKS[link][1], 0, snap or SNAPLEN) + option(2, INTERFACE_NAME)
    interface += option(9, b"\x09") + _END
    return block(SECTION, section) + block(INTERFACE, interface)


def packet(frame: bytes, wall: int, flags: int, kept: int | None = None) -> bytes:
    """One frame at ``wall``, nanoseconds since 1970, of which the first ``kept`` bytes are kept."""
    size = len(frame) if kept is None else kept
    padding = -size % 4
    total = 44 + size + padding
    head = _HEAD.pack(PACKET, total, 0, wall >> 32, wall & 0xFFFFFFFF, size, len(frame))
    return b"".join((head, frame[:size], bytes(padding), _TAIL.pack(2, 4, flags, 0, 0, total)))


class SessionCapture:
    """The file of one tunnel. Implements :class:`aero_lab.paths.base.Tap` for the frames at the local rings.

    Parameters
    ----------
    folder: where the file is made.
    number: of the tunnel, from 1.
    most_bytes: size that the file does not pass; 0: no cap.
    flush_every: ns after which what was written reaches the file; 0: at the end only.
    epoch: wall clock less monotonic clock, ns.
    count: adds to a metric.
    snap: bytes of a frame that are kept at most; 0: all.
    headers_only: keep the headers of frames alone, as :mod:`aero_lab.capture.redact` has it.
    link: what frames begin with, a number of :data:`~aero_lab.capture.schema.LINKS`.
    """

    def __init__(
        self,
        folder: Path,
        number: int,
        most_bytes: int,
        flush_every: int,
        epoch: int,
        count: Callable[[str, int], None],
        snap: int = 0,
        headers_only: bool = False,
        link: int = schema.ETHERNET,
    ):
        self._snap, self._headers_only, self._link = snap, headers_only, link
        self._most, self._flush_every, self._epoch, self._count = most_bytes, flush_every, epoch, count
        self._file: QueuedFile | None = None
        self._queued: QueuedFile | None = None
        self._written = 0
        self._dirty_since: int | None = None
        self.path = folder / f"{time_ns() // MS:013}-session-{number}.pcapng"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = self._queued = file = QueuedFile(open(fd, "wb", buffering=CAPTURE_FILE_BUFFER))
            head = preamble(snap, link)
            if self._most and len(head) > self._most:
                self._give_up(error=False)
                return
            file.write(head)
            self._note(len(head))
        except OSError:
            self._give_up()

    @property
    def active(self) -> bool:
        """Whether frames are still written."""
        return self._file is not None

    def tap(
        self, ring: FrameRing, count: int, point: str, direction: str, now: int, skip: int = 0, *, link: int = 0
    ) -> None:
        """Write ``count`` waiting frames of ``ring`` after the ``skip`` oldest. ``direction`` is the guest's."""
        flags = INBOUND if direction == "tx" else OUTBOUND
        frames = ring.peek_many(skip + count)[skip:]
        wall = now + self._epoch
        for at in range(0, len(frames), BATCH):
            part = [frame.data for frame in frames[at : at + BATCH]]
            self._write([packet(data, wall, flags, self._kept(data)) for data in part], now)

    def _kept(self, frame: bytes) -> int:
        size = len(frame)
        if self._headers_only:
            size = int(headers_size(np.frombuffer(frame, np.uint8), 0, size, self._link))
        return min(size, self._snap) if self._snap else size

    def poll_at(self) -> int | None:
        """When :meth:`tick` wants to be called; None: not at all."""
        if self._dirty_since is None or not self._flush_every:
            return None
        return self._dirty_since + self._flush_every

    def tick(self, now: int) -> None:
        """Bring to the file what has waited long enough."""
        due = self.poll_at()
        if due is not None and due <= now and self._file is not None:
            self._dirty_since = None
            try:
                self._file.flush()
            except OSError:
                self._give_up()

    def close(self) -> None:
        """Finish the file. May be called twice."""
        file, self._file = self._file, None
        self._dirty_since = None
        if file is not None:
            try:
                file.close()
            except OSError:
                self._failed(file)

    def join(self, patience: float = DISK_PATIENCE) -> bool:
        """After :meth:`close`: wait until the file is whole; False when that takes longer."""
        return self._queued is None or self._queued.join(patience)

    def _failed(self, file: QueuedFile) -> None:
        self._count("l2_capture_errors_total", 1)
        self._count("l2_capture_frames_dropped_total", file.lost)

    def _write(self, packets: list[bytes], now: int) -> None:
        if self._file is None:
            self._count("l2_capture_frames_dropped_total", len(packets))
            return
        kept = packets
        if self._most:
            room, number = self._most - self._written, 0
            for raw in packets:
                room -= len(raw)
                if room < 0:
                    break
                number += 1
            kept = packets[:number]
        raw = b"".join(kept)
        try:
            self._file.write(raw, len(kept))
        except BlockingIOError:
            self._count("l2_capture_frames_dropped_total", len(packets))
            return
        except OSError:
            self._count("l2_capture_frames_dropped_total", len(packets))
            self._give_up()
            return
        self._note(len(raw))
        self._count("l2_capture_frames_total", len(kept))
        if self._dirty_since is None:
            self._dirty_since = now
        if len(kept) < len(packets):
            self._count("l2_capture_frames_dropped_total", len(packets) - len(kept))
            self.close()  # nothing more is written, not even a smaller frame that would fit

    def _note(self, size: int) -> None:
        self._written += size
        self._count("l2_capture_bytes_total", size)

    def _give_up(self, error: bool = True) -> None:
        file, self._file = self._file, None
        self._dirty_since = None
        if file is None:
            if error:
                self._count("l2_capture_errors_total", 1)
            return
        try:
            file.close()
        except OSError:
            pass
        if error:
            self._failed(file)
