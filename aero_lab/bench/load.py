"""Load for network benches: plain programs on plain sockets, the same for us and for every peer.

Standard library only, so that it starts at once and says nothing about this package. On the host ``python load.py
serve`` prints three ports and serves: *sink* reads until the end and answers how many bytes came, *source* sends until
the other side goes, *echo* sends everything back. Behind the network under test one of the clients runs, and prints one
line of JSON: ``up``, ``down`` (bytes and seconds), ``rr`` (seconds of each exchange), ``connect`` (connections and
seconds). Buffers hold 256 KiB, so that what is measured is the network and not this program.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import threading
import time

BUFFER = 256 << 10
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# On the host ----------------------------------------------------------------------------------------------------------


def take_all(sock: socket.socket) -> None:
    buffer, total = bytearray(BUFFER), 0
    while got := sock.recv_into(buffer):
        total += got
    sock.sendall(total.to_bytes(8, "big"))


def give_all(sock: socket.socket) -> None:
    piece = bytes(BUFFER)
    while True:
        sock.sendall(piece)


def give_back(sock: socket.socket) -> None:
    buffer = memoryview(bytearray(BUFFER))
    while got := sock.recv_into(buffer):
        sock.sendall(buffer[:got])


SERVICES = {"sink": take_all, "source": give_all, "echo": give_back}


def attend(listener: socket.socket, service) -> None:
    def one(sock: socket.socket) -> None:
        with sock:
            try:
                service(sock)
            except OSError:
                pass  # the client has what it wanted

    while True:
        sock, _ = listener.accept()
        sock.setsockopt(*NODELAY)
        threading.Thread(target=one, args=(sock,), daemon=True).start()


def serve() -> None:
    ports = {}
    for name, service in SERVICES.items():
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        ports[name] = listener.getsockname()[1]
        threading.Thread(target=attend, args=(listener, service), daemon=True).start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()  # until whoever started us goes


# Behind the network ---------------------------------------------------------------------------------------------------


def connected(address: str, port: int) -> socket.socket:
    sock = socket.create_connection((address, port), timeout=10)
    sock.setsockopt(*NODELAY)
    return sock


def up(address: str, port: int, seconds: float) -> dict:
    piece = bytes(BUFFER)
    with connected(address, port) as sock:
        started = time.monotonic()
        while time.monotonic() < started + seconds:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        total = int.from_bytes(sock.recv(8, socket.MSG_WAITALL), "big")
        return {"bytes": total, "seconds": time.monotonic() - started}


def down(address: str, port: int, seconds: float) -> dict:
    buffer, total = bytearray(BUFFER), 0
    with connected(address, port) as sock:
        started = now = time.monotonic()
        while now < started + seconds:
            got = sock.recv_into(buffer)
            if not got:
                raise ConnectionError("the source ended")
            total += got
            now = time.monotonic()
        return {"bytes": total, "seconds": now - started}


def rr(address: str, port: int, seconds: float) -> dict:
    request, times = b"x" * 64, []
    with connected(address, port) as sock:
        started = now = time.monotonic()
        while now < started + seconds:
            sock.sendall(request)
            sock.recv(64, socket.MSG_WAITALL)
            times.append(-now + (now := time.monotonic()))
    return {"median": statistics.median(times), "number": len(times)}


def connect(address: str, port: int, seconds: float) -> dict:
    number, started = 0, time.monotonic()
    while time.monotonic() < started + seconds:
        with connected(address, port) as sock:
            sock.sendall(b"x")
            sock.recv(1)
        number += 1
    return {"number": number, "seconds": time.monotonic() - started}


CLIENTS = {"up": up, "down": down, "rr": rr, "connect": connect}

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        print(json.dumps(CLIENTS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
