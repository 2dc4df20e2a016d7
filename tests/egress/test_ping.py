"""Matching of echo replies, with a socket that only pretends: few hosts let tests send real ones."""

from __future__ import annotations

import selectors
import socket

from aero_lab.egress.ping import Pinger
from aero_lab.limits import ECHO_PENDING, ECHO_TIMEOUT

HOST = bytes((192, 0, 2, 1))


class PretendSocket:
    family = socket.AF_INET

    def __init__(self):
        self.sent: list[bytes] = []
        self.replies: list[tuple[bytes, tuple[str, int]]] = []
        self.errors: list[tuple] = []
        self.options: list[tuple] = []

    def sendto(self, message, where):
        self.sent.append(message)

    def recvfrom(self, size):
        if not self.replies:
            raise BlockingIOError
        return self.replies.pop(0)

    def recvmsg(self, size, ancillary, flags):
        if not self.errors:
            raise BlockingIOError
        return self.errors.pop(0)

    def setsockopt(self, level, option, value):
        self.options.append((level, option, value))

    def close(self):
        pass


def pinger():
    made = Pinger(selectors.DefaultSelector())
    made._sockets[4] = sock = PretendSocket()  # type: ignore[assignment]
    return made, sock


def reply(request: bytes, kind: int = 0) -> bytes:
    return bytes((kind, 0, 0, 0)) + b"\x12\x34" + request[6:]


def test_reply_is_matched_by_sequence_and_address():
    made, sock = pinger()
    assert made.send(5, HOST, b"one", 0) is None
    assert made.send(6, HOST, b"two", 0) is None
    sock.replies = [(reply(sock.sent[1]), ("192.0.2.1", 0)), (reply(sock.sent[0]), ("192.0.2.1", 0))]
    assert made.read(sock, 0) == ([(6, HOST, b"two"), (5, HOST, b"one")], [])


def test_forged_short_late_and_doubled_replies_are_passed_over():
    made, sock = pinger()
    made.send(5, HOST, b"one", 0)
    good = reply(sock.sent[0])
    sock.replies = [
        (good, ("192.0.2.2", 0)),
        (good[:7], ("192.0.2.1", 0)),
        (b"", ("192.0.2.1", 0)),
        (reply(sock.sent[0], kind=8), ("192.0.2.1", 0)),
        (good, ("192.0.2.1", 0)),
        (good, ("192.0.2.1", 0)),
    ]
    assert made.read(sock, 0) == ([(5, HOST, b"one")], [])


def test_reply_with_its_ip_header_in_front():
    made, sock = pinger()
    made.send(5, HOST, b"one", 0)
    sock.replies = [(b"\x45" + bytes(19) + reply(sock.sent[0]), ("192.0.2.1", 0))]
    assert made.read(sock, 0) == ([(5, HOST, b"one")], [])


def test_waiting_is_bounded_in_number_and_time():
    made, sock = pinger()
    for i in range(ECHO_PENDING + 10):
        made.send(i, HOST, b"", 0)
    assert len(made._waiting) == ECHO_PENDING
    made.send(1, HOST, b"", ECHO_TIMEOUT)
    assert len(made._waiting) == 1


def test_a_host_that_forbids_it_is_no_error(monkeypatch):
    def forbidden(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("aero_lab.egress.ping.socket.socket", forbidden)
    assert Pinger(selectors.DefaultSelector()).send(1, HOST, b"", 0) == "denied"
