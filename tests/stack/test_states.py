"""The state table against RFC 9293: figure 5 (3.3.2), and the prose of section 3.10.7.4 where the figure leaves
things out.

``python -m tests.stack.test_states`` draws the table into ``docs/tcp.md``.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.stack import TcpConfig
from aero_lab.stack.states import TRANSITIONS, Event, State, table

from .net import End, Net

FIGURE_5 = """
CLOSED        active OPEN, snd SYN               SYN_SENT
CLOSED        rcv SYN, snd SYN ACK               SYN_RECEIVED
SYN_SENT      rcv SYN, snd SYN ACK               SYN_RECEIVED
SYN_SENT      rcv SYN ACK, snd ACK               ESTABLISHED
SYN_RECEIVED  rcv ACK of SYN                     ESTABLISHED
SYN_RECEIVED  CLOSE, snd FIN                     FIN_WAIT_1
ESTABLISHED   CLOSE, snd FIN                     FIN_WAIT_1
ESTABLISHED   rcv FIN, snd ACK                   CLOSE_WAIT
FIN_WAIT_1    rcv FIN, snd ACK                   CLOSING
FIN_WAIT_1    rcv ACK of FIN                     FIN_WAIT_2
FIN_WAIT_2    rcv FIN, snd ACK                   TIME_WAIT
CLOSE_WAIT    CLOSE, snd FIN                     LAST_ACK
CLOSING       rcv ACK of FIN                     TIME_WAIT
LAST_ACK      rcv ACK of FIN                     CLOSED
TIME_WAIT     Timeout=2MSL, delete TCB           CLOSED
"""
"""The arrows of the figure. CLOSED -> LISTEN is no arrow here: a listening port is not a connection, so that a SYN to
it takes a connection
from CLOSED."""
EVENTS = {
    "active OPEN, snd SYN": Event.OPEN,
    "rcv SYN, snd SYN ACK": Event.SYN,
    "rcv SYN ACK, snd ACK": Event.SYN_ACK,
    "rcv ACK of SYN": Event.SYN_ACKED,
    "CLOSE, snd FIN": Event.SEND_FIN,
    "rcv FIN, snd ACK": Event.FIN,
    "rcv ACK of FIN": Event.FIN_ACKED,
    "Timeout=2MSL, delete TCB": Event.TIMEOUT_2MSL,
}
BESIDE_THE_FIGURE = {
    # Note 2 of the figure, and section 3.10.7.4: FIN in SYN-RECEIVED; one segment with FIN and the ACK of ours.
    (State.SYN_RECEIVED, Event.FIN): State.CLOSE_WAIT,
    (State.FIN_WAIT_1, Event.FIN_AND_FIN_ACKED): State.TIME_WAIT,
    # Ours: a gateway holds a SYN until the far side has answered.
    (State.CLOSED, Event.SYN_HELD): State.SYN_PENDING,
    (State.SYN_PENDING, Event.SYN): State.SYN_RECEIVED,
    # Ours: a connection goes on after its stack was restored.
    (State.CLOSED, Event.ADOPT): State.ESTABLISHED,
}


PAGE = Path(__file__).parents[2] / "docs" / "tcp.md"
BEGIN, END = "<!-- states -->\n", "<!-- end of states -->\n"
WORDS = {
    Event.OPEN: "open, send SYN",
    Event.SYN_HELD: "SYN, hold it",
    Event.SYN: "SYN, send SYN-ACK",
    Event.SYN_ACK: "SYN-ACK, send ACK",
    Event.SYN_ACKED: "ACK of SYN",
    Event.SEND_FIN: "close, send FIN",
    Event.FIN: "FIN, send ACK",
    Event.FIN_ACKED: "ACK of FIN",
    Event.FIN_AND_FIN_ACKED: "FIN with ACK of FIN",
    Event.TIMEOUT_2MSL: "2 MSL are over",
    Event.ADOPT: "adopt",
}


def diagram() -> str:
    """The table as a mermaid state diagram; the way to CLOSED that every state has is left out."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for (state, event), to in table().items():
        if event is not Event.DESTROY:
            words = "accept, send SYN-ACK" if state is State.SYN_PENDING else WORDS[event]
            lines.append(f"    {state.name} --> {to.name}: {words}")
    return "\n".join([*lines, "```"]) + "\n"


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside these tests")
def test_the_page_shows_the_table():
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0].strip() == diagram().strip()


def figure() -> dict[tuple[State, Event], State]:
    out = {}
    for line in FIGURE_5.strip().splitlines():
        state, rest = line.split(None, 1)
        event, to = rest.rsplit(None, 1)
        out[State[state], EVENTS[event.strip()]] = State[to]
    return out


def test_the_table_is_the_figure_and_what_stands_beside_it():
    expected = figure() | BESIDE_THE_FIGURE
    expected |= {(state, Event.DESTROY): State.CLOSED for state in State if state is not State.CLOSED}
    assert table() == expected


