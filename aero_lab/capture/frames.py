"""From frames to a DataFrame, chunk by chunk: runs the dissector and the cause classification and gives the columns
their types.

A chunk of raw columns is as large as a processor's cache; what it becomes is written once, into one piece of memory for
all columns (a fresh page costs more than what is written to it, and large pieces get large pages). What dissection and
classification remember goes on from chunk to chunk, so a file read in groups of rows gives the rows of the whole.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import causes as cause_names
from ..errors import UsageError
from . import causes, columns, spread, tables
from . import schema as s

if TYPE_CHECKING:
    from .capture import Block, Capture

FIRST_KEYS = 256
CHUNK = 8192
"""Rows of a chunk: some 1.2 MB of raw columns."""
_FLAGS = {
    "tcp_flags_fin": 1, "tcp_flags_syn": 2, "tcp_flags_reset": 4, "tcp_flags_push": 8, "tcp_flags_ack": 16,
    "ip_flags_df": 2, "ip_flags_mf": 1, "dns_response": 1,
}  # fmt: skip
CAUSES = tuple(cause.name.lower() for cause in cause_names.Cause)
"""Names of the causes, as the categories of the column ``cause``."""
_FIXED = {"point": s.POINTS, "direction": s.DIRECTIONS, "cause": CAUSES}


class Dissection:
    """Frames in, chunks of raw columns out; remembers names, conversations and identities."""

    def __init__(self) -> None:
        self.out = np.zeros(CHUNK * s.ROW_SIZE, np.uint8)
        self.names = tables.new_table(FIRST_KEYS)
        self.state = causes.State()
        self._texts: dict[int, list[str]] = {columns.MAC >> 2: [], columns.IPV4 >> 2: []}

    def chunk(self, block: Block, first: int) -> int:
        """Dissect and classify at most :data:`CHUNK` frames of ``block`` from ``first`` on; returns how many."""
        number = min(CHUNK, block.count - first)
        self.out.fill(0)
        done = 0
        while done < number:
            done += int(
                columns.dissect(
                    block.data, block.index, block.start + block.step * (first + done), block.step, number - done,
                    self.out, CHUNK, done, self.names,
                )
            )  # fmt: skip
            if done < number:
                self.names = tables.grown(self.names)
        self.state.classify(self.out, CHUNK, number, tables.family_count(self.names, columns.FLOW >> 2))
        return number

    def categories(self) -> Mapping[str, Sequence[str]]:
        """Texts of the numbers in the columns of text."""
        macs = self._texts[columns.MAC >> 2]
        if tables.family_count(self.names, columns.MAC >> 2) > len(macs):
            macs[:] = [mac_name(lo) for _, lo, _ in tables.entries(self.names, columns.MAC >> 2)]
        addresses = self._texts[columns.IPV4 >> 2]
        if tables.family_count(self.names, columns.IPV4 >> 2) > len(addresses):
            addresses[:] = [address_name(*key) for key in tables.entries(self.names, columns.IPV4 >> 2)]
        return _FIXED | {
            "eth_src": macs, "eth_dst": macs,
            "ip_src": addresses, "ip_dst": addresses, "arp_src": addresses, "arp_dst": addresses,
        }  # fmt: skip


def mac_name(lo: int) -> str:
    return ":".join(f"{b:02x}" for b in lo.to_bytes(6, "big"))


def address_name(hi: int, lo: int, tag: int) -> str:
    """Text of an address of the address table, in Wireshark's form (RFC 5952)."""
    if tag == columns.IPV4:
        return ".".join(map(str, lo.to_bytes(4, "big")))
    return str(ipaddress.IPv6Address(((hi & (1 << 64) - 1) << 64) | (lo & (1 << 64) - 1)))


def chosen_columns(names: Iterable[str] | None) -> tuple[s.Column, ...]:
    """The named columns, in the order of the schema; all when there are no names."""
    if names is None:
        return s.COLUMNS
    wanted = set(names)
    unknown = sorted(wanted - s.COLUMN.keys())
    if unknown:
        raise UsageError(f"no column {unknown[0]!r} in a capture; docs/columns.md has them all")
    return tuple(column for column in s.COLUMNS if column.name in wanted)


def _nullable(column: s.Column) -> bool:
    return column.dtype[0].isupper() or column.dtype == "boolean"


def _dtype(column: s.Column) -> np.dtype:
    if column.dtype == "category":
        return np.dtype("i1" if column.name in _FIXED else "i4")
    return np.dtype(bool if column.dtype == "boolean" else column.dtype.lower())


