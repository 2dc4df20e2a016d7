"""The checksum in Python and in kernels against the word-by-word oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from aero_lab.compiled.memory import ones_complement_sum
from aero_lab.wire import checksum
from aero_lab.wire.udp import Udp

from . import naive
from . import strategies as s

RFC_1071 = bytes.fromhex("0001f203f4f5f6f7")


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(bytearray(data), np.uint8)


def test_example_of_rfc_1071():
    assert checksum.ones_sum(RFC_1071) == 0xDDF2
    assert checksum.internet_checksum(RFC_1071) == ~0xDDF2 & 0xFFFF


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(10))
@example(b"\xff" * 10)
@example(b"\xff\xfe\x00\x01")
def test_sum(data):
    want = naive.ones_sum(data)
    assert checksum.ones_sum(data) == want
    assert ones_complement_sum(array(b"xyz" + data), 3, len(data)) == want


@given(st.binary(max_size=100).map(lambda data: data + data[: len(data) % 2]), st.binary(max_size=100))
def test_sums_of_pieces_add_up(head, tail):
    whole = checksum.internet_checksum(head + tail)
    assert checksum.internet_checksum(tail, checksum.ones_sum(head)) == whole
    assert checksum.checksum_kernel(array(b"a" + tail), 1, len(tail), checksum.ones_sum(head)) == whole


@given(st.binary(min_size=2, max_size=100), st.integers(0, 49))
def test_data_with_its_checksum_sums_to_nothing(data, word):
    at = 2 * (word % (len(data) // 2))
    blank = data[:at] + b"\0\0" + data[at + 2 :]
    sealed = blank[:at] + checksum.internet_checksum(blank).to_bytes(2, "big") + blank[at + 2 :]
    assert checksum.internet_checksum(sealed) == 0


@given(s.ends, s.u8, st.integers(0, 0xFFFF))
def test_pseudo_header(ends, protocol, length):
    src, dst = ends
    want = naive.ones_sum(naive.pseudo_header(src, dst, protocol, length))
    assert checksum.pseudo_sum(src, dst, protocol, length) % 0xFFFF == want % 0xFFFF
    if len(src) == 4:
        got = checksum.pseudo_sum_v4(int.from_bytes(src, "big"), int.from_bytes(dst, "big"), protocol, length)
    else:
        halves = [int.from_bytes(each[at : at + 8], "big", signed=True) for each in ends for at in (0, 8)]
        got = checksum.pseudo_sum_v6(*halves, protocol, length)
    assert got % 0xFFFF == want % 0xFFFF and got <= 0xFFFF


@given(s.ends, s.u8, st.binary(max_size=100))
def test_transport(ends, protocol, segment):
    head = naive.pseudo_header(*ends, protocol, len(segment))
    assert checksum.transport_checksum(*ends, protocol, segment) == ~naive.ones_sum(head + segment) & 0xFFFF


def test_a_udp_checksum_of_zero_is_sent_as_all_ones():
    """Zero says that there is none (RFC 768); both mean zero to a reader."""
    src, dst = bytes(4), bytes(4)
    blank = Udp(0, 0, b"\0\0").emit(src, dst)
    missing = naive.ones_sum(naive.pseudo_header(src, dst, 17, 10) + patch_out(blank)) ^ 0xFFFF
    value = Udp(0, 0, missing.to_bytes(2, "big"))
    data = value.emit(src, dst)
    assert data[6:8] == b"\xff\xff"
    assert Udp.parse(data, src, dst) == value


def patch_out(datagram: bytes) -> bytes:
    """A datagram without its checksum."""
    return datagram[:6] + b"\0\0" + datagram[8:]


@given(st.lists(s.u32, max_size=1000))
def test_fold(words):
    assert checksum.fold(sum(words)) % 0xFFFF == sum(words) % 0xFFFF
    assert 0 <= checksum.fold(sum(words)) <= 0xFFFF
