"""Streams over a mux, both ends of it over memory: every byte once, in order; nobody waits for somebody else."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.bounds import MUX_BUFFER, MUX_PAUSE, MUX_STREAM_BUFFER
from aero_lab.causes import Cause
from aero_lab.framing import tcp_mux as mux
from aero_lab.framing.tcp_mux import FIRST_CREDIT, ErrorCode
from aero_lab.lan import LanConfig
from aero_lab.lan.policy import Policy
from aero_lab.limits import MS, NEVER, SECOND
from aero_lab.paths.mux_port import MuxPort
from aero_lab.paths.relay import Relay
from aero_lab.rings import FrameRing
from aero_lab.transports.memory import memory_pair


class Sockets:
    """An egress whose far sides read at a rate of the test's, in bytes a millisecond, and echo if they are told to."""

    def __init__(self, sink):
        self.sink, self.now, self.counters = sink, 0, {}
        self.rates, self.got, self.ended, self.killed, self.left, self.blocked = {}, {}, set(), set(), {}, set()
        self.answers, self.opening, self.credited = {}, [], set()

    def rate(self, port):
        return {1: 1, 2: 64 << 10, 3: 0, 4: 8 << 20}[port]

    def open_tcp(self, flow, address, port, now):
        if port == 9:
            self.opening.append((flow, "refused"))
            return
        self.rates[flow], self.got[flow], self.left[flow] = self.rate(port), bytearray(), 0
        self.opening.append((flow, None))

    def send(self, flow, parts, now):
        offered = sum(map(len, parts))
        taken = min(self.left.get(flow, 0), offered)
        self.got[flow] += b"".join(map(bytes, parts))[:taken]
        self.left[flow] -= taken
        if taken < offered:
            self.blocked.add(flow)
        return taken

    def shutdown(self, flow, now):
        self.ended.add(flow)

    def reset(self, flow, now):
        self.killed.add(flow)

    def close(self, flow, now):
        self.ended.add(flow)

    def credit(self, flow, now):
        self.credited.add(flow)

    def step(self, now):
        for flow, why in self.opening:
            (self.sink.failed(flow, why, now) if why else self.sink.opened(flow, now))
        self.opening.clear()
        passed, self.now = (now - self.now) // MS, now
        for flow, rate in self.rates.items():
            self.left[flow] = min(self.left[flow] + rate * passed, max(rate, 1))
        for flow in sorted(self.blocked):
            if self.left[flow]:
                self.blocked.discard(flow)
                self.sink.drained(flow, now)
        for flow, waiting in self.answers.items():
            while waiting and (room := self.sink.room(flow)):
                part, waiting[:] = bytes(waiting[:room]), waiting[room:]
                self.sink.data(flow, memoryview(part), now)

    def poll_at(self, now):
        return NEVER


class Uploader:
    """The client's streams: what is to be sent on each, and what came."""

    def __init__(self, end, version):
        self.port = MuxPort(self, end, "tx", version)
        self.todo, self.got, self.errors, self.over, self.open = {}, {}, {}, set(), set()

    def start(self, number, port, data=b"", host="192.0.2.7"):
        self.todo[number] = memoryview(data)
        self.got[number] = bytearray()
        self.port.say(mux.encode_open(number, host, port))
        self.port.add(number, number)

    def push(self, now):
        for number, left in self.todo.items():
            stream = self.port.streams.get(number)
            if stream is not None and len(left) and not (stream.in_line or stream.wants_credit):
                self.writable(stream, now)

    def writable(self, stream, now):
        left = self.todo[stream.context]
        self.todo[stream.context] = left[self.port.send(stream, (left,), now) :]

    def room(self, stream):
        return 1 << 20

    def data(self, stream, view, now):
        self.got[stream.context] += view
        return len(view)

    def finished(self, stream, now):
        self.over.add(stream.context)

    def aborted(self, stream, now):
        self.errors[stream.context] = (0, "reset")

    def refused(self, stream, code, text, now):
        self.errors[stream.context] = (code, text)
        self.port.drop(stream)

    def credited(self, stream, now):
        self.open.add(stream.context)

    def strange(self, number, kind, now): ...
    def misused(self, stream, what, now): ...
    def opens(self, number, wanted, now): ...


