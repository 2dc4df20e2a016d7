"""Capture: what passed the points of the pipeline, as columns and as files.

:class:`Recorder` taps the rings of a running lab into bounded memory; :class:`Capture` is what it holds, or what
:func:`read_pcap` found in a file. Either gives ``frames()``, a DataFrame of one row a frame and point
(``docs/columns.md``), and writes pcapng and parquet. Compiled parts: :mod:`.segment` (the tap), :mod:`.columns` (the
dissector), :mod:`.causes`, :mod:`.pcapng`, :mod:`.pcap_reader`.
"""

from .capture import Capture
from .parquet import load_parquet, save_parquet
from .pcap_reader import parse_pcap, read_pcap
from .pcapng import write_pcapng
from .recorder import Recorder

__all__ = [
    "Capture",
    "Recorder",
    "load_parquet",
    "parse_pcap",
    "read_pcap",
    "save_parquet",
    "write_pcapng",
]
