"""The programs by name."""

from __future__ import annotations

import struct

from .images import IMAGES

ROUNDS_AT = 8
"""Where in a program the number of its rounds lies."""
RESULTS = {"sieve": 0x0000198E, "crc": 0x0AB738C9, "quicksort": 0x84AEE3CE}
"""What each works out; ``tests/bench`` works it out again."""


def image(name: str, rounds: int) -> bytes:
    """The boot sector of a program that works ``rounds`` times."""
    raw = bytes.fromhex(IMAGES[name])
    return raw[:ROUNDS_AT] + struct.pack("<I", rounds) + raw[ROUNDS_AT + 4 :]
