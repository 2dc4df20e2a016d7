"""Little-endian fields for kernels of this room: capture indexes, raw columns and pcapng files are little-endian."""

from ..compiled import memory
from ..compiled.memory import put_u8, u8

__all__ = [
    "load_field",
    "put_u8",
    "put_u16le",
    "put_u32le",
    "put_u64le",
    "store_field",
    "u8",
    "u16le",
    "u32le",
    "u64le",
]


def load_field(delta: int, size: int):
    """Reader of a little-endian number of ``size`` bytes at ``offset + delta`` (8 bytes: signed)."""
    return memory.load_field(delta, size, False)


def store_field(delta: int, size: int):
    """Writer of a little-endian number of ``size`` bytes at ``offset + delta``."""
    return memory.store_field(delta, size, False)


u16le, u32le, u64le = load_field(0, 2), load_field(0, 4), load_field(0, 8)
put_u16le, put_u32le, put_u64le = store_field(0, 2), store_field(0, 4), store_field(0, 8)
