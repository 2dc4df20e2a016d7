"""Channels across a simulated hop: everything arrives once and in order whatever the link does, or not, as promised."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.limits import SECOND
from aero_lab.link import Link
from aero_lab.rings import FrameRing
from aero_lab.transports.simulated import SimulatedHop, header, read_header


@given(st.integers(0, 1 << 21), st.booleans(), st.integers(0, 14))
def test_headers_are_those_of_a_websocket(size, masked, cut):
    raw = header(size, masked)
    assert len(raw) == (2 if size < 126 else 4 if size < 65536 else 10) + 4 * masked
    assert read_header(raw) == (len(raw), size)
    if cut < len(raw) - 4 * masked:
        assert read_header(raw[:cut]) is None


class Sender:
    """Puts messages into an end as it takes them, and reads the other end slowly."""

    name = "sender"

    def __init__(self, end, other, messages, reads=3):
        self.end, self.other, self.reads = end, other, reads
        self.ring, self.got = FrameRing(1024, 4 << 20), []
        for message in messages:
            assert self.ring.push(message)

    def step(self, now):
        self.end.send(self.ring, now)
        for message in self.other.received.pop_many(self.reads):
            self.got.append(message.data)

    def poll_at(self, now):
        return now if (len(self.ring) and not self.end.stalled) or len(self.other.received) else 1 << 62


def across(link, channels, seed=1, until=60 * SECOND):
    """Messages over channels (reliable or not, up and down) of one hop; what came, and the hop."""
    scheduler = Scheduler(VirtualClock())
    hop = SimulatedHop(Link.parse(link), random.Random(seed), 0)
    senders = []
    for number, (reliable, up, down) in enumerate(channels):
        near, far = hop.open(number, reliable, 0)
        senders += [Sender(near, far, up), Sender(far, near, down)]
    scheduler.add(*senders, *hop.directions, hop)
    scheduler.run(until)
    return [sender.got for sender in senders], hop


messages = st.lists(st.binary(max_size=4000), max_size=30)


@given(messages, messages, st.sampled_from(["rtt=10ms", "rtt=30ms, loss=3%", "rtt=5ms, reorder=20%, duplicate=5%"]))
@settings(max_examples=25, deadline=None)
def test_a_reliable_channel_loses_nothing(up, down, link):
    got, hop = across(link, [(True, up, down), (True, down, up)])
    assert got == [up, down, down, up]
    sent, back, *_ = hop.wire
    assert sent >= sum(map(len, up + down)) and back >= sum(map(len, up + down)), "all of it crossed the link"


def test_a_channel_that_may_lose_does_and_holds_nobody_up():
    numbered = [number.to_bytes(4, "big") * 50 for number in range(400)]
    (up, _, stream, _), _ = across("rtt=20ms, loss=10%", [(False, numbered, []), (True, numbered, [])], seed=5)
    assert stream == numbered
    assert 300 < len(up) < 400 and up == [message for message in numbered if message in set(up)]


def test_what_does_not_fit_waits():
    """More than all buffers hold: the sender is stopped, and goes on when the other side reads."""
    large = [bytes([n]) * 300_000 for n in range(12)]
    got, _ = across("rtt=10ms", [(True, large, [])])
    assert got[0] == large


WORKLOADS = (("download", {"size": "300KB"}), ("upload", {"size": "300KB"}), ("burst", {"count": 5}))


@pytest.mark.parametrize("settings", [{}, {"mux": 1, "connect": "early"}], ids=["v2", "v1"])
def test_option_a_across_a_lossy_hop(settings, tmp_path):
    images = []
    for number in range(2):
        with al.Lab(option="A", virtual=True, link="rtt=40ms, loss=1%", seed=3, progress=False, **settings) as lab:
            guest = lab.guest()
            guest.wait_online()
            for name, parameters in (
                ("download", {"size": "300KB"}),
                ("upload", {"size": "300KB"}),
                ("burst", {"count": 5}),
            ):
                result = guest.run(name, timeout=120, **parameters)
                assert result.ok and result.digest_ok, (name, result.error)
            if name == "burst" and not settings:
                assert result.connect_ms >= 40, "the target's answer crosses the link"
            assert sum(side["lost"] for side in guest.link.values()) > 0
            images.append(lab.capture.save(tmp_path / f"{number}.pcapng").read_bytes())
            with lab.fork() as other:
                assert other.guests[0].run("download", size="50KB", timeout=60).digest_ok
    assert images[0] == images[1]


@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_simulated_websockets_carry_every_option(option, tmp_path):
    images, wires = [], []
    for number in range(2):
        with al.Lab(option=option, virtual=True, transport="websocket", link="rtt=40ms, loss=2%", seed=3) as lab:
            guest = lab.guest()
            guest.wait_online()
            for workload in ("download", "upload"):
                before = guest.wire
                result = guest.run(workload, timeout=120, size="200KB")
                assert result.ok and result.digest_ok, (workload, result.error)
                cost = guest.wire
                assert cost.bytes_out + cost.bytes_in - before.bytes_out - before.bytes_in > 200_000
            lost = [side["lost"] for side in guest.link.values()]
            assert all(lost), "TCP brought back what the link lost"
            images.append(lab.capture.save(tmp_path / f"{number}.pcapng").read_bytes())
            wires.append(guest.wire)
    assert images[0] == images[1] and wires[0] == wires[1]


def test_a_simulated_websocket_needs_no_link_and_its_fork_can_be_given_one():
    with al.Lab(virtual=True, transport="websocket") as lab:
        guest = lab.guest()
        assert guest.run("download", size="100KB", timeout=10).digest_ok
        with lab.fork(link="rtt=100ms") as other:
            result = other.guests[0].run("download", size="100KB", timeout=60)
            assert result.digest_ok and result.seconds > 0.2
        assert guest.run("ping", count=2, timeout=60).rtt_ms == 0
