"""Forwards with real sockets on the host's side: the guest as a server behind the NAT."""

from __future__ import annotations

import socket
import struct
import time

import pytest

from aero_lab.bounds import FORWARD_BACKLOG
from aero_lab.errors import UsageError
from aero_lab.services.content import content_bytes
from aero_lab.wire.address import ip

from .bench import ECHO, GATEWAY, GUEST
from .test_lan_real import RealBench, compiled, services  # noqa: F401  (fixtures)

LOOPBACK = ip("127.0.0.1")


class Bench(RealBench):
    def __init__(self, services, **config):  # noqa: F811
        super().__init__(services, **config)
        self.guest.stack.listen(80)
        # One packet of the guest's, as DHCP would be, lets the gateway know its link address.
        self.run(lambda: self.guest.stack.udp_send(GUEST, 40000, ECHO, 7, b"", time.monotonic_ns()))
        self.run(lambda: bool(self.guest.datagrams))
        self.guest.datagrams.clear()
        assert GUEST in self.lan.stack.neighbours()

    def forward(self, protocol="tcp", port=80, host_port=0):
        return self.lan.forward(protocol, (LOOPBACK, host_port), port, time.monotonic_ns())

    def come(self, forward):
        """A connection of the host's, and the guest's end of it."""
        before = len(self.guest.served)
        sock = socket.create_connection((socket.inet_ntoa(forward.host[0]), forward.host[1]))
        sock.settimeout(20)
        self.run(lambda: len(self.guest.served) > before)
        return sock, self.guest.served[-1]

    def settle(self, seconds=0.05):
        end = time.monotonic() + seconds
        self.run(lambda: time.monotonic() > end)


@pytest.fixture
def b(services):  # noqa: F811
    made = Bench(services)
    yield made
    made.lan.close(time.monotonic_ns())
    made.egress.stop()


def receive(b, sock, number):
    sock.setblocking(False)
    got = bytearray()

    def some():
        try:
            got.extend(sock.recv(1 << 20))
        except BlockingIOError:
            pass
        return len(got) >= number

    b.run(some)
    return bytes(got)


def test_the_host_reaches_a_server_in_the_guest(b):
    forward = b.forward()
    sock, server = b.come(forward)
    with sock:
        assert server.conn.remote[0] == GATEWAY, "the guest sees the gateway"
        sock.sendall(b"GET /")
        b.run(lambda: bytes(server.got) == b"GET /")
        server.to_send = memoryview(b"hello")
        assert receive(b, sock, 5) == b"hello"
        sock.shutdown(socket.SHUT_WR)  # the host has finished; the guest has not
        b.run(lambda: server.ended)
        server.to_send, server.finish = memoryview(b" and good-bye"), True
        assert receive(b, sock, 13) == b" and good-bye"
        b.run(lambda: server.reason is not None)
    row = b.row()
    assert (row["direction"], row["reason"], row["bytes_down"], row["bytes_up"]) == ("in", "closed", 5, 18)
    assert row["guest"] == "10.0.2.15:80" and row["outside"].startswith("127.0.0.1:")


def test_a_server_that_speaks_first_and_finishes_first(b):
    sock, server = b.come(b.forward())
    with sock:
        server.to_send, server.finish = memoryview(b"220 ready\r\n"), True
        assert receive(b, sock, 11) == b"220 ready\r\n"
        assert receive(b, sock, 0) == b""
        sock.setblocking(True)
        sock.sendall(b"still here")
        sock.shutdown(socket.SHUT_WR)
        b.run(lambda: server.reason is not None)
        assert (bytes(server.got), server.reason) == (b"still here", "closed")


def test_a_port_that_the_guest_refuses_is_a_reset(b):
    forward = b.forward(port=81)
    with socket.create_connection(("127.0.0.1", forward.host[1])) as sock:
        b.run(lambda: b.lan.flows.reasons.get("refused") == 1)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_reset_passes_both_ways(b):
    forward = b.forward()
    sock, server = b.come(forward)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    b.run(lambda: server.reason is not None)
    assert server.reason == "reset" and b.row()["reason"] == "reset-by-far-side"
    sock, server = b.come(forward)
    with sock:
        server.conn.abort(b.guest.now)
        b.run(lambda: b.row()["reason"] is not None)
        assert b.row()["reason"] == "reset-by-guest"
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_the_slower_side_stops_the_faster_one_in_both_directions(b):
    sock, server = b.come(b.forward())
    data = content_bytes(12 << 20)
    with sock:
        sock.setblocking(False)
        server.read = False
        sent, still = 0, 0
        while still < 20:  # the guest does not read: the host's kernel fills up and stays so
            b.settle(0.01)
            try:
                sent += sock.send(data[sent : sent + (1 << 20)])
                still = 0
            except BlockingIOError:
                still += 1
        assert sent < len(data)
        assert b.row()["bytes_down"] <= 3 * 262144, "held up in the windows, not here"
        server.read = True

        def rest():
            nonlocal sent
            try:
                sent += sock.send(data[sent : sent + (1 << 20)])
            except BlockingIOError:
                pass
            return len(server.got) == len(data)

        b.run(rest)
        assert bytes(server.got) == data
        server.to_send = memoryview(data)  # and now the host does not
        seen = -1

        def stands():
            nonlocal seen
            seen, before = len(server.to_send), seen
            return seen == before

        for _ in range(20):
            b.settle(0.01)
        b.run(stands)
        assert 0 < len(server.to_send) and server.reason is None
        assert receive(b, sock, len(data)) == data


