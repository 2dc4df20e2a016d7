"""The parameters of a :class:`~aero_lab.link.Link`: how each is read, shown, and called in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from .chance import JITTER_MODELS
from .stages import AQM_TIMES, GilbertElliott, Outage
from .traces import LossTrace, RateTrace
from .units import (
    bits_per_second,
    byte_count,
    nanoseconds,
    probability,
    rate_text,
    size_text,
    time_text,
)

_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


def yes_no(value: Any, what: str) -> bool:
    """``yes``, ``no`` or a bool."""
    answer = _YES_NO.get(value) if isinstance(value, str) else value
    if not isinstance(answer, bool):
        raise UsageError(f"{what} is yes or no, not {value!r}")
    return answer


def _one_of(*names: str) -> Callable[[Any, str], str]:
    def read(value: Any, what: str) -> str:
        if not isinstance(value, str) or value not in names:
            raise UsageError(f"{what} must be one of {', '.join(names)}, not {value!r}")
        return value

    return read


def _aqm(value: Any, what: str) -> str | None:
    name = "droptail" if value == "none" else _one_of(*AQM_TIMES)(value, what)
    return None if name == "droptail" else name


def _positive(value: Any, what: str) -> int:
    try:
        number = -1 if isinstance(value, bool) else int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 1 or number != (float(value) if not isinstance(value, int) else value):
        raise UsageError(f"{what} must be a whole number above 0, not {value!r}")
    return number


def _burst(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 1.0 <= number <= 1e6:
        raise UsageError(f"{what} is a mean number of frames, 1 to a million, not {value!r}")
    return number


def _gilbert(value: Any, what: str) -> GilbertElliott:
    if isinstance(value, GilbertElliott):
        return value
    parts = value.split("/") if isinstance(value, str) else []
    if not 2 <= len(parts) <= 4:
        raise UsageError(f"{what} is written like '1%/30%/100%/0%': good to bad and back, loss in each; not {value!r}")
    return GilbertElliott(*(probability(part, what) for part in parts))


def _outage(value: Any, what: str) -> Outage:
    if isinstance(value, Outage):
        return value
    parts = value.split("/") if isinstance(value, str) else []
    random = parts[:1] == ["random"]
    times = [nanoseconds(part, what) for part in parts[random:]]
    if not 2 <= len(times) <= (2 if random else 3):
        raise UsageError(f"{what} is written like '5s/200ms/10s' (first, lasts, every) or 'random/30s/2s': {value!r}")
    return Outage(*times, random=random)


def _percent(p: float) -> str:
    """Exactly: 0.1 + 0.2 has another name than 0.3."""
    short = f"{100 * p:g}%"
    return short if probability(short) == p else repr(float(p))


def _show_gilbert(model: GilbertElliott) -> str:
    return "/".join(_percent(each) for each in (model.p, model.r, model.bad, model.good))


def _plain(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Knob:
    """One parameter."""

    key: str
    """Its name in files."""
    read: Callable[[Any, str], Any]
    show: Callable[[Any], str] = str
    """As text that :meth:`aero_lab.link.Link.parse` reads."""
    save: Callable[[Any], Any] = _plain
    """As JSON."""
    always: bool = False
    """In files even when nothing was said about it."""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _number(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


UP_DOWN = {
    "loss": Knob("loss", probability, _percent, always=True),
    "rate": Knob("rate_bits_per_s", bits_per_second, rate_text, always=True),
    "queue": Knob("queue_bytes", byte_count, size_text, always=True),
    "duplicate": Knob("duplicate", probability, _percent, always=True),
    "reorder": Knob("reorder", probability, _percent, always=True),
    "corrupt": Knob("corrupt", probability, _percent, always=True),
    "jitter": Knob("jitter_ns", nanoseconds, time_text, always=True),
    "aqm": Knob("aqm", _aqm),
    "ecn": Knob("ecn", yes_no, _yes),
    "aqm_target": Knob("aqm_target_ns", nanoseconds, time_text),
    "aqm_interval": Knob("aqm_interval_ns", nanoseconds, time_text),
    "aqm_flows": Knob("aqm_flows", _positive),
    "aqm_quantum": Knob("aqm_quantum_bytes", byte_count, size_text),
    "loss_burst": Knob("loss_burst", _burst, _number),
    "gilbert": Knob("gilbert", _gilbert, _show_gilbert, _show_gilbert),
    "loss_trace": Knob("loss_trace", LossTrace.read, str, LossTrace.to_text),
    "rate_trace": Knob("rate_trace", RateTrace.read, str, RateTrace.to_text),
    "jitter_model": Knob("jitter_model", _one_of(*JITTER_MODELS)),
    "outage": Knob("outage", _outage, str, str),
    "outage_mode": Knob("outage_mode", _one_of("lose", "hold")),
}
"""Those that are one value for both directions, or a pair."""

WHOLE = {
    "rtt": Knob("rtt_ns", nanoseconds, time_text, always=True),
    "reorder_by": Knob("reorder_by_ns", nanoseconds, time_text, always=True),
    "ordered": Knob("ordered", yes_no, _yes),
}
"""Those of the link as a whole."""

FILE_ORDER = ("rtt", "loss", "rate", "queue", "duplicate", "reorder", "corrupt", "jitter", "reorder_by", "ordered")
KNOBS = {name: (UP_DOWN | WHOLE)[name] for name in (*FILE_ORDER, *UP_DOWN)}
"""All of them, in the order in which files list them."""
