"""Our stack on one end of a TAP, the host kernel on the other: scenarios for ``test_differential.py``.

Run as a program inside a fresh user and network namespace (``unshare -Urn``): creates a TAP for each scenario, drives
stack and kernel sockets from one loop in real time, prints a JSON line a scenario. Imported, it is only their list.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

from aero_lab.compiled.registry import pending
from aero_lab.limits import MS
from aero_lab.stack import Closed, Datagram, EndOfStream, Established, IcmpMessage, Stack, StackConfig, TcpConfig

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
SCENARIOS: dict[str, tuple[Callable, dict]] = {}
PATIENCE = 8.0
"""Seconds after which a scenario that waits for something has failed."""


def scenario(*variants: dict) -> Callable:
    def register(function: Callable) -> Callable:
        for fields in variants or ({},):
            label = " ".join(str(v) for v in fields.values())
            SCENARIOS[f"{function.__name__} {label}".strip()] = (function, fields)
        return function

    return register


BOTH = ({"family": "ipv4"}, {"family": "ipv6"})
ALL_MTUS = tuple(
    {"family": f, "mtu": mtu} for f in FAMILIES for mtu in (576, 1500, 9000, 65520) if (f, mtu) != ("ipv6", 576)
)


class Net:
    """One TAP with the kernel behind it and a stack before it."""

    count = 0

    def __init__(self, role: str = "guest", family: str = "ipv4", mtu: int = 1500, drop_every: int = 0, **tcp):
        Net.count += 1
        n, self.name, self.family, self.mtu = Net.count, f"tap{Net.count}", family, mtu
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, 0x400454CA, struct.pack("16sH22x", self.name.encode(), 0x1002))  # TUNSETIFF, TAP | NO_PI
        commands = [f"link set {self.name} mtu {mtu} up", f"addr add 10.9.{n}.1/24 dev {self.name}"]
        if mtu >= 1280:
            commands.append(f"-6 addr add fd09:{n}::1/64 dev {self.name} nodad")
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        self.kernel = f"10.9.{n}.1" if family == "ipv4" else f"fd09:{n}::1"
        self.ours = f"10.9.{n}.2" if family == "ipv4" else f"fd09:{n}::2"
        self.K, self.S = (socket.inet_pton(FAMILIES[family], a) for a in (self.kernel, self.ours))
        config = StackConfig(
            role=role,
            mac=bytes([2, 0, 0, 0, 9, n]),
            addresses=((self.S, 24 if family == "ipv4" else 64),),
            mtu=mtu,
            tcp=TcpConfig(time_wait=50 * MS, **tcp),
        )
        self.stack = Stack(config, random.Random(n), self.now)
        self.events: list = []
        self.drop_every, self.frames, self.longest, self.full = drop_every, 0, 0, 0
        self.chance = random.Random(n)

    @property
    def now(self) -> int:
        return time.monotonic_ns()

    def _lost(self) -> bool:
        self.frames += 1
        return bool(self.drop_every) and self.chance.randrange(self.drop_every) == 0

    def pump(self) -> None:
        """Move what is there, both ways; wait a moment when there is nothing."""
        moved = 0
        for _ in range(64):
            try:
                frame = os.read(self.fd, 70000)
            except BlockingIOError:
                break
            moved += 1
            if not self._lost() and not self.stack.rx.push(frame, self.now):
                break
        self.stack.step(self.now)
        self.events += self.stack.events()
        for taken in self.stack.tx.pop_many(64):
            moved += 1
            self.longest = max(self.longest, len(taken.data) - 14)
            self.full += len(taken.data) > 1000
            # Chance may pick acknowledgements alone: the tenth full frame is lost on every lossy wire.
            sure = self.drop_every and len(taken.data) > 1000 and self.full == 10
            if not self._lost() and not sure:
                try:
                    os.write(self.fd, taken.data)
                except OSError as e:
                    if e.errno not in (errno.EAGAIN, errno.ENOBUFS):
                        raise
        if not moved:
            wait = (self.stack.poll_at(self.now) - self.now) / 1e9
            select.select([self.fd], [], [], min(max(wait, 0), 0.001))

    def until(self, condition: Callable[[], object], what: str = "") -> object:
        end = time.monotonic() + PATIENCE
        while not (value := condition()):
            self.pump()
            assert time.monotonic() < end, (
                f"waited in vain for {what}; drops {self.drops()}, flows {self.stack.flows()}"
            )
        return value

    def drops(self) -> dict:
        return {k: v for k, v in self.stack.drops.items() if v}

    def event(self, kind: type):
        """The first event of a kind, waited for."""
        return self.until(lambda: next((e for e in self.events if isinstance(e, kind)), None), kind.__name__)

    def messages(self) -> list[IcmpMessage]:
        """ICMP so far; in IPv6 the kernel's own neighbour and group messages are among them."""
        return [e for e in self.events if isinstance(e, IcmpMessage)]

    def socket(self, kind: int, port: int | None = None, protocol: int = 0) -> socket.socket:
        s = socket.socket(FAMILIES[self.family], kind, protocol)
        s.setblocking(False)
        if port is not None:
            s.bind((self.kernel, port))
        return s

    def close(self) -> None:
        assert self.longest <= self.mtu, f"sent a packet of {self.longest} bytes"
        os.close(self.fd)

    # Connections of both makes ----------------------------------------------------------------------------------------

    def open_ours(self):
        """A connection that our stack opened: (ours, the kernel's)."""
        listener = self.socket(socket.SOCK_STREAM, 0)
        listener.listen()
        connection = self.stack.connect(self.K, listener.getsockname()[1], now=self.now)
        self.until(lambda: any(isinstance(e, Established) for e in self.events), "Established")
        accepted = self.until(lambda: attempt(listener.accept), "accept")
        accepted[0].setblocking(False)
        return connection, accepted[0]

    def open_theirs(self):
        """A connection that the kernel opened to our listening stack."""
        self.stack.listen(8080, self.now)
        s = self.socket(socket.SOCK_STREAM)
        assert s.connect_ex((self.ours, 8080)) == errno.EINPROGRESS
        connection = self.event(Established).conn
        self.until(lambda: select.select([], [s], [], 0)[1], "connect")
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        return connection, s

    def exchange(self, connection, s, ours: bytes, theirs: bytes) -> None:
        """Move ``ours`` to the kernel and ``theirs`` to us, at once, and compare every byte."""
        sent = taken = 0
        at_kernel, at_ours = bytearray(), bytearray()
        end = time.monotonic() + PATIENCE
        while len(at_kernel) < len(ours) or len(at_ours) < len(theirs):
            sent += connection.write(ours[sent : sent + 65536], self.now) if sent < len(ours) else 0
            taken += attempt(lambda at=taken: s.send(theirs[at : at + 65536])) or 0 if taken < len(theirs) else 0
            self.pump()
            at_kernel += attempt(lambda: s.recv(1 << 20)) or b""
            at_ours += connection.read(1 << 20, self.now)
            assert time.monotonic() < end, f"{len(at_kernel)}/{len(ours)}, {len(at_ours)}/{len(theirs)}, {self.drops()}"
        assert bytes(at_kernel) == ours and bytes(at_ours) == theirs


