"""What :class:`.host.HostEgress` knows of one flow."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from ..limits import NEVER
from .contract import Why

if TYPE_CHECKING:
    from .host_inbound import Listener

LINGER_RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` that makes closing a reset."""


def family_of(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


class HostFlow:
    """One flow: its socket and what is known about it."""

    __slots__ = (
        "flow",
        "sock",
        "kind",
        "state",
        "watched",
        "paused",
        "want_write",
        "far_eof",
        "shut",
        "deadline",
        "why",
        "via",
        "peer",
    )

    def __init__(self, flow: int, sock: socket.socket | None, kind: str):
        self.flow = flow
        self.sock = sock
        self.kind = kind
        self.state = "connecting"  # -> open -> dead: told to the sink in the next step, then forgotten
        self.watched = 0
        self.paused = False
        self.want_write = False
        self.far_eof = False
        self.shut = False
        self.deadline = NEVER
        self.why: Why = "unreachable"
        self.via: Listener | None = None  # a UDP flow from outside speaks through its listener's socket
        self.peer: Any = None
