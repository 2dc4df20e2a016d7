"""Runs of whole labs in virtual time, for what depends on the tunnel's transport."""

from __future__ import annotations

from typing import Any

from ...errors import AeroLabError
from ...link import Link

DEADLINE = 1000.0
"""Seconds of virtual time that a workload may take."""


def run_lab(
    option: str,
    transport: str,
    link: Link,
    workload: str,
    seed: int,
    settings: dict[str, Any] | None = None,
    **parameters: Any,
) -> tuple[Any, dict[str, int]]:
    """The result of a scripted guest's workload, and the frame bytes at its card by cause."""
    from ...lab import Lab

    with Lab(
        virtual=True, option=option, transport=transport, link=link, seed=seed, transport_settings=settings or {}
    ) as lab:
        result = lab.guest("scripted").run(workload, timeout=DEADLINE, **parameters)
        if not result.ok:
            raise AeroLabError(f"{workload} over {transport}, seed {seed}: {result.error}")
        frames = lab.capture.frames()
        sizes = frames[frames.point == "nic"].groupby("cause", observed=True).frame_len.sum()
    return result, {str(cause): int(size) for cause, size in sizes.items()}