def attempt(call: Callable):
    """The value of a non-blocking call, or None when it would block."""
    try:
        return call()
    except BlockingIOError:
        return None


def noise(size: int) -> tuple[bytes, bytes]:
    chance = random.Random(size)
    return chance.randbytes(size), chance.randbytes(size + 77)


def finish(net: Net, connection, s, ours_first: bool) -> None:
    """Close in two halves; bytes still flow against the closed half."""
    if ours_first:
        connection.shutdown(net.now)
        assert net.until(lambda: attempt(lambda: s.recv(10) == b""), "EOF at the kernel")
        s.send(b"last words")
        s.close()
        assert net.until(lambda: connection.readable >= 10, "bytes after our FIN")
        assert connection.read(100, net.now) == b"last words"
        net.event(EndOfStream)
    else:
        s.shutdown(socket.SHUT_WR)
        net.event(EndOfStream)
        connection.write(b"last words", net.now)
        connection.shutdown(net.now)
        assert net.until(lambda: attempt(lambda: s.recv(10)), "bytes after the kernel's FIN") == b"last words"
        assert net.until(lambda: attempt(lambda: s.recv(10) == b""), "EOF at the kernel")
        s.close()
    assert net.event(Closed).reason == "closed"
    net.until(lambda: not net.stack.flows(), "the slot to be freed")


# Scenarios ------------------------------------------------------------------------------------------------------------


@scenario(*ALL_MTUS)
def we_connect(family: str, mtu: int) -> None:
    net = Net(family=family, mtu=mtu)
    connection, s = net.open_ours()
    net.exchange(connection, s, *noise(min(64 * mtu * 8, 3 << 20)))
    finish(net, connection, s, ours_first=True)
    net.close()


@scenario(*ALL_MTUS)
def they_connect(family: str, mtu: int) -> None:
    net = Net("server", family, mtu)
    connection, s = net.open_theirs()
    net.exchange(connection, s, *noise(min(64 * mtu * 8, 3 << 20)))
    finish(net, connection, s, ours_first=False)
    net.close()


@scenario(*({"family": f, "drop_every": n} for f in FAMILIES for n in (100, 30)))
def a_lossy_wire(family: str, drop_every: int) -> None:
    net = Net("server", family, drop_every=drop_every)
    connection, s = net.open_theirs()
    net.exchange(connection, s, *noise(400_000))
    assert net.stack.counters["retransmissions"] > 0
    s.close()


