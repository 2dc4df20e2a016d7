"""HostEgress against real sockets on loopback. Turned by hand, without asyncio, so each step is the test's own."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time

import pytest

from aero_lab.egress.contract import Answer
from aero_lab.egress.host import HostEgress
from aero_lab.limits import CONNECT_TIMEOUT, EGRESS_READ, EGRESS_STEP_BYTES, NEVER, SECOND

from .recording import RecordingSink

LOOPBACK = bytes((127, 0, 0, 1))
PATIENCE = 20.0


def turn(egress: HostEgress, until, now: int = 0) -> None:
    """Step whenever a socket wants something, until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "nothing more happens"
        select.select([egress], [], [], 0.05)
        egress.step(now)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def egress(sink):
    with HostEgress(sink) as egress:
        yield egress


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def port(sock: socket.socket) -> int:
    return sock.getsockname()[1]


def opened(egress, sink, server, flow=1, now=0):
    egress.open_tcp(flow, LOOPBACK, port(server), now)
    turn(egress, lambda: sink.told("opened", flow), now)
    far, _ = server.accept()
    far.settimeout(PATIENCE)
    return far


def test_open_data_both_ways_and_half_close_both_ways(egress, sink, server):
    with opened(egress, sink, server) as far:
        far.sendall(b"220 banner\r\n")
        turn(egress, lambda: sink.received[1] == b"220 banner\r\n")
        assert egress.send(1, [memoryview(b"hel"), memoryview(b"lo")], 0) == 5
        assert far.recv(100) == b"hello"
        egress.shutdown(1, 0)
        assert far.recv(100) == b""
        far.sendall(b"still talking")  # the other direction goes on
        turn(egress, lambda: sink.received[1].endswith(b"talking"))
        far.shutdown(socket.SHUT_WR)
        turn(egress, lambda: sink.told("eof", 1))
        egress.close(1, 0)
    assert egress.open_flows == 0
    assert egress.counters["tcp-bytes-down"] == len(b"220 banner\r\nstill talking")
    assert egress.counters["tcp-bytes-up"] == 5


def test_far_eof_first_then_data_up(egress, sink, server):
    with opened(egress, sink, server) as far:
        far.shutdown(socket.SHUT_WR)
        turn(egress, lambda: sink.told("eof", 1))
        assert egress.send(1, [memoryview(b"late")], 0) == 4
        egress.shutdown(1, 0)
        assert far.recv(100) == b"late"
        assert far.recv(100) == b""
    assert egress.send(1, [memoryview(b"after shutdown")], 0) == 0


def test_reading_is_bounded_by_room_and_goes_on_with_credit(egress, sink, server):
    sink.rooms[1] = 1000
    with opened(egress, sink, server) as far:
        far.sendall(bytes(range(256)) * 40)
        turn(egress, lambda: len(sink.received[1]) == 1000)
        egress.step(0)
        egress.step(0)
        assert len(sink.received[1]) == 1000, "read without room"
        assert not select.select([egress], [], [], 0)[0], "a full sink must not keep the selector busy"
        sink.rooms[1] = 1 << 20
        egress.credit(1, 0)
        turn(egress, lambda: len(sink.received[1]) == 10240)
    assert bytes(sink.received[1]) == bytes(range(256)) * 40


def test_no_read_is_larger_than_the_bound(egress, sink, server):
    sink.rooms[1] = 8 << 20
    with opened(egress, sink, server) as far:
        far.setblocking(False)
        sent = 0
        while sent < 4 << 20:
            try:
                sent += far.send(bytes(1 << 16))
            except BlockingIOError:
                egress.step(0)
        turn(egress, lambda: len(sink.received[1]) == sent)
    assert sink.largest <= EGRESS_READ


