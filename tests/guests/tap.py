"""What the tests of tap guests share: whether one can run here, and a lab with one."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.guests import tap

QUIET = (
    "TcpAttemptFails",
    "TcpEstabResets",
    "TcpInErrs",
    "TcpExtTCPAbortOnClose",
    "TcpExtTCPAbortOnTimeout",
    "TcpExtTCPAbortOnData",
    "TcpExtTCPBacklogDrop",
    "TcpExtTCPFastRetrans",
    "TcpExtTCPLossFailures",
    "TcpExtTCPOFOQueue",
    "TcpExtTCPRcvQDrop",
    "TcpExtTCPRenoRecovery",
    "TcpExtTCPSackRecovery",
    "TcpExtTCPTimeWaitOverflow",
    "TcpExtTCPWinProbe",
    "TcpExtTCPZeroWindowDrop",
)
"""Counters of the guest's kernel that do not move when nothing was lost, reordered, reset or stalled.

Retransmissions as such are not among them: a sender whose acknowledgement comes late, on a machine that is busy, sends
its last segment once more (RFC 8985 section 7), and nothing was wrong. Nor are RSTs: the second acknowledgement of a
FIN that was sent twice meets a socket that has gone, and is answered with one. That no connection was reset is what
``TcpEstabResets`` and the flow table say.
"""


def unquiet(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What moved of :data:`QUIET`.

    The kernel counts a SYN to an established connection as an error (RFC 5961 section 4.2, ``TCPSYNChallenge``). A
    SYN-ACK that was sent once more, as its answer came after more than the second of RFC 6298, is one and nothing was
    wrong with it: that alone is taken off.
    """
    moved = {name: after.get(name, 0) - before.get(name, 0) for name in (*QUIET, "TcpExtTCPSYNChallenge")}
    moved["TcpInErrs"] -= moved.pop("TcpExtTCPSYNChallenge")
    return {name: n for name, n in moved.items() if n}


why_not = functools.cache(tap.why_not)


@pytest.fixture
def needs_tap() -> Iterator[None]:
    if PLAIN:
        pytest.skip("the kernel's timers do not wait for interpreted kernels; this runs in compiled mode")
    if why := why_not():
        pytest.skip(why)
    yield
