"""The packet table: the frames of a capture page by page, a display filter, and one frame in depth.

What is shown of a million frames are a page of rows, so nothing here grows with the capture but the columns themselves
and a mask of them. The list of rows is the browser's own list box: it is reached with the tab key, and moved in with
the arrows. Everything happens on the kernel's main thread, between cells.
"""

from __future__ import annotations

import weakref
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.display_filter import FilterError, compile_filter
from ..capture.schema import ETHERNET
from ..errors import UsageError
from ..tables import text_table
from .details import Detail, details, hex_html
from .live import Shown
from .pieces import QUIET, STYLE, UP, own_keys, table
from .rows import HEADINGS, NUMBERS, Origins, aligned, cells, rows_of

if TYPE_CHECKING:
    import pandas as pd

    from ..capture import Capture

PAGE = 20
"""Rows of a page."""
STATIC = 50
"""Rows of the table that stands where widgets cannot."""
TABLE_STYLE = f"""<style>
.al-packets select {{ font-family: var(--jp-code-font-family, monospace); font-size: 12px; white-space: pre; }}
.al-packets select option {{ padding: 0 2px; }}
.al-packets option[data-value*="%5Bretransmission"] {{ color: {UP}; font-weight: bold; }}
.al-packets option[data-value*="%5Bduplicate"] {{ font-style: italic; }}
.al-packets pre {{ font-family: var(--jp-code-font-family, monospace) !important; font-size: 12px !important;
  line-height: 1.3; margin: 0; padding: 0; white-space: pre !important; overflow: hidden; }}
.al-packets pre.al-head {{ color: {QUIET}; text-decoration: underline; margin-left: 3px; }}
.al-packets pre.al-wrong {{ color: {UP}; white-space: pre-wrap !important; }}
.al-packets pre mark {{ background: {UP}; color: #fff; padding: 0; }}
</style>"""


