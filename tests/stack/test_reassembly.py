"""Reassembly against a plain twin, against scapy's fragments, and row by row against the attacks it must survive."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.compiled.records import new_records, to_array
from aero_lab.limits import NEVER, SECOND
from aero_lab.stack import reassembly as ra

from . import naive

SRC4, DST4 = bytes([10, 0, 2, 15]), bytes([10, 0, 2, 2])
SRC6, DST6 = bytes.fromhex("fd00" + 13 * "00" + "01"), bytes.fromhex("fd00" + 13 * "00" + "02")


class Bench:
    """The kernels with their memory, behind calls that take and give ``bytes``."""

    arena = np.zeros(ra.ARENA_SIZE, np.uint8)

    def __init__(self):
        self.table = new_records(ra.REASSEMBLY, 1)
        self.R = self.table[0]

    def field(self, name):
        return to_array(self.table, ra.REASSEMBLY)[name][0]

    def packet(self, slot: int) -> bytes:
        at = int(self.field("offset")[slot])
        return self.arena[at : at + int(self.field("length")[slot])].tobytes()

    def take(self, packet: bytes, now: int = 0) -> bytes | str | None:
        """As :meth:`naive.Reassembly.take`. The packet stands inside a larger buffer, at an odd offset."""
        buffer = np.frombuffer(bytearray(b"\xa5" * 5 + packet + b"\xa5" * 9), np.uint8)
        kernel = ra.reassemble_v4 if packet[0] >> 4 == 4 else ra.reassemble_v6
        result = kernel(self.R, self.arena, buffer, 5, len(packet), now)
        if result == ra.HELD_BACK:
            return None
        if result < 0:
            return ra.REASONS[-2 - result]
        whole = self.packet(result)
        ra.release(self.R, result)
        return whole

    def expire(self, now: int) -> tuple[int, list[bytes]]:
        number = ra.expire(self.R, now)
        quotes = []
        while (slot := ra.next_report(self.R)) >= 0:
            quotes.append(self.packet(slot))
            ra.release(self.R, slot)
        return number, quotes

    @property
    def drops(self) -> dict[str, int]:
        return {name: int(n) for name, n in zip(ra.REASONS, self.field("drops")) if n}


def twin() -> naive.Reassembly:
    return naive.Reassembly(ra.SLOTS, ra.PER_SOURCE, ra.FRAGMENTS, ra.TIMEOUT, ra.HEADROOM // 2)


def v4(data, start=0, more=False, ident=1, protocol=17, src=SRC4, dst=DST4, options=b"", tos=0, flags=0) -> bytes:
    """An IPv4 fragment. ``start`` in bytes."""
    head = bytearray(20) + options
    head[0] = 0x40 | (len(head) // 4)
    head[1] = tos
    head[2:4] = ((len(head) + len(data)) & 0xFFFF).to_bytes(2, "big")
    head[4:6] = ident.to_bytes(2, "big")
    head[6:8] = (flags | (0x2000 if more else 0) | start // 8).to_bytes(2, "big")
    head[8:10] = bytes([64, protocol])
    head[12:20] = src + dst
    head[10:12] = naive.checksum(bytes(head)).to_bytes(2, "big")
    return bytes(head) + data


def v6(data, start=0, more=False, ident=1, kind=17, src=SRC6, dst=DST6, before=b"", before_kind=60, ecn=0) -> bytes:
    """An IPv6 fragment, with the extension headers ``before`` (their own next header already 44) in front."""
    fragment = bytes([kind, 0]) + (start | more).to_bytes(2, "big") + ident.to_bytes(4, "big")
    head = (0x60000000 | ecn << 20).to_bytes(4, "big")
    head += ((len(before) + 8 + len(data)) & 0xFFFF).to_bytes(2, "big")
    head += bytes([before_kind if before else 44, 64]) + src + dst
    return head + before + fragment + data


def pattern(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def cut(data: bytes, cuts: list[int], make, **fields) -> list[bytes]:
    """``data`` as fragments that end at the given multiples of 8."""
    edges = sorted({0, len(data), *(8 * c for c in cuts if 0 < 8 * c < len(data))})
    return [make(data[a:b], a, b < len(data), **fields) for a, b in zip(edges, edges[1:])]


@pytest.fixture(params=["ipv4", "ipv6"])
def make(request):
    return v4 if request.param == "ipv4" else v6


def payload_of(packet: bytes) -> bytes:
    return packet[(packet[0] & 15) * 4 :] if packet[0] >> 4 == 4 else packet[40:]


# Whole datagrams ----------------------------------------------------------------------------------------------------


@given(
    st.data(),
    st.integers(9, 3000),
    st.lists(st.integers(1, 400), min_size=1, max_size=12),
    st.booleans(),
    st.binary(max_size=5),
)
def test_any_cut_in_any_order_with_duplicates_comes_out_whole(data, size, cuts, six, option_words):
    payload = pattern(size, size)
    fields = {} if six else {"options": b"\x01" * 4 * len(option_words), "flags": 0x4000}
    # An IPv6 first fragment shorter than its UDP header is refused (RFC 7112); every cut here leaves 8 bytes.
    pieces = cut(payload, cuts, v6 if six else v4, **fields)
    if len(pieces) == 1:
        pieces = cut(payload, [1], v6 if six else v4, **fields)
    order = data.draw(st.permutations(pieces))
    bench, oracle = Bench(), twin()
    for i, piece in enumerate(order):
        assert bench.take(piece, i) == (outcome := oracle.take(piece, i))
        if i < len(order) - 1:
            assert outcome is None
            assert bench.take(piece, i) == oracle.take(piece, i) == "fragment-duplicate"
    assert isinstance(outcome, bytes) and payload_of(outcome) == payload
    if not six:
        assert outcome[6:8] == b"\x40\0" and naive.checksum(outcome[: (outcome[0] & 15) * 4]) == 0
    assert bench.field("used") == 0 and bench.field("reassembled") == 1
    assert ra.next_deadline(bench.R) == NEVER


@pytest.mark.parametrize("size, mtu", [(1473, 1500), (5000, 1500), (8000, 576), (65507, 1500), (65507, 576)])
@pytest.mark.parametrize("order", ["as sent", "reversed", "shuffled"])
def test_what_scapy_cuts_we_join(size, mtu, order):
    inet = pytest.importorskip("scapy.layers.inet")
    whole = inet.IP(src="10.0.2.15", dst="10.0.2.2", id=4711) / inet.UDP(sport=7, dport=9) / pattern(size)
    pieces = [bytes(f) for f in inet.fragment(whole, fragsize=mtu - 20)]
    assert len(pieces) > 1
    if order == "reversed":
        pieces.reverse()
    elif order == "shuffled":
        random.Random(size).shuffle(pieces)
    bench = Bench()
    assert [bench.take(p) for p in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert bench.take(pieces[-1]) == bytes(whole)


@pytest.mark.parametrize("size, mtu", [(1453, 1500), (5000, 1280), (65000, 1500)])
def test_what_scapy_cuts_we_join_ipv6(size, mtu):
    inet6 = pytest.importorskip("scapy.layers.inet6")
    from scapy.layers.inet import UDP

    def build(with_fragment):
        head = inet6.IPv6(src="fd00::1", dst="fd00::2", tc=0, fl=5) / inet6.IPv6ExtHdrDestOpt()
        if with_fragment:
            head = head / inet6.IPv6ExtHdrFragment(id=99)
        return head / UDP(sport=7, dport=9) / pattern(size)

    pieces = [bytes(f) for f in inet6.fragment6(build(True), mtu)]
    random.Random(size).shuffle(pieces)
    bench = Bench()
    assert [bench.take(p) for p in pieces[:-1]] == [None] * (len(pieces) - 1)
    whole = bench.take(pieces[-1])
    assert whole == bytes(build(False))


def test_datagrams_of_other_keys_do_not_mix(make):
    payload = [pattern(24, i) for i in range(4)]
    src = SRC4 if make is v4 else SRC6
    other = bytes(reversed(src))
    keys = [{"ident": 1}, {"ident": 2}, {"ident": 1, "src": other}, {"ident": 1, "dst": other}]
    if make is v4:
        keys.append({"ident": 1, "protocol": 6})
        payload.append(pattern(24, 9))
    bench = Bench()
    for data, key in zip(payload, keys):
        assert bench.take(make(data[:8], 0, True, **key)) is None
    for data, key in reversed(list(zip(payload, keys))):
        assert payload_of(bench.take(make(data[8:], 8, False, **key))) == data


def test_ipv6_next_header_comes_from_the_first_fragment_alone():
    bench = Bench()
    assert bench.take(v6(bytes(8), 8, False, kind=6)) is None
    whole = bench.take(v6(bytes(8), 0, True, kind=17))
    assert whole[6] == 17 and len(whole) == 56 and whole[4:6] == b"\0\x10"


def test_ipv6_atomic_fragment_is_taken_by_itself():
    bench = Bench()
    assert bench.take(v6(pattern(16), 0, True, ident=5)) is None
    whole = bench.take(v6(pattern(9, 3), 0, False, ident=5))
    assert payload_of(whole) == pattern(9, 3) and whole[6] == 17
    assert payload_of(bench.take(v6(pattern(8, 1), 16, False, ident=5))) == pattern(16) + pattern(8, 1)


@pytest.mark.parametrize("marks, outcome", [((1, 1), 1), ((2, 3), 3), ((3, 2), 3), ((0, 0), 0), ((1, 2), None)])
def test_ecn_marks_come_together_as_rfc_3168_says(make, marks, outcome):
    bench, oracle = Bench(), twin()
    name = "tos" if make is v4 else "ecn"
    bench.take(make(bytes(8), 0, True, **{name: marks[0]}))
    oracle.take(make(bytes(8), 0, True, **{name: marks[0]}), 0)
    last = make(bytes(8), 8, False, **{name: marks[1]})
    whole = bench.take(last)
    assert whole == oracle.take(last, 0)
    if outcome is not None:
        assert ((whole[1] if make is v4 else whole[1] >> 4) & 3) == outcome


# Hostile fragments --------------------------------------------------------------------------------------------------


def attack(name, *steps):
    """Steps: ``(start, data, more, expected)``, expected :data:`WHOLE`, None or a reason word."""
    return pytest.param(steps, id=name)


WHOLE, REFUSED = "whole", "fragment-refused"
A, B = b"A" * 16, b"B" * 16
ATTACKS = [
    attack("overlap on the right", (0, A, True, None), (8, B, False, "fragment-overlap"), (16, B, False, REFUSED)),
    attack("overlap from the left", (16, A, True, None), (8, B, True, "fragment-overlap"), (32, B, False, REFUSED)),
    attack("inside another", (0, A * 2, True, None), (8, B[:8], True, "fragment-overlap")),
    attack("around another", (8, A[:8], True, None), (0, B * 2, True, "fragment-overlap")),
    attack("same place, other bytes", (0, A, True, None), (0, B, True, "fragment-overlap")),
    attack("same start, other end", (0, A, True, None), (0, A[:8], True, "fragment-overlap")),
    attack("exact duplicate", (0, A, True, None), (0, A, True, "fragment-duplicate"), (16, B, False, WHOLE)),
    attack("duplicate last", (16, B, False, None), (16, B, False, "fragment-duplicate"), (0, A, True, WHOLE)),
    attack("duplicate last, other end", (16, B, False, None), (32, B, False, "fragment-end-conflict")),
    attack("duplicate last, no longer last", (16, B, False, None), (16, B, True, "fragment-end-conflict")),
    attack("last turned out shorter", (32, B, True, None), (16, B, False, "fragment-end-conflict")),
    attack("beyond the end", (16, B, False, None), (32, B, True, "fragment-end-conflict"), (0, A, True, REFUSED)),
    attack("unaligned", (0, A[:15], True, "fragment-unaligned"), (0, A, True, None), (16, B, False, WHOLE)),
    attack("empty", (0, b"", True, "fragment-empty"), (16, b"", False, "fragment-empty"), (0, A, True, None)),
    attack("teardrop", (0, bytes(40), True, None), (24, bytes(4), False, "fragment-overlap")),
    attack("ping of death", (0, A, True, None), (65528, B, False, "fragment-too-long")),
    attack("oversized first", (0, bytes(65528), True, "fragment-too-long"), (0, A, True, None), (16, B, False, WHOLE)),
]  # fmt: skip


@pytest.mark.parametrize("steps", ATTACKS)
def test_attacks_are_refused_under_their_reason(make, steps):
    bench, oracle = Bench(), twin()
    for start, data, more, expected in steps:
        if make is v6 and expected == "fragment-too-long" and start == 0:
            # 65,528 bytes in one IPv6 fragment do fit a payload of 65,535; a header in front makes them too long.
            piece = v6(data, start, more, before=bytes([44, 0]) + bytes(6))
        else:
            piece = make(data, start, more)
        outcome = bench.take(piece, 1)
        assert outcome == oracle.take(piece, 1)
        assert isinstance(outcome, bytes) if expected == WHOLE else outcome == expected
    assert bench.drops == oracle.drops
    # Another datagram is not touched by it.
    assert bench.take(make(A, 0, True, ident=77), 2) is None
    assert payload_of(bench.take(make(B, 16, False, ident=77), 2)) == A + B


def test_oversized_first_header_is_found_when_the_last_byte_arrives():
    """Every piece alone is within 65,535 bytes, but the first one's options push the whole beyond it."""
    bench, oracle = Bench(), twin()
    body = bytes(65488)
    steps = [v4(body[8:32768], 8, True), v4(body[32768:], 32768, True), v4(bytes(27), 65488, False)]
    steps.append(v4(body[:8], 0, True, options=b"\x01" * 40))
    for piece in steps:
        outcome = bench.take(piece)
        assert outcome == oracle.take(piece, 0)
    assert outcome == "fragment-too-long"
    assert bench.take(steps[0]) == "fragment-refused"


