"""Messages known again by their bytes: any order, some lost, some equal; and no more memory than its bound."""

from __future__ import annotations

import random

import pytest

from aero_lab.bounds import LOST_AFTER, RTC_UNDER_WAY
from aero_lab.transports.sightings import Unordered


def test_messages_are_known_in_any_order():
    near, far = Unordered.pair()
    messages = [(bytes([number % 251]) * (number % 40), number + 1) for number in range(500)]
    for at, (message, identity) in enumerate(messages):
        near.sent(message, identity, at)
    shuffled = random.Random(1).sample(messages, len(messages))
    got = [(message, far.came(message, 1000)) for message, _ in shuffled]
    assert sorted(got) == sorted(messages), "each once, whichever of equal ones"
    for message in {message for message, _ in messages}:
        mine = [identity for each, identity in messages if each == message]
        assert [identity for each, identity in got if each == message] == mine, "equal ones first come, first served"
    assert far.came(b"nobody sent this", 1001) == 0 == near.came(messages[0][0], 1001)


def test_both_directions_are_apart():
    near, far = Unordered.pair()
    near.sent(b"same", 1, 0)
    far.sent(b"same", 2, 0)
    assert (near.came(b"same", 1), far.came(b"same", 1), far.came(b"same", 1)) == (2, 1, 0)


@pytest.mark.parametrize(("lossless", "identity"), [(True, 1), (False, 2)])
def test_what_is_long_under_way_is_lost_if_an_equal_one_came_after_it(lossless, identity):
    near, far = Unordered.pair(lossless)
    near.sent(b"ack", 1, 0)
    near.sent(b"ack", 2, LOST_AFTER)
    near.sent(b"alone", 3, 0)
    assert far.came(b"ack", LOST_AFTER + 1) == identity
    assert far.came(b"alone", 9 * LOST_AFTER) == 3, "late, but there is no other"


def test_what_is_lost_is_not_remembered_for_ever():
    near, far = Unordered.pair(False)
    for number in range(RTC_UNDER_WAY + 500):
        near.sent(number.to_bytes(4, "big"), number + 1, number)
    assert len(near.going.under_way) == len(near.going.by_key) == RTC_UNDER_WAY
    assert far.came((499).to_bytes(4, "big"), 0) == 0
    assert far.came((500).to_bytes(4, "big"), 0) == 501
