"""What is remembered of one TCP connection, in the words of RFC 9293, and its receive buffer as a set of bytes.

Sequence numbers are whole: they start at the 32-bit initial number and go on beyond 2**32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..naive import half_siphash
from ..twins import unwrap
from .node import NEVER
from .wire import M32

CLOSED, SYN_SENT, SYN_RECEIVED, ESTABLISHED = "CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"
FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING = "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING"
LAST_ACK, TIME_WAIT, SYN_PENDING = "LAST-ACK", "TIME-WAIT", "SYN-PENDING"
SYNCHRONISED = (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT)
RECEIVING = (ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2)
MOVES = {
    # RFC 9293 figure 5, and the SYN that a gateway holds
    (CLOSED, "open"): SYN_SENT, (CLOSED, "hold"): SYN_PENDING, (CLOSED, "syn"): SYN_RECEIVED,
    (SYN_PENDING, "syn"): SYN_RECEIVED, (SYN_SENT, "syn"): SYN_RECEIVED, (SYN_SENT, "syn+ack"): ESTABLISHED,
    (SYN_RECEIVED, "ack of syn"): ESTABLISHED,
    (ESTABLISHED, "close"): FIN_WAIT_1, (CLOSE_WAIT, "close"): LAST_ACK,
    (ESTABLISHED, "fin"): CLOSE_WAIT, (FIN_WAIT_1, "fin"): CLOSING, (FIN_WAIT_2, "fin"): TIME_WAIT,
    (FIN_WAIT_1, "ack of fin"): FIN_WAIT_2, (CLOSING, "ack of fin"): TIME_WAIT, (LAST_ACK, "ack of fin"): CLOSED,
}  # fmt: skip
TIMERS = ("t_rto", "t_persist", "t_delack", "t_keep", "t_wait", "t_rack", "t_tlp")
RANGES = 32
"""Out-of-order ranges that a receiver remembers."""


def storage(size: int) -> int:
    """A buffer's memory: the next power of two."""
    power = 2
    while power < size:
        power *= 2
    return power


