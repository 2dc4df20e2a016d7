"""A WebSocket end on real sockets: order, bounds both ways, closing from each side, peers that break or vanish."""

from __future__ import annotations

import asyncio
import socket
from functools import wraps
from time import monotonic_ns

import pytest
from aiohttp import ClientSession

from aero_lab.errors import UsageError
from aero_lab.framing.l2_tunnel import ErrorCode, encode_error
from aero_lab.rings import FrameRing
from aero_lab.transports.websocket import Refusal, WebSocketEnd
from tests.transports.ws_peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawPeer, frame, serve


def on_loop(test):
    @wraps(test)
    def run():
        async def bounded():
            async with asyncio.timeout(60):
                await test()

        asyncio.run(bounded())

    return run


def ring_of(*messages: bytes, slots: int = 1024, arena: int = 8 << 20) -> FrameRing:
    ring = FrameRing(slots, arena)
    for message in messages:
        assert ring.push(message)
    return ring


def taken(end: WebSocketEnd) -> list[bytes]:
    messages = [message.data for message in end.received.pop_many(1 << 20)]
    end.taken()
    return messages


def pattern(number: int, size: int) -> bytes:
    return bytes((number * 7 + i * 13) & 255 for i in range(min(size, 256))) * (size // 256 + 1)


class Tally:
    """A gate that notes what passes and refuses at a given message."""

    def __init__(self, refuse_at: int = -1, refuse_sent: int = -1):
        self.seen: list[tuple[str, int]] = []
        self.out: list[int] = []
        self.refuse_at, self.refuse_sent = refuse_at, refuse_sent

    def received(self, kind, size):
        self.seen.append((kind, size))
        return Refusal(1008, "too many", b"sorry") if len(self.seen) - 1 == self.refuse_at else None

    def sent(self, size):
        self.out.append(size)
        return Refusal(1008, "too much", b"enough") if len(self.out) - 1 == self.refuse_sent else None


@on_loop
async def test_messages_of_every_length_field_both_ways():
    sizes = (0, 1, 125, 126, 127, 1518, 65535, 65536, 70000)
    messages = [pattern(i, size)[:size] for i, size in enumerate(sizes)]
    async with serve() as server, ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{server.port}/", max_msg_size=1 << 20, autoping=False) as ws:
            for message in messages:
                await ws.send_bytes(message)
            end = await server.end()
            await server.until(lambda: len(end.received) == len(messages))
            assert taken(end) == messages
            assert end.send(ring_of(*messages), 0) == len(messages)
            assert [(await ws.receive()).data for _ in messages] == messages
            # Lengths in a wider field than they need are accepted too.
            raw = await RawPeer.connect(server.port)
            raw.send(frame(BINARY, b"narrow", wide=16), frame(BINARY, b"wide", wide=64))
            other = await server.end(1)
            await server.until(lambda: len(other.received) == 2)
            assert taken(other) == [b"narrow", b"wide"]
            counters = end.counters
            assert counters["messages_received"] == counters["messages_sent"] == len(messages)
            assert counters["bytes_received"] == counters["bytes_sent"] == sum(sizes)
            nodelay = end._socket.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert nodelay
            raw.abort()


@on_loop
async def test_fragments_are_one_message_and_control_frames_may_stand_between():
    tally = Tally()
    async with serve(gate=tally) as server:
        peer = await RawPeer.connect(server.port)
        parts = [
            frame(BINARY, b"one ", fin=False),
            frame(PING, b"are you there"),
            frame(CONTINUATION, b"", fin=False),
            frame(CONTINUATION, b"message"),
            frame(BINARY, b"next"),
        ]
        for byte in b"".join(parts):  # the worst a network does to a stream
            peer.send(bytes([byte]))
            await peer.writer.drain()
        assert await peer.receive() == (PONG, b"are you there")
        end = await server.end()
        await server.until(lambda: len(end.received) == 2)
        assert taken(end) == [b"one message", b"next"]
        assert tally.seen == [("ping", 13), ("binary", 11), ("binary", 4)] and tally.out == [13]
        peer.abort()


@on_loop
async def test_text_is_counted_and_ignored():
    tally = Tally()
    async with serve(gate=tally) as server:
        peer = await RawPeer.connect(server.port)
        peer.send(frame(TEXT, "grüße".encode()), frame(PONG, b"nobody asked"), frame(BINARY, b"data"))
        end = await server.end()
        await server.until(lambda: len(end.received))
        assert taken(end) == [b"data"] and end.counters["text_messages"] == 1
        assert tally.seen == [("text", 7), ("pong", 12), ("binary", 4)]
        peer.abort()


@on_loop
async def test_a_full_ring_stops_the_reading_and_nothing_is_lost():
    """The owner takes nothing: the sender's socket fills up. When the owner takes, all of it comes, in order."""
    size, number = 60_000, 400
    async with serve(arena=1 << 20) as server:
        peer = await RawPeer.connect(server.port)
        sent = 0
        # Until a tenth of a second brings no progress: kernel buffers are megabytes, ours must not be the rest.
        while sent < number:
            peer.send(frame(BINARY, sent.to_bytes(4, "big") + bytes(size)))
            sent += 1
            try:
                async with asyncio.timeout(0.3):
                    await peer.writer.drain()
            except TimeoutError:
                break
        assert sent < number, "24 MB were taken with nobody reading"
        end = await server.end()
        assert 0 < len(end.received) <= 17
        for more in range(sent, number):
            peer.send(frame(BINARY, more.to_bytes(4, "big") + bytes(size)))
        seen = []
        while len(seen) < number:
            await server.until(lambda: len(end.received))
            seen += [int.from_bytes(message[:4], "big") for message in taken(end)]
        assert seen == list(range(number))
        peer.abort()


@on_loop
async def test_a_slow_reader_is_waited_for_and_gets_every_byte():
    async with serve(queue_messages=5) as server:
        peer = await RawPeer.connect(server.port, receive_buffer=4096)
        end = await server.end()
        messages = [pattern(i, 50_000)[: 20_000 + i] for i in range(300)]
        todo, ring = list(messages), FrameRing(16, 1 << 20)

        def feed():
            while todo and ring.has_room(len(todo[0])):
                ring.push(todo.pop(0))
            end.send(ring, monotonic_ns())

        # Nobody reads: what is taken is bounded, and the time since when nothing moves stands still.
        for _ in range(400):
            feed()
            await asyncio.sleep(0)
        assert end.stalled and end.blocked_since is not None
        for _ in range(100):  # until the kernels have moved what they can
            blocked = end.blocked_since
            await asyncio.sleep(0.05)
            feed()
            if end.blocked_since == blocked:
                break
        assert end.blocked_since == blocked < monotonic_ns(), "nothing leaves"
        for _ in range(20):
            assert await peer.receive() == (BINARY, messages.pop(0))
        for _ in range(100):
            await asyncio.sleep(0.05)
            if end.blocked_since is None or end.blocked_since > blocked:
                break
        assert end.blocked_since is None or end.blocked_since > blocked, "a slow peer is no dead one"
        assert len(end._outgoing) == 5 and end.counters["stalls"] >= 1
        taken_by_the_end = len(messages) - len(todo) - len(ring)
        assert taken_by_the_end < 280

        async def pump():
            feed()
            while todo or len(ring):
                await server.wake_up()
                feed()

        pumping = asyncio.create_task(pump())
        for number, message in enumerate(messages):
            assert await peer.receive() == (BINARY, message), number
            if number % 40 == 0:
                await asyncio.sleep(0.01)
        await pumping
        assert not end.stalled and end.blocked_since is None
        peer.abort()


@on_loop
async def test_the_queue_has_exactly_the_size_asked_for():
    async with serve(queue_messages=3) as server:
        peer = await RawPeer.connect(server.port)
        end = await server.end()
        ring = ring_of(*[b"x"] * 5)
        assert end.send(ring, 7) == 3 and len(ring) == 2 and end.stalled and end.blocked_since == 7
        server.woken.clear()
        await server.wake_up()
        assert not end.stalled and end.send(ring, 8) == 2 and not end.stalled
        for _ in range(5):
            assert await peer.receive() == (BINARY, b"x")
        peer.abort()
    with pytest.raises(UsageError):
        WebSocketEnd(None, lambda: None, queue_messages=0)


@on_loop
async def test_finish_throws_away_what_waits_and_says_why():
    async with serve() as server:
        peer = await RawPeer.connect(server.port)
        end = await server.end()
        error = encode_error("outbound websocket backpressure", ErrorCode.BACKPRESSURE)
        end.send(ring_of(b"never sent"), 0)
        end.finish(1008, "é" * 100, error)
        end.finish(1000, "too late")
        assert end.send(ring_of(b"refused"), 0) == 0 and not end.stalled
        assert await peer.receive() == (BINARY, error)
        code, reason = await peer.closed()
        assert (code, reason) == (1008, "é" * 61), "123 bytes hold 61 of two each"
        assert not server.over[0].is_set(), "it waits for the peer's Close"
        peer.send(frame(BINARY, b"ignored"), frame(CLOSE, b"\x03\xe8"))
        await server.finished()
        assert (end.close_code, end.closed_by) == (1008, "us") and end.close_reason == "é" * 100
        assert not len(end.received) and end.peer_closed
        assert await peer.reader.read() == b""


@on_loop
async def test_finish_does_not_wait_for_a_peer_that_never_answers():
    async with serve() as server:
        peer = await RawPeer.connect(server.port)
        end = await server.end()
        end.finish(1001, "shutting down")
        assert await peer.closed() == (1001, "shutting down")
        await server.finished()  # a second later, by itself
        assert end.closed_by == "us" and await peer.reader.read() == b""


@on_loop
async def test_finish_reaches_its_end_when_the_peer_reads_nothing_at_all():
    async with serve(queue_messages=4) as server:
        peer = await RawPeer.connect(server.port, receive_buffer=4096)
        end = await server.end()
        ring = ring_of(*[bytes(60_000)] * 100)
        for _ in range(60):
            end.send(ring, 1)
            await asyncio.sleep(0)
        assert end.stalled, "6 MB were taken with nobody reading"
        raw = end._socket.get_extra_info("socket")
        end.finish(1008, "outbound websocket backpressure", b"error")
        await server.finished()
        for _ in range(100):
            if raw.fileno() < 0:
                break
            await asyncio.sleep(0.02)
        assert raw.fileno() < 0, "the socket has outlived its connection"
        peer.abort()


@on_loop
async def test_the_peer_closes():
    async with serve() as server:
        for payload, code, reason in ((b"\x0f\xa0bye", 4000, "bye"), (b"", 1005, ""), (b"\x03\xe9", 1001, "")):
            peer = await RawPeer.connect(server.port)
            number = len(server.ends) - 1
            peer.send(frame(BINARY, b"last words"), frame(CLOSE, payload))
            answer, _ = await peer.closed()
            assert answer == (code if code != 1005 else 1000)
            end = await server.finished(number + 1 if len(server.ends) == number + 2 else number)
            assert (end.close_code, end.close_reason, end.closed_by) == (code, reason, "peer")
            assert end.peer_closed and taken(end) == [b"last words"]
            assert await peer.reader.read() == b""


@on_loop
async def test_a_peer_that_vanishes_is_a_loss():
    async with serve() as server:
        for farewell in ("abort", "eof", "middle"):
            peer = await RawPeer.connect(server.port)
            number = len(server.ends)
            if farewell == "abort":
                peer.writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )
                peer.abort()
            elif farewell == "eof":
                peer.writer.close()
            else:
                peer.send(frame(BINARY, bytes(1000))[:500])
                await peer.writer.drain()
                peer.writer.close()
            end = await server.finished(number - 1 if len(server.ends) == number else number)
            assert (end.close_code, end.closed_by) == (1006, "loss"), farewell
            assert end.peer_closed and end.send(ring_of(b"x"), 0) == 0


