"""A hash table in one byte array: it numbers addresses and conversations.

A header, then a power of two of slots of 32 bytes: two 64-bit halves of the key, a tag that is part of the key and
never 0 (0 marks a free slot), and a number. Numbers count from 0 within a *family* of tags, ``tag >> 2``, so one table
serves MAC addresses, IP addresses and conversations. Linear probing; never more than half full, so a search ends. The
kernel that fills one stops before it would overfill it, Python replaces it by a larger one with :func:`grown`, and the
kernel goes on.
"""

from __future__ import annotations

import numpy as np

from ..compiled.memory import i64_native_field, put_i64_native_field
from ..compiled.registry import BYTES, I64, VOID, entry, kernel

HEADER_SIZE, SLOT_SIZE = 64, 32
FAMILIES = 16
"""Where the counters of the families are, 8 bytes each."""
M32 = 0xFFFFFFFF

table_count, put_table_count = i64_native_field(0), put_i64_native_field(0)
table_slots = i64_native_field(8)
key_hi, put_key_hi = i64_native_field(0), put_i64_native_field(0)
key_lo, put_key_lo = i64_native_field(8), put_i64_native_field(8)
key_tag, put_key_tag = i64_native_field(16), put_i64_native_field(16)
slot_number, put_slot_number = i64_native_field(24), put_i64_native_field(24)


@kernel(I64(I64, I64, I64))
def mixed(hi, lo, tag):
    """32 well-mixed bits of a key; multiplications stay below 2^64, so plain Python gives the same."""
    mix = ((hi ^ (hi >> 32)) & M32) * 0x9E3779B1 & M32
    mix = ((mix ^ (mix >> 15) ^ lo) & M32) * 0x85EBCA6B & M32
    mix = ((mix ^ (mix >> 13) ^ (lo >> 32) ^ (tag << 7)) & M32) * 0xC2B2AE35 & M32
    return mix ^ (mix >> 16)


@kernel(I64(BYTES, I64, I64, I64))
def find_slot(table, hi, lo, tag):
    """Offset of the slot of this key, or of the free one where it belongs; the caller keeps the table half empty."""
    mask = table_slots(table, 0) - 1
    at = mixed(hi, lo, tag) & mask
    while True:
        slot = HEADER_SIZE + SLOT_SIZE * at
        found = key_tag(table, slot)
        if found == 0 or (found == tag and key_lo(table, slot) == lo and key_hi(table, slot) == hi):
            return slot
        at = (at + 1) & mask


@kernel(VOID(BYTES, I64, I64, I64, I64, I64))
def _take(table, slot, hi, lo, tag, number):
    put_key_hi(table, slot, hi)
    put_key_lo(table, slot, lo)
    put_key_tag(table, slot, tag)
    put_slot_number(table, slot, number)
    put_table_count(table, 0, table_count(table, 0) + 1)
    counter = FAMILIES + 8 * (tag >> 2)
    put_table_count(table, counter, table_count(table, counter) + 1)


@kernel(I64(BYTES, I64, I64, I64))
def intern(table, hi, lo, tag):
    """Number of this key, from 0 in order of first appearance in its family."""
    slot = find_slot(table, hi, lo, tag)
    if key_tag(table, slot) == 0:
        _take(table, slot, hi, lo, tag, table_count(table, FAMILIES + 8 * (tag >> 2)))
    return slot_number(table, slot)


@kernel(I64(BYTES, I64))
def has_space(table, more):
    """1 when ``more`` new keys leave the table at most half full."""
    return 1 if 2 * (table_count(table, 0) + more) <= table_slots(table, 0) else 0


@entry
@kernel(I64(BYTES, BYTES))
def rehash(table, larger):
    """Put every key of one table, with its value, into an empty larger one; returns how many."""
    for i in range(table_slots(table, 0)):
        slot = HEADER_SIZE + SLOT_SIZE * i
        if key_tag(table, slot) != 0:
            to = find_slot(larger, key_hi(table, slot), key_lo(table, slot), key_tag(table, slot))
            _take(
                larger, to, key_hi(table, slot), key_lo(table, slot), key_tag(table, slot), slot_number(table, slot)
            )  # fmt: skip
    return table_count(larger, 0)


def new_table(keys: int) -> np.ndarray:
    """An empty table that takes at least ``keys`` keys."""
    slots = 1 << max(6, (2 * keys).bit_length())
    table = np.zeros(HEADER_SIZE + SLOT_SIZE * slots, np.uint8)
    table[8:16] = np.frombuffer(np.int64(slots).tobytes(), np.uint8)
    return table


def family_count(table: np.ndarray, family: int) -> int:
    """Keys of a family."""
    at = FAMILIES + 8 * family
    return int(table[at : at + 8].view(np.int64)[0])


def entries(table: np.ndarray, family: int) -> list[tuple[int, int, int]]:
    """Keys ``(hi, lo, tag)`` of a family in the order of their numbers."""
    rows = table[HEADER_SIZE:].view(np.int64).reshape(-1, 4)
    rows = rows[rows[:, 2] >> 2 == family]
    return [(hi, lo, tag) for hi, lo, tag, _ in rows[np.argsort(rows[:, 3])].tolist()]


def grown(table: np.ndarray) -> np.ndarray:
    """The same keys and values in a table four times as large."""
    larger = new_table(int(table[8:16].view(np.int64)[0]))
    rehash(table, larger)
    return larger
