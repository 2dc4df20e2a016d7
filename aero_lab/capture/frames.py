"""From a capture to a DataFrame: runs the dissector and the cause classification and gives the columns their types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import causes as cause_names
from ..compiled.records import new_records
from ..limits import CAPTURE_HALF_FLOWS
from . import causes, columns, tables
from . import schema as s
from .capture import Capture

FIRST_KEYS = 256
_FLAGS = {
    "tcp_flags_fin": 1, "tcp_flags_syn": 2, "tcp_flags_reset": 4, "tcp_flags_push": 8, "tcp_flags_ack": 16,
    "ip_flags_df": 2, "ip_flags_mf": 1, "dns_response": 1,
}  # fmt: skip
CAUSES = tuple(cause.name.lower() for cause in cause_names.Cause)
"""Names of the causes, as the categories of the column ``cause``."""


class Columns:
    """Raw columns of a capture: what the kernels wrote, and the tables their numbers point into."""

    def __init__(self, capture: Capture):
        self.count = len(capture)
        self.rows = max(8, (self.count + 7) & ~7)
        self.out = np.zeros(self.rows * s.ROW_SIZE, np.uint8)
        self.names = tables.new_table(FIRST_KEYS)
        row = 0
        for block in capture.blocks:
            row = self._dissect(block, row)
        self._classify()

    def _dissect(self, block: Any, row: int) -> int:
        done = 0
        while done < block.count:
            done += int(
                columns.dissect(
                    block.data, block.index, block.start + block.step * done, block.step, block.count - done,
                    self.out, self.rows, row + done, self.names,
                )
            )  # fmt: skip
            if done < block.count:
                self.names = tables.grown(self.names)
        return row + done

    def _classify(self) -> None:
        has = self["has"]
        syns = int(np.count_nonzero((has & s.HAS_TCP != 0) & (self["tcp_flags"] & 0x12 == 0x02)))
        conversations = len(tables.entries(self.names, columns.FLOW >> 2))
        half_numbers = causes.HALVES_OF_FLOW * (conversations + syns)
        world = np.zeros(64, np.uint8)
        state = np.zeros(max(1, conversations) * causes.FLOW_STATE, np.uint8)
        halves = new_records(causes.HALF, min(CAPTURE_HALF_FLOWS, max(2, half_numbers)))
        slots = np.zeros(4 * max(1, half_numbers), np.uint8)
        identities = int(np.count_nonzero(has & s.HAS_ID))
        seen = np.zeros(4 << (2 * identities + 1).bit_length(), np.uint8)
        causes.classify(self.out, self.rows, 0, self.count, world, state, halves, slots, seen)

    def __getitem__(self, name: str) -> np.ndarray:
        """A raw column, without copying it."""
        at, width = self.rows * s.AT[name], s.WIDTH[name]
        return self.out[at : at + width * self.count].view(s.RAW[name])


def mac_name(lo: int) -> str:
    return ":".join(f"{b:02x}" for b in lo.to_bytes(6, "big"))


def address_name(hi: int, lo: int, tag: int) -> str:
    """Text of an address of the address table, in Wireshark's form (RFC 5952)."""
    import ipaddress

    if tag == columns.IPV4:
        return str(ipaddress.IPv4Address(lo))
    return str(ipaddress.IPv6Address(((hi & (1 << 64) - 1) << 64) | (lo & (1 << 64) - 1)))


def _categories(raw: Columns) -> dict[str, list[str]]:
    macs = [mac_name(lo) for _, lo, _ in tables.entries(raw.names, columns.MAC >> 2)]
    addresses = [address_name(*key) for key in tables.entries(raw.names, columns.IPV4 >> 2)]
    return {
        "eth_src": macs, "eth_dst": macs,
        "ip_src": addresses, "ip_dst": addresses, "arp_src": addresses, "arp_dst": addresses,
        "point": list(s.POINTS), "direction": list(s.DIRECTIONS), "cause": list(CAUSES),
    }  # fmt: skip


def _masked(dtype: str, values: np.ndarray, missing: np.ndarray) -> Any:
    if dtype == "boolean":
        return pd.arrays.BooleanArray(values, missing)
    return pd.arrays.IntegerArray(values, missing)


def to_frames(capture: Capture) -> pd.DataFrame:
    """The columns of :data:`.schema.COLUMNS`, tightly typed: nullable integers and booleans, categories for text."""
    raw = Columns(capture)
    has, count = raw["has"], raw.count
    names = _categories(raw)
    masks = {0: np.zeros(count, bool)}
    data: dict[str, Any] = {}
    for column in s.COLUMNS:
        if column.has not in masks:
            masks[column.has] = has & column.has == 0
        missing = masks[column.has]
        if column.name == "frame_number":
            data[column.name] = np.arange(1, count + 1, dtype=np.uint32)
        elif column.name == "tcp_options_sack_perm":
            data[column.name] = _masked("boolean", has & s.HAS_SACK_PERM != 0, missing.copy())
        elif column.dtype == "category":
            codes = np.where(missing, -1, raw[column.raw].astype(np.int32))
            data[column.name] = pd.Categorical.from_codes(codes, names[column.name])  # type: ignore[arg-type]
        elif column.dtype == "boolean":
            data[column.name] = _masked("boolean", raw[column.raw] & _FLAGS[column.name] != 0, missing.copy())
        elif column.dtype[0].isupper():
            data[column.name] = _masked(column.dtype, raw[column.raw], missing.copy())
        else:
            data[column.name] = raw[column.raw]
    frames = pd.DataFrame(data, copy=False)
    frames.attrs["drops"] = dict(capture.drops)
    return frames
