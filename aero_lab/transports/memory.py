"""The transport without a network: two rings, in one process or in memory that two processes share.

``memory_pair()`` gives both ends in one process, for virtual time and for tests. ``SharedMemoryTransport.create()``
gives one end and a :class:`Ticket` for the other, which a child process turns into its end::

    end, ticket = SharedMemoryTransport.create()
    child = subprocess.Popen([sys.executable, "child.py", ticket.text], pass_fds=ticket.fds)
    ticket.close()                                        # the child has its own copies now
    ...                                                   # in the child: SharedMemoryTransport.attach(sys.argv[1])

The memory is a file without a name, handed on by descriptor. So nothing can be left behind under ``/dev/shm``: it goes
when the last process lets go of it, however that process ends. A process that dies is noticed by the other end: its
:attr:`~MemoryEnd.wake_fd` becomes readable and :attr:`~MemoryEnd.peer_closed` true.

Both kinds lay out the same block: a page of flags, then two rings, one a direction.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import tempfile
from dataclasses import dataclass

import numpy as np

from ..compiled.memory import fence, i64_native_field, load_acquire, put_i64_native_field
from ..compiled.registry import BYTES, I64, entry, kernel
from ..errors import UsageError
from ..limits import RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing, count, move
from .base import TransportEnd

_PAGE = 4096
# Flags of end ``i`` stand at 64 * i of the first page: it waits for room, it closed, how often it had to wait.
_WAITS, _CLOSED, _STALLS = 0, 8, 16
get_waits, put_waits = i64_native_field(_WAITS), put_i64_native_field(_WAITS)
get_stalls, put_stalls = i64_native_field(_STALLS), put_i64_native_field(_STALLS)


@entry
@kernel(I64(BYTES, BYTES, BYTES, I64))
def post(waiting, target, flags, side):
    """Move messages to ``target``; when some stay behind, raise the flag of ``side``. Returns how many went."""
    moved = move(waiting, target, 1 << 30)
    if count(waiting) > 0:
        # Flag first, then one more look: the other side frees room first and looks at the flag after.
        first = get_waits(flags, 64 * side) == 0
        put_waits(flags, 64 * side, 1)
        fence()
        moved += move(waiting, target, 1 << 30)
        if first and count(waiting) > 0:
            put_stalls(flags, 64 * side, get_stalls(flags, 64 * side) + 1)
    if count(waiting) == 0:
        put_waits(flags, 64 * side, 0)
    return moved


@entry
@kernel(I64(BYTES, I64))
def unstall(flags, side):
    """After room was freed: take the flag of ``side`` down; returns whether it was up."""
    fence()
    if load_acquire(flags, 64 * side + _WAITS) == 0:
        return 0
    put_waits(flags, 64 * side, 0)
    return 1


class MemoryEnd(TransportEnd):
    """One end of a pair of rings; made by :func:`memory_pair` and :class:`SharedMemoryTransport`."""

    def __init__(self, flags: np.ndarray, side: int, received: FrameRing, outgoing: FrameRing):
        self._flags = flags
        self._cells = memoryview(flags).cast("B").cast("q")  # type: ignore[arg-type]
        self._side = side
        self.received = received
        self._outgoing = outgoing
        self._wake: socket.socket | None = None  # ours to read
        self._kick: socket.socket | None = None  # wakes the other end
        self._open = True
        self._gone = False

    def send(self, ring: FrameRing, now: int) -> int:
        if not self._open or self.peer_closed or not len(ring):
            return 0
        moved = int(post(ring.array, self._outgoing.array, self._flags, self._side))
        if moved:
            self.kick()
        return moved

    def taken(self) -> None:
        if self._open and unstall(self._flags, 1 - self._side):
            self.kick()

    def kick(self) -> None:
        if self._kick is not None:
            # A full socket buffer is a wake-up that the other end has not read yet; a closed one needs none.
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                self._kick.send(b"\0")

    @property
    def wake_fd(self) -> int:
        return self._wake.fileno() if self._wake is not None else -1

    def clear_wake(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                got = 4096
                while got == 4096:
                    got = len(self._wake.recv(4096))
                if got == 0:
                    self._gone = True

    @property
    def stalled(self) -> bool:
        return self._cells[8 * self._side + (_WAITS >> 3)] != 0

    @property
    def peer_closed(self) -> bool:
        return self._gone or self._cells[8 * (1 - self._side) + (_CLOSED >> 3)] != 0

    @property
    def counters(self) -> dict[str, int]:
        return {
            "messages_sent": self._outgoing.given,
            "bytes_sent": self._outgoing.given_bytes,
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": self._cells[8 * self._side + (_STALLS >> 3)],
        }

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._cells[8 * self._side + (_CLOSED >> 3)] = 1
        self.kick()
        for end in (self._wake, self._kick):
            if end is not None:
                end.close()
        self._wake = self._kick = None

    def __repr__(self) -> str:
        state = "closed" if not self._open else "peer closed" if self.peer_closed else "open"
        return f"<{type(self).__name__} {state}, {len(self.received)} received, {len(self._outgoing)} on their way>"


def _block_size(slots: int, arena: int) -> int:
    return _PAGE + 2 * FrameRing.size_for(slots, arena)


def memory_pair(slots: int = RING_SLOTS, arena: int = RING_ARENA, wake: bool = False) -> tuple[MemoryEnd, MemoryEnd]:
    """Two ends in one process; with ``wake`` they have descriptors to wait on, otherwise the owner polls.

    A message larger than ``arena`` never fits: choose the arena well above the largest message.
    """
    flags = np.zeros(_PAGE, np.uint8)
    up, down = FrameRing(slots, arena), FrameRing(slots, arena)
    a, b = MemoryEnd(flags, 0, down, up), MemoryEnd(flags, 1, up, down)
    if wake:
        (a._wake, b._kick), (b._wake, a._kick) = _wake_pair(), _wake_pair()
    return a, b


def _wake_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


@dataclass
class Ticket:
    """What another process needs to become the other end: descriptors to inherit, and a text that explains them."""

    fds: tuple[int, ...]
    text: str

    def close(self) -> None:
        """Close this process's copies; call it once the child has started."""
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds = ()


