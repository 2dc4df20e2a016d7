"""Channels across a simulated hop: everything arrives once and in order whatever the link does, or not, as promised."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.errors import UsageError
from aero_lab.limits import SECOND
from aero_lab.link import Link
from aero_lab.rings import FrameRing
from aero_lab.transports.simulated import Carrier, SimulatedHop
from aero_lab.transports.simulated_stream import shake


class Sender:
    """Puts messages into an end as it takes them, and reads the other end slowly."""

    name = "sender"

    def __init__(self, end, other, messages, reads=3):
        self.end, self.other, self.reads = end, other, reads
        self.ring, self.got = FrameRing(1024, 16 << 20 if sum(map(len, messages)) > 3 << 20 else 4 << 20), []
        for message in messages:
            assert self.ring.push(message)

    def step(self, now):
        self.end.send(self.ring, now)
        for message in self.other.received.pop_many(self.reads):
            self.got.append(message.data)

    def poll_at(self, now):
        return now if (len(self.ring) and not self.end.stalled) or len(self.other.received) else 1 << 62


def across(link, channels, seed=1, until=60 * SECOND, carrier=Carrier()):  # noqa: B008
    """Messages over channels (reliable or not, up and down) of one hop; what came, and the hop."""
    scheduler = Scheduler(VirtualClock())
    hop = SimulatedHop(Link.parse(link), random.Random(seed), 0, carrier=carrier)
    senders = []
    for number, (reliable, up, down) in enumerate(channels):
        near, far = hop.open(number, reliable, 0)
        senders += [Sender(near, far, up), Sender(far, near, down)]
    scheduler.add(*senders, *hop.directions, hop)
    scheduler.run(until)
    return [sender.got for sender in senders], hop


messages = st.lists(st.binary(max_size=4000), max_size=30)


LINKS = ["rtt=10ms", "rtt=30ms, loss=3%", "rtt=5ms, reorder=20%, duplicate=5%", "rtt=10ms, corrupt=3%"]
CARRIERS = [Carrier(), Carrier(tls=True, handshake=shake(True), ahead=None), Carrier(handshake=shake(False))]


@given(messages, messages, st.sampled_from(LINKS), st.sampled_from(CARRIERS))
@settings(max_examples=30, deadline=None)
def test_a_reliable_channel_loses_nothing(up, down, link, carrier):
    got, hop = across(link, [(True, up, down), (True, down, up)], carrier=carrier)
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
    large = [bytes([n]) * 300_000 for n in range(40)]
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


def first_at(carrier, rtt="100ms"):
    """When the first message arrives over a link of 100 ms, in ms."""
    for until in range(0, 1000, 10):
        (got, *_), _ = across(f"rtt={rtt}", [(True, [b"x"], [])], until=until * SECOND // 1000 + 1, carrier=carrier)
        if got:
            return until
    return None


def test_handshakes_take_their_round_trips_and_bytes():
    plain, http, tls = (Carrier(tls=tls, handshake=flights) for tls, flights in (
        (False, ()), (False, shake(False)), (True, shake(True)),
    ))  # fmt: skip
    assert [first_at(each) for each in (plain, http, tls)] == [150, 250, 350]
    costs = [
        across("rtt=100ms", [(True, [b"x"], [])], until=SECOND, carrier=each)[1].wire for each in (plain, http, tls)
    ]
    assert costs[1].bytes_out - costs[0].bytes_out >= 363 and costs[1].bytes_in - costs[0].bytes_in >= 461
    assert costs[2].bytes_out - costs[1].bytes_out >= 517 + 80 and costs[2].bytes_in - costs[1].bytes_in >= 2500 + 510


def test_no_more_is_written_ahead_than_was_said():
    """What is written ahead waits in the connection, and so does what is sent after it."""
    bulk = [bytes(2000)] * 1000
    waits = []
    for carrier in (Carrier(ahead=32 << 10), Carrier(ahead=512 << 10), Carrier(ahead=None)):
        _, hop = across("rtt=50ms, rate=1Mbit/s, queue=32KiB", [(True, bulk, [])], until=4 * SECOND, carrier=carrier)
        waits.append(hop.near.ends[4430].conn.unacked)
    assert waits[0] <= 32 << 10 and waits[1] > 500_000 and 80_000 < waits[2] < 512 << 10


WRONG = [
    ({"speed": 1}, "'speed'; it has congestion, tls, buffer"),
    ({"congestion": "bbr"}, "congestion must be one of cubic, reno, newreno, none"),
    ({"tls": "perhaps"}, "tls is yes or no"),
    ({"buffer": "1KiB"}, "buffer must be 4 KiB to 64 MiB"),
]


@pytest.mark.parametrize("settings, message", WRONG)
def test_wrong_settings_name_themselves(settings, message):
    with pytest.raises(UsageError, match=message):
        al.Lab(virtual=True, transport="websocket", transport_settings=settings)


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
def test_a_proxy_elsewhere_is_not_in_virtual_time(transport):
    with pytest.raises(UsageError, match="lives in real time"):
        al.Lab(virtual=True, transport=transport, proxy_url="http://127.0.0.1:1/l2")


def test_settings_make_a_difference():
    def run(**settings):
        with al.Lab(virtual=True, transport="websocket", link="rtt=60ms, loss=1%", progress=False,
                    transport_settings=settings) as lab:  # fmt: skip
            result = lab.guest().run("download", size="300KB", timeout=120)
            assert result.digest_ok
            return result.seconds, lab.guests[0].wire.bytes_in

    usual = run()
    assert run(tls="no")[1] < usual[1]
    assert run(congestion="none")[0] < usual[0]
    assert run(congestion="reno") != usual and run(buffer="8KiB")[0] > usual[0]
