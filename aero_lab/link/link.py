"""What a link is, as one value a user writes down: ``Link(rtt="40ms", loss=0.01)``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import UsageError
from ..limits import LINK_BYTES, LINK_BYTES_MAX, LINK_BYTES_MIN, LINK_QUEUE, MS, SECOND
from ..rings.frame_ring import FrameRing
from .direction import LinkDirection, Random
from .profiles import PROFILES
from .stages import Corrupt, Delay, Duplicate, Hold, Loss, Rate, Reorder, Stage
from .units import bits_per_second, byte_count, nanoseconds, probability, rate_text, size_text, time_text

REORDER_BY = 1 * MS
"""How long a reordered frame is held back when the link names neither a time nor a delay."""

_UP_DOWN = {
    "loss": probability,
    "rate": bits_per_second,
    "queue": byte_count,
    "duplicate": probability,
    "reorder": probability,
    "corrupt": probability,
    "jitter": nanoseconds,
}
_KEYS = {
    "rtt": "rtt_ns",
    "loss": "loss",
    "rate": "rate_bits_per_s",
    "queue": "queue_bytes",
    "duplicate": "duplicate",
    "reorder": "reorder",
    "corrupt": "corrupt",
    "jitter": "jitter_ns",
    "reorder_by": "reorder_by_ns",
    "ordered": "ordered",
}
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


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

    def __post_init__(self) -> None:
        keep = object.__setattr__
        keep(self, "rtt", nanoseconds(self.rtt, "rtt"))
        if self.reorder_by is not None:
            keep(self, "reorder_by", nanoseconds(self.reorder_by, "reorder_by"))
        for name, read in _UP_DOWN.items():
            value = getattr(self, name)
            if isinstance(value, (tuple, list)):
                if len(value) != 2:
                    raise UsageError(f"{name} takes one value or a pair (up, down), not {value!r}")
                pair = tuple(None if each is None else read(each, name) for each in value)
                value = pair[0] if pair[0] == pair[1] else pair
            elif value is not None:
                value = read(value, name)
            keep(self, name, value)
        ordered = _YES_NO.get(self.ordered) if isinstance(self.ordered, str) else self.ordered
        if not isinstance(ordered, bool):
            raise UsageError(f"ordered is yes or no, not {self.ordered!r}")
        keep(self, "ordered", ordered)
        for side in (0, 1):
            if self._of("queue", side) is not None and self._of("rate", side) is None:
                raise UsageError("a queue needs a rate to fill it: give rate= too")
            self.stages(side)  # refuses what cannot be built, here and not at the first frame

    @classmethod
    def parse(cls, text: str) -> Link:
        """A link from one line, as command lines take it: ``"rtt=40ms, loss=1%, rate=50kbit/s:10Mbit/s"``.

        A colon separates up from down. ``"40ms rtt, loss 1%"`` is understood too, and so are the names of
        :data:`~aero_lab.link.profiles.PROFILES`.
        """
        text = PROFILES.get(text.strip(), text)
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

    def to_dict(self) -> dict[str, Any]:
        """Parameters in base units under names that say so, fit for JSON; a pair is a list ``[up, down]``."""
        out = {}
        for name, key in _KEYS.items():
            value = getattr(self, name)
            if name != "ordered" or value:  # the files of links that are as they always were stay as they were
                out[key] = list(value) if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Link:
        """The inverse of :meth:`to_dict`."""
        unknown = set(values) - set(_KEYS.values())
        if unknown:
            raise UsageError(f"a link has no {', '.join(sorted(unknown))}")
        return cls(**{name: values[key] for name, key in _KEYS.items() if key in values})

    def _of(self, name: str, side: int) -> Any:
        value = getattr(self, name)
        return value[side] if isinstance(value, tuple) else value

    def delay(self, side: int) -> int:
        """Nanoseconds one way: side 0 is up, 1 is down."""
        return self.rtt // 2 + (self.rtt % 2 if side else 0)

    def stages(self, side: int) -> tuple[Stage, ...]:
        """The stages of one direction (0 up, 1 down), in the order of :data:`~aero_lab.link.stages.STAGES`."""
        row: list[Stage] = []
        rate, queue = self._of("rate", side), self._of("queue", side)
        if rate is not None:
            row.append(Rate(rate, LINK_QUEUE if queue is None else queue))
        for name, make in (("loss", Loss), ("duplicate", Duplicate), ("corrupt", Corrupt)):
            p = self._of(name, side)
            if p:
                row.append(make(p))
        if self.delay(side) or self._of("jitter", side):
            row.append(Delay(self.delay(side), self._of("jitter", side) or 0))
        if self._of("reorder", side):
            row.append((Hold if self.ordered else Reorder)(self._of("reorder", side), self._hold_back()))
        for stage in row:
            stage.cells()
        return tuple(row)

    def _hold_back(self) -> int:
        if self.reorder_by is not None:
            return self.reorder_by
        return self.rtt // 4 or REORDER_BY

    def in_flight_bytes(self, side: int) -> int:
        """Memory for frames in flight: what rate, delay and queue can hold, or a bound when there is no rate."""
        rate, queue = self._of("rate", side), self._of("queue", side)
        if rate is None:
            return LINK_BYTES
        time = self.delay(side) + (self._of("jitter", side) or 0) + self._hold_back()
        need = 2 * (rate * time // (8 * SECOND) + (LINK_QUEUE if queue is None else queue))
        return min(max(need, LINK_BYTES_MIN), LINK_BYTES_MAX) & ~7

    def build(
        self,
        rng: Random,
        up: tuple[FrameRing, FrameRing] | None = None,
        down: tuple[FrameRing, FrameRing] | None = None,
    ) -> tuple[LinkDirection, LinkDirection]:
        """The two directions, up and down, as nodes for a scheduler.

        Parameters
        ----------
        rng: seeded generator; two numbers are drawn from it, whatever the parameters.
        up, down: rings ``(input, output)`` to stand between, for instance ``(guest.tx, far.rx)`` and
            ``(far.tx, guest.rx)``, which saves copying. Made when absent.
        """
        made = []
        for side, rings in enumerate((up, down)):
            source, target = rings if rings is not None else (None, None)
            name = f"link {'down' if side else 'up'}"
            arena = self.in_flight_bytes(side)
            made.append(LinkDirection(self.stages(side), rng, source, target, arena=arena, name=name))
        return made[0], made[1]

    def __str__(self) -> str:
        show = {
            "rtt": time_text,
            "jitter": time_text,
            "reorder_by": time_text,
            "rate": rate_text,
            "queue": size_text,
        }
        words = []
        for f in fields(self):
            value = getattr(self, f.name)
            if value == f.default:
                continue
            if f.name == "ordered":
                words.append("ordered=yes")
                continue
            one = show.get(f.name, lambda p: f"{100 * p:g}%")
            pair = value if isinstance(value, tuple) else (value,)
            words.append(f"{f.name}={':'.join('none' if each is None else one(each) for each in pair)}")
        return ", ".join(words) or "no impairment"
