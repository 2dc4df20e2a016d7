"""Where the bytes went: by cause, in total and over time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..limits import MS, SECOND, US
from .select import at_point, need, oriented

if TYPE_CHECKING:
    import pandas as pd

FRAMING = "tunnel_framing"
MOST_INTERVALS = 1_000_000
_UNITS = {"ns": 1, "us": US, "ms": MS, "s": SECOND, "min": 60 * SECOND}
NICE_INTERVALS = [m * 10**e for e in range(3, 12) for m in (1, 2, 5)]


def duration_ns(text: str | int | float) -> int:
    """``"10ms"``, ``"0.5s"`` or a number of seconds, in nanoseconds."""
    if isinstance(text, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ns|us|ms|s|min)\s*", text)
        if not match:
            raise UsageError(f"{text!r} is no duration: write for instance '10ms' or '0.5s'")
        value = round(float(match[1]) * _UNITS[match[2]])
    else:
        value = round(text * SECOND)
    if value <= 0:
        raise UsageError(f"a duration must be longer than 0, not {text!r}")
    return value


def _bytes(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of each row that its cause accounts for, and bytes of tunnel framing around it."""
    length = rows["frame_len"].to_numpy(np.int64)
    if "message_len" not in rows.columns:
        return length, np.zeros_like(length)
    message = rows["message_len"].fillna(0).to_numpy(np.int64)
    control = (message > 0) & (length == 0)
    return np.where(control, message, length), np.where((message > 0) & ~control, message - length, 0)


def by_cause(frames: pd.DataFrame, point: str | None = None) -> pd.DataFrame:
    """Frames and bytes by cause and direction at one point; the bytes add up to those on that wire, exactly.

    At the NIC a frame's bytes are its own. At the tunnel they are those of its message (``tunnel_bytes``), and the
    framing around the frame is a cause of its own. Columns: ``frames``, ``bytes``, ``share`` of the bytes. A direction
    that a capture does not tell is that of the flow's client (``tx``), of frames without a flow ``?``.
    """
    import pandas as pd

    need(frames, "frame_len", "cause")
    rows: Any = oriented(at_point(frames, point))
    own, framing = _bytes(rows)
    direction: Any = rows["direction"].astype(object).fillna("?")
    table: Any = pd.DataFrame({"cause": rows["cause"].astype(str), "direction": direction, "frames": 1, "bytes": own})
    extra: Any = pd.DataFrame({"cause": FRAMING, "direction": direction, "frames": 0, "bytes": framing})
    out: Any = (
        pd.concat([table, extra[framing > 0]]).groupby(["cause", "direction"], sort=True)[["frames", "bytes"]].sum()
    )
    total = int(out["bytes"].sum())
    assert total == int(own.sum() + framing.sum()), "the causes do not add up to the bytes on the wire"
    out["share"] = out["bytes"] / total if total else 0.0
    return out.sort_values("bytes", ascending=False)


def bytes_by_cause(rows: pd.DataFrame) -> dict[str, int]:
    """The bytes of :func:`by_cause` as plain numbers, the most first, of rows of one point and direction.

    What a sweep asks of every run: it looks at three columns and makes no table.
    """
    import pandas as pd

    own, framing = _bytes(rows)
    codes, names = pd.factorize(rows["cause"], use_na_sentinel=False)
    spent = np.zeros(len(names), np.int64)
    np.add.at(spent, codes, own)
    out = {str(name): int(number) for name, number in zip(names, spent)}
    if framing.any():
        out[FRAMING] = out.get(FRAMING, 0) + int(framing.sum())
    return dict(sorted(out.items(), key=lambda item: (-item[1], item[0])))


def interval_for(span_ns: int) -> int:
    """An interval with a round length that divides a span into 50 to 125 parts."""
    return next((nice for nice in NICE_INTERVALS if span_ns <= 125 * nice), NICE_INTERVALS[-1])


def bandwidth(
    frames: pd.DataFrame, interval: str | float | None = None, point: str | None = None, direction: str | None = None
) -> pd.DataFrame:
    """Megabits per second by cause over time.

    Parameters
    ----------
    interval: width of each step, as ``"10ms"`` or in seconds; a round one that gives about 100 steps when None.
    point: ``"nic"``, ``"tunnel"`` or ``"egress"``; the first that was recorded when None.
    direction: ``"tx"`` or ``"rx"``; both together when None. In captures that do not tell the direction, ``tx`` is
        what the client of each flow sent.

    Returns one row an interval, indexed by its start in seconds since the first frame (``time_s``), and one column a
    cause in Mbit/s. ``attrs["interval_ns"]`` is the interval. Each column times the interval adds up to the bytes of
    its cause.
    """
    import pandas as pd

    need(frames, "frame_time", "frame_len", "cause")
    rows: Any = at_point(frames, point)
    if direction is not None:
        rows = oriented(rows)
        rows = rows[rows["direction"] == direction]
    times = rows["frame_time"].to_numpy(np.int64)
    start = int(times.min()) if len(times) else 0
    span = int(times.max()) - start + 1 if len(times) else 1
    width = duration_ns(interval) if interval is not None else interval_for(span)
    steps = (span + width - 1) // width
    if steps > MOST_INTERVALS:
        raise UsageError(f"an interval of {width} ns would give {steps} steps; the most is {MOST_INTERVALS}")
    step = (times - start) // width
    own, framing = _bytes(rows)
    names = rows["cause"].astype(str).to_numpy()
    columns = {name: np.bincount(step[names == name], own[names == name], steps) for name in np.unique(names)}
    if framing.any():
        columns[FRAMING] = columns.get(FRAMING, 0) + np.bincount(step, framing, steps)
    order = sorted(columns, key=lambda name: -columns[name].sum())
    table: Any = pd.DataFrame({name: columns[name] * 8e3 / width for name in order})
    table.index = pd.Index(np.arange(steps) * (width / SECOND), name="time_s")
    table.attrs["interval_ns"] = width
    return table
