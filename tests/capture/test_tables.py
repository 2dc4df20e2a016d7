"""The hash tables of a capture: where keys fall."""

from aero_lab.capture.tables import mixed


def test_keys_that_differ_little_fall_far_apart():
    """Addresses and numbers that follow each other share few places of a table, and each part of a key counts."""
    keys = [(0, 0x0A000000 + host, tag) for host in range(500) for tag in (1, 2, 3)]
    slots = 1 << 14
    places = {int(mixed(*key)) & (slots - 1) for key in keys}
    assert all(0 <= int(mixed(*key)) <= 0xFFFFFFFF for key in keys)
    assert len(places) > 0.97 * slots * (1 - (1 - 1 / slots) ** len(keys))
    parts = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]
    assert len({int(mixed(*key)) for key in parts}) == 4
