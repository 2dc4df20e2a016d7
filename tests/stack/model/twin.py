"""A stack and its model side by side: the same calls to both, everything that can be seen compared after each."""

from __future__ import annotations

import random
from typing import Any

from aero_lab.causes import Cause
from aero_lab.compiled.registry import PLAIN
from aero_lab.rings import FrameRing
from aero_lab.stack import (
    ArpSeen,
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Readable,
    Stack,
    StackConfig,
    SynReceived,
    Writable,
)
from aero_lab.stack.addresses import from_pair
from aero_lab.stack.drops import COUNT_NAMES, DROP_NAMES
from aero_lab.stack.reassembly import REASONS as FRAGMENT_REASONS
from aero_lab.stack.states import State

from ..twins import get
from .connection import Connection
from .stack import Model

RING = 256
"""Places in the transmit ring, as long as nothing blocks it."""
KINDS = {
    SynReceived: "syn", Established: "established", Readable: "readable", EndOfStream: "eof", Writable: "writable",
    Closed: "closed",
}  # fmt: skip
SAME = (
    "family id iss snd_una snd_nxt snd_end snd_wnd snd_wl1 snd_wl2 max_wnd fin_seq snd_shift irs rcv_nxt rcv_read "
    "rcv_adv rcv_shift peer_mss mss pmtu ts_recent ts_recent_at ts_offset last_ack_sent ack_pending quick_left "
    "ecn_point srtt rttvar rto backoff min_rtt cwnd ssthresh limited_to reduced_at recovery_point "
    "dup_acks sacked_bytes lost_bytes rack_rtt rack_fack rack_dsack_round rack_mult rack_persist "
    "t_rto t_persist t_delack t_keep t_wait t_rack t_tlp probes keep_probes heard_at opened_at established_at "
    "bytes_in bytes_out segs_in segs_out retransmits retransmitted_bytes timeouts recent_l"
).split()
"""Fields that the records of both have under one name."""
FLAGS = (
    "fin_wanted passive released was_cut ts_ok sack_ok ecn_ok ack_now ecn_echo ecn_cwr rack_reordering tlp_retrans"
).split()


def row_of(stack: Stack, slot: int) -> dict[str, Any]:
    """The stack's record of a connection."""
    row = stack._tcb[slot]
    names = row.dtype.names
    if hasattr(row, "item"):
        return dict(zip(names, row.item()))
    return {name: getattr(row, name) for name in names}


def stack_view(stack: Stack, slot: int) -> dict[str, Any]:
    """What a connection's record says, in the model's words."""
    row = row_of(stack, slot)
    out = {name: row[name] for name in SAME} | {name: bool(row[name]) for name in FLAGS}
    out["state"] = State(row["state"]).name.replace("_", "-")
    out["fin at"] = row["rcv_fin"]
    out["rack"] = (row["rack_ts"], row["rack_end"])
    out["recovery"] = (None, "fast", "timeout")[row["recovery"]]
    out["tlp_end"] = row["tlp_end"] or None
    out["dsack"] = (row["dsack_l"], row["dsack_r"]) if row["dsack_r"] > row["dsack_l"] else None
    number = row["blocks"]
    out["ranges"] = list(zip(list(row["block_l"])[:number], list(row["block_r"])[:number]))
    size, mask = get(stack._world[0], "segq"), get(stack._world[0], "segq_mask")
    out["pieces"] = [piece(stack._segs[slot * size + (k & mask)]) for k in range(row["head"], row["tail"])]
    out["held"] = b"".join(held_bytes(stack._heap_view, row, *r) for r in out["ranges"])
    if row["established_at"] >= 0:
        out["cubic"] = cubic(row)
    return out


def held_bytes(heap: Any, row: dict[str, Any], left: int, right: int) -> bytes:
    """What stands in the circular receive buffer between two numbers."""
    start, size = left - row["recv_base"] & row["recv_mask"], row["recv_mask"] + 1
    first = min(right - left, size - start)
    base = row["recv_off"]
    return bytes(heap[base + start : base + start + first]) + bytes(heap[base : base + right - left - first])


def piece(s: Any) -> tuple[int, ...]:
    return s.item() if hasattr(s, "item") else (s.seq, s.end, s.xmit_at, s.flags)


def cubic(of: dict[str, Any]) -> list[float]:
    """RFC 9438's variables that mean something now."""
    names = ["cubic_w_max", "cubic_prior"]
    names += ["cubic_k", "cubic_origin", "cubic_w_est"] if of["cubic_epoch"] >= 0 else []
    return [of["cubic_epoch"], *(round(of[n], 6) for n in names)]


