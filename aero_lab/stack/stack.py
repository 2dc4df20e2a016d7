"""A TCP/IP stack as Python sees it: configuration, rings, events, and the calls of the socket layer."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..causes import Cause
from ..compiled.pages import give_back, pages
from ..compiled.records import cells, new_records, words_of
from ..compiled.registry import PLAIN
from ..errors import AeroLabError, UsageError
from ..limits import BATCH, MAX_CONNECTIONS, OVERRUN_PER_CONNECTION, RING_ARENA, RING_SLOTS
from ..rings import FrameRing
from . import core, ip_input
from .addresses import from_pair, to_pair
from .config import CONGESTION, ROLES, SYN_LAYOUTS, StackConfig, TcpConfig, require
from .connection import REFUSALS, Connection
from .drops import COUNT_NAMES, DROP_NAMES
from .events import (
    ArpSeen,
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Readable,
    StackEvent,
    SynReceived,
    Writable,
)
from .reassembly import ARENA_SIZE, REASSEMBLY
from .reassembly import REASONS as FRAGMENT_REASONS
from .states import State
from .world import (
    EV_CLOSED,
    EV_EOF,
    EV_ESTABLISHED,
    EV_READABLE,
    EV_SYN,
    EV_WRITABLE,
    LISTENERS,
    OVERRUN_BLOCKS,
    OWN4,
    OWN6,
    REASONS,
    SEGMENT,
    TCB,
    WORLD,
)

EPHEMERAL = {"linux": (32768, 60999), "windows7": (49152, 65535)}
EVENT_ROWS = 256
BUFFERS_KEPT = 64 << 10
"""A connection that moved less leaves its buffers' pages to the next one: a call to the system would cost more."""
_AT = words_of(WORLD)
_EVENT_COUNT, _OUT_COUNT = _AT["event_count"], _AT["out_count"]
HEADER_ROOM = bytearray(8)
"""Room that kernels write a UDP or ICMP header into."""


class Random(Protocol):
    """What a stack asks of the generator it is given (``random.Random`` has it)."""

    def getrandbits(self, k: int, /) -> int: ...


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 1).bit_length()


