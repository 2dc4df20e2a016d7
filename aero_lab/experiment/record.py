"""What one run of an experiment measured, and the file that scripts read it from.

A field that was not measured is ``None`` here, ``null`` in JSON and a dash in the table: never 0.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UsageError

SCHEMA = 1
"""Version of the JSON layout; a change that breaks a reader raises it."""


@dataclass
class Run:
    """One run. Rates are in Mbit/s, times in milliseconds unless the name says otherwise, sizes in bytes."""

    option: str
    """Where the pipeline is cut: ``A``, ``B`` or ``C``."""
    transport: str
    guest: str
    nic: str | None
    workload: str
    link: dict[str, Any] | None
    """Parameters of the impaired link, None when there is none."""
    mode: str
    """``real`` or ``virtual``."""
    mtu: int
    ack_policy: str
    seed: int
    repeat: int = 0
    ok: bool = False
    error: str | None = None
    bytes: int | None = None
    """Application bytes, both ways."""
    digest_ok: bool | None = None
    seconds: float | None = None
    goodput_mbps: float | None = None
    connect_ms: float | None = None
    ttfb_ms: float | None = None
    rtt_ms: float | None = None
    frames_up: int | None = None
    """Ethernet frames that left the guest."""
    frames_down: int | None = None
    messages_up: int | None = None
    messages_down: int | None = None
    tunnel_bytes_up: int | None = None
    """Bytes of tunnel messages, their headers included."""
    tunnel_bytes_down: int | None = None
    wire_bytes_up: int | None = None
    """IP bytes of the WAN hop; None over ``memory``, which has no IP hop."""
    wire_bytes_down: int | None = None
    overhead_ratio: float | None = None
    """``wire_bytes`` over ``bytes``."""
    acks_per_data_segment: float | None = None
    client_cpu_us_per_mb: float | None = None
    """CPU time of the client process per 10^6 application bytes; likewise the proxy's."""
    proxy_cpu_us_per_mb: float | None = None
    guest_mips_idle: float | None = None
    guest_mips_loaded: float | None = None
    retransmissions: int | None = None
    udp_delay_ms: float | None = None
    udp_jitter_ms: float | None = None
    udp_loss: float | None = None
    capture: str | None = None
    """Path of the pcapng of this run."""
    messages_per_mb: float | None = None
    """Messages both ways per 10^6 application bytes."""
    client_lines: int | None = None
    """Lines of code of the part that stands at the client (see :mod:`.client_part`)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What else the workload told; not part of the contract."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def machine() -> dict[str, Any]:
    """The machine and the versions that the figures depend on."""
    import numba
    import numpy

    from .. import __version__

    return {
        "system": platform.system(),
        "release": platform.release(),
        "arch": platform.machine(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "numba": numba.__version__,
        "numpy": numpy.__version__,
        "aero_lab": __version__,
    }


def _cpu_name() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


def to_document(runs: Iterable[Run], seed: int) -> dict[str, Any]:
    """The JSON document of DESIGN: schema, machine, seed, runs."""
    return {"schema": SCHEMA, "machine": machine(), "seed": seed, "runs": [run.to_dict() for run in runs]}


def check_target(target: str | None) -> None:
    """Refuse a file that :func:`write_json` could not write, before the work and not after it."""
    if target is not None and target != "-":
        try:
            open(target, "a", encoding="utf-8").close()
        except OSError as error:
            raise UsageError(f"cannot write {target}: {error.strerror}") from None


def write_json(document: dict[str, Any], target: str) -> None:
    """Write ``document`` to the file ``target``, or to standard output when that is ``-``."""
    write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", target)


def write_text(text: str, target: str) -> None:
    """Write ``text`` to the file ``target``, or to standard output when that is ``-``."""
    if target == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        with open(target, "w", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


COLUMNS: Sequence[tuple[str, str, str]] = (
    ("option", "option", "{}"),
    ("transport", "transport", "{}"),
    ("workload", "workload", "{}"),
    ("mode", "mode", "{}"),
    ("ok", "ok", "{}"),
    ("bytes", "bytes", "{:,}"),
    ("seconds", "s", "{:.3f}"),
    ("goodput_mbps", "goodput\nMbit/s", "{:.1f}"),
    ("connect_ms", "connect\nms", "{:.2f}"),
    ("ttfb_ms", "first byte\nms", "{:.2f}"),
    ("rtt_ms", "RTT\nms", "{:.2f}"),
    ("messages_per_mb", "messages\nper MB", "{:.0f}"),
    ("tunnel_bytes_up", "tunnel up\nbytes", "{:,}"),
    ("tunnel_bytes_down", "tunnel down\nbytes", "{:,}"),
    ("wire_bytes_up", "wire up\nbytes", "{:,}"),
    ("wire_bytes_down", "wire down\nbytes", "{:,}"),
    ("overhead_ratio", "wire per\npayload", "{:.3f}"),
    ("acks_per_data_segment", "ACKs per\nsegment", "{:.2f}"),
    ("retransmissions", "retrans-\nmissions", "{}"),
    ("client_cpu_us_per_mb", "client CPU\nµs/MB", "{:.0f}"),
    ("proxy_cpu_us_per_mb", "proxy CPU\nµs/MB", "{:.0f}"),
    ("guest_mips_idle", "MIPS\nidle", "{:.0f}"),
    ("guest_mips_loaded", "MIPS\nloaded", "{:.0f}"),
    ("client_lines", "client\nlines", "{:,}"),
    ("udp_delay_ms", "UDP delay\nms", "{:.2f}"),
    ("udp_jitter_ms", "jitter\nms", "{:.2f}"),
    ("udp_loss", "loss", "{:.2%}"),
)
"""Columns of the printed table: field, heading, format. A column that no run measured is left out."""


def _text(value: Any, form: str) -> str:
    """A value in its column's form; one that the form would make 0.0 keeps two digits."""
    text = form.format(value)
    return f"{value:.2g}" if isinstance(value, float) and value and not text.strip("-0.,%") else text


def cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the printed table, as text."""
    used = [c for c in COLUMNS if any(getattr(run, c[0]) is not None for run in runs)]
    rows = []
    for run in runs:
        row = []
        for name, _, form in used:
            value = getattr(run, name)
            row.append("–" if value is None else ("yes" if value else "no") if name == "ok" else _text(value, form))
        rows.append(row)
    return [heading for _, heading, _ in used], rows


LABELS = ("option", "transport", "workload", "mode")


def median_cells(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """The same with one row a combination of several runs: the median, and ± half the distance between the least and
    the greatest. A failed run makes its combination one that is not ok, and does not count."""
    from statistics import median

    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(getattr(run, name) for name in LABELS), []).append(run)
    used = [c for c in COLUMNS if any(getattr(run, c[0]) is not None for run in runs)]
    rows = []
    for group in groups.values():
        row = []
        for name, _, form in used:
            values = [value for run in group if (value := getattr(run, name)) is not None and (run.ok or name == "ok")]
            if name in LABELS:
                row.append(str(getattr(group[0], name)))
            elif name == "ok":
                row.append(f"{sum(values)}/{len(group)}")
            elif not values:
                row.append("–")
            else:
                spread = (max(values) - min(values)) / 2
                middle = median(values)
                if isinstance(values[0], int):
                    middle, spread = round(middle), round(spread)
                row.append(_text(middle, form) + (f" ±{_text(spread, form)}" if spread else ""))
        rows.append(row)
    return [heading for _, heading, _ in used], rows
