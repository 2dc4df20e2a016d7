"""A slow, plain model of the whole stack, written from the RFCs and from what ``docs/tcp.md`` promises beyond them.

It shares no code with ``aero_lab.stack``: addresses are bytes, packets are packed with ``struct``, buffers are byte
strings and sets of sequence numbers, tables are dicts and lists, and every figure that can be counted anew is. Given
the same frames, calls and times it says, byte for byte, which frames go out, which events are told, what is counted,
and when the next thing is due.
"""

from .stack import Model

__all__ = ["Model"]
