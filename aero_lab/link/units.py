"""Quantities as people write them: ``"40ms"``, ``"10Mbit/s"``, ``"64KiB"``, ``"1%"``."""

from __future__ import annotations

import re
from fractions import Fraction

from ..bounds import RATE_MOST
from ..errors import UsageError

TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
RATES = {
    prefix + unit: 10**power
    for prefix, power in (("", 0), ("k", 3), ("m", 6), ("g", 9))
    for unit in ("bit/s", "bits/s", "bps", "bit")
}
_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?)\s*([^\s0-9]*)\s*", re.ASCII)


def _parse(value: str | int | float, units: dict[str, int], what: str, example: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    scale = units.get(match[2].lower()) if match else None
    if match is None or scale is None:
        raise UsageError(f"{what} must look like {example}, not {value!r}")
    return round(Fraction(match[1]) * scale)


def nanoseconds(value: str | int | float, what: str = "a time") -> int:
    """``"40ms"`` as nanoseconds; an int is nanoseconds already. Raises :class:`UsageError` naming ``what``."""
    return _parse(value, TIMES, what, "'40ms' or '1.5s'")


def byte_count(value: str | int | float, what: str = "a size") -> int:
    """``"64KiB"`` as bytes; an int is bytes already."""
    return _parse(value, SIZES, what, "'64KiB' or '1.5MB'")


def bits_per_second(value: str | int | float, what: str = "a rate") -> int:
    """``"10Mbit/s"`` as bits per second; an int is bits per second already. Never 0, nor beyond what is counted."""
    rate = _parse(value, RATES, what, "'10Mbit/s' or '50kbit/s'")
    if rate < 1:
        raise UsageError(f"{what} must be above zero")
    if rate > RATE_MOST:
        raise UsageError(f"{what} must be at most {rate_text(RATE_MOST)}: leave it out where a line has no rate")
    return rate


def probability(value: str | int | float, what: str = "a probability") -> float:
    """``"1%"`` or ``0.01`` as a number from 0 to 1."""
    try:
        text = value.strip() if isinstance(value, str) else value
        number = float(text[:-1]) / 100 if isinstance(text, str) and text.endswith("%") else float(text)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(value, bool) or not 0.0 <= number <= 1.0:
        raise UsageError(f"{what} must lie between 0 and 1 (or 0% and 100%), not {value!r}")
    return number


def time_text(ns: int) -> str:
    """Nanoseconds in the largest unit that leaves no fraction: ``40ms``."""
    for unit in ("s", "ms", "us"):
        if ns % TIMES[unit] == 0 and ns:
            return f"{ns // TIMES[unit]}{unit}"
    return f"{ns}ns"


def rate_text(rate: int) -> str:
    """Bits per second in the largest unit that leaves no fraction: ``10Mbit/s``."""
    for prefix, power in (("G", 9), ("M", 6), ("k", 3)):
        if rate % 10**power == 0:
            return f"{rate // 10**power}{prefix}bit/s"
    return f"{rate}bit/s"


def size_text(size: int) -> str:
    """Bytes in the largest binary unit that leaves no fraction: ``64KiB``."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return f"{size}B"