def test_one_step_reads_a_bounded_amount_and_serves_all_flows_in_turn(egress, sink, server):
    flows = range(1, 33)
    sockets = [opened(egress, sink, server, flow) for flow in flows]
    try:
        for flow, far in zip(flows, sockets):
            sink.rooms[flow] = 8 << 20
            far.setblocking(False)
            try:
                while True:
                    far.send(bytes(1 << 16))
            except BlockingIOError:
                pass
        before = egress.counters.get("tcp-bytes-down", 0)
        egress.step(0)
        assert egress.counters["tcp-bytes-down"] - before < EGRESS_STEP_BYTES + EGRESS_READ
        for _ in range(64):
            egress.step(0)
        assert all(sink.received[flow] for flow in flows)
    finally:
        for far in sockets:
            far.close()


def test_sending_is_cut_short_when_the_kernel_is_full_and_drained_tells(egress, sink, server):
    with opened(egress, sink, server) as far:
        whole = bytes(range(251)) * 40000
        view = memoryview(whole)
        position = egress.send(1, [view], 0)
        assert 0 < position < len(whole)
        state = {"at": position}

        def more(flow: int, now: int) -> None:
            state["at"] += egress.send(flow, [view[state["at"] :]], now)

        sink.on_drained = more
        far.setblocking(False)
        got = bytearray()
        end = time.monotonic() + PATIENCE
        while len(got) < len(whole):
            assert time.monotonic() < end
            egress.step(0)
            try:
                got += far.recv(1 << 20)
            except BlockingIOError:
                pass
    assert bytes(got) == whole
    assert sink.told("drained", 1)


def test_refused_is_told_and_frees_the_number(egress, sink, server):
    closed = port(server)
    server.close()
    egress.open_tcp(7, LOOPBACK, closed, 0)
    turn(egress, lambda: sink.told("failed", 7, "refused"))
    assert egress.open_flows == 0
    egress.open_udp(7, LOOPBACK, 9, 0)  # the number is free


def test_unreachable_and_denied(egress, sink):
    egress.open_tcp(1, bytes((255, 255, 255, 255)), 80, 0)  # connect() to broadcast is refused by the kernel itself
    turn(egress, lambda: any(call[:2] == ("failed", 1) for call in sink.calls))
    assert sink.calls[0][2] in ("net-unreachable", "unreachable", "denied")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (errno.ECONNREFUSED, "refused"),
        (errno.ENETUNREACH, "net-unreachable"),
        (errno.ENETDOWN, "net-unreachable"),
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ETIMEDOUT, "timeout"),
        (errno.EACCES, "denied"),
        (errno.EPERM, "denied"),
    ],
)
def test_each_errno_of_a_connect_is_a_reason(egress, sink, monkeypatch, code, why):
    monkeypatch.setattr("socket.socket.connect_ex", lambda self, where: code)
    egress.open_tcp(1, LOOPBACK, 80, 0)
    egress.step(0)
    assert sink.calls == [("failed", 1, why)]
    assert egress.open_flows == 0


def test_calls_up_come_from_step_only(egress, sink, server):
    closed = port(server)
    server.close()
    egress.open_tcp(1, LOOPBACK, closed, 0)
    egress.open_tcp(2, bytes((255, 255, 255, 255)), 80, 0)
    egress.resolve(3, "name.lab", "A", 0)
    assert sink.calls == []
    assert egress.poll_at(5) == 5, "notices wait"
    turn(egress, lambda: len(sink.calls) == 3)
    assert ("resolved", 3, Answer("servfail")) in sink.calls, "no loop, no names; but an answer"


def test_connect_times_out_in_the_time_it_is_told(sink, egress):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        try:
            for _ in range(8):  # the backlog fills up; further SYNs get no answer
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                fillers.append(filler)
            egress.open_tcp(1, LOOPBACK, port(listener), 1000)
            egress.step(1000)
            assert egress.poll_at(1000) == 1000 + CONNECT_TIMEOUT
            egress.step(999 + CONNECT_TIMEOUT)
            if sink.told("opened", 1):
                pytest.skip("this kernel's backlog takes more than it was told")
            assert sink.calls == []
            egress.step(1000 + CONNECT_TIMEOUT)
            assert sink.calls == [("failed", 1, "timeout")]
            assert egress.poll_at(0) == NEVER
        finally:
            for filler in fillers:
                filler.close()


