"""The TCP/IP stack: sans-IO, batch in, batch out, compiled.

The way of a frame::

    rx ring -> ip_input -> tcp_input -> receive / recovery / congestion
                  |  \\-> icmp              |
                  |-> reassembly           v
                  |-> up ring -> Python   output queue -> tcp_output -> tx ring
    deadlines -> tcp_timers ---------------^

:mod:`.world` holds the records all of it shares, :mod:`.core` the entry points, :mod:`.stack` and :mod:`.connection`
what Python sees.
"""

from .config import StackConfig, TcpConfig
from .connection import Connection
from .events import (
    ArpSeen,
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Readable,
    StackEvent,
    SynReceived,
    Writable,
)
from .stack import Stack

__all__ = [
    "ArpSeen",
    "Closed",
    "Connection",
    "Datagram",
    "EndOfStream",
    "Established",
    "IcmpMessage",
    "Readable",
    "Stack",
    "StackConfig",
    "StackEvent",
    "SynReceived",
    "TcpConfig",
    "Writable",
]
