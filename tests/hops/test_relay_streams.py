"""The relay of TCP: later and slower, every byte, and no connection is held up by another."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from aero_lab.errors import UsageError
from aero_lab.hops import Relay
from aero_lab.link import Link

PATIENCE = 60.0


@contextlib.contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Each connection is served in a thread of its own; the URL to hand to a relay."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threads = []

    def one(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(PATIENCE)
            serve(sock)

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(sock,), daemon=True))
            threads[-1].start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/l2"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(PATIENCE)


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def digest(sock: socket.socket) -> None:
    """Everything until the end of the stream, then its digest: the other way is still open."""
    seen = hashlib.sha256()
    while data := sock.recv(1 << 16):
        seen.update(data)
    sock.sendall(seen.digest())


def dial(relay: Relay) -> socket.socket:
    _, _, where = relay.url.partition("://")
    port = int(where.partition("/")[0].rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def read(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := sock.recv(size - len(got))):
        got += data
    return got


def test_a_round_trip_takes_what_the_link_says_and_connecting_another():
    with server(echo) as url, Relay(url, Link(rtt="80ms")) as relay:
        assert relay.url.endswith("/l2") and relay.url != url
        began = time.monotonic()
        with dial(relay) as sock:
            times = []
            for number in range(4):
                began = time.monotonic() if number else began
                sock.sendall(b"%d" % number)
                assert read(sock, 1) == b"%d" % number
                times.append(time.monotonic() - began)
        counters = relay.counters()
    assert times[0] >= 0.160, "the handshake's round trip, and its own"
    assert min(times[1:]) >= 0.080
    assert counters["up"]["lost"] == counters["up"]["queue_full"] == 0


def test_every_byte_in_order_at_no_more_than_the_rate_and_each_end_of_its_own():
    data = random.Random(7).randbytes(1_000_000)
    link = Link(rtt="4ms", rate="16Mbit/s", queue="20KB", jitter="1ms")
    with server(digest) as url, Relay(url, link) as relay, dial(relay) as sock:
        began = time.monotonic()
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read(sock, 32) == hashlib.sha256(data).digest()
        took = time.monotonic() - began
        assert sock.recv(1) == b""
        counters = relay.counters()
    assert took >= len(data) * 8 / 16e6, "headers come on top"
    assert counters["up"]["queue_full"] == 0, "a line that is full makes the sender wait"
    assert counters["up"]["bytes_out"] > len(data)


def test_one_that_does_not_read_holds_up_no_other():
    """A server that takes nothing: its connection fills up and stands still, and others pass."""
    go_on = threading.Event()

    def serve(sock: socket.socket) -> None:
        if sock.recv(1) == b"s":
            go_on.wait(PATIENCE)
        digest(sock)

    with server(serve) as url, Relay(url, Link(rtt="2ms")) as relay, dial(relay) as slow:
        slow.sendall(b"s")
        slow.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200 << 20:
                sent += slow.send(bytes(1 << 16))
        assert sent < 100 << 20, "what nobody takes does not pile up"
        for _ in range(3):
            with dial(relay) as other:
                other.sendall(b"f" + bytes(300_000))
                other.shutdown(socket.SHUT_WR)
                assert read(other, 32) == hashlib.sha256(bytes(300_000)).digest()
        slow.settimeout(PATIENCE)
        go_on.set()
        slow.shutdown(socket.SHUT_WR)
        assert read(slow, 32) == hashlib.sha256(bytes(sent)).digest(), "and later it gets all of it"


def test_a_server_that_is_not_there_and_one_that_hangs_up():
    with socket.create_server(("127.0.0.1", 0)) as held:
        url = f"ws://127.0.0.1:{held.getsockname()[1]}"
    with Relay(url, Link(rtt="20ms")) as relay, dial(relay) as sock:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)

    def hang_up(sock: socket.socket) -> None:
        sock.recv(1)
        sock.sendall(b"bye")

    with server(hang_up) as url, Relay(url, Link(rtt="20ms")) as relay, dial(relay) as sock:
        sock.sendall(b"x")
        assert read(sock, 3) == b"bye" and sock.recv(1) == b""


def test_many_connections_share_a_line_and_none_is_mixed_up():
    with server(echo) as url, Relay(url, Link(rtt="10ms", rate="50Mbit/s")) as relay, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dial(relay)) for _ in range(40)]
        for number, sock in enumerate(socks):
            sock.sendall(bytes([number]) * 5000)
        for number, sock in enumerate(socks):
            assert read(sock, 5000) == bytes([number]) * 5000
        assert relay.counters()["relay"]["connections"] == 40


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("loss=1%", "a relay cannot lose what TCP carries"),
        ("rtt=10ms, duplicate=1%", "a relay cannot double"),
        ("rtt=10ms, reorder=1%", "a relay cannot reorder"),
        ("corrupt=1%:0", "a relay cannot corrupt"),
    ],
)
def test_what_tcp_cannot_suffer_is_refused(link, message):
    with pytest.raises(UsageError, match=message):
        Relay("ws://127.0.0.1:1/l2", Link.parse(link))


def test_a_link_can_change_while_bytes_pass():
    with server(echo) as url, Relay(url, Link()) as relay, dial(relay) as sock:

        def round_trip(data: bytes) -> float:
            began = time.monotonic()
            sock.sendall(data)
            assert read(sock, len(data)) == data
            return time.monotonic() - began

        round_trip(b"a" * 100_000)
        relay.change(Link(rtt="80ms"))
        assert round_trip(b"b") >= 0.08 and relay.link == Link(rtt="80ms")
        relay.change(Link(rate="2Mbit/s", queue="64KiB"))
        assert round_trip(b"c" * 100_000) >= 0.4  # what a line takes for so many bytes
        with pytest.raises(UsageError, match="cannot lose what TCP carries"):
            relay.change(Link(loss=0.1))
        round_trip(b"d")
        assert relay.counters()["relay"]["connections"] == 1


def test_a_target_without_a_port_is_refused():
    with pytest.raises(UsageError, match="a host and a port"):
        Relay("ws://127.0.0.1/l2", Link(rtt="1ms"))
