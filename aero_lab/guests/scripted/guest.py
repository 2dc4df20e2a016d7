"""The scripted guest: a TCP/IP host with the habits of a chosen operating system, as one node.

Theory of operation
-------------------
A guest is a guest-role :class:`~aero_lab.stack.Stack` and a set of cooperative tasks. Each :meth:`ScriptedGuest.step`

1. lets the stack take its frames;
2. tells the stack's events: to the sockets, whose signals wake tasks, and what concerns the configuration of the
   interface (ARP, neighbour discovery, DHCP) to those who see to it;
3. runs the tasks that are due, then the stack again, so that what they wrote goes out at once.

What the guest does of its own accord (:mod:`.startup`) is a task like any workload. Between steps nothing happens: the
guest knows no clock, and one seed gives one run.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Any

from ...causes import Cause
from ...errors import AeroLabError, Malformed, UsageError
from ...limits import GUEST_CONNECTIONS, IPV6_MTU_MIN, MTU_DEFAULT, NEIGHBOUR_RETRY, NEVER, SECOND
from ...rings import FrameRing
from ...stack import (
    ArpSeen,
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Readable,
    Stack,
    StackConfig,
    TcpConfig,
    Writable,
)
from ...wire import dhcp, icmp, icmpv6, ndp
from ...wire.address import ip, is_link_local
from . import profiles
from .conflict import ConflictDetector
from .dhcp_client import DhcpClient, Lease
from .dns_client import Resolver
from .ipv6_autoconf import Ipv6Autoconf
from .profiles import Profile
from .sockets import Arrival, EchoSocket, TcpSocket, UdpSocket
from .startup import startup
from .tasks import Signal, Task, TaskError, TaskGenerator, Tasks, TaskTimeout, Wait, wait_for

FAILURES = 16
"""Failed tasks remembered."""
_UNREACHABLE = {0: "unreachable", 1: "unreachable", 2: "refused", 3: "refused", 9: "denied", 10: "denied", 13: "denied"}
_UNREACHABLE6 = {1: "denied", 4: "refused"}


@dataclass(frozen=True)
class StaticAddress:
    """An IPv4 configuration that needs no DHCP."""

    address: bytes
    prefix: int = 24
    router: bytes | None = None
    dns: tuple[bytes, ...] = ()


class ScriptedGuest:
    """A scripted host.

    Parameters
    ----------
    profile: ``"windows7"``, ``"linux"`` or a :class:`~.profiles.Profile`.
    rng: seeded generator (``random.Random`` or alike) for everything the host chooses.
    now: time of power-on (ns).
    mac: hardware address; made from ``rng`` when absent.
    tcp: TCP parameters instead of the profile's.
    static: address configuration instead of DHCP.
    boot: configure the interface from the first step on; otherwise when :meth:`boot` is called.
    """

    def __init__(
        self,
        profile: str | Profile,
        rng: Any,
        now: int = 0,
        mac: bytes | None = None,
        mtu: int = MTU_DEFAULT,
        tcp: TcpConfig | None = None,
        static: StaticAddress | None = None,
        boot: bool = True,
        host_name: str | None = None,
        max_connections: int = GUEST_CONNECTIONS,
    ):
        self.profile = profiles.find(profile)
        if host_name is not None:
            self.profile = replace(self.profile, host_name=host_name)
        self.rng = rng
        self.now = now
        self.mac = mac if mac is not None else b"\x52\x54\x00" + rng.getrandbits(24).to_bytes(3, "big")
        self.mtu = mtu
        config = StackConfig(
            role="guest",
            mac=self.mac,
            mtu=mtu,
            ttl=self.profile.ttl,
            max_connections=max_connections,
            tcp=tcp if tcp is not None else self.profile.tcp,
        )
        self.stack = Stack(config, rng, now)
        self.tasks = Tasks(self._task_failed)
        self.failures: deque[Task] = deque(maxlen=FAILURES)
        """The last tasks that ended with an error that is no :class:`TaskError`: mistakes to be looked at."""
        self.network = Signal()
        """Fires when the address configuration changes."""
        self.dhcp_signal = Signal()
        """Fires when a DHCP answer came, or the client was told something."""
        self.neighbours = Signal()
        """Fires when a link address may have become known."""
        self.counters: Counter[str] = Counter()
        """Frames, datagrams and events that were dropped, by reason."""
        self.static = static
        self.lease: Lease | None = None
        self.address: bytes | None = None
        """IPv4 address in use."""
        self.prefix = 0
        self.router: bytes | None = None
        self.dns_servers: tuple[bytes, ...] = ()
        self.domain = ""
        self.awareness: str | None = None
        """What the awareness probe found: ``"internet"``, ``"sign-in"``, ``"none"``; None before or without it."""
        self.dhcp = DhcpClient(self.profile.dhcp, self.mac, self.profile.host_name, rng)
        self.conflicts = ConflictDetector(self)
        self.ipv6 = Ipv6Autoconf(self) if self.profile.ipv6 is not None and mtu >= IPV6_MTU_MIN else None
        self.resolver = Resolver(self)
        self._sockets: dict[int, TcpSocket] = {}
        self._udp: dict[int, UdpSocket] = {}
        self._echo: dict[int, EchoSocket] = {}
        first, last = self.profile.ephemeral
        self._next_port = rng.randint(first, last)
        self._next_ip_id = rng.randint(1, 0x7FFF)
        self._applied: tuple[Any, Any, Any] = ((), None, None)
        self._booted = False
        if boot:
            self.boot()

    # A node ---------------------------------------------------------------------------------------------------------

    @property
    def nic_tx(self) -> FrameRing:
        """Frames from the guest."""
        return self.stack.tx

    @property
    def nic_rx(self) -> FrameRing:
        """Frames to the guest."""
        return self.stack.rx

    def step(self, now: int) -> None:
        """Do all that is due at ``now``."""
        self.now = max(now, self.now)
        self.stack.step(self.now)
        self._tell_events()
        if self.tasks.run(self.now):
            self.stack.step(self.now)
            self._tell_events()

    def poll_at(self, now: int) -> int:
        """When the guest next has something to do (ns)."""
        return min(self.tasks.poll_at(now), self.stack.poll_at(now))

    # Life -----------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: configure the interface, then do what the operating system does on a new link."""
        if not self._booted:
            self._booted = True
            self.start(startup(self), "startup")

    def start(self, generator: TaskGenerator, name: str = "task") -> Task:
        """Run a task; it begins in the next step."""
        return self.tasks.start(generator, name)

    def number_frames(self, first: int) -> None:
        """Give its frames the identities behind ``first``, every second number."""
        self.stack.number_frames(first)

    def relink(self) -> None:
        """The cable was pulled and plugged in again: the DHCP client asks for its address again."""
        self.dhcp.restart(self.now)
        self.dhcp_signal.fire()

    def close(self) -> None:
        """End every task and connection."""
        self.tasks.cancel_all()
        for socket in list(self._sockets.values()):
            socket.abort()

    # Configuration --------------------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        """Whether there is an IPv4 address to work with."""
        return self.address is not None

    @property
    def online6(self) -> bool:
        """Whether there is an IPv6 address that reaches beyond the link, and a router."""
        return self.ipv6 is not None and self.ipv6.router is not None and self.ipv6.address is not None

    @property
    def name_servers(self) -> tuple[bytes, ...]:
        """Name servers in the order in which they are asked: those of DHCP, then those that routers advertise."""
        return self.dns_servers + (self.ipv6.name_servers if self.ipv6 is not None else ())

    def wait_online(self, timeout: int = 120 * SECOND, family: int | None = None) -> TaskGenerator:
        """Task: wait until there is an address of ``family`` (4 unless it is 6); raises on timeout (ns)."""
        if family != 6:
            yield from wait_for(self._is_online, (self.network,), self.now + timeout, "no address")
        elif self.ipv6 is None:
            raise TaskError("unreachable", "this guest has no IPv6")
        else:
            signals = (self.network, self.ipv6.changed)
            yield from wait_for(self._is_online6, signals, self.now + timeout, "no IPv6 address")

    def _is_online(self) -> bool:
        return self.online

    def _is_online6(self) -> bool:
        return self.online6

    def configure(self, lease: Lease | StaticAddress | None) -> None:
        """Use this IPv4 configuration, or none."""
        before = self.address
        self.address = lease.address if lease else None
        self.prefix = lease.prefix if lease else 0
        self.router = lease.router if lease else None
        self.dns_servers = lease.dns if lease else ()
        self.domain = lease.domain if isinstance(lease, Lease) else ""
        self.lease = lease if isinstance(lease, Lease) else None
        self.dhcp.domain = self.domain
        self.apply_addresses()
        if before is not None and before != self.address:
            for socket in list(self._sockets.values()):  # an address that is gone takes its connections along
                if socket.connection.local[0] == before:
                    socket.abort()
        self.network.fire()

    def apply_addresses(self) -> None:
        """Tell the stack the addresses of both families."""
        own = ((self.address, self.prefix),) if self.address is not None else ()
        router6 = self.ipv6.router if self.ipv6 is not None else None
        own6 = tuple(self.ipv6.addresses.items()) if self.ipv6 is not None else ()
        wanted = (own + own6, self.router, router6)
        if wanted != self._applied:
            self._applied = wanted
            self.stack.set_address(*wanted)

    def source_for(self, address: bytes) -> bytes | None:
        """Own address to talk to ``address`` from; None when there is none of its family."""
        if len(address) == 4:
            return self.address
        own = self.ipv6.addresses if self.ipv6 is not None else {}
        local = is_link_local(address) or address[0] == 0xFF
        fitting = [candidate for candidate in own if is_link_local(candidate) == local]
        return fitting[0] if fitting else next(iter(own), None)

    # Sockets --------------------------------------------------------------------------------------------------------

    def next_port(self) -> int:
        """The next ephemeral port."""
        first, last = self.profile.ephemeral
        port = self._next_port
        self._next_port = first if port >= last else port + 1
        return port

    def resolve(self, name: str, family: int | None = None) -> TaskGenerator:
        """Task: an address of ``name`` (which may be an address already); raises :class:`TaskError`.

        ``family``: 4 or 6 takes only addresses of that one, None prefers IPv4.
        """
        address = _literal(name)
        if address is None:  # asked here and not in an except clause: a task that waits in one cannot be copied
            return (yield from self.resolver.address(name, family))
        if family is not None and len(address) != (4 if family == 4 else 16):
            raise TaskError("no-address", f"{name} is no IPv{family} address")
        return address

    def connect(self, address: bytes | str, port: int, until: int = NEVER) -> TaskGenerator:
        """Task: a connected :class:`TcpSocket`. Raises ``refused``, ``unreachable``, ``timeout`` or another reason."""
        target: bytes = (yield from self.resolve(address)) if isinstance(address, str) else address
        source = self.source_for(target)
        if source is None:
            raise TaskError("unreachable", "no address of this family")
        connection = None
        for _ in range(16):  # a port still in TIME_WAIT towards this peer is passed over
            try:
                connection = self.stack.connect(target, port, sport=self.next_port(), src=source, now=self.now)
                break
            except AeroLabError as error:
                if not self.stack.free_slots:
                    raise TaskError("no-connection-slot", str(error)) from None
        if connection is None:
            raise TaskError("no-port", "all tried are in use")
        socket = TcpSocket(self, connection, self.now)
        connection.context = socket
        self._sockets[connection.id] = socket
        try:
            while socket.established_at is None:
                if socket.reason is not None:
                    raise TaskError(socket.reason, "connect")
                if not (yield Wait((socket.signal,), until)) and socket.established_at is None:
                    raise TaskTimeout("connect")
        except BaseException:
            socket.abort()
            raise
        return socket

    def udp_socket(self, port: int | None = None) -> UdpSocket:
        """A UDP port, an ephemeral one unless named."""
        number = port if port is not None else self.rng.randint(*self.profile.ephemeral)
        if port is None:
            first, last = self.profile.ephemeral
            while number in self._udp:
                number = first if number >= last else number + 1
        elif port in self._udp or port == dhcp.CLIENT_PORT:
            raise UsageError(f"UDP port {port} is in use")
        socket = self._udp[number] = UdpSocket(self, number)
        return socket

    def echo_socket(self, identifier: int | None = None) -> EchoSocket:
        """Something to send echo requests with."""
        wanted = identifier if identifier is not None else self.rng.randint(1, 0xFFFF)
        while wanted in self._echo:
            wanted = wanted % 0xFFFF + 1
        socket = self._echo[wanted] = EchoSocket(self, wanted)
        return socket

    # Frames of our own making ---------------------------------------------------------------------------------------

    def next_ip_id(self) -> int:
        """Identification for an IPv4 packet that does not come from the stack: counts up, never 0."""
        value = self._next_ip_id
        self._next_ip_id = value % 0xFFFF + 1
        return value

    def send_frame(self, frame: bytes, cause: Cause) -> bool:
        """Send a whole frame now; False when there is no room."""
        return bool(self.stack.send_frame(frame, self.now, cause))

    def transmit(self, frame: bytes, cause: Cause) -> TaskGenerator:
        """Task: send a whole frame, waiting for room."""
        while not self.send_frame(frame, cause):
            yield Wait((), self.now + NEIGHBOUR_RETRY)

    # Arrivals -------------------------------------------------------------------------------------------------------

    def _tell_events(self) -> None:
        for event in self.stack.events():
            if isinstance(event, Datagram):
                self._datagram(event)
            elif isinstance(event, IcmpMessage):
                self._icmp(event)
            elif isinstance(event, ArpSeen):
                self.neighbours.fire()
                if self.conflicts.saw(event, self.now):
                    self._lost_address()
            else:
                socket = event.conn.context
                if isinstance(socket, TcpSocket):
                    self._tcp_event(socket, event)

    def _lost_address(self) -> None:
        """Another host insists on our address (RFC 5227 section 2.4 (b)): stop using it."""
        if self.static is not None:
            self.counters["address-in-use"] += 1
            self.configure(None)
        self.dhcp.address_checked(False, self.now)
        self.dhcp_signal.fire()

    def _tcp_event(self, socket: TcpSocket, event: Any) -> None:
        if isinstance(event, Readable | Writable):
            socket.signal.fire()
        elif isinstance(event, Established):
            socket._established(self.now)
        elif isinstance(event, EndOfStream):
            socket._end_of_stream()
        elif isinstance(event, Closed):
            self._sockets.pop(socket.connection.id, None)
            socket._closed(event.reason)

    def _datagram(self, event: Datagram) -> None:
        socket = self._udp.get(event.dport)
        if socket is not None:
            socket._arrived(Arrival(event.payload, event.src, event.sport, self.now))
        elif event.dport == dhcp.CLIENT_PORT and len(event.dst) == 4:
            self.dhcp.receive(event.payload, self.now)
            self.dhcp_signal.fire()
        else:
            self.counters["udp-no-port"] += 1
            if not event.group:  # RFC 1122 section 4.1.3.1
                self.stack.unreachable(event, "port-unreachable", self.now)

    def _icmp(self, event: IcmpMessage) -> None:
        reply = icmp.ECHO_REPLY if event.family == 4 else icmpv6.ECHO_REPLY
        if event.type == reply:
            rest = event.rest
            echo = self._echo.get(rest >> 16)
            if echo is not None:
                echo._arrived(rest & 0xFFFF, Arrival(event.payload, event.src, 0, self.now))
            else:
                self.counters["icmp-no-identifier"] += 1
        elif event.family == 6 and event.type in ndp.MESSAGES:
            self.neighbours.fire()
            if self.ipv6 is not None:
                try:
                    self.ipv6.saw(event)
                except Malformed as error:
                    self.counters[error.reason] += 1
        elif (why := self._meaning(event)) is not None:
            self._blame(event, why)

    @staticmethod
    def _meaning(event: IcmpMessage) -> str | None:
        if event.family == 4:
            if event.type == icmp.UNREACHABLE:
                return _UNREACHABLE.get(event.code, "unreachable") if event.code != 4 else None
            return "ttl-exceeded" if event.type == icmp.TIME_EXCEEDED else None
        if event.type == icmpv6.UNREACHABLE:
            return _UNREACHABLE6.get(event.code, "unreachable")
        return "ttl-exceeded" if event.type == icmpv6.TIME_EXCEEDED else None

    def _blame(self, event: IcmpMessage, why: str) -> None:
        """Tell the socket whose packet an ICMP error quotes. Quotes are hostile input: any length may come."""
        quote = event.payload
        if event.family == 4:
            header = (quote[0] & 15) * 4 if quote else 0
            protocol = quote[9] if len(quote) >= 20 else -1
        else:
            header, protocol = 40, quote[6] if len(quote) >= 40 else -1
        transport = quote[header : header + 8]
        if len(transport) < 8 or header < 20:
            self.counters["icmp-quote"] += 1
        elif protocol == 17 and (socket := self._udp.get(int.from_bytes(transport[:2], "big"))):
            socket._failed(why)
        elif protocol in (1, 58) and (echo := self._echo.get(int.from_bytes(transport[4:6], "big"))):
            echo._failed(int.from_bytes(transport[6:8], "big"), why)

    def _task_failed(self, task: Task) -> None:
        self.counters["task-failed"] += 1
        self.failures.append(task)

    def __repr__(self) -> str:
        from ...wire.address import ip_text

        where = ip_text(self.address) if self.address is not None else "no address"
        return f"<ScriptedGuest {self.profile.name} {where}, {len(self.tasks)} tasks>"


def _literal(name: str) -> bytes | None:
    """The address that a text spells; None when it is a name."""
    try:
        return ip(name)
    except UsageError:
        return None
