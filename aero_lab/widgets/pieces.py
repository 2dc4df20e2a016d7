"""Pieces of HTML that widgets and their static stand-ins share. Everything that is text of somebody else is escaped.

Colours are the figures'; everything else takes JupyterLab's own variables, so that it follows the theme, with what a
white page needs as their defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..viz.style import BLUE, VERMILION

UP, DOWN = VERMILION, BLUE
"""From the guest and to it: both stand out on white and on black, and from each other for the colour-blind."""
TEXT = "var(--jp-ui-font-color1, #222222)"
QUIET = "var(--jp-ui-font-color2, #616161)"
LINE = "var(--jp-border-color2, #d9d9d9)"
STYLE = f"""<style>
.al-box {{ padding: 0 4px; color: {TEXT}; line-height: 1.35; font-size: 13px;
  font-family: var(--jp-ui-font-family, sans-serif); }}
.al-box table {{ border-collapse: collapse; width: auto; margin: 0; font-size: 12px;
  font-variant-numeric: tabular-nums; }}
.al-box th, .al-box td {{ padding: 1px 10px 1px 0; text-align: left; white-space: nowrap; border: 0;
  background: none; }}
.al-box th {{ color: {QUIET}; font-weight: 600; border-bottom: 1px solid {LINE}; }}
.al-box .al-n {{ text-align: right; }}
.al-tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(96px, 1fr)); gap: 4px 8px;
  margin: 4px 0 8px 0; max-width: 860px; }}
.al-tile b {{ display: block; font-size: 16px; font-weight: 600; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
.al-tile span, .al-quiet {{ color: {QUIET}; font-size: 12px; white-space: nowrap; }}
.al-tables {{ display: flex; flex-wrap: wrap; gap: 10px 36px; align-items: flex-start; }}
.al-tables h4 {{ margin: 4px 0 2px 0; font-size: 12px; font-weight: 600; color: {TEXT}; }}
</style>"""


def own_keys(box: str) -> str:
    """Keeps JupyterLab's shortcuts away from what has the focus inside a box of widgets, found by its class.

    In command mode an arrow key in a list would choose another cell, and a letter might delete one; those with Ctrl,
    Alt or Cmd stay JupyterLab's. It looks for an attribute on the element that has the focus, and nothing but a script
    can set one on a widget's. Where scripts do not run everything else works all the same.
    """
    # The picture fails to load before the widget is put into the page: so wait for that. Keys are looked at from the
    # window, which sees them before JupyterLab does, while the focus is inside.
    act = (
        "let me = this, n = 0, timer = setInterval(() => { "
        f"let box = me.closest('.{box}'); "
        "let keep = key => key.target.toggleAttribute('data-lm-suppress-shortcuts', "
        "!(key.ctrlKey || key.altKey || key.metaKey)); "
        "if (box) { box.addEventListener('focusin', () => window.addEventListener('keydown', keep, true)); "
        "box.addEventListener('focusout', () => window.removeEventListener('keydown', keep, true)) } "
        "if (box || ++n > 100) clearInterval(timer) }, 50)"
    )
    return f'<img src="data:," alt="" style="display:none" onerror="{act}">'


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> str:
    """A table, escaped; columns in ``right`` are numbers."""

    def cells(kind: str, row: Sequence[object]) -> str:
        return "".join(
            f'<{kind} class="al-n">{escape(str(cell))}</{kind}>'
            if i in right
            else f"<{kind}>{escape(str(cell))}</{kind}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', headings)}</tr></thead><tbody>{body}</tbody></table>"


def tile(value: str, label: str, title: str = "", colour: str | None = None) -> str:
    """A figure and what it is."""
    mark = f'<i style="color:{colour}" aria-hidden="true">&#9632;</i> ' if colour else ""
    return (
        f'<div class="al-tile" title="{escape(title, quote=True)}"><b>{escape(value)}</b>'
        f"<span>{mark}{escape(label)}</span></div>"
    )


def number(value: float, unit: str = "") -> str:
    """A number with three digits and a prefix: ``12.3 M``, ``0``."""
    size, prefix = next(((size, prefix) for size, prefix in _PREFIXES if abs(value) >= 0.9995 * size), (1.0, ""))
    scaled = value / size
    text = f"{scaled:.0f}" if abs(scaled) >= 99.95 else f"{scaled:.3g}"
    return f"{text} {prefix}{unit}".rstrip()


_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def lines(
    series: Sequence[tuple[str, str, Sequence[float]]],
    ages: Sequence[float],
    span: float,
    width: int = 820,
    height: int = 100,
) -> str:
    """A picture of bit rates on one scale, the newest at the right.

    Parameters
    ----------
    series: name, colour and values of each, in bit/s; the one named ``up`` is dashed.
    ages: how long ago each sample was taken, seconds; a value is the average between one and the next, and drawn so.
    span: seconds across the picture.
    """
    left, right, top, bottom = 62, 4, 6, 16
    scale = nice(max((value for _, _, values in series for value in values), default=0.0))
    across, down = width - left - right, height - top - bottom
    out = []
    for share in (0, 0.5, 1):
        y = top + down * (1 - share)
        label = number(scale * share, "bit/s") if share else "0"
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}" />')
        out.append(f'<text x="{left - 5}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
    for name, colour, values in series:
        steps = ((age, value) for first, last, value in zip(ages, ages[1:], values) for age in (first, last))
        points = " ".join(
            f"{width - right - across * min(age, span) / span:.1f},{top + down * (1 - value / scale):.1f}"
            for age, value in steps
        )
        if points:
            dash = ' stroke-dasharray="5 2"' if name == "up" else ""
            out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dash} />')
    out.append(f'<text x="{left}" y="{height - 3}">{span:.3g} s ago</text>')
    out.append(f'<text x="{width - right}" y="{height - 3}" text-anchor="end">now</text>')
    now = ", ".join(f"{name} {number(values[-1], 'bit/s')}" for name, _, values in series if values)
    return (
        f'<svg role="img" aria-label="throughput: {now or "nothing yet"}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" style="max-width:100%" font-size="10" fill="{QUIET}">{"".join(out)}</svg>'
    )


def nice(peak: float) -> float:
    """The least of 1, 2, 3, 4, 6, 8 times a power of ten that is not below ``peak``; 1000 at least."""
    size = 1e3
    while True:
        for factor in (1, 2, 3, 4, 6, 8):
            if factor * size >= peak:
                return factor * size
        size *= 10
