"""Tables of runs in a terminal: every figure is there, whole, however narrow it is."""

from __future__ import annotations

import io
from itertools import product

import pytest
from rich.console import Console

from aero_lab.experiment.record import Run
from aero_lab.experiment.table import Table


def printed(parts, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def made_run(option: str, transport: str, workload: str, repeat: int = 0) -> Run:
    return Run(option, transport, "scripted", None, workload, None, "real", 1500, "early", repeat, repeat, True)


def runs() -> list[Run]:
    made = []
    for option, transport, repeat in product("AC", ("memory", "webrtc-unordered"), range(2)):
        run = made_run(option, transport, "download", repeat)
        run.settings = {"streams": "socket"} if option == "A" else {}
        run.ok, run.bytes, run.seconds = True, 10_485_760, 1.234
        run.goodput_mbps, run.connect_ms, run.ttfb_ms, run.request_ms = 12345.6 + repeat, 123.45, 67.89, 1000.25
        run.udp_delay_ms, run.udp_jitter_ms, run.udp_loss = 12.34, 4.56, 0.0003
        run.client_cpu_us_per_mb, run.proxy_cpu_us_per_mb, run.client_lines = 911170.0, 881664.0, 11_983
        made.append(run)
    return made


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_every_figure_whole(width):
    table = Table(runs(), 1)
    text = printed(table.summary_rich(), width)
    assert "…" not in text
    for title, headings, rows in table.summary():
        for words in (title, *headings, *(cell for row in rows for cell in row)):
            assert all(word in text for word in words.split()), words
    for words in ("A:streams=socket", "  webrtc-unordered", "0.03%", "11,983"):
        assert words in text, words
    assert max(map(len, text.splitlines())) <= width


def test_few_runs_stand_beside_each_other_and_many_do_not():
    few = Table([run for run in runs() if not run.repeat], 1)
    assert not few.many
    text = printed([few.to_rich()], 80)
    assert "…" not in text and "10,485,760" in text and "webrtc-unordered" in text
    more = Table(runs() + [made_run("B", f"t{n}", "rr") for n in range(4)], 1)
    assert more.many
