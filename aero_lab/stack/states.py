"""The TCP state machine of RFC 9293 section 3.3.2 as a table.

``TRANSITIONS[state, event]`` is the next state, or -1 where the event cannot happen: the kernels count that
(``tcp-transition``), and a test proves that no run ever does. ``SYN_PENDING`` is ours: a gateway holds the guest's SYN
until the far side has answered; towards the guest it is still LISTEN.
"""

from enum import IntEnum

import numpy as np


class State(IntEnum):
    """Connection states by their RFC names."""

    CLOSED = 0
    LISTEN = 1
    SYN_SENT = 2
    SYN_RECEIVED = 3
    ESTABLISHED = 4
    FIN_WAIT_1 = 5
    FIN_WAIT_2 = 6
    CLOSE_WAIT = 7
    CLOSING = 8
    LAST_ACK = 9
    TIME_WAIT = 10
    SYN_PENDING = 11


class Event(IntEnum):
    """What moves a connection from one state to another."""

    OPEN = 0  # active open: our SYN goes out
    SYN_HELD = 1  # gateway: a SYN arrived and waits for the far side
    SYN = 2  # a SYN arrived (or a held one was accepted): our SYN-ACK goes out
    SYN_ACK = 3  # our SYN was acknowledged by the peer's SYN-ACK
    SYN_ACKED = 4  # the handshake's last ACK
    SEND_FIN = 5
    FIN = 6
    FIN_ACKED = 7
    FIN_AND_FIN_ACKED = 8  # one segment that does both
    TIMEOUT_2MSL = 9
    DESTROY = 10  # RST either way, abort, give-up
    ADOPT = 11  # a restored connection goes on


_TABLE: dict[State, dict[Event, State]] = {
    State.CLOSED: {
        Event.OPEN: State.SYN_SENT,
        Event.SYN_HELD: State.SYN_PENDING,
        Event.SYN: State.SYN_RECEIVED,
        Event.ADOPT: State.ESTABLISHED,
    },
    State.SYN_PENDING: {Event.SYN: State.SYN_RECEIVED},
    State.SYN_SENT: {Event.SYN: State.SYN_RECEIVED, Event.SYN_ACK: State.ESTABLISHED},
    State.SYN_RECEIVED: {
        Event.SYN_ACKED: State.ESTABLISHED,
        Event.SEND_FIN: State.FIN_WAIT_1,
        Event.FIN: State.CLOSE_WAIT,
    },
    State.ESTABLISHED: {Event.SEND_FIN: State.FIN_WAIT_1, Event.FIN: State.CLOSE_WAIT},
    State.FIN_WAIT_1: {
        Event.FIN: State.CLOSING,
        Event.FIN_ACKED: State.FIN_WAIT_2,
        Event.FIN_AND_FIN_ACKED: State.TIME_WAIT,
    },
    State.FIN_WAIT_2: {Event.FIN: State.TIME_WAIT},
    State.CLOSE_WAIT: {Event.SEND_FIN: State.LAST_ACK},
    State.CLOSING: {Event.FIN_ACKED: State.TIME_WAIT},
    State.LAST_ACK: {Event.FIN_ACKED: State.CLOSED},
    State.TIME_WAIT: {Event.TIMEOUT_2MSL: State.CLOSED},
}
for _state in State:
    if _state is not State.CLOSED:
        _TABLE.setdefault(_state, {})[Event.DESTROY] = State.CLOSED


def table() -> dict[tuple[State, Event], State]:
    """The transitions as a mapping, for documents and tests."""
    return {(state, event): to for state, row in _TABLE.items() for event, to in row.items()}


TRANSITIONS = np.full((len(State), len(Event)), -1, np.int64)
for (_from, _event), _to in table().items():
    TRANSITIONS[_from, _event] = _to
