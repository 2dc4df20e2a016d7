"""Capture: what passed the points of the pipeline, as columns and as files.

:class:`Recorder` taps the rings of a running lab into bounded memory; :class:`Capture` is what it holds, or what
:func:`load_pcap` found in a file. Either gives ``frames()``, a DataFrame of one row a frame and point
(``docs/columns.md``), and writes pcapng and parquet. :func:`read_pcap` goes from a file to columns at once, and
:func:`iter_capture` in groups of rows. Compiled parts: :mod:`.segment` (the tap), :mod:`.columns` (the dissector),
:mod:`.causes`, :mod:`.pcapng`, :mod:`.pcap_scan`.
"""

from . import spread  # noqa: F401 - what makes tables ready compiles the kernels of the whole room
from .capture import Capture, Interface
from .files import iter_capture, read_pcap, write_pcap, write_pcapng
from .parquet import read_capture, write_capture
from .pcap_reader import load_pcap, parse_pcap
from .recorder import Recorder

__all__ = [
    "Capture",
    "Interface",
    "Recorder",
    "iter_capture",
    "load_pcap",
    "parse_pcap",
    "read_capture",
    "read_pcap",
    "write_capture",
    "write_pcap",
    "write_pcapng",
]
