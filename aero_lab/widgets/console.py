"""A guest's serial console in a notebook: what it prints scrolls by, what is typed goes in.

The last lines are drawn as text, with as much of a terminal as shells use: carriage returns, backspaces, erasing. The
box scrolls by itself, and stays where it was scrolled back to.
"""

from __future__ import annotations

import re
import weakref
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from .live import Live, Shown
from .pieces import LINE, QUIET, own_keys

if TYPE_CHECKING:
    from ..guests.linux.guest import LinuxGuest

LINES = 500
"""Lines that can be scrolled back to."""
STATIC = 24
"""Lines of the text that stands where widgets cannot: a terminal's."""
BYTES = 64 << 10
"""Bytes of output those lines are made of, at most."""
COLUMNS = 1000
"""Longest line that is drawn; the rest of it is left out."""
KEYS = {"Ctrl-C": b"\x03", "Ctrl-D": b"\x04", "Ctrl-Z": b"\x1a", "Tab": b"\t", "Esc": b"\x1b"}
"""Buttons for what a field of a browser keeps for itself."""
ANSWER = 2_000_000_000
"""Guest time in ns that a machine which stands still is given to answer what was typed."""
STYLE = f"""<style>
.al-console pre {{ margin: 0; padding: 6px 8px; font-family: var(--jp-code-font-family, monospace) !important;
  font-size: 12px !important; line-height: 1.3; white-space: pre-wrap !important; overflow-wrap: anywhere; }}
.al-screen pre {{ flex: none; overflow: visible !important; }}
.al-screen {{ display: flex; flex-direction: column-reverse; overflow-y: auto; height: 330px;
  border: 1px solid {LINE}; background: var(--jp-layout-color0, #fff); color: var(--jp-content-font-color1, #222); }}
.al-screen-foot {{ color: {QUIET}; font-size: 12px; padding: 2px 0; }}
</style>"""

_CONTROL = re.compile(
    r"\x1b\[([0-9;?]*)([ -/]*[@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]|[\x00-\x1f\x7f]"
)


def lines_of(data: bytes, most: int = LINES) -> list[str]:
    """The last lines that a terminal would show after ``data``; colours and places on the screen are left out."""
    lines = [""]
    column = 0

    def put(text: str) -> None:
        nonlocal column
        text = text[: max(COLUMNS - column, 0)]
        line = lines[-1].ljust(column)
        lines[-1] = line[:column] + text + line[column + len(text) :]
        column += len(text)

    text = data.decode("utf-8", "replace")
    at = 0
    for match in _CONTROL.finditer(text):
        put(text[at : match.start()])
        at = match.end()
        what = match[0]
        if what == "\n":
            lines.append("")
            column = 0
            if len(lines) > 2 * most:
                del lines[:-most]
        elif what == "\r":
            column = 0
        elif what in ("\b", "\x7f"):
            column = max(column - 1, 0)
        elif what == "\t":
            put(" " * (8 - column % 8))
        elif match[2] in ("K", "J"):
            if match[1] in ("", "0"):
                lines[-1] = lines[-1][:column]
            elif match[1] in ("2", "3"):
                lines[-1] = ""
                if match[2] == "J":
                    lines[:] = [""]
                    column = 0
        elif match[2] in ("C", "D"):
            steps = int(match[1]) if match[1].isdigit() else 1
            column = min(max(column + (steps if match[2] == "C" else -steps), 0), COLUMNS)
        elif match[2] == "H":
            column = 0
    put(text[at:])
    return lines[-most:]


class ConsoleView(Shown):
    """The console of a guest: live where there is a kernel to show it, its last lines elsewhere."""

    def __init__(self, guest: LinuxGuest):
        self.guest = guest
        self._live = Live(self._refresh, every=0.1)
        self._cancel: Any = None
        self._drawn: tuple[int, str] | None = None
        self._screen: Any = None
        self._foot: Any = None

    @property
    def lines(self) -> list[str]:
        """The last lines on it."""
        return lines_of(self.guest.machine.console.since(self.guest.machine.console.size - BYTES))

    def _make(self) -> Any:
        import ipywidgets as widgets

        me = weakref.ref(self)
        self._screen = widgets.HTML()
        self._foot = widgets.HTML()
        field = widgets.Text(placeholder="type here, Enter sends it", layout=widgets.Layout(width="480px"))
        field.add_class("al-typing")

        def submitted(_: Any, content: Any, buffers: Any) -> None:
            view = me()
            if view is not None and content.get("event") == "submit":
                text, field.value = field.value, ""
                view.send(text.encode() + b"\n")

        field.on_msg(submitted)

        def clicked(keys: bytes, _: Any) -> None:
            view = me()
            if view is not None:
                text, field.value = field.value, ""
                view.send(text.encode() + keys)

        buttons = []
        for name, keys in KEYS.items():
            button = widgets.Button(description=name, layout=widgets.Layout(width="auto"))

            button.on_click(partial(clicked, keys))
            buttons.append(button)
        box = widgets.VBox(
            [
                widgets.HTML(STYLE + own_keys("al-console")),
                self._screen,
                widgets.HBox([field, *buttons]),
                self._foot,
            ]
        )
        box.add_class("al-console")
        self._refresh()
        return box

    def send(self, data: bytes) -> None:
        """Type ``data``; a machine that stands still goes on for as long as it takes to answer."""
        self.guest.answer(data, ANSWER)
        self._live.soon()

    def _shown(self) -> None:
        if self._cancel is None:
            live = weakref.ref(self._live)

            def printed(_: bytes) -> None:
                view = live()
                if view is not None:
                    view.soon()

            self._cancel = self.guest.machine.console.subscribe(printed)
            self.guest.on_close(self._end)
        self._live.start()

    def _end(self) -> None:
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        self._live.stop(last=True)

    def _refresh(self) -> None:
        """On the display thread: draw what is new."""
        now = (self.guest.machine.console.size, self.guest.state)
        if now != self._drawn:
            self._drawn = now
            self._screen.value = f'<div class="al-screen" tabindex="0"><pre>{escape(self._text(LINES))}</pre></div>'
            self._foot.value = f'<div class="al-screen-foot">{escape(self.guest.state)}</div>'

    def _text(self, most: int) -> str:
        return "\n".join(self.lines[-most:])

    def __repr__(self) -> str:
        return self._text(STATIC)

    def _repr_html_(self) -> str:
        return f'{STYLE}<div class="al-console"><pre>{escape(self._text(STATIC))}</pre></div>'