@on_loop
async def test_a_peer_that_vanishes_while_the_writer_waits_for_it():
    async with serve(queue_messages=4) as server:
        peer = await RawPeer.connect(server.port, receive_buffer=4096)
        end = await server.end()
        ring = ring_of(*[bytes(60_000)] * 130)
        for _ in range(50):
            end.send(ring, 1)
            await asyncio.sleep(0)
        assert end.stalled
        peer.abort()
        await server.finished()
        assert end.closed_by == "loss" and not server.errors


BROKEN = {
    "reserved bits": ([frame(BINARY, b"x", rsv=1)], 1002),
    "unknown opcode": ([frame(3, b"x")], 1002),
    "fragmented control frame": ([frame(PING, b"x", fin=False)], 1002),
    "long control frame": ([frame(PING, bytes(126), wide=16)], 1002),
    "continuation of nothing": ([frame(CONTINUATION, b"x")], 1002),
    "new message inside another": ([frame(BINARY, b"x", fin=False), frame(BINARY, b"y")], 1002),
    "text that is no UTF-8": ([frame(TEXT, b"\xff\xfe")], 1007),
    "close code of one byte": ([frame(CLOSE, b"\x03")], 1002),
    "close code that must not travel": ([frame(CLOSE, b"\x03\xee")], 1002),
    "message too large": ([frame(BINARY, bytes(1001))], 1009),
    "fragments too large together": ([frame(BINARY, bytes(600), fin=False), frame(CONTINUATION, bytes(600))], 1009),
    "length beyond any memory": ([b"\x82\xff" + b"\x7f" + b"\xff" * 7 + b"abcd"], 1009),
}