class PacketTable(Shown):
    """Frames of a capture as a table that can be paged, filtered and looked into.

    Parameters
    ----------
    source: a :class:`~aero_lab.capture.Recorder`, a :class:`~aero_lab.capture.Capture`, a DataFrame with the columns of
        ``docs/columns.md``, or the path of a capture file.
    filter: a display filter, as in ``al.filter``.
    """

    def __init__(self, source: Any, filter: str = ""):
        self._source = source
        self._capture: Capture | None = None
        self.first = 0
        """Position of the page's first row among those that pass the filter."""
        self.filter = ""
        self.wrong: FilterError | UsageError | None = None
        """What is wrong with the filter that was asked for last; the one before it is still in force."""
        self._widgets: dict[str, Any] = {}
        self._shown_details: list[Detail] = []
        self._shown_frame: tuple[bytes, int, int] = (b"", 0, ETHERNET)
        self.refresh()
        if filter:
            self.apply(filter)
            if self.wrong is not None:
                raise self.wrong

    # The model ------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the source again: a recorder may hold more by now."""
        self._capture, self.frames = _read(self._source)
        self._origins: Origins | None = None
        times: Any = self.frames["frame_time"] if "frame_time" in self.frames.columns else None
        self.start = int(times.iloc[0]) if times is not None and len(times) else 0
        self._select(self.filter)

    def apply(self, text: str) -> bool:
        """Filter by this text; False, with :attr:`wrong` set and nothing changed, when it cannot be understood."""
        try:
            self._select(text.strip())
        except UsageError as error:
            self.wrong = error
            return False
        self.wrong = None
        self.first = 0
        return True

    def _select(self, text: str) -> None:
        everything = np.arange(len(self.frames))
        self.order = everything[compile_filter(text).mask(self.frames)] if text else everything
        self.filter = text
        self.go(self.first)

    def go(self, first: int) -> None:
        """Turn to the page that begins at this row, or to the nearest there is."""
        last = (max(0, len(self.order) - 1) // PAGE) * PAGE
        self.first = max(0, min(first, last))

    def go_to(self, number: int) -> int:
        """Turn to the page with this ``frame_number``, or the next that passes the filter; returns its line there."""
        numbers = self.frames["frame_number"].to_numpy()[self.order]
        at = int(np.searchsorted(numbers, number))
        at = min(at, max(0, len(self.order) - 1))
        self.go(at - at % PAGE)
        return at - self.first

    def page(self, number: int = PAGE) -> list[tuple[str, ...]]:
        """Texts of the page's rows, in the order of :data:`~aero_lab.widgets.rows.HEADINGS`."""
        chosen = self.order[self.first : self.first + number]
        if self._origins is None and len(chosen):
            self._origins = Origins(self.frames)
        return [cells(row, self.start, self._origins) for row in rows_of(self.frames, chosen)]  # type: ignore[arg-type]

    def frame(self, line: int) -> tuple[bytes, int, int]:
        """Bytes kept of the frame in this line of the page (none when they are not known), its real length, and its
        link layer."""
        at = self.order[self.first + line]
        length = int(self.frames["frame_len"].iloc[at]) if "frame_len" in self.frames.columns else 0
        capture = self._capture
        if capture is None:
            self._capture = capture = _behind(self.frames)
        if capture is None or "frame_number" not in self.frames.columns:
            return b"", length, ETHERNET
        number = int(self.frames["frame_number"].iloc[at])
        try:
            return capture.frame(number), length, capture.link(number)
        except IndexError:
            return b"", length, ETHERNET

    @property
    def position(self) -> str:
        """Which rows these are, of how many."""
        shown, total = len(self.order), len(self.frames)
        if not shown:
            return f"no frames{f' of {total:,}' if total else ''}"
        rows = f"{self.first + 1:,}–{min(self.first + PAGE, shown):,} of {shown:,}"
        return rows if shown == total else f"{rows} (of {total:,})"

    # As text and tables ---------------------------------------------------------------------------------------------

    def _note(self) -> str:
        said = f"filter {self.filter!r}, " if self.filter else ""
        return f"{said}{len(self.order):,} of {len(self.frames):,} frames"

    def __repr__(self) -> str:
        return text_table(HEADINGS, self.page(), right=NUMBERS) + f"\n{self._note()}"

    def _repr_html_(self) -> str:
        body = table(HEADINGS, self.page(STATIC), NUMBERS)
        first = "" if len(self.order) <= STATIC and not self.first else f", {STATIC} from row {self.first + 1:,} shown"
        return f'{STYLE}<div class="al-box">{body}<div class="al-quiet">{escape(self._note())}{first}</div></div>'

    # As widgets -----------------------------------------------------------------------------------------------------

    def _make(self) -> Any:
        import ipywidgets as w

        whole = w.Layout(width="100%", margin="0")
        fits, narrow = w.Layout(width="auto"), w.Layout(width="40px")
        box = {
            "filter": w.Text(
                value=self.filter,
                placeholder="display filter, such as tcp.port == 80 and tcp.len > 0",
                description="Filter",
                continuous_update=False,
                layout=w.Layout(flex="1 1 auto", width="auto"),
            ),
            "clear": w.Button(description="Clear", tooltip="Show every frame", layout=fits),
            "wrong": w.HTML(layout=whole),
            "head": w.HTML(layout=whole),
            "rows": w.Select(options=(), rows=PAGE, layout=whole),
            "first": w.Button(icon="angle-double-left", tooltip="First page", layout=narrow),
            "back": w.Button(icon="angle-left", tooltip="Page before", layout=narrow),
            "next": w.Button(icon="angle-right", tooltip="Next page", layout=narrow),
            "last": w.Button(icon="angle-double-right", tooltip="Last page", layout=narrow),
            "go": w.BoundedIntText(
                value=1,
                min=1,
                max=max(1, len(self.frames)),
                description="Go to No.",
                continuous_update=False,
                layout=w.Layout(width="170px"),
            ),
            "position": w.HTML(),
            "update": w.Button(description="Update", icon="refresh", tooltip="Look at the source again", layout=fits),
            "fields": w.Select(options=(), rows=18, layout=w.Layout(width="40%", margin="0")),
            "bytes": w.HTML(layout=w.Layout(width="60%", margin="0 0 0 8px", overflow="auto", max_height="330px")),
        }
        box["filter"].style.description_width = "40px"
        self._widgets = box
        # The kernel knows the widgets until it ends: they must not hold a capture so long.
        me = weakref.ref(self)

        def bind(name: str, act: Any, trait: str = "") -> None:
            def called(change: Any) -> None:
                packets = me()
                if packets is not None:
                    act(packets, change["new"] if trait else None)

            if trait:
                box[name].observe(called, trait)
            else:
                box[name].on_click(called)

        bind("filter", lambda packets, text: packets._filtered(text), "value")
        bind("clear", lambda packets, _: setattr(packets._widgets["filter"], "value", ""))
        bind("first", lambda packets, _: packets._turn(0))
        bind("back", lambda packets, _: packets._turn(packets.first - PAGE))
        bind("next", lambda packets, _: packets._turn(packets.first + PAGE))
        bind("last", lambda packets, _: packets._turn(len(packets.order)))
        bind("go", lambda packets, number: packets._went(number), "value")
        bind("update", lambda packets, _: packets._again())
        bind("rows", lambda packets, line: packets._chosen(line), "index")
        bind("fields", lambda packets, line: packets._field(line), "index")
        self._fill()
        whole_box = w.VBox(
            [
                w.HTML(STYLE + TABLE_STYLE + own_keys("al-packets"), layout=w.Layout(display="none")),
                w.HBox([box["filter"], box["clear"]]),
                box["wrong"],
                box["head"],
                box["rows"],
                w.HBox(
                    [box[name] for name in ("first", "back", "next", "last", "go", "update", "position")],
                    layout=w.Layout(flex_flow="row wrap", align_items="center"),
                ),
                w.HBox([box["fields"], box["bytes"]], layout=w.Layout(width="100%")),
            ]
        )
        whole_box.add_class("al-packets")
        return whole_box

    def _fill(self, line: int = 0) -> None:
        """Show the page, and the frame in this line of it."""
        box = self._widgets
        if not box:
            return
        head, *lines = aligned(self.page())
        box["head"].value = f'<pre class="al-head">{escape(head)}</pre>'
        box["wrong"].value = self._wrong_html()
        box["position"].value = f'<div class="al-box al-quiet" role="status">{escape(self.position)}</div>'
        rows = box["rows"]
        rows.index = None
        rows.options = tuple((text, number) for number, text in enumerate(lines))
        at_start, at_end = self.first == 0, self.first + PAGE >= len(self.order)
        for name, disabled in (("first", at_start), ("back", at_start), ("next", at_end), ("last", at_end)):
            box[name].disabled = disabled
        if lines:
            rows.index = min(line, len(lines) - 1)
        else:
            self._chosen(None)

    def _wrong_html(self) -> str:
        if self.wrong is None:
            return ""
        at = getattr(self.wrong, "position", None)
        asked = self._widgets["filter"].value.strip()
        where = f"{escape(asked)}\n{' ' * at}^ " if at is not None else ""
        return f'<pre class="al-wrong" role="alert">{where}{escape(str(self.wrong))}</pre>'

    def _filtered(self, text: str) -> None:
        if self.apply(text):
            self._fill()
        else:
            self._widgets["wrong"].value = self._wrong_html()

    def _turn(self, first: int) -> None:
        self.go(first)
        self._fill()

    def _went(self, number: int) -> None:
        if len(self.order) and "frame_number" in self.frames.columns:
            self._fill(self.go_to(number))

    def _again(self) -> None:
        self.refresh()
        self._widgets["go"].max = max(1, len(self.frames))
        self._fill()

    def _chosen(self, line: int | None) -> None:
        """A row was chosen: show its fields and bytes."""
        box = self._widgets
        if line is None:
            self._shown_details, self._shown_frame = [], (b"", 0, ETHERNET)
            texts: list[str] = []
        else:
            self._shown_frame = data, _, link = self.frame(line)
            self._shown_details = details(data, link) if data else []
            texts = ["    " * detail.depth + detail.text for detail in self._shown_details]
            if not data:
                texts = ["the bytes of this frame are not at hand"]
        fields = box["fields"]
        fields.index = None
        fields.options = tuple((text, number) for number, text in enumerate(texts))
        fields.index = None  # new options choose their first
        self._field(None)

    def _field(self, line: int | None) -> None:
        """A field was chosen: mark its bytes."""
        data, length, _ = self._shown_frame
        chosen = self._shown_details[line] if line is not None and line < len(self._shown_details) else None
        start, end = (chosen.start, chosen.end) if chosen is not None else (None, None)
        self._widgets["bytes"].value = hex_html(data, start, end, length) if data else ""


def packets(source: Any, filter: str = "") -> PacketTable:
    """Look through the frames of a capture: a table with pages, a display filter, and fields and bytes of each frame.

    Parameters
    ----------
    source: ``lab.capture`` or any other recorder, a capture, a DataFrame of frames (or some of its rows), or the path
        of a capture file.
    filter: a display filter to begin with, as in :func:`aero_lab.filter`.

    Returns
    -------
    An object that a notebook shows as widgets, and everything else as a table of the first frames.
    """
    return PacketTable(source, filter)


def _read(source: Any) -> tuple[Capture | None, pd.DataFrame]:
    """The capture behind a source, where there is one at once, and its frames."""
    if isinstance(source, (str, Path)):
        from ..capture import load_pcap

        source = load_pcap(source)
    if hasattr(source, "capture"):  # a recorder
        source = source.capture()
    if hasattr(source, "columns"):
        return None, source
    if hasattr(source, "frames"):
        return source, source.frames()
    raise UsageError(f"a packet table shows a recorder, a capture, frames or a file, not {type(source).__name__}")


def _behind(frames: pd.DataFrame) -> Capture | None:
    """The capture that frames were read from, when they say so and it is still there."""
    path = frames.attrs.get("path")
    if not path:
        return None
    from ..capture import load_pcap

    try:
        return load_pcap(path)
    except (OSError, UsageError):
        return None