def model_view(c: Connection) -> dict[str, Any]:
    out = {name: getattr(c, name) for name in SAME} | {name: bool(getattr(c, name)) for name in FLAGS}
    out["state"] = c.state
    out["fin at"] = -2 if c.eof else -1 if c.rcv_fin is None else c.rcv_fin
    out["rack"], out["recovery"], out["tlp_end"], out["dsack"] = c.rack, c.recovery, c.tlp_end, c.dsack
    out["ranges"] = c.ranges()
    out["pieces"] = [(p.seq, p.end, p.at, p.sacked | p.lost << 1 | p.again << 2 | p.fin << 3) for p in c.pieces]
    out["held"] = c.held_bytes()
    if c.established_at >= 0:
        out["cubic"] = cubic(vars(c))
    return out


def hide_ident(frame: bytes, framed: bool) -> bytes:
    """IPv6 fragments carry a random number."""
    at = 14 if framed else 0
    v6 = frame[12:14] == b"\x86\xdd" if framed else frame[:1] >= b"\x60"
    if v6 and frame[at + 6] == 44:
        return frame[: at + 44] + Model.FRAGMENT_IDENT + frame[at + 48 :]
    return frame


class Twin:
    """:attr:`stack` and :attr:`model`; :attr:`log` tells what was done, for whoever reads a failure."""

    def __init__(self, config: StackConfig, seed: int, now: int = 0):
        self.stack = Stack(config, random.Random(seed), now)
        W = self.stack._world[0]
        key = b"".join(get(W, name).to_bytes(4, "little") for name in ("key2", "key3"))
        self.model = Model(config, key, get(W, "ip_id"), get(W, "segq"), now)
        self.config = config
        self.now = now
        self.log: list[str] = []
        self.conns: dict[int, Any] = {}
        """The stack's connections by number, as events told of them."""
        self.woken: int | None = None
        """A time at which the stack looks at a connection that is not due."""
        self.rings: dict[int, FrameRing] = {}
        self.sent: list[bytes] = []
        """Frames that the last call sent."""
        self.last_id = get(W, "frame_seq")
        self.packets: list[Any] = []
        """Datagrams and messages that came up last."""
        self.compared = 0

    def listen(self, port: int) -> None:
        self.stack.listen(port)
        self.model.listening.add(port)

    def by_slot(self, c: Connection) -> Any:
        return self.conns.get(c.id)

    def ring_with(self, room: int) -> tuple[FrameRing, int]:
        """A ring with places for so many frames, and how many more stand in it in front of them."""
        slots = 64 if room > 3 else 1  # so small that no place is left to others, or not
        while slots < room:
            slots *= 2
        if slots not in self.rings:
            self.rings[slots] = FrameRing(slots, max(slots * 2048, 1 << 17))
        ring = self.rings[slots]
        for _ in range(slots - room):
            assert ring.push(b"filler")
        return ring, slots - room

    # Both at once ------------------------------------------------------------------------------------

    def both(self, what: str, stack_call: Any, model_call: Any, room: int = RING) -> Any:
        """Make a call on both with ``room`` places in the transmit ring, and compare everything."""
        self.log.append(f"{self.now} {what} room {room}")
        self.stack.tx, filler = self.ring_with(room)
        self.model.room, self.model.out, self.model.now = room, [], self.now
        self.model.headroom = self.stack.tx.slots // 32
        theirs = stack_call()
        due = self.stack.poll_at(self.now)
        assert len(self.stack.tx) - filler <= room
        frames = self.stack.tx.pop_many(RING)[filler:]
        ours = model_call()
        assert theirs == ours, f"{what}: {theirs} != {ours}"
        self.compare_frames(frames)
        self.compare_due(due, room - len(frames))
        self.compare_counters()
        self.compare_connections()
        self.compared += 1
        return ours

    def step(self, frames: list[bytes], room: int = RING) -> None:
        def stack_step() -> None:
            for frame in frames:
                assert self.stack.rx.push(frame, self.now)
            self.stack.step(self.now)

        self.both(f"step {[f.hex() for f in frames]}", stack_step, lambda: self.model.step(frames, self.now), room)
        self.events()

    def events(self) -> None:
        ours = self.model.take_events() + self.model.up
        self.model.up = []
        theirs = []
        for event in self.stack.events():
            kind = KINDS.get(type(event))
            if kind is None:
                theirs.append(self.packet_event(event))
                self.packets = [*self.packets[-5:], event]
                continue
            conn: Any = getattr(event, "conn")  # noqa: B009
            self.conns[conn.id] = conn
            theirs.append((kind, conn.id, getattr(event, "reason", None)))
            if kind == "closed":
                del self.conns[conn.id]
        assert theirs == ours, f"events {theirs} != {ours}"
        self.compare_connections()

    @staticmethod
    def packet_event(event: Any) -> tuple:
        if isinstance(event, ArpSeen):
            body = bytes.fromhex("000108000604") + event.op.to_bytes(2, "big") + event.sender_mac + event.sender_ip
            return ("arp", body + event.target_mac + event.target_ip, 0, False)
        transport = len(event.packet) - 8 - len(event.payload)
        head = event.packet[transport : transport + 8]
        assert event.src == (event.packet[12:16] if len(event.src) == 4 else event.packet[8:24])
        assert event.dst == (event.packet[16:20] if len(event.dst) == 4 else event.packet[24:40])
        assert event.ttl == event.packet[8 if len(event.src) == 4 else 7]
        assert event.payload == event.packet[transport + 8 :]
        if isinstance(event, Datagram):
            assert head[:4] == event.sport.to_bytes(2, "big") + event.dport.to_bytes(2, "big")
            return ("udp", event.packet, transport, event.group)
        assert isinstance(event, IcmpMessage)
        assert (event.type, event.code, event.rest) == (head[0], head[1], int.from_bytes(head[4:], "big"))
        return ("icmp", event.packet, transport, None)

    # Calls -------------------------------------------------------------------------------------------

    def connect(self, dst: bytes, dport: int, sport: int, room: int = RING) -> Connection | None:
        model, now = self.model, self.now
        src = model.source_for(dst)
        if model.find((src, sport), (dst, dport)) is not None:
            return None
        made: list[Any] = []

        def stack_call() -> bool:
            try:
                conn = self.stack.connect(dst, dport, sport, now=now)
            except Exception:
                return False
            self.conns[conn.id] = conn
            return True

        def model_call() -> bool:
            made.append(model.connect((src, sport), (dst, dport), now))
            return made[0] is not None

        self.both(f"connect {sport}", stack_call, model_call, room)
        return made[0]

    def write(self, c: Connection, data: bytes, room: int = RING) -> int:
        conn, now = self.conns[c.id], self.now
        return self.both(
            f"write {c.id} {len(data)}", lambda: conn.write(data, now), lambda: self.model.write(c, data, now), room
        )

    def read(self, c: Connection, number: int, room: int = RING) -> bytes:
        conn, now = self.conns[c.id], self.now
        return self.both(
            f"read {c.id} {number}", lambda: conn.read(number, now), lambda: self.model_read(c, number), room
        )

    def model_read(self, c: Connection, number: int) -> bytes:
        return self.model.consume(c, number, self.now) if c.arrived and number else b""

    def call(self, c: Connection, name: str, *args: Any, room: int = RING) -> None:
        """``accept``, ``refuse``, ``shutdown`` or ``abort``."""
        conn, now = self.conns[c.id], self.now
        self.both(
            f"{name} {c.id} {args}",
            lambda: getattr(conn, name)(*args, now),
            lambda: getattr(self.model, name)(c, *args, now),
            room,
        )

    def udp_send(self, dst: bytes, payload: bytes, ttl: int = 64, room: int = RING) -> bool:
        src = self.model.source_for(dst)
        return self.both(
            f"udp {dst.hex()} {len(payload)}",
            lambda: self.stack.udp_send(src, 53, dst, 5353, payload, self.now, ttl),
            lambda: self.model.send_udp(src, 53, dst, 5353, payload, ttl, int(Cause.PAYLOAD)),
            room,
        )

    def icmp_send(self, dst: bytes, kind: int, payload: bytes, room: int = RING) -> bool:
        src = self.model.source_for(dst)
        return self.both(
            f"icmp {dst.hex()} {kind} {len(payload)}",
            lambda: self.stack.icmp_send(src, dst, kind, 0, 77, payload, self.now),
            lambda: self.model.send_icmp(src, dst, kind, 0, 77, payload),
            room,
        )

    def unreachable(self, about: Any, how: str, mtu: int, room: int = RING) -> bool:
        return self.both(
            f"unreachable {how} {mtu} {about.packet.hex()}",
            lambda: self.stack.unreachable(about, how, self.now, mtu),
            lambda: self.model.error_about(about.packet, how, mtu, self.now),
            room,
        )

    def set_address(self, *args: Any) -> None:
        self.stack.set_address(*args)
        self.model.set_address(*args)

    # Comparing ---------------------------------------------------------------------------------------

    def compare_frames(self, records: list[Any]) -> None:
        framed = self.model.framed
        theirs = [(hide_ident(r.data, framed).hex(), r.flow, r.cause) for r in records]
        ours = [(s.frame.hex(), s.flow, s.cause) for s in self.model.out]
        assert len(theirs) == len(ours), f"{len(theirs)} frames sent, not {len(ours)}: {theirs} {ours}"
        if self.woken is not None and self.now >= self.woken:
            # It woke up for a timer that had been stopped, and sent what was due in another order of connections.
            theirs, ours = sorted(theirs, key=lambda f: f[1]), sorted(ours, key=lambda f: f[1])
            self.woken = None
        for i, (one, other) in enumerate(zip(theirs, ours)):
            assert one == other, f"frame {i} of {len(ours)}"
        for r in records:
            assert r.t_ns == self.now and r.frame_id == self.last_id + 2, "stamped with the time and the next number"
            self.last_id = r.frame_id
        self.sent = [r.data for r in records]

    def compare_counters(self) -> None:
        W = self.stack._world[0]
        drops = {DROP_NAMES[i]: n for i, n in enumerate(get(W, "drops")) if n}
        assert drops == {name: n for name, n in self.model.drops.items() if n}
        counts = {COUNT_NAMES[i]: n for i, n in enumerate(get(W, "counts")) if n}
        assert counts == {name: n for name, n in self.model.counts.items() if n}
        pieces = {FRAGMENT_REASONS[i]: n for i, n in enumerate(get(self.stack._reasm[0], "drops")) if n}
        assert pieces == {name: n for name, n in self.model.reassembly.drops.items() if n}
        assert get(W, "half_open") == self.model.half_open
        if self.model.framed:
            self.compare_neighbours(W)

    def compare_neighbours(self, W: Any) -> None:
        names = ("n_hi", "n_lo", "n_state", "n_mac_hi", "n_mac_lo", "n_at", "n_probes")
        theirs = []
        for hi, lo, state, mac_hi, mac_lo, at, probes in zip(*(get(W, name) for name in names)):
            mac = mac_hi.to_bytes(2, "big") + mac_lo.to_bytes(4, "big") if state == 2 else None
            theirs.append((from_pair(hi, lo), mac, at, probes) if state else None)
        ours = [e and (e.address, e.mac, e.at, e.tries) for e in self.model.cache]
        assert theirs == ours, f"neighbours {[(a, b) for a, b in zip(theirs, ours) if a != b]}"

    def compare_connections(self) -> None:
        stack, model = self.stack, self.model
        assert stack.open_connections == len(model.open_connections)
        assert stack.free_slots == self.config.max_connections - sum(c is not None for c in model.slots)
        for slot, c in enumerate(model.slots):
            if c is None:
                continue
            theirs, ours = stack_view(stack, slot), model_view(c)
            if c.released:  # nobody will read them, and their memory may have been given back
                del theirs["held"], ours["held"]
            assert theirs == ours, {k: (theirs[k], ours[k]) for k in ours if theirs[k] != ours[k]}
            conn = self.conns.get(c.id)
            if conn is not None and not conn.closed:
                assert b"".join(conn.peek()) == c.arrived, "what can be read"
                assert conn.room == (0 if c.fin_wanted or c.state in ("SYN-PENDING", "CLOSED", "CLOSING", "LAST-ACK",
                                     "TIME-WAIT") else c.room)  # fmt: skip

    def compare_due(self, theirs: int, free: int) -> None:
        """Never later than the model; sooner only by a timer that was stopped since."""
        ours = self.model.due(self.now, free)
        if theirs != ours:
            assert self.now < theirs < ours and theirs in self.model.armed, f"due at {theirs}, not {ours}"
        W = self.stack._world[0]
        deadlines = W.deadline if PLAIN else W["deadline"]
        for c in self.model.open_connections:
            early = int(deadlines[c.slot])
            if early != c.deadline:
                assert early < c.deadline and early in self.model.armed, f"connection {c.id} is due at {early}"
                self.woken = min(early, self.woken or early)
