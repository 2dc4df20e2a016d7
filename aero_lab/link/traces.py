"""Recordings that a link plays back: which frames were lost, and when a line could send (mahimahi's format).

A recording is written as the name of its file, as its numbers, or *packed*: ``+`` and what follows, with the file's
name before it if it has one (``name=+...``). Packed it goes into JSON, so that a link can be built where its files are
not.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from ..bounds import TRACE_BYTES, TRACE_MOST, TRACE_SHOWN
from ..errors import UsageError
from ..limits import MS
from .units import rate_text

_NAME = re.compile(r"[^\s,:=+][^\s,:=]*")
OPPORTUNITY = 1504
"""Bytes that may leave at one moment of a recorded line."""


def _read(text: str, what: str) -> str:
    try:
        with Path(text).expanduser().open("rb") as file:
            data = file.read(TRACE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no name of a file"
        raise UsageError(f"{what}: {text!r} is no file that can be read ({reason}), nor numbers") from None
    if len(data) > TRACE_BYTES:
        raise UsageError(f"{what}: {text} has more than {TRACE_BYTES >> 20} MiB")
    return data.decode("ascii", "replace")


@dataclass(frozen=True)
class _Trace:
    name: str = field(default="", compare=False, kw_only=True)
    """Of the file it came from, as given."""
    what: ClassVar[str]

    def packed(self) -> str:
        """As text that says everything."""
        raise NotImplementedError

    def __str__(self) -> str:
        """As a line about a link shows it: its file's name, or all of it."""
        return self.name or self.shown()

    def shown(self) -> str:
        return self.packed()

    def to_text(self) -> str:
        """What :meth:`read` reads anywhere, its file or not."""
        return f"{self.name}={self.packed()}" if self.name else self.packed()


