"""The one kernel through which a machine reaches the 82540EM."""

from __future__ import annotations

from ...compiled.registry import entry, kernel
from ..port import LINK, POLL, READ, SERVE, WRITE
from .registers import e1000_link, e1000_poll, e1000_read, e1000_reset, e1000_write
from .state import DS


@entry
@kernel(SERVE(DS))
def e1000_serve(states, ports, ram, T, R, what, bar, offset, size, value, now):
    """See :mod:`aero_lab.nic.port`."""
    D = states[0]
    P = ports[0]
    if what == READ:
        return e1000_read(D, P, bar, offset, size, now)
    if what == WRITE:
        e1000_write(D, P, ram, T, R, bar, offset, size, value, now)
    elif what == POLL:
        e1000_poll(D, P, ram, T, R, now)
    elif what == LINK:
        e1000_link(D, P, value, now)
    else:
        e1000_reset(D, P)
    return 0