@on_loop
async def test_broken_frames_close_this_connection_and_no_other():
    async with serve(most=1000) as server:
        bystander = await RawPeer.connect(server.port)
        await server.end()
        for name, (frames, code) in BROKEN.items():
            peer = await RawPeer.connect(server.port)
            peer.send(frame(BINARY, b"sound"), *frames)
            assert (await peer.closed())[0] == code, name
            end = await server.finished(len(server.ends) - 1)
            assert (end.close_code, end.closed_by) == (code, "us"), name
            assert taken(end) == [b"sound"], name
            peer.abort()
        bystander.send(frame(BINARY, bytes(1000)))
        end = server.ends[0]
        await server.until(lambda: len(end.received))
        assert taken(end) == [bytes(1000)] and not end.peer_closed
        bystander.abort()
    assert not server.errors


@on_loop
async def test_the_gate_is_asked_first_and_its_refusal_ends_the_connection():
    tally = Tally(refuse_at=2)
    async with serve(gate=tally) as server:
        peer = await RawPeer.connect(server.port)
        peer.send(frame(BINARY, b"a"), frame(PING, b"bc"), frame(BINARY, b"def"), frame(BINARY, b"ghij"))
        while (message := await peer.receive())[0] == PONG:
            pass
        assert message == (BINARY, b"sorry") and await peer.closed() == (1008, "too many")
        peer.send(frame(CLOSE, b"\x03\xf0"))
        end = await server.finished()
        assert tally.seen == [("binary", 1), ("ping", 2), ("binary", 3)]
        assert taken(end) == [b"a"], "what was refused is not processed, nor what came after"
        assert (end.close_code, end.close_reason, end.closed_by) == (1008, "too many", "us")
        peer.abort()


