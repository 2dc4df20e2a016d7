"""Each reason for a stall, produced on purpose by a guest in virtual time, and the same guest without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aero_lab import Lab, Link, analysis
from aero_lab.guests.scripted.profiles import find
from aero_lab.guests.scripted.tasks import sleep_until
from tests.capture.conversation import MS
from tests.capture.naive import dissect

SIDES = ("up", "down")


def dropping(text: str, side: str, chosen) -> Link:
    """A link that in one direction also loses the frames for which ``chosen`` says so; each is asked about once."""

    class Dropping(Link):
        def build(self, rng, up=None, down=None, **what):
            ways = super().build(rng, up, down, **what)
            way = ways[SIDES.index(side)]
            step, asked = way.step, set()

            def sieve(now: int) -> None:
                for frame in way.input.pop_many(1 << 12):
                    new = frame.frame_id not in asked
                    asked.add(frame.frame_id)
                    if not (new and chosen(dissect(frame.data[4:]))):
                        way.input.push(frame.data, frame.t_ns, frame.frame_id, frame.flow, frame.cause, frame.flags)
                step(now)

            way.step = sieve
            return ways

    return Dropping.parse(text)


def nth(number: int):
    """Chooses the n-th TCP segment with data, counted from 1."""
    seen = 0

    def chosen(row: dict) -> bool:
        nonlocal seen
        seen += row.get("tcp_len", 0) > 0
        return row.get("tcp_len", 0) > 0 and seen == number

    return chosen


def labels(link, task, at_least="100ms", point=None, **tcp) -> list[tuple[str, str, float]]:
    """``(direction, label, ms)`` of the stalls of one guest's task, longest first."""
    with Lab(virtual=True, link=link, ipv6=False) as lab:
        guest = lab.guest(tcp=replace(find("linux").tcp, **tcp))
        guest.wait_online()
        lab.capture.clear()
        guest.do(task)
        found = analysis.stalls(lab.capture.frames(), at_least, point)
    return [(row.direction, row.label, round(row.ms, 1)) for row in found.itertuples()]


def talk(name: str, port: int, *words: bytes, pause=0, reply=True):
    """Connect, send each word (and wait for its echo, and then some), close."""

    def task(host):
        socket = yield from host.connect((yield from host.resolve(name)), port)
        for word in words:
            yield from socket.send(word)
            if reply:
                yield from socket.receive_exactly(len(word))
            if pause:
                yield from sleep_until(host.now + pause)
        socket.shutdown()
        yield from socket.finish()

    return task


def read(size: int, pause: int):
    """Ask the source for bytes, and do not read them for a while."""

    def task(host):
        socket = yield from host.connect((yield from host.resolve("source.lab")), 19)
        if pause:
            yield from sleep_until(host.now + pause)
        yield from socket.receive_exactly(size)
        socket.abort()

    return task


def test_nobody_had_anything_to_send():
    idle = labels("rtt=20ms", talk("echo.lab", 7, b"one", b"two", pause=500 * MS))
    assert {label for _, label, _ in idle} == {"application idle"} and {way for way, _, _ in idle} == {"tx", "rx"}
    assert idle[0][2] == pytest.approx(520, abs=1)
    assert labels("rtt=20ms", talk("echo.lab", 7, b"one", b"two")) == []


def test_the_receiver_had_no_room():
    full = labels("rtt=20ms", read(400_000, 800 * MS))
    assert full[0][:2] == ("rx", "zero window") and full[0][2] > 600
    assert "zero window" not in {label for _, label, _ in labels("rtt=20ms", read(400_000, 0), "20ms")}


def test_a_timer_had_to_bring_it_back():
    """The third word is lost, and nothing behind it could tell."""
    words = [b"one", b"two", b"three", b"four"]
    lost = labels(dropping("rtt=20ms", "up", nth(3)), talk("echo.lab", 7, *words))
    assert ("tx", "RTO") in {row[:2] for row in lost} and lost[0][2] >= 200
    assert labels("rtt=20ms", talk("echo.lab", 7, *words)) == []