def test_too_many_pieces_are_refused(make):
    bench = Bench()
    outcomes = [bench.take(make(A[:8], 16 * i, True)) for i in range(ra.FRAGMENTS + 1)]
    assert outcomes == [None] * ra.FRAGMENTS + ["fragment-too-many"]


def test_never_completed_datagrams_expire_with_a_report_when_the_first_piece_came(make):
    bench, oracle = Bench(), twin()
    first = make(A, 0, True, ident=1)
    pieces = [first, make(B, 32, True, ident=1), make(A, 16, True, ident=2), make(A, 0, True, ident=3)]
    for piece in [*pieces, make(B, 8, True, ident=3)]:
        bench.take(piece, 5)
        oracle.take(piece, 5)
    assert ra.next_deadline(bench.R) == 5 + ra.TIMEOUT
    assert bench.expire(4 + ra.TIMEOUT) == (0, [])
    assert bench.expire(5 + ra.TIMEOUT) == oracle.expire(5 + ra.TIMEOUT) == (3, [first])
    assert bench.drops == oracle.drops == {"fragment-timeout": 2, "fragment-overlap": 1}
    assert ra.next_deadline(bench.R) == NEVER and bench.field("used") == 0
    # The number may be used again at once, the refused one too.
    assert bench.take(make(A, 0, True, ident=3), 6 + ra.TIMEOUT) is None
    assert payload_of(bench.take(make(B, 16, False, ident=3), 6 + ra.TIMEOUT)) == A + B


