"""Workloads: what a guest can be asked to do, by name.

A workload is called with the guest and parameters, runs as a task and returns a :class:`WorkloadResult`::

    task = guest.start(WORKLOADS["download"](guest, size="10MB"))
"""

from __future__ import annotations

from typing import Any

from ....errors import UsageError
from ..tasks import TaskGenerator
from .bulk import download, parallel, sink, source, upload
from .datagrams import game, ntp, udp_echo, voip
from .exchange import burst, dns, ping, request_response
from .parameters import check_parameters
from .result import Workload, WorkloadResult, size_of

WORKLOADS: dict[str, Workload] = {
    "ping": ping,
    "dns": dns,
    "download": download,
    "upload": upload,
    "rr": request_response,
    "burst": burst,
    "parallel": parallel,
    "udp-echo": udp_echo,
    "voip": voip,
    "game": game,
    "ntp": ntp,
    "source": source,
    "sink": sink,
}
"""Name -> workload."""


def make(name: str, guest: Any, /, **parameters: Any) -> TaskGenerator:
    """The task generator of a workload. Raises :class:`UsageError` for a name or a parameter that is not there, and
    for a value that a parameter cannot have."""
    workload = WORKLOADS.get(name)
    if workload is None:
        raise UsageError(f"workload must be one of {', '.join(WORKLOADS)}, not {name!r}")
    code = workload.__wrapped__.__code__  # type: ignore[attr-defined]
    known = code.co_varnames[2 : code.co_argcount]
    for parameter in parameters:
        if parameter not in known:
            raise UsageError(f"workload {name} takes {', '.join(known)}, not {parameter!r}")
    check_parameters(name, parameters)
    return workload(guest, **parameters)


__all__ = ["WORKLOADS", "WorkloadResult", "check_parameters", "make", "size_of"]
