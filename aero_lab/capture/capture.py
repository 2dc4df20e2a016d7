"""A capture: frames at one or more points of the pipeline, whether recorded, read or made up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from . import schema as s

if TYPE_CHECKING:
    import pandas as pd
    from scapy.packet import Packet


@dataclass(frozen=True)
class Block:
    """Frames that lie together: descriptor ``i`` is at ``start + step * i`` of ``index``, its bytes are in ``data``."""

    data: np.ndarray
    index: np.ndarray
    start: int
    step: int
    count: int

    def descriptors(self) -> np.ndarray:
        """The descriptors in order, as records of :data:`.schema.INDEX`."""
        if self.step > 0:
            raw = self.index[self.start : self.start + self.step * self.count]
            return raw.view(s.INDEX)
        low = self.start + self.step * (self.count - 1)
        return self.index[low : self.start + s.INDEX_SIZE].view(s.INDEX)[::-1] if self.count else np.zeros(0, s.INDEX)


def _joined(tables: list[np.ndarray]) -> np.ndarray:
    """Tables of descriptors as one. (``np.concatenate`` would pack their records.)"""
    out = np.empty(sum(len(table) for table in tables), s.INDEX)
    at = 0
    for table in tables:
        out[at : at + len(table)] = table
        at += len(table)
    return out


def _gathered(sources: list[np.ndarray], owner: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Bytes and options of the frames of ``index``, of which frame ``i`` lies in source ``owner[i]``, one after
    another; the index then says where."""
    parts = []
    for where, size in (("off", "cap_len"), ("opt_off", "opt_len")):
        parts.append((index[where].copy(), index[size].astype(np.int64)))
    (offsets, caps), (option_offsets, option_sizes) = parts
    ends = np.cumsum(caps + option_sizes)
    index["off"] = ends - caps - option_sizes
    index["opt_off"] = ends - option_sizes
    data = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    rows = zip(owner.tolist(), index["off"].tolist(), offsets.tolist(), caps.tolist(),
               option_offsets.tolist(), option_sizes.tolist())  # fmt: skip
    for which, at, off, cap, option_off, option_size in rows:
        data[at : at + cap] = sources[which][off : off + cap]
        if option_size:
            data[at + cap : at + cap + option_size] = sources[which][option_off : option_off + option_size]
    return data


@dataclass(frozen=True)
class Interface:
    """An interface of a capture file: link type and snap length, and its options as the file has them, but for those
    that say how times are written."""

    link: int
    """LINKTYPE number; 1 is Ethernet."""
    snap: int = 0
    options: tuple[tuple[int, bytes], ...] = ()

    def _text(self, code: int) -> str:
        return dict(self.options[::-1]).get(code, b"").decode("utf-8", "replace")

    @property
    def name(self) -> str:
        return self._text(2)

    @property
    def description(self) -> str:
        return self._text(3)


@dataclass(frozen=True, eq=False)
class Capture:
    """Frames in the order in which they were seen.

    ``meta`` travels with the files (seed, parameters; whatever JSON can say); ``drops`` counts, by reason, what is
    missing.
    """

    blocks: tuple[Block, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)
    snap: int = 0
    """Snap length, 0 when frames were kept whole."""
    warning: str | None = None
    """Where a file that was read breaks off, if it does."""
    interfaces: tuple[Interface, ...] = ()
    """Interfaces of the file that was read, of all its sections."""
    section: tuple[tuple[int, bytes], ...] = ()
    """Options of the file's section headers (comments, hardware, system, program) beside our own."""
    undissected: dict[str, int] = field(default_factory=dict)
    """Frames whose link layer is not dissected, by link type: rows without values."""

    def __len__(self) -> int:
        return sum(block.count for block in self.blocks)

    def descriptors(self) -> np.ndarray:
        """One record of :data:`.schema.INDEX` a frame; ``off`` counts within the frame's own block."""
        return _joined([block.descriptors() for block in self.blocks])

    def frame(self, number: int) -> bytes:
        """The bytes kept of frame ``number``, counted from 1 like ``frame_number``."""
        at = number - 1
        if at >= 0:
            for block in self.blocks:
                if at < block.count:
                    row = block.descriptors()[at]
                    return block.data[int(row["off"]) : int(row["off"]) + int(row["cap_len"])].tobytes()
                at -= block.count
        raise IndexError(f"no frame {number}: the capture has {len(self)}")

    def link(self, number: int) -> int:
        """Link layer of frame ``number``, a number of :data:`.schema.LINKS`."""
        at = number - 1
        for block in self.blocks:
            if 0 <= at < block.count:
                return int(block.descriptors()[at]["link"])
            at -= block.count
        raise IndexError(f"no frame {number}: the capture has {len(self)}")

    def select(self, numbers: np.ndarray) -> Capture:
        """The frames of these numbers (counted from 1), in this order, without copying their bytes."""
        at = np.asarray(numbers, np.int64) - 1
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < len(self):
            wrong = at[(at < 0) | (at >= len(self))][0] + 1
            raise UsageError(f"no frame {wrong}: the capture has {len(self)}")
        owner = np.repeat(np.arange(len(self.blocks)), [block.count for block in self.blocks])[at]
        rows, blocks = self.descriptors()[at], []
        starts = np.flatnonzero(np.diff(owner, prepend=-1)).tolist()
        for first, end in zip(starts, [*starts[1:], len(at)]):
            index = _joined([rows[first:end]]).view(np.uint8)
            blocks.append(Block(self.blocks[int(owner[first])].data, index, 0, s.INDEX_SIZE, end - first))
        return replace(self, blocks=tuple(blocks), drops={})

    def frames(self) -> pd.DataFrame:
        """One row a frame and point, with the columns of ``docs/columns.md``."""
        from .frames import to_frames

        return to_frames(self)

    def to_scapy(self, selection: Any = None) -> list[Packet]:
        """Frames as scapy packets with their times (see :mod:`.scapy_packets`).

        ``selection`` says which: any part of what :meth:`frames` gives, frame numbers, or a boolean a frame; all by
        default.
        """
        from .scapy_packets import to_packets

        return to_packets(self, selection)

    @staticmethod
    def from_scapy(packets: Iterable[Any]) -> Capture:
        """A capture of scapy packets or of whole frames as bytes, in the order in which they come."""
        from .scapy_packets import from_packets

        return from_packets(packets)

    def save(self, path: str | Path) -> Path:
        """Write a pcapng file with one interface a point; the same capture gives the same bytes. Returns the path."""
        from .pcapng import write_capture_pcapng

        return write_capture_pcapng(path, self)

    def save_parquet(self, path: str | Path) -> Path:
        """Write the columns as parquet, with schema and :attr:`meta` inside. Returns the path."""
        from .parquet import write_capture

        return write_capture(path, self.frames(), self.meta)

    @staticmethod
    def merged(*captures: Capture) -> Capture:
        """Several captures of one clock as one, in order of time (then of argument), with the meta of the first."""
        tables = []
        interfaces: tuple[Interface, ...] = ()
        for capture in captures:
            for block in capture.blocks:
                table = block.descriptors().copy()
                table["interface"][table["interface"] > 0] += len(interfaces)
                tables.append((block, table))
            interfaces += capture.interfaces
        if not tables:
            return captures[0] if captures else Capture()
        everything = _joined([table for _, table in tables])
        owner = np.repeat(np.arange(len(tables)), [len(table) for _, table in tables])
        order = np.argsort(everything["t_ns"], kind="stable")
        index, owner = everything[order], owner[order]
        data = _gathered([block.data for block, _ in tables], owner, index)
        drops: dict[str, int] = {}
        for capture in captures:
            for reason, number in capture.drops.items():
                drops[reason] = drops.get(reason, 0) + number
        block = Block(data, index.view(np.uint8), 0, s.INDEX_SIZE, len(index))
        snap = min((c.snap for c in captures if c.snap), default=0)
        section = tuple(option for capture in captures for option in capture.section)
        return Capture((block,), dict(captures[0].meta), drops, snap, None, interfaces, section)

    def __repr__(self) -> str:
        counts = np.bincount(self.descriptors()["point"], minlength=len(s.POINTS)).tolist()
        seen = ", ".join(f"{number} at {s.POINTS[i]}" for i, number in enumerate(counts) if number)
        return f"<Capture {len(self)} frames{': ' + seen if seen else ''}>"
