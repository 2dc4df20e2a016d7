"""The model as a whole: connections and their slots, one step, and the calls of the socket layer."""

from __future__ import annotations

from . import wire
from .connection import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    RECEIVING,
    SYN_PENDING,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONISED,
    TIME_WAIT,
    Connection,
    storage,
)
from .internet import Fragments, Internet
from .neighbours import same_prefix
from .node import HANDSHAKE, NEVER
from .wire import ACK, RST, Segment

BATCH = 64
OVERRUN, OVERRUN_BLOCKS = 1 << 20, 16
EVENTS = ("syn", "established", "readable", "eof", "writable", "closed")
REFUSALS = {
    # IPv4 type and code, IPv6 type and code
    "net-unreachable": ((3, 0), (1, 0)), "host-unreachable": ((3, 1), (1, 3)),
    "port-unreachable": ((3, 3), (1, 4)), "prohibited": ((3, 13), (1, 1)),
}  # fmt: skip


class Model(Internet):
    def __init__(self, config, isn_key: bytes, ip_id: int, queue_size: int, now: int):
        super().__init__(config, isn_key, ip_id, now)
        self.queue_size = queue_size
        """Pieces in flight that a connection's books have room for."""
        self.slots: list[Connection | None] = []
        """By slot: the connection that holds it, closed ones too until they are let go of."""
        self.free: list[int] = []
        self.number = 0
        self.half_open = 0
        self.listening: set[int] = set()
        self.out_queue: list[int] = []
        self.event_queue: list[int] = []
        self.overruns = OVERRUN_BLOCKS if self.gateway else 0
        self.overrun_size = storage(storage(config.tcp.recv_buffer) + OVERRUN)
        self.challenge_at, self.challenges = now, 100
        self.errors_at, self.errors = now, 100
        self.last_seen: tuple[bytes, bytes] | None = None
        self.reassembly = Fragments(32, 16, 128, 60 * 10**9, 128)
        self.up_room = 1024
        self.armed: set[int] = set()
        """Times for which a timer was ever started."""

    # Connections -------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> list[Connection]:
        return [c for c in self.slots if c is not None and c.state != CLOSED]

    def find(self, local: tuple[bytes, int], remote: tuple[bytes, int]) -> Connection | None:
        for c in self.open_connections:
            if (c.local, c.remote) == (local, remote):
                return c
        return None

    def open(self, local: tuple[bytes, int], remote: tuple[bytes, int]) -> Connection | None:
        """In the slot that was freed last, else in a new one, else in that of the oldest TIME-WAIT."""
        if not self.free and len(self.slots) >= self.config.max_connections:
            waiting = [c for c in self.open_connections if c.state == TIME_WAIT and c.released]
            if not waiting:
                return None
            self.close(min(waiting, key=lambda c: (c.t_wait, c.slot)), "closed")
        if self.free:
            slot = self.free.pop()
        else:
            slot = len(self.slots)
            self.slots.append(None)
        self.number += 1
        c = self.slots[slot] = Connection(self, slot, self.number, local, remote, self.now)
        self.counts["connections"] += 1
        return c

    def close(self, c: Connection, reason: str) -> None:
        if c.state in (SYN_RECEIVED, SYN_PENDING):
            self.half_open -= c.passive
        c.state = CLOSED
        c.stop_timers()
        self.report_end(c, reason)
        if c.released:
            self.forget(c)

    def report_end(self, c: Connection, reason: str) -> None:
        if c.reason is None:
            c.reason = reason
            self.tell(c, "closed")

    def forget(self, c: Connection) -> None:
        self.overruns += c.overrun
        self.slots[c.slot] = None
        self.free.append(c.slot)

    def let_go(self, c: Connection) -> None:
        """Whoever used the connection has heard of its end (or does not care)."""
        if not c.released:
            c.released = True
            c.events.clear()
            if c.state == CLOSED:
                self.forget(c)

    def take_overrun(self) -> bool:
        if self.overruns <= 0:
            return False
        self.overruns -= 1
        return True

    def tell(self, c: Connection, what: str) -> None:
        if not c.released:
            c.events.add(what)
            if c.slot not in self.event_queue:
                self.event_queue.append(c.slot)

    def take_events(self) -> list[tuple]:
        """``(what, connection number, reason of an end)`` in order."""
        out = []
        while self.event_queue:
            c = self.slots[self.event_queue.pop(0)]
            if c is None or c.released:
                continue
            told, c.events = c.events, set()
            out += [(what, c.id, c.reason if what == "closed" else None) for what in EVENTS if what in told]
            if "closed" in told:
                self.let_go(c)
        return out

    # Time --------------------------------------------------------------------------------------------

    def step(self, frames: list[bytes], now: int) -> None:
        """Batches of frames; after each what is due and what may be sent."""
        self.now = now
        while True:
            batch, frames = frames[:BATCH], frames[BATCH:]
            for frame in batch:
                self.frame(frame)
            for c in list(self.slots):
                if c is not None and c.deadline <= now:
                    self.connection_timers(c)
            if self.framed:
                self.neighbour_timers()
            self.fragment_timers()
            for _ in range(len(self.out_queue)):
                c = self.slots[self.out_queue.pop(0)]
                if c is not None and c.state != CLOSED:
                    self.output(c)
            if len(batch) < BATCH:
                return

    def fragment_timers(self) -> None:
        """RFC 792, RFC 4443 section 3.3: time exceeded, code 1, about a first fragment."""
        number, firsts = self.reassembly.expire(self.now)
        if number:
            self.drop("fragment-timeout", number)
        for first in firsts:
            p = self.parse(first, first[0] >> 4, False)
            if p is not None:
                self.send_error(p, 11 if p.version == 4 else 3, 1, 0)

    def due(self, now: int, free: int) -> int:
        """When the next step has work, with this much room in the transmit ring."""
        due = min((c.deadline for c in self.open_connections), default=NEVER)
        if self.out_queue:
            if self.link_wait:
                due = min(due, self.link_retry_at)
            elif free > self.headroom:
                return now
        if self.framed:
            due = min(due, self.neighbour_deadline())
        return min([due, *(d.born + self.reassembly.timeout for d in self.reassembly.table.values())])

    # Calls -------------------------------------------------------------------------------------------

    def connect(self, local: tuple[bytes, int], remote: tuple[bytes, int], now: int) -> Connection | None:
        self.now = now
        c = self.open(local, remote)
        if c is None:
            self.drop("tcp-no-slot")
            return None
        c.move("open")
        self.send_syn(c)
        return c

    def accept(self, c: Connection, now: int) -> bool:
        self.now = now
        if c.state != SYN_PENDING:
            return False
        c.move("syn")
        self.send_syn(c)
        return True

    def refuse(self, c: Connection, how: str, now: int) -> None:
        self.now = now
        if c.state != SYN_PENDING:
            return
        if how == "reset":
            syn = Segment(c.remote[0], c.local[0], c.remote[1], c.local[1], 0, 0, 0, 0, b"", 0)
            self.send_reset(syn, 0, c.irs + 1, RST | ACK)
        elif how != "drop":
            # What is left of the SYN: its header, and the first eight bytes (ports and sequence number).
            (src, sport), (dst, dport) = c.remote, c.local
            start = sport.to_bytes(2, "big") + dport.to_bytes(2, "big") + (c.irs & wire.M32).to_bytes(4, "big")
            more = {"ttl": self.config.ttl, "ident": self.ip_id + 1 & 0xFFFF, "fragment": 0x4000}
            raw = wire.ip(src, dst, wire.TCP, start + bytes(12), **more)
            raw = raw[: len(raw) - 12]
            kind, code = REFUSALS[how][0 if c.family == 4 else 1]
            syn_packet = wire.Packet(raw, src, dst, wire.TCP, c.ip_header, self.config.ttl, 0, False, False, False)
            self.send_error(syn_packet, kind, code, 0)
        self.close(c, "refused" if how == "reset" else "unreachable")

    def write(self, c: Connection, data: bytes, now: int) -> int:
        self.now = now
        if c.state not in (SYN_SENT, SYN_RECEIVED, ESTABLISHED, CLOSE_WAIT) or c.fin_wanted:
            return 0
        taken = data[: max(c.room, 0)]
        c.was_cut |= len(taken) < len(data)
        c.stream += taken
        if taken and c.state in SYNCHRONISED:
            self.output(c)
        return len(taken)

    def consume(self, c: Connection, number: int, now: int) -> bytes:
        """Read; tells the peer when its window grows worth telling (RFC 9293 section 3.8.6.2.2)."""
        self.now = now
        data = bytes(c.arrived[:number])
        del c.arrived[:number]
        c.rcv_read += len(data)
        if c.state in RECEIVING and c.rcv_fin is None and not c.eof:
            size, mss = self.config.tcp.recv_buffer, self.config.mtu - 40
            edge = c.rcv_read + min(size, 65535 << max(c.rcv_shift, 0))
            gain, left = edge - max(c.rcv_adv, c.rcv_nxt), c.rcv_adv - c.rcv_nxt
            if gain >= min(size // 2, 2 * mss) and (left < size // 2 or gain >= size // 4):
                self.send_ack(c)
        return data

    def shutdown(self, c: Connection, now: int) -> None:
        self.now = now
        if c.fin_wanted or c.state in (CLOSED, SYN_PENDING):
            return
        if c.state == SYN_SENT:
            return self.close(c, "aborted")
        c.fin_wanted = True
        if c.state in SYNCHRONISED:
            self.output(c)
        return None

    def abort(self, c: Connection, now: int) -> None:
        """RFC 9293 section 3.10.5."""
        self.now = now
        if c.state in (CLOSED, TIME_WAIT):
            return
        if c.state == SYN_PENDING:
            return self.refuse(c, "reset", now)
        if c.state in (SYN_RECEIVED, ESTABLISHED, FIN_WAIT_1, "FIN-WAIT-2", CLOSE_WAIT):
            self.send_segment(c, c.snd_nxt, 0, RST | ACK, HANDSHAKE)
        return self.close(c, "aborted")

    def error_about(self, packet: bytes, how: str, mtu: int, now: int) -> bool:
        """Answer what was handed up with an error that quotes it."""
        self.now = now
        p = self.parse(packet, 6 if packet[0] >> 4 == 6 else 4, False)
        if p is None:
            return False
        if how == "too-big":
            kind, code = (3, 4) if p.version == 4 else (2, 0)
        else:
            kind, code = REFUSALS[how][0 if p.version == 4 else 1]
        return self.send_error(p, kind, code, mtu)

    def source_for(self, dst: bytes) -> bytes:
        own = self.own4 if len(dst) == 4 else self.own6
        near = [a for a, bits in own if same_prefix(a, dst, bits)]
        wide = [a for a, _ in own if len(a) == 4 or not self.link_local(a)]
        return (near or wide or [own[0][0]])[0]
