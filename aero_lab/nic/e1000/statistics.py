"""The statistics registers (SDM 13.7): they stop at their largest value, and reading clears.

Sizes are those on a wire: with the frame check sequence, and padded to 64 bytes, which the frames of our rings are not.
Of a 64-bit pair the lower word of ``reg`` holds the whole number.
"""

from __future__ import annotations

from ...compiled.registry import I64, VOID, kernel
from .names import M32, OFFSETS
from .state import D

FCS = 4
LEAST_ON_WIRE = 64
WIDE_MOST = (1 << 62) - 1
"""Where the 64-bit pairs stop: not at 2**64 - 1, as such a number does not fit an ``int64``; nobody gets there."""

(
    FIRST, LAST, MPC, ROC, RUC, RNBC, PRC64, GPRC, BPRC, MPRC, GPTC, GORCL, GORCH, GOTCL, GOTCH, TORL, TORH, TOTL, TOTH,
    TPR, TPT, PTC64, MPTC, BPTC, TSCTC, TSCTFC,
) = (
    OFFSETS[name] >> 2
    for name in """
    CRCERRS TSCTFC MPC ROC RUC RNBC PRC64 GPRC BPRC MPRC GPTC GORCL GORCH GOTCL GOTCH TORL TORH TOTL TOTH
    TPR TPT PTC64 MPTC BPTC TSCTC TSCTFC
    """.split()
)  # fmt: skip
UNICAST, MULTICAST, BROADCAST = 0, 1, 2


@kernel(VOID(D, I64, I64))
def bump(D, word, number):
    """Add to a counter of 32 bits."""
    D.reg[word] = min(D.reg[word] + number, M32)


@kernel(VOID(D, I64, I64))
def bump_wide(D, word, number):
    """Add to a pair."""
    D.reg[word] = min(D.reg[word] + number, WIDE_MOST)


@kernel(I64(I64))
def size_class(size):
    """Which of the six counters by size: up to 64 bytes, 127, 255, 511, 1023, and more."""
    if size <= 64:
        return 0
    if size < 256:
        return 1 if size < 128 else 2
    if size < 1024:
        return 3 if size < 512 else 4
    return 5


@kernel(VOID(D, I64))
def count_arrival(D, size):
    """A frame came, whatever becomes of it."""
    bump(D, TPR, 1)
    bump_wide(D, TORL, max(size + FCS, LEAST_ON_WIRE))


@kernel(VOID(D, I64, I64))
def count_received(D, size, kind):
    """A good frame passed the filters."""
    size = max(size + FCS, LEAST_ON_WIRE)
    bump(D, GPRC, 1)
    bump(D, PRC64 + size_class(size), 1)
    bump_wide(D, GORCL, size)
    if kind == MULTICAST:
        bump(D, MPRC, 1)
    elif kind == BROADCAST:
        bump(D, BPRC, 1)


@kernel(VOID(D, I64, I64))
def count_sent(D, size, kind):
    """A frame went out."""
    size = max(size + FCS, LEAST_ON_WIRE)
    bump(D, TPT, 1)
    bump(D, GPTC, 1)
    bump(D, PTC64 + size_class(size), 1)
    bump_wide(D, GOTCL, size)
    bump_wide(D, TOTL, size)
    if kind == MULTICAST:
        bump(D, MPTC, 1)
    elif kind == BROADCAST:
        bump(D, BPTC, 1)


@kernel(I64(D, I64))
def read_statistic(D, word):
    """What the guest reads, and clear it; a pair is cleared when its upper word is read (SDM 13.7.32)."""
    if word == GORCL or word == GOTCL or word == TORL or word == TOTL:
        return D.reg[word] & M32
    if word == GORCH or word == GOTCH or word == TORH or word == TOTH:
        value = D.reg[word - 1] >> 32
        D.reg[word - 1] = 0
        return value
    value = D.reg[word]
    D.reg[word] = 0
    return value
