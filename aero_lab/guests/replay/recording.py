"""Which frames of a capture were sent by the host that is to be played, and when."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...capture import schema as s
from ...errors import UsageError
from ...wire import ethernet
from ...wire.address import is_link_local, mac_text

if TYPE_CHECKING:
    from ...capture import Capture

SHOWN = 6
"""Hosts that an error message names."""


@dataclass(frozen=True)
class Recording:
    """What one host sent.

    Parameters
    ----------
    frames: in the order of their times.
    times: nanoseconds since the first of them.
    mac: the address they come from; the most frequent one, if there are several.
    address, address6: the IP addresses that most of them come from, link-local ones aside.
    skipped: frames of the host that cannot be sent again, by reason.
    warning: where the file breaks off, if it does.
    """

    frames: tuple[bytes, ...]
    times: tuple[int, ...]
    mac: bytes
    address: bytes | None = None
    address6: bytes | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    warning: str | None = None

    @property
    def duration(self) -> int:
        """Nanoseconds from the first frame to the last."""
        return self.times[-1]


def read(source: Any, most: int, mac: bytes | None = None, direction: str | None = None) -> Recording:
    """The recording of one host in a capture.

    Parameters
    ----------
    source: a pcap or pcapng file, a capture, or rows of its frames.
    most: bytes of the largest frame that can be sent.
    mac: the host's address; needed where the capture does not tell which of several it is.
    direction: ``"tx"`` or ``"rx"``: frames that the capture says went this way.
    """
    from ...capture import load_pcap
    from ...capture.files import captured

    if direction is not None and direction not in s.DIRECTIONS:
        raise UsageError(f"direction must be 'tx' or 'rx', not {direction!r}")
    if isinstance(source, str | os.PathLike):
        try:
            capture = load_pcap(os.fspath(source))
        except OSError as error:
            raise UsageError(f"{os.fspath(source)}: cannot be read: {error.strerror or error}") from None
    else:
        capture = captured(source)
    return choose(capture, most, mac, direction)


def choose(capture: Capture, most: int, mac: bytes | None = None, direction: str | None = None) -> Recording:
    """See :func:`read`."""
    if not len(capture):
        raise UsageError("there is no frame in this capture")
    rows = capture.descriptors()
    points = set(np.unique(rows["point"]).tolist())
    # The same frame is seen at several points of a lab; the first of them has it as the host sent it.
    point = min(points)
    ways = set(np.unique(rows["direction"][rows["point"] == point]).tolist())
    way = s.DIRECTION_OF[direction] if direction is not None else None
    if way is None and mac is None and s.DIRECTION_OF["tx"] in ways:
        way = s.DIRECTION_OF["tx"]
    skipped: Counter[str] = Counter()
    sources: Counter[bytes] = Counter()
    found: list[tuple[int, bytes]] = []
    for row, data in _frames(capture):
        if row["point"] != point or (way is not None and row["direction"] != way):
            continue
        if row["link"] != s.ETHERNET or row["kind"] != 0:
            skipped["not-ethernet"] += 1
            continue
        if len(data) >= ethernet.HEADER_SIZE:
            if mac is not None and data[6:12] != mac:
                continue
            sources[data[6:12]] += 1
        if row["cap_len"] < row["frame_len"]:
            skipped["cut"] += 1
        elif len(data) < ethernet.HEADER_SIZE:
            skipped["short"] += 1
        elif len(data) > most:
            skipped["too-large"] += 1
        else:
            found.append((int(row["t_ns"]), data))
    if mac is None and len(sources) > 1:
        raise UsageError(f"which host? mac= one of {_listed(sources)}")
    if not found:
        raise UsageError(_nothing(mac, direction, skipped, capture))
    found.sort(key=lambda item: item[0])
    first = found[0][0]
    frames = tuple(data for _, data in found)
    times = tuple(when - first for when, _ in found)
    address, address6 = _addresses(frames)
    return Recording(frames, times, sources.most_common(1)[0][0], address, address6, dict(skipped), capture.warning)


def _frames(capture: Capture) -> Iterator[tuple[Any, bytes]]:
    for block in capture.blocks:
        for row in block.descriptors():
            at = int(row["off"])
            yield row, block.data[at : at + int(row["cap_len"])].tobytes()


def _listed(sources: Counter[bytes]) -> str:
    shown = [f"{mac_text(mac)} ({number} frames)" for mac, number in sources.most_common(SHOWN)]
    return ", ".join(shown) + (f" and {len(sources) - SHOWN} more" if len(sources) > SHOWN else "")


def _nothing(mac: bytes | None, direction: str | None, skipped: Counter[str], capture: Capture) -> str:
    whose = f" from {mac_text(mac)}" if mac is not None else f" with direction {direction}" if direction else ""
    if not skipped:
        return f"this capture holds no frame{whose}"
    why = {
        "cut": "were cut when they were captured (capture_snap= or capture_headers=)",
        "not-ethernet": "are no Ethernet frames",
        "short": "are shorter than an Ethernet header",
        "too-large": "are larger than this lab's MTU allows",
    }
    parts = ", ".join(f"{number} {why[reason]}" for reason, number in skipped.items())
    return f"no frame{whose} of this capture can be sent again: {parts}"


def _addresses(frames: tuple[bytes, ...]) -> tuple[bytes | None, bytes | None]:
    v4: Counter[bytes] = Counter()
    v6: Counter[bytes] = Counter()
    for frame in frames:
        at = 12
        while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
            at += ethernet.VLAN_TAG_SIZE
        kind, packet = frame[at : at + 2], frame[at + 2 : at + 42]
        if kind == b"\x08\x00" and len(packet) >= 20:
            v4[packet[12:16]] += 1
        elif kind == b"\x08\x06" and len(packet) >= 28:
            v4[packet[14:18]] += 1
        elif kind == b"\x86\xdd" and len(packet) == 40:
            v6[packet[8:24]] += 1
    for count, none in ((v4, bytes(4)), (v6, bytes(16))):
        del count[none]
        for address in [each for each in count if is_link_local(each)]:
            del count[address]
    most = [count.most_common(1)[0][0] if count else None for count in (v4, v6)]
    return most[0], most[1]
