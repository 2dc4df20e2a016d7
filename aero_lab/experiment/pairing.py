"""Frames that two processes saw, known again: which row at the guest's NIC is which row in the tunnel.

No message carries an identity, so in the capture of a run the rows of both recorders have to be joined afterwards.
Over a transport that delivers all in order, the n-th frame of a direction here is the n-th there. Where it does not, or
where not all that the NIC sees travels (option B keeps its link layer to itself), a frame is known by its bytes: by
those of its packet, which are the same with and without an Ethernet header. Equal ones are taken in their order.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from ..bounds import LOST_AFTER
from ..capture import Capture
from ..capture.schema import ETHERNET, POINT_OF

PAIR_BITS = 40
"""Room for as many frames of one direction."""


def pair(client: Capture, proxy: Capture, ordered: bool = True, lossless: bool = True) -> bool:
    """Give frames that both saw one identity; returns whether each frame of the tunnel has its partner.

    Parameters
    ----------
    ordered: whether the transport delivers all, in order.
    lossless: whether it delivers all; else one of several equal frames may be one that never came.
    """
    if ordered and pair_by_order(client, proxy):
        return True
    return pair_by_content(client, proxy, lossless)


def pair_by_order(client: Capture, proxy: Capture) -> bool:
    """Pair the n-th frame of a direction at the guest's NIC with the n-th in the tunnel.

    When lengths say otherwise (something was not recorded, or the tunnel was made anew) no frame of that direction is
    paired. Either way the identities of the two recorders, which began to count at the same number, are told apart.
    Returns whether all is paired as it should be.
    """
    sides = [_tables(client, "nic"), _tables(proxy, "tunnel")]
    sound = True
    for direction in range(2):
        lengths = [_column(tables, "frame_len", direction) for tables in sides]
        common = min(map(len, lengths))
        same = bool((lengths[0][:common] == lengths[1][:common]).all())
        sound = sound and same
        for side, tables in enumerate(sides):
            first = (1 + direction + (0 if same else 2 * side)) << PAIR_BITS
            for table in tables:
                rows = (table["direction"] == direction) & (table["frame_len"] > 0)
                number = int(rows.sum())
                table["frame_id"][rows] = np.arange(first, first + number)
                first += number
    return sound


def pair_by_content(client: Capture, proxy: Capture, lossless: bool = True) -> bool:
    """Pair frames with equal packets, first with first; a second sighting of one that was paired is a copy of it.

    Returns whether each frame that entered or left the tunnel was seen at the NIC too.
    """
    _tables(client, "nic")
    _tables(proxy, "tunnel")
    sound = True
    for direction in range(2):
        sent, came = (client, proxy) if direction == 0 else (proxy, client)
        first, strangers = (1 + direction) << PAIR_BITS, (3 + direction) << PAIR_BITS
        waiting: dict[int, deque[tuple[int, int]]] = {}
        last: dict[int, int] = {}
        unpaired = 0
        for table, row, key in _contents(sent, direction):
            table["frame_id"][row] = first
            waiting.setdefault(key, deque()).append((int(table["t_ns"][row]), first))
            first += 1
        for table, row, key in _contents(came, direction):
            at, queue = int(table["t_ns"][row]), waiting.get(key)
            if queue and not lossless:
                while len(queue) > 1 and queue[0][0] + LOST_AFTER < at:
                    queue.popleft()
            if queue and queue[0][0] <= at:
                last[key] = queue.popleft()[1]
                table["frame_id"][row] = last[key]
            elif key in last:
                table["frame_id"][row] = last[key]
            else:
                table["frame_id"][row] = strangers + unpaired
                unpaired += 1
        # What the link layer at the guest answers itself comes to the NIC and was never in a tunnel.
        left = sum(map(len, waiting.values())) if direction else unpaired
        sound = sound and not left
    return sound


def packet_of(data: bytes, link: int) -> bytes:
    """What of a frame travels whatever the tunnel carries: its IP packet without padding; of others all of it."""
    if link == ETHERNET:
        kind = data[12:14]
        if kind == b"\x08\x00" and len(data) >= 34:
            return data[14 : 14 + int.from_bytes(data[16:18], "big")]
        if kind == b"\x86\xdd" and len(data) >= 54:
            return data[14 : 54 + int.from_bytes(data[18:20], "big")]
    return data


def _contents(capture: Capture, direction: int) -> Any:
    """Table, row and key of each frame of a direction, in order."""
    for block in capture.blocks:
        table = block.descriptors()
        rows = np.flatnonzero((table["direction"] == direction) & (table["frame_len"] > 0))
        places = zip(rows.tolist(), table["off"][rows].tolist(), table["cap_len"][rows].tolist(),
                     table["link"][rows].tolist())  # fmt: skip
        for row, off, size, link in places:
            yield table, row, hash(packet_of(block.data[off : off + size].tobytes(), link))


def _tables(capture: Capture, point: str) -> list[Any]:
    wanted = POINT_OF[point]
    tables = [block.descriptors() for block in capture.blocks]
    assert all((table["point"] == wanted).all() for table in tables)
    return tables


def _column(tables: list[Any], name: str, direction: int) -> Any:
    rows = [table[name][(table["direction"] == direction) & (table["frame_len"] > 0)] for table in tables]
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)
