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
import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..limits import (
    CONNECT_TIMEOUT,
    EGRESS_DATAGRAM_SIZE,
    EGRESS_DATAGRAMS,
    EGRESS_READ,
    EGRESS_STEP_BYTES,
    NEVER,
)
from .contract import Answer, EgressSink, Why
from .ping import Pinger

if TYPE_CHECKING:
    from .resolver import HostResolver

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_IN_PROGRESS = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
_LINGER_RESET = struct.pack("ii", 1, 0)
_WHY: dict[int, Why] = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
}


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


class _Flow:
    """One socket and what is known about it."""

    __slots__ = (
        "flow",
        "sock",
        "kind",
        "state",
        "watched",
        "paused",
        "want_write",
        "far_eof",
        "shut",
        "deadline",
        "why",
    )

    def __init__(self, flow: int, sock: socket.socket | None, kind: str):
        self.flow = flow
        self.sock = sock
        self.kind = kind
        self.state = "connecting"  # -> open -> dead: told to the sink in the next step, then forgotten
        self.watched = 0
        self.paused = False
        self.want_write = False
        self.far_eof = False
        self.shut = False
        self.deadline = NEVER
        self.why: Why = "unreachable"


class HostEgress:
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
    """

    def __init__(
        self,
        sink: EgressSink | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        wake: Callable[[], None] | None = None,
        connect_timeout: int = CONNECT_TIMEOUT,
        resolver: HostResolver | None = None,
    ):
        self.sink: Any = sink
        self.wake = wake
        self._loop = loop
        self._connect_timeout = connect_timeout
        self._selector = selectors.DefaultSelector()
        self._scratch = memoryview(bytearray(max(EGRESS_READ, EGRESS_DATAGRAM_SIZE + 1)))
        self._flows: dict[int, _Flow] = {}
        self._connecting: dict[int, _Flow] = {}  # by number, oldest first: all wait equally long
        self._notices: deque[Callable[[int], None]] = deque()
        self._turn = 0
        self._count: Counter[str] = Counter()
        self._resolver = resolver
        self._lookups: set[asyncio.Task] = set()
        self._pinger = Pinger(self._selector)
        self._stopped = False
        self._watching = False
        if loop is not None:
            loop.add_reader(self.fileno(), self._on_ready)
            self._watching = True

    # Life -----------------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Descriptor that is readable when :meth:`step` has work on sockets."""
        return self._selector.fileno()  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Close every socket and forget every flow, quietly. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        if self._watching and self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self.fileno())
        for task in self._lookups:
            task.cancel()
        for f in self._flows.values():
            if f.sock is not None:
                f.sock.close()
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
            code = f.sock.connect_ex((socket.inet_ntop(_family(address), address), port))
        except OSError as error:
            code = error.errno or errno.EHOSTUNREACH
        if code not in _IN_PROGRESS:
            self._die(f, _WHY.get(code, "unreachable"))
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
                f.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            except OSError:
                self._count["linger-failed"] += 1
        self.close(flow, now)

    def credit(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.paused:
            f.paused = False
            self._watch(f)

    def close(self, flow: int, now: int) -> None:
        f = self._flows.pop(flow, None)
        if f is not None:
            self._connecting.pop(flow, None)
            f.state = "closed"
            self._drop_socket(f)

    # UDP, names, echo -----------------------------------------------------------------------------------------------

    def open_udp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._add(flow, "udp", address)
        if f.sock is None:
            return
        try:
            f.sock.connect((socket.inet_ntop(_family(address), address), port))
        except OSError as error:
            self._die(f, _WHY.get(error.errno or 0, "unreachable"))
            return
        f.state = "open"
        self._watch(f)

    def send_datagram(self, flow: int, payload: bytes, now: int) -> bool:
        f = self._flows.get(flow)
        if f is None or f.state != "open" or f.sock is None:
            self._count["udp-no-flow"] += 1
            return False
        try:
            f.sock.send(payload)
        except (BlockingIOError, InterruptedError):
            self._count["udp-socket-full"] += 1
            return False
        except ConnectionRefusedError:
            self._die(f, "refused")
            return False
        except OSError as error:
            self._count["udp-too-big" if error.errno == errno.EMSGSIZE else "udp-send-failed"] += 1
            return False
        self._count["udp-datagrams-up"] += 1
        return True

    def resolve(self, query: int, name: str, rtype: str, now: int) -> None:
        if self._loop is None:
            self._notices.append(lambda at: self.sink.resolved(query, Answer("failed"), at))
            return
        if self._resolver is None:
            # Late: a hermetic lab never asks, and the resolver's library takes its time to import.
            from .resolver import HostResolver

            self._resolver = HostResolver()
        task = self._loop.create_task(self._resolver.lookup(name, rtype))
        self._lookups.add(task)
        task.add_done_callback(lambda done: self._looked_up(query, done))

    def _looked_up(self, query: int, task: asyncio.Task) -> None:
        self._lookups.discard(task)
        if self._stopped or task.cancelled():
            return
        if task.exception() is not None:
            self._count["resolver-error"] += 1
            answer = Answer("failed")
        else:
            answer = task.result()
        self._notices.append(lambda at: self.sink.resolved(query, answer, at))
        self._on_ready()

    def echo(self, query: int, address: bytes, payload: bytes, now: int) -> bool:
        sent = self._pinger.send(query, address, payload, now)
        self._count["echo-sent" if sent else "echo-not-possible"] += 1
        return sent

    # The node -------------------------------------------------------------------------------------------------------

    def poll_at(self, now: int) -> int:
        if self._notices:
            return now
        for f in self._connecting.values():
            return f.deadline
        return NEVER

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
                for query, address, payload in self._pinger.read(key.fileobj, now):
                    self._count["echo-replies"] += 1
                    self.sink.echoed(query, address, payload, now)
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

    def _connected(self, f: _Flow, now: int) -> None:
        assert f.sock is not None
        code = f.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._die(f, _WHY.get(code, "unreachable"))
            return
        self._connecting.pop(f.flow, None)
        f.state = "open"
        self._count["tcp-opened"] += 1
        self.sink.opened(f.flow, now)
        if f.state == "open":
            self._watch(f)

    def _read(self, f: _Flow, now: int) -> int:
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

    def _read_datagrams(self, f: _Flow, now: int) -> int:
        total = 0
        for _ in range(EGRESS_DATAGRAMS):
            if f.state != "open" or f.sock is None:
                break
            try:
                size = f.sock.recv_into(self._scratch)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                self._die(f, "refused")
                break
            except OSError:
                self._count["udp-receive-failed"] += 1
                break
            self._count["udp-datagrams-down"] += 1
            total += size
            self.sink.datagram(f.flow, bytes(self._scratch[:size]), now)
        return total

    # Helpers --------------------------------------------------------------------------------------------------------

    def _add(self, flow: int, kind: str, address: bytes) -> _Flow:
        if flow in self._flows:
            raise ValueError(f"flow {flow} is already open")
        f = _Flow(flow, None, kind)
        self._flows[flow] = f
        try:
            f.sock = socket.socket(_family(address), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            f.sock.setblocking(False)
        except OSError:
            # No descriptors left, or no such address family on this host.
            self._count["no-socket"] += 1
            self._die(f)
        return f

    def _watch(self, f: _Flow) -> None:
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

    def _drop_socket(self, f: _Flow) -> None:
        if f.sock is not None:
            if f.watched:
                self._selector.unregister(f.sock)
                f.watched = 0
            f.sock.close()
            f.sock = None

    def _die(self, f: _Flow, why: Why = "unreachable") -> None:
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