class Stack:
    """One user-space TCP/IP stack: frames in :attr:`rx`, frames out :attr:`tx`, everything else by calls and events.

    It is a node: :meth:`step` does all that is due at ``now`` and :meth:`poll_at` tells when it wants to be stepped
    again. All calls are made from one thread. Randomness (sequence numbers, ports, hash keys) comes from ``rng`` alone.
    """

    def __init__(self, config: StackConfig, rng: Random, now: int):
        self.config = config
        self.rx = FrameRing(RING_SLOTS, RING_ARENA)
        self.tx = FrameRing(RING_SLOTS, RING_ARENA)
        self._up = FrameRing(RING_SLOTS, RING_ARENA)
        tcp = config.tcp
        self._world = new_records(WORLD, 1)
        self._world_cells = cells(self._world)
        self._tcb = new_records(TCB, config.max_connections)
        self._tcb_cells = cells(self._tcb)
        self._reasm = new_records(REASSEMBLY, 1)
        self._fragments = pages(ARENA_SIZE)
        send_region, recv_region = _power_of_two(tcp.send_buffer), _power_of_two(tcp.recv_buffer)
        least_mss = 512 if tcp.mss is None else min(512, tcp.mss)
        segq = min(max(_power_of_two(2 * tcp.send_buffer // least_mss), 64), 8192)
        self._segs = new_records(SEGMENT, config.max_connections * segq)
        overrun_start = config.max_connections * (send_region + recv_region)
        overrun_size = _power_of_two(recv_region + OVERRUN_PER_CONNECTION)
        blocks = OVERRUN_BLOCKS if config.role == "gateway" else 0
        self._heap_region = send_region + recv_region
        self._heap = pages(overrun_start + blocks * overrun_size)
        self._heap_view = memoryview(self._heap)  # type: ignore[arg-type]
        self._events = np.zeros(EVENT_ROWS * core.EVENT_WORDS, np.int64)
        self._connections: dict[int, Connection] = {}
        self._pending: list[StackEvent] = []
        self._next_port = 0
        W = self._world[0]
        values = {
            "role": ROLES.index(config.role),
            "ethernet": 1 if config.medium == "ethernet" else 0,
            "mtu": config.mtu,
            "mac_hi": int.from_bytes(config.mac[:2], "big"),
            "mac_lo": int.from_bytes(config.mac[2:], "big"),
            "ttl": config.ttl,
            "max_conn": config.max_connections,
            "key0": rng.getrandbits(32),
            "key1": rng.getrandbits(32),
            "key2": rng.getrandbits(32),
            "key3": rng.getrandbits(32),
            "rng": rng.getrandbits(32),
            "ip_id": rng.getrandbits(16),
            "frame_seq": 1 if config.role == "gateway" else 0,
            "send_region": send_region,
            "recv_region": recv_region,
            "segq": segq,
            "segq_mask": segq - 1,
            "overrun_start": overrun_start,
            "overrun_size": overrun_size,
            "icmp_at": now,
            "icmp_tokens": 100,
            "challenge_at": now,
            "challenge_tokens": 100,
            "tcp_send_buffer": tcp.send_buffer,
            "tcp_recv_buffer": tcp.recv_buffer,
            "tcp_mss": tcp.mss if tcp.mss is not None else config.mtu - 40,
            "tcp_shift": tcp.shift,
            "tcp_timestamps": int(tcp.timestamps),
            "tcp_sack": int(tcp.sack),
            "tcp_ecn": int(tcp.ecn),
            "tcp_cc": CONGESTION.index(tcp.congestion),
            "tcp_icw": tcp.initial_cwnd_segments,
            "tcp_rto_initial": tcp.rto_initial,
            "tcp_rto_min": tcp.rto_min,
            "tcp_rto_max": tcp.rto_max,
            "tcp_syn_retries": tcp.syn_retries,
            "tcp_data_retries": tcp.data_retries,
            "tcp_delack_segments": tcp.delack_segments,
            "tcp_delack_time": tcp.delack_time,
            "tcp_quick_acks": tcp.quick_acks,
            "tcp_nagle": int(tcp.nagle),
            "tcp_keep_idle": tcp.keepalive_idle,
            "tcp_keep_interval": tcp.keepalive_interval,
            "tcp_keep_probes": tcp.keepalive_probes,
            "tcp_time_wait": tcp.time_wait,
            "tcp_rack": int(tcp.rack),
            "tcp_syn_window": 0 if tcp.syn_window is None else tcp.syn_window or -1,
            "tcp_layout": SYN_LAYOUTS.index(tcp.syn_layout),
        }
        for name, value in values.items():
            self._set(W, name, value)
        self.set_address(config.addresses, config.router4, config.router6)
        low, high = EPHEMERAL[tcp.syn_layout]
        self._next_port = low + rng.getrandbits(16) % (high - low + 1)

    # Records in either mode ------------------------------------------------------------------------------------------

    @staticmethod
    def _field(row: Any, name: str) -> int:
        return getattr(row, name) if PLAIN else int(row[name])

    @staticmethod
    def _set(row: Any, name: str, value: Any) -> None:
        if PLAIN:
            setattr(row, name, value)
        else:
            row[name] = value

    # The node --------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        """Take every waiting frame, run what is due, send what may be sent."""
        taken = BATCH
        while taken == BATCH:
            taken = core.step(
                self._world,
                self._tcb,
                self._segs,
                self._heap,
                self.rx.array,
                self.tx.array,
                self._up.array,
                self._reasm,
                self._fragments,
                BATCH,
                now,
            )

    def poll_at(self, now: int) -> int:
        """When :meth:`step` has work; ``now`` when it has some already, ``NEVER`` when only input can give it any."""
        return int(core.next_due(self._world, self._reasm, self.rx.array, self.tx.array, now))

    @property
    def pressing(self) -> bool:
        """Whether frames wait or connections have output: work for :meth:`step` that is no timer's."""
        return self._world_cells[_OUT_COUNT] > 0 or len(self.rx) > 0

    def events(self) -> list[StackEvent]:
        """Take what happened since the last call, connections first, then datagrams, each in order."""
        out = self._pending
        self._pending = []
        while self._world_cells[_EVENT_COUNT]:
            number = core.take_events(self._world, self._tcb, self._events)
            rows = self._events[: number * core.EVENT_WORDS].tolist()
            for i in range(0, len(rows), core.EVENT_WORDS):
                self._translate(rows[i], rows[i + 1], rows[i + 2], rows[i + 3], out)
            if number < EVENT_ROWS:
                break
        if len(self._up):
            for record in self._up.pop_many(RING_SLOTS):
                out.append(self._packet(record.data, record.flow, record.flags, bool(record.cause)))
        return out

    def _translate(self, slot: int, identity: int, bits: int, reason: int, out: list[StackEvent]) -> None:
        conn = self._connections.get(identity)
        if conn is None:
            conn = self._connections[identity] = Connection(self, slot)
        if bits & EV_SYN:
            out.append(SynReceived(conn))
        if bits & EV_ESTABLISHED:
            out.append(Established(conn))
        if bits & EV_READABLE:
            out.append(Readable(conn))
        if bits & EV_EOF:
            out.append(EndOfStream(conn))
        if bits & EV_WRITABLE:
            out.append(Writable(conn))
        if bits & EV_CLOSED:
            del self._connections[identity]
            conn._finish(REASONS[reason])
            out.append(Closed(conn, REASONS[reason]))

    def _forget(self, slot: int, moved: int) -> None:
        """Give the memory of a connection's buffers back, when it was much."""
        if moved >= BUFFERS_KEPT:
            region = self._heap_region
            give_back(self._heap, slot * region, (slot + 1) * region)

    @staticmethod
    def _packet(data: bytes, transport: int, kind: int, group: bool) -> StackEvent:
        if kind == ip_input.UP_ARP:
            return ArpSeen(int.from_bytes(data[6:8], "big"), data[8:14], data[14:18], data[18:24], data[24:28])
        if data[0] >> 4 == 4:
            src, dst, ttl, family = data[12:16], data[16:20], data[8], 4
        else:
            src, dst, ttl, family = data[8:24], data[24:40], data[7], 6
        body = data[transport:]
        if kind == ip_input.UP_UDP:
            sport, dport = int.from_bytes(body[0:2], "big"), int.from_bytes(body[2:4], "big")
            return Datagram(src, sport, dst, dport, body[8:], ttl, data, group)
        return IcmpMessage(src, dst, body[0], body[1], int.from_bytes(body[4:8], "big"), body[8:], family, ttl, data)

    # Addresses -------------------------------------------------------------------------------------------------------

    def set_address(
        self,
        addresses: tuple[tuple[bytes, int], ...],
        router4: bytes | None = None,
        router6: bytes | None = None,
    ) -> None:
        """Replace own addresses (each with its prefix length) and routers."""
        W = self._world[0]
        v4 = [(a, p) for a, p in addresses if len(a) == 4]
        v6 = [(a, p) for a, p in addresses if len(a) == 16]
        if len(v4) > OWN4 or len(v6) > OWN6 or len(v4) + len(v6) != len(addresses):
            raise UsageError(f"a stack has at most {OWN4} IPv4 and {OWN6} IPv6 addresses, packed")
        self.addresses = tuple(addresses)
        own4, own4_mask = self._array(W, "own4"), self._array(W, "own4_mask")
        for i, (address, prefix) in enumerate(v4):
            own4[i] = int.from_bytes(address, "big")
            own4_mask[i] = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
        hi, lo, length = self._array(W, "own6_hi"), self._array(W, "own6_lo"), self._array(W, "own6_prefix")
        for i, (address, prefix) in enumerate(v6):
            hi[i], lo[i] = to_pair(address)
            length[i] = prefix
        self._set(W, "own4_n", len(v4))
        self._set(W, "own6_n", len(v6))
        self._set(W, "router4", int.from_bytes(router4, "big") if router4 else 0)
        router = to_pair(router6) if router6 else (0, 0)
        self._set(W, "router6_hi", router[0])
        self._set(W, "router6_lo", router[1])
        self._set(W, "neigh_version", self._field(W, "neigh_version") + 1)

    @staticmethod
    def _array(row: Any, name: str) -> Any:
        return getattr(row, name) if PLAIN else row[name]

    def source_for(self, dst: bytes) -> bytes:
        """The own address to speak from to ``dst``: same family, same prefix if there is one."""
        same = [(a, p) for a, p in self.addresses if len(a) == len(dst)]
        if not same:
            raise AeroLabError("the stack has no address of this family yet")
        bits = 8 * len(dst)
        target = int.from_bytes(dst, "big")
        for address, prefix in same:
            if (int.from_bytes(address, "big") ^ target) >> (bits - prefix) == 0:
                return address
        wide = [a for a, _ in same if not (len(a) == 16 and a[0] == 0xFE and a[1] & 0xC0 == 0x80)]
        return wide[0] if wide else same[0][0]

    def neighbours(self) -> dict[bytes, bytes]:
        """Known link addresses: IP to MAC."""
        W = self._world[0]
        out = {}
        states = self._array(W, "n_state")
        for i in range(len(states)):
            if states[i] == 2:
                mac = int(self._array(W, "n_mac_hi")[i]).to_bytes(2, "big")
                mac += int(self._array(W, "n_mac_lo")[i]).to_bytes(4, "big")
                out[from_pair(int(self._array(W, "n_hi")[i]), int(self._array(W, "n_lo")[i]))] = mac
        return out

    # TCP -------------------------------------------------------------------------------------------------------------

    def connect(
        self, dst: bytes, dport: int, sport: int | None = None, src: bytes | None = None, *, now: int
    ) -> Connection:
        """Open a connection. Raises when no slot or no port is left."""
        source = src if src is not None else self.source_for(dst)
        family = 4 if len(dst) == 4 else 6
        low, high = EPHEMERAL[self.config.tcp.syn_layout]
        slot = -2
        for _ in range(1 if sport is not None else high - low + 1):
            port = sport
            if port is None:
                port = self._next_port
                self._next_port = port + 1 if port < high else low
            slot = core.connect(
                self._world,
                self._tcb,
                self._segs,
                self._heap,
                self.tx.array,
                family,
                *to_pair(source),
                port,
                *to_pair(dst),
                dport,
                now,
            )
            if slot != -2:
                break
        return self._opened(slot)

    def adopt(
        self,
        local: tuple[bytes, int],
        remote: tuple[bytes, int],
        now: int,
        *,
        mss: int = 536,
        send_shift: int = -1,
        recv_shift: int = -1,
        sack: bool = False,
    ) -> Connection:
        """Go on with a connection of a former life (a restored snapshot): established for the peer, numbers unknown.

        They are learned from the peer's first segment with an ACK, which is announced by ``Established``; until then
        nothing can be written. ``mss``, the window shifts (-1: window scaling was not agreed on) and ``sack`` are what
        :attr:`Connection.options` told before; timestamps are used when the peer's segment has them. Raises when no
        slot is left or the addresses are in use.
        """
        require(64 <= mss <= 65535, "mss must be 64 to 65535")
        require(-1 <= send_shift <= 14 and -1 <= recv_shift <= 14, "window shifts must be 0 to 14, or -1 for none")
        slot = core.adopt(
            self._world,
            self._tcb,
            4 if len(remote[0]) == 4 else 6,
            *to_pair(local[0]),
            local[1],
            *to_pair(remote[0]),
            remote[1],
            mss,
            max(send_shift, 0) if recv_shift >= 0 else 0,
            recv_shift if send_shift >= 0 else -1,
            int(sack and self.config.tcp.sack),
            now,
        )
        return self._opened(slot)

    def _opened(self, slot: int) -> Connection:
        """The handle on a connection that a kernel opened, or the error that its answer means."""
        if slot == -1:
            raise AeroLabError(f"all {self.config.max_connections} connection slots are in use")
        if slot < 0:
            raise AeroLabError("the connection's ports are in use")
        conn = Connection(self, slot)
        self._connections[conn.id] = conn
        return conn

    def listen(self, port: int, now: int = 0) -> None:
        """Accept connections to ``port`` of every own address; each is announced by ``Established``."""
        listen = self._array(self._world[0], "listen")
        for i in range(LISTENERS):
            if listen[i] in (0, port):
                listen[i] = port
                return
        raise UsageError(f"a stack listens on at most {LISTENERS} ports")

    # Datagrams -------------------------------------------------------------------------------------------------------

    def udp_send(
        self,
        src: bytes,
        sport: int,
        dst: bytes,
        dport: int,
        payload: bytes,
        now: int,
        ttl: int | None = None,
        cause: Cause = Cause.PAYLOAD,
    ) -> bool:
        """Send a datagram, in fragments where it must be. False: no room, or the link address is being asked for."""
        data = np.frombuffer(HEADER_ROOM + payload, np.uint8)
        return bool(
            core.datagram(
                self._world,
                self.tx.array,
                *to_pair(src),
                sport,
                *to_pair(dst),
                dport,
                data,
                self.config.ttl if ttl is None else ttl,
                int(cause),
                now,
            )
        )

    def icmp_send(self, src: bytes, dst: bytes, type: int, code: int, rest: int, payload: bytes, now: int) -> bool:
        """Send one ICMP (or, between IPv6 addresses, ICMPv6) message, in fragments where it must be."""
        data = np.frombuffer(HEADER_ROOM + payload, np.uint8)
        return bool(
            core.message(
                self._world, self.tx.array, *to_pair(src), *to_pair(dst), data, type, code, rest, int(Cause.ICMP), now
            )
        )

    def icmp_echo(self, src: bytes, dst: bytes, ident: int, seq: int, payload: bytes, now: int) -> bool:
        """Send an echo request."""
        kind = 8 if len(dst) == 4 else 128
        return self.icmp_send(src, dst, kind, 0, (ident << 16) | seq, payload, now)

    def unreachable(self, about: Datagram | IcmpMessage, how: str, now: int, mtu: int = 0) -> bool:
        """Answer something handed up with an ICMP error quoting it: ``port-``, ``host-``, ``net-unreachable``,
        ``prohibited`` or ``too-big`` (with ``mtu``)."""
        v4 = len(about.src) == 4
        if how == "too-big":
            kind, code = (3, 4) if v4 else (2, 0)
        else:
            kind, code = REFUSALS[how][0 if v4 else 1]
        packet = np.frombuffer(bytearray(about.packet), np.uint8)
        return bool(core.error_about(self._world, self.tx.array, packet, kind, code, mtu, now))

    def send_frame(self, frame: bytes, now: int, cause: Cause = Cause.BROADCAST) -> bool:
        """Put a frame of the caller's own making on the link."""
        W = self._world[0]
        identity = self._field(W, "frame_seq") + 2
        self._set(W, "frame_seq", identity)
        return self.tx.push(frame, now, identity, -1, int(cause))

    def number_frames(self, first: int) -> None:
        """Give the frames of this stack the identities behind ``first``, every second number. The guest's are even, the
        gateway's odd."""
        self._set(self._world[0], "frame_seq", first)

    # Looking inside --------------------------------------------------------------------------------------------------

    @property
    def drops(self) -> dict[str, int]:
        """Drops by reason, those that happened; fragments' own reasons included."""
        counts = self._array(self._world[0], "drops")
        out = {DROP_NAMES[i]: int(counts[i]) for i in DROP_NAMES if counts[i]}
        pieces = self._array(self._reasm[0], "drops")
        out.update({name: int(pieces[i]) for i, name in enumerate(FRAGMENT_REASONS) if pieces[i]})
        return out

    @property
    def counters(self) -> dict[str, int]:
        """What the stack counts besides drops."""
        counts = self._array(self._world[0], "counts")
        return {COUNT_NAMES[i]: int(counts[i]) for i in COUNT_NAMES}

    @property
    def open_connections(self) -> int:
        """Connections in any state but CLOSED, TIME-WAIT included."""
        return self._field(self._world[0], "conn_count")

    @property
    def free_slots(self) -> int:
        """Slots that a new connection could take now."""
        W = self._world[0]
        return self.config.max_connections - self._field(W, "conn_high") + self._field(W, "free_count")

    def flows(self) -> list[dict[str, Any]]:
        """One row a connection in the table: addresses, state, figures."""
        rows = []
        for slot in range(self._field(self._world[0], "conn_high")):
            row = self._tcb[slot]
            if self._field(row, "state") == State.CLOSED:
                continue
            rows.append(
                {
                    "id": self._field(row, "id"),
                    "state": State(self._field(row, "state")).name.replace("_", "-"),
                    "local": from_pair(self._field(row, "local_hi"), self._field(row, "local_lo")),
                    "lport": self._field(row, "lport"),
                    "remote": from_pair(self._field(row, "remote_hi"), self._field(row, "remote_lo")),
                    "rport": self._field(row, "rport"),
                    "bytes_in": self._field(row, "bytes_in"),
                    "bytes_out": self._field(row, "bytes_out"),
                    "srtt": self._field(row, "srtt"),
                    "cwnd": self._field(row, "cwnd"),
                    "retransmits": self._field(row, "retransmits"),
                }
            )
        return rows

    def round_trips(self) -> list[int]:
        """Smoothed round-trip times (RFC 6298), ns, of the open connections that have measured one."""
        rows = self._tcb[: self._field(self._world[0], "conn_high")]
        if PLAIN:
            return [row.srtt for row in rows if row.state != State.CLOSED and row.srtt > 0]
        return rows["srtt"][(rows["state"] != State.CLOSED) & (rows["srtt"] > 0)].tolist()

    def __repr__(self) -> str:
        return f"<Stack {self.config.role} {self.open_connections} connections, {len(self.rx)} in, {len(self.tx)} out>"


__all__ = ["MAX_CONNECTIONS", "Random", "Stack", "StackConfig", "TcpConfig"]
