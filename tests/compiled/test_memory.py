"""Byte access in kernels, in both modes, against plain slices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.compiled import memory
from aero_lab.compiled.memory import copy, fence, load_acquire, ones_complement_sum, store_release
from aero_lab.compiled.registry import BYTES, I64, PLAIN, VOID, kernel

from . import naive

get_u16_at_3, put_u32_at_5 = memory.u16_field(3), memory.put_u32_field(5)


@kernel(VOID(BYTES, I64, BYTES))
def read_all(buffer, offset, out):
    memory.put_i64_native(out, 0, memory.u8(buffer, offset))
    memory.put_i64_native(out, 8, memory.u16(buffer, offset))
    memory.put_i64_native(out, 16, memory.u32(buffer, offset))
    memory.put_i64_native(out, 24, memory.u64(buffer, offset))
    memory.put_i64_native(out, 32, memory.u32_native(buffer, offset))
    memory.put_i64_native(out, 40, memory.i64_native(buffer, offset))
    memory.put_i64_native(out, 48, get_u16_at_3(buffer, offset))


@kernel(VOID(BYTES, I64, I64))
def write_all(buffer, offset, value):
    memory.put_u8(buffer, offset, value)
    memory.put_u16(buffer, offset + 1, value)
    memory.put_u32(buffer, offset + 3, value)
    memory.put_u64(buffer, offset + 7, value)
    memory.put_i64_native(buffer, offset + 15, value)
    put_u32_at_5(buffer, offset + 18, value)


@kernel(VOID(BYTES, I64, BYTES, I64, I64))
def copy_bytes(target, to, source, at, size):
    copy(target, to, source, at, size)


@kernel(I64(BYTES, I64, I64))
def publish(buffer, offset, value):
    store_release(buffer, offset, value)
    fence()
    return load_acquire(buffer, offset)


@kernel(I64(BYTES, I64))
def read_one(buffer, offset):
    return memory.u32(buffer, offset)


numbers = st.integers(-(1 << 63), (1 << 63) - 1)


@given(data=st.binary(min_size=8, max_size=40), offset=st.integers(0, 32))
def test_loads_at_any_alignment(data, offset):
    offset = min(offset, len(data) - 8)
    out = np.zeros(56, np.uint8)
    read_all(np.frombuffer(bytearray(data), np.uint8), offset, out)
    assert out.view(np.int64).tolist() == [
        naive.read(data, offset, 1),
        naive.read(data, offset, 2),
        naive.read(data, offset, 4),
        naive.read(data, offset, 8, signed=True),
        naive.read(data, offset, 4, "little"),
        naive.read(data, offset, 8, "little", signed=True),
        naive.read(data, offset + 3, 2),
    ]


@given(value=numbers, offset=st.integers(0, 9))
def test_stores_take_the_low_bits(value, offset):
    got, expected = bytearray(40), bytearray(40)
    write_all(np.frombuffer(got, np.uint8), offset, value)
    for at, size, order in (
        (0, 1, "big"),
        (1, 2, "big"),
        (3, 4, "big"),
        (7, 8, "big"),
        (15, 8, "little"),
        (23, 4, "big"),
    ):
        naive.write(expected, offset + at, size, value, order)
    assert got == expected


@given(data=st.binary(max_size=60), start=st.integers(0, 60), size=st.integers(0, 60), to=st.integers(0, 10))
def test_copy(data, start, size, to):
    start = min(start, len(data))
    size = min(size, len(data) - start)
    target = bytearray(80)
    copy_bytes(np.frombuffer(target, np.uint8), to, np.frombuffer(bytearray(data), np.uint8), start, size)
    assert bytes(target) == bytes(to) + data[start : start + size] + bytes(80 - to - size)


@given(data=st.binary(max_size=200), start=st.integers(0, 7))
def test_checksum(data, start):
    start = min(start, len(data))
    buffer = np.frombuffer(bytearray(data), np.uint8)
    assert ones_complement_sum(buffer, start, len(data) - start) == naive.ones_complement_sum(data[start:])


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_checksum_of_the_largest_packet(byte):
    data = bytes([byte]) * 65535
    assert ones_complement_sum(np.frombuffer(data, np.uint8).copy(), 0, 65535) == naive.ones_complement_sum(data)


@given(value=numbers)
def test_published_numbers_are_whole(value):
    assert publish(np.zeros(24, np.uint8), 8, value) == value


@pytest.mark.skipif(not PLAIN, reason="compiled loads are unguarded; their plain twins assert")
@pytest.mark.parametrize("offset", [-1, 5, 6, 100])
def test_plain_twins_assert_their_bounds(offset):
    with pytest.raises(AssertionError):
        read_one(np.zeros(8, np.uint8), offset)
