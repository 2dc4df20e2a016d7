"""One frame in depth: its fields by layer with the bytes each stands in, and the bytes themselves.

scapy takes the frame apart. Where a field lies is found by letting scapy's own field objects read the layer's bytes
once more, one after another; a field that cannot be followed so has no place, and the rest is shown all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from ..capture.scapy_packets import parse_frame
from ..capture.schema import ETHERNET

if TYPE_CHECKING:
    from scapy.packet import Packet

MOST_FIELDS = 400
"""Fields shown of a frame."""
MOST_TEXT = 160
"""Characters of a field's value."""
MOST_LAYERS = 40
MOST_HEX = 2048
"""Bytes of a frame that are shown; a jumbo frame's rest is only counted."""
WIDTH = 16


@dataclass(frozen=True)
class Detail:
    """A layer, or a field of one."""

    text: str
    depth: int
    """0 for a layer, 1 for its fields, 2 for what is inside one."""
    start: int | None = None
    """First of its bytes in the frame, None when not known; ``end`` is behind its last."""
    end: int | None = None


def details(data: bytes, link: int = ETHERNET) -> list[Detail]:
    """Layers and fields of a frame of a link layer, in order."""
    out: list[Detail] = []
    layer: Any = parse_frame(data, link=link)
    at = 0
    for _ in range(MOST_LAYERS):
        if not layer or len(out) >= MOST_FIELDS:
            break
        size = len(data) - at if layer.payload is None else _header_size(layer, data, at)
        name = layer.name if isinstance(layer.name, str) else type(layer).__name__
        out.append(Detail(f"{name}, {size} bytes", 0, at, at + size))
        out += _fields(layer, data, at, size)[: MOST_FIELDS - len(out)]
        at += size
        layer = layer.payload
    return out


def _header_size(layer: Packet, data: bytes, at: int) -> int:
    raw = layer.raw_packet_cache
    size = len(raw) if raw is not None else len(layer) - len(layer.payload)
    return max(0, min(size, len(data) - at))


def _fields(layer: Packet, data: bytes, at: int, size: int) -> list[Detail]:
    """Fields of one layer whose bytes are ``size`` from ``at``."""
    out: list[Detail] = []
    rest: Any = data[at : at + size]
    known = True
    for field in layer.fields_desc:
        start = at + size - _left(rest)
        end = start
        if known:
            try:
                rest, _ = field.getfield(layer, rest)  # type: ignore[arg-type]
                # A field of bits ends in the middle of a byte, which is its as well.
                end = at + size - _left(rest) + (isinstance(rest, tuple) and rest[1] > 0)
            except Exception:  # whatever scapy's field meets in bytes that it does not like
                known = False
        if end == start and known:
            continue  # it is conditional, and not there
        out.append(Detail(f"{field.name}: {_value(layer, field)}", 1, *((start, end) if known else (None, None))))
    return out


def _left(rest: Any) -> int:
    """Bytes that are not read yet; scapy gives a pair of bytes and bits inside a byte."""
    return len(rest[0]) if isinstance(rest, tuple) else len(rest)


def _value(layer: Packet, field: Any) -> str:
    try:
        text = str(field.i2repr(layer, layer.getfieldval(field.name)))
    except Exception:
        text = "?"
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def hex_html(data: bytes, start: int | None = None, end: int | None = None, length: int | None = None) -> str:
    """The bytes as hexadecimal and ASCII, those from ``start`` to ``end`` marked; ``length`` is that of the frame."""
    shown = data[:MOST_HEX]
    marked = range(start, end) if start is not None and end is not None else range(0)
    lines = []
    for at in range(0, len(shown), WIDTH):
        part = shown[at : at + WIDTH]
        left = [f"{byte:02x}" for byte in part] + ["  "] * (WIDTH - len(part))
        right = [escape(chr(byte)) if 32 <= byte < 127 else "." for byte in part]
        hexes = _marked(left, at, marked, " ")
        lines.append(f"{at:04x}  {hexes}  {_marked(right, at, marked, '')}")
    if len(data) > len(shown):
        lines.append(f"      … {len(data) - len(shown):,} more bytes")
    if length is not None and length > len(data):
        lines.append(f"      … {length - len(data):,} bytes were not captured")
    return f'<pre class="al-hex" aria-label="bytes of the frame">{chr(10).join(lines)}</pre>'


def _marked(cells: list[str], at: int, marked: range, between: str) -> str:
    """Cells of one line, the marked run of them in one ``mark``."""
    first = max(marked.start - at, 0)
    last = min(marked.stop - at, len(cells))
    if first >= last:
        return between.join(cells)
    pieces = [
        between.join(cells[:first]),
        f"<mark>{between.join(cells[first:last])}</mark>",
        between.join(cells[last:]),
    ]
    return between.join(piece for piece in pieces if piece)
