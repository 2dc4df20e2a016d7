"""The egress on ordinary sockets of this host, unprivileged, driven by an asyncio loop.

Theory of operation
-------------------
All sockets are non-blocking and watched by one selector of our own. The asyncio loop watches only that selector's
descriptor and tells ``wake``; the work is done in :meth:`HostEgress.step`, many sockets in one call, in the order
the driver wants (frames in, sockets, frames out). Watching each socket in asyncio itself would cost a callback and
two system calls an event.

Nothing is queued here: bytes go from the socket into one scratch buffer and from there straight into the sink, as
many as the sink has room for; bytes to the world go by ``sendmsg`` straight out of the connection's own buffer. What
the kernel does not take stays there.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
import socket
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..limits import (
    CONNECT_TIMEOUT,
    EGRESS_DATAGRAM_SIZE,
    EGRESS_READ,
    EGRESS_STEP_BYTES,
    NEVER,
    RESOLVE_TIMEOUT,
)
from . import acks
from .contract import Answer, EgressSink, Why
from .host_flow import LINGER_RESET, HostFlow, family_of
from .host_inbound import Listener, Listening
from .host_ports import DatagramPorts, Port
from .host_udp import Datagrams
from .icmp_errors import WHY
from .ping import Pinger
from .selector import LateSelector

if TYPE_CHECKING:
    from .resolver import HostResolver

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


class HostEgress(Datagrams, DatagramPorts, Listening):
    """Carries flows to the world through this host's sockets. Implements :class:`.contract.Egress`.

    Parameters
    ----------
    sink: who gets the calls up; may be set later, before the first step.
    loop: the asyncio loop that watches the sockets and resolves names. Without one the driver calls :meth:`step` on
    its own
        account (``fileno()`` can be selected) and names do not resolve.
    wake: called, on the loop, when there is work for :meth:`step`. It should schedule a step soon, as the call
    repeats until then. connect_timeout: nanoseconds until an unanswered connect fails.
    resolver: how names are looked up; the host's own way by default.
    resolve_timeout: nanoseconds until a lookup of that has failed; 0: as long as it likes.
    """

    def __init__(
        self,
        sink: EgressSink | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        wake: Callable[[], None] | None = None,
        connect_timeout: int = CONNECT_TIMEOUT,
        resolver: HostResolver | None = None,
        resolve_timeout: int = RESOLVE_TIMEOUT,
    ):
        self.sink: Any = sink
        self.wake = wake
        self._loop = loop
        self._connect_timeout = connect_timeout
        self._selector = LateSelector(self._watch_it)
        # Pages that nothing was read into cost nothing: most tunnels are idle.
        self._scratch = memoryview(np.zeros(max(EGRESS_READ, EGRESS_DATAGRAM_SIZE + 1), np.uint8))  # type: ignore[arg-type]
        self._flows: dict[int, HostFlow] = {}
        self._connecting: dict[int, HostFlow] = {}  # by number, oldest first: all wait equally long
        self._listeners: dict[int, Listener] = {}
        self._ports: dict[int, Port] = {}
        self._notices: deque[Callable[[int], None]] = deque()
        self._turn = 0
        self._count: Counter[str] = Counter()
        self._resolver = resolver
        self._resolve_timeout = resolve_timeout
        self._lookups: set[asyncio.Task] = set()
        self._pinger = Pinger(self._selector)
        self._stopped = False

    # Life -----------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Descriptor that is readable when :meth:`step` has work on sockets."""
        return self._selector.fileno()

    def _watch_it(self, fd: int) -> None:
        if self._loop is not None:
            self._loop.add_reader(fd, self._on_ready)

    def stop(self) -> None:
        """Close every socket and forget every flow, quietly. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        if self._selector.is_open and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self.fileno())
        for task in self._lookups:
            task.cancel()
        for f in self._flows.values():
            if f.sock is not None:
                f.sock.close()
        for listener in self._listeners.values():
            listener.close(self._selector)
        for port in list(self._ports):
            self.close_port(port, 0)
        self._listeners.clear()
        self._flows.clear()
        self._connecting.clear()
        self._notices.clear()
        self._pinger.close()
        self._selector.close()

    def __enter__(self) -> HostEgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _on_ready(self) -> None:
        if self.wake is not None:
            self.wake()

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._count)

    @property
    def open_flows(self) -> int:
        """Flows with a socket."""
        return len(self._flows)

    # TCP ------------------------------------------------------------------------------------------------------------

    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._add(flow, "tcp", address)
        if f.sock is None:
            return
        try:
            f.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = f.sock.connect_ex((socket.inet_ntop(family_of(address), address), port))
        except OSError as error:
            code = error.errno or errno.EHOSTUNREACH
        if code not in _IN_PROGRESS:
            self._die(f, WHY.get(code, "unreachable"))
            return
        f.deadline = now + self._connect_timeout
        self._connecting[flow] = f
        self._watch(f)

    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int:
        f = self._flows.get(flow)
        if f is None or f.state != "open" or f.shut or f.sock is None:
            return 0
        offered = sum(map(len, parts))
        try:
            taken = f.sock.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            taken = 0
        except OSError:
            self._die(f)
            return 0
        if taken:
            self._count["tcp-bytes-up"] += taken
        if taken < offered:
            f.want_write = True
            self._watch(f)
        return taken

    def shutdown(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is None or f.state != "open" or f.shut or f.sock is None:
            return
        f.shut = True
        f.want_write = False
        try:
            f.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._die(f)
            return
        self._watch(f)

    def reset(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.sock is not None and f.kind == "tcp":
            try:
                f.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            except OSError:
                self._count["linger-failed"] += 1
        self.close(flow, now)

    def credit(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.paused:
            f.paused = False
            self._watch(f)

    tells_unacked = acks.TELLS
    steps_on_acks = False

    def unacked(self, flow: int) -> int | None:
        f = self._flows.get(flow)
        if f is None or f.state != "open" or f.sock is None:
            return None
        left = acks.unacked(f.sock)
        if left and f.shut and not f.watched and acks.is_closed(f.sock):
            self._die(f)  # nothing is waited for on this socket any more, so the selector would not tell
            return None
        if left is None:  # a system that says it can tell and does not must not hold anybody up
            self._count["unacked-not-told"] += 1
            return 0
        return left

    def round_trip(self, flow: int) -> int:
        f = self._flows.get(flow)
        return acks.round_trip(f.sock) if f is not None and f.sock is not None else 0

    def close(self, flow: int, now: int) -> None:
        f = self._flows.pop(flow, None)
        if f is not None:
            if f.via is not None:
                f.via.peers.pop(f.peer, None)
            self._connecting.pop(flow, None)
            f.state = "closed"
            self._drop_socket(f)

    # Names, echo ------------------------------------------------------------------------------------------------------

    def resolve(self, query: int, name: str, rtype: str, now: int) -> None:
        if self._loop is None:
            self._notices.append(lambda at: self.sink.resolved(query, Answer("servfail"), at))
            return
        if self._resolver is None:
            # Late: a hermetic lab never asks, and the resolver's library takes its time to import.
            from .resolver import HostResolver

            self._resolver = HostResolver(timeout=self._resolve_timeout)
        task = self._loop.create_task(self._resolver.lookup(name, rtype))
        self._lookups.add(task)
        task.add_done_callback(lambda done: self._looked_up(query, done))

    def _looked_up(self, query: int, task: asyncio.Task) -> None:
        self._lookups.discard(task)
        if self._stopped or task.cancelled():
            return
        if task.exception() is not None:
            self._count["resolver-error"] += 1
            answer = Answer("servfail")
        else:
            answer = task.result()
        self._notices.append(lambda at: self.sink.resolved(query, answer, at))
        self._on_ready()

    def echo(self, query: int, address: bytes, payload: bytes, now: int, ttl: int = 64) -> Why | None:
        why = self._pinger.send(query, address, payload, now, ttl)
        self._count["echo-sent" if why is None else f"echo-{why}"] += 1
        return why

    # The node -------------------------------------------------------------------------------------------------------

    def poll_at(self, now: int) -> int:
        if self._notices:
            return now
        due = NEVER
        for f in self._connecting.values():
            due = f.deadline
            break
        for listener in self._listeners.values():
            due = min(due, listener.rests_until)
        return due

    def step(self, now: int) -> None:
        if self._stopped:
            return
        for _ in range(len(self._notices)):
            self._notices.popleft()(now)
        while self._connecting:
            oldest = next(iter(self._connecting.values()))
            if oldest.deadline > now:
                break
            self._die(oldest, "timeout")
        for listener in self._listeners.values():
            listener.wake_up(self._selector, now)
        ready = self._selector.select(0)
        number = len(ready)
        budget = EGRESS_STEP_BYTES
        self._turn += 1
        for i in range(number):
            # Start elsewhere each time: when the budget ends a step early it must not always be the same flows that
            # wait.
            key, events = ready[(i + self._turn) % number]
            f = key.data
            if f is self._pinger:
                self._pongs(key.fileobj, now)
                continue
            if type(f) is Port:
                budget -= self._heard(f, key.fileobj, now)
                continue
            if type(f) is Listener:
                budget -= self._came(f, now)
                continue
            if f.state not in ("connecting", "open"):
                continue  # ended by a call of the sink, earlier in this very round
            if f.kind == "udp":
                budget -= self._read_datagrams(f, now)
            else:
                if f.state == "connecting":
                    self._connected(f, now)
                    continue
                if events & WRITE and f.want_write:
                    f.want_write = False
                    self.sink.drained(f.flow, now)
                    if f.state != "open":
                        continue
                    self._watch(f)
                if events & READ and not f.paused and not f.far_eof:
                    budget -= self._read(f, now)
            if budget <= 0:
                break
        for _ in range(len(self._notices)):
            self._notices.popleft()(now)

    def _connected(self, f: HostFlow, now: int) -> None:
        assert f.sock is not None
        code = f.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._die(f, WHY.get(code, "unreachable"))
            return
        self._connecting.pop(f.flow, None)
        f.state = "open"
        self._count["tcp-opened"] += 1
        self.sink.opened(f.flow, now)
        if f.state == "open":
            self._watch(f)

    def _read(self, f: HostFlow, now: int) -> int:
        assert f.sock is not None
        room = self.sink.room(f.flow)
        if room <= 0:
            f.paused = True
            self._watch(f)
            return 0
        room = min(room, EGRESS_READ)
        try:
            size = f.sock.recv_into(self._scratch, room)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._die(f)
            return 0
        if size == 0:
            f.far_eof = True
            self._watch(f)
            self.sink.eof(f.flow, now)
            return 0
        self._count["tcp-bytes-down"] += size
        self.sink.data(f.flow, self._scratch[:size], now)
        return size

    def _pongs(self, sock: Any, now: int) -> None:
        replies, errors = self._pinger.read(sock, now)
        for query, address, payload in replies:
            self._count["echo-replies"] += 1
            self.sink.echoed(query, address, payload, now)
        for query, error in errors:
            self._count["echo-errors"] += 1
            self.sink.echo_failed(query, error.sender, error.type, error.code, error.info, now)

    # Helpers --------------------------------------------------------------------------------------------------------

    def _add(self, flow: int, kind: str, address: bytes) -> HostFlow:
        if flow in self._flows:
            raise ValueError(f"flow {flow} is already open")
        f = HostFlow(flow, None, kind)
        self._flows[flow] = f
        try:
            f.sock = socket.socket(family_of(address), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            f.sock.setblocking(False)
            self._selector.open()
        except OSError:
            # No descriptors left, or no such address family on this host.
            self._count["no-socket"] += 1
            self._die(f)
        return f

    def _watch(self, f: HostFlow) -> None:
        """Have the selector report exactly what this flow waits for."""
        if f.sock is None:
            return
        if f.state == "connecting":
            mask = WRITE
        else:
            mask = (0 if f.paused or f.far_eof else READ) | (WRITE if f.want_write else 0)
        if mask == f.watched:
            return
        if not f.watched:
            self._selector.register(f.sock, mask, f)
        elif mask:
            self._selector.modify(f.sock, mask, f)
        else:
            self._selector.unregister(f.sock)
        f.watched = mask

    def _drop_socket(self, f: HostFlow) -> None:
        if f.sock is not None:
            if f.watched:
                self._selector.unregister(f.sock)
                f.watched = 0
            f.sock.close()
            f.sock = None

    def _die(self, f: HostFlow, why: Why = "unreachable") -> None:
        """The flow is over from outside: close it now, tell the sink from :meth:`step`."""
        if f.state in ("dead", "closed"):
            return
        opened = f.state == "open" and f.kind == "tcp"
        self._connecting.pop(f.flow, None)
        f.state = "dead"
        self._drop_socket(f)
        self._count["tcp-reset-by-world" if opened else f"{f.kind}-{why}"] += 1

        def tell(now: int) -> None:
            if self._flows.get(f.flow) is not f:
                return  # the sink gave the number back in the meantime
            del self._flows[f.flow]
            f.state = "closed"
            if opened:
                self.sink.reset(f.flow, now)
            else:
                self.sink.failed(f.flow, why, now)

        self._notices.append(tell)