def test_many_at_once_and_no_more_than_half_of_the_flows(b):
    forward = b.forward()
    socks = []
    try:
        for _ in range(40):
            socks.append(socket.create_connection(("127.0.0.1", forward.host[1])))
        b.run(lambda: len(b.guest.served) == 32 and b.lan.tcp.counters["limit"] == 8)
        for server in b.guest.served:
            server.to_send, server.finish = memoryview(b"you are in"), True
        answers = []
        for sock in socks:
            sock.setblocking(False)

        def collect():
            for sock in list(socks):
                try:
                    answers.append(sock.recv(100))
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    answers.append(None)
                sock.close()
                socks.remove(sock)
            return not socks

        b.run(collect)
        assert answers.count(b"you are in") == 32 and answers.count(None) == 8
    finally:
        for sock in socks:
            sock.close()
    assert FORWARD_BACKLOG >= 40


def test_udp_each_peer_has_its_own_answers(b):
    forward = b.forward("udp", 5353)
    peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    try:
        for number, peer in enumerate(peers):
            peer.settimeout(20)
            peer.sendto(b"question %d" % number, ("127.0.0.1", forward.host[1]))
        b.run(lambda: len(b.guest.datagrams) == 3)
        assert len({d.sport for d in b.guest.datagrams}) == 3
        for d in reversed(b.guest.datagrams):
            assert (d.src, d.dport) == (GATEWAY, 5353)
            b.guest.stack.udp_send(GUEST, 5353, d.src, d.sport, b"answer to " + d.payload, b.guest.now)
        b.run(lambda: all(row["datagrams_up"] for row in b.lan.flows.rows() if row["direction"] == "in"))
        for number, peer in enumerate(peers):
            payload, source = peer.recvfrom(100)
            assert payload == b"answer to question %d" % number and source[1] == forward.host[1]
    finally:
        for peer in peers:
            peer.close()


def test_udp_empty_and_large_both_ways(b):
    forward = b.forward("udp", 5353)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.connect(("127.0.0.1", forward.host[1]))
        for payload in (b"", content_bytes(65507)):
            b.guest.datagrams.clear()
            peer.send(payload)
            b.run(lambda: bool(b.guest.datagrams))
            (d,) = b.guest.datagrams
            assert d.payload == payload
            b.guest.stack.udp_send(GUEST, 5353, d.src, d.sport, d.payload, b.guest.now)
            b.settle()
            assert peer.recv(65535) == payload


def test_closing_it_frees_the_port_and_leaves_connections_alone(b):
    forward = b.forward()
    sock, server = b.come(forward)
    with sock:
        b.lan.unforward(forward, time.monotonic_ns())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", forward.host[1]))
        again = b.forward(host_port=forward.host[1])
        assert again.host == forward.host
        sock.sendall(b"still open")
        b.run(lambda: bytes(server.got) == b"still open")
    assert "forward.tcp" in b.lan.counters


def test_a_port_in_use_is_one_line(b):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UsageError, match=r"^cannot listen on 127\.0\.0\.1 port \d+: Address already in use$"):
            b.forward(host_port=taken.getsockname()[1])
    with pytest.raises(UsageError, match=r"^cannot listen on 192\.0\.2\.1 port 0: "):
        b.lan.forward("udp", (ip("192.0.2.1"), 0), 80, 0)
    assert len(b.lan.forwards) == 0


def test_no_descriptor_to_spare_is_a_rest_and_not_a_busy_loop(b, monkeypatch):
    forward = b.forward()
    accept, fail = socket.socket.accept, [True]

    def sometimes(self):
        if fail:
            raise OSError(24, "Too many open files")
        return accept(self)

    monkeypatch.setattr("socket.socket.accept", sometimes)
    with socket.create_connection(("127.0.0.1", forward.host[1])):
        b.run(lambda: b.egress.counters.get("accept-failed", 0) == 1)
        steps = 0

        def rested():
            nonlocal steps
            steps += 1
            return b.egress.counters["accept-failed"] == 3

        b.run(rested)
        assert steps < 100
        fail.clear()
        b.run(lambda: len(b.guest.served) == 1)
