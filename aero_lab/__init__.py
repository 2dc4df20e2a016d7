"""A lab bench for the network of a browser-hosted virtual machine.

>>> import aero_lab as al
>>> lab = al.Lab()
>>> guest = lab.guest("scripted", profile="windows7")
>>> guest.run("download", size="1MB")

Importing this package is quick and compiles nothing: each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Lab": (".lab", "Lab"),
    "Link": (".link", "Link"),
    "Machine": (".machine.machine", "Machine"),
    "filter": (".analysis", "filter"),
    "compare": (".experiment.compare", "compare"),
    "analysis": (".analysis", None),
    "packets": (".widgets.table", "packets"),
    "plot": (".viz", None),
    "probe": (".experiment.probe", "probe"),
    "reproduce": (".experiment.reproduce", "reproduce"),
    "sweep": (".experiment.sweep", "sweep"),
    **{
        name: (".capture", name)
        for name in ("iter_capture", "read_capture", "read_pcap", "write_capture", "write_pcap", "write_pcapng")
    },
    "warmup": (".compiled.registry", "warmup"),
    "AeroLabError": (".errors", "AeroLabError"),
    "UsageError": (".errors", "UsageError"),
}

__all__ = [
    "AeroLabError",
    "Lab",
    "Link",
    "Machine",
    "UsageError",
    "analysis",
    "compare",
    "filter",
    "iter_capture",
    "packets",
    "plot",
    "probe",
    "read_capture",
    "read_pcap",
    "reproduce",
    "sweep",
    "warmup",
    "write_capture",
    "write_pcap",
    "write_pcapng",
]

if TYPE_CHECKING:
    from . import analysis
    from . import viz as plot
    from .analysis import filter
    from .capture import iter_capture, read_capture, read_pcap, write_capture, write_pcap, write_pcapng
    from .compiled.registry import warmup
    from .errors import AeroLabError, UsageError
    from .experiment.compare import compare
    from .experiment.probe import probe
    from .experiment.reproduce import reproduce
    from .experiment.sweep import sweep
    from .lab import Lab
    from .link import Link
    from .machine.machine import Machine
    from .widgets.table import packets


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    loaded = import_module(module, __name__)
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
