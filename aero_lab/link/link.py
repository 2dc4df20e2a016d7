"""What a link is, as one value a user writes down: ``Link(rtt="40ms", loss=0.01)``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..bounds import AQM_QUEUE
from ..errors import UsageError
from ..limits import LINK_BYTES, LINK_BYTES_MAX, LINK_BYTES_MIN, LINK_QUEUE, MS, SECOND
from ..rings.frame_ring import FrameRing
from .direction import LinkDirection, Random
from .knobs import KNOBS, UP_DOWN, yes_no
from .profiles import PROFILES
from .stages import (
    Corrupt,
    Delay,
    Duplicate,
    GilbertElliott,
    Hold,
    Line,
    Loss,
    Rate,
    RecordedLoss,
    Reorder,
    Stage,
    Stall,
)
from .units import nanoseconds

NOTHING = "no impairment"
REORDER_BY = 1 * MS
"""How long a reordered frame is held back when the link names neither a time nor a delay."""


@dataclass(frozen=True)
class Link:
    """The path between two places, both directions of it.

    Every parameter but ``rtt``, ``reorder_by`` and ``ordered`` is either one value for both directions or a pair
    ``(up, down)``, where *up* is from the guest to the world. Values are numbers in base units (ns, bytes, bit/s, 0..1)
    or text: ``"40ms"``, ``"64KiB"``, ``"10Mbit/s"``, ``"1%"``. After construction they are numbers, or pairs of them.

    Parameters
    ----------
    rtt: round-trip time, half of it in each direction; :meth:`build` gives an odd nanosecond to the way down.
    loss: probability that a frame is lost, each for itself.
    rate: line rate in bits of frames per second; None is unlimited.
    queue: drop-tail queue before the line, in bytes (64 KiB when a rate is given without one).
    duplicate: probability that a frame arrives twice.
    reorder: probability that a frame is held back by ``reorder_by`` (a quarter of the RTT when not given).
    corrupt: probability that one byte of a frame becomes another.
    jitter: most that a frame's delay deviates from half the RTT, uniform; order is kept.
    ordered: frames come out in the order in which they went in, so that one that ``reorder`` holds back holds up all
        behind it: the head-of-line blocking of a reliable transport, where what is lost comes later instead of never.
    aqm: who looks after the queue before the line: ``codel``, ``fq_codel``, ``pie``, or nobody (None, ``droptail``).
        ``queue`` is then its limit (1000 packets' worth when not given).
    ecn: mark packets in place of dropping them, where their sender takes part in that.
    aqm_target, aqm_interval: the delay aimed at (5 ms, PIE 15 ms); how long it may be exceeded (100 ms), or PIE's time
        between updates (15 ms).
    aqm_flows, aqm_quantum: queues of FQ-CoDel (1024), and the bytes each may send in a round (1514).
    loss_burst: frames that are lost in a row, on average; ``loss`` stays the share of all that are lost.
    gilbert: losses by the model of Gilbert and Elliott: ``"1%/30%/100%/0%"`` are the chances of good to bad and bad to
        good after each frame, and of loss in the bad and in the good state (100% and 0% when left away).
    loss_trace: which frames are lost: a file of 0 and 1, or such digits; from the start again at its end.
    rate_trace: the line's capacity, recorded, in place of ``rate``: a file in mahimahi's format (each line the
        millisecond at which 1504 bytes may leave), or milliseconds: ``"1/3/3/7"``. From the start again at its end.
    jitter_model: ``uniform``; ``normal``, where ``jitter`` is the standard deviation; ``exponential`` or ``pareto``,
        where it is the mean of what comes on top.
    outage: nothing passes: ``"5s/200ms/10s"`` from 5 s on, for 200 ms, every 10 s (once, when left away);
        ``"random/30s/2s"`` after 30 s on average for 2 s on average.
    outage_mode: what comes meanwhile is lost (``lose``) or waits for the end (``hold``).
    """

    rtt: Any = 0
    loss: Any = 0.0
    rate: Any = None
    queue: Any = None
    duplicate: Any = 0.0
    reorder: Any = 0.0
    corrupt: Any = 0.0
    jitter: Any = 0
    reorder_by: Any = None
    ordered: Any = False
    aqm: Any = None
    ecn: Any = False
    aqm_target: Any = None
    aqm_interval: Any = None
    aqm_flows: Any = None
    aqm_quantum: Any = None
    loss_burst: Any = None
    gilbert: Any = None
    loss_trace: Any = None
    rate_trace: Any = None
    jitter_model: Any = "uniform"
    outage: Any = None
    outage_mode: Any = "lose"

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "rtt", nanoseconds(self.rtt, "rtt"))
        if self.reorder_by is not None:
            keep(self, "reorder_by", nanoseconds(self.reorder_by, "reorder_by"))
        for name, knob in UP_DOWN.items():
            value = getattr(self, name)
            if isinstance(value, (tuple, list)):
                if len(value) != 2:
                    raise UsageError(f"{name} takes one value or a pair (up, down), not {value!r}")
                pair = tuple(None if each is None else knob.read(each, name) for each in value)
                value = pair[0] if pair[0] == pair[1] else pair
            elif value is not None:
                value = knob.read(value, name)
            keep(self, name, value)
        keep(self, "ordered", yes_no(self.ordered, "ordered"))
        for side in (0, 1):
            self._agrees(side)
            self.stages(side)  # refuses what cannot be built, here and not at the first frame

    def _agrees(self, side: int) -> None:
        """Parameters that mean nothing without others, or contradict them."""
        rate, trace, aqm = (self._of(name, side) for name in ("rate", "rate_trace", "aqm"))
        if rate is not None and trace is not None:
            raise UsageError("rate and rate_trace are two answers to one question: give one of them")
        line = rate is not None or trace is not None
        if self._of("queue", side) is not None and not line:
            raise UsageError("a queue needs a rate to fill it: give rate= too")
        if aqm is not None and not line:
            raise UsageError("aqm looks after a queue, which needs a rate to fill it: give rate= or rate_trace= too")
        for name in ("ecn", "aqm_target", "aqm_interval", "aqm_flows", "aqm_quantum"):
            if self._of(name, side) and aqm is None:
                raise UsageError(f"{name} says how a queue is looked after: give aqm= too")
        if 0 in (self._of("aqm_target", side), self._of("aqm_interval", side)):
            raise UsageError("aqm_target and aqm_interval must be above 0")

    @classmethod
    def parse(cls, text: str) -> Link:
        """A link from one line, as command lines take it: ``"rtt=40ms, loss=1%, rate=50kbit/s:10Mbit/s"``.

        A colon separates up from down. ``"40ms rtt, loss 1%"`` is understood too, and so are the names of
        :data:`~aero_lab.link.profiles.PROFILES`.
        """
        text = PROFILES.get(text.strip(), text)
        if text == NOTHING:
            text = ""
        names = {f.name for f in fields(cls)}
        given: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            words = part.replace("=", " ", 1).split()
            if len(words) != 2 or not names & set(words):
                raise UsageError(f"a link is written like 'rtt=40ms, loss=1%'; {part!r} is not one of {sorted(names)}")
            name, value = words if words[0] in names else reversed(words)
            if name in given:
                raise UsageError(f"a link names {name} once")
            ways = tuple(None if way == "none" else way for way in value.split(":"))
            given[name] = ways if len(ways) > 1 else value
        return cls(**given)

    @classmethod
    def of(cls, link: Any) -> Link | None:
        """What a user may give for a link: a link, one line of text, or None for no link at all."""
        if isinstance(link, str):
            return cls.parse(link)
        if link is not None and not isinstance(link, Link):
            raise UsageError(f"a link is a Link or text such as 'rtt=40ms, loss=1%', not {link!r}")
        return link

    def to_dict(self) -> dict[str, Any]:
        """Parameters in base units under names that say so, fit for JSON; a pair is a list ``[up, down]``."""
        out = {}
        defaults = {f.name: f.default for f in fields(self)}
        for name, knob in KNOBS.items():
            value = getattr(self, name)
            if knob.always or value != defaults[name]:  # files of links that are as they always were stay as they were
                saved = [None if each is None else knob.save(each) for each in _ways(value)]
                out[knob.key] = saved if len(saved) > 1 else saved[0]
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Link:
        """The inverse of :meth:`to_dict`."""
        unknown = set(values) - {knob.key for knob in KNOBS.values()}
        if unknown:
            raise UsageError(f"a link has no {', '.join(sorted(unknown))}")
        return cls(**{name: values[knob.key] for name, knob in KNOBS.items() if knob.key in values})

    def _of(self, name: str, side: int) -> Any:
        value = getattr(self, name)
        return value[side] if isinstance(value, tuple) else value

    def delay(self, side: int) -> int:
        """Nanoseconds one way: side 0 is up, 1 is down."""
        return self.rtt // 2 + (self.rtt % 2 if side else 0)

    def stages(self, side: int) -> tuple[Stage, ...]:
        """The stages of one direction (0 up, 1 down), in the order of :data:`~aero_lab.link.stages.STAGES`."""
        row: list[Stage] = []
        outage, hold = self._of("outage", side), self._of("outage_mode", side) == "hold"
        if outage is not None and hold:
            row.append(Stall(outage.first_ns, outage.lasts_ns, outage.every_ns, outage.random))
        if (line := self._line(side)) is not None:
            row.append(line)
        if outage is not None and not hold:
            row.append(outage)
        row += self._losses(side)
        for name, make in (("duplicate", Duplicate), ("corrupt", Corrupt)):
            p = self._of(name, side)
            if p:
                row.append(make(p))
        if self.delay(side) or self._of("jitter", side):
            row.append(Delay(self.delay(side), self._of("jitter", side) or 0, self._of("jitter_model", side)))
        if self._of("reorder", side):
            row.append((Hold if self.ordered else Reorder)(self._of("reorder", side), self._hold_back()))
        for stage in row:
            stage.cells()
        return tuple(row)

    def _line(self, side: int) -> Stage | None:
        rate, trace, aqm = (self._of(name, side) for name in ("rate", "rate_trace", "aqm"))
        if trace is None and aqm is None:
            return None if rate is None else Rate(rate, self._queue(side))
        given = {
            "target_ns": self._of("aqm_target", side),
            "interval_ns": self._of("aqm_interval", side),
            "flows": self._of("aqm_flows", side),
            "quantum": self._of("aqm_quantum", side),
        }
        settings = {name: value for name, value in given.items() if value is not None}
        ecn = bool(self._of("ecn", side))
        return Line(rate or 0, trace, self._queue(side), aqm or "droptail", ecn=ecn, **settings)

    def _queue(self, side: int) -> int:
        queue = self._of("queue", side)
        if queue is not None:
            return queue
        return LINK_QUEUE if self._of("aqm", side) is None else AQM_QUEUE

    def _losses(self, side: int) -> list[Stage]:
        row: list[Stage] = []
        loss, burst = self._of("loss", side), self._of("loss_burst", side)
        if loss:
            row.append(Loss(loss) if burst is None else GilbertElliott.of(loss, burst))
        for name, make in (("gilbert", _plain), ("loss_trace", RecordedLoss)):
            value = self._of(name, side)
            if value is not None:
                row.append(make(value))
        return row

    def _hold_back(self) -> int:
        if self.reorder_by is not None:
            return self.reorder_by
        return self.rtt // 4 or REORDER_BY

    def in_flight_bytes(self, side: int) -> int:
        """Memory for frames in flight: what rate, delay and queue can hold, or a bound when there is no rate."""
        rate, queue = self._of("rate", side), self._queue(side)
        if rate is None:
            trace = self._of("rate_trace", side) is not None
            return min(max(LINK_BYTES, 2 * queue if trace else 0), LINK_BYTES_MAX) & ~7
        time = self.delay(side) + (self._of("jitter", side) or 0) + self._hold_back()
        need = 2 * (rate * time // (8 * SECOND) + queue)
        return min(max(need, LINK_BYTES_MIN), LINK_BYTES_MAX) & ~7

    def build(
        self,
        rng: Random,
        up: tuple[FrameRing, FrameRing] | None = None,
        down: tuple[FrameRing, FrameRing] | None = None,
        medium: str = "message",
        start: int = 0,
    ) -> tuple[LinkDirection, LinkDirection]:
        """The two directions, up and down, as nodes for a scheduler.

        Parameters
        ----------
        rng: seeded generator; two numbers are drawn from it, whatever the parameters.
        up, down: rings ``(input, output)`` to stand between, for instance ``(guest.tx, far.rx)`` and
            ``(far.tx, guest.rx)``, which saves copying. Made when absent.
        medium: what frames begin with: an ``ip`` or an ``ethernet`` header, which FQ-CoDel sorts by and ECN marks, or
            nothing that a router could read (``message``): they are then sorted by the flow their descriptor names.
        start: the time, in nanoseconds, from which recordings and outages count.
        """
        made = []
        for side, rings in enumerate((up, down)):
            source, target = rings if rings is not None else (None, None)
            name = f"link {'down' if side else 'up'}"
            arena = self.in_flight_bytes(side)
            stages = self.stages(side)
            made.append(LinkDirection(stages, rng, source, target, arena=arena, name=name, medium=medium, start=start))
        return made[0], made[1]

    @property
    def name(self) -> str:
        """The name it has among :data:`~aero_lab.link.profiles.PROFILES`, or itself in one line."""
        text = str(self)
        return next((name for name, what in PROFILES.items() if what and str(Link.parse(what)) == text), text)

    def __str__(self) -> str:
        words = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                show = KNOBS[f.name].show
                words.append(f"{f.name}={':'.join('none' if each is None else show(each) for each in _ways(value))}")
        return ", ".join(words) or NOTHING


def _ways(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _plain(value: Stage) -> Stage:
    return value
