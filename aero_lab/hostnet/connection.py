"""A TCP connection of a namespace's kernel, with the face of :class:`aero_lab.stack.Connection`.

The kernel has answered the SYN before anybody here hears of it: *accept* means that bytes are looked at from now on,
*refuse* is a reset. Between the socket and the NAT stand two bounded buffers: what was read and is not passed on yet,
and what the kernel did not take. So each side still stops the other through TCP's window.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import TYPE_CHECKING, Any

from ..bounds import HOSTNET_BUFFER
from ..errors import UsageError
from ..limits import SECOND
from ..stack import Closed, EndOfStream, Established, Readable, Writable

if TYPE_CHECKING:
    from .stack import KernelStack

IN, OUT, BROKEN = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR | select.EPOLLHUP
LINGER_RESET = struct.pack("ii", 1, 0)
TCP_INFO_RTT = 68
"""Where ``tcpi_rtt``, microseconds, stands in ``struct tcp_info``."""
_REASONS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
}


class KernelConnection:
    """One connection. All calls are made from the stack's thread; after the end they do nothing and return nothing."""

    __slots__ = (
        "_buffer",
        "_end",
        "_ended",
        "_mask",
        "_open",
        "_pending",
        "_short",
        "_shut",
        "_sock",
        "_stack",
        "_start",
        "_state",
        "context",
        "fd",
        "id",
        "local",
        "reason",
        "remote",
    )

    def __init__(self, stack: KernelStack, number: int, sock: socket.socket, local: Any, remote: Any):
        self._stack, self._sock = stack, sock
        self.fd = sock.fileno()
        self.id = number
        """Number unique for the stack's life."""
        self.local, self.remote = local, remote
        """What the guest wanted to reach, and its own end: packed address and port each."""
        self.context: Any = None
        """Free for the connection's user."""
        self.reason: str | None = None
        """Why it is over; None while it is not."""
        self._buffer = memoryview(b"")
        self._start = self._end = 0
        self._pending = bytearray()
        self._mask = 0
        self._state = "held"  # held, calling, open, closed
        self._ended = False  # the guest's end was read
        self._shut = False  # ours is wanted
        self._short = False  # a write was cut short
        self._open = False

    # As the NAT sees it ---------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the end has been reported."""
        return self._state == "closed"

    @property
    def state(self) -> str:
        """``held`` (nobody has accepted it), ``calling``, ``open`` or ``closed``."""
        return self._state

    @property
    def readable(self) -> int:
        """Bytes that can be read now."""
        return self._end - self._start

    def peek(self) -> tuple[memoryview, memoryview]:
        """What can be read; the second view is empty. Valid until the next step; follow with :meth:`consume`."""
        return self._buffer[self._start : self._end], memoryview(b"")

    def consume(self, number: int, now: int) -> int:
        """Mark bytes as read; returns how many were."""
        number = min(number, self.readable)
        self._start += number
        if self._start == self._end:
            self._start = self._end = 0
        self._watch()
        return number

    def read(self, most: int, now: int) -> bytes:
        """Take up to ``most`` bytes."""
        data = bytes(self._buffer[self._start : self._end][:most])
        self.consume(len(data), now)
        return data

    @property
    def room(self) -> int:
        """Bytes that :meth:`write` takes now."""
        if self._state != "open" or self._shut:
            return 0
        return HOSTNET_BUFFER - len(self._pending)

    @property
    def unacked(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return len(self._pending)

    def write(self, data: bytes | memoryview, now: int) -> int:
        """Send bytes; returns how many were taken. When fewer than offered, ``Writable`` follows."""
        room = self.room
        view = memoryview(data)[:room]
        if len(data) > room:
            self._short = True
        sent = 0
        if not self._pending and len(view):
            try:
                sent = self._sock.send(view)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._finish(_reason(error.errno))
                return 0
        if sent < len(view):
            self._pending += view[sent:]
            self._watch()
        return len(view)

    def accept(self, now: int) -> bool:
        """Begin to serve it."""
        if self._state != "held":
            return False
        self._state = "open"
        self._buffer = memoryview(bytearray(HOSTNET_BUFFER))
        self._stack.tell(Established(self))  # type: ignore[arg-type]
        self._watch()
        return True

    def refuse(self, how: str, now: int) -> None:
        """Turn it down: it was open already, so whatever the reason, it is a reset."""
        self.abort(now)

    def hold_acks(self, now: int) -> None:
        """The kernel acknowledges what it has, and cannot be told otherwise."""
        raise UsageError('acknowledgements cannot be held with far="kernel"')

    @property
    def options(self) -> dict[str, Any]:
        """What a snapshot would need: the kernel keeps it to itself."""
        raise UsageError('a network with far="kernel" has its connections in the kernel: it cannot be taken along')

    def shutdown(self, now: int) -> None:
        """Close the sending direction after everything written."""
        if self._state == "open" and not self._shut:
            self._shut = True
            self._flushed()

    def abort(self, now: int) -> None:
        """Reset the connection."""
        if self._state != "closed":
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            except OSError:
                pass  # it is over already
            self._close("aborted")

    def round_trip(self) -> int:
        """Smoothed round-trip time, ns, as the kernel measured it; 0 when it has not."""
        if self._state != "open":
            return 0
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_RTT + 4)
        except OSError:
            return 0
        return int.from_bytes(info[TCP_INFO_RTT:], "little") * 1000 if len(info) == TCP_INFO_RTT + 4 else 0

    # As the stack sees it -------------------------------------------------------------------------------------------

    def keep_alive(self, idle: int) -> None:
        """Find out when the guest has gone, after ``idle`` nanoseconds of silence."""
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if idle:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, idle // SECOND))
        except OSError:
            pass  # it is over already; reading tells

    def call(self, address: str) -> None:
        """Connect to the guest; an event tells what came of it."""
        self._state = "calling"
        code = self._sock.connect_ex((address, self.remote[1]))
        if code not in (0, errno.EINPROGRESS):
            self._finish(_reason(code))
        else:
            self._watch()

    def ready(self, mask: int) -> int:
        """The socket has something to say; bytes read."""
        if self._state == "calling":
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._finish(_reason(code))
                return 0
            self._state = "held"
            self.accept(0)
        if mask & OUT and self._state == "open":
            self._flush()
        size = 0
        if self._state == "open" and mask & (IN | BROKEN):
            size = self._take()
        if mask & BROKEN and self._state in ("open", "held") and not size and not (self._ended and self._shut):
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code or self._state == "held" or self._ended:
                self._finish(_reason(code or errno.ECONNRESET))
        return size

    def drop(self) -> None:
        """Let go of the socket without a word."""
        if self._state != "closed":
            self._state = "closed"
            self._sock.close()

    def _take(self) -> int:
        if self._ended:
            return 0
        if self._end == HOSTNET_BUFFER and self._start >= HOSTNET_BUFFER // 2:
            left = self.readable
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        if self._end == HOSTNET_BUFFER:
            self._watch()
            return 0
        try:
            size = self._sock.recv_into(self._buffer[self._end :])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._finish(_reason(error.errno))
            return 0
        if size:
            self._end += size
            self._stack.tell(Readable(self))  # type: ignore[arg-type]
        else:
            self._ended = True
            self._stack.tell(EndOfStream(self))  # type: ignore[arg-type]
            self._over()
        self._watch()
        return size

    def _flush(self) -> None:
        if self._pending:
            try:
                sent = self._sock.send(self._pending)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._finish(_reason(error.errno))
                return
            del self._pending[:sent]
        if not self._pending and self._short:
            self._short = False
            self._stack.tell(Writable(self))  # type: ignore[arg-type]
        self._flushed()

    def _flushed(self) -> None:
        """Our end, once everything before it went."""
        if self._shut and not self._pending and self._state == "open":
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._finish(_reason(error.errno))
                return
            self._over()
        self._watch()

    def _over(self) -> None:
        """Both directions have ended: the kernel needs nobody for what is left to do."""
        if self._ended and self._shut and not self._pending:
            self._finish("closed")

    def _finish(self, reason: str) -> None:
        if self._state != "closed":
            self._close(reason)
            self._stack.tell(Closed(self, reason))  # type: ignore[arg-type]

    def _close(self, reason: str) -> None:
        self._state, self.reason = "closed", reason
        self._pending.clear()
        self._stack.forget(self)
        self._sock.close()

    def _watch(self) -> None:
        """Be told of what can be dealt with, and of the end in any case."""
        if self._state == "closed":
            return
        mask = 0
        if self._state == "calling" or self._pending:
            mask |= OUT
        if self._state == "open" and not self._ended and (self._end < HOSTNET_BUFFER or self._start):
            mask |= IN
        if mask != self._mask or not self._open:
            self._stack.watch(self.fd, mask, not self._open)
            self._mask, self._open = mask, True

    def __repr__(self) -> str:
        return f"<KernelConnection {self.id} {self._state}>"


def _reason(code: int | None) -> str:
    return _REASONS.get(code or 0, "reset")
