"""What a dashboard shows of a lab: samples, and what follows from two of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..capture import schema as s
from ..errors import UsageError
from ..limits import SECOND

FLOWS_SHOWN = 12
"""Newest live flows of which rows are made; the rest are only counted."""
KEPT = 240
"""Samples kept: a minute of them."""
SMOOTH = 4
"""Samples that a figure is an average of: a second."""
WINDOW = 40
"""Samples that a ratio is taken over: ten seconds."""
FRAMES_AT_ONCE = 20_000
"""Newest frames between two samples that are looked at for acknowledgements."""


@dataclass(frozen=True)
class Sample:
    """A lab at one moment. Counters since its beginning; what cannot be known is None."""

    now: int
    """Nanoseconds of the lab's clock."""
    frames_up: int = 0
    frames_down: int = 0
    bytes_up: int = 0
    """Bytes of Ethernet frames from the guests; ``bytes_down`` to them."""
    bytes_down: int = 0
    data_segments: int = 0
    pure_acks: int = 0
    """Counted among the recorded frames at the NIC."""
    rtt: float | None = None
    """Median of the proxy's smoothed round-trip times to the guests (ns), else of the tunnels' last PING."""
    drops: dict[str, int] = field(default_factory=dict)
    flows: tuple[dict[str, Any], ...] = ()
    """Rows of the newest live flows."""
    live_flows: int = 0
    recording: bool = False
    recorded: int = 0
    recorded_bytes: int = 0
    guests: int = 0


class AckCounter:
    """Pure ACKs and data segments at the NIC, counted as frames come into a recorder."""

    def __init__(self) -> None:
        self.data_segments = 0
        self.pure_acks = 0
        self._seen = 0

    def look(self, recorder: Any) -> None:
        """Count what was recorded since the last call (the newest :data:`FRAMES_AT_ONCE` of it)."""
        seen = recorder.seen
        if seen < self._seen:  # it was cleared
            self._seen = 0
        blocks, self._seen, _ = recorder.since(max(self._seen, seen - FRAMES_AT_ONCE))
        for block in blocks:
            data, pure = count_acks(block.data, block.descriptors())
            self.data_segments += data
            self.pure_acks += pure


def count_acks(data: np.ndarray, rows: np.ndarray) -> tuple[int, int]:
    """TCP segments with payload, and those that only acknowledge, among frames at the NIC."""
    rows = rows[(rows["point"] == s.POINT_OF["nic"]) & (rows["kind"] == 0) & (rows["cap_len"] >= 54)]
    if not len(rows):
        return 0, 0
    off, end = rows["off"], rows["off"] + rows["cap_len"].astype(np.int64)
    kind = _u16(data, off + 12)
    old = (kind == 0x0800) & (data[off + 23] == 6)
    new = (kind == 0x86DD) & (data[off + 20] == 6)
    header = np.where(old, (data[off + 14] & 15).astype(np.int64) * 4, 40)
    size = np.where(old, _u16(data, off + 16) - header, _u16(data, off + 18))
    tcp = off + 14 + header
    whole = (old | new) & (tcp + 14 <= end)
    tcp, size = tcp[whole], size[whole]
    payload = size - (data[tcp + 12] >> 4).astype(np.int64) * 4
    flags = data[tcp + 13] & 0x17
    return int((payload > 0).sum()), int(((payload == 0) & (flags == 0x10)).sum())


