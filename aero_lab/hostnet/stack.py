"""The kernel in the place of a gateway's stack, with the face of :class:`aero_lab.stack.Stack`.

Theory of operation
-------------------
::

    rx ring -> TAP or TUN -> kernel -> TCP sockets ------------------> events -> TCP NAT -> egress
    tx ring <-            <-        <- up0 == a small stack of ours -> events -> DNS, UDP NAT, echoes -> egress

Frames of the guest go into the kernel, frames of the kernel to the guest. Its TCP ends in sockets of the namespace,
each a :class:`~.connection.KernelConnection`; datagrams and echoes leave it, translated, through a second TUN behind
which a stack of ours (for packets, without TCP's work) hands them to the LAN. So DHCP, DNS, policy, forwards, flows and
counters are those of any LAN. What is different the guest can tell: the kernel answers a SYN at once, whatever the far
side will say to it; there is one hop more; and its habits in TCP are Linux's.

The namespace is made in a thread of its own; frames wait in the ring meanwhile.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..bounds import HOSTNET_ACCEPTS, HOSTNET_EVENTS, HOSTNET_STEP
from ..causes import Cause
from ..errors import AeroLabError
from ..guests.tap.nic import TapNic
from ..limits import NEVER, RING_ARENA, RING_SLOTS
from ..rings import FrameRing
from ..stack import Datagram, IcmpMessage, Stack, StackEvent, SynReceived
from ..wire import icmpv6, ndp
from ..wire.address import ip, ip_text
from . import rules
from .connection import KernelConnection
from .namespace import RouterNamespace

if TYPE_CHECKING:
    from ..driver import Driver
    from ..lan import LanConfig

SO_ORIGINAL_DST = 80
"""Of netfilter, for IPv4 at the level of IP and for IPv6 at that of IPv6."""
MESSAGE, BESIDE = 65536, 256
"""Bytes of a message, and of what the kernel tells about it."""
_INNER = {4: ip(rules.INNER4), 16: ip(rules.INNER6)}


class KernelStack:
    """A namespace's kernel as the stack of a LAN.

    Parameters
    ----------
    config: of the LAN.
    rng: seeded generator, for the stack behind ``up0``.
    driver: of the loop that this lives on.
    """

    def __init__(self, config: LanConfig, rng: Any, now: int, driver: Driver):
        assert config.ack_policy == "early", "the kernel acknowledges what it has"
        self.config = config
        self.rx, self.tx = FrameRing(RING_SLOTS, RING_ARENA), FrameRing(RING_SLOTS, RING_ARENA)
        self.inner = Stack(replace(config.stack(), medium="ip", max_connections=1), rng, now)
        """What stands behind ``up0``."""
        self.namespace: RouterNamespace | None = None
        """None until it is made."""
        self._driver = driver
        self._gateways = {4: config.gateway, 16: config.gateway6 or b""}
        self._first = 0
        self._events: list[StackEvent] = []
        self._connections: dict[int, KernelConnection] = {}  # by descriptor
        self._next = 1
        self._nics: tuple[TapNic, ...] = ()
        self._sources: dict[int, Callable[[], None]] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._count: Counter[str] = Counter()
        self._epoll: Any = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._lock = threading.Lock()
        threading.Thread(target=self._make, name="aero-lab-hostnet", daemon=True).start()

    # Life -----------------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        """In a thread: it takes a fifth of a second, in which a proxy has others to serve."""
        made: RouterNamespace | None = None
        try:
            made = RouterNamespace(self.config)
        except BaseException as error:
            self._failure = error
        with self._lock:
            if made is not None and not self._stopped:
                self.namespace = made
                made = None
        if made is not None:
            made.close()
        try:
            self._driver.loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            pass  # the loop has ended; so has stop() been called, or nobody will ever ask

    def _begin(self) -> None:
        """On the loop: everything is there."""
        namespace = self.namespace
        if namespace is None or self._stopped:
            self._driver.wake()
            return
        guest = TapNic(namespace.interfaces["guest"], self.config.mtu, self.tx, self.rx)
        uplink = TapNic(namespace.interfaces["uplink"], self.config.mtu, self.inner.rx, self.inner.tx)
        guest.number_frames(self._first + 1)
        self._nics = guest, uplink
        self._sockets = namespace.sockets
        self._epoll = select.epoll()
        for name, source in (
            ("tcp4", self._accept), ("tcp6", self._accept), ("dhcp", self._dhcp), ("neighbours", self._solicited)
        ):  # fmt: skip
            sock = self._sockets.get(name)
            if sock is not None:
                self._sources[sock.fileno()] = lambda source=source, sock=sock: source(sock)
                self._epoll.register(sock.fileno(), select.EPOLLIN)
        for nic in self._nics:
            nic.attach(self._driver)
        self._driver.loop.add_reader(self._epoll.fileno(), self._driver.wake)
        self._driver.wake()

    def stop(self) -> None:
        """End the namespace and everything in it. On the loop's thread; may be called twice."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
        for nic in self._nics:
            nic.close()
        if self._epoll is not None:
            if not self._driver.loop.is_closed():
                self._driver.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        for connection in list(self._connections.values()):
            connection.drop()
        self._connections.clear()
        if self.namespace is not None:
            # Not here: its processes take their time to end, and others are served on this loop.
            try:
                threading.Thread(target=self.namespace.close, name="aero-lab-hostnet-end").start()
            except RuntimeError:  # the interpreter is ending and starts no more threads
                self.namespace.close()

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._stopped or not self._nics:
            return
        for nic in self._nics:
            nic.step(now)
        if self.inner.poll_at(now) <= now:
            self.inner.step(now)
            if len(self.inner.tx):
                self._nics[1].step(now)
        left = HOSTNET_STEP
        for fd, mask in self._epoll.poll(0, HOSTNET_EVENTS):
            connection = self._connections.get(fd)
            if connection is not None:
                left -= connection.ready(mask)
            elif fd in self._sources:
                self._sources[fd]()
            if left <= 0:
                break  # the kernel tells of the others again

    def poll_at(self, now: int) -> int:
        if self._failure is not None or self._events:
            return now
        if self._stopped or not self._nics:
            return NEVER
        return min(self.inner.poll_at(now), *(nic.poll_at(now) for nic in self._nics))

    @property
    def pressing(self) -> bool:
        """Whether there is work for :meth:`step` that is no timer's and that no descriptor will tell of."""
        return bool(self._nics) and (len(self.rx) > 0 or len(self.inner.tx) > 0 or self.inner.pressing)

    def events(self) -> list[StackEvent]:
        """Take what happened since the last call."""
        found, self._events = self._events, []
        for event in self.inner.events():
            kind = type(event)
            if kind is Datagram or kind is IcmpMessage:
                event = self._outwards(event)
            elif kind is SynReceived:
                event.conn.refuse("reset", 0)  # type: ignore[union-attr]  # the kernel lets no TCP pass
                continue
            found.append(event)
        return found

    def _outwards(self, event: Any) -> Any:
        """What was for the gateway, translated back."""
        size = len(event.dst)
        return replace(event, dst=self._gateways[size]) if event.dst == _INNER[size] else event

    # What comes -----------------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(HOSTNET_ACCEPTS):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError:
                self._count["accept-failed"] += 1
                break
            sock.setblocking(False)
            target = _aimed_at(sock)
            if target is None:
                self._count["not-redirected"] += 1
                sock.close()
                continue
            self._count["accepted"] += 1
            remote = socket.inet_pton(sock.family, peer[0].partition("%")[0]), peer[1]
            connection = self._add(sock, target, remote)
            connection.keep_alive(self.config.tcp.keepalive_idle)
            self._events.append(SynReceived(connection))  # type: ignore[arg-type]

    def _dhcp(self, sock: socket.socket) -> None:
        for _ in range(HOSTNET_ACCEPTS):
            try:
                payload, beside, _, (source, port) = sock.recvmsg(MESSAGE, BESIDE)
            except OSError:
                break
            # struct in_pktinfo: interface, local address, address of the header
            aim = next((raw[8:12] for level, kind, raw in beside if (level, kind) == (socket.IPPROTO_IP, 8)), bytes(4))
            self._events.append(Datagram(ip(source), port, aim, 67, payload, 64, b""))

    def _solicited(self, sock: socket.socket) -> None:
        for _ in range(HOSTNET_ACCEPTS):
            try:
                message, beside, _, (source, *_) = sock.recvmsg(MESSAGE, BESIDE)
            except OSError:
                break
            if len(message) < icmpv6.HEADER_SIZE:
                continue
            found = {kind: raw for level, kind, raw in beside if level == socket.IPPROTO_IPV6}
            aim = found.get(socket.IPV6_PKTINFO, bytes(20))[:16]
            hops = int.from_bytes(found.get(socket.IPV6_HOPLIMIT, bytes(4)), "little")
            self._events.append(
                IcmpMessage(
                    ip(source.partition("%")[0]), aim, message[0], message[1], int.from_bytes(message[4:8], "big"),
                    message[8:], 6, hops, message,
                )
            )  # fmt: skip

    # Calls of the LAN -----------------------------------------------------------------------------------------------

    def _inwards(self, address: bytes) -> bytes:
        return _INNER[len(address)] if address == self._gateways[len(address)] else address

    def udp_send(
        self, src: bytes, sport: int, dst: bytes, dport: int, payload: bytes, now: int, **more: Any
    ) -> bool:  # fmt: skip
        """As :meth:`aero_lab.stack.Stack.udp_send`."""
        return self.inner.udp_send(self._inwards(src), sport, dst, dport, payload, now, **more)

    def icmp_send(self, src: bytes, dst: bytes, type: int, code: int, rest: int, payload: bytes, now: int) -> bool:
        """As :meth:`aero_lab.stack.Stack.icmp_send`; router advertisements go out by the guest's wire."""
        if type == ndp.ROUTER_ADVERT and len(dst) == 16:
            return self._advertise(dst, struct.pack("!BBHI", type, code, 0, rest) + payload)
        return self.inner.icmp_send(self._inwards(src), dst, type, code, rest, payload, now)

    def unreachable(self, about: Any, how: str, now: int, mtu: int = 0) -> bool:
        """As :meth:`aero_lab.stack.Stack.unreachable`."""
        return self.inner.unreachable(about, how, now, mtu)

    def send_frame(self, frame: bytes, now: int, cause: Cause = Cause.BROADCAST) -> bool:
        """Put a frame on the guest's wire."""
        sock = self._sockets.get("frames")
        try:
            return sock is not None and sock.send(frame) == len(frame)
        except OSError:
            self._count["frame-not-sent"] += 1
            return False

    def _advertise(self, dst: bytes, message: bytes) -> bool:
        sock = self._sockets.get("neighbours")
        try:
            return sock is not None and sock.sendto(message, (ip_text(dst), 0)) > 0
        except OSError:
            self._count["advertisement-not-sent"] += 1
            return False

    def connect(self, address: bytes, port: int, *, src: bytes | None = None, now: int = 0) -> KernelConnection:
        """Open a connection to the guest: for a forward. Raises :class:`~aero_lab.errors.AeroLabError`."""
        if self.namespace is None or self._stopped or src is None:
            raise AeroLabError("the kernel's network is not there yet")
        try:
            sock = self.namespace.tcp_socket(4 if len(address) == 4 else 6)
            sock.bind((ip_text(src), 0))
        except OSError as error:
            raise AeroLabError(f"no connection to the guest: {error}") from None
        connection = self._add(sock, (src, sock.getsockname()[1]), (address, port))
        connection.call(ip_text(address))
        return connection

    def adopt(self, *_: Any, **__: Any) -> Any:
        """A connection of a former life cannot be put into a kernel."""
        raise AeroLabError('connections cannot be taken up again with far="kernel"')

    def neighbours(self) -> dict[bytes, bytes]:
        """Known link addresses: the kernel's own business."""
        return {}

    def number_frames(self, first: int) -> None:
        """Give the kernel's frames the identities behind ``first``, every second number."""
        self._first = first
        if self._nics:
            self._nics[0].number_frames(first + 1)

    # What connections tell ------------------------------------------------------------------------------------------

    def _add(self, sock: socket.socket, local: Any, remote: Any) -> KernelConnection:
        connection = KernelConnection(self, self._next, sock, local, remote)
        self._next += 1
        self._connections[connection.fd] = connection
        return connection

    def tell(self, event: StackEvent) -> None:
        """An event for whoever takes them next."""
        self._events.append(event)

    def watch(self, fd: int, mask: int, fresh: bool) -> None:
        """Be told of these of a connection's descriptor."""
        (self._epoll.register if fresh else self._epoll.modify)(fd, mask)

    def forget(self, connection: KernelConnection) -> None:
        """It is over."""
        self._connections.pop(connection.fd, None)

    # Looking inside -------------------------------------------------------------------------------------------------

    @property
    def counters(self) -> dict[str, int]:
        """What is counted besides drops: of the stack behind ``up0``, and of the kernel's connections."""
        return {**self.inner.counters, **{f"kernel-{name}": n for name, n in self._count.items()}}

    @property
    def drops(self) -> dict[str, int]:
        """Drops by reason: of the stack behind ``up0``, and frames that the kernel did not take."""
        sums = Counter(self.inner.drops)
        for nic in self._nics:
            sums.update(nic.counters)
        return dict(sums)

    @property
    def open_connections(self) -> int:
        """Connections with a socket."""
        return len(self._connections)

    def round_trips(self) -> list[int]:
        """Smoothed round-trip times, ns, of the open connections that have measured one."""
        return [trip for each in self._connections.values() if (trip := each.round_trip())]

    def __repr__(self) -> str:
        return f"<KernelStack {self.namespace!r}, {len(self._connections)} connections>"


def _aimed_at(sock: socket.socket) -> tuple[bytes, int] | None:
    """Where a redirected connection was to go; None when it was not redirected."""
    try:
        if sock.family == socket.AF_INET:
            raw = sock.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
            return raw[4:8], int.from_bytes(raw[2:4], "big")
        raw = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return raw[8:24], int.from_bytes(raw[2:4], "big")
    except OSError:
        return None
