"""Reports of ``aero-lab inspect --html`` and of ``aero-lab compare``: one file each that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..tables import html_table
from .columns import is_number

if TYPE_CHECKING:
    from .inspect import Inspection
    from .table import Table

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #1b1c1e; --line: #444; } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76em; margin: 2em auto; padding: 0 1em; }
body { color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 0.5em 0 1.5em; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2em 0.7em; text-align: left; overflow-wrap: normal; }
div:has(> table) { overflow-x: auto; } .small { font-size: 0.82em; }
img { max-width: 100%; background: #fff; } h2 { margin-top: 2em; font-size: 1.15em; } h3 { font-size: 1em; }
@media (max-width: 60em) { table { font-size: 0.85em; } th, td { padding: 0.2em 0.4em; } }
"""
"""Light or dark as the reader has it; wide tables scroll by themselves, the page never does."""
RESOLUTION = 110
"""Dots per inch of the pictures."""


def inspection_html(found: Inspection) -> str:
    """The summary, each table with all its rows, and the pictures that the capture has data for."""
    parts = [f"<p>{escape(line)}</p>" for line in found.summary()]
    style = STYLE
    for place, (title, headings, rows, right) in enumerate(found.sections()):
        if rows:
            parts += [f"<h2>{escape(title)}</h2>", f'<div class="table{place}">{html_table(headings, rows)}</div>']
            style += "".join(f".table{place} :is(th, td):nth-child({n + 1}) {{ text-align: right; }}\n" for n in right)
    parts += [f"<h2>{escape(title)}</h2>\n{image}" for title, image in _pictures(found)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(found.path.name)}</title>'
        f"<style>{style}</style></head>\n<body><h1>{escape(found.path.name)}</h1>\n{body}\n</body></html>\n"
    )


def comparison_html(table: Table) -> str:
    """The table of a comparison, what was left out and why, and a picture."""
    from ..viz import comparison

    machine = table.document()["machine"]
    modes = " and ".join(dict.fromkeys(f"{run.mode} time" for run in table.runs))
    parts, style = [f"<p>{escape(f'{table.title()}, {modes}')}</p>"], STYLE
    failed = [run for run in table.runs if not run.ok]
    parts += [
        f"<p>failed: {escape(run.label)} over {escape(run.over)}, {escape(run.workload)}: {escape(str(run.error))}</p>"
        for run in failed
    ]
    summed = table.summary()
    for place, (title, headings, rows) in enumerate([*summed, *table.every_run()]):
        if place == len(summed):
            parts.append("<h2>every run</h2>")
        level, small = ("h2", "") if place < len(summed) else ("h3", " small")
        parts.append(f"<{level}>{escape(title)}</{level}>")
        parts.append(f'<div class="table{place}{small}">{html_table(headings, rows)}</div>')
        right = [n for n in range(len(headings)) if all(is_number(row[n]) for row in rows)]
        style += "".join(f".table{place} :is(th, td):nth-child({n + 1}) {{ text-align: right; }}\n" for n in right)
        style += "".join(f".table{place} td:nth-child({n + 1}) {{ white-space: nowrap; }}\n" for n in (0, 1, *right))
    if table.left_out:
        parts.append("<h2>left out</h2>")
        told = [[each["option"], each["transport"], each["reason"]] for each in table.left_out]
        parts.append(f"<div>{html_table(['option', 'transport', 'why'], told)}</div>")
    if any(run.ok for run in table.runs):
        parts.append("<h2>side by side</h2>\n" + _image(lambda: comparison(table).ravel()[0]))
    parts.append(f"<p>Machine: {escape(', '.join(f'{name} {value}' for name, value in machine.items()))}</p>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>aero-lab compare</title>'
        f"<style>{style}</style></head>\n<body><h1>aero-lab compare</h1>\n{body}\n</body></html>\n"
    )


def _pictures(found: Inspection) -> list[tuple[str, str]]:
    from .. import viz
    from ..analysis.select import oriented

    frames: Any = oriented(found.frames)
    tcp = bool(frames["tcp_len"].notna().any())
    wanted: list[tuple[str, bool, Callable[[], Any]]] = [
        ("bandwidth by cause", len(frames) > 0, lambda: viz.bandwidth(frames, point=found.point)),
        ("time and sequence of the largest flow", tcp, lambda: viz.time_sequence(frames)),
        ("pure ACKs", tcp and found.acks.pure_acks > 0, lambda: viz.acks(frames, point=found.point)),
        ("delay of the tunnel", bool(frames["tunnel_delay"].notna().any()), lambda: viz.delay(frames)),
    ]
    return [(title, _image(draw)) for title, there, draw in wanted if there]


def _image(draw: Callable[[], Any]) -> str:
    import matplotlib.pyplot as plt

    out = BytesIO()
    try:
        axes = draw()
    except UsageError as error:  # what cannot be drawn is said in its place
        return f"<p>{escape(str(error))}</p>"
    figure = axes.figure
    figure.savefig(out, format="png", dpi=RESOLUTION, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}">'
