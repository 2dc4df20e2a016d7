"""Two stacks at the ends of a link, and a transfer between them in one compiled call."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import AeroLabError
from ...limits import MTU_DEFAULT, NEVER, SECOND
from ...link.direction import LinkDirection
from ...link.stages import Stage
from ...stack import Connection, Stack, StackConfig, TcpConfig
from ...wire.address import ip
from . import race

SENDER, READER = ip("192.0.2.1"), ip("192.0.2.2")
PORT = 9
HANDSHAKE_TURNS = 1_000_000
DAY = 86_400 * SECOND


@dataclass(frozen=True)
class Habits:
    """What other TCPs do otherwise than ours, to be switched on one by one."""

    kept_backoff: bool = False
    """A doubled RTO stays until a round trip is sampled of data sent once (Karn; RFC 6298 section 5.7). Ours begins
    anew with each acknowledgement of new data, as Linux does."""
    go_back_n: bool = False
    """With ``kept_backoff``: a timeout sends everything again from the first unacknowledged byte, cut anew, and the
    third duplicate acknowledgement the oldest segment alone. There is no recovery that partial acknowledgements would
    go on with (RFC 6582). A closed window is asked about with a byte of data, by the timer that would send again."""
    ring_cut: bool = False
    """With ``go_back_n``: a segment ends where the send buffer, a ring, does."""
    probe_at_once: bool = False
    """With ``go_back_n``: a window that is found closed when there is data is asked about at once and not after an
    RTO."""
    batched_ack: bool = False
    """What came at one instant gets one acknowledgement, before it is read; reading is told when it doubles the window.
    Each acknowledgement offers all the room there is (no avoidance of silly windows)."""
    holes: int = 0
    """Ranges behind a hole that the reader remembers; what would be one more is thrown away. 0: as many as ours."""
    ack_counting: bool = False
    """NewReno opens its window by acknowledgements, not by bytes acknowledged (RFC 3465 has changed that)."""


OURS = Habits()


@dataclass(frozen=True)
class Outcome:
    """What one transfer came to. Times are ns of virtual time."""

    ok: bool
    """Whether everything arrived. A rate of what arrived until a flow stood still says nothing: see :meth:`whole`."""
    bytes: int
    ns: int
    """From the first SYN to the last byte read."""
    settled_ns: int
    settled_bytes: int
    """The part behind the first ``settle`` bytes."""
    mean_cwnd: float
    mean_flight: float
    """Means over that part, in segments."""
    segments: int
    retransmissions: int
    timeouts: int
    acks: int
    turns: int
    lost: int
    queue_full: int
    refused: int
    """Packets that a reader with other habits threw away."""

    def whole(self) -> Outcome:
        """This, if everything arrived; an error if the flow broke off or ran into its deadline."""
        if not self.ok:
            raise AeroLabError(
                f"the flow ended after {self.bytes:,} bytes and {self.ns / SECOND:,.3f} s of virtual time"
            )
        return self

    @property
    def bytes_per_second(self) -> float:
        return self.bytes * SECOND / self.ns if self.ns else 0.0

    @property
    def settled_rate(self) -> float:
        """Bytes a second behind the settling."""
        return self.settled_bytes * SECOND / self.settled_ns if self.settled_ns else 0.0


class Pair:
    """A sender and a reader joined by the stages of a link, one row of them for each direction.

    Packets are bare IP. ``run`` sends ``total`` bytes one way and may be called once. With ``lose_each`` exactly every
    so many-th packet with data is lost.
    """

    def __init__(
        self,
        there: Sequence[Stage],
        back: Sequence[Stage],
        tcp: TcpConfig,
        reader: TcpConfig | None = None,
        seed: int = 1,
        mtu: int = MTU_DEFAULT,
        habits: Habits = OURS,
        frames: int = 1 << 14,
        arena: int = 32 << 20,
        lose_each: int = 0,
    ):
        rng = random.Random(seed)
        config = StackConfig(role="guest", medium="ip", addresses=((SENDER, 24),), mtu=mtu, max_connections=1, tcp=tcp)
        self.sender = Stack(config, rng, 0)
        self.delack_time = (reader or tcp).delack_time
        if habits.batched_ack:  # the race acknowledges
            reader = replace(reader or tcp, delack_segments=64, delack_time=DAY)
        theirs = replace(config, role="server", addresses=((READER, 24),), tcp=tcp if reader is None else reader)
        self.reader = Stack(theirs, rng, 0)
        self.there = LinkDirection(there, rng, self.sender.tx, self.reader.rx, frames=frames, arena=arena, name="there")
        self.back = LinkDirection(back, rng, self.reader.tx, self.sender.rx, frames=frames, arena=arena, name="back")
        self.habits = habits
        self.lose_each = lose_each
        self.now = 0
        self._open()

    def turn(self) -> int:
        """One round of everything; returns when the next one is due."""
        now = self.now
        nodes = (self.sender, self.reader, self.there, self.back)
        for node in nodes:
            node.step(now)
        return min(node.poll_at(now) for node in nodes)

    def _open(self) -> None:
        """The handshake; lost packets of it are sent again as ever."""
        self.reader.listen(PORT)
        self.sender.connect(READER, PORT, now=0)
        for _ in range(HANDSHAKE_TURNS):
            due = self.turn()
            self.reader.events()
            self.sender.events()
            if [row["state"] for row in self.sender.flows() + self.reader.flows()] == ["ESTABLISHED"] * 2:
                return
            if due >= NEVER:
                break
            self.now = max(self.now, due)
        raise AeroLabError("the two stacks found no connection")

    def end_slow_start_at(self, segments: int) -> None:
        """Slow start ends at this window: a flow that has been on for long would not begin beyond it."""
        row = self.sender._tcb[0]
        self.sender._set(row, "ssthresh", segments * self._of(self.sender, "mss"))

    def ends(self) -> tuple[Connection, Connection]:
        """The connection as the sender and as the reader has it, for programs of one's own and :meth:`turn`."""
        return self.sender._connections[self._of(self.sender, "id")], self.reader._connections[
            self._of(self.reader, "id")
        ]

    @staticmethod
    def _parts(stack: Stack) -> tuple[Any, ...]:
        return (
            *(stack._world, stack._tcb, stack._segs, stack._heap, stack.rx.array, stack.tx.array, stack._up.array),
            *(stack._reasm, stack._fragments),
        )

    @staticmethod
    def _of(stack: Stack, name: str) -> int:
        """A field of the one connection."""
        return int(stack._field(stack._tcb[0], name))

    def run(self, total: int, settle: int = 0, deadline: int = 10_000 * DAY) -> Outcome:
        """Send ``total`` bytes; means are taken behind the first ``settle``."""
        z = np.zeros(race.WORDS, np.int64)
        z[race.NOW], z[race.TOTAL], z[race.DEADLINE], z[race.LAST_AT] = self.now, total, deadline, self.now
        z[race.FROM] = settle
        habits = self.habits
        z[race.KEPT_BACKOFF], z[race.GO_BACK_N] = habits.kept_backoff, habits.go_back_n
        z[race.RING_CUT], z[race.BATCHED_ACK], z[race.HOLES] = habits.ring_cut, habits.batched_ack, habits.holes
        z[race.PROBE_AT], z[race.DELACK_AT], z[race.DELACK_TIME] = NEVER, NEVER, self.delack_time
        z[race.OFFERED], z[race.SENT_TO] = self._of(self.reader, "rcv_adv"), self._of(self.sender, "snd_nxt")
        z[race.ACK_COUNTING], z[race.PERIOD] = habits.ack_counting, self.lose_each
        z[race.ACKED_TO], z[race.ACKS_SEEN] = self._of(self.sender, "snd_una"), self._of(self.sender, "segs_in")
        z[race.PROBE_AT_ONCE] = habits.probe_at_once
        areas = np.zeros(2)
        z[race.RTO_KEPT], z[race.TIMEOUTS_SEEN] = self._of(self.sender, "rto"), self._of(self.sender, "timeouts")
        data = np.zeros(self.sender.config.tcp.send_buffer, np.uint8)
        data.flags.writeable = False
        arguments = (
            *self._parts(self.sender),
            *self._parts(self.reader),
            *self.there._args,
            *self.back._args,
            data,
            z,
            areas,
        )
        state = 0
        while state == 0:
            before = z[race.NOW]
            state = race.race(*arguments, race.TURNS_AT_ONCE)
            if state == 0 and z[race.NOW] == before:
                raise AeroLabError(f"the two stacks find no end at {before / SECOND:,.3f} s of virtual time")
        self.now = int(z[race.NOW])
        settled = self.now - int(z[race.FIRST_READ_AT])
        per = max(settled, 1) * 1e-9 * self._of(self.sender, "mss")
        return Outcome(
            ok=state == race.DONE,
            bytes=int(z[race.READ]),
            ns=self.now,
            settled_ns=settled,
            settled_bytes=int(z[race.READ] - z[race.SHORT_READ]),
            mean_cwnd=float(areas[race.AREA_CWND]) / per,
            mean_flight=float(areas[race.AREA_FLIGHT]) / per,
            segments=self._of(self.sender, "segs_out"),
            retransmissions=self._of(self.sender, "retransmits"),
            timeouts=self._of(self.sender, "timeouts"),
            acks=self._of(self.reader, "segs_out"),
            turns=int(z[race.TURNS]),
            lost=self.there.counters["lost"] + self.back.counters["lost"],
            refused=int(z[race.REFUSED]),
            queue_full=self.there.counters["queue_full"] + self.back.counters["queue_full"],
        )
