"""What goes: TSNs, what was acknowledged, what is missing, T3-rtx (RFC 9260 section 6, RFC 3758 section 3.5)."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from ...limits import NEVER
from .chunks import FIRST, FORWARD_HEADER, LAST, UNORDERED, Data, ForwardTsn, Sack
from .congestion import Congestion
from .constants import Constants
from .receiver import MASK, unwrapped
from .streams import Outgoing, fragments

STRIKES = 3
"""Reports after which a chunk counts as lost (section 7.2.4)."""
NAMES = 1024
"""Names kept at most of messages that were given up and may arrive all the same."""


class Part:
    """A DATA chunk and what became of it."""

    __slots__ = (
        "abandoned",
        "acked",
        "chunk",
        "fast",
        "flying",
        "message",
        "misses",
        "pending",
        "sent",
        "sent_at",
        "size",
        "tsn",
    )

    def __init__(self, tsn: int, chunk: Data, message: Outgoing):
        self.tsn, self.chunk, self.message = tsn, chunk, message
        self.size = len(chunk.payload)
        self.acked = self.abandoned = self.pending = self.flying = self.fast = False
        """``pending``: to be sent again; ``flying``: counted as outstanding; ``fast``: was found missing once."""
        self.misses = self.sent = 0
        self.sent_at = 0


class Sender:
    """The sending half of an association. Numbers are unwrapped.

    Counters: ``retransmissions`` (chunks sent again), ``timeouts`` (of T3-rtx), ``recoveries``, ``abandoned``
    (messages).
    """

    def __init__(self, constants: Constants, first: int, peer_window: int):
        self._constants = constants
        self.congestion = Congestion(constants, peer_window)
        self.window = peer_window
        """What the peer's window leaves beyond that which is outstanding."""
        self.flight = 0
        self.next_tsn = first
        self.cumulative = first - 1
        self.expires = NEVER
        """When T3-rtx does."""
        self.rto = constants.rto_initial
        self.srtt = self.rttvar = -1
        self.failures = 0
        self.queue: deque[Outgoing] = deque()
        """Messages not yet cut."""
        self.queued: dict[int, int] = {}
        """Bytes of them, by stream."""
        self.named: dict[int, int] = {}
        """Identities of messages, where the owner gave them any, by the TSN of their first part. The receiving end
        takes them out."""
        self._given_up: list[tuple[int, int]] = []
        """Last and first TSN of messages given up that may arrive all the same, a heap: their names are kept until the
        peer's cumulative TSN is beyond them."""
        self.counts = dict.fromkeys(("retransmissions", "timeouts", "recoveries", "abandoned"), 0)
        self._unsent: deque[Part] = deque()
        self._sent: dict[int, Part] = {}
        """Sent and not acknowledged cumulatively, by TSN, ascending."""
        self._again: list[int] = []
        """TSNs to be sent again, a heap; some may have been acknowledged since."""
        self._rescue = False
        """The first packet of retransmissions of a fast recovery does not ask the window (section 7.2.4, step 3)."""
        self._sequence: dict[int, int] = {}
        self._advanced = first - 1
        """Advanced.Peer.Ack.Point."""
        self._skipped: dict[int, tuple[int, int]] = {}
        """Last sequence number given up, and its TSN, by stream."""
        self._forward = False
        self._last_sent = NEVER
        self._blocks: tuple[tuple[int, int], ...] = ()
        self._limit = 0

    # In ---------------------------------------------------------------------------------------------------------------

    def put(self, message: Outgoing) -> None:
        """Queue a message."""
        self.queue.append(message)
        self.queued[message.stream] = self.queued.get(message.stream, 0) + len(message.payload)

    def sack(self, sack: Sack, now: int) -> None:
        """A SACK came (section 6.2.1)."""
        cumulative = unwrapped(sack.cumulative, self.cumulative)
        if cumulative < self.cumulative or cumulative >= self.next_tsn:
            return
        congestion = self.congestion
        flight, used = self.flight, self.flight >= congestion.cwnd
        moved = cumulative > self.cumulative
        size = self._take_cumulative(cumulative, now) if moved else 0
        lost = False
        if sack.gaps:
            found, lost = self._take_gaps(sack.gaps, now, moved)
            size += found
        if moved and size:
            congestion.acked(size, used, flight)
        if lost and congestion.lost(self._highest):
            self._rescue = True
            self.counts["recoveries"] += 1
        congestion.reached(cumulative)
        self.window = max(0, sack.a_rwnd - self.flight)
        if moved or not sack.a_rwnd:  # a closed window is no failure: probes go on (section 6.1 A)
            self.failures = 0
        if not self._sent:
            self.expires = NEVER
            congestion.settled()
        elif moved:
            self.expires = now + self.rto
        self._advance()

    def _take_cumulative(self, cumulative: int, now: int) -> int:
        size, first = 0, True
        sent = self._sent
        for tsn in range(self.cumulative + 1, cumulative + 1):
            part = sent.pop(tsn, None)
            if part is None:
                continue
            if not part.acked:
                size += part.size
            self._land(part)
            if first and part.sent == 1:
                self._measure(now - part.sent_at)
            first = False
        self.cumulative = cumulative
        while self._given_up and self._given_up[0][0] <= cumulative:
            self.named.pop(heappop(self._given_up)[1], None)
        return size

    def _take_gaps(self, gaps: tuple[tuple[int, int], ...], now: int, moved: bool) -> tuple[int, bool]:
        """Bytes newly acknowledged, and whether something is missing for good."""
        sent, base = self._sent, self.cumulative
        blocks = []
        size, newest = 0, base
        known = self._blocks
        at = 0
        for first, last in gaps:
            if not 1 < first <= last:
                continue  # no gap before it: nonsense
            first, last = base + first, min(base + last, self.next_tsn - 1)
            blocks.append((first, last))
            # What the SACK before this one told already need not be looked at again.
            while at < len(known) and known[at][1] < first:
                at += 1
            start = known[at][1] + 1 if at < len(known) and known[at][0] <= first else first
            for tsn in range(start, last + 1):
                part = sent.get(tsn)
                if part is not None and not part.acked:
                    size += part.size
                    newest = max(newest, tsn)
                    part.acked = True
                    self._land(part)
        self._blocks = tuple(blocks)
        if moved and blocks and self._constants.recovery_strikes and self.congestion.recovering:
            newest = blocks[-1][1]
        lost, once = False, self._constants.fast_once
        expected = base + 1
        for first, last in blocks:
            if expected > newest:
                break
            for tsn in range(expected, min(first, newest + 1)):
                part = sent.get(tsn)
                if part is None or part.acked or (part.fast and once):
                    continue
                part.misses += 1
                if part.misses == STRIKES:
                    part.misses = 0
                    self._lose(part, now)
                    lost = True
            expected = last + 1
        return size, lost

    def _lose(self, part: Part, now: int) -> None:
        if not self._give_up(part, now) and not part.pending:
            part.pending = part.fast = True
            heappush(self._again, part.tsn)
        self._land(part)

    def _land(self, part: Part) -> None:
        if part.flying:
            part.flying = False
            self.flight -= part.size

    @property
    def _highest(self) -> int:
        return next(reversed(self._sent)) if self._sent else self.next_tsn - 1

    def _measure(self, rtt: int) -> None:
        """A round trip (section 6.3.1)."""
        if self.srtt < 0:
            self.srtt, self.rttvar = rtt, rtt // 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) // 4
            self.srtt += (rtt - self.srtt) // 8
        c = self._constants
        self.rto = min(max(self.srtt + 4 * self.rttvar, c.rto_min), c.rto_max)

    # Partial reliability ----------------------------------------------------------------------------------------------

    def _give_up(self, part: Part, now: int) -> bool:
        """Whether nobody wants the part's message any more; then all its parts are given up (RFC 3758 section 3.5)."""
        if part.abandoned:
            return True
        message = part.message
        if not (message.limit is not None and part.sent > message.limit) and message.until > now:
            return False
        self.counts["abandoned"] += 1
        after = part.tsn + 1
        while (each := self._sent.get(after)) is not None and each.message is message:
            self._abandon(each)
            after += 1
        tsn = part.tsn
        while (each := self._sent.get(tsn)) is not None and each.message is message:
            self._abandon(each)
            tsn -= 1
        whole = True
        for each in self._unsent:
            if each.message is not message:
                break
            self._abandon(each)
            whole = False
        if not whole:  # the rest never goes: it cannot arrive
            self.named.pop(message.first, None)
        elif message.first in self.named:
            heappush(self._given_up, (after - 1, message.first))
            if len(self._given_up) > NAMES:
                self.named.pop(heappop(self._given_up)[1], None)
        return True

    def _abandon(self, part: Part) -> None:
        part.abandoned, part.pending = True, False
        self._land(part)

    def _advance(self) -> None:
        """Move Advanced.Peer.Ack.Point over what was given up."""
        if self._advanced < self.cumulative:
            self._advanced = self.cumulative
        while self._unsent and self._unsent[0].abandoned:
            part = self._unsent.popleft()
            self._sent[part.tsn] = part
        sent = self._sent
        while (part := sent.get(self._advanced + 1)) is not None and part.abandoned:
            del sent[part.tsn]
            self._advanced = part.tsn
            if not part.chunk.flags & UNORDERED:
                self._skipped[part.chunk.stream] = part.chunk.sequence, part.tsn
        if self._advanced > self.cumulative:
            self._skipped = {stream: each for stream, each in self._skipped.items() if each[1] > self.cumulative}
            self._forward = True
        elif self._skipped:
            self._skipped = {}

    # Out --------------------------------------------------------------------------------------------------------------

    def expire(self, now: int) -> None:
        """T3-rtx expired (section 6.3.3)."""
        c = self._constants
        self.counts["timeouts"] += 1
        self.failures += 1
        self.expires = NEVER
        for part in self._sent.values():
            if part.acked and not c.resend_acked:
                continue
            if not self._give_up(part, now):
                part.pending = True
            self._land(part)
        self._again = [tsn for tsn, part in self._sent.items() if part.pending]
        heapify(self._again)
        self._advance()
        self.congestion.expired()
        if c.rto_backoff:
            self.rto = min(2 * self.rto, c.rto_max)

    @property
    def ready(self) -> bool:
        """Whether :meth:`next` might have something."""
        return self._forward or bool(self._again or self._unsent or self.queue)

    def begin(self, now: int) -> None:
        """Begin to send: what may be outstanding at the end of it is decided now."""
        if self._constants.idle_decay and not self._sent and self._last_sent < now - self.rto:
            self.congestion.idle((now - self._last_sent) // self.rto)
        self._limit = self.congestion.limit(self.flight)

    def end_packet(self) -> None:
        """The packet that the chunks of :meth:`next` went into is full."""
        if self._constants.bundle:
            self._rescue = False

    def next(self, now: int, room: int) -> Data | ForwardTsn | None:
        """The next chunk to be sent, of at most ``room`` bytes; None when there is none, or none may go now."""
        if self._forward:
            chunk = ForwardTsn(
                self._advanced & MASK, tuple((stream, number) for stream, (number, _) in self._skipped.items())
            )
            if chunk.size > room and room >= FORWARD_HEADER + 4:
                chunk.skipped = chunk.skipped[: (room - FORWARD_HEADER) // 4]
            if chunk.size > room:
                return None
            self._forward = False
            if self.expires == NEVER:
                self.expires = now + self.rto
            return chunk
        again = self._resend(now, room)
        if again is not None:
            return again.chunk
        if self._again and self._next_again() is not None:
            return None
        return self._new(now, room)

    def _next_again(self) -> Part | None:
        """The first that is still to be sent again."""
        while self._again:
            part = self._sent.get(self._again[0])
            if part is not None and part.pending and not (part.acked and not self._constants.resend_acked):
                return part
            heappop(self._again)
        return None

    def _resend(self, now: int, room: int) -> Part | None:
        part = self._next_again() if self._again else None
        if part is None or part.chunk.size > room:
            return None
        if self._rescue:
            self._rescue = self._constants.bundle
        elif self.flight >= self._limit:
            return None
        heappop(self._again)
        part.pending, part.misses = False, 0
        self.counts["retransmissions"] += 1
        self._fly(part, now)
        if part.tsn == next(iter(self._sent)) or self.expires == NEVER:
            self.expires = now + self.rto
        return part

    def _new(self, now: int, room: int) -> Data | None:
        while not self._unsent:
            if not self.queue or self.flight >= self._limit:
                return None
            self._cut(self.queue.popleft(), now)
            if self._constants.burst_of_message:
                self._limit = self.congestion.limit(self.flight)
        part = self._unsent[0]
        if part.chunk.size > room or self.flight >= self._limit:
            return None
        if self._constants.heed_rwnd and part.size > self.window and self.flight:
            return None  # with nothing outstanding one may go all the same, as a probe (section 6.1 A)
        self._unsent.popleft()
        self._sent[part.tsn] = part
        part.sent_at = now
        self.window = max(0, self.window - part.size)
        self._fly(part, now)
        if self.expires == NEVER:
            self.expires = now + self.rto
        return part.chunk

    def _fly(self, part: Part, now: int) -> None:
        part.sent += 1
        self._last_sent = now
        if not part.flying:
            part.flying = True
            self.flight += part.size

    def _cut(self, message: Outgoing, now: int) -> None:
        """Give a message its number and cut it into parts."""
        payload = message.payload
        self.queued[message.stream] -= len(payload)
        if message.until <= now:
            self.counts["abandoned"] += 1
            return
        flags = UNORDERED if message.unordered else 0
        if not message.unordered:
            message.sequence = self._sequence.get(message.stream, 0)
            self._sequence[message.stream] = message.sequence + 1 & 0xFFFF
        message.first = self.next_tsn
        if message.identity:
            self.named[message.first] = message.identity
        if len(payload) <= self._constants.payload:
            pieces: list[tuple[bytes, int]] = [(payload, FIRST | LAST)]
        else:
            pieces = [(payload[at:end], bits) for at, end, bits in fragments(len(payload), self._constants.payload)]
        for piece, bits in pieces:
            chunk = Data(self.next_tsn & MASK, message.stream, message.sequence, message.protocol, piece, flags | bits)
            self._unsent.append(Part(self.next_tsn, chunk, message))
            self.next_tsn += 1
