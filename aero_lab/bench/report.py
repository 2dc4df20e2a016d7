"""What a bench reports, as JSON that scripts rely on and as a table for people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ..errors import UsageError

SCHEMA = 1
Progress = Callable[[int, int, str], None]


class Named(Protocol):
    """A case of a bench: all that choosing needs."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)


def chosen(cases: Sequence[C], names: Sequence[str] | None) -> list[C]:
    """The cases whose names begin with one of ``names``, all when there are none; each name has to fit one."""
    for name in names or ():
        if not any(case.name.startswith(name) for case in cases):
            raise UsageError(f"no case {name!r}; there are: {', '.join(case.name for case in cases)}")
    return [case for case in cases if not names or case.name.startswith(tuple(names))]


@dataclass
class Result:
    """One case beside one peer. Values are medians of their samples."""

    case: str
    unit: str
    samples: list[float] = field(default_factory=list)
    peer: str | None = None
    """Name of the other implementation; None for a case that has none."""
    peer_samples: list[float] = field(default_factory=list)
    reason: str | None = None
    """Why there is no peer value."""
    more_is_better: bool = True
    per_call: int | None = None
    """Frames handed to a kernel in one call, where that matters."""
    note: str | None = None
    """What is to be known about the peer's figure."""
    most: float | None = None
    """What the value is to stay below, where that was set in advance."""
    least_ratio: float | None = None
    """What the ratio is to reach, where that was set in advance."""

    @property
    def value(self) -> float | None:
        return statistics.median(self.samples) if self.samples else None

    @property
    def peer_value(self) -> float | None:
        return statistics.median(self.peer_samples) if self.peer_samples else None

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's, turned so that above 1 is better for us."""
        if not self.value or not self.peer_value:
            return None
        return self.value / self.peer_value if self.more_is_better else self.peer_value / self.value

    @property
    def target(self) -> str | None:
        """What was set in advance, as text."""
        if self.most is not None:
            return f"< {self.most:g} {self.unit}"
        return None if self.least_ratio is None else f"ratio >= {self.least_ratio:g}"

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None without one, or without a figure."""
        if self.most is not None:
            return None if self.value is None else self.value < self.most
        return None if self.least_ratio is None or self.ratio is None else self.ratio >= self.least_ratio

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "case": self.case,
            "value": _rounded(self.value),
            "unit": self.unit,
            "samples": [_rounded(s) for s in self.samples],
            "peer": self.peer,
            "peer_value": _rounded(self.peer_value),
            "ratio": _rounded(self.ratio),
        }
        if self.peer_samples:
            found["peer_samples"] = [_rounded(s) for s in self.peer_samples]
        if self.reason is not None:
            found["reason"] = self.reason
        if self.note is not None:
            found["note"] = self.note
        if self.per_call is not None:
            found["per_call"] = self.per_call
        if self.target is not None:
            found |= {"target": self.target, "met": self.met}
        return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def document(name: str, results: Sequence[Result]) -> dict[str, Any]:
    """The JSON document: schema, bench, machine, results."""
    from ..experiment.record import machine

    return {"schema": SCHEMA, "bench": name, "machine": machine(), "results": [r.to_dict() for r in results]}


def table(found: dict[str, Any]) -> str:
    """A document as text, one line a case and peer; targets where any was set."""
    rows = [("case", "value", "unit", "peer", "peer's value", "ratio", "target", "met")]
    for r in found["results"]:
        missing = r.get("reason") or "-"
        peer_value = missing if r["peer_value"] is None else f"{r['peer_value']:,.4g}"
        ratio = "-" if r["ratio"] is None else f"{r['ratio']:,.3g}"
        value = "-" if r["value"] is None else f"{r['value']:,.0f}" if r["value"] >= 100 else f"{r['value']:.3g}"
        met = {True: "yes", False: "no", None: "-"}[r.get("met")]
        peer = (r["peer"] or "-", peer_value if r["peer"] else "-", ratio)
        rows.append((r["case"], value, r["unit"], *peer, r.get("target") or "-", met))
    if not any("target" in r for r in found["results"]):
        rows = [row[:-2] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = (False, True, False, False, True, True, False, False)
    lines = ["  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)).rstrip() for row in rows]
    return "\n".join(lines)
