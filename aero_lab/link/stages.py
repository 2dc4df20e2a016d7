"""The stages of a link: what one direction can do to a frame, as parameters.

A direction is a row of stages; each frame passes them in order, and each stage decides with a generator of its own. So
adding a stage, or changing what one does, leaves the decisions of the others as they were: two runs that differ in one
parameter differ by that parameter only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..bounds import AQM_FLOWS, AQM_FLOWS_MOST, AQM_INTERVAL_LEAST, AQM_QUANTUM, AQM_QUANTUM_LEAST, OUTAGE_MOST
from ..errors import UsageError
from ..limits import LINK_QUEUE, MS, NEVER, SECOND
from .chance import BITS, JITTER_MODELS, quantiles
from .traces import LossTrace, RateTrace
from .units import time_text

DELAY, LOSS, DUPLICATE, REORDER, CORRUPT, RATE, HOLD, GILBERT, LOSS_TRACE, OUTAGE, STALL, LINE = range(1, 13)
QUANTILE_BITS = BITS


AQM_TIMES = {
    "droptail": (MS, 100 * MS),
    "codel": (5 * MS, 100 * MS),
    "fq_codel": (5 * MS, 100 * MS),
    "pie": (15 * MS, 15 * MS),
}
"""Who looks after a queue, and the target and interval that the RFCs recommend (8289 section 4, 8033 section 5)."""


@dataclass(frozen=True)
class Stage:
    """Base of all stages."""

    kind: ClassVar[int]
    counter: ClassVar[str]
    """Name under which the frames that this stage acted on are counted."""

    def cells(self) -> dict[str, int]:
        """Parameters as the kernel wants them: ``p`` of 2^32, ``ns``, ``spread``, ``rate``, ``limit``."""
        raise NotImplementedError

    def table(self) -> bytes:
        """What the kernel has to look up."""
        return b""

    @property
    def counts(self) -> dict[str, str]:
        """What is counted, and in which cell."""
        return {self.counter: "hits"}


def _chance(p: float) -> int:
    if not 0.0 <= p <= 1.0:
        raise UsageError(f"a probability must lie between 0 and 1, not {p}")
    return int(p * (1 << 32))


def _time(ns: int) -> int:
    if not 0 <= ns < NEVER // 2:
        raise UsageError(f"a delay must not be negative, nor last for ever, not {ns} ns")
    return ns


@dataclass(frozen=True)
class Delay(Stage):
    """Frames take ``ns``, give or take ``jitter`` ns, as ``model`` says. Order is kept; :class:`Reorder` breaks it.

    ``uniform``: up to so much more or less. ``normal``: that is the standard deviation. ``exponential``, ``pareto``
    (shape 3, netem's tail): that is the mean of what comes on top. Nothing arrives before it was sent.
    """

    ns: int
    jitter: int = 0
    model: str = "uniform"
    kind = DELAY
    counter = "delayed"

    def cells(self) -> dict[str, int]:
        if self.model not in JITTER_MODELS:
            raise UsageError(f"jitter_model must be one of {', '.join(JITTER_MODELS)}, not {self.model!r}")
        most = SECOND if self.model in ("exponential", "pareto") else min(self.ns, SECOND)
        if not 0 <= self.jitter <= most:
            raise UsageError(f"jitter must lie between 0 and the delay, and below 1 s, not {self.jitter} ns")
        return {"ns": _time(self.ns), "spread": self.jitter}

    def table(self) -> bytes:
        return quantiles(self.model) if self.jitter else b""


@dataclass(frozen=True)
class Loss(Stage):
    """Each frame is dropped with probability ``p``."""

    p: float
    kind = LOSS
    counter = "lost"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p)}


@dataclass(frozen=True)
class GilbertElliott(Stage):
    """Losses in bursts: a good and a bad state, each with a chance of loss of its own (Gilbert 1960, Elliott 1963).

    A frame is lost with probability ``good`` or ``bad``, by the state; then the state changes with probability ``p``
    (good to bad) or ``r`` (bad to good). It begins good.
    """

    p: float
    r: float
    bad: float = 1.0
    good: float = 0.0
    kind = GILBERT
    counter = "lost"

    def cells(self) -> dict[str, int]:
        p, r, bad, good = (_chance(each) for each in (self.p, self.r, self.bad, self.good))
        return {"ns": p, "leave": r, "p_bad": bad, "p": good}

    @classmethod
    def of(cls, loss: float, burst: float) -> GilbertElliott:
        """The one that loses ``loss`` of all frames, ``burst`` in a row on average."""
        if loss >= 1.0 or burst < 1.0 or (p := loss / (burst * (1.0 - loss))) > 1.0:
            raise UsageError(f"{100 * loss:g}% of loss cannot come in bursts of {burst:g} frames on average")
        return cls(p, 1.0 / burst)

    @property
    def mean(self) -> float:
        """Share of frames lost in the long run."""
        there = self.p / (self.p + self.r) if self.p + self.r else 0.0
        return there * self.bad + (1.0 - there) * self.good


@dataclass(frozen=True)
class RecordedLoss(Stage):
    """Frames are lost as a recording says, which begins again at its end."""

    trace: LossTrace
    kind = LOSS_TRACE
    counter = "lost"

    def cells(self) -> dict[str, int]:
        return {"table_size": len(self.trace.lost)}

    def table(self) -> bytes:
        return self.trace.lost


@dataclass(frozen=True)
class Outage(Stage):
    """From ``first_ns`` on nothing passes for ``lasts_ns``, and again every ``every_ns`` (0: once).

    ``random``: ``first_ns`` is the mean time between outages and ``lasts_ns`` their mean length, both exponential.
    What comes meanwhile is lost; see :class:`Stall`.
    """

    first_ns: int
    lasts_ns: int
    every_ns: int = 0
    random: bool = False
    kind = OUTAGE
    counter = "outage"

    def cells(self) -> dict[str, int]:
        if self.lasts_ns < 1 or (self.random and self.first_ns < 1):
            raise UsageError("an outage takes time, and random ones some time in between")
        if self.every_ns and self.every_ns <= self.lasts_ns:
            raise UsageError("an outage must be over before it begins again")
        if max(self.first_ns, self.lasts_ns) > OUTAGE_MOST:
            raise UsageError(f"an outage begins and ends within {time_text(OUTAGE_MOST)}")
        return {"ns": _time(self.first_ns), "spread": _time(self.lasts_ns), "interval": _time(self.every_ns)}

    def table(self) -> bytes:
        return quantiles("exponential") if self.random else b""

    def __str__(self) -> str:
        times = (self.first_ns, self.lasts_ns, self.every_ns)
        text = "/".join(time_text(each) for each in times[: 2 if not self.every_ns else 3])
        return f"random/{text}" if self.random else text


@dataclass(frozen=True)
class Stall(Outage):
    """As :class:`Outage`, but what comes meanwhile waits until it is over, and comes then, all at once."""

    kind = STALL
    counter = "held"


@dataclass(frozen=True)
class Duplicate(Stage):
    """Each frame is followed by a copy with probability ``p``; the copy keeps its identity, its cause is DUPLICATE."""

    p: float
    kind = DUPLICATE
    counter = "duplicated"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p)}


@dataclass(frozen=True)
class Reorder(Stage):
    """Each frame is held back by ``by_ns`` with probability ``p``, and so is overtaken by those behind it."""

    p: float
    by_ns: int
    kind = REORDER
    counter = "reordered"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p), "ns": _time(self.by_ns)}


@dataclass(frozen=True)
class Hold(Stage):
    """Each frame is held back by ``by_ns`` with probability ``p``, and those behind it wait until it is out.

    So does an ordered, reliable transport with what it lost: it comes later, and holds up what was not lost.
    """

    p: float
    by_ns: int
    kind = HOLD
    counter = "held"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p), "ns": _time(self.by_ns)}


@dataclass(frozen=True)
class Corrupt(Stage):
    """One byte of the frame, anywhere in it, becomes another byte with probability ``p``."""

    p: float
    kind = CORRUPT
    counter = "corrupted"

    def cells(self) -> dict[str, int]:
        return {"p": _chance(self.p)}


@dataclass(frozen=True)
class Rate(Stage):
    """A line of ``bits_per_s`` behind a drop-tail queue of ``queue_bytes``.

    A frame takes its bits' time on the line, exact over any number of frames. It is dropped when what is still to be
    sent, the rest of the frame on the line included, and the frame itself exceed the queue; an idle line takes any
    frame.
    """

    bits_per_s: int
    queue_bytes: int = LINK_QUEUE
    kind = RATE
    counter = "queue_full"

    def cells(self) -> dict[str, int]:
        if self.bits_per_s < 1 or self.queue_bytes < 0:
            raise UsageError(f"a rate must be above zero and a queue not negative, not {self}")
        return {"rate": self.bits_per_s, "limit": min(self.queue_bytes * 8 * SECOND // self.bits_per_s, NEVER)}


@dataclass(frozen=True)
class Line(Stage):
    """A line of ``bits_per_s``, or one whose capacity was recorded, behind a queue of at most ``queue_bytes``.

    ``aqm`` looks after the queue: ``droptail`` nobody, ``codel`` (RFC 8289), ``fq_codel`` (RFC 8290), ``pie``
    (RFC 8033). A full queue drops what comes, FQ-CoDel the oldest frame of the longest flow. An idle line takes any
    frame.

    Parameters
    ----------
    target_ns, interval_ns: the delay that is aimed at; how long it may be exceeded, or for PIE the time between
        updates.
    ecn: mark frames whose sender takes part in it, in place of dropping them.
    flows, quantum: queues of FQ-CoDel, and the bytes that each may send in a round.
    """

    bits_per_s: int = 0
    trace: RateTrace | None = None
    queue_bytes: int = LINK_QUEUE
    aqm: str = "droptail"
    target_ns: int = 0
    interval_ns: int = 0
    ecn: bool = False
    flows: int = AQM_FLOWS
    quantum: int = AQM_QUANTUM
    kind = LINE
    counter = "queue_full"

    def cells(self) -> dict[str, int]:
        if self.aqm not in AQM_TIMES:
            raise UsageError(f"aqm must be one of {', '.join(AQM_TIMES)}, not {self.aqm!r}")
        if (self.bits_per_s > 0) == (self.trace is not None) or self.bits_per_s < 0 or self.queue_bytes < 0:
            raise UsageError(f"a line has a rate or a recording of it, and a queue that is not negative, not {self}")
        target, interval = self.times
        if not 0 < target <= SECOND * 10 or not AQM_INTERVAL_LEAST <= interval <= SECOND * 100:
            raise UsageError(
                f"aqm_target must lie above 0, aqm_interval between 1ms and 100s, not {target}, {interval} ns"
            )
        if not 1 <= self.flows <= AQM_FLOWS_MOST or not AQM_QUANTUM_LEAST <= self.quantum <= 1 << 20:
            raise UsageError(
                f"aqm_flows must lie between 1 and {AQM_FLOWS_MOST}, aqm_quantum between {AQM_QUANTUM_LEAST} and 1 MiB"
            )
        return {
            "rate": self.bits_per_s,
            "limit": self.queue_bytes,
            "mode": list(AQM_TIMES).index(self.aqm),
            "ns": target,
            "interval": interval,
            "ecn": int(self.ecn),
            "flows": self.flows if self.aqm == "fq_codel" else 1,
            "quantum": self.quantum,
            "table_size": len(self.trace.moments) if self.trace is not None else 0,
        }

    @property
    def times(self) -> tuple[int, int]:
        """Target and interval, the discipline's own where none is given."""
        target, interval = AQM_TIMES[self.aqm]
        return self.target_ns or target, self.interval_ns or interval

    def table(self) -> bytes:
        return b"" if self.trace is None else self.trace.table()

    @property
    def counts(self) -> dict[str, str]:
        managed = {"aqm_dropped": "dropped", "marked": "marked", "not_ect": "not_ect"}
        return {"queue_full": "hits"} | (managed if self.aqm != "droptail" else {})


STAGES: dict[str, Callable[..., Stage]] = {
    "stall": Stall,
    "rate": Rate,
    "line": Line,
    "outage": Outage,
    "loss": Loss,
    "gilbert": GilbertElliott,
    "loss_trace": RecordedLoss,
    "duplicate": Duplicate,
    "corrupt": Corrupt,
    "delay": Delay,
    "reorder": Reorder,
    "hold": Hold,
}
"""Stages by name, in the order in which :class:`~aero_lab.link.Link` puts them into a direction.

The line comes before what loses, so that lost frames have used it, as on a real path; a copy is corrupted independently
of its original. What an outage holds up waits before the line, whose queue it then meets all at once.
"""

STAGE_ORDER = (STALL, RATE, LINE, OUTAGE, LOSS, GILBERT, LOSS_TRACE, DUPLICATE, CORRUPT, DELAY, REORDER, HOLD)
"""The kinds in that order."""