def test_a_full_table_gives_way_oldest_first(make):
    bench, oracle = Bench(), twin()
    size = 4 if make is v4 else 16
    for i in range(3 * ra.SLOTS):
        piece = make(A, 0, True, ident=i, src=(i // 8).to_bytes(size, "big"))
        assert bench.take(piece, i) is oracle.take(piece, i) is None
    assert bench.drops == oracle.drops == {"fragment-evicted": 2 * ra.SLOTS}
    newest, oldest = 3 * ra.SLOTS - 1, 0
    assert bench.take(make(B, 16, False, ident=newest, src=(newest // 8).to_bytes(size, "big")), 999) is not None
    assert bench.take(make(B, 16, False, ident=oldest, src=bytes(size)), 999) is None


def test_one_sender_cannot_take_the_whole_table(make):
    bench = Bench()
    other = bytes(reversed(SRC4 if make is v4 else SRC6))
    assert bench.take(make(A, 0, True, src=other), 0) is None
    for i in range(10 * ra.SLOTS):
        assert bench.take(make(A, 0, True, ident=i), i) is None
    assert bench.field("used") == ra.PER_SOURCE + 1
    assert payload_of(bench.take(make(B, 16, False, src=other), 9999)) == A + B


@pytest.mark.parametrize("short", range(0, 48, 4))
def test_cut_off_headers_are_malformed(short):
    bench = Bench()
    if short < 20:
        buffer = np.frombuffer(bytearray(v4(A, 0, True)), np.uint8)
        assert ra.reassemble_v4(bench.R, bench.arena, buffer, 0, short, 0) == -2 - ra.MALFORMED
    buffer = np.frombuffer(bytearray(v6(A, 0, True)), np.uint8)
    assert ra.reassemble_v6(bench.R, bench.arena, buffer, 0, short, 0) == -2 - ra.MALFORMED
    assert bench.field("used") == 0


def test_what_is_no_fragment_is_not_taken():
    bench = Bench()
    assert bench.take(v4(A)) == "fragment-malformed"
    assert bench.take(v6(A)[:6] + b"\x11" + v6(A)[7:]) == "fragment-malformed"
    assert bench.take(b"\x4f" + v4(A, 0, True)[1:]) == "fragment-malformed"  # header length beyond the packet


@pytest.mark.parametrize(
    "packet, reason, problem",
    [
        (v6(A[:9], 0, True), "fragment-unaligned", 4),
        (v6(B, 65528), "fragment-too-long", 42),
        (v6(A, 0, True, kind=6), "fragment-header-chain", 3 << 16),
        (v6(bytes([17, 9]) + A, 0, False, kind=0), "fragment-header-chain", 3 << 16),
        (v6(bytes([17, 0]) + A, 0, False, kind=44), "fragment-header-chain", 3 << 16),
        (v6(A, 0, True, before=bytes([44, 12]) + bytes(102)), "fragment-header-long", -1),
    ],
    ids=["unaligned", "too long", "tcp header cut", "options cut", "fragment in fragment", "long headers"],
)
def test_ipv6_drops_name_the_parameter_problem_to_send(packet, reason, problem):
    bench, oracle = Bench(), twin()
    assert bench.take(packet) == oracle.take(packet, 0) == reason
    assert bench.field("problem") == problem


def test_extension_headers_in_a_circle_end():
    packet = v6(b"", 0, True, before=(bytes([60, 0]) + bytes(6)) * 200)
    assert Bench().take(packet) == twin().take(packet, 0) == "fragment-malformed"


# Anything at all against the twin -----------------------------------------------------------------------------------

FRAGMENTS = st.fixed_dictionaries(
    {
        "start": st.integers(0, 6).map(lambda n: 8 * n) | st.sampled_from([65504, 65512, 65528]),
        "data": st.sampled_from([8, 16, 24, 5, 0, 40]).flatmap(lambda n: st.sampled_from([b"a" * n, b"b" * n])),
        "more": st.booleans(),
        "ident": st.integers(0, 2),
    }
)
STEPS = st.lists(
    st.tuples(
        FRAGMENTS,
        st.booleans(),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 0, 3]),
        st.sampled_from([1, 1, 1, SECOND, 31 * SECOND, 61 * SECOND]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(STEPS)
def test_agrees_with_the_twin_on_anything(steps):
    bench, oracle = Bench(), twin()
    now = 0
    for fields, six, source, ecn, later, sweep in steps:
        now += later
        if six:
            packet = v6(**fields, kind=59, src=bytes([source]) * 16, ecn=ecn)
        else:
            packet = v4(**fields, src=bytes([source]) * 4, tos=ecn)
        assert bench.take(packet, now) == oracle.take(packet, now)
        if sweep:
            number, quotes = bench.expire(now)
            expected, expected_quotes = oracle.expire(now)
            assert (number, sorted(quotes)) == (expected, sorted(expected_quotes))
        assert bench.field("used") == len(oracle.table)
        assert bench.drops == oracle.drops


@given(st.lists(st.binary(min_size=20, max_size=90), max_size=20))
def test_random_bytes_do_no_harm(packets):
    bench, oracle = Bench(), twin()
    for i, packet in enumerate(packets):
        packet = bytes([packet[0] & 0x0F | (0x40 if i % 2 else 0x60)]) + packet[1:]
        assert bench.take(packet, i) == oracle.take(packet, i)
    assert bench.drops == oracle.drops
