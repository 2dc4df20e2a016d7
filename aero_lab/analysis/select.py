"""What the analyses share: which rows to look at, and how many bytes each cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

ORDER = ("nic", "tunnel", "egress")


def need(frames: pd.DataFrame, *columns: str) -> None:
    """Say plainly which columns are missing."""
    missing = [name for name in columns if name not in frames.columns]
    if missing:
        raise UsageError(f"these frames lack the columns {', '.join(missing)}")


def at_point(frames: pd.DataFrame, point: str | None = None) -> pd.DataFrame:
    """Rows of one capture point: the given one, else the first of nic, tunnel and egress that was recorded.

    A frame has a row at each point it passed, so figures over all rows would count it more than once.
    """
    if "point" not in frames.columns:
        return frames
    if point is None:
        seen = set(frames["point"].unique())
        point = next((name for name in ORDER if name in seen), None)
        if point is None:
            return frames
    elif point not in ORDER:
        raise UsageError(f"no capture point {point!r}: there are {', '.join(ORDER)}")
    chosen: Any = frames[frames["point"] == point]  # pandas' own annotation also allows a Series
    return chosen