def bench(version=2, **limits):
    near, far = memory_pair()
    made = []

    def make_egress(sink):
        made.append(Sockets(sink))
        return made[0]

    config = LanConfig(policy=Policy(allow_private=True))
    network = SimpleNamespace(
        config=config, clock=SimpleNamespace(now=lambda: 0), source=lambda now: None, make_egress=make_egress
    )
    relay = Relay(network)  # type: ignore[arg-type]
    server = relay.add_mux(far, version)
    return Uploader(near, version), server, relay, made[0]


def run(client, relay, until, steps=20_000, now=0, raw=None):
    """Millisecond by millisecond, until a condition holds; returns the time."""
    for _ in range(steps):
        client.push(now)
        for _ in range(8):
            client.port.receive(now)
            client.port.flush(now)
            relay.step(now)
        if until(now):
            return now
        now += MS
    raise AssertionError("it never came about")


def contents(number, size):
    return bytes((number + i) & 0xFF for i in range(256)) * (size // 256)


def upload(slow):
    client, server, relay, sockets = bench()
    if slow:
        client.start(99, 1, bytes(8 << 20))
    for number in range(1, 21):
        client.start(number, 2, contents(number, 2 << 20))
    most = 0

    def done(now):
        nonlocal most
        most = max(most, server.port.buffered)
        return all(not len(client.todo[n]) for n in range(1, 21)) and sum(map(len, sockets.got.values())) >= 40 << 20

    took = run(client, relay, done)
    assert not client.errors and not sockets.killed
    fast = [bytes(got) for flow, got in sockets.got.items() if sockets.rates[flow] > 1]
    assert fast == [contents(number, 2 << 20) for number in range(1, 21)]
    return took, most, client, server


def test_a_sink_that_reads_a_kilobyte_a_second_costs_twenty_fast_streams_nothing():
    """The judged case, in milliseconds of a clock that stands still while work is done."""
    alone, _, _, _ = upload(False)
    beside, most, client, server = upload(True)
    assert beside <= alone * 1.1, "the fast ones keep nine tenths of their rate"
    slow = server.port.streams[99]
    assert slow.buffered <= slow.window <= MUX_STREAM_BUFFER and most <= MUX_BUFFER
    assert 99 in client.port.streams and len(client.todo[99]) > 7 << 20, "it waits, and is not killed"


def test_windows_grow_for_those_that_read_and_not_for_others():
    client, server, relay, _ = bench()
    client.start(1, 4, bytes(8 << 20))
    client.start(2, 3, bytes(8 << 20))
    run(client, relay, lambda now: not len(client.todo[1]))
    assert server.port.streams[1].window == MUX_STREAM_BUFFER
    assert server.port.streams[2].window <= 2 * FIRST_CREDIT and server.port.streams[2].buffered <= 2 * FIRST_CREDIT
    assert client.open == {1, 2}, "a first CREDIT says that the target answered"


def test_down_many_streams_take_turns():
    """Twenty answers of 1 MB leave together: none is done before all are nearly so."""
    client, server, relay, sockets = bench()
    for number in range(1, 21):
        client.start(number, 2)
    run(client, relay, lambda now: len(client.open) == 20)
    for flow in sockets.rates:
        sockets.answers[flow] = bytearray(contents(flow, 1 << 20))
    first = []

    def done(now):
        if not first and any(len(got) == 1 << 20 for got in client.got.values()):
            first.append(min(map(len, client.got.values())))
        return all(len(got) == 1 << 20 for got in client.got.values())

    run(client, relay, done, now=SECOND)
    assert first[0] > 1 << 18, "the last one had come far when the first was done"
    assert [bytes(got) for got in client.got.values()] == [contents(flow, 1 << 20) for flow in sorted(sockets.rates)]


def test_a_client_without_flow_control_waits_and_then_loses_the_stream_at_fault():
    client, server, relay, sockets = bench(version=1)
    client.start(1, 3, bytes(8 << 20))
    client.start(2, 2, contents(2, 1 << 20))
    ended = run(client, relay, lambda now: 1 in client.errors)
    assert client.errors[1] == (ErrorCode.STREAM_BUFFER_OVERFLOW, "stream buffered too much data")
    assert MUX_PAUSE <= ended <= MUX_PAUSE + SECOND and server.port.counts["read_pauses"] == 1
    run(client, relay, lambda now: not len(client.todo[2]) and not server.port.buffered, now=ended)
    (fast,) = [flow for flow, rate in sockets.rates.items() if rate > 1]
    assert run(client, relay, lambda now: len(sockets.got[fast]) == 1 << 20, now=ended)
    assert bytes(sockets.got[fast]) == contents(2, 1 << 20) and 2 not in client.errors


def test_who_sends_beyond_its_credit_loses_the_stream():
    client, server, relay, _ = bench()
    client.start(1, 3)
    client.start(2, 2, contents(2, 1 << 18))
    client.port.say(mux.encode(mux.DATA, 1, bytes(1 << 20)))
    run(client, relay, lambda now: 1 in client.errors and not len(client.todo[2]))
    assert client.errors[1][0] == ErrorCode.STREAM_BUFFER_OVERFLOW and 2 not in client.errors


frames = st.one_of(
    st.tuples(st.integers(0, 9), st.integers(0, 4), st.binary(max_size=40)),
    st.tuples(st.just(mux.CLOSE), st.integers(1, 3), st.sampled_from([b"\1", b"\2", b"\3", b"", b"\0"])),
    st.tuples(st.just(mux.CREDIT), st.integers(1, 3), st.sampled_from([b"\0\0\1\0", b"\xff\xff\xff\xff", bytes(4)])),
    st.tuples(st.just(mux.OPEN), st.integers(0, 4), st.just(mux.encode_open(1, "192.0.2.7", 2)[9:])),
)


@given(st.lists(frames, max_size=40), st.sampled_from([1, 2]), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_no_frames_from_anybody_stop_a_relay(script, version, cut):
    """Whatever comes, in whatever pieces: it is answered or passed over, another stream goes on, nothing is left."""
    client, server, relay, sockets = bench(version)
    client.start(77, 2, contents(7, 1 << 12))
    wire = b"".join(mux.encode(*frame) for frame in script)
    ring = FrameRing(1024, 1 << 20)
    for at in range(0, len(wire), cut):
        ring.push(wire[at : at + cut])
    run(client, relay, lambda now: not len(client.todo[77]) and sockets.got)
    client.port.end.send(ring, 0)
    run(client, relay, lambda now: now >= 50 * MS)
    (good,) = [flow for flow, f in relay.tcp.items() if f.number == 77]
    assert bytes(sockets.got[good]) == contents(7, 1 << 12)
    assert server.port._control_bytes == 0 and not len(server.port.end.received)
    relay.close(SECOND)
    assert not relay.tcp and not server.port.streams and not server.port.buffered and not server.active


def test_refusals_name_their_reason():
    client, server, relay, _ = bench()
    for number, host, port in ((1, "192.0.2.7", 9), (2, "224.0.0.1", 80), (3, "169.254.169.254", 80)):
        client.start(number, port, host=host)
    run(client, relay, lambda now: len(client.errors) == 3)
    assert client.errors == {
        1: (ErrorCode.DIAL_FAILED, "connection refused"),
        2: (ErrorCode.POLICY_DENIED, "Target is not allowed"),
        3: (ErrorCode.POLICY_DENIED, "Target is not allowed"),
    }
    assert not relay.tcp and not server.port.streams


def test_messages_are_noted_with_what_they_carry():
    client, server, relay, _ = bench()
    seen = []
    relay.recorder = SimpleNamespace(  # type: ignore[assignment]
        add_relayed=lambda way, now, size, payload, cause: seen.append((way, size, payload, cause))
    )
    client.start(1, 2, bytes(1000))
    client.port.ping(0)
    run(client, relay, lambda now: not len(client.todo[1]) and client.port.rtt is not None)
    up = [row[1:] for row in seen if row[0] == "tx"]
    assert sum(size for size, _, _ in up) == client.port.end.counters["bytes_sent"]
    assert sum(payload for _, payload, cause in up if cause == Cause.PAYLOAD) == 1000
    assert (17, 0, Cause.KEEPALIVE) in up and (17, 0, Cause.KEEPALIVE) in [row[1:] for row in seen if row[0] == "rx"]