@dataclass(frozen=True)
class LossTrace(_Trace):
    """One byte a frame: 1 is lost, 0 is not."""

    lost: bytes
    what = "loss_trace"

    def __post_init__(self) -> None:
        given: Any = self.lost
        if not isinstance(given, bytes):
            object.__setattr__(self, "lost", bytes(bool(each) for each in given))
        if not 0 < len(self.lost) <= TRACE_MOST:
            raise UsageError(f"loss_trace must have 1 to {TRACE_MOST:,} frames, not {len(self.lost):,}")

    @classmethod
    def read(cls, value: Any, what: str = what) -> LossTrace:
        """From a file's name, digits, or packed text."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise UsageError(f"{what} is a file of 0 and 1, or such digits, not {value!r}")
        name, _, runs = value.rpartition("=")
        if runs.startswith("+"):
            return cls(_unpack_runs(runs[1:], what), name=name)
        if not value.strip("01") and value:
            return cls(bytes(map(int, value)))
        lines = _read(value, what).splitlines()
        digits = "".join("".join(line.partition("#")[0].split()) for line in lines)
        if digits.strip("01"):
            raise UsageError(f"{what}: {value} holds more than 0, 1, white space and comments behind #")
        return cls(bytes(map(int, digits)), name=value if _NAME.fullmatch(value) else "")

    def packed(self) -> str:
        """Lengths of runs: so many arrive, so many are lost, and so on."""
        runs = [(key, sum(1 for _ in group)) for key, group in groupby(self.lost)]
        if runs[0][0]:
            runs.insert(0, (0, 0))
        return "+" + "/".join(str(length) for _, length in runs)

    def shown(self) -> str:
        return "".join(map(str, self.lost)) if len(self.lost) <= TRACE_SHOWN else self.packed()

    def __repr__(self) -> str:
        return f"LossTrace({self.name or len(self.lost)}: {sum(self.lost)} of {len(self.lost)} lost)"


@dataclass(frozen=True)
class RateTrace(_Trace):
    """Milliseconds at which 1504 bytes may leave, in order; after the last it begins again, from there on."""

    moments: tuple[int, ...]
    what = "rate_trace"

    def __post_init__(self) -> None:
        try:
            moments = tuple(int(each) for each in self.moments)
        except (TypeError, ValueError):
            raise UsageError("rate_trace is made of whole milliseconds") from None
        object.__setattr__(self, "moments", moments)
        if not 0 < len(moments) <= TRACE_MOST:
            raise UsageError(f"rate_trace must have 1 to {TRACE_MOST:,} moments, not {len(moments):,}")
        if moments[0] < 0 or any(a > b for a, b in zip(moments, moments[1:])):
            raise UsageError("rate_trace: times must not be negative, nor go back")
        if not 0 < moments[-1] < 1 << 40:
            raise UsageError("rate_trace must last longer than 0 ms, and not for ever")

    @classmethod
    def read(cls, value: Any, what: str = what) -> RateTrace:
        """From a file's name, milliseconds (``1/3/3/7``), or packed text."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise UsageError(f"{what} is a file in mahimahi's format, or milliseconds such as '1/3/3/7', not {value!r}")
        name, _, steps = value.rpartition("=")
        if steps.startswith("+"):
            return cls(_unpack_steps(steps[1:], what), name=name)
        if re.fullmatch(r"[0-9]{1,15}(/[0-9]{1,15})*", value, re.ASCII):
            return cls(tuple(map(int, value.split("/"))))
        moments = []
        for number, line in enumerate(_read(value, what).splitlines(), 1):
            text = line.strip()
            if text and not re.fullmatch("[0-9]{1,15}", text, re.ASCII):
                raise UsageError(f"{what}: line {number} of {value} is not a whole number of milliseconds")
            if text:
                moments.append(int(text))
        return cls(tuple(moments), name=value if _NAME.fullmatch(value) else "")

    def table(self) -> bytes:
        """Nanoseconds, as the line reads them."""
        return struct.pack(f"<{len(self.moments)}q", *(MS * each for each in self.moments))

    @property
    def bits_per_s(self) -> int:
        """Mean rate."""
        return len(self.moments) * OPPORTUNITY * 8 * 1000 // self.moments[-1]

    def packed(self) -> str:
        """Steps from moment to moment, and how often each comes in a row."""
        steps = (b - a for a, b in zip((0, *self.moments), self.moments))
        runs = ((step, sum(1 for _ in group)) for step, group in groupby(steps))
        return "+" + "/".join(f"{step}*{often}" if often > 1 else str(step) for step, often in runs)

    def shown(self) -> str:
        text = "/".join(map(str, self.moments[: TRACE_SHOWN + 1]))
        return text if len(text) <= TRACE_SHOWN else self.packed()

    def __repr__(self) -> str:
        return f"RateTrace({self.name or len(self.moments)}: {rate_text(self.bits_per_s)} on average)"


def _numbers(text: str, what: str) -> Iterable[tuple[int, int]]:
    """The numbers of a packed trace, and how often each comes."""
    for part in text.split("/"):
        match = re.fullmatch(r"([0-9]{1,15})(?:\*([0-9]{1,7}))?", part, re.ASCII)
        if match is None:
            raise UsageError(f"{what}: {part[:20]!r} is no part of a packed trace")
        yield int(match[1]), int(match[2] or 1)


def _unpack_runs(text: str, what: str) -> bytes:
    out, lost = bytearray(), 0
    for length, often in _numbers(text, what):
        if often != 1 or len(out) + length > TRACE_MOST:
            raise UsageError(f"{what} has at most {TRACE_MOST:,} frames")
        out += bytes((lost,)) * length
        lost = 1 - lost
    return bytes(out)


def _unpack_steps(text: str, what: str) -> tuple[int, ...]:
    out: list[int] = []
    at = 0
    for step, often in _numbers(text, what):
        if len(out) + often > TRACE_MOST:
            raise UsageError(f"{what} has at most {TRACE_MOST:,} moments")
        for _ in range(often):
            at += step
            out.append(at)
    return tuple(out)
