"""Option C over a memory transport: each frame arrives once, in order, recorded once; full rings lose nothing."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.framing.l2_tunnel import decode, encode_error, encode_ping, encode_pong
from aero_lab.limits import PONG_QUEUE, RING_SLOTS
from aero_lab.paths import Path, get_path, options
from aero_lab.paths.base import Far, Near, Wire
from aero_lab.paths.l2_tunnel import L2Port, frame_limits
from aero_lab.rings import FrameRing
from aero_lab.transports.memory import memory_pair


class FakeLan:
    """Stands where the LAN stands: counts its turns, leaves its rings to the test."""

    def __init__(self):
        self.rx, self.tx = FrameRing(64, 1 << 16), FrameRing(64, 1 << 16)
        self.steps = 0

    def step(self, now):
        self.steps += 1

    def poll_at(self, now):
        return 1 << 61


class Recorder:
    """Keeps what the path says passed, as plain Python."""

    def __init__(self):
        self.seen = []

    def tap(self, ring, count, point, direction, now, skip=0, *, link=0):
        waiting = peek(ring)
        assert 0 < count and skip + count <= len(waiting)
        self.seen += [(point, direction, data) for data in waiting[skip : skip + count]]


def peek(ring):
    """Contents of the waiting frames, left where they are."""
    copy = FrameRing(ring.slots, ring.arena)
    copy.array[:] = ring.array
    return [frame.data for frame in copy.pop_many(1 << 20)]


def make(slots=64, arena=1 << 16, ring_slots=64):
    nic = Wire(FrameRing(ring_slots, 1 << 16), FrameRing(ring_slots, 1 << 16))
    near, far = memory_pair(slots, arena)
    lan, recorder = FakeLan(), Recorder()
    path = get_path("C")
    network = SimpleNamespace(lan=lambda medium: lan)
    client = path.client(Near(nic, {"l2": near}, recorder=recorder))
    return nic, client, path.server(Far({"l2": far}, network, recorder)), lan, recorder  # type: ignore[arg-type]


def settle(*nodes):
    for _ in range(1000):
        due = [node for node in nodes if node.poll_at(0) <= 0]
        if not due:
            return
        for node in due:
            node.step(0)
    raise AssertionError("work does not end")


def contents(ring):
    return [frame.data for frame in ring.pop_many(1 << 20)]


def test_options_are_registered_under_their_letter():
    assert {"C"} <= set(options())
    assert isinstance(get_path("c"), Path)
    with pytest.raises(UsageError, match="option 'Z' does not exist; there is .*C"):
        get_path("Z")


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=1514)), max_size=120),
    st.sampled_from([2, 8, 64]),
    st.sampled_from([2, 16, 64]),
    st.integers(0, 1 << 30),
)
def test_every_frame_arrives_once_in_order_however_small_the_rings(frames, slots, ring_slots, seed):
    nic, client, server, lan, recorder = make(slots, 1 << 13, ring_slots)
    rng = random.Random(seed)
    up, down = [f for is_up, f in frames if is_up], [f for is_up, f in frames if not is_up]
    to_send = {"up": list(up), "down": list(down)}
    got = {"up": [], "down": []}
    for _ in range(20_000):
        for name, ring in (("up", nic.out), ("down", lan.tx)):
            while to_send[name] and rng.random() < 0.8 and ring.push(to_send[name][0]):
                to_send[name].pop(0)
        for node in (client, server):
            if node.poll_at(0) <= 0:
                node.step(0)
        got["up"] += [f.data for f in lan.rx.pop_many(rng.randrange(4))]
        got["down"] += [f.data for f in nic.into.pop_many(rng.randrange(4))]
        if (len(got["up"]), len(got["down"])) == (len(up), len(down)):
            break
    assert got == {"up": up, "down": down}
    of = {key: [] for key in (("nic", "tx"), ("nic", "rx"), ("tunnel", "tx"), ("tunnel", "rx"))}
    for point, direction, data in recorder.seen:
        of[point, direction].append(data)
    assert of["nic", "tx"] == up and of["nic", "rx"] == down
    assert [decode(m).payload for m in of["tunnel", "tx"]] == up
    assert [decode(m).payload for m in of["tunnel", "rx"]] == down


def test_identity_and_cause_travel_with_the_frame():
    nic, client, server, lan, _ = make()
    nic.out.push(b"x" * 60, t_ns=5, frame_id=77, flow=3, cause=4)
    settle(client, server)
    frame = lan.rx.pop()
    assert (frame.t_ns, frame.frame_id, frame.flow, frame.cause) == (5, 77, 3, 4)


def test_a_full_transport_keeps_frames_and_asks_for_no_turn():
    nic, client, server, lan, _ = make(slots=2)
    for i in range(60):
        assert nic.out.push(bytes([i]) * 60)
    for _ in range(8):
        client.step(0)
    assert client.poll_at(0) > 0, "nobody takes, so there is no work"
    settle(client, server)
    got = contents(lan.rx)
    assert got == [bytes([i]) * 60 for i in range(60)]


def test_a_full_local_ring_stops_only_its_own_direction():
    nic, client, server, lan, _ = make(ring_slots=2)
    for i in range(8):
        lan.tx.push(bytes([i]) * 60)
    settle(client, server)
    assert len(nic.into) == 2
    nic.out.push(b"up" * 30)
    settle(client, server)
    assert contents(lan.rx) == [b"up" * 30]
    got = []
    for _ in range(8):
        got += contents(nic.into)
        settle(client, server)
    assert got == [bytes([i]) * 60 for i in range(8)]


def port_and_peer():
    near, far = memory_pair(256, 1 << 18)
    return L2Port("port", FrameRing(8, 4096), FrameRing(8, 4096), near, "tx"), far


def send(far, *messages):
    ring = FrameRing(256, 1 << 18)
    for message in messages:
        assert ring.push(message)
    far.send(ring, 0)


def test_ping_is_answered_byte_for_byte_and_its_own_ping_is_timed():
    port, far = port_and_peer()
    send(far, encode_ping(b"hello"))
    port.step(0)
    assert contents(far.received) == [encode_pong(b"hello")]
    port.ping(1000)
    assert port.poll_at(1000) <= 1000
    port.step(1000)
    (ping,) = contents(far.received)
    send(far, encode_pong(decode(ping).payload), encode_pong(b"never asked"))
    port.step(5000)
    assert port.rtt == 4000 and port.counters["unexpected_pong"] == 1


def test_every_ping_of_a_burst_is_answered_in_order():
    port, far = port_and_peer()
    send(far, *[encode_ping(bytes([i])) for i in range(200)])
    port.step(0)
    assert contents(far.received) == [encode_pong(bytes([i])) for i in range(200)]


def test_a_flood_of_pings_whose_answers_nobody_reads_is_bounded_and_counted():
    port, far = port_and_peer()
    held = far.received.slots + RING_SLOTS + PONG_QUEUE
    flood = 4 * held
    for i in range(flood):
        send(far, encode_ping(i.to_bytes(4, "big")))
        port.step(0)
    assert port.counters["reply_queue_full"] == flood - held
    answers = contents(far.received)
    assert len(answers) == far.received.slots and answers[0] == encode_pong(bytes(4))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "too_short"),
        (b"\xa2\x03\x00", "too_short"),
        (b"\x00\x03\x00\x00", "invalid_magic"),
        (b"\xa2\x02\x00\x00", "unsupported_version"),
        (b"\xa2\x03\x00\x00" + bytes(2049), "payload_too_large"),
        (b"\xa2\x03\x01\x00" + bytes(257), "payload_too_large"),
        (b"\xa2\x03\x55\x00" + bytes(257), "payload_too_large"),
    ],
)
def test_malformed_messages_are_counted_and_the_tunnel_goes_on(raw, reason):
    port, far = port_and_peer()
    send(far, raw, b"\xa2\x03\x00\x00" + b"f" * 60)
    port.step(0)
    assert port.counters[reason] == 1
    assert contents(port.into) == [b"f" * 60]
    (error,) = contents(far.received)
    assert decode(error).error[0] == 1


def test_errors_and_unknown_types_are_kept_apart():
    port, far = port_and_peer()
    send(far, encode_error("enough", 6), b"\xa2\x03\x42\x00")
    port.step(0)
    assert port.peer_error == (6, "enough")
    assert port.counters["errors_received"] == 1 and port.counters["unknown_type"] == 1
    assert contents(far.received) == []


@given(st.lists(st.binary(max_size=64), max_size=40))
def test_random_messages_never_raise(messages):
    port, far = port_and_peer()
    send(far, *messages)
    for _ in range(4):
        port.step(0)
        contents(far.received)
    assert port.poll_at(0) > 0 or len(port.into)


def test_limits_grow_with_the_mtu():
    assert frame_limits(1500).frame == 2048
    assert frame_limits(9000).frame == 9018
