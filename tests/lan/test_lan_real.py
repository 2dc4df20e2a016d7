"""The LAN in front of real sockets: a guest's stack, the gateway, HostEgress, and servers on loopback."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager
from hashlib import sha256

import pytest

from aero_lab.compiled.registry import warmup
from aero_lab.egress.host import HostEgress
from aero_lab.egress.services_host import ServicesHost
from aero_lab.lan import Lan, LanConfig
from aero_lab.services import names
from aero_lab.services.content import content_bytes
from aero_lab.services.udp_probe import make_probe, read_probe
from aero_lab.wire import icmp
from aero_lab.wire.address import ip

from .bench import ECHO, FILES, GUEST, SINK, SOURCE, Guest, turn_real

LOOPBACK = ip("127.0.0.1")
OWN = ip("203.0.113.77")
"""Lab address of the servers that a test makes itself."""


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile before real time begins: patience here is for peers, not for the compiler."""
    warmup(progress=False)


@pytest.fixture(scope="module")
def services():
    """The hermetic services on a loop of their own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def call(function, *args):
        return function(*args)

    host = ServicesHost()
    asyncio.run_coroutine_threadsafe(call(host.start, loop), loop).result(20)
    yield host
    asyncio.run_coroutine_threadsafe(call(host.stop), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class RealBench:
    def __init__(self, services, own_tcp=None, own_udp=None, mtu=1500, **config):
        rng = random.Random(1)
        tcp, udp = dict(services.forward_tcp), dict(services.forward_udp)
        if own_tcp:
            tcp[OWN, 1] = (LOOPBACK, own_tcp)
        if own_udp:
            udp[OWN, 1] = (LOOPBACK, own_udp)
        self.egress = HostEgress()
        settings = {"names": names(), "forward_tcp": tcp, "forward_udp": udp, "max_tcp": 64, "mtu": mtu, **config}
        now = time.monotonic_ns()

        def make(sink):
            self.egress.sink = sink
            return self.egress

        self.lan = Lan(LanConfig(**settings), make, rng, now)
        self.guest = Guest(rng, mtu, lan=self.lan)
        self.guest.now = now

    def run(self, until):
        turn_real(self.guest, self.lan, self.egress, until)

    def row(self):
        return self.lan.flows.rows()[-1]


@contextmanager
def bench(services, **kw):
    made = RealBench(services, **kw)
    try:
        yield made
    finally:
        made.lan.close(time.monotonic_ns())
        made.egress.stop()


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield listener


def port(sock):
    return sock.getsockname()[1]


@pytest.mark.parametrize("mtu", [1500, 9000])
def test_download_and_upload(services, mtu):
    with bench(services, mtu=mtu) as b:
        get = b.guest.open((FILES, 80), b"GET /8MiB HTTP/1.1\r\nHost: files.lab\r\nConnection: close\r\n\r\n")
        b.run(lambda: get.ended)
        assert bytes(get.got).partition(b"\r\n\r\n")[2] == content_bytes(8 << 20)
        data = content_bytes(8 << 20)
        head = b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data)
        put = b.guest.open((FILES, 80), head + data)
        b.run(lambda: put.ended)
        answer = json.loads(bytes(put.got).partition(b"\r\n\r\n")[2])
        assert answer == {"bytes": len(data), "sha256": sha256(data).hexdigest()}


def test_many_at_once(services):
    with bench(services) as b:
        data = content_bytes(300_000)
        clients = [b.guest.open((ECHO, 7), data, finish=True) for _ in range(30)]
        b.run(lambda: all(client.reason for client in clients))
        assert all(bytes(client.got) == data and client.reason == "closed" for client in clients)
        assert {row["reason"] for row in b.lan.flows.rows()} == {"closed"}
        assert b.egress.open_flows == 0


def test_server_first_banner_and_half_close_from_the_far_side(services, server):
    with bench(services, own_tcp=port(server)) as b:
        client = b.guest.open((OWN, 1))
        far = []

        def serve():
            sock, _ = server.accept()
            sock.sendall(b"220 ready\r\n")
            sock.shutdown(socket.SHUT_WR)
            far.append(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        b.run(lambda: client.ended)
        thread.join()
        assert bytes(client.got) == b"220 ready\r\n"
        client.to_send, client.finish = memoryview(b"still talking"), True
        got = bytearray()
        far[0].setblocking(False)

        def heard():
            try:
                got.extend(far[0].recv(100))
            except BlockingIOError:
                pass
            return client.reason is not None

        b.run(heard)
        heard()
        assert bytes(got) == b"still talking"
        assert (client.reason, b.row()["reason"]) == ("closed", "closed")
        far[0].close()


def test_refused_is_a_reset_before_any_handshake(services, server):
    nobody = port(server)
    server.close()
    with bench(services, own_tcp=nobody) as b:
        client = b.guest.open((OWN, 1))
        b.run(lambda: client.reason is not None)
        assert (client.reason, client.established, b.row()["reason"]) == ("refused", False, "refused")


def test_reset_by_the_far_side(services, server):
    with bench(services, own_tcp=port(server)) as b:
        client = b.guest.open((OWN, 1), b"hello")
        b.run(lambda: client.established)
        far, _ = server.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        b.run(lambda: client.reason is not None)
        assert (client.reason, b.row()["reason"]) == ("reset", "reset-by-far-side")


def test_reset_by_the_guest(services, server):
    with bench(services, own_tcp=port(server)) as b:
        client = b.guest.open((OWN, 1))
        b.run(lambda: client.established)
        far, _ = server.accept()
        far.settimeout(20)
        client.conn.abort(b.guest.now)
        b.run(lambda: b.row()["reason"] is not None)
        assert b.row()["reason"] == "reset-by-guest"
        with pytest.raises(ConnectionResetError):
            far.recv(1)
        far.close()


def test_a_guest_that_does_not_read_holds_up_the_far_side(services):
    with bench(services) as b:
        slow = b.guest.open((SOURCE, 19), read=False)
        other = b.guest.open((ECHO, 7), content_bytes(1 << 20), finish=True)
        b.run(lambda: other.reason is not None)
        assert bytes(other.got) == content_bytes(1 << 20), "a stalled flow stalls no other"
        assert slow.reason is None
        assert b.lan.flows.rows()[0]["bytes_down"] <= 3 * 262144
        slow.read = True
        b.run(lambda: len(slow.got) > 4 << 20)
        assert bytes(slow.got) == content_bytes(len(slow.got))


def test_a_far_side_that_does_not_read_holds_up_the_guest(services, server):
    with bench(services, own_tcp=port(server)) as b:
        data = content_bytes(24 << 20)
        client = b.guest.open((OWN, 1), data, finish=True)
        b.run(lambda: client.established)
        far, _ = server.accept()
        seen = -1

        def still():
            nonlocal seen
            seen, before = len(client.to_send), seen
            return seen == before and 0 < seen < len(data)

        for _ in range(3):
            b.run(still)
        assert client.reason is None, "never a reset for being fast"
        got = bytearray()
        far.setblocking(False)

        def heard():
            try:
                while chunk := far.recv(1 << 20):
                    got.extend(chunk)
                return True
            except BlockingIOError:
                return False

        b.run(heard)
        assert bytes(got) == data
        far.close()


def test_sink_takes_all(services):
    before = services.services.stream["sink"].received
    with bench(services) as b:
        client = b.guest.open((SINK, 9), bytes(4 << 20), finish=True)
        b.run(lambda: client.reason is not None)
    assert services.services.stream["sink"].received - before == 4 << 20


def send_udp(b, where, payload):
    """Send once the gateway's link address is known."""
    b.run(lambda: b.guest.stack.udp_send(GUEST, 40000, *where, payload, time.monotonic_ns()))


