"""smoltcp's TCP and the network it is measured in, rule by rule, in plain Python: what its very figures need.

Not a TCP to use but a reading of another one, against which the habits switched on in ours are checked: with the random
numbers of the published runs it gives the published tables to their last digit. Two ends exchange messages over two
wires; the *writer* has always more to send, the *reader* reads at once. Times are microseconds, numbers count from 0,
and there is nothing in it that those runs do not use: no FIN, no reset, no SACK, no congestion control.

Where the rules are not the plain ones of RFC 9293 and RFC 6298, the lines that follow them say so.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

MS, S = 1_000, 1_000_000
NEVER = 1 << 62
MSS = 1460
DELACK = 10 * MS
RTO_MIN, RTO_MAX = 1 * S, 60 * S
NEIGHBOUR_LIFE, NEIGHBOUR_RETRY = 60 * S, 1 * S
"""How long a link address is believed after the last packet from there, and how soon it is asked for again."""
HOLES = 4
ARP_BYTES, HEADERS = 42, 54
"""Lengths of frames without payload: ARP; Ethernet, IPv4 and TCP (a SYN has 4 more for its MSS)."""
CLOSED, LISTEN, SYN_SENT, SYN_RECEIVED, ESTABLISHED = range(5)
RETRANSMIT, AGAIN, PROBE = 1, 2, 3
"""What the one timer of a connection is for: a retransmission, the third duplicate, a closed window. 0: nothing."""


class Numbers:
    """Random numbers in [0, 1) as ChaCha20 gives them from a small seed (20 rounds, a counter of 64 bits)."""

    def __init__(self, seed: int):
        key, mask = [], (1 << 64) - 1
        for _ in range(8):  # a seed becomes a key by PCG32
            seed = (seed * 6364136223846793005 + 11634580027462260723) & mask
            word, turn = (((seed >> 18) ^ seed) >> 27) & 0xFFFFFFFF, seed >> 59
            key.append(((word >> turn) | (word << (32 - turn))) & 0xFFFFFFFF)
        self.key = key
        self.block = 0
        self.left: list[float] = []

    def more(self, blocks: int = 4096) -> None:
        pairs = keystream(self.key, self.block, blocks).astype(np.uint64).reshape(-1, 2)
        whole = (pairs[:, 0] | pairs[:, 1] << np.uint64(32)) >> np.uint64(11)
        self.block += blocks
        self.left = (whole.astype(np.float64) * 2.0**-53)[::-1].tolist()

    def next(self) -> float:
        if not self.left:
            self.more()
        return self.left.pop()


def keystream(key: Iterable[int], start: int, blocks: int) -> np.ndarray:
    """Words of ChaCha20 (RFC 8439 section 2.3 with the counter in two words and a nonce of 0)."""
    counter = np.arange(start, start + blocks, dtype=np.uint64)
    words = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
    first = [np.broadcast_to(np.asarray(word, np.uint64), (blocks,)).astype(np.uint32) for word in words]
    x = [word.copy() for word in first]
    columns = [(i, i + 4, i + 8, i + 12) for i in range(4)]
    diagonals = [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
    for _ in range(10):
        for a, b, c, d in columns + diagonals:
            for to, by, turned, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[to] += x[by]
                mixed = x[turned] ^ x[to]
                x[turned] = mixed << np.uint32(left) | mixed >> np.uint32(32 - left)
    return np.stack([a + b for a, b in zip(x, first, strict=True)], 1).reshape(-1)


@dataclass
class Message:
    """A segment, or with ``arp`` a question for a link address (1) or its answer (2)."""

    seq: int = 0
    ack: int = -1
    window: int = 0
    size: int = 0
    syn: bool = False
    arp: int = 0

    @property
    def frame(self) -> int:
        """Bytes of the frame."""
        return ARP_BYTES if self.arp else HEADERS + self.size + 4 * self.syn


@dataclass
class Line:
    """What flows share: ``rate`` bytes a second behind a queue of ``room`` bytes that drops what does not fit; 0 is
    unlimited."""

    rate: int = 0
    room: int = 0
    free_at: int = 0
    offered: int = 0
    dropped: int = 0

    def pass_at(self, size: int, now: int) -> int:
        """When a frame has left it; -1 when it is dropped."""
        self.offered += 1
        if not self.rate:
            return now
        if max(self.free_at - now, 0) * self.rate // S + size > self.room:
            self.dropped += 1
            return -1
        self.free_at = max(self.free_at, now) + size * S // self.rate
        return self.free_at


@dataclass
class Wire:
    """One direction: the line, then random loss, then the delay."""

    line: Line
    loss: float
    delay: int
    numbers: Numbers
    queue: list[tuple[int, int, Message]] = field(default_factory=list)
    count: int = 0

    def push(self, message: Message, now: int) -> None:
        at = self.line.pass_at(message.frame, now)
        if at < 0 or self.numbers.next() < self.loss:  # a number for each frame, whatever the loss
            return
        heapq.heappush(self.queue, (at + self.delay, self.count, message))
        self.count += 1

    def due(self) -> int:
        return self.queue[0][0] if self.queue else NEVER


class End:
    """One end of a connection."""

    def __init__(self, buffer: int, out: Wire, into: Wire):
        self.size, self.out, self.into = buffer, out, into
        self.shift = max(buffer.bit_length() - 16, 0)
        self.state = CLOSED
        self.snd_una = self.snd_nxt = self.queued = self.ring = 0
        self.snd_wnd = 0
        self.rcv_nxt = self.unread = 0  # rcv_nxt moves when bytes are read
        self.acked, self.offered = -1, 0  # last acknowledgement and window sent
        self.ranges: list[tuple[int, int]] = []
        self.timer, self.at, self.probe_delay = 0, NEVER, 0
        self.rto, self.srtt, self.rttvar, self.backoffs = RTO_MIN, 0, 0, 0
        self.timed: tuple[int, int] | None = None
        self.furthest = 0
        self.last_ack, self.duplicates, self.again = -1, 0, False
        self.delack, self.at_once = NEVER, False
        self.challenged = 0
        self.known_until, self.asked, self.waiting = -1, 0, NEVER

    # round trips

    def sample(self, rtt: int) -> None:
        if self.srtt:
            self.rttvar = -(-(3 * self.rttvar + abs(self.srtt - rtt)) // 4)
            self.srtt = -(-(7 * self.srtt + rtt) // 8)
        else:
            self.srtt, self.rttvar = rtt, rtt // 2
        self.rto = min(max(MS * (self.srtt + max(5, 4 * self.rttvar)), RTO_MIN), RTO_MAX)
        self.backoffs = 0

    def back_off(self) -> None:
        self.rto = min(2 * self.rto, RTO_MAX)  # and stays until the next sample
        self.backoffs += 1
        if self.backoffs == 3:
            self.backoffs = self.srtt = 0

    # what may go

    def data_may_go(self) -> bool:
        if self.state in (SYN_SENT, SYN_RECEIVED):
            return self.snd_nxt == self.snd_una
        if self.again:
            return self.state == ESTABLISHED and self.queued > 0
        usable = self.snd_una + min(self.snd_wnd, self.queued) - self.snd_nxt
        return self.state == ESTABLISHED and usable > 0 and (self.snd_nxt == self.snd_una or usable >= MSS)

    def owes(self) -> bool:
        return 0 <= self.acked < self.rcv_nxt + self.unread

    def room(self) -> int:
        """What can be offered: all there is, as the window's scale has it."""
        return (self.size - self.unread) >> self.shift << self.shift

    def window_doubled(self) -> bool:
        room = self.room() >> self.shift
        left = (self.acked + self.offered - (self.rcv_nxt + self.unread)) >> self.shift
        return self.acked >= 0 and room > 0 and room // 2 >= left

    def due(self, now: int) -> int:
        """When it has something to do: 0 for at once."""
        if self.state in (CLOSED, LISTEN):
            at = NEVER
        elif self.data_may_go() or self.window_doubled() or self.timer == AGAIN:
            at = 0
        else:
            at = self.at
            if self.owes():
                at = 0 if self.at_once or self.delack == NEVER else min(at, self.delack)
        return at if self.waiting == NEVER or now < self.known_until else self.waiting

    # arrivals

    def restated(self) -> Message:
        """An acknowledgement of what is there."""
        self.acked, self.offered = self.rcv_nxt + self.unread, self.room()
        return Message(self.snd_nxt, self.acked, self.offered)

    def challenge(self, now: int) -> Message | None:
        if now < self.challenged:
            return None
        self.challenged = now + S
        return self.restated()

    def poll(self, now: int) -> None:
        """Everything that has come, then everything that may go."""
        while self.into.due() <= now:
            message = heapq.heappop(self.into.queue)[2]
            if message.arp or self.known_until >= 0:  # a packet refreshes what is believed, or was
                self.known_until = now + NEIGHBOUR_LIFE
            if message.arp == 1:
                self.out.push(Message(arp=2), now)
            elif not message.arp:
                answer = self.take(message, now)
                if answer:
                    self.send(answer, now)
        while self.state not in (CLOSED, LISTEN):
            if self.waiting < NEVER:
                if now >= self.known_until and now < self.waiting:
                    break
                self.waiting = NEVER
            if not self.go(now):
                break

    def send(self, message: Message, now: int) -> bool:
        """Send it, or when the other's link address is not known any more, ask for that."""
        if now < self.known_until:
            self.out.push(message, now)
            return True
        if now >= self.asked:
            self.out.push(Message(arp=1), now)
            self.asked = now + NEIGHBOUR_RETRY
        return False

    def take(self, m: Message, now: int) -> Message | None:
        """A segment; returns what answers it at once."""
        if self.state == LISTEN:
            if m.syn and m.ack < 0:
                self.state, self.rcv_nxt, self.acked, self.snd_wnd = SYN_RECEIVED, m.seq + 1, m.seq, m.window
            return None
        opening = self.state in (SYN_SENT, SYN_RECEIVED)
        if self.state == CLOSED or m.ack < self.snd_una + opening or self.state == SYN_SENT and not m.syn:
            return None
        if m.ack > self.snd_una + self.queued + opening:
            return None if opening else self.challenge(now)
        begin, offset, size = self.rcv_nxt + self.unread, 0, 0
        if self.state != SYN_SENT:
            end = self.acked + self.offered
            last = m.seq + m.size
            if m.size:
                fits = begin < end and (begin <= m.seq < end or begin < last <= end)
            else:
                fits = begin == m.seq if begin == end else begin <= m.seq < end
            if not fits:
                return self.restated() if m.size else self.challenge(now)
            offset, size = max(m.seq - begin, 0), min(last, end) - max(m.seq, begin)
        new = m.ack - self.snd_una - opening
        all_of_it = self.snd_nxt <= m.ack
        if self.state == SYN_SENT:
            self.rcv_nxt, self.snd_nxt, self.acked = m.seq + 1, self.snd_una + 1, m.seq
        elif m.syn:
            return None
        self.state = ESTABLISHED
        self.take_ack(m, new, all_of_it, now)
        return self.take_data(begin + offset, size, now) if size > 0 else None

    def take_ack(self, m: Message, new: int, all_of_it: bool, now: int) -> None:
        moved, self.snd_wnd = m.window != self.snd_wnd, m.window
        self.queued -= new
        self.ring = (self.ring + new) % self.size
        if self.last_ack == m.ack and m.size == 0 and m.ack < self.snd_nxt and not moved:
            self.duplicates += 1
            if self.duplicates == 3:
                self.timer, self.at = AGAIN, 0
        else:
            self.duplicates, self.last_ack = 0, m.ack
            if self.timed and m.ack >= self.timed[1]:
                self.sample((now - self.timed[0]) // MS)
                self.timed = None
        self.snd_una = m.ack
        self.snd_nxt = max(self.snd_nxt, m.ack)
        if self.timer in (RETRANSMIT, AGAIN):
            if all_of_it:
                self.timer, self.at = 0, NEVER
            elif new > 0:
                self.timer, self.at = RETRANSMIT, now + self.rto
        if self.snd_wnd == 0 and self.queued and (not self.timer or new > 0):
            self.timer, self.at, self.probe_delay = PROBE, now + self.rto, self.rto
        elif self.snd_wnd and self.timer == PROBE:
            self.timer, self.at = 0, NEVER

    def take_data(self, left: int, size: int, now: int) -> Message | None:
        begin, right = self.rcv_nxt + self.unread, left + size
        in_front, had_holes = left == begin, bool(self.ranges)
        apart = []
        for low, high in self.ranges:
            if high < left or low > right:
                apart.append((low, high))
            else:
                left, right = min(left, low), max(right, high)
        if not in_front and len(apart) == HOLES:
            return None  # thrown away without a word
        ranges = sorted([*apart, (left, right)])
        if ranges[0][0] == begin:
            self.unread += ranges.pop(0)[1] - begin
        self.ranges = ranges
        if self.owes():
            if self.delack == NEVER:
                self.delack = now + DELACK
            elif self.acked + MSS < self.rcv_nxt + self.unread:
                self.at_once = True
        return self.restated() if self.ranges or had_holes else None

    # departures

    def go(self, now: int) -> bool:
        """At most one segment; whether one went."""
        if self.timer == AGAIN or self.timer == RETRANSMIT and now >= self.at:
            if self.timer == RETRANSMIT:
                self.back_off()
                self.snd_nxt = self.snd_una  # and so everything again
            else:
                self.again = True  # the oldest alone
            self.timer, self.at, self.timed = 0, NEVER, None
        probing = self.timer == PROBE and now >= self.at
        owed = self.owes() and (self.at_once or self.delack == NEVER or now >= self.delack)
        if not (self.data_may_go() or owed or self.window_doubled() or probing):
            return False
        m = Message(self.snd_nxt, self.rcv_nxt + self.unread, self.room())
        if self.state in (SYN_SENT, SYN_RECEIVED):
            m.syn, m.seq, m.window, probing = True, self.snd_una, min(self.size, 65535), False
            m.ack = m.ack if self.state == SYN_RECEIVED else -1
        else:
            if self.again:
                m.seq, limit, probing = self.snd_una, self.queued, False
            else:
                limit = max(self.snd_una + self.snd_wnd - self.snd_nxt, 0)
                probing = probing and not limit
                limit = min(1 if probing else limit, self.queued - (self.snd_nxt - self.snd_una))
            self.again = False
            place = (self.ring + m.seq - self.snd_una) % self.size
            m.size = max(min(limit, MSS, self.size - place), 0)  # a segment ends where the ring does
        if not self.send(m, now):
            self.waiting = now + NEIGHBOUR_RETRY
            return False
        self.delack, self.at_once = NEVER, False
        if probing:
            self.probe_delay = min(2 * self.probe_delay, RTO_MAX)
            self.at = now + self.probe_delay
            return True
        length = m.size + m.syn
        self.snd_nxt = max(self.snd_nxt, m.seq + length)
        self.acked, self.offered = m.ack, m.window << (self.shift if m.syn else 0)  # a SYN's is not scaled, but kept so
        if length:
            if m.seq + length > self.furthest:
                self.furthest = m.seq + length
                self.timed = self.timed or (now, self.furthest)
            if self.timer not in (RETRANSMIT, AGAIN):
                self.timer, self.at = RETRANSMIT, now + self.rto
        return True

    def write(self) -> None:
        """The writer's program fills the buffer."""
        if self.state == ESTABLISHED and self.queued < self.size:
            if self.queued == 0:
                self.ring = 0
            if self.snd_wnd == 0 and not self.timer:
                self.timer, self.at, self.probe_delay = PROBE, 0, self.rto  # at once
            self.queued = self.size

    def read(self) -> int:
        """The reader's program takes all there is."""
        come, self.unread = self.unread, 0
        self.rcv_nxt += come
        return come


@dataclass
class Flow:
    """A reader and a writer, and how much has been read."""

    reader: End
    writer: End
    read: int = 0

    def turn(self, now: int) -> None:
        self.reader.poll(now)
        self.reader.state = self.reader.state or LISTEN
        self.read += self.reader.read()
        self.writer.poll(now)
        self.writer.state = self.writer.state or SYN_SENT
        self.writer.write()

    def due(self, now: int) -> int:
        ends = (self.reader, self.writer)
        return min(min(end.into.due(), end.due(now)) for end in ends)


def play(flows: list[Flow], size: int) -> int:
    """Until every flow has read ``size`` bytes; returns when that is."""
    now, due = 0, [0] * len(flows)
    while any(flow.read < size for flow in flows):
        for i, flow in enumerate(flows):
            if due[i] <= now:
                flow.turn(now)
                due[i] = flow.due(now)
        now = max(now, min(due))
    return now


def flow(
    buffer: int,
    loss: float,
    seeds: tuple[int, int],
    back: Line,
    there: Line,
    rtt: Callable[[Numbers], int] = lambda numbers: 100 * MS,
) -> Flow:
    """A flow whose wires draw from ``seeds``, the reader's way out and the writer's; each takes half of its ``rtt``."""
    wires = []
    for seed, line in zip(seeds, (back, there), strict=True):
        numbers = Numbers(seed)
        wires.append(Wire(line, loss, rtt(numbers) // 2, numbers))
    return Flow(End(buffer, wires[0], wires[1]), End(buffer, wires[1], wires[0]))


def single(buffer: int, loss: float, size: int, seeds: tuple[int, int] = (0, 1)) -> float:
    """Bytes a second of one flow; the published ones are of these seeds."""
    one = flow(buffer, loss, seeds, Line(), Line())
    now = play([one], size)
    return one.read * S / now


@dataclass(frozen=True)
class Many:
    """What several flows came to, in bytes a second: all together, the slowest, the fastest; Jain's fairness; the share
    of frames that the line dropped."""

    aggregate: float
    slowest: float
    fastest: float
    fairness: float
    drops: float

    def columns(self) -> tuple[float, float, float, float, float]:
        return self.aggregate, self.slowest, self.fastest, self.fairness, self.drops


def drawn_rtt(numbers: Numbers) -> int:
    """A round-trip time of 50 to 150 ms, whole milliseconds."""
    step = int(numbers.next() * (1 << 52)) / ((1 << 52) - 1)
    return int(100 * (0.5 + step)) * MS


def shared(flows: int, buffer: int, size: int, rate: int, room: int) -> Many:
    """``flows`` of ``size`` bytes each over a line of ``rate`` bytes a second each way that drops what does not fit
    into ``room``; each side draws its round-trip time from 50 to 150 ms. The published ones are of these seeds."""
    back, there = Line(rate, room), Line(rate, room)
    each = [flow(buffer, 0.0, (2 * i, 2 * i + 1), back, there, drawn_rtt) for i in range(flows)]
    now = play(each, size)
    rates = [one.read * S / now for one in each]
    total = sum(rates)
    fairness = total**2 / (flows * sum(one**2 for one in rates))
    drops = (back.dropped + there.dropped) / (back.offered + there.offered)
    return Many(total, min(rates), max(rates), fairness, drops)
