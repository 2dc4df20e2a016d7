"""Data channels across a simulated hop: what each promises, whatever the link does; what they cost, to the byte."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.errors import UsageError
from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.transports.sctp import CONSTANTS
from aero_lab.transports.simulated_rtc import FLIGHTS, SimulatedRtcHop

from .test_simulated import WORKLOADS, Sender, messages

LINKS = ["rtt=10ms", "rtt=30ms, loss=3%", "rtt=5ms, reorder=20%, duplicate=5%", "rtt=20ms, corrupt=5%"]


def across(link, channels, seed=1, until=60 * SECOND, constants="aiortc"):
    """Messages over channels (ordered, retransmits, up, down) of one hop; what came, and the hop."""
    scheduler = Scheduler(VirtualClock())
    hop = SimulatedRtcHop(Link.parse(link), random.Random(seed), 0, CONSTANTS[constants])
    senders = []
    for ordered, retransmits, up, down in channels:
        near, far = hop.open("channel", "", ordered, retransmits)
        senders += [Sender(near, far, up), Sender(far, near, down)]
    scheduler.add(*senders, *hop.directions, hop)
    scheduler.run(until)
    return [sender.got for sender in senders], hop


@given(messages, messages, st.sampled_from(LINKS), st.sampled_from(list(CONSTANTS)))
@settings(max_examples=30, deadline=None)
def test_what_must_not_be_lost_is_not(up, down, link, constants):
    got, hop = across(link, [(True, None, up, down), (False, None, down, up)], constants=constants)
    assert got[:2] == [up, down], "in order"
    assert list(map(sorted, got[2:])) == [sorted(down), sorted(up)], "in any order"
    cost = hop.wire
    assert min(cost.bytes_out, cost.bytes_in) >= sum(map(len, up + down)), "all of it crossed the link"


def test_a_channel_that_may_lose_does_and_holds_nobody_up():
    numbered = [number.to_bytes(4, "big") * 50 for number in range(400)]
    (up, _, stream, _), _ = across("rtt=20ms, loss=10%", [(False, 0, numbered, []), (True, None, numbered, [])], seed=5)
    assert stream == numbered
    assert 300 < len(up) < 400 and up == [message for message in numbered if message in set(up)]


def test_what_does_not_fit_waits():
    """More than all buffers hold: the sender is stopped, and goes on when the other side reads."""
    large = [bytes([n]) * 300_000 for n in range(12)]
    got, _ = across("rtt=10ms", [(True, None, large, [])])
    assert got[0] == large


def test_damaged_datagrams_are_thrown_away_and_counted():
    numbered = [number.to_bytes(4, "big") * 50 for number in range(200)]
    got, hop = across("rtt=10ms, corrupt=10%", [(True, None, numbered, [])])
    assert got[0] == numbered
    assert hop.far.counts["corrupt"] > 10 and not hop.far.association.counts["malformed"]


@pytest.mark.parametrize("loss", ["0%", "30%"])
def test_the_handshake_takes_its_time_and_its_bytes(loss):
    hop_of = lambda until: across(f"rtt=100ms, loss={loss}", [(True, None, [b"x"], [])], seed=2, until=until)[1]  # noqa: E731
    if loss == "0%":
        assert hop_of(449 * MS).near.association.state != "ESTABLISHED"
        hop = hop_of(500 * MS)
        # Three and a half exchanges of ICE and DTLS; then INIT goes at once after the last flight.
        handshake = sum(size + 28 for near, sizes in FLIGHTS if near for size in sizes)
        init, echo = 12 + 32 + 37 + 28, 12 + 28 + 37 + 28
        assert hop.near.association.state == "ESTABLISHED"
        assert hop.wire.bytes_out >= handshake + init + echo
    else:
        hop = hop_of(60 * SECOND)
    assert hop.near.association.state == hop.far.association.state == "ESTABLISHED"


def test_peers_ask_whether_the_other_is_willing_and_give_up_when_it_is_not():
    _, hop = across("rtt=10ms", [(True, None, [b"x"], [])], until=SECOND)
    _, later = across("rtt=10ms", [(True, None, [b"x"], [])], until=61 * SECOND)
    asked = later.wire.segments_out - hop.wire.segments_out
    assert 18 <= asked <= 30, "a request and a response each five seconds or so"
    assert not later.near.lost
    scheduler = Scheduler(VirtualClock())
    scheduler.add(*later.directions, later)
    scheduler.clock.advance_to(61 * SECOND)
    for direction in later.directions:
        direction.change(Link(loss=1).stages(0))
    scheduler.run(120 * SECOND)
    assert later.near.lost and later.far.lost


def test_questions_keep_step_with_nothing():
    """RFC 7675 section 5.1: four to six seconds lie between two of them, and not the same ones each time. Else each
    may meet the outages of a path that is down for a tenth of a second in each second, and the peer seem gone."""
    for seed in range(3):
        hop = SimulatedRtcHop(Link(rtt="10ms"), random.Random(seed), 0)
        scheduler = Scheduler(VirtualClock())
        scheduler.add(*hop.directions, hop)
        due = set()
        for until in range(SECOND, 70 * SECOND, SECOND):
            scheduler.run(until)
            due.add(hop.near._consent_at)
        asked = sorted(due)
        between = [after - before for before, after in zip(asked, asked[1:])]
        assert all(4 * SECOND <= each <= 6 * SECOND for each in between)
        assert len(between) > 9 and len(set(between)) > 6 and not hop.near.lost


CELLS = [(option, "webrtc") for option in "ABC"] + [("B", "webrtc-unordered"), ("C", "webrtc-lossy")]


@pytest.mark.parametrize("option, transport", CELLS)
def test_simulated_data_channels_carry_the_options(option, transport, tmp_path):
    images, wires = [], []
    for number in range(2):
        with al.Lab(
            option=option, virtual=True, transport=transport, link="rtt=40ms, loss=2%", seed=3, progress=False
        ) as lab:
            guest = lab.guest()
            guest.wait_online()
            for name, parameters in WORKLOADS:
                before = guest.wire
                result = guest.run(name, timeout=120, **parameters)
                assert result.ok and result.digest_ok, (name, result.error)
                cost = guest.wire
                assert cost.bytes_out + cost.bytes_in - before.bytes_out - before.bytes_in > result.bytes
            assert all(side["lost"] for side in guest.link.values())
            images.append(lab.capture.save(tmp_path / f"{number}.pcapng").read_bytes())
            wires.append(guest.wire)
            with lab.fork(link="rtt=10ms") as other:
                assert other.guests[0].run("download", size="50KB", timeout=60).digest_ok
    assert images[0] == images[1] and wires[0] == wires[1]


@pytest.mark.parametrize("seed", [3, 9, 18])
def test_a_lookup_survives_the_loss_of_its_packet(seed):
    """A channel that has not measured its round trip sends again after three seconds: the relay must wait for it."""
    link = Link(rtt="40ms", loss=0.1)
    with al.Lab(virtual=True, option="A", transport="webrtc", link=link, seed=seed, progress=False) as lab:
        result = lab.guest().run("dns", count=2, timeout=60)
        assert result.ok, result.error
        assert lab.now > 3 * SECOND, "nothing was lost: another seed shows what this test is about"


def test_frames_are_known_again_at_the_other_end_in_any_order():
    with al.Lab(
        virtual=True, transport="webrtc-unordered", link="rtt=40ms, loss=2%, jitter=5ms", progress=False
    ) as lab:
        guest = lab.guest()
        assert guest.run("download", size="200KB", timeout=60).digest_ok
        delay = lab.capture.frames()["tunnel_delay"].dropna()
        assert len(delay) > 200 and 15 * MS <= delay.min() < 40 * MS


WRONG = [
    ({"speed": 1}, "'speed'"),
    ({"sctp": "mine"}, "sctp must be one of aiortc, rfc"),
    ({"congestion": "cubic"}, "congestion must be sctp or none"),
    ({"buffer": 10}, "buffer must be 4 KiB to 64 MiB"),
]


@pytest.mark.parametrize("settings, message", WRONG)
def test_wrong_settings_name_themselves(settings, message):
    with pytest.raises(UsageError, match=message):
        al.Lab(virtual=True, transport="webrtc", transport_settings=settings)