def test_udp_echo_with_the_time_of_receipt(services):
    with bench(services) as b:
        sent = time.monotonic_ns()
        send_udp(b, (ECHO, 7), make_probe(1, sent, 300))
        b.run(lambda: bool(b.guest.datagrams))
        probe = read_probe(b.guest.datagrams[0].payload)
        assert probe.size == 300 and probe.sent == sent
        assert sent < probe.received < time.monotonic_ns(), "one clock for both ends of one machine"


def test_udp_to_nobody_is_port_unreachable(services):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = port(gone)
    with bench(services, own_udp=nobody) as b:
        send_udp(b, (OWN, 1), b"anyone?")
        b.run(lambda: bool(b.guest.icmp))
        message = b.guest.icmp[0]
        assert (message.src, message.type, message.code) == (OWN, icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)


def test_ping_of_a_lab_address_is_answered_here(services):
    with bench(services) as b:
        b.run(lambda: b.guest.stack.icmp_echo(GUEST, FILES, 1, 2, b"x" * 56, time.monotonic_ns()))
        b.run(lambda: bool(b.guest.icmp))
        assert b.guest.icmp[0].src == FILES and b.guest.icmp[0].payload == b"x" * 56


def test_host_loopback_is_out_of_reach(services, server):
    with bench(services) as b:
        client = b.guest.open((LOOPBACK, port(server)))
        b.run(lambda: client.reason is not None or bool(b.guest.stack.drops) or bool(b.lan.counters))
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_close_leaves_no_socket(services, server):
    with bench(services, own_tcp=port(server)) as b:
        client = b.guest.open((OWN, 1))
        b.run(lambda: client.established)
        far, _ = server.accept()
        far.settimeout(20)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    far.close()
