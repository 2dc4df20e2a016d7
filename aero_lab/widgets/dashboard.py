"""The dashboard of a running lab.

Figures come from :mod:`.sampling`, four times a second while the lab runs, on the display thread (:mod:`.live`): they
go on while a cell computes. Buttons act between cells. A lab has one dashboard: showing it twice shows two views of
the same widgets, and it is not sampled before it is shown. It does not keep a lab alive that nobody else holds.
"""

from __future__ import annotations

import weakref
from html import escape
from typing import Any

from ..engine import EngineStopped
from ..errors import AeroLabError
from ..limits import SECOND
from ..tables import text_table
from ..viz.style import span
from .live import EVERY, Live, Shown
from .pieces import DOWN, STYLE, TEXT, UP, lines, number, own_keys, table, tile
from .sampling import KEPT, AckCounter, History, Sample, take

FLOW_COLUMNS = ("guest", "protocol", "from", "to", "name", "state", "up", "down")
DROPS_SHOWN = 8


class Dashboard(Shown):
    """What a lab is doing: throughput, frames, acknowledgements, round-trip time, drops, flows; and its recorder.

    In a notebook it is live, with buttons that start and stop the recording of frames and save what was recorded;
    elsewhere, and in an exported notebook, a table of the moment.
    """

    def __init__(self, lab: Any):
        self._lab = weakref.ref(lab)
        self._title = f"Option {lab.path.letter}, {lab.transport}" + (f", {lab.link}" if lab.link is not None else "")
        self._virtual = lab.virtual
        self._acks = AckCounter()
        self.history = History()
        self.state = "running"
        self.live = Live(self._refresh, EVERY)
        self._parts: dict[str, Any] = {}

    # The model ------------------------------------------------------------------------------------------------------

    def sample(self) -> Sample | None:
        """Look at the lab now; None when it is closed."""
        lab = self._lab()
        if lab is None or lab.closed:
            self.state = "closed"
            return None
        try:
            sample = take(lab, self._acks)
        except EngineStopped as error:
            self.state = "closed" if lab.closed else str(error)
            return None
        self.history.add(sample)
        return sample

    @property
    def latest(self) -> Sample:
        """The last sample; an empty one before there was any."""
        return self.history.samples[-1] if self.history.samples else Sample(0)

    def rows(self) -> list[tuple[str, str]]:
        """The figures as text: name and value."""
        last, history = self.latest, self.history
        ratio, rate = history.acks_per_data_segment, history.rate
        up, down = rate("frames_up"), rate("frames_down")
        total = last.pure_acks / last.data_segments if last.data_segments else None
        return [
            ("lab", f"{self._title}: {self.state}"),
            ("guests", f"{last.guests}"),
            ("throughput up", number(8 * rate("bytes_up"), "bit/s")),
            ("throughput down", number(8 * rate("bytes_down"), "bit/s")),
            ("frames up", f"{last.frames_up:,} ({number(up)}/s)"),
            ("frames down", f"{last.frames_down:,} ({number(down)}/s)"),
            ("ACKs per data segment", _ratio(total if ratio is None else ratio)),
            ("RTT", "–" if last.rtt is None else span(last.rtt)),
            ("frames dropped", f"{sum(last.drops.values()):,}"),
            ("active flows", f"{last.live_flows:,}"),
            ("capture", self._recording()),
        ]

    def _recording(self) -> str:
        last = self.latest
        doing = "recording" if last.recording and self.state == "running" else "stopped"
        return f"{doing}, {last.recorded:,} frames, {last.recorded_bytes / 1e6:.1f} MB"

    # As text and tables ---------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        self._fresh()
        return text_table(("dashboard", ""), self.rows())

    def _repr_html_(self) -> str:
        self._fresh()
        body = table(("dashboard", ""), self.rows())
        return f'{STYLE}<div class="al-box">{body}{self.tables_html()}</div>'

    def _fresh(self) -> None:
        if not self.live.running:
            self.sample()

    # As widgets -----------------------------------------------------------------------------------------------------

    def head_html(self) -> str:
        """Title and state."""
        time = "virtual time" if self._virtual else "real time"
        at = f" at {self.latest.now / SECOND:.3f} s" if self._virtual else ""
        colour = TEXT if self.state == "running" else UP
        return (
            f'<div class="al-box"><b>{escape(self._title)}</b> <span class="al-quiet">{time}{at}, '
            f'{_guests(self.latest.guests)}</span> <b style="color:{colour}">{escape(self.state)}</b></div>'
        )

    def tiles_html(self) -> str:
        """The figures and the picture."""
        last, history, rate = self.latest, self.history, self.history.rate
        up, down = rate("frames_up"), rate("frames_down")
        ratio = history.acks_per_data_segment
        if ratio is None and last.data_segments:
            ratio = last.pure_acks / last.data_segments
        lost = sum(last.drops.values())
        tiles = [
            tile(number(8 * rate("bytes_up"), "bit/s"), "up", "Ethernet frames from the guests", UP),
            tile(number(8 * rate("bytes_down"), "bit/s"), "down", "Ethernet frames to the guests", DOWN),
            tile(f"{number(up)}/s", "frames up", f"{last.frames_up:,} frames since the beginning"),
            tile(f"{number(down)}/s", "frames down", f"{last.frames_down:,} frames since the beginning"),
            tile(
                _ratio(ratio), "ACKs / segment", "pure ACKs per segment with payload, of the recorded frames at the NIC"
            ),
            tile(
                "–" if last.rtt is None else span(last.rtt),
                "RTT",
                "median of the smoothed round-trip times that the proxy's TCP measured, else the tunnel's last PING",
            ),
            tile(number(lost), "dropped", f"{lost:,} frames since the beginning"),
            tile(number(last.live_flows), "active flows", f"{last.live_flows:,}"),
        ]
        ages = history.ages
        across = KEPT * EVERY if not self._virtual else max(ages, default=0.0) or 1.0
        picture = lines([("up", UP, history.up), ("down", DOWN, history.down)], ages, across)
        return f'<div class="al-box"><div class="al-tiles">{"".join(tiles)}</div>{picture}</div>'

    def tables_html(self) -> str:
        """Active flows and drops by reason."""
        last = self.latest
        flows = [
            (
                row["guest_name"],
                row["protocol"],
                row["guest"] if row["direction"] == "out" else row["outside"],
                row["target"] if row["direction"] == "out" else row["guest"],
                row["name"] or "",
                row["state"],
                number(row["bytes_up"], "B"),
                number(row["bytes_down"], "B"),
            )
            for row in last.flows
        ]
        more = last.live_flows - len(flows)
        note = f'<div class="al-quiet">and {more:,} more</div>' if more > 0 else ""
        none = '<div class="al-quiet">none</div>'
        drops = [(reason, f"{count:,}") for reason, count in last.drops.items()][:DROPS_SHOWN]
        rest = sum(list(last.drops.values())[DROPS_SHOWN:])
        if rest:
            drops.append(("other", f"{rest:,}"))
        return (
            '<div class="al-box al-tables">'
            f"<div><h4>Active flows</h4>{table(FLOW_COLUMNS, flows, (6, 7)) if flows else none}{note}</div>"
            f"<div><h4>Drops by reason</h4>{table(('reason', 'frames'), drops, (1,)) if drops else none}</div></div>"
        )

    def _make(self) -> Any:
        import ipywidgets as w

        self._fresh()
        wide = w.Layout(width="auto", margin="0")
        parts: dict[str, Any] = {name: w.HTML(layout=wide) for name in ("head", "tiles", "tables", "recording")}
        fits = w.Layout(width="auto")
        start = w.Button(description="Start capture", icon="circle", tooltip="Record frames from now on", layout=fits)
        stop = w.Button(
            description="Stop capture", icon="stop", tooltip="Record no more; what there is stays", layout=fits
        )
        path = w.Text(value="capture.pcapng", description="File", layout=w.Layout(width="260px"))
        path.style.description_width = "32px"
        save = w.Button(description="Save", icon="download", tooltip="Write what was recorded as pcapng", layout=fits)
        said = w.HTML()
        # Bound weakly: the widgets are known to the kernel until it ends, and must not hold the lab so long.
        me = weakref.ref(self)

        def on(act: str) -> Any:
            def clicked(_: Any) -> None:
                dashboard = me()
                if dashboard is None:
                    return
                said.value = dashboard._say(dashboard.press(act, path.value))
                if dashboard.live.running:
                    dashboard.live.soon()
                else:
                    dashboard._show()

            return clicked

        for act, button in (("start", start), ("stop", stop), ("save", save)):
            button.on_click(on(act))
        parts.update(start=start, stop=stop)
        self._parts = parts
        self._show()
        buttons = w.HBox(
            [start, stop, path, save, parts["recording"]], layout=w.Layout(flex_flow="row wrap", align_items="center")
        )
        hidden = w.HTML(STYLE + own_keys("al-dashboard"), layout=w.Layout(display="none"))
        box = w.VBox([hidden, parts["head"], parts["tiles"], buttons, said, parts["tables"]])
        box.add_class("al-dashboard")
        return box

    def press(self, act: str, path: str = "") -> str:
        """What a button does: ``"start"``, ``"stop"`` or ``"save"``; returns what came of it, in a line."""
        lab = self._lab()
        if lab is None:
            return "The lab is gone."
        if act in ("start", "stop"):
            lab.capture.enabled = act == "start"
            self._fresh()
            return ""
        try:
            frames = len(lab.capture)
            return f"Saved {frames:,} frames to {lab.capture.save(path.strip() or 'capture.pcapng')}."
        except (OSError, AeroLabError) as error:
            return f"Not saved: {error}"

    @staticmethod
    def _say(text: str) -> str:
        return f'<div class="al-box" role="status">{escape(text)}</div>' if text else ""

    def _show(self) -> None:
        """Bring the widgets up to the last sample."""
        parts = self._parts
        if not parts:
            return
        parts["head"].value = self.head_html()
        parts["tiles"].value = self.tiles_html()
        parts["tables"].value = self.tables_html()
        parts["recording"].value = f'<div class="al-box al-quiet">{escape(self._recording())}</div>'
        alive = self.state == "running"
        parts["start"].disabled = not alive or self.latest.recording
        parts["stop"].disabled = not alive or not self.latest.recording

    def _refresh(self) -> None:
        try:
            self.sample()
        except Exception as error:
            self.state = f"this display stopped: {type(error).__name__}: {error}"
        self._show()
        if self.state != "running":
            self.live.stop()

    def _shown(self) -> None:
        if self.state == "running":
            self.live.start()

    def close(self) -> None:
        """Stop, and take the widgets away."""
        self.live.stop()
        if self._widget is not None:
            self._widget.close()
            self._widget, self._parts = None, {}


def _guests(number: int) -> str:
    return f"{number} guest" + "s" * (number != 1)


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