@on_loop
async def test_the_gate_refuses_what_is_to_be_sent():
    tally = Tally(refuse_sent=1)
    async with serve(gate=tally) as server:
        peer = await RawPeer.connect(server.port)
        end = await server.end()
        end.send(ring_of(b"one", b"two", b"three"), 0)
        assert [await peer.receive() for _ in range(2)] == [(BINARY, b"one"), (BINARY, b"enough")]
        assert await peer.closed() == (1008, "too much")
        peer.send(frame(CLOSE, b"\x03\xf0"))
        await server.finished()
        assert tally.out == [3, 3], "the last message of all is not asked about"


@on_loop
async def test_a_ping_flood_is_answered_from_a_bounded_queue():
    async with serve() as server:
        peer = await RawPeer.connect(server.port, receive_buffer=4096)
        end = await server.end()
        for i in range(20_000):
            peer.send(frame(PING, i.to_bytes(100, "big")))
            if i % 100 == 0:
                await peer.writer.drain()
        peer.send(frame(BINARY, b"after the flood"))
        await server.until(lambda: len(end.received))
        assert len(end._pongs) <= 16
        last = -1
        while last < 19_999:
            opcode, payload = await peer.receive()
            number = int.from_bytes(payload, "big")
            assert opcode == PONG and number > last
            last = number
        peer.abort()


@on_loop
async def test_a_defect_of_the_gate_is_not_hidden():
    class Broken:
        def received(self, kind, size):
            raise ZeroDivisionError

        def sent(self, size):
            return None

    async with serve(gate=Broken()) as server:
        peer = await RawPeer.connect(server.port)
        peer.send(frame(BINARY, b"x"))
        await server.finished()
        assert isinstance(server.errors[0], ZeroDivisionError) and server.ends[0].closed_by == "loss"
        assert await peer.reader.read() == b""


@on_loop
async def test_two_ends_and_a_client_of_aiohttp():
    """The client side of aiohttp behind an end as well, and both talk until one closes."""
    async with serve(queue_messages=8) as server, ClientSession() as session:
        socket_ = await session.ws_connect(
            f"ws://127.0.0.1:{server.port}/l2", protocols=("aero-l2-tunnel-v1",), autoping=False, autoclose=False,
            max_msg_size=1 << 20,
        )  # fmt: skip
        woken = asyncio.Event()
        near = WebSocketEnd(socket_, woken.set)
        running = asyncio.create_task(near.run())
        far = await server.end()
        messages = [pattern(i, 9000)[: i * 17 % 9000] for i in range(2000)]
        ring, todo, seen = FrameRing(64, 1 << 20), list(messages), []
        while len(seen) < len(messages):
            while todo and ring.has_room(len(todo[0])):
                ring.push(todo.pop(0))
            near.send(ring, 0)
            far.send(far.received, 0)  # an echo
            far.taken()
            seen += taken(near)
            await asyncio.sleep(0)
        assert seen == messages
        await socket_.ping(b"hello")
        near.close()
        await running
        await server.finished()
        assert (near.closed_by, near.close_code) == ("us", 1000)
        assert (far.closed_by, far.close_code) == ("peer", 1000)
        assert socket_.closed
