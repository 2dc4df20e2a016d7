"""Captures as scapy packets, and scapy packets as captures. scapy is imported when the first packet is made.

What travels with a packet are the attributes that scapy itself keeps beside the bytes, and reads from and writes to
pcapng: ``time`` (seconds, a decimal, so that no nanosecond is lost), ``wirelen`` (the frame's length, whatever the snap
length kept of it), ``sniffed_on`` (the capture point) and ``direction`` (2 leaves the guest, 1 goes to it). A frame's
identity and the length of its message have no place there: captures made of packets have neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..wire import ethernet
from . import schema as s
from .capture import Block, Capture

if TYPE_CHECKING:
    from scapy.packet import Packet

INBOUND, OUTBOUND = 1, 2
"""scapy's ``direction``, which is pcapng's ``epb_flags``."""
_DIRECTIONS = {OUTBOUND: s.DIRECTION_OF["tx"], INBOUND: s.DIRECTION_OF["rx"]}
_SCAPY = {number: name for name, number in _DIRECTIONS.items()}
SECOND = 10**9


def parse_frame(data: bytes, t_ns: int | None = None, link: int = s.ETHERNET) -> Packet:
    """A frame as scapy reads it: ``Ether``, or ``Dot3`` for an 802.3 length; what makes no sense in it, and what is too
    short for that, is ``Raw``. Frames of other link layers (:data:`.schema.LINKS`) are scapy's layer for that."""
    from scapy.config import conf
    from scapy.layers import dhcp, dhcp6, dns, inet6  # noqa: F401 - what is above IP is known once it was imported
    from scapy.packet import Raw
    from scapy.utils import EDecimal

    _, number = s.LINKS.get(link, ("", -1))
    layer: Any = conf.l2types.num2layer.get(number, Raw)
    try:
        packet = layer(data) if len(data) >= (ethernet.HEADER_SIZE if link == s.ETHERNET else 1) else Raw(data)
    except Exception:  # its innards report what they meet in many ways
        packet = Raw(data)
    if t_ns is not None:
        packet.time = EDecimal(t_ns) / SECOND
    return packet


def _link_of(packet: Any) -> int:
    """The link layer that a packet begins with; Ethernet for what has none and for bytes."""
    name = type(packet).__name__
    return {"IP": s.RAW_IP, "IPv6": s.RAW_IP, "Loopback": s.NULL, "CookedLinux": s.LINUX_SLL,
            "CookedLinuxV2": s.LINUX_SLL2}.get(name, s.ETHERNET)  # fmt: skip


def to_packets(capture: Capture, selection: Any = None) -> list[Packet]:
    """Frames of a capture as scapy packets, in the order asked for.

    Parameters
    ----------
    capture: where the bytes are.
    selection: which: rows of its ``frames()`` (any part of the DataFrame), frame numbers, or a boolean a frame; all by
        default. Rows of tunnel messages that hold no frame are left out.
    """
    descriptors = capture.descriptors()
    packets = []
    for number in _numbers(selection, len(descriptors)):
        row = descriptors[number - 1]
        if not row["cap_len"]:
            continue
        packet = parse_frame(capture.frame(number), int(row["t_ns"]), int(row["link"]))
        packet.wirelen = int(row["frame_len"])
        packet.sniffed_on = s.POINTS[row["point"]]
        packet.direction = _SCAPY.get(int(row["direction"]))
        packets.append(packet)
    return packets


def from_packets(packets: Iterable[Any]) -> Capture:
    """A capture of scapy packets, or of whole frames as bytes, in the order in which they come.

    A packet without its own attributes is seen at the point ``"nic"``, in no known direction, whole.
    """
    pieces: list[bytes] = []
    rows: list[tuple] = []
    at = 0
    for packet in _each(packets):
        data = frame_bytes(packet)
        point = s.POINT_OF.get(getattr(packet, "sniffed_on", None) or "", 0)
        direction = _DIRECTIONS.get(getattr(packet, "direction", None) or 0, s.UNKNOWN_DIRECTION)
        length = max(getattr(packet, "wirelen", None) or 0, len(data))
        rows.append(
            (_nanoseconds(getattr(packet, "time", 0)), at, len(data), length, point, direction, _link_of(packet))
        )
        pieces.append(data)
        at += len(data)
    index = np.zeros(len(rows), s.INDEX)
    for name, values in zip(("t_ns", "off", "cap_len", "frame_len", "point", "direction", "link"), zip(*rows)):
        index[name] = values
    raw = np.frombuffer(b"".join(pieces), np.uint8)
    block = Block(raw, index.view(np.uint8), 0, s.INDEX_SIZE, len(rows))
    return Capture((block,) if rows else ())


def frame_bytes(packet: Any) -> bytes:
    """The bytes of a packet, or of what is bytes already. :class:`UsageError` for what scapy cannot build."""
    if isinstance(packet, (bytes, bytearray, memoryview)):
        return bytes(packet)
    try:
        return bytes(packet)
    except Exception as error:  # whatever a field of a packet that a user made may raise
        raise UsageError(f"scapy cannot build this packet: {error or type(error).__name__}") from None


def _each(packets: Any) -> Iterator[Any]:
    from scapy.packet import Packet

    if isinstance(packets, (Packet, bytes, bytearray, memoryview)):
        yield packets
        return
    yield from packets


def _nanoseconds(time: Any) -> int:
    return int((Decimal(str(time)) * SECOND).to_integral_value())


def _numbers(selection: Any, count: int) -> list[int]:
    """Frame numbers, counted from 1, of what a user may mean by a selection."""
    if selection is None:
        return list(range(1, count + 1))
    if hasattr(selection, "columns"):
        if "frame_number" not in selection.columns:
            raise UsageError("a selection of frames needs the column frame_number")
        selection = selection["frame_number"]
    wanted = np.atleast_1d(np.asarray(selection))
    if wanted.dtype == bool:
        if len(wanted) != count:
            raise UsageError(f"a mask of {len(wanted):,} rows does not fit a capture of {count:,} frames")
        return (np.flatnonzero(wanted) + 1).tolist()
    if wanted.size == 0:
        return []
    try:
        numbers = wanted.astype(np.int64)
    except (TypeError, ValueError):
        raise UsageError("select frames by rows of frames(), by frame numbers or by a mask") from None
    if numbers.min() < 1 or numbers.max() > count:
        raise UsageError(f"frame numbers are 1 to {count:,}")
    return numbers.tolist()
