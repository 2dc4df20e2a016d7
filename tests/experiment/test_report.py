"""The report of a comparison: all of the table in parts that a page holds, and a page that never scrolls sideways."""

from __future__ import annotations

import pytest

from aero_lab.experiment.columns import COLUMNS, EVERY, LABELS
from aero_lab.experiment.record import Run
from aero_lab.experiment.report import comparison_html
from aero_lab.experiment.table import Table
from aero_lab.link import Link

from ..notebooks.browser import CHROMIUM, FLAGS

WIDEST = {
    "ok": True, "bytes": 10_000_000, "seconds": 12.345, "goodput_mbps": 1234.5, "connect_ms": 123.45,
    "ttfb_ms": 1234.56, "request_ms": 1234.56, "rtt_ms": 123.45, "messages_per_mb": 23456.7,
    "tunnel_bytes_up": 10_123_456, "tunnel_bytes_down": 10_123_456, "wire_bytes_up": 10_123_456,
    "wire_bytes_down": 10_123_456, "overhead_ratio": 12.345, "acks_per_data_segment": 0.53, "retransmissions": 1234,
    "client_cpu_us_per_mb": 20_929_434.0, "proxy_cpu_us_per_mb": 20_929_434.0, "guest_mips_idle": 234.5,
    "guest_mips_loaded": 198.7, "client_lines": 11_983, "udp_delay_ms": 123.45, "udp_jitter_ms": 12.34,
    "udp_loss": 0.1234, "privileges": "root or user namespaces at proxy and guest",
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Table:
    """Every column at its widest, over two links, and what went wrong."""
    runs = [
        Run(
            option, transport, "scripted/linux", None, workload, link, "real", 1500, "early", 1,
            **{name: value for name, value in WIDEST.items() if workload == "voip" or name not in EVERY["datagrams"]},
            settings={"streams": "socket"} if option == "A" else {},
            extra={"causes": {"up": {"payload": 9_000_000, "ack": 1_000, "retransmission": 5}, "down": {"arp": 10}}},
        )
        for link in (None, Link.parse("rtt=100ms, loss=1%, rate=10Mbit/s").to_dict())
        for option in "ABC"
        for transport in ("websocket", "webrtc-unordered")
        for workload in ("download", "rr", "voip")
    ]  # fmt: skip
    runs[1].ok, runs[1].error = False, "not done within 120 s: " + "x" * 300
    why = "option A has no channel that may lose messages or their order, but for datagrams"
    return Table(runs, 1, left_out=[{"option": "A", "transport": "webrtc-lossy", "reason": why}])


@pytest.fixture(scope="module")
def html(table) -> str:
    return comparison_html(table)


def test_the_parts_are_the_whole_table(table):
    names = [name for title in EVERY for name in EVERY[title]]
    assert sorted(names + list(LABELS)) == sorted(name for name, _, _ in COLUMNS)
    parts = {title: (headings, rows) for title, headings, rows in table.every_run()}
    assert list(parts) == list(EVERY)
    for title, (headings, rows) in parts.items():
        assert headings[:4] == ["option", "transport", "link", "workload"], "the mode is the same for all"
        assert len(rows) == (12 if title == "datagrams" else 36), "each part has the rows that say something in it"
        assert all(len(row) == len(headings) <= 12 for row in rows)


def test_what_failed_and_what_cannot_be_is_told(html):
    assert "failed: A:streams=socket over websocket, rr: not done within 120 s" in html
    assert "<h2>left out</h2>" in html and html.count("webrtc-lossy") == 1 and "real time" in html
    assert "http" not in html.replace("http-equiv", ""), "the page needs nothing else"


@pytest.mark.root
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_never_scrolls_sideways(html, tmp_path):
    sync = pytest.importorskip("playwright.sync_api")
    page_file = tmp_path / "report.html"
    page_file.write_text(html, encoding="utf-8")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        seen = {}
        for width in (1280, 800, 400):
            for scheme in ("light", "dark"):
                page = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
                page.goto(page_file.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                seen[width, scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
                page.close()
        browser.close()
    assert seen[800, "light"] == "rgb(255, 255, 255)" != seen[800, "dark"]