@scenario(
    {"sack": False, "timestamps": True}, {"sack": True, "timestamps": False}, {"sack": False, "timestamps": False}
)
def fewer_options(sack: bool, timestamps: bool) -> None:
    net = Net("guest", drop_every=100, sack=sack, timestamps=timestamps, window_scale=-1)
    connection, s = net.open_ours()
    net.exchange(connection, s, *noise(200_000))


@scenario(*BOTH)
def a_reader_that_pauses(family: str) -> None:
    """Both sides stop reading until the windows are shut, then read everything."""
    net = Net(family=family)
    connection, s = net.open_ours()
    ours, theirs = noise(8 << 20)
    ours, theirs = ours[: 6 << 20], theirs[: 2 << 20]
    sent = taken = quiet = 0
    while quiet < 200:
        grown = connection.write(ours[sent : sent + 65536], net.now)
        sent += grown
        more = attempt(lambda at=taken: s.send(theirs[at : at + 65536])) or 0
        taken += more
        quiet = 0 if grown or more else quiet + 1
        net.pump()
    assert 0 < sent and 0 < taken
    at_kernel, at_ours = bytearray(), bytearray()

    def all_read() -> bool:
        at_kernel.extend(attempt(lambda: s.recv(1 << 20)) or b"")
        at_ours.extend(connection.read(1 << 20, net.now))
        return len(at_kernel) == sent and len(at_ours) == taken

    net.until(all_read, "what was written")
    assert bytes(at_kernel) == ours[:sent] and bytes(at_ours) == theirs[:taken]
    net.exchange(connection, s, *noise(100_000))


@scenario(*BOTH)
def closed_ports(family: str) -> None:
    net = Net("server", family)
    spare = net.socket(socket.SOCK_STREAM, 0)
    port = spare.getsockname()[1]
    spare.close()
    net.stack.connect(net.K, port, now=net.now)
    assert net.event(Closed).reason == "refused"
    s = net.socket(socket.SOCK_STREAM)
    s.connect_ex((net.ours, 81))
    net.until(lambda: select.select([], [s], [], 0)[1], "an answer to SYN")
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    # UDP: port unreachable, both ways.
    net.until(lambda: net.stack.udp_send(net.S, 5000, net.K, port, b"anyone?", net.now), "room for a datagram")
    expected = (3, 3) if family == "ipv4" else (1, 4)
    net.until(lambda: any((m.type, m.code) == expected for m in net.messages()), "port unreachable")
    u = net.socket(socket.SOCK_DGRAM)
    u.connect((net.ours, 5001))
    u.send(b"anyone?")
    assert net.stack.unreachable(net.event(Datagram), "port-unreachable", net.now)
    net.until(lambda: u.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED, "port unreachable")
    net.close()


@scenario(*BOTH)
def resets(family: str) -> None:
    net = Net(family=family)
    connection, s = net.open_ours()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    assert net.event(Closed).reason == "reset"
    net.events.clear()
    connection, s = net.open_ours()
    connection.abort(net.now)

    def was_reset() -> bool:
        try:
            return s.recv(10) == b"never"
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    assert net.until(was_reset, "a reset at the kernel")
    net.close()


@scenario(*({"family": f, "mtu": mtu, "size": size} for f, mtu, size in (
    ("ipv4", 1500, 56), ("ipv4", 1500, 4000), ("ipv4", 576, 20000), ("ipv6", 1500, 56), ("ipv6", 1500, 4000),
)))  # fmt: skip
def ping_both_ways(family: str, mtu: int, size: int) -> None:
    """Sizes beyond the MTU go in fragments, there and back."""
    net = Net("server", family, mtu)
    payload = random.Random(size).randbytes(size)
    if size <= mtu - 48:
        net.until(lambda: net.stack.icmp_echo(net.S, net.K, 77, 5, payload, net.now), "room for an echo")
        expected = (0 if family == "ipv4" else 129, 77 << 16 | 5, payload)
        net.until(lambda: any((m.type, m.rest, m.payload) == expected for m in net.messages()), "an echo reply")
    protocol = socket.IPPROTO_ICMP if family == "ipv4" else socket.IPPROTO_ICMPV6
    raw = net.socket(socket.SOCK_RAW, protocol=protocol)
    request = bytes([8 if family == "ipv4" else 128, 0, 0, 0]) + struct.pack("!HH", 9, 1) + payload
    if family == "ipv4":
        from naive import checksum

        request = request[:2] + checksum(request).to_bytes(2, "big") + request[4:]
    raw.sendto(request, (net.ours, 0))

    def reply_came() -> bool:
        data = attempt(lambda: raw.recv(70000)) or b""
        data = data[20:] if family == "ipv4" else data
        return data[:1] == (b"\0" if family == "ipv4" else b"\x81") and data[4:] == request[4:]

    net.until(reply_came, "an echo reply")
    net.close()