def test_reset_from_the_world(egress, sink, server):
    far = opened(egress, sink, server)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    turn(egress, lambda: sink.told("reset", 1))
    assert egress.open_flows == 0
    assert egress.send(1, [memoryview(b"x")], 0) == 0


def test_reset_to_the_world(egress, sink, server):
    with opened(egress, sink, server) as far:
        egress.reset(1, 0)
        with pytest.raises(ConnectionResetError):
            far.recv(1)
    egress.step(0)
    assert not sink.told("reset", 1), "our own reset is not reported back"


def test_a_reset_seen_while_sending_is_told_from_step(egress, sink, server):
    far = opened(egress, sink, server)
    sink.rooms[1] = 0
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    end = time.monotonic() + PATIENCE
    while egress.open_flows and time.monotonic() < end:
        egress.send(1, [memoryview(b"x")], 0)
        if egress.poll_at(0) == 0:
            break
    assert sink.calls == [("opened", 1)]
    egress.step(0)
    assert sink.calls == [("opened", 1), ("reset", 1)]


def test_a_flow_that_dies_in_the_round_in_which_it_was_ready(egress, sink, server):
    """The sink sends on flow 2 while it hears of flow 1; flow 2 was reset and is in the same round of the selector."""
    one, two = opened(egress, sink, server, 1), opened(egress, sink, server, 2)
    for far in (one, two):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.sendall(b"last words")
    original = sink.data

    def data(flow, view, now):
        original(flow, view, now)
        for far in (one, two):
            far.close()
        for _ in range(100):
            egress.send(3 - flow, [memoryview(b"x")], now)

    sink.data = data
    select.select([egress], [], [], PATIENCE)
    for _ in range(20):
        egress.step(0)
    turn(egress, lambda: sink.told("reset", 1) and sink.told("reset", 2))
    assert len(sink.calls) == 4