def initial_sequence(key: bytes, local: tuple[bytes, int], remote: tuple[bytes, int], now: int) -> int:
    """RFC 6528: a clock of 4 microseconds plus a keyed hash of addresses and ports."""
    words = []
    for address in (local[0], remote[0]):
        wide = address if len(address) == 16 else bytes(10) + b"\xff\xff" + address
        words += [wide[4:8], wide[0:4], wide[12:16], wide[8:12]]
    message = b"".join(word[::-1] for word in words) + (local[1] << 16 | remote[1]).to_bytes(4, "little") + bytes(4)
    return (now // 4000 + half_siphash(key, message)) & M32


def to_ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if out and out[-1][1] == n:
            out[-1] = (out[-1][0], n + 1)
        else:
            out.append((n, n + 1))
    return out


@dataclass
class Piece:
    """A stretch of sequence numbers that was sent and is not acknowledged yet."""

    seq: int
    end: int
    at: int
    """When it was last sent."""
    sacked: bool = False
    lost: bool = False
    again: bool = False
    """It was sent more than once."""
    fin: bool = False

    @property
    def size(self) -> int:
        return self.end - self.seq


class Connection:
    """One transmission control block. Fields have the names of the RFCs."""

    t_rto: int
    t_persist: int
    t_delack: int
    t_keep: int
    t_wait: int
    t_rack: int
    t_tlp: int

    def __init__(self, node, slot: int, number: int, local: tuple[bytes, int], remote: tuple[bytes, int], now: int):
        t = node.config.tcp
        self.node, self.slot, self.id, self.local, self.remote = node, slot, number, local, remote
        self.family = 4 if len(local[0]) == 4 else 6
        self.state = CLOSED
        self.link: tuple[int, bytes] | None = None
        self.events: set[str] = set()
        self.reason: str | None = None
        self.released = self.was_cut = False
        self.passive = False
        # Sending
        self.iss = initial_sequence(node.isn_key, local, remote, now)
        self.snd_una = self.snd_nxt = self.iss
        self.stream = bytearray()
        """Everything ever written; its first byte has the number ``iss + 1``."""
        self.snd_wnd = self.snd_wl1 = self.snd_wl2 = self.max_wnd = self.snd_shift = 0
        self.fin_wanted = False
        self.fin_seq = -1
        self.pieces: list[Piece] = []
        self.inferred = 0
        """Bytes that duplicate acknowledgements say have arrived, without SACK."""
        # Receiving
        self.irs = self.rcv_nxt = self.rcv_read = self.rcv_adv = 0
        self.rcv_shift = t.shift
        self.rcv_fin: int | None = None
        self.eof = False
        self.arrived = bytearray()
        """Bytes in order that nobody has read."""
        self.held: dict[int, int] = {}
        """Bytes beyond a gap, by their numbers."""
        self.known_ranges: list[tuple[int, int]] | None = []
        """Their ranges, as long as they have not changed since they were last counted."""
        self.memory = storage(t.recv_buffer)
        self.overrun = False
        self.recent_l = 0
        self.dsack: tuple[int, int] | None = None
        # Options and paths
        self.peer_mss = 536 if self.family == 4 else 1220
        self.pmtu = node.config.mtu
        self.ts_ok, self.sack_ok, self.ecn_ok = t.timestamps, t.sack, t.ecn
        self.ts_recent, self.ts_recent_at = 0, now
        self.ts_offset = initial_sequence(node.isn_key, local, remote, 0) * 0x2545F491 & M32
        """The same for the same addresses and ports (RFC 7323 section 5.4)."""
        self.ecn_echo = self.ecn_cwr = False
        self.ecn_point = 0
        # Acknowledging
        self.last_ack_sent = self.ack_pending = 0
        self.ack_now = False
        self.quick_left = t.quick_acks
        # Times
        self.srtt = self.rttvar = self.backoff = self.min_rtt = 0
        self.rto = t.rto_initial
        for name in TIMERS:
            setattr(self, name, NEVER)
        self.probes = self.keep_probes = 0
        self.heard_at = self.opened_at = now
        self.established_at = -1
        # Congestion and recovery
        self.cwnd = self.ssthresh = self.cwnd_acc = self.limited_to = self.reduced_at = 0
        self.cubic_epoch = -1
        self.cubic_w_max = self.cubic_prior = self.cubic_k = self.cubic_origin = self.cubic_w_est = 0.0
        self.recovery: str | None = None
        self.recovery_point = self.dup_acks = 0
        self.rack: tuple[int, int] = (0, 0)
        """When the newest piece that has arrived was sent, and its end (RFC 8985 RACK.xmit_ts and RACK.end_seq)."""
        self.rack_rtt = self.rack_fack = self.rack_dsack_round = self.rack_persist = 0
        self.rack_mult = 1
        self.rack_reordering = False
        self.tlp_end: int | None = None
        self.tlp_retrans = False
        # Figures
        self.bytes_in = self.bytes_out = self.segs_in = self.segs_out = 0
        self.retransmits = self.retransmitted_bytes = self.timeouts = 0

    def __setattr__(self, name: str, value) -> None:
        """A timer that is started is remembered: a stack may wake up for one that was stopped again."""
        if name in TIMERS and value < NEVER:
            self.node.armed.add(value)
        super().__setattr__(name, value)

    # Derived -----------------------------------------------------------------------------------------

    @property
    def mss(self) -> int:
        """Payload of a full segment: the peer's MSS and the path MTU, less what every segment carries (RFC 6691)."""
        least = min(self.peer_mss, self.pmtu - (40 if self.family == 4 else 60)) - (12 if self.ts_ok else 0)
        return max(least, 8)

    @property
    def snd_end(self) -> int:
        return self.iss + 1 + len(self.stream)

    @property
    def sacked_bytes(self) -> int:
        return sum(p.size for p in self.pieces if p.sacked) if self.sack_ok else self.inferred

    @property
    def lost_bytes(self) -> int:
        return sum(p.size for p in self.pieces if p.lost)

    @property
    def flight(self) -> int:
        """RFC 6675's pipe."""
        return self.snd_nxt - self.snd_una - self.sacked_bytes - self.lost_bytes

    @property
    def deadline(self) -> int:
        return min(getattr(self, name) for name in TIMERS)

    @property
    def ip_header(self) -> int:
        return 20 if self.family == 4 else 40

    def used(self, flight: int) -> int:
        """How much of the congestion window was in use when what is acknowledged now was sent."""
        return max(flight, self.cwnd) if self.snd_una <= self.limited_to else flight

    def stop_timers(self) -> None:
        for name in TIMERS:
            setattr(self, name, NEVER)

    def move(self, event: str) -> None:
        """Go where the state diagram says; a move it does not have is a bug of the model."""
        self.state = MOVES[self.state, event]

    def payload(self, seq: int, size: int) -> bytes:
        at = seq - self.iss - 1
        return bytes(self.stream[at : at + size])

    @property
    def room(self) -> int:
        """Bytes that a write takes."""
        return self.node.config.tcp.send_buffer - (self.snd_end - max(self.snd_una, self.iss + 1))

    # Receiving ---------------------------------------------------------------------------------------

    def ranges(self) -> list[tuple[int, int]]:
        if self.known_ranges is None:
            self.known_ranges = to_ranges(self.held)
        return self.known_ranges

    def held_bytes(self) -> bytes:
        return b"".join(bytes(map(self.held.__getitem__, range(left, right))) for left, right in self.ranges())

    def blocks(self) -> list[tuple[int, int]]:
        """What the next acknowledgement has to report: the duplicate (RFC 2883), the newest range (RFC 2018 section 4),
        the others in order."""
        if not self.sack_ok:
            return []
        ranges = self.ranges()
        first = [self.dsack] if self.dsack else []
        newest = [r for r in ranges if r[0] <= self.recent_l < r[1]]
        return first + newest + [r for r in ranges if r not in newest]

    def receive(self, seq: int, data: bytes) -> bool:
        """Take the bytes at ``seq``. True when the acknowledgement has to go at once (RFC 5681 section 4.2)."""
        node, end = self.node, seq + len(data)
        if end <= self.rcv_nxt:
            self.dsack = (seq, end)
            node.counts["duplicates-in"] += 1
            return True
        if seq < self.rcv_nxt:
            self.dsack = (seq, self.rcv_nxt)
            data, seq = data[self.rcv_nxt - seq :], self.rcv_nxt
        if self.rcv_fin is not None:
            data = data[: max(self.rcv_fin - seq, 0)]
            end = seq + len(data)
        if seq == self.rcv_nxt:
            if end > self.rcv_read + self.memory and node.take_overrun():
                self.memory, self.overrun = node.overrun_size, True
            cut = end > self.rcv_read + self.memory
            if cut:
                node.drop("tcp-beyond-buffer")
                data = data[: max(self.rcv_read + self.memory - seq, 0)]
                end = seq + len(data)
            node.counts["overrun-bytes"] += max(end - max(self.rcv_adv, seq), 0)
            if not data:
                return cut
            gap = bool(self.held)
            self.known_ranges = None if gap else []
            fresh = bytearray(data)
            if gap:
                for number in range(seq, end):
                    self.held.pop(number, None)
            while end in self.held:
                fresh.append(self.held.pop(end))
                end += 1
            self.arrived += fresh
            self.bytes_in += len(fresh)
            self.rcv_nxt = end
            node.tell(self, "readable")
            return gap or cut
        node.counts["out-of-order-in"] += 1
        end = min(end, self.rcv_adv, self.rcv_read + self.memory)
        if end <= seq:
            node.drop("tcp-out-of-window")
            return True
        if all(number in self.held for number in range(seq, end)):
            self.dsack = (seq, end)
            node.counts["duplicates-in"] += 1
            return True
        ranges = self.ranges()
        if len(ranges) >= RANGES and not any(left <= end and seq <= right for left, right in ranges):
            node.drop("tcp-out-of-order-full")
            return True
        self.held.update(zip(range(seq, end), data))
        self.known_ranges = None
        self.recent_l = next(left for left, right in self.ranges() if left <= seq < right)
        return True

    def unwrap(self, wire: int, near: int) -> int:
        return unwrap(wire, near)
