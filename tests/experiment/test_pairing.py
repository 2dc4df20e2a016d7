"""Frames of two recorders, paired: by order where that tells, else by what is in them."""

from __future__ import annotations

import random

from aero_lab.bounds import LOST_AFTER
from aero_lab.capture import Recorder
from aero_lab.capture.schema import ETHERNET, RAW_IP
from aero_lab.experiment.pairing import packet_of, pair, pair_by_content
from aero_lab.services.content import content_bytes

HEAD = bytes.fromhex("020000000001 525400000001")


def packet(number, size=60):
    """An IPv4 packet, as far as anybody here looks."""
    return b"\x45\0" + size.to_bytes(2, "big") + number.to_bytes(4, "big") + content_bytes(size)[: size - 8]


def frame(body, padding=0):
    return HEAD + b"\x08\0" + body + bytes(padding)


class Bench:
    """Both recorders, and what they saw."""

    def __init__(self):
        self.near, self.far = Recorder(points=("nic",)), Recorder(points=("tunnel",))

    def nic(self, data, direction, now):
        assert self.near.add(data, "nic", direction, now)

    def tunnel(self, data, direction, now):
        assert self.far.add_message(b"\xa2\x03\0\0" + data, direction, now)

    def pair(self, **how):
        parts = self.near.capture(), self.far.capture()
        self.sound = pair(*parts, **how)
        found = []
        for part in parts:
            rows = part.descriptors()
            found.append([int(row["frame_id"]) for row in rows if row["frame_len"]])
        return found


def test_order_is_enough_where_all_arrives():
    bench = Bench()
    for number in range(9):
        bench.nic(frame(packet(number, 60 + number)), "tx", number)
        bench.tunnel(frame(packet(number, 60 + number)), "tx", number + 5)
    near, far = bench.pair()
    assert bench.sound and near == far and len(set(near)) == 9


def test_any_order_and_losses_both_ways():
    bench, chosen = Bench(), random.Random(1)
    bodies = [packet(number, 60 + number % 3) for number in range(200)]
    arrive = {"tx": chosen.sample(range(200), 190), "rx": chosen.sample(range(200), 150)}
    for number, body in enumerate(bodies):
        bench.nic(frame(body), "tx", number)
        bench.tunnel(frame(body[::-1]), "rx", number)
    for at, number in enumerate(arrive["tx"]):
        bench.tunnel(frame(bodies[number]), "tx", 1000 + at)
    for at, number in enumerate(arrive["rx"]):
        bench.nic(frame(bodies[number][::-1]), "rx", 1000 + at)
    near, far = bench.pair(ordered=False)
    assert [near.index(each) for each in far[200:]] == arrive["tx"]
    assert [far.index(each) for each in near[200:]] == arrive["rx"]
    assert not bench.sound, "some never came"
    assert len(set(near)) == len(near) and len(set(far)) == len(far)


def test_packets_are_the_same_with_and_without_a_link_layer():
    four, six = packet(7, 40), b"\x60\0\0\0\0\x14" + bytes(54)
    for body, kind in ((four, b"\x08\0"), (six, b"\x86\xdd")):
        assert packet_of(HEAD + kind + body + bytes(6), ETHERNET) == body == packet_of(body, RAW_IP)
    arp = HEAD + b"\x08\x06" + bytes(46)
    assert packet_of(arp, ETHERNET) == arp
    assert packet_of(b"", ETHERNET) == b"" == packet_of(b"", RAW_IP)


def test_what_the_guests_link_layer_answers_is_nobodys_partner():
    """As in option B: the NIC sees ARP and its answer, the tunnel neither."""
    bench = Bench()
    bench.nic(HEAD + b"\x08\x06" + bytes(28), "tx", 0)
    bench.nic(HEAD + b"\x08\x06" + bytes(29), "rx", 1)
    bench.nic(frame(packet(1), 4), "tx", 2)
    bench.tunnel(frame(packet(1)), "tx", 3)
    bench.tunnel(frame(packet(2)), "rx", 4)
    bench.nic(frame(packet(2), 9), "rx", 5)
    near, far = bench.pair()
    assert bench.sound and near[2:] == far and len(set(near)) == 4


def test_equal_frames_are_taken_in_their_order_and_copies_are_copies():
    bench = Bench()
    for at in (0, 10, 20):
        bench.nic(frame(packet(1)), "tx", at)
    for at in (5, 15, 25, 26):
        bench.tunnel(frame(packet(1)), "tx", at)
    near, far = bench.pair(ordered=False)
    assert near == far[:3] and far[3] == far[2], "the fourth is a copy of the one before"


def test_nothing_arrives_before_it_was_sent():
    bench = Bench()
    bench.tunnel(frame(packet(1)), "tx", 5)
    bench.nic(frame(packet(1)), "tx", 10)
    near, far = bench.pair(ordered=False)
    assert not set(near) & set(far) and not bench.sound


def test_a_lost_one_gives_way_to_an_equal_one_where_messages_are_lost():
    for lossless in (True, False):
        bench = Bench()
        bench.nic(frame(packet(1)), "tx", 0)
        bench.nic(frame(packet(1)), "tx", LOST_AFTER)
        bench.tunnel(frame(packet(1)), "tx", LOST_AFTER + 9)
        near, far = bench.pair(ordered=False, lossless=lossless)
        assert far == [near[0 if lossless else 1]]


def test_empty_captures():
    near, far = Recorder(points=("nic",)).capture(), Recorder(points=("tunnel",)).capture()
    assert pair(near, far) and pair_by_content(near, far)