def test_a_number_given_back_before_the_notice_hears_nothing(egress, sink, server):
    closed = port(server)
    server.close()
    egress.open_tcp(1, bytes((255, 255, 255, 255)), 80, 0)
    egress.close(1, 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        egress.open_tcp(1, LOOPBACK, port(other), 0)
        turn(egress, lambda: sink.told("opened", 1))
    assert sink.calls == [("opened", 1)]
    assert closed


def test_opening_a_number_twice_is_an_error_of_the_caller(egress, server):
    egress.open_tcp(1, LOOPBACK, port(server), 0)
    with pytest.raises(ValueError, match="already open"):
        egress.open_tcp(1, LOOPBACK, port(server), 0)


def test_udp_both_ways_empty_and_large(egress, sink):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        far.settimeout(PATIENCE)
        egress.open_udp(1, LOOPBACK, port(far), 0)
        for payload in (b"", b"ping", bytes(60000)):
            assert egress.send_datagram(1, payload, 0)
            got, source = far.recvfrom(65535)
            assert got == payload
            far.sendto(got, source)
        turn(egress, lambda: len(sink.datagrams[1]) == 3)
        assert sink.datagrams[1] == [b"", b"ping", bytes(60000)]
        assert not egress.send_datagram(1, bytes(65508), 0), "no UDP datagram is that long"
        assert egress.counters["udp-too-big"] == 1
        egress.close(1, 0)
    assert not egress.send_datagram(1, b"x", 0)
    assert egress.counters["udp-no-flow"] == 1


def test_udp_takes_answers_from_its_remote_only(egress, sink):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        for sock in (far, stranger):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(PATIENCE)
        egress.open_udp(1, LOOPBACK, port(far), 0)
        egress.send_datagram(1, b"hello", 0)
        _, source = far.recvfrom(100)
        stranger.sendto(b"forged", source)
        far.sendto(b"true", source)
        turn(egress, lambda: bool(sink.datagrams[1]))
        assert sink.datagrams[1] == [b"true"]


def test_udp_refused_is_told_and_ends_no_flow(egress, sink):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = port(gone)
    egress.open_udp(1, LOOPBACK, nobody, 0)
    egress.open_udp(2, LOOPBACK, nobody, 0)
    egress.send_datagram(1, b"anyone?", 0)
    turn(egress, lambda: sink.told("undeliverable", 1, "refused"))
    assert egress.open_flows == 2
    assert not select.select([egress], [], [], 0)[0], "an error that was told must not keep the selector busy"
    for number in range(2, 5):
        assert egress.send_datagram(1, b"still?", 0)
        turn(egress, lambda number=number: sink.calls.count(("undeliverable", 1, "refused")) == number)
    assert not any(call[1] == 2 for call in sink.calls), "and it is nobody else's"


def test_no_descriptors_left_is_a_failure_not_an_exception(egress, sink, server, monkeypatch):
    def none_left(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("aero_lab.egress.host.socket.socket", none_left)
    egress.open_tcp(1, LOOPBACK, port(server), 0)
    egress.open_udp(2, LOOPBACK, port(server), 0)
    monkeypatch.undo()
    egress.step(0)
    assert sink.calls == [("failed", 1, "unreachable"), ("failed", 2, "unreachable")]
    assert egress.counters["no-socket"] == 2


def test_echo_to_loopback_if_this_host_lets_us(egress, sink):
    if egress.echo(9, LOOPBACK, b"are you there", 0) == "denied":
        assert egress.counters["echo-denied"] == 1
        pytest.skip("ping_group_range does not include this user")
    turn(egress, lambda: sink.told("echoed", 9, LOOPBACK, b"are you there"), SECOND)


def test_stop_twice_closes_everything(sink, server):
    egress = HostEgress(sink)
    far = opened(egress, sink, server)
    egress.stop()
    egress.stop()
    egress.step(0)
    assert far.recv(1) == b""
    far.close()


def test_what_the_far_side_acknowledged_can_be_asked_where_the_kernel_tells(egress, sink, server):
    if not egress.tells_unacked:
        assert egress.unacked(1) is None
        pytest.skip("SIOCOUTQ is Linux's")
    with opened(egress, sink, server) as far:
        assert egress.unacked(1) == 0
        while egress.send(1, [memoryview(bytes(1 << 20))], 0):
            pass
        held = egress.unacked(1)
        assert held is not None and held > 0, "the far side's window is shut"
        assert egress.round_trip(1) > 0
        egress.shutdown(1, 0)
        assert egress.unacked(1) == held + 1, "the end counts as one"
        while far.recv(1 << 20):
            pass
        end = time.monotonic() + PATIENCE
        while egress.unacked(1):
            assert time.monotonic() < end
        egress.close(1, 0)
        assert egress.unacked(1) is None, "gone"


def test_a_reset_while_only_acknowledgements_are_awaited_is_seen(egress, sink, server):
    """Both directions have ended and the selector watches nothing: asking is what finds the reset out."""
    if not egress.tells_unacked:
        pytest.skip("SIOCOUTQ is Linux's")
    far = opened(egress, sink, server)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while egress.send(1, [memoryview(bytes(1 << 20))], 0):
        pass
    far.shutdown(socket.SHUT_WR)
    turn(egress, lambda: sink.told("eof", 1))
    egress.shutdown(1, 0)
    assert egress.unacked(1)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    end = time.monotonic() + PATIENCE
    while not sink.told("reset", 1):
        assert time.monotonic() < end
        egress.unacked(1)
        egress.step(0)


def test_echoes_that_cannot_go_out_say_why(egress):
    why = egress.echo(1, bytes((255, 255, 255, 255)), b"", 0)
    assert why in ("denied", "unreachable", "net-unreachable")
    assert egress.counters[f"echo-{why}"] == 1


def test_an_egress_at_rest_holds_no_descriptor():
    """A server has thousands of them, and descriptors are few."""

    def held():
        return len(os.listdir("/proc/self/fd"))

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("the system does not tell descriptors")
    before = held()
    resting = [HostEgress(RecordingSink()) for _ in range(50)]
    for each in resting:
        each.step(0)
        assert each.poll_at(0) > 0
    assert held() == before
    for each in resting:
        each.stop()
        each.stop()
    assert held() == before
