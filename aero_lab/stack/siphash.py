"""HalfSipHash-2-4: a short keyed hash for connection tables and initial sequence numbers.

Theory of operation ------------------- Whoever can guess where a flow lands in a hash table can fill one bucket
with thousands of flows, and whoever can guess an initial sequence number can forge segments (RFC 6528 asks for a
keyed function over the four-tuple). SipHash (Aumasson and Bernstein, 2012) is made for such short inputs; its
half-width form works on 32-bit words, which fit ``int64`` arithmetic: every sum is masked to 32 bits, nothing
overflows, and compiled code and plain Python agree.

The input is ten 32-bit words (two 128-bit addresses or two 32-bit ones padded with zeros, ports, protocol or a
secret), which stand for the 40 bytes of those words in little-endian order. The result is the 32-bit tag of the
reference algorithm for that message and the 8-byte key ``key0, key1`` (little-endian words).
"""

from __future__ import annotations

from ..compiled.registry import I64, kernel

MASK = 0xFFFFFFFF
WORDS = 10
"""Words mixed in by :func:`half_siphash`."""
_V2, _V3 = 0x6C796765, 0x74656462  # "lyge", "tedb": constants of the reference algorithm
_LAST = (4 * WORDS) << 24  # last block: message length in the top byte, no bytes left over


@kernel(I64(I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64, I64))
def half_siphash(key0, key1, w0, w1, w2, w3, w4, w5, w6, w7, w8, w9):
    """32-bit keyed hash of ten words; only the low 32 bits of each argument count."""
    key0, key1 = key0 & MASK, key1 & MASK
    v0, v1, v2, v3 = key0, key1, _V2 ^ key0, _V3 ^ key1
    for word in (w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, _LAST):
        word = word & MASK
        v3 ^= word
        for _ in range(2):
            v0 = (v0 + v1) & MASK
            v1 = (((v1 << 5) | (v1 >> 27)) & MASK) ^ v0
            v0 = ((v0 << 16) | (v0 >> 16)) & MASK
            v2 = (v2 + v3) & MASK
            v3 = (((v3 << 8) | (v3 >> 24)) & MASK) ^ v2
            v0 = (v0 + v3) & MASK
            v3 = (((v3 << 7) | (v3 >> 25)) & MASK) ^ v0
            v2 = (v2 + v1) & MASK
            v1 = (((v1 << 13) | (v1 >> 19)) & MASK) ^ v2
            v2 = ((v2 << 16) | (v2 >> 16)) & MASK
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(4):
        v0 = (v0 + v1) & MASK
        v1 = (((v1 << 5) | (v1 >> 27)) & MASK) ^ v0
        v0 = ((v0 << 16) | (v0 >> 16)) & MASK
        v2 = (v2 + v3) & MASK
        v3 = (((v3 << 8) | (v3 >> 24)) & MASK) ^ v2
        v0 = (v0 + v3) & MASK
        v3 = (((v3 << 7) | (v3 >> 25)) & MASK) ^ v0
        v2 = (v2 + v1) & MASK
        v1 = (((v1 << 13) | (v1 >> 19)) & MASK) ^ v2
        v2 = ((v2 << 16) | (v2 >> 16)) & MASK
    return v1 ^ v3