def test_the_sender_was_told_of_the_loss():
    """With a window of three segments and RACK, what is lost stops the stream for a round trip."""
    download = read(60_000, 0)
    lost = labels(dropping("rtt=200ms", "down", nth(20)), download, "150ms", recv_buffer=14_600)
    clean = labels("rtt=200ms", download, "150ms", recv_buffer=14_600)
    told = [row for row in lost if row[1] == "loss recovery"]
    assert told and "loss recovery" not in {label for _, label, _ in clean}
    assert "RTO" not in {label for _, label, _ in lost}


def test_its_window_of_congestion_was_all_under_way():
    """A path of 300 ms and a slow start of ten segments: between the flights nothing moves."""
    slow = labels("rtt=300ms", read(100_000, 0))
    assert slow and {label for _, label, _ in slow} == {"waiting for ACKs"}
    assert labels("rtt=20ms", read(100_000, 0)) == []


def test_nagle_waited_for_an_ack_that_was_delayed():
    """Two small writes to a server that says nothing: the second waits for the ACK of the first."""

    def words(host):
        socket = yield from host.connect((yield from host.resolve("sink.lab")), 9)
        yield from socket.send(b"the first of a connection is acknowledged at once")
        yield from sleep_until(host.now + 500 * MS)
        for word in (b"a" * 100, b"b" * 100):
            yield from socket.send(word)
        yield from sleep_until(host.now + 500 * MS)
        socket.abort()

    held = labels("rtt=10ms", words, "30ms")
    # 40 ms of delayed ACK, and the way there and back; before it nobody wrote.
    assert held == [("tx", "application idle", 500.0), ("tx", "delayed ACK and Nagle", 50.0)]
    assert labels("rtt=10ms", words, "30ms", nagle=False) == held[:1]
    # On a longer path the way is longer than the delay, and it still is what was waited for.
    assert labels("rtt=100ms", words, "30ms")[1] == ("tx", "delayed ACK and Nagle", 140.0)
    # Seen from one point alone as well.
    assert labels("rtt=10ms", words, "30ms", point="nic")[1] == ("tx", "delayed ACK and Nagle", 50.0)


def busy(link, second):
    """A bulk upload fills the queue of the tunnel's way up; another connection sends a word before it and one after."""

    def task(host):
        address = yield from host.resolve("sink.lab")
        echo = yield from host.resolve("echo.lab")
        small = yield from host.connect(echo, 7)
        yield from small.send(b"before")
        yield from small.receive_exactly(6)
        if second:
            bulk = yield from host.connect(address, 9)
            yield from bulk.send(bytes(150_000))
        yield from sleep_until(host.now + (50 if second else 200) * MS)
        yield from small.send(b"after")
        yield from small.receive_exactly(5)
        small.abort()

    return labels(link, task, "150ms", initial_cwnd_segments=40)


def test_it_stood_in_the_tunnels_queue():
    link = "rtt=20ms, rate=1Mbit/s:100Mbit/s, queue=256KiB"
    queued = busy(link, True)
    assert ("tx", "tunnel queue") in {row[:2] for row in queued}
    assert {label for _, label, _ in busy(link, False)} == {"application idle"}


def test_it_stood_behind_one_that_was_missing():
    """An ordered transport holds frames back for 300 ms, and what follows them with it."""
    download = read(600_000, 0)
    link = "rtt=20ms, reorder=0%:1%, reorder_by=300ms"
    blocked = labels(link + ", ordered=yes", download, "150ms")
    assert blocked and blocked[0][:2] == ("rx", "head of line") and blocked[0][2] == pytest.approx(300, abs=25)
    # Without the order the same frames are late alone, and those behind them go on.
    assert "head of line" not in {label for _, label, _ in labels(link, download, "150ms")}


def test_every_label_has_its_test_here():
    from pathlib import Path

    text = Path(__file__).read_text()
    assert all(f'"{label}"' in text for label in analysis.stalls.__globals__["LABELS"])
