"""``bench stack``: how many frames a second the compiled receive and transmit paths move on one core.

``rx`` times ``Stack.step`` alone, over a receive ring filled before and a transmit ring emptied afterwards: for every
frame parse, both checksums verified, connection looked up, window, PAWS and RFC 5961 checks, copy into the receive
buffer, acknowledgements built and put out for every second segment, timers armed. All frames are distinct. ``deliver``
adds what Python does for a reader: taking events, freeing the receive buffers. ``ack`` times the step that takes pure
acknowledgements of two segments each. ``tx`` times ``Connection.write``: copying in, cutting, building data frames.

Time is CPU time of the measuring thread: one core's worth, also on a machine that is busy with something else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import AeroLabError
from ..limits import BATCH, MS, SECOND
from ..rings import FrameRing
from ..stack import Connection, Established, Stack, StackConfig, SynReceived, TcpConfig
from ..wire import tcp
from ..wire.frame import dissect, tcp_frame
from ..wire.tcp import Tcp, TcpOptions
from .peers import PEERS, Work, peer_work
from .report import Progress, Result, chosen
from .traffic import flow_record, generate

SAMPLES = 5
MTU = 1600
"""Room for 1460 bytes of payload beside timestamps."""
FRAMES, FRAMES_ONE_FLOW = 512, 128
"""Frames in a step; one flow alone is kept within its window."""
ACKED = 2
"""Segments that one acknowledgement of the ``ack`` cases covers."""
WRITTEN = 8
"""Segments written to a connection at once in the ``tx`` and ``ack`` cases."""
PEER_FRAMES = 64
PORT, SHIFT = 80, 7
STACK_MAC, PEER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000015")
PAYLOAD = np.frombuffer(bytearray(random.Random(1460).randbytes(1 << 16)), np.uint8)


@dataclass(frozen=True)
class Case:
    name: str
    kind: str
    size: int
    flows: int
    family: int = 4
    peers: bool = False


CASES = (
    Case("rx/1460B/64flows", "rx", 1460, 64, peers=True),
    Case("rx/256B/64flows", "rx", 256, 64, peers=True),
    Case("rx/64B/64flows", "rx", 64, 64, peers=True),
    Case("rx/1460B/1flow", "rx", 1460, 1),
    Case("rx/1460B/1024flows", "rx", 1460, 1024),
    Case("rx6/1460B/64flows", "rx", 1460, 64, family=6),
    Case("deliver/1460B/64flows", "deliver", 1460, 64),
    Case("ack/1flow", "ack", 0, 1),
    Case("ack/64flows", "ack", 0, 64),
    Case("ack/1024flows", "ack", 0, 1024),
    Case("tx/1460B/1flow", "tx", 1460, 1),
    Case("tx/1460B/64flows", "tx", 1460, 64),
    Case("tx/256B/64flows", "tx", 256, 64),
)


def address(number: int, family: int) -> bytes:
    """Address of host ``number`` on the bench's network."""
    if family == 4:
        return bytes([10, 1, number >> 8, number & 0xFF])
    return bytes.fromhex("fd00aee000000001") + number.to_bytes(8, "big")


