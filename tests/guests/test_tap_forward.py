"""Forwards into a real kernel: servers that run in a tap guest, reached from this machine."""

from __future__ import annotations

import hashlib
import signal
import socket
import sys
import time

import pytest

from aero_lab.lab import Lab
from aero_lab.services.content import content_bytes

from .tap import needs_tap  # noqa: F401  (fixture)

pytestmark = pytest.mark.usefixtures("needs_tap")
SERVER = """
import hashlib, socketserver, sys

class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 ready\\n")
        seen = hashlib.sha256()
        while data := self.request.recv(1 << 16):
            seen.update(data)
        self.request.sendall(seen.hexdigest().encode())

class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0], self.client_address)

if sys.argv[1] == "tcp":
    Server(("0.0.0.0", 7000), Handler).serve_forever()
else:
    socketserver.UDPServer.max_packet_size = 65535
    socketserver.UDPServer(("0.0.0.0", 7000), Echo).serve_forever()
"""


def connect(forward) -> socket.socket:
    """A connection, once the guest's server listens."""
    for _ in range(200):
        try:  # until then the guest refuses, and that reset may come before connect() has even returned
            sock = socket.create_connection((forward.host, forward.port), timeout=20)
        except ConnectionResetError:
            time.sleep(0.05)
            continue
        try:
            if sock.recv(100) == b"220 ready\n":
                return sock
        except ConnectionResetError:
            pass
        sock.close()
        time.sleep(0.05)
    raise AssertionError("the guest's server does not come up")


@pytest.mark.parametrize("transport", ["memory", "websocket"])
def test_a_server_in_the_guest(transport):
    with Lab(capture=False, transport=transport) as lab:
        guest = lab.guest("tap")
        guest.wait_online()
        server = guest.spawn([sys.executable, "-c", SERVER, "tcp"])
        try:
            with lab.forward(guest, 7000) as forward:
                connect(forward).close()
                socks = [connect(forward) for _ in range(40)]
                data = content_bytes(2 << 20)
                for number, sock in enumerate(socks):
                    sock.sendall(data[: number * 1000] if number else data)
                    sock.shutdown(socket.SHUT_WR)
                for number, sock in enumerate(socks):
                    wanted = hashlib.sha256(data[: number * 1000] if number else data).hexdigest()
                    got = b""
                    while chunk := sock.recv(100):
                        got += chunk
                    assert got.decode() == wanted, "half-closed, and answered"
                    sock.close()
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait(20)
        rows = [row for row in lab.flows if row["direction"] == "in"]
        whole = [row for row in rows if row["reason"] == "closed" and row["bytes_up"] == 10 + 64]
        assert len(whole) >= 40, "besides those that asked whether the server listens"


def test_udp_into_the_guest():
    with Lab(capture=False) as lab:
        guest = lab.guest("tap")
        guest.wait_online()
        server = guest.spawn([sys.executable, "-c", SERVER, "udp"])
        try:
            with lab.forward(guest, 7000, protocol="udp") as forward:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(0.5)
                    sock.connect((forward.host, forward.port))
                    for _ in range(40):  # until the server listens; before that the guest's kernel says no
                        sock.send(b"hello")
                        try:
                            assert sock.recv(100) == b"hello"
                            break
                        except TimeoutError:
                            continue
                    for size in (0, 1, 1472, 1473, 20_000, 65_507):
                        sock.send(content_bytes(size))
                        sock.settimeout(20)
                        assert sock.recv(65_535) == content_bytes(size)
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait(20)
