"""Messages to bytes and back: what a plain reader of RFC 6455 and of TLS records finds in the bytes is what went in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.rings import FrameRing
from aero_lab.transports.simulated_stream import HTTP_SHAKE, IDENTITIES, RECORD_MOST, Framing, Identities, shake

LARGEST = 80_000


def pair(tls):
    up, down = Identities(), Identities()
    return Framing(LARGEST, True, tls, up, down), Framing(LARGEST, False, tls, down, up)


def read_records(raw):
    """The plaintexts of a row of TLS 1.3 records, by the letter of RFC 8446 section 5.2."""
    out, at = [], 0
    while at < len(raw):
        kind, version, size = struct.unpack_from("!BHH", raw, at)
        body = raw[at + 5 : at + 5 + size]
        assert (kind, version, len(body)) == (23, 0x0303, size) and body[-17] == 23
        out.append(body[:-17])
        at += 5 + size
    return out


def read_frames(raw):
    """The messages of a row of WebSocket frames, by the letter of RFC 6455 section 5.2; whether each was masked."""
    out, at = [], 0
    while at < len(raw):
        assert raw[at] == 0x82, "one whole binary message"
        masked, size, at = raw[at + 1] >> 7, raw[at + 1] & 0x7F, at + 2
        if size == 126:
            (size,), at = struct.unpack_from("!H", raw, at), at + 2
            assert size > 125
        elif size == 127:
            (size,), at = struct.unpack_from("!Q", raw, at), at + 8
            assert size > 0xFFFF
        assert not masked or raw[at : at + 4] == bytes(4), "a mask that leaves everything as it is"
        at += 4 * masked
        out.append((raw[at : at + size], bool(masked)))
        at += size
    return out


sizes = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 1518, 65535, 65536, LARGEST, RECORD_MOST]))
messages = st.lists(sizes.map(lambda n: (bytes(range(251)) * (n // 251 + 1))[:n]), max_size=12)


@given(messages, st.booleans(), st.booleans(), st.lists(st.integers(40, 70_000), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_is_packed_is_what_the_rfcs_say(messages, tls, client, rooms):
    framing = pair(tls)[not client]
    ring = FrameRing(64, 4 << 20)
    for message in messages:
        assert ring.push(message)
    raw, turns = b"", 0
    while len(ring):
        room = rooms[turns % len(rooms)]
        piece = bytes(framing.pack(ring, room))
        assert 0 < len(piece) <= room
        raw, turns = raw + piece, turns + 1
        assert turns < 5000
    if tls:
        plain = read_records(raw)
        assert all(0 < len(each) <= RECORD_MOST for each in plain)
        raw = b"".join(plain)
    assert read_frames(raw) == [(message, client) for message in messages]


@given(messages, st.booleans(), st.lists(st.integers(20, 70_000), min_size=1, max_size=5), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_whatever_the_pieces_the_messages_come_out(messages, tls, cuts, reads):
    near, far = pair(tls)
    ring, out = FrameRing(64, 4 << 20), FrameRing(4, 128 << 10)
    for number, message in enumerate(messages):
        assert ring.push(message, frame_id=number + 1)
    stream = b""
    while len(ring):
        stream += bytes(near.pack(ring, 50_000))
    got, turn = [], 0
    while len(got) < len(messages):
        piece = stream[: min(cuts[turn % len(cuts)], far.room)]
        stream = stream[len(piece) :]
        far.unpack(memoryview(piece), out, 7)
        assert far.blocked < 0 or not out.has_room(far.blocked)
        got += [(frame.data, frame.frame_id, frame.t_ns) for frame in out.pop_many(reads)]
        turn += 1
        assert turn < 200_000
    assert got == [(message, number + 1, 7) for number, message in enumerate(messages)] and not stream


def test_a_message_that_is_too_large_is_left_out_and_counted():
    near, far = pair(True)
    ring, out = FrameRing(8, 1 << 20), FrameRing(8, 1 << 20)
    for payload in (b"one", bytes(LARGEST + 1), b"two"):
        assert ring.push(payload)
    far.unpack(near.pack(ring, 1000), out, 0)
    assert [frame.data for frame in out.pop_many()] == [b"one", b"two"] and near.too_large == 1


def test_identities_that_were_forgotten_are_none():
    near, far = pair(False)
    ring, out = FrameRing(1024, 1 << 20), FrameRing(1024, 1 << 20)
    stream, sent = b"", 0
    while sent < IDENTITIES + 10:
        for _ in range(512):
            sent += 1
            assert ring.push(b"x", frame_id=sent)
        stream += bytes(near.pack(ring, 60_000))
    got = []
    for at in range(0, len(stream), 3000):
        far.unpack(memoryview(stream)[at : at + 3000], out, 0)
        got += [frame.frame_id for frame in out.pop_many(1024)]
    forgotten = sent - IDENTITIES
    assert got == [0] * forgotten + list(range(forgotten + 1, sent + 1))


@pytest.mark.parametrize("tls, round_trips", [(False, 1), (True, 2)])
def test_handshakes_take_turns(tls, round_trips):
    flights = shake(tls)
    assert [client for client, _ in flights] == [True, False] * round_trips
    assert sum(size for _, size in flights) > sum(size for _, size in HTTP_SHAKE) or not tls
