"""A TCP connection as Python sees it: a handle on one slot of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiled.records import words_of
from . import core
from .addresses import from_pair
from .states import State
from .tcp_output import NUMBERS_UNKNOWN
from .world import TCB

if TYPE_CHECKING:
    from .stack import Stack

REFUSALS = {
    # how: (IPv4 type, code), (IPv6 type, code); None is silence, (0, 0) a RST
    "drop": ((-1, 0), (-1, 0)),
    "reset": ((0, 0), (0, 0)),
    "net-unreachable": ((3, 0), (1, 0)),
    "host-unreachable": ((3, 1), (1, 3)),
    "port-unreachable": ((3, 3), (1, 4)),
    "prohibited": ((3, 13), (1, 1)),
}
_AT = words_of(TCB)
_WORDS = TCB.itemsize >> 3
_STATE, _FIN_WANTED, _LEARNING, _ISS = _AT["state"], _AT["fin_wanted"], _AT["learning"], _AT["iss"]
_RCV_NXT, _RCV_FIN, _RCV_READ = _AT["rcv_nxt"], _AT["rcv_fin"], _AT["rcv_read"]
_RECV_OFF, _RECV_MASK, _RECV_BASE = _AT["recv_off"], _AT["recv_mask"], _AT["recv_base"]
_SEND_SIZE, _SND_END, _SND_UNA, _CWND = _AT["send_size"], _AT["snd_end"], _AT["snd_una"], _AT["cwnd"]
_FIRST, _LAST = int(State.SYN_SENT), int(State.CLOSE_WAIT)  # states that take data to send
INFO = (
    "iss snd_una snd_nxt snd_end snd_wnd snd_shift irs rcv_nxt rcv_read rcv_adv rcv_shift ack_hold last_ack_sent "
    "peer_mss mss pmtu ts_ok sack_ok ecn_ok "
    "srtt rttvar rto backoff min_rtt cwnd ssthresh recovery sacked_bytes lost_bytes probes opened_at "
    "established_at bytes_in "
    "bytes_out segs_in segs_out retransmits retransmitted_bytes timeouts"
).split()


class Connection:
    """One TCP connection. All calls are made from the stack's thread; after the end they do nothing and return
    nothing."""

    __slots__ = ("_at", "_cells", "_final", "_rest", "_slot", "_stack", "context", "id", "local", "reason", "remote")

    def __init__(self, stack: Stack, slot: int):
        self._stack = stack
        self._slot = slot
        self._cells = stack._tcb_cells
        self._at = slot * _WORDS
        self._rest: bytes | None = None
        self._final: dict[str, Any] = {}
        row = stack._tcb[slot]
        self.id = int(stack._field(row, "id"))
        """Number unique for the stack's life."""
        self.local = (
            from_pair(stack._field(row, "local_hi"), stack._field(row, "local_lo")),
            stack._field(row, "lport"),
        )
        """Our end: packed address and port. To a gateway this is what the guest wanted to reach."""
        self.remote = (
            from_pair(stack._field(row, "remote_hi"), stack._field(row, "remote_lo")),
            stack._field(row, "rport"),
        )
        self.context: Any = None
        """Free for the connection's user."""
        self.reason: str | None = None
        """Why it is over; None while it is not."""

    def _get(self, name: str) -> int:
        return self._cells[self._at + _AT[name]]

    @property
    def closed(self) -> bool:
        """Whether the end has been reported."""
        return self._rest is not None

    @property
    def state(self) -> str:
        """State by its RFC 9293 name."""
        if self._rest is not None:
            return "CLOSED"
        return State(self._get("state")).name.replace("_", "-")

    @property
    def readable(self) -> int:
        """Bytes that can be read now."""
        if self._rest is not None:
            return len(self._rest)
        cells, at = self._cells, self._at
        return cells[at + _RCV_NXT] - (1 if cells[at + _RCV_FIN] == -2 else 0) - cells[at + _RCV_READ]

    def peek(self) -> tuple[memoryview, memoryview]:
        """What can be read, as two views into the receive buffer (the second is empty unless it wraps).

        Valid until the next call into the stack; follow with :meth:`consume`.
        """
        if self._rest is not None:
            return memoryview(self._rest), memoryview(b"")
        cells, at = self._cells, self._at
        read = cells[at + _RCV_READ]
        number = cells[at + _RCV_NXT] - (1 if cells[at + _RCV_FIN] == -2 else 0) - read
        base, mask = cells[at + _RECV_OFF], cells[at + _RECV_MASK]
        start = (read - cells[at + _RECV_BASE]) & mask
        first = min(number, mask + 1 - start)
        view = self._stack._heap_view
        return view[base + start : base + start + first], view[base : base + number - first]

    def consume(self, number: int, now: int) -> int:
        """Mark bytes as read; returns how many were. Opens the window."""
        if self._rest is not None:
            number = min(number, len(self._rest))
            self._rest = self._rest[number:]
            return number
        s = self._stack
        return int(core.consume(s._world, s._tcb, s._heap, s.tx.array, self._slot, number, now))

    def read(self, most: int, now: int) -> bytes:
        """Take up to ``most`` bytes."""
        first, second = self.peek()
        data = bytes(first[:most]) + bytes(second[: max(0, most - len(first))])
        if data:
            self.consume(len(data), now)
        return data

    @property
    def room(self) -> int:
        """Bytes that :meth:`write` takes now."""
        if self._rest is not None:
            return 0
        cells, at = self._cells, self._at
        state = cells[at + _STATE]
        if cells[at + _FIN_WANTED] or cells[at + _LEARNING] == NUMBERS_UNKNOWN or not _FIRST <= state <= _LAST:
            return 0
        return cells[at + _SEND_SIZE] - (cells[at + _SND_END] - max(cells[at + _SND_UNA], cells[at + _ISS] + 1))

    @property
    def unacked(self) -> int:
        """Bytes queued or sent that the peer has not acknowledged."""
        if self._rest is not None:
            return 0
        return max(0, self._get("snd_end") - max(self._get("snd_una"), self._get("iss") + 1))

    @property
    def cwnd(self) -> int:
        """Congestion window, bytes."""
        return self._cells[self._at + _CWND] if self._rest is None else 0

    def write(self, data: bytes | memoryview, now: int) -> int:
        """Queue bytes; returns how many were taken. When fewer than offered, ``Writable`` follows once there is
        room."""
        if self._rest is not None:
            return 0
        s = self._stack
        raw = np.frombuffer(data, np.uint8)
        return int(core.write(s._world, s._tcb, s._segs, s._heap, s.tx.array, self._slot, raw, now))

    def accept(self, now: int) -> bool:
        """Answer the held SYN (gateway role)."""
        if self._rest is not None:
            return False
        s = self._stack
        return bool(core.accept(s._world, s._tcb, s._segs, s._heap, s.tx.array, self._slot, now))

    def refuse(self, how: str, now: int) -> None:
        """Turn the held SYN down: ``reset``, an ICMP unreachable by name, or ``drop``."""
        if self._rest is None:
            kind, code = REFUSALS[how][0 if len(self.remote[0]) == 4 else 1]
            s = self._stack
            core.refuse(s._world, s._tcb, s._heap, s.tx.array, self._slot, kind, code, now)

    def hold_acks(self, now: int) -> None:
        """Acknowledge to the peer from now on only what :meth:`release_acks` lets go (before ``accept``: nothing but
        its SYN). Delivery, window and the end of the stream go on as ever; the peer's number stays back."""
        if self._rest is None:
            s = self._stack
            core.hold_acks(s._world, s._tcb, self._slot)

    def release_acks(self, upto: int, now: int) -> bool:
        """Let ``upto`` bytes, counted from the start of the stream, be acknowledged; the FIN is one byte more, and the
        connection is not over before it may be. Returns whether an acknowledgement went at once."""
        s = self._stack
        return bool(core.release_acks(s._world, s._tcb, s._heap, s.tx.array, self._slot, self.id, upto, now))

    @property
    def options(self) -> dict[str, Any]:
        """What both sides agreed on and no later segment repeats: keyword arguments of :meth:`.Stack.adopt`."""
        info = self.info()
        return {
            "mss": info["peer_mss"],
            "send_shift": info["snd_shift"] if info["rcv_shift"] >= 0 else -1,
            "recv_shift": info["rcv_shift"],
            "sack": bool(info["sack_ok"]),
        }

    def shutdown(self, now: int) -> None:
        """Close the sending direction after everything queued."""
        if self._rest is None:
            s = self._stack
            core.shutdown(s._world, s._tcb, s._segs, s._heap, s.tx.array, self._slot, now)

    def abort(self, now: int) -> None:
        """Reset the connection."""
        if self._rest is None:
            s = self._stack
            core.abort(s._world, s._tcb, s._segs, s._heap, s.tx.array, self._slot, now)

    def info(self) -> dict[str, Any]:
        """State and figures: sequence numbers and windows in bytes (unwrapped to 64 bits), times in nanoseconds."""
        if self._rest is not None:
            return dict(self._final)
        row = self._stack._tcb[self._slot]
        figures: dict[str, Any] = {name: self._stack._field(row, name) for name in INFO}
        figures["state"] = self.state
        return figures

    def _finish(self, reason: str) -> None:
        """Keep what is unread and the last figures, and give the slot back."""
        self._final = self.info()
        first, second = self.peek()
        self._rest = bytes(first) + bytes(second)
        self.reason = reason
        core.let_go(self._stack._world, self._stack._tcb, self._slot)
        self._stack._forget(self._slot, self._final["bytes_in"] + self._final["bytes_out"])

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.state}>"
