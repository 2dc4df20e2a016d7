"""The far end of virtual time: every host of the catalogue in one node, with the services that real sockets offer too.

It plays many hosts, so its stack takes the *gateway* role: it answers for any address, and here it is decided which
of them exist, which of their ports are open, and what the others say (RST, port unreachable, host unreachable).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..limits import FAR_END_ROUNDS, IPV6_MTU_MIN, MTU_DEFAULT, SERVICE_BUFFER
from ..stack import (
    Closed,
    Datagram,
    EndOfStream,
    Established,
    IcmpMessage,
    Readable,
    Stack,
    StackConfig,
    SynReceived,
    TcpConfig,
    Writable,
)
from ..wire import icmp, icmpv6
from ..wire.address import ip
from .base import Session
from .catalogue import CATALOGUE, Offer, Services, endpoints, make_services
from .unreachable import HOST, PORT, unreachable

ADDRESS, ADDRESS6 = ip("203.0.113.1"), ip("2001:db8:113::1")
"""The far end's own addresses, which speak for hosts that do not exist."""


class _Joint:
    """A connection and its session."""

    __slots__ = ("conn", "ended", "session", "shut", "told")

    def __init__(self, conn: Any, session: Session):
        self.conn, self.session = conn, session
        self.ended = False  # FIN arrived
        self.told = False  # and the session knows, having had all bytes before it
        self.shut = False


class FarEnd:
    """The world, as far as a hermetic lab needs one. A node with packets in :attr:`rx` and out of :attr:`tx`.

    Parameters
    ----------
    rng: seeded generator.
    now: nanoseconds.
    services: the running services; a fresh set by default.
    epoch: nanoseconds since 1970 at ``now`` = 0, for NTP.
    tcp: parameters of the servers' TCP.
    """

    name = "far-end"

    def __init__(
        self,
        rng: Any,
        now: int,
        services: Services | None = None,
        catalogue: tuple[Offer, ...] = CATALOGUE,
        mtu: int = MTU_DEFAULT,
        tcp: TcpConfig | None = None,
        epoch: int = 0,
        max_connections: int = 1024,
    ):
        self.services = services or make_services(epoch, catalogue)
        tcp_map, udp_map = endpoints(catalogue)
        self._tcp = {where: self.services.stream[name] for where, name in tcp_map.items()}
        self._udp = {where: self.services.datagram[name] for where, name in udp_map.items()}
        own6 = ((ADDRESS6, 64),) if mtu >= IPV6_MTU_MIN else ()
        self._hosts = {address for offer in catalogue for address in offer.addresses} | {ADDRESS, ADDRESS6}
        config = StackConfig(
            role="gateway",
            medium="ip",
            addresses=((ADDRESS, 24), *own6),
            mtu=mtu,
            max_connections=max_connections,
            tcp=tcp or TcpConfig(nagle=False),
        )
        self.stack = Stack(config, rng, now)
        self.rx, self.tx = self.stack.rx, self.stack.tx
        self._joints: dict[int, _Joint] = {}
        self._full: dict[int, _Joint] = {}  # with output left and no room for it
        self._more = False
        self._count: Counter[str] = Counter()

    @property
    def counters(self) -> dict[str, int]:
        return dict(self._count)

    @property
    def sessions(self) -> int:
        """Connections with a session now."""
        return len(self._joints)

    def step(self, now: int) -> None:
        """Packets in, sessions, packets out."""
        self._more = False
        for turn in range(FAR_END_ROUNDS):
            self.stack.step(now)
            events = self.stack.events()
            for event in events:
                self._event(event, now)
            for joint in list(self._full.values()):
                self._pump(joint, now)
            if not events and turn:
                break
            self._more = turn == FAR_END_ROUNDS - 1 and bool(events)

    def poll_at(self, now: int) -> int:
        return now if self._more else self.stack.poll_at(now)

    # Events ---------------------------------------------------------------------------------------------------------

    def _event(self, event: Any, now: int) -> None:
        if isinstance(event, Datagram):
            self._datagram(event, now)
            return
        if isinstance(event, IcmpMessage):
            self._icmp(event, now)
            return
        conn = event.conn
        if isinstance(event, SynReceived):
            self._syn(conn, now)
            return
        joint = self._joints.get(conn.id)
        if joint is None:
            return
        if isinstance(event, EndOfStream):
            joint.ended = True
        elif isinstance(event, Closed):
            self._count[f"closed-{event.reason}"] += 1
            del self._joints[conn.id]
            self._full.pop(conn.id, None)
            return
        elif not isinstance(event, (Established, Readable, Writable)):
            return
        self._pump(joint, now)

    def _syn(self, conn: Any, now: int) -> None:
        service = self._tcp.get(conn.local)
        if service is not None:
            self._count["sessions"] += 1
            self._joints[conn.id] = _Joint(conn, service.connected(conn))
            conn.accept(now)
        elif conn.local[0] in self._hosts:
            conn.refuse("reset", now)
        else:
            conn.refuse("host-unreachable", now)

    def _pump(self, joint: _Joint, now: int) -> None:
        """Bytes in as the session has room, out as the connection has."""
        conn, session = joint.conn, joint.session
        self._full.pop(conn.id, None)
        if conn.state == "SYN-RECEIVED":
            return  # output waits for the handshake
        for _ in range(FAR_END_ROUNDS):
            moved = 0
            while conn.readable and session.room:
                for part in conn.peek():
                    piece = part[: session.room]
                    if len(piece):
                        session.data(piece)
                        conn.consume(len(piece), now)
                        moved += len(piece)
                        break
            if joint.ended and not joint.told and not conn.readable:
                joint.told = True
                session.eof()
            while not joint.shut and conn.room:
                chunk = session.output(min(conn.room, SERVICE_BUFFER))
                if not len(chunk):
                    if session.working:
                        continue  # nobody waits in virtual time
                    break
                conn.write(chunk, now)
                moved += len(chunk)
            if not moved:
                break
        if joint.shut:
            return
        if not conn.room:
            self._full[conn.id] = joint
        elif session.done:
            joint.shut = True
            conn.shutdown(now)

    def _datagram(self, event: Datagram, now: int) -> None:
        service = self._udp.get((event.dst, event.dport))
        if service is None:
            host = event.dst in self._hosts
            message = unreachable(PORT if host else HOST, (event.src, event.sport), (event.dst, event.dport))
            self._count["port-unreachable" if host else "host-unreachable"] += 1
            router = ADDRESS if len(event.dst) == 4 else ADDRESS6
            self.stack.icmp_send(event.dst if host else router, event.src, *message, now)
            return
        self._count["datagrams"] += 1
        answer = service.datagram(event.payload, (event.src, event.sport), now)
        if answer is not None and not self.stack.udp_send(event.dst, event.dport, event.src, event.sport, answer, now):
            self._count["datagram-no-room"] += 1

    def _icmp(self, event: IcmpMessage, now: int) -> None:
        request, reply = (
            (icmp.ECHO_REQUEST, icmp.ECHO_REPLY) if len(event.dst) == 4 else (icmpv6.ECHO_REQUEST, icmpv6.ECHO_REPLY)
        )
        if event.type == request and event.dst in self._hosts:
            self.stack.icmp_send(event.dst, event.src, reply, 0, event.rest, event.payload, now)
