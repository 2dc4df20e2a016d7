"""The least network card there is, to test the machine's side with: four registers, one buffer each way.

Register 0: physical address of a buffer. 4 (write): send so many bytes of it. 8 (write): take a frame into it; (read)
length of the frame taken last, which lowers the pin. C (write): when it is to interrupt by itself, in ns from now.
10 (write): send an MSI-X message to the address in register 0.
"""

from __future__ import annotations

import numpy as np

from aero_lab.compiled.registry import entry, kernel, record_type, records_type
from aero_lab.nic.base import Nic
from aero_lab.nic.dma import dma_read, dma_write, send_message
from aero_lab.nic.function import Bar, Capability, Function, msix_capability
from aero_lab.nic.models import MODELS
from aero_lab.nic.port import LINK, NEVER, POLL, READ, RESET, SERVE
from aero_lab.rings.frame_ring import commit, count, descriptor, find_room, frame_len, frame_off, release

MAILBOX = np.dtype([(name, "<i8") for name in "address length armed wanted turns cable".split()])
D_T, STATES = record_type(MAILBOX), records_type(MAILBOX)


@entry
@kernel(SERVE(STATES))
def mailbox_serve(states, ports, ram, T, R, what, bar, offset, size, value, now):
    D = states[0]
    P = ports[0]
    if what == RESET:
        D.address = D.length = D.armed = D.wanted = 0
        P.due = NEVER
        P.intx = 0
        return 0
    if what == LINK:
        D.cable = value
        return 0
    if what == READ:
        if offset == 8:
            P.intx = 0
            return D.length
        return D.address if offset == 0 else D.turns if offset == 4 else D.cable
    if what == POLL:
        D.turns = D.turns + 1
        if P.due <= now:
            P.due = NEVER
            P.intx = 1
    elif offset == 0:
        D.address = value
    elif offset == 4:
        D.wanted = value
    elif offset == 8:
        D.armed = 1
        D.length = 0
        P.rx_wait = 0
    elif offset == 12:
        P.due = now + value
    elif offset == 16:
        if P.msix:
            send_message(P, D.address, value)
    if D.wanted and P.master:
        at = find_room(T, D.wanted)
        P.tx_wait = 1 if at < 0 else 0
        if at >= 0:
            dma_read(P, ram, D.address, D.wanted, T, at)
            commit(T, at, D.wanted, now, 0, -1, 0, 0)
            P.moved = P.moved + 1
            D.wanted = 0
    if count(R):
        if D.armed and P.master:
            d = descriptor(R, 0)
            D.length = frame_len(R, d)
            dma_write(P, ram, D.address, D.length, R, frame_off(R, d))
            release(R, 1)
            P.moved = P.moved + 1
            P.intx = 1
            D.armed = 0
        P.rx_wait = 1 - D.armed
    return 0


MODELS["mailbox"] = "tests.machine.mailbox:Mailbox"


class Mailbox(Nic):
    """A card with one buffer each way."""

    model = "mailbox"
    dtype = MAILBOX
    serve = mailbox_serve
    function = Function(
        vendor=0x1234,
        product=0x5678,
        class_code=0x020000,
        slot=5,
        bars=(Bar(0x20), Bar(0x20, "io")),
        capabilities=(msix_capability(1, 0, 0, 0, 0), Capability(b"\x09\0\x06abc", b"\0\0\0\xff")),
    )

    def setup(self, state):
        pass

    @property
    def counters(self):
        return {"turns": int(self.state.turns)}

    @property
    def registers(self):
        return {name: int(getattr(self.state, name)) for name in MAILBOX.names or ()}

    @classmethod
    def check(cls, values):
        pass