def test_the_array_says_what_the_table_says():
    for state, event in itertools.product(State, Event):
        assert TRANSITIONS[state, event] == table().get((state, event), -1)
    assert TRANSITIONS.shape == (len(State), len(Event)) and TRANSITIONS.dtype == np.int64


def test_every_state_is_reached_from_closed_and_leads_back_to_it():
    reached, border = {State.CLOSED}, [State.CLOSED]
    while border:
        state = border.pop()
        for (source, _), to in table().items():
            if source is state and to not in reached:
                reached.add(to)
                border.append(to)
    assert reached == set(State) - {State.LISTEN}
    for state in reached - {State.CLOSED}:
        without_reset = {
            to for (source, event), to in table().items() if source is state and event is not Event.DESTROY
        }
        assert without_reset, f"{state} has no way on but a reset"


STATES_SEEN = {
    "a closes first": (
        "SYN-SENT ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT",
        "SYN-RECEIVED ESTABLISHED CLOSE-WAIT LAST-ACK",
    ),
    "both at once": (
        "SYN-SENT ESTABLISHED FIN-WAIT-1 CLOSING TIME-WAIT",
        "SYN-RECEIVED ESTABLISHED FIN-WAIT-1 CLOSING TIME-WAIT",
    ),
}


@pytest.mark.parametrize("how", STATES_SEEN)
@pytest.mark.parametrize("role", ["server", "gateway"])
def test_a_connection_walks_through_its_states(how, role):
    """Section 3.6, figures 12 and 13, seen from the flow tables of both stacks at every instant."""
    net = Net(Link(rtt=10 * MS), role=role)
    walked: dict[str, list[str]] = {"a": [], "b": []}

    def note() -> None:
        for side in "ab":
            for flow in net.stack(side).flows():
                if walked[side][-1:] != [flow["state"]]:
                    walked[side].append(flow["state"])

    def held(conn) -> None:
        note()
        conn.accept(net.now)

    net.script, net.held = note, held
    a, b = net.pair()
    if how == "both at once":
        # Half a round trip apart would do as well; at one instant both FINs cross.
        net.wait(SECOND)
        b.conn.shutdown(net.now)
    a.conn.shutdown(net.now)
    net.wait(SECOND)
    if how != "both at once":
        assert (a.conn.state, b.conn.state) == ("FIN-WAIT-2", "CLOSE-WAIT")
        b.conn.shutdown(net.now)
    net.wait(120 * SECOND)
    near, far = (words.split() for words in STATES_SEEN[how])
    assert walked["a"] == near
    assert walked["b"] == (["SYN-PENDING"] if role == "gateway" else []) + far
    assert a.reason == b.reason == "closed"
    net.check_over()


def test_simultaneous_open():
    """Figure 8: both send a SYN, both answer it, one connection stands."""
    net = Net(Link(rtt=10 * MS))
    near = net.connect(b"up", sport=5000, port=6000)
    far = End(net.b.connect(net.a.addresses[0][0], 5000, 6000, now=net.now), b"down")
    net.ends["b", far.conn.id] = far
    net.run(limit=200 * SECOND)
    assert (bytes(near.got), bytes(far.got)) == (b"down", b"up")
    assert near.reason == far.reason == "closed"
    assert net.a.counters["connections"] == net.b.counters["connections"] == 1
    net.check_over()


@given(
    st.integers(0, 1 << 30),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.sampled_from(["shutdown", "abort", "write"]))),
)
def test_no_impossible_transition_is_ever_counted(seed, steps):
    """Closing, aborting and writing at any moment on a bad link ends in CLOSED by the table alone."""
    net = Net(
        Link(rtt=20 * MS, loss=0.1, duplicate=0.1, reorder=0.2), seed, TcpConfig(time_wait=SECOND, data_retries=6)
    )
    net.accept_with = far = End(shutdown_after=False)
    near = net.connect(shutdown_after=False)
    for delay, side, what in steps[:20]:
        net.wait(delay * MS)
        conn = (near if side == "a" else far).conn
        if conn is not None:
            if what == "write":
                conn.write(b"x" * 3000, net.now)
            else:
                getattr(conn, what)(net.now)
        net.check()
    for end in (near, far):
        if end.conn is not None:
            end.conn.shutdown(net.now)
    net.run(limit=net.now + 1000 * SECOND)
    for end in (far, near):  # one may have come too late for its shutdown, and its RST may get lost
        if end.conn is not None:
            end.conn.abort(net.now)
            net.run(limit=net.now + 1000 * SECOND)
    net.check_over()


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    PAGE.write_text(head + BEGIN + "\n" + diagram() + "\n" + END + rest.split(END)[1], encoding="utf-8")