class Table:
    """Columns that grow by chunks, in one piece of memory."""

    def __init__(self, chosen: tuple[s.Column, ...] = s.COLUMNS):
        # The widest come first, so that each is aligned.
        self._columns = chosen
        self._parts = [(column.name, _dtype(column)) for column in chosen]
        self._parts += [("?" + column.name, np.dtype(bool)) for column in chosen if _nullable(column)]
        self._parts.sort(key=lambda part: -part[1].itemsize)
        self.row_size = sum(dtype.itemsize for _, dtype in self._parts)
        self._capacity = 0
        self._memory = np.empty(0, np.uint8)
        self._plan = self._memory
        self.count = 0

    def _places(self, capacity: int) -> dict[str, tuple[int, np.dtype]]:
        """Where each part begins, with room for so many rows."""
        at, places = 0, {}
        for name, dtype in self._parts:
            places[name] = (at, dtype)
            at += capacity * dtype.itemsize
        return places

    def _part(self, name: str) -> np.ndarray:
        at, dtype = self._places(self._capacity)[name]
        return self._memory[at : at + dtype.itemsize * self.count].view(dtype)

    def reserve(self, capacity: int) -> None:
        """Have memory for so many rows."""
        if capacity <= self._capacity:
            return
        capacity = (capacity + 7) & ~7
        memory, places = np.empty(capacity * self.row_size, np.uint8), self._places(capacity)
        if self.count:
            for name, (at, dtype) in places.items():
                memory[at : at + dtype.itemsize * self.count] = self._part(name).view(np.uint8)
        self._memory, self._capacity = memory, capacity
        rows = []
        for column in self._columns:
            to, dtype = places[column.name]
            if column.name == "frame_number":
                rows.append(spread.plan_row(spread.COUNT, "", to, 4))
            elif column.name == "tcp_options_sack_perm":
                rows.append(spread.plan_row(spread.FLAG, "has", to, 1, s.HAS_SACK_PERM))
            elif column.dtype == "boolean":
                rows.append(spread.plan_row(spread.FLAG, column.raw, to, 1, _FLAGS[column.name]))
            elif column.dtype == "category":
                rows.append(spread.plan_row(spread.CODES, column.raw, to, dtype.itemsize, column.has))
            else:
                rows.append(spread.plan_row(spread.COPY, column.raw, to, dtype.itemsize))
            if _nullable(column):
                rows.append(spread.plan_row(spread.MISSING, "", places["?" + column.name][0], 1, column.has))
        self._plan = spread.plan_of(rows)

    def reserve_for(self, wanted: int, least: int) -> None:
        """Have memory for ``least`` more rows; when there is not, for ``wanted`` in all."""
        if self.count + least > self._capacity:
            self.reserve(max(wanted, self.count + least))

    def append(self, source: Dissection, number: int, first: int) -> None:
        """Take over a chunk of ``number`` rows, which are rows ``first`` and following of the capture."""
        if self.count + number > self._capacity:
            self.reserve(max(self.count + number, 2 * self._capacity))
        spread.spread(source.out, CHUNK, number, self._plan, self._memory, self.count, first + 1)
        self.count += number

    def frame(self, categories: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """What was taken in, as a DataFrame; the table is used up."""
        data: dict[str, Any] = {}
        texts: dict[int, pd.Index] = {}
        for column in self._columns:
            values = self._part(column.name)
            if column.dtype == "category":
                names = categories[column.name]
                index = texts.setdefault(id(names), pd.Index(names, dtype="str"))
                data[column.name] = pd.Categorical.from_codes(values, index, validate=False)  # type: ignore[arg-type]
            elif column.dtype == "boolean":
                data[column.name] = pd.arrays.BooleanArray(values, self._part("?" + column.name))
            elif _nullable(column):
                data[column.name] = pd.arrays.IntegerArray(values, self._part("?" + column.name))
            else:
                data[column.name] = values
        return pd.DataFrame(data, copy=False)


def take_in(source: Dissection, table: Table, block: Block, first: int) -> None:
    """Dissect a block whose first frame is row ``first`` of the capture, and add it to the table."""
    done = 0
    while done < block.count:
        number = source.chunk(block, done)
        table.append(source, number, first + done)
        done += number


def to_frames(capture: Capture, names: Iterable[str] | None = None) -> pd.DataFrame:
    """The columns of :data:`.schema.COLUMNS`, tightly typed: nullable integers and booleans, categories for text."""
    source, table = Dissection(), Table(chosen_columns(names))
    table.reserve(len(capture))
    for block in capture.blocks:
        take_in(source, table, block, table.count)
    frames = table.frame(source.categories())
    frames.attrs["drops"] = dict(capture.drops)
    return frames
