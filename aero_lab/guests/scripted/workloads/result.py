"""What a workload measures, and the few statistics it takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral
from typing import Any

from ....errors import UsageError
from ....limits import HTTP_BODY_BYTES, MS, SECOND
from ....services.http import body_size
from ....tables import html_table
from ..tasks import TaskError, TaskGenerator


@dataclass
class WorkloadResult:
    """Outcome of one workload. What was not measured is None, never 0.

    The names are those of ``aero-lab compare --json``; times are in the guest's clock.
    """

    workload: str
    ok: bool = True
    error: str | None = None
    """Why it is not ok: a short reason, a colon, details."""
    bytes: int | None = None
    """Payload bytes carried, application headers not counted; both ways for echoes."""
    digest_ok: bool | None = None
    """Whether what arrived is what was sent."""
    seconds: float | None = None
    """From the first SYN (or datagram) to the last byte."""
    goodput_mbps: float | None = None
    """``bytes`` over ``seconds``, in 10^6 bit/s."""
    connect_ms: float | None = None
    """SYN to establishment; the median when there are many."""
    ttfb_ms: float | None = None
    """Request to first byte of the answer; the median when there are many."""
    rtt_ms: float | None = None
    """Request to whole answer, of an exchange of one packet each way; the median."""
    udp_delay_ms: float | None = None
    """One way, guest to service, by the service's clock; the median."""
    udp_jitter_ms: float | None = None
    """Interarrival jitter at the service (RFC 3550 section 6.4.1), when the last datagram had come."""
    udp_loss: float | None = None
    """Share of the datagrams that did not come back, 0 to 1: both directions together."""
    details: dict[str, Any] = field(default_factory=dict)
    """Counts and samples of this workload, for plots: lists are in the order of measuring, times in ms."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def _repr_html_(self) -> str:
        rows = [(f.name, str(getattr(self, f.name))) for f in fields(self) if f.name not in ("workload", "details")]
        rows += [(key, str(value)) for key, value in self.details.items() if not isinstance(value, list)]
        return html_table(("", self.workload), [row for row in rows if row[1] != "None"])

    def timed(self, started: int, ended: int, size: int | None = None) -> None:
        """Note the duration between two times (ns), and the goodput when ``size`` bytes were carried."""
        self.seconds = (ended - started) / SECOND
        if size is not None:
            self.bytes = size
            if ended > started:
                self.goodput_mbps = size * 8 / (ended - started) * 1e3

    def fail(self, error: str) -> None:
        """Note what went wrong; the first reason stays."""
        if self.ok:
            self.ok, self.error = False, error


Workload = Callable[..., TaskGenerator]


def measured(name: str) -> Callable[[Callable[..., TaskGenerator]], Workload]:
    """Make ``function(guest, result, **parameters)`` a workload ``(guest, **parameters)`` that returns its result.

    Waits for an address first (of the ``family`` among the parameters, if it is named); an operation that fails ends in
    the result, never in an exception.
    """

    def wrap(function: Callable[..., TaskGenerator]) -> Workload:
        _FUNCTIONS[name] = function

        @functools.wraps(function)
        def workload(guest: Any, **parameters: Any) -> TaskGenerator:
            return _measure(name, guest, parameters)

        return workload

    return wrap


_FUNCTIONS: dict[str, Callable[..., TaskGenerator]] = {}
"""What is measured, by name: a task that is copied finds it here."""


def _measure(name: str, guest: Any, parameters: dict[str, Any]) -> TaskGenerator:
    result = WorkloadResult(name)
    try:
        yield from guest.wait_online(family=parameters.get("family"))
        yield from _FUNCTIONS[name](guest, result, **parameters)
    except TaskError as error:
        result.fail(str(error))
    if result.digest_ok is False:
        result.fail("digest: the bytes that arrived are not those that were sent")
    return result


def told(value: Any) -> str:
    """A value as a message has it: in one line, and no longer than a part of it."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no numbers of more than some thousand digits
        return "a number that is far too large"
    return text if len(text) <= 60 else f"{text[:57]}..."


def size_of(size: Any) -> int:
    """Bytes of ``size``: a number, or text such as ``"10MB"`` (decimal) and ``"64KiB"`` (binary)."""
    if isinstance(size, str):
        found = body_size(f"/bytes/{size}" if size.isdecimal() else f"/{size}")
        if found is None:
            raise UsageError(f"not a size: {told(size)}; write 10485760, 10MB or 10MiB")
        return found
    if isinstance(size, bool) or not (isinstance(size, Integral) or (isinstance(size, float) and size.is_integer())):
        raise UsageError(f"a size is a number of bytes or text such as 10MB, not {told(size)}")
    number = int(size)
    if number < 0:
        raise UsageError(f"a size is not negative: {told(size)}")
    if number > HTTP_BODY_BYTES:
        raise UsageError(f"a size is at most {HTTP_BODY_BYTES:,} bytes, not {told(size)}")
    return number


def milliseconds(ns: Iterable[int]) -> list[float]:
    """Nanoseconds as milliseconds."""
    return [value / MS for value in ns]


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of ``values`` lie, linearly between neighbours; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median(values: Sequence[float]) -> float | None:
    """The middle value, or None of nothing."""
    return quantile(values, 0.5)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 90th and 99th percentile and the extremes."""
    return {
        "min": min(values, default=None),
        "p50": quantile(values, 0.5),
        "p90": quantile(values, 0.9),
        "p99": quantile(values, 0.99),
        "max": max(values, default=None),
    }


def interarrival_jitter(times: Iterable[tuple[int, int]]) -> int | None:
    """RFC 3550 section 6.4.1 over ``(sent, received)`` in order of receipt, in their unit; None for fewer than two.

    ``J += (|D| - J) / 16``, where D is how much the spacing of two datagrams changed on the way.
    """
    jitter = 0.0
    before: tuple[int, int] | None = None
    pairs = 0
    for sent, received in times:
        if before is not None:
            change = (received - before[1]) - (sent - before[0])
            jitter += (abs(change) - jitter) / 16
            pairs += 1
        before = (sent, received)
    return round(jitter) if pairs else None
