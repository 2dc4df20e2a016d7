"""What the parameters of workloads may be: the names mean the same for every guest, and are checked before one runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from ....bounds import EXCHANGE_BYTES, TIMEOUT_MOST, WORKLOAD_COUNT
from ....errors import UsageError
from .result import size_of, told

DATAGRAM = 65_507
"""Bytes of payload of the largest datagram or echo request over IPv4."""
SIZES = {"ping": DATAGRAM, "udp-echo": DATAGRAM, "rr": EXCHANGE_BYTES, "burst": EXCHANGE_BYTES}
"""Most bytes of what these send in one piece."""
COUNTS = {"count": 0, "flows": 1, "concurrency": 1}
"""Least of what is counted."""
SECONDS = ("duration", "timeout", "interval")
DIRECTIONS = ("down", "up", "both")


def check_parameters(workload: str, parameters: Mapping[str, Any]) -> None:
    """Raise :class:`UsageError` for a value that a parameter cannot have. Names are checked by who has the workload."""
    for name, value in parameters.items():
        if name == "size":
            _check_size(workload, value)
        elif name in COUNTS:
            if not _is(value, Integral) or not COUNTS[name] <= value <= WORKLOAD_COUNT:
                raise UsageError(f"{name} must be {COUNTS[name]} to {WORKLOAD_COUNT:,}, not {told(value)}")
        elif name in SECONDS:
            # No interval is one after the other, as fast as it goes.
            least = 0 if name == "interval" else 1e-9
            if not _is(value, Real) or not least <= value <= TIMEOUT_MOST:
                raise UsageError(f"{name} must be above 0 and at most {TIMEOUT_MOST:,} seconds, not {told(value)}")
        elif name == "rate":
            if not _is(value, Real) or not 0 < value <= WORKLOAD_COUNT:
                raise UsageError(f"rate must be above 0 and at most {WORKLOAD_COUNT:,} a second, not {told(value)}")
        elif name == "port":
            if not _is(value, Integral) or not 1 <= value <= 65_535:
                raise UsageError(f"port must be 1 to 65535, not {told(value)}")
        elif name == "family":
            if value is not None and (not _is(value, Integral) or value not in (4, 6)):
                raise UsageError(f"family must be 4 or 6, not {told(value)}")
        elif name == "direction":
            if value not in DIRECTIONS:
                raise UsageError(f"direction must be one of {', '.join(DIRECTIONS)}, not {told(value)}")
        elif name == "host":
            if not (value is None and workload == "ping") and not _is_name(value):
                raise UsageError(f"host must be a name or an address, not {told(value)}")
        elif name == "path":
            if value is not None and not (isinstance(value, str) and value.startswith("/") and _is_word(value)):
                raise UsageError(f"path must begin with / and have no spaces, not {told(value)}")
        elif name == "names" and not (
            isinstance(value, (list, tuple)) and value and all(_is_name(each) for each in value)
        ):
            raise UsageError(f"names must be a list of one or more names, not {told(value)}")


def _check_size(workload: str, value: Any) -> None:
    if value is None and workload == "ping":  # the system's own
        return
    size = size_of(value)
    if size > SIZES.get(workload, size):
        raise UsageError(f"size of a {workload} must be at most {SIZES[workload]:,} bytes, not {told(value)}")


def _is(value: Any, kind: type) -> bool:
    """Whether it is a number of this kind; yes and no are none, nor is what is not a number."""
    return isinstance(value, kind) and not isinstance(value, bool) and not (kind is Real and math.isnan(value))


def _is_word(value: str) -> bool:
    return value.isprintable() and " " not in value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255 and _is_word(value)