@scenario(*({"family": f, "mtu": mtu, "size": size} for f in FAMILIES for mtu, size in (
    (1500, 0), (1500, 1), (1500, 1400), (1500, 8000), (1500, 65000), (9000, 30000),
)))  # fmt: skip
def udp_both_ways(family: str, mtu: int, size: int) -> None:
    net = Net("guest", family, mtu)
    u = net.socket(socket.SOCK_DGRAM, 6000)
    payload = random.Random(size).randbytes(size)
    u.sendto(payload, (net.ours, 6001))
    got = net.event(Datagram)
    assert (got.payload, got.sport, got.dport, got.src) == (payload, 6000, 6001, net.K)
    net.until(lambda: net.stack.udp_send(net.S, 6001, net.K, 6000, payload, net.now), "room for a datagram")
    back = net.until(lambda: attempt(lambda: u.recvfrom(70000)), "our datagram")
    assert back[0] == payload and back[1][:2] == (net.ours, 6001)
    net.close()


@scenario(*BOTH)
def many_connections(family: str) -> None:
    """Forty kernel clients at once, a line each, all closed by us."""
    net = Net("server", family)
    net.stack.listen(8080, net.now)
    clients = [net.socket(socket.SOCK_STREAM) for _ in range(40)]
    for i, s in enumerate(clients):
        s.connect_ex((net.ours, 8080))
        if i % 8 == 7:
            net.pump()
    seen = lambda: [e.conn for e in net.events if isinstance(e, Established)]  # noqa: E731
    net.until(lambda: len(seen()) == 40, "forty connections")
    for connection in seen():
        connection.write(str(connection.remote[1]).encode(), net.now)
        connection.shutdown(net.now)
    for s in clients:
        text = net.until(lambda s=s: attempt(lambda: s.recv(100)), "a line")
        assert int(text) == s.getsockname()[1]
        s.close()
    net.until(lambda: not net.stack.flows(), "all slots to be freed")
    net.close()


@scenario(*({"family": f, "drop_every": n} for f in FAMILIES for n in (0, 100)))
def held_acknowledgements(family: str, drop_every: int) -> None:
    """The kernel hears of its bytes when we let go of them, 3 ms after we read them, and takes nothing for lost."""
    net = Net("server", family, drop_every=drop_every)
    connection, s = net.open_theirs()
    connection.hold_acks(net.now)
    data = noise(600_000)[0]
    waiting: list[tuple[int, int]] = []
    got, sent, upto = bytearray(), 0, 0
    end = time.monotonic() + PATIENCE
    while upto < len(data) + 1:
        sent += attempt(lambda at=sent: s.send(data[at : at + 65536])) or 0 if sent < len(data) else 0
        if sent == len(data) and connection.state == "ESTABLISHED":
            sent += 1
            s.shutdown(socket.SHUT_WR)
        net.pump()
        got += connection.read(1 << 20, net.now)
        read = len(got) + (1 if any(isinstance(e, EndOfStream) for e in net.events) else 0)
        if read > (waiting[-1][1] if waiting else upto):
            waiting.append((net.now + 3 * MS, read))
        unacked = struct.unpack("i", fcntl.ioctl(s, 0x5411, bytes(4)))[0]  # SIOCOUTQ, FIN included
        assert unacked >= sent - upto, f"the kernel has {unacked} bytes unacknowledged of {sent}, {upto} were let go"
        while waiting and waiting[0][0] <= net.now:
            upto = waiting.pop(0)[1]
            connection.release_acks(upto, net.now)
        assert time.monotonic() < end, f"{len(got)} of {len(data)}, {upto} let go, {net.drops()}"
    assert bytes(got) == data
    net.until(lambda: struct.unpack("i", fcntl.ioctl(s, 0x5411, bytes(4)))[0] == 0, "the last acknowledgement")
    if not drop_every:
        info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        retransmitted = struct.unpack_from("I", info, 100)[0]
        assert retransmitted <= 1, f"{retransmitted} segments sent again on a wire that loses none"
    connection.shutdown(net.now)
    net.until(lambda: not net.stack.flows(), "the slot to be freed")
    s.close()
    net.close()


def main(names: list[str]) -> None:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for kernel in pending():
        if kernel.py_func.__module__.startswith(("aero_lab.stack", "aero_lab.rings")):
            kernel.prepare()  # compiling in the middle of a handshake would look like a dead stack
    for name in names or list(SCENARIOS):
        function, fields = SCENARIOS[name]
        start = time.monotonic()
        try:
            function(**fields)
            error = None
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"name": name, "error": error, "seconds": round(time.monotonic() - start, 3)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
