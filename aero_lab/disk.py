"""Captures that go to disk while they are recorded, in threads that nobody waits for.

:class:`CaptureStream` follows a recorder, :class:`QueuedFile` takes bytes. The data path only ever writes to the
recorder's bounded memory. The thread follows it: what is new is encoded and written in batches, and memory may then let
go of it. A disk that is too slow, full or gone never holds up a frame: memory fills, and what finds no room is counted.
"""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .bounds import DISK_INTERVAL, DISK_PATIENCE, DISK_QUEUE
from .capture.pcapng import packets, parts, statistics, stream_head
from .capture.sink import Sink
from .errors import UsageError

if TYPE_CHECKING:
    from .capture import Recorder


class CaptureStream:
    """Writes what a recorder keeps to a pcapng file, until it is closed.

    Parameters
    ----------
    recorder: the recorder that is followed; one stream at a time.
    path: the file; packed where its name ends in ``.gz`` or ``.zst``.
    most_bytes: size that the file does not pass; 0: no bound. What comes after that is counted.
    interval: seconds between two looks at the recorder.
    """

    def __init__(self, recorder: Recorder, path: str | Path, most_bytes: int = 0, interval: float = DISK_INTERVAL):
        if recorder.taken is not None:
            raise UsageError("this recorder is written to a file already")
        self.path = Path(path)
        self.frames = 0
        """Frames in the file."""
        self.bytes = 0
        """Bytes given to the file, before they are packed."""
        self.lost = 0
        """Frames that came too late, or behind the bound or an error."""
        self.error: str | None = None
        """Why the file was given up, when it was."""
        self._recorder, self._most, self._interval = recorder, most_bytes, interval
        try:
            self._sink: Sink | None = Sink(path)
        except OSError as error:
            raise UsageError(f"the capture cannot be written: {error}") from None
        self._full = False
        self._next = self._begin = recorder.seen
        recorder.taken = self._next
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="aero_lab-capture", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Frames in memory that are still to be written."""
        return max(0, self._recorder.seen - self._next)

    def _follow(self) -> None:
        try:
            head, self._numbers = stream_head(self._recorder.meta, self._recorder.points, self._recorder.snap)
            self._write(head)
            last = 0
            while True:
                over = self._over.wait(self._interval)
                last = self._round(last)
                if over:
                    break
            drops = dict(self._recorder.drops)
            if self.lost:
                drops["late"] = self.lost
            if drops and self._sink is not None:
                self._write(statistics(drops, self.frames + sum(drops.values()), last))
        except OSError as error:
            self._give_up(str(error))
        except Exception as error:  # a defect here must not look like a file that is whole
            self._give_up(f"{type(error).__name__}: {error}")
        finally:
            self._recorder.taken = None
            self._finish()

    def _round(self, last: int) -> int:
        """Write what is new; gives the time of the last frame."""
        blocks, number, missed = self._recorder.since(self._next)
        self.lost += missed
        for block in blocks:
            for part in parts((block,)):
                data = packets(part, self._numbers)
                if self._full or (self._most and self.bytes + len(data) > self._most):
                    self._full = True
                    self.lost += part.count
                else:
                    self._write(data)
                    self.frames += part.count
                    last = int(part.descriptors()["t_ns"][-1])
                self._next += part.count
                self._recorder.taken = self._next + missed
        self._next = number
        self._recorder.taken = number
        if blocks and self._sink is not None:
            self._sink.flush()
        return last

    def _write(self, data: bytes | memoryview) -> None:
        if self._sink is not None:
            self._sink.write(data)
            self.bytes += len(data)

    def _give_up(self, why: str) -> None:
        self.error = why
        self.lost += self.waiting

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        try:
            if sink is not None:
                sink.close()
        except OSError as error:
            self.error = self.error or str(error)

    def close(self, patience: float = DISK_PATIENCE) -> None:
        """Write what is left and finish the file. A disk that hangs is left alone after ``patience`` seconds. May be
        called twice."""
        self._over.set()
        self._thread.join(patience)
        if self._thread.is_alive():
            self.error = self.error or f"the disk took nothing for {patience:g} s"

    @property
    def closed(self) -> bool:
        return not self._thread.is_alive()

    def __repr__(self) -> str:
        lost = f", {self.lost} lost" if self.lost else ""
        return f"<CaptureStream {self.path}: {self.frames} frames, {self.bytes} bytes{lost}{self.error or ''}>"


class _Writer:
    """The one thread that the queued files of a process share; it starts with the first job."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="aero_lab-disk", daemon=True)
                    self._thread.start()
                    atexit.register(self.drain)
        self._jobs.put(job)

    def _run(self) -> None:
        while True:
            self._jobs.get()()

    def drain(self) -> None:
        """Wait for what was submitted so far, for a while: a process that ends leaves whole files."""
        done = threading.Event()
        self._jobs.put(done.set)
        done.wait(DISK_PATIENCE)


_WRITER = _Writer()


class QueuedFile:
    """A file whose calls never wait for its disk: a thread does what they say, in order.

    ``most`` bytes may wait; beyond that :meth:`write` raises ``BlockingIOError`` and nothing of it is written. What the
    disk refused is raised by the next call.
    """

    def __init__(self, file: BinaryIO, most: int = DISK_QUEUE):
        self._file, self._most = file, most
        self._given = self._done = 0
        self._error: OSError | None = None
        self._finished = threading.Event()
        self.lost = 0
        """Frames of writes that were taken and failed."""

    def write(self, data: bytes, frames: int = 0) -> None:
        """Take over bytes that hold so many frames."""
        if self._error is not None:
            raise OSError(*self._error.args)
        waiting = self._given - self._done
        if waiting and waiting + len(data) > self._most:
            raise BlockingIOError(f"the disk is behind by {waiting} bytes")
        self._given += len(data)
        _WRITER.submit(partial(self._write, data, frames))

    def _write(self, data: bytes, frames: int) -> None:
        try:
            if self._error is None:
                self._file.write(data)
        except OSError as error:
            self._error = error
        if self._error is not None:
            self.lost += frames
        self._done += len(data)

    def flush(self) -> None:
        if self._error is not None:
            raise OSError(*self._error.args)
        _WRITER.submit(self._flush)

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self._error = self._error or error

    def close(self) -> None:
        """Finish the file behind what was written."""
        _WRITER.submit(self._close)
        if self._error is not None:
            raise OSError(*self._error.args)

    def _close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._error = self._error or error
        self._finished.set()

    def join(self, patience: float = DISK_PATIENCE) -> bool:
        """After :meth:`close`: wait until it is done; False when that takes longer."""
        return self._finished.wait(patience)