class SharedMemoryTransport(MemoryEnd):
    """A :class:`MemoryEnd` whose rings lie in memory that another process maps as well."""

    @classmethod
    def create(cls, slots: int = RING_SLOTS, arena: int = RING_ARENA) -> tuple[SharedMemoryTransport, Ticket]:
        """Make the memory, lay out the rings, and return this side's end and the ticket for the other."""
        ours, theirs = cls.create_tickets(slots, arena)
        return cls.attach(ours.text), theirs

    @classmethod
    def create_tickets(cls, slots: int = RING_SLOTS, arena: int = RING_ARENA) -> tuple[Ticket, Ticket]:
        """Make the memory, lay out the rings, and return a ticket for each end: both may go to other processes."""
        fd = _anonymous_file(_block_size(slots, arena))
        cls._lay_out(fd, slots, arena)
        (wake0, kick1), (wake1, kick0) = _wake_pair(), _wake_pair()
        tickets = []
        for side, memory, wake, kick in ((0, fd, wake0, kick0), (1, os.dup(fd), wake1, kick1)):
            fds = (memory, wake.detach(), kick.detach())
            for inherited in fds:
                os.set_inheritable(inherited, True)
            tickets.append(Ticket(fds, ",".join(map(str, (side, *fds, slots, arena)))))
        return tickets[0], tickets[1]

    @classmethod
    def attach(cls, text: str) -> SharedMemoryTransport:
        """An end, from the text of a :class:`Ticket` whose descriptors this process made or inherited."""
        try:
            side, fd, wake, kick, slots, arena = (int(part) for part in text.split(","))
        except ValueError:
            raise UsageError(f"not a shared-memory ticket: {text!r}") from None
        flags, up, down = cls._map(fd, slots, arena)
        os.close(fd)
        up, down = FrameRing.attach(up), FrameRing.attach(down)
        # The rings' views keep the mapping alive.
        end = cls(flags, side, *((up, down) if side else (down, up)))
        end._wake, end._kick = socket.socket(fileno=wake), socket.socket(fileno=kick)
        return end

    @classmethod
    def _map(cls, fd: int, slots: int, arena: int) -> tuple[np.ndarray, memoryview, memoryview]:
        """Flags, ring up and ring down of the memory behind ``fd``."""
        size = _block_size(slots, arena)
        if os.fstat(fd).st_size < size:
            raise UsageError(f"shared memory of {os.fstat(fd).st_size} bytes is too small for rings of {size}")
        memory = mmap.mmap(fd, size)
        each = FrameRing.size_for(slots, arena)
        up, down = (memoryview(memory)[at : at + each] for at in (_PAGE, _PAGE + each))
        return np.frombuffer(memory, np.uint8, _PAGE), up, down

    @classmethod
    def _lay_out(cls, fd: int, slots: int, arena: int) -> None:
        _, up, down = cls._map(fd, slots, arena)
        FrameRing(slots, arena, up)
        FrameRing(slots, arena, down)


def _anonymous_file(size: int) -> int:
    """Descriptor of a zeroed file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("aero-lab-rings", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd
