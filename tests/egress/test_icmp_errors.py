"""ICMP errors as a Linux socket queues them, made by hand: which reason each comes to."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from aero_lab.egress.icmp_errors import LINUX, IcmpError, take_errors, why_of

ROUTER = bytes((192, 0, 2, 1))
ROUTER6 = bytes.fromhex("20010db8000000000000000000000001")
pytestmark = pytest.mark.skipif(not LINUX, reason="other systems have no error queue")


def entry(origin: int, type_: int, code: int, info: int = 0, level: int = socket.IPPROTO_IP, kind: int = 11) -> tuple:
    head = struct.pack("=IBBBBII", errno.EHOSTUNREACH, origin, type_, code, 0, info, 0)
    if origin == 3:
        who = struct.pack("=HHI", socket.AF_INET6, 0, 0) + ROUTER6 + bytes(4)
        level, kind = socket.IPPROTO_IPV6, 25
    else:
        who = struct.pack("=HH", socket.AF_INET, 0) + ROUTER + bytes(8)
    return b"what was sent", [(level, kind, head + who)], 0, ("198.51.100.1", 9)


class Queue:
    def __init__(self, *entries):
        self.entries = list(entries)

    def recvmsg(self, size, ancillary, flags):
        if not self.entries:
            raise BlockingIOError
        return self.entries.pop(0)


@pytest.mark.parametrize(
    ("origin", "type_", "code", "why"),
    [
        (2, 3, 0, "net-unreachable"),
        (2, 3, 1, "unreachable"),
        (2, 3, 2, "refused"),
        (2, 3, 3, "refused"),
        (2, 3, 4, None),  # too big: the kernel fragments from now on
        (2, 3, 6, "net-unreachable"),
        (2, 3, 7, "unreachable"),
        (2, 3, 9, "denied"),
        (2, 3, 10, "denied"),
        (2, 3, 13, "denied"),
        (2, 11, 0, None),
        (3, 1, 0, "net-unreachable"),
        (3, 1, 1, "denied"),
        (3, 1, 3, "unreachable"),
        (3, 1, 4, "refused"),
        (3, 1, 6, "denied"),
        (3, 2, 0, None),
        (3, 3, 0, None),
    ],
)
def test_each_kind_is_a_reason(origin, type_, code, why):
    (found,) = take_errors(Queue(entry(origin, type_, code, 1280)), 8)
    assert found.why == why
    assert (found.type, found.code, found.info, found.sent) == (type_, code, 1280, b"what was sent")
    assert (found.family, found.sender) == ((4, ROUTER) if origin == 2 else (6, ROUTER6))


def test_what_no_router_said_is_passed_over_and_the_number_is_bounded():
    local = entry(1, 0, 0)
    strange = (b"", [(socket.SOL_SOCKET, 1, b"x" * 40)], 0, None)
    short = (b"", [(socket.IPPROTO_IP, 11, b"x" * 8)], 0, None)
    queue = Queue(local, strange, short, *[entry(2, 3, 3)] * 10)
    assert len(take_errors(queue, 8)) == 5
    assert len(queue.entries) == 5


def test_errors_without_a_number_are_unreachable():
    assert why_of(OSError("no number")) == "unreachable"
    assert why_of(OSError(errno.ECONNREFUSED, "")) == "refused"
    assert IcmpError(4, 3, 99, 0, None, b"").why == "unreachable"
