"""The text screen: 80 by 25 characters of VGA memory as text, and in colour for a notebook."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from .limits import TEXT_BASE, TEXT_SIZE
from .video import CURSOR_HIGH, CURSOR_LOW, START_HIGH, START_LOW

COLUMNS, ROWS = 80, 25
_CONTROL = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_GLYPHS = _CONTROL + bytes(range(32, 127)).decode() + "⌂" + bytes(range(128, 256)).decode("cp437")
"""What the 256 characters of code page 437 look like."""
PALETTE = (
    "#000", "#00a", "#0a0", "#0aa", "#a00", "#a0a", "#a50", "#aaa",
    "#555", "#55f", "#5f5", "#5ff", "#f55", "#f5f", "#ff5", "#fff",
)  # fmt: skip


class Screen:
    """What the text screen showed at one moment."""

    def __init__(self, cells: bytes, cursor: tuple[int, int] | None):
        self._cells = cells
        self.cursor = cursor
        """Row and column of the cursor, or None when it is elsewhere."""

    @property
    def rows(self) -> list[str]:
        """The 25 lines, each of 80 characters."""
        glyphs = [_GLYPHS[code] for code in self._cells[::2]]
        return ["".join(glyphs[at : at + COLUMNS]) for at in range(0, COLUMNS * ROWS, COLUMNS)]

    @property
    def text(self) -> str:
        """The lines without blanks at their ends, empty ones at the bottom left out."""
        return "\n".join(row.rstrip() for row in self.rows).rstrip("\n")

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Screen {COLUMNS}x{ROWS}, {sum(1 for row in self.rows if row.strip())} lines>"

    def _repr_html_(self) -> str:
        lines = []
        for number, row in enumerate(self.rows):
            runs: list[tuple[int, str]] = []
            for column, glyph in enumerate(row):
                colour = self._cells[2 * (number * COLUMNS + column) + 1]
                if runs and runs[-1][0] == colour:
                    runs[-1] = (colour, runs[-1][1] + glyph)
                else:
                    runs.append((colour, glyph))
            lines.append(
                "".join(
                    f'<span style="color:{PALETTE[c & 15]};background:{PALETTE[c >> 4 & 7]}">{escape(text)}</span>'
                    for c, text in runs
                )
            )
        style = "background:#000;color:#aaa;line-height:1.15;font-family:monospace;display:inline-block;padding:6px"
        return f'<pre style="{style}">' + "\n".join(lines) + "</pre>"


def read_screen(ram: np.ndarray, board: Any) -> Screen:
    """The screen that the CRT controller's start address selects."""
    start = int(board.crtc[START_HIGH]) << 8 | int(board.crtc[START_LOW])
    at = (2 * start + np.arange(2 * COLUMNS * ROWS)) % TEXT_SIZE + TEXT_BASE
    place = (int(board.crtc[CURSOR_HIGH]) << 8 | int(board.crtc[CURSOR_LOW])) - start
    cursor = divmod(place, COLUMNS) if 0 <= place < COLUMNS * ROWS else None
    return Screen(ram[at].tobytes(), cursor)