def _u16(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    return (data[at].astype(np.int64) << 8) | data[at + 1]


def take(lab: Any, acks: AckCounter) -> Sample:
    """A sample of a lab, from any thread. Raises :class:`~aero_lab.engine.EngineStopped` when it is closed."""
    recorder = lab.capture
    acks.look(recorder)
    counted = recorder.counters
    live = lab._engine.call(_collect, lab)
    drops = Counter({f"capture: {_words(reason)}": number for reason, number in recorder.drops.items()})
    drops["capture: too late for the file"] = lab.capture_stream.lost if lab.capture_stream is not None else 0
    drops = drops + live.pop("drops")
    return Sample(
        data_segments=acks.data_segments,
        pure_acks=acks.pure_acks,
        drops=dict(sorted(drops.items(), key=lambda item: (-item[1], item[0]))),
        recording=recorder.enabled,
        recorded=counted["frames"],
        recorded_bytes=counted["bytes"],
        **live,
    )


def _collect(lab: Any) -> dict[str, Any]:
    """On the engine's thread, between two turns of its nodes: what they count."""
    sums: Counter[str] = Counter()
    drops: Counter[str] = Counter()
    trips: list[float] = []
    pings: list[float] = []
    flows: list[dict[str, Any]] = []
    live = 0
    for guest in lab.guests:
        client = guest._client
        counters = client.counters
        sent, got = client.frame_bytes
        sums.update(
            frames_up=counters["frames_wrapped"],
            frames_down=counters["frames_unwrapped"],
            bytes_up=sent,
            bytes_down=got,
        )
        for name in ("frame_too_large", "never_fits", "reply_queue_full", "invalid_magic", "too_short"):
            drops[f"tunnel: {_words(name)}"] += counters.get(name, 0)
        for side, link in zip(("up", "down"), guest._links):
            for reason in ("lost", "queue_full", "oversize"):
                drops[f"link {side}: {_words(reason)}"] += getattr(link, "counters", {}).get(reason, 0)
        if client.rtt is not None:
            pings.append(client.rtt)
        try:
            lan = guest.lan
        except UsageError:  # behind another proxy, which alone knows
            continue
        trips += lan.stack.round_trips()
        for reason, count in lan.drops.items():
            drops[f"proxy: {_words(reason.removeprefix('stack.drop.'))}"] += count
        live += len(lan.flows.live)
        flows += [{"guest_name": guest.name, **record.row()} for record in _newest(lan.flows.live)]
    flows.sort(key=lambda row: -row["opened_at"])
    measured = trips or pings
    return {
        "now": lab._engine.now(),
        **{name: sums[name] for name in ("frames_up", "frames_down", "bytes_up", "bytes_down")},
        "rtt": float(np.median(measured)) if measured else None,
        "drops": +drops,
        "flows": tuple(flows[:FLOWS_SHOWN]),
        "live_flows": live,
        "guests": len(lab.guests),
    }


def _newest(live: dict[int, Any]) -> Iterator[Any]:
    return islice(reversed(live.values()), FLOWS_SHOWN)


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", " ").replace("-", " ")


class History:
    """The last samples, and the rates between them."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.up: deque[float] = deque(maxlen=KEPT - 1)
        self.down: deque[float] = deque(maxlen=KEPT - 1)

    def add(self, sample: Sample) -> None:
        """Take the next sample. One of the same moment replaces the last: in virtual time nothing passed between."""
        last = self.samples[-1] if self.samples else None
        if last is not None and sample.now <= last.now:
            self.samples[-1] = sample
            return
        self.samples.append(sample)
        if last is None:
            return
        seconds = (sample.now - last.now) / SECOND
        self.up.append(8 * max(0, sample.bytes_up - last.bytes_up) / seconds)
        self.down.append(8 * max(0, sample.bytes_down - last.bytes_down) / seconds)

    def rate(self, counter: str) -> float:
        """By how much a counter grew in a second of the lab's time, over the last :data:`SMOOTH` samples."""
        if len(self.samples) < 2:
            return 0.0
        first, last = self.samples[max(0, len(self.samples) - 1 - SMOOTH)], self.samples[-1]
        grown = getattr(last, counter) - getattr(first, counter)
        return max(0, grown) * SECOND / (last.now - first.now)

    @property
    def ages(self) -> list[float]:
        """How many seconds of the lab's time each sample is old, the oldest first: between two of them lies a rate."""
        return [(self.samples[-1].now - sample.now) / SECOND for sample in self.samples]

    @property
    def acks_per_data_segment(self) -> float | None:
        """Over the last :data:`WINDOW` samples; None when no data passed in them, or nothing was recorded."""
        if not self.samples:
            return None
        first = self.samples[max(0, len(self.samples) - WINDOW)]
        last = self.samples[-1]
        data = last.data_segments - first.data_segments
        return (last.pure_acks - first.pure_acks) / data if data > 0 else None
