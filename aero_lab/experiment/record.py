"""What one run of an experiment measured, and the file that scripts read it from.

A field that was not measured is ``None`` here, ``null`` in JSON and a dash in the table: never 0.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
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
    request_ms: float | None = None
    """Median time of a small request and its answer, by ``rr``."""
    privileges: str | None = None
    """What the two halves and the guest need that not every user has everywhere, ``none`` for most."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the option, where they are not the usual ones; likewise the transport's."""
    transport_settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """What else the workload told; not part of the contract."""

    @property
    def label(self) -> str:
        """The option with its settings, as tables show it and command lines take it."""
        return ":".join((self.option, *(f"{name}={value}" for name, value in self.settings.items())))

    @property
    def over(self) -> str:
        """The transport with its settings."""
        return ":".join((self.transport, *(f"{name}={value}" for name, value in self.transport_settings.items())))

    @property
    def link_name(self) -> str:
        """The link in one line, or the name it has."""
        from ..link import Link

        return Link.from_dict(self.link).name if self.link else "none"

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
        new = not os.path.lexists(target)
        try:
            open(target, "a", encoding="utf-8").close()
            if new:  # work that is interrupted leaves no empty file
                os.unlink(target)
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