class Bench:
    """A gateway with ``case.flows`` connections that a peer opened, and the source of the peer's segments."""

    def __init__(self, case: Case):
        self.case, self.now, self.sent = case, SECOND, 0
        self.us, self.them = address(1, case.family), address(2, case.family)
        self.mss = case.size or 1460
        buffers = (256 if case.flows <= 64 else 64) << 10
        config = StackConfig(
            role="gateway",
            mac=STACK_MAC,
            addresses=((address(3, case.family), 16 if case.family == 4 else 64),),
            mtu=MTU,
            max_connections=case.flows,
            tcp=TcpConfig(congestion="none", nagle=False, send_buffer=buffers, recv_buffer=buffers),
        )
        self.stack = Stack(config, random.Random(7), self.now)
        self.connections: list[Connection] = []
        self.header = 14 + (20 if case.family == 4 else 40) + 32
        self.flows = np.frombuffer(bytearray(b"".join(self._open(i) for i in range(case.flows))), np.uint8)
        self.frames = FRAMES_ONE_FLOW if case.flows == 1 else FRAMES
        if len(self.connections) != case.flows:
            raise AeroLabError(f"{len(self.connections)} of {case.flows} connections opened: {self.stack.drops}")

    def _open(self, index: int) -> bytes:
        """Open one connection by hand, from a port of its own; gives its flow record."""
        sport, seq = 1024 + index, 1000 * index
        options = TcpOptions(mss=self.mss + 12, wscale=SHIFT, timestamps=(1, 0))
        self._give(Tcp(sport, PORT, seq, 0, tcp.SYN, 65535, options=options))
        self._turn()
        (answer,) = (dissect(f.data)[-1] for f in self.stack.tx.pop_many(1 << 20))
        assert isinstance(answer, Tcp) and answer.options.timestamps is not None
        echo = answer.options.timestamps[0]
        self._give(Tcp(sport, PORT, seq + 1, answer.seq + 1, tcp.ACK, 65535, options=TcpOptions(timestamps=(2, echo))))
        self._turn()
        link = STACK_MAC + PEER_MAC + (b"\x08\0" if self.case.family == 4 else b"\x86\xdd")
        return flow_record(link, self.them, self.us, sport, PORT, seq + 1, answer.seq + 1, echo, stamp=2)

    def _give(self, segment: Tcp) -> None:
        self.stack.rx.push(tcp_frame(PEER_MAC, STACK_MAC, self.them, self.us, segment), self.now)

    def _turn(self) -> None:
        for _ in range(2):
            self.stack.step(self.now)
            for event in self.stack.events():
                if isinstance(event, SynReceived):
                    event.conn.accept(self.now)
                elif isinstance(event, Established):
                    self.connections.append(event.conn)

    def _fill(self, ring: FrameRing, number: int, size: int, ack_step: int) -> int:
        """Let the peer send ``number`` segments, round robin over its connections."""
        self.now += MS
        done = generate(ring.array, self.flows, PAYLOAD, self.sent, number, 14, self.header, size, ack_step, self.now)
        self.sent += done
        return done

    def _timed_step(self) -> float:
        start = time.thread_time()
        self.stack.step(self.now)
        return time.thread_time() - start

    # One round of each kind: (frames, seconds) --------------------------------------------------------------------

    def rx(self) -> tuple[int, float]:
        number = self._fill(self.stack.rx, self.frames, self.case.size, 0)
        seconds = self._timed_step()
        self._read()
        return number, seconds

    def deliver(self) -> tuple[int, float]:
        number = self._fill(self.stack.rx, self.frames, self.case.size, 0)
        start = time.thread_time()
        self.stack.step(self.now)
        self._read()
        seconds = time.thread_time() - start
        self.stack.tx.pop_many(1 << 20)
        return number, seconds

    def _read(self) -> None:
        self.stack.events()
        for connection in self.connections:
            connection.consume(connection.readable, self.now)
        if self.case.kind != "deliver":
            self.stack.tx.pop_many(1 << 20)

    def _write(self) -> tuple[int, float]:
        """Write to every connection; gives the frames that came of it and the time the writes took."""
        data = PAYLOAD[: WRITTEN * self.mss].tobytes()
        writes = max(1, self.frames // WRITTEN) if self.case.flows == 1 else 1
        frames, seconds = 0, 0.0
        for at in range(0, len(self.connections), 64):
            group = self.connections[at : at + 64] * writes
            start = time.thread_time()
            for connection in group:
                connection.write(data, self.now)
            seconds += time.thread_time() - start
            frames += len(self.stack.tx.pop_many(1 << 20))
        return frames, seconds

    def _acknowledge(self, frames: int) -> tuple[int, float]:
        """Let the peer acknowledge what was written, two segments at a time."""
        number = self._fill(self.stack.rx, frames // ACKED, 0, ACKED * self.mss)
        seconds = self._timed_step()
        self.stack.tx.pop_many(1 << 20)
        self.stack.events()
        return number, seconds

    def tx(self) -> tuple[int, float]:
        frames, seconds = self._write()
        self._acknowledge(frames)
        return frames, seconds

    def ack(self) -> tuple[int, float]:
        frames, _ = self._write()
        number, seconds, left = 0, 0.0, frames
        while left > 0:
            part = min(left, ACKED * 1024)
            done, took = self._acknowledge(part)
            number, seconds, left = number + done, seconds + took, left - part
        return number, seconds

    def sample(self, seconds: float) -> float:
        """Frames a second, over rounds that took ``seconds`` of measured time."""
        one = getattr(self, self.case.kind)
        number, spent = 0, 0.0
        while spent < seconds:
            frames, took = one()
            if not frames:
                raise AeroLabError(f"{self.case.name}: nothing moved; drops {self.stack.drops}")
            number, spent = number + frames, spent + took
        return number / spent

    def check(self) -> None:
        """What was measured was work done, not frames dropped."""
        if self.stack.drops or self.stack.tx.refused or self.stack.open_connections != self.case.flows:
            raise AeroLabError(f"{self.case.name}: frames were dropped: {self.stack.drops}, {self.stack!r}")
        if self.case.kind in ("tx", "ack") and any(c.unacked for c in self.connections):
            raise AeroLabError(f"{self.case.name}: data was left unacknowledged")


class PeerBench:
    """A peer at work on segments of the same kind."""

    def __init__(self, case: Case, work: Work):
        self.work, self.case, self.sent = work, case, 0
        us, them = address(1, 4), address(2, 4)
        link = STACK_MAC + PEER_MAC + b"\x08\0"
        records = (flow_record(link, them, us, 1024 + i, PORT, 1 + 1000 * i, 1, 0) for i in range(case.flows))
        self.flows = np.frombuffer(bytearray(b"".join(records)), np.uint8)
        self.ring = FrameRing(PEER_FRAMES, 2 * PEER_FRAMES * 2048)

    def sample(self, seconds: float) -> float:
        number, spent = 0, 0.0
        while spent < seconds:
            self.sent += generate(
                self.ring.array, self.flows, PAYLOAD, self.sent, PEER_FRAMES, 14, 66, self.case.size, 0, 0
            )
            frames = [f.data for f in self.ring.pop_many(PEER_FRAMES)]
            start = time.thread_time()
            taken = self.work(frames)
            spent += time.thread_time() - start
            if taken != PEER_FRAMES * self.case.size:
                raise AeroLabError(f"the peer took {taken} bytes of {PEER_FRAMES * self.case.size}")
            number += len(frames)
        return number / spent


def chosen_cases(names: Sequence[str] | None) -> list[Case]:
    """The cases whose names begin with one of ``names``; all when there are none."""
    return chosen(CASES, names)


def measure(
    seconds: float, cases: Sequence[str] | None = None, peers: bool = True, progress: Progress | None = None
) -> list[Result]:
    """Run the cases, samples of ours and of the peers taken in turn."""
    todo = chosen_cases(cases)
    tell: Progress = progress or (lambda done, total, what: None)
    results: list[Result] = []
    for done, case in enumerate(todo):
        tell(done, len(todo), case.name)
        results += _measure_case(case, seconds, peers)
    tell(len(todo), len(todo), "")
    return results


def _measure_case(case: Case, seconds: float, peers: bool) -> list[Result]:
    bench = Bench(case)
    bench.sample(seconds / 20)  # memory is touched and kernels are loaded before anything is measured
    rows: list[tuple[Result, Callable[[float], float] | None]] = []
    samples: list[float] = []
    for name in PEERS if peers and case.peers else ():
        work, reason = peer_work(name)
        row = Result(case.name, "frames/s", samples, name, reason=reason, per_call=BATCH)
        rows.append((row, None if work is None else PeerBench(case, work).sample))
    if not rows:
        rows.append((Result(case.name, "frames/s", samples, per_call=BATCH), None))
    for _ in range(SAMPLES):
        samples.append(bench.sample(seconds / SAMPLES))
        for row, sample in rows:
            if sample is not None:
                try:
                    row.peer_samples.append(sample(seconds / SAMPLES))
                except Exception as error:  # another version of a peer must not end the run
                    row.reason = row.reason or f"{row.peer}: {type(error).__name__}: {error}"
    bench.check()
    return [row for row, _ in rows]
