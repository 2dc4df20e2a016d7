"""Associations: messages arrive whole, in order where that was promised, whatever happens to packets; what partial
reliability gives up is given up as promised; windows and timers do what the RFC says."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.limits import MS, SECOND
from aero_lab.transports.sctp import AIORTC, CONSTANTS, RFC, association
from aero_lab.transports.sctp.association import COOKIE
from aero_lab.transports.sctp.chunks import ABORT, COOKIE_ECHO, Plain
from aero_lab.transports.sctp.congestion import Congestion
from aero_lab.transports.sctp.receiver import unwrapped
from aero_lab.transports.sctp.sender import NAMES
from aero_lab.transports.sctp.streams import fragments

from .network import Net, Weather

weathers = st.builds(
    Weather,
    loss=st.sampled_from([0.0, 0.02, 0.1]),
    late=st.sampled_from([0.0, 0.3]),
    twice=st.sampled_from([0.0, 0.2]),
    damaged=st.sampled_from([0.0, 0.05]),
)
plans = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4000), st.booleans()), max_size=40
)  # stream, size, ordered
constants = st.sampled_from(list(CONSTANTS.values()))


def send(net, side, plan, tag=0, **promise):
    """A message for each entry, with its number in front."""
    out = []
    for number, (stream, size, ordered) in enumerate(plan):
        payload = (bytes((tag,)) + number.to_bytes(2, "big")) * (size // 3 + 1) if size else b""
        net.ends[side].send(stream, payload, ordered=ordered, identity=number + 1, **promise)
        out.append((stream, payload, ordered))
    return out


@given(plans, plans, weathers, constants, st.integers(0, 99), st.booleans())
@settings(max_examples=60, deadline=None)
def test_everything_arrives_once_and_in_order_where_promised(up, down, weather, habits, seed, both):
    net = Net(weather, habits, seed)
    net.ends[0].connect(0)
    if both:  # as data channels do
        net.ends[1].connect(0)
    sent = send(net, 0, up), send(net, 1, down, tag=9)
    arrived = lambda: len(net.got[1]) >= len(up) and len(net.got[0]) >= len(down)  # noqa: E731
    assert net.run(lambda: arrived() and all(end.state == "ESTABLISHED" for end in net.ends)), "it never ends"
    net.run(lambda: False, net.now + 2 * SECOND)  # and nothing comes twice
    for side, plan in ((1, sent[0]), (0, sent[1])):
        got = net.got[side]
        assert sorted(m.payload for m in got) == sorted(payload for _, payload, _ in plan)
        by_stream = defaultdict(list)
        for message in got:
            by_stream[message.stream].append(message.payload)
        ordered = {(stream, payload) for stream, payload, in_turn in plan if in_turn and payload}
        for stream, payloads in by_stream.items():
            wanted = [p for s, p, in_turn in plan if s == stream and in_turn and p]
            assert [p for p in payloads if (stream, p) in ordered] == wanted
    assert net.largest <= habits.packet
    assert all(end.inbound.held == 0 and end.state == "ESTABLISHED" for end in net.ends)


@given(plans, weathers, constants, st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_what_may_be_lost_is_whole_and_in_turn_if_it_comes(plan, weather, habits, retransmits, seed):
    net = Net(weather, habits, seed)
    net.ends[0].connect(0)
    sent = send(net, 0, plan, retransmits=retransmits)
    net.ends[0].send(9, b"the end")
    assert net.run(lambda: any(m.stream == 9 for m in net.got[1])), "what is given up holds nothing up for ever"
    net.run(lambda: False, net.now + 30 * SECOND)
    got, left = [], {number: each for number, each in enumerate(sent, 1)}
    for message, name in zip(net.got[1], net.names[1]):
        if message.stream != 9:
            assert left.pop(name)[:2] == (message.stream, message.payload), "each was sent, and comes once"
            got.append(message)
    for stream in {message.stream for message in got}:
        turns = [p for s, p, in_turn in sent if s == stream and in_turn and p]
        came = [m.payload for m in got if m.stream == stream and m.payload in turns]
        assert came == [p for p in turns if p in came]
    if not (weather.loss or weather.damaged or weather.late):
        assert not left
    assert net.ends[1].inbound.held == 0, "parts of what was given up are thrown away"
    assert net.ends[0].sender.flight == 0 and not net.ends[0].sender.named


def test_never_sent_again_means_that():
    net = Net(Weather(loss=0.1), RFC, 3)
    net.ends[0].connect(0)
    send(net, 0, [(0, 500, False)] * 500, retransmits=0)
    assert not net.run(lambda: False, 200 * SECOND)
    counts = net.ends[0].sender.counts
    assert counts["retransmissions"] == 0 and counts["abandoned"] == 500 - len(net.got[1])
    assert 420 < len(net.got[1]) < 480


def test_what_was_given_up_and_comes_late_still_has_its_name():
    net = Net(Weather(), RFC)
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    net.weather = Weather(late=1.0, by=10 * SECOND)  # longer than the timer waits
    net.ends[0].send(1, b"slow", identity=7, ordered=False, retransmits=0)
    net.flush(0)
    net.weather = Weather(loss=1.0)  # so that nobody tells the peer
    sender = net.ends[0].sender
    assert sender is not None
    assert net.run(lambda: sender.counts["abandoned"], net.now + 9 * SECOND) and not net.got[1]
    assert net.run(lambda: net.got[1], net.now + 20 * SECOND)
    assert (net.got[1][0].payload, net.names[1]) == (b"slow", [7])


def test_the_name_of_what_was_given_up_is_forgotten_when_it_cannot_come_any_more():
    net = Net(Weather(), RFC)
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    net.weather = Weather(loss=1.0)
    net.ends[0].send(1, b"lost", identity=7, retransmits=0)
    net.ends[0].send(1, bytes(5000), identity=8, retransmits=0)
    sender = net.ends[0].sender
    assert sender is not None
    assert net.run(lambda: sender.counts["abandoned"] == 2, net.now + 9 * SECOND)
    assert set(sender.named.values()) <= {7, 8} and 7 in sender.named.values()
    net.weather = Weather()
    assert net.run(lambda: not sender.named, net.now + 60 * SECOND), "the peer's cumulative TSN is beyond it"
    assert not net.got[1] and not sender._given_up


def test_names_of_what_was_given_up_are_bounded():
    net = Net(Weather(), replace(RFC, initial_cwnd=1 << 20, max_burst=1000))
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    net.weather = Weather(loss=1.0)
    sender = net.ends[0].sender
    assert sender is not None
    for number in range(1, NAMES + 101):
        net.ends[0].send(1, b"lost", identity=number, retransmits=0)
    assert net.run(lambda: sender.counts["abandoned"] == NAMES + 100, net.now + 600 * SECOND)
    assert sorted(sender.named.values()) == list(range(101, NAMES + 101)), "the oldest go"


def test_a_time_limit_ends_a_message():
    net = Net(Weather(loss=1.0), RFC)
    net.ends[0].connect(0)
    net.weather = Weather()
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED", 20 * SECOND)
    net.weather = Weather(loss=1.0)
    net.ends[0].send(1, b"late", until=net.now + 500 * MS)
    net.run(lambda: False, net.now + 3 * SECOND)
    net.weather = Weather()
    net.ends[0].send(1, b"next")
    assert net.run(lambda: net.got[1], net.now + 20 * SECOND)
    assert [m.payload for m in net.got[1]] == [b"next"]


def test_one_lost_packet_is_brought_back_without_the_timer():
    net = Net(constants=replace(RFC, initial_cwnd=1 << 20, max_burst=1000))
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    begin = net.now
    send(net, 0, [(0, 1000, True)])
    net.weather = Weather(loss=1.0)
    net.flush(0)
    net.weather = Weather()
    send(net, 0, [(0, 1000, True)] * 5)
    assert net.run(lambda: len(net.got[1]) == 6)
    assert net.now == begin + 3 * 20 * MS, "there, back, and there again"
    assert net.ends[0].sender.counts["timeouts"] == 0 and net.ends[0].sender.counts["recoveries"] == 1


def test_the_timer_backs_off_as_the_rfc_says_and_aiortcs_does_not():
    for habits, times in ((RFC, [1, 3, 7, 15]), (AIORTC, [1, 2, 3, 4])):
        net = Net(constants=replace(habits, retransmissions=0))
        net.ends[0].connect(0)
        send(net, 0, [(0, 10, True)])
        assert net.run(lambda: net.got[1])  # noqa: B023
        net.run(lambda: False, net.now + SECOND)
        net.weather, begin = Weather(loss=1.0), net.now
        send(net, 0, [(0, 10, True)])
        seen, before = [], 0
        while len(seen) < 4:
            net.run(lambda: net.ends[0].sender.counts["timeouts"] > before)  # noqa: B023
            before = net.ends[0].sender.counts["timeouts"]
            seen.append((net.now - begin) // SECOND)
        assert seen == times


def test_an_association_without_an_answer_is_lost():
    net = Net(Weather(loss=1.0))
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "LOST")
    net = Net()
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    net.weather = Weather(loss=1.0)
    send(net, 0, [(0, 10, True)])
    assert net.run(lambda: net.ends[0].state == "LOST")


@pytest.mark.parametrize("habits", CONSTANTS.values(), ids=CONSTANTS)
def test_a_receiver_that_cannot_take_more_stops_the_sender(habits):
    net = Net(constants=replace(habits, a_rwnd=20_000))
    sender, receiver = net.ends
    sender.connect(0)
    held = []
    plan = [(0, 1000, True)] * 100
    sent = send(net, 0, plan)

    def took_all():
        for message in net.got[1]:  # the owner keeps what it was given
            held.append(message.payload)
            receiver.hold(len(message.payload))
        net.got[1].clear()
        return len(held) == len(plan)

    assert not net.run(took_all, 60 * SECOND)
    assert 10_000 < sum(map(len, held)) < 30_000, "no more than the window, and the chunk that was a probe"
    while len(held) < len(plan):
        receiver.hold(-receiver.holding)
        before = len(held)
        assert net.run(lambda: took_all() or len(held) > before + 5, net.now + 600 * SECOND) or len(held) > before  # noqa: B023
    assert held == [payload for _, payload, _ in sent]
    discarded = receiver.counts["no_window"]
    assert discarded <= 20 if habits.heed_rwnd else discarded > 100, (
        "who looks at the window sends probes alone in vain"
    )


def test_slow_start_then_one_chunk_a_round_trip():
    net = Net(constants=RFC)
    sender = net.ends[0]
    sender.connect(0)
    assert net.run(lambda: sender.state == "ESTABLISHED")
    congestion = sender.sender.congestion
    assert congestion.cwnd == 4404
    congestion.ssthresh = 40_000
    windows, at = [], net.now
    send(net, 0, [(0, 1160, True)] * 3000)
    for _ in range(24):
        at += 40 * MS
        net.run(lambda: False, at)
        windows.append(congestion.cwnd)
    grown = [after - before for before, after in zip(windows, windows[1:])]
    assert windows[3] > 2 * windows[0], "slow start"
    assert set(grown[-8:]) <= {0, RFC.payload, 2 * RFC.payload} and RFC.payload in grown[-8:], "congestion avoidance"


def test_both_ends_may_begin():
    net = Net(Weather(loss=0.3), seed=5)
    for end in net.ends:
        end.connect(0)
    send(net, 0, [(0, 10, True)])
    send(net, 1, [(0, 10, True)])
    assert net.run(lambda: net.got[0] and net.got[1])


@given(st.integers(0, 1 << 40), st.integers(-(1 << 30), 1 << 30))
def test_serial_numbers_without_end(near, distance):
    number = max(0, near + distance)
    assert unwrapped(number & 0xFFFFFFFF, near) == number


@given(st.integers(1, 10_000), st.integers(1, 1200))
def test_parts_make_the_whole(size, most):
    parts = list(fragments(size, most))
    assert [begin for begin, _, _ in parts] == [0, *(end for _, end, _ in parts[:-1])] and parts[-1][1] == size
    assert all(0 < end - begin <= most for begin, end, _ in parts)
    assert [bits for *_, bits in parts] == [(2 if n == 0 else 0) | (n == len(parts) - 1) for n in range(len(parts))]


def test_data_that_overtakes_the_handshake_is_not_forgotten():
    """Both begin. The data of the one that is ready first comes before its COOKIE ECHO, its COOKIE ACK is lost."""
    net = Net()
    near, far = net.ends
    near.connect(0)
    far.connect(0)
    hello, (their_hello,) = near.packets(0), far.packets(0)
    far.take(hello[0], 0)
    near.take(their_hello, 0)
    answer, (their_answer,) = near.packets(0), far.packets(0)
    near.take(their_answer, 0)
    far.take(answer[0], 0)
    (echo,), (late_echo,) = near.packets(0), far.packets(0)
    far.send(1, b"first")
    far.take(echo, 0)
    _, data = far.packets(0)
    near.take(data, 0)
    (sack,) = near.packets(0)
    near.take(late_echo, 0)
    far.take(sack, 0)
    assert near.state == far.state == "ESTABLISHED" and far.sender.flight == 0
    far.send(1, b"second")
    assert net.run(lambda: len(net.got[0]) == 2 and far.sender.flight == 0, 20 * SECOND), "and is acknowledged"
    assert [message.payload for message in net.got[0]] == [b"first", b"second"]


def test_one_that_is_lost_stays_lost():
    net = Net()
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[1].state == "ESTABLISHED")
    echo = Plain(COOKIE_ECHO, bytes(COOKIE))
    far = net.ends[1]
    far.take(far._packet(Plain(ABORT).emit(), far._tag), net.now)
    assert far.state == "LOST"
    far.take(far._packet(echo.emit(), far._tag), net.now)
    assert far.state == "LOST" and far.counts["ignored"] == 1 and far.packets(net.now) == []


@pytest.mark.parametrize("habits, times", [(RFC, [0, 1, 3, 7]), (AIORTC, [0, 3, 6, 9])], ids=["rfc", "aiortc"])
def test_the_timer_of_the_handshake_backs_off_where_the_other_does(habits, times):
    net = Net(Weather(loss=1.0), habits)
    net.ends[0].connect(0)
    seen = []
    for number in range(1, 5):
        assert net.run(lambda: net.sent[0] == number)  # noqa: B023
        seen.append(net.now // SECOND)
    assert seen == times


def test_no_packet_is_larger_than_the_path_takes_however_many_gaps_there_are():
    net = Net(constants=replace(RFC, congestion=False, a_rwnd=4 << 20), checksum=False)
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    net.weather = Weather(loss=0.5, twice=0.5)
    sent = send(net, 0, [(0, 1100, False)] * 1500)
    net.flush(0)
    assert net.run(lambda: len(net.ends[1].receiver.blocks) > 320, net.now + SECOND), "too many for one packet"
    net.weather = Weather()
    assert net.run(lambda: len(net.got[1]) == len(sent)) and net.largest <= RFC.packet


def test_what_does_not_go_in_one_call_goes_in_the_next(monkeypatch):
    monkeypatch.setattr(association, "PACKETS_AT_ONCE", 4)
    net = Net(constants=replace(RFC, congestion=False))
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    send(net, 0, [(0, 1100, True)] * 50)
    begin = net.now
    assert net.run(lambda: len(net.got[1]) == 50)
    assert net.now == begin + 20 * MS, "none waited for an acknowledgement"


def test_a_lost_packet_comes_again_whole():
    """Section 7.2.4, step 3: as many chunks as fit one packet, whatever the window is."""
    net = Net(constants=RFC)
    net.ends[0].connect(0)
    assert net.run(lambda: net.ends[0].state == "ESTABLISHED")
    sender = net.ends[0].sender
    sender.congestion.cwnd = 20 * RFC.payload
    net.weather = Weather(loss=1.0)
    send(net, 0, [(0, 99, True)] * 9)
    net.flush(0)
    net.weather = Weather()
    for _ in range(17):
        net.now += MS
        send(net, 0, [(0, 1160, True)])
        net.flush(0)
    assert net.run(lambda: sender.counts["recoveries"])
    net.flush(0)
    assert sender.flight > sender.congestion.cwnd and sender.counts["retransmissions"] == 9
    assert net.run(lambda: len(net.got[1]) == 26) and sender.counts["timeouts"] == 0


def test_a_window_that_is_not_used_shrinks_as_the_rfc_says():
    congestion = Congestion(RFC, 1 << 20)
    congestion.cwnd, congestion.ssthresh, congestion.partial = 40_000, 10_000, 5000
    congestion.settled()
    assert congestion.partial == 0, "section 7.2.2: everything was acknowledged"
    congestion.idle(2)
    assert (congestion.cwnd, congestion.ssthresh) == (10_000, 40_000), "section 7.2.1"
    congestion.idle(5)
    assert congestion.cwnd == 4 * RFC.payload
