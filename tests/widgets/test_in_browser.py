"""Widgets in JupyterLab, in a real browser: live while a cell computes, buttons between cells, keys, static exports."""

from __future__ import annotations

import io
import time

import pytest

from aero_lab.capture import parse_pcap

from ..notebooks.browser import CHROMIUM
from .page import notebook, wait

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

LAB = """
import pathlib, threading
import aero_lab as al

here = pathlib.Path(".")
lab = al.Lab()
guest = lab.guest()
guest.wait_online()
running = threading.Event()

def work():
    while not (here / "quiet").exists():
        guest.run("download", size="100kB")

traffic = threading.Thread(target=work)
traffic.start()
lab.dashboard()
"""
BUSY = """
(here / "busy").touch()
n = 0
while not (here / "enough").exists():
    for _ in range(200_000):
        n += 1
"""
NOGIL = """
import numba

@numba.njit("int64(int64)", nogil=True)
def spin(turns):
    x = 1
    for i in range(turns):
        x = (x * 6364136223846793005 + i) % 1000003
    return x

spin(1000)
(here / "busy nogil").touch()
while not (here / "enough nogil").exists():
    spin(50_000_000)
"""
QUIET = """
(here / "quiet").touch()
traffic.join()
"""
PACKETS = """
import aero_lab as al

calm = al.Lab(virtual=True, link="rtt=20ms")
calm.guest().wait_online()
calm.guests[0].run("download", size="50kB")
al.packets(calm.capture)
"""


def figures(book) -> str:
    return book.page.locator(".al-tiles").first.inner_text()


def advances(book, what: str) -> None:
    """The figures change again and again."""
    seen: set[str] = set()
    wait(lambda: seen.add(figures(book)) or len(seen) >= 5, what)


def exported(book) -> str:
    """The notebook as a page of HTML, where no widget can render."""
    nbconvert = pytest.importorskip("nbconvert")
    html, _ = nbconvert.HTMLExporter().from_file(io.StringIO(book.save()))
    assert "widget-view+json" not in html
    return html


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    pytest.importorskip("playwright.sync_api")
    folder = tmp_path_factory.mktemp("live")
    with notebook(folder, [cell.strip() for cell in (LAB, BUSY, NOGIL, QUIET, PACKETS)]) as book:
        book.folder = folder
        yield book


def test_the_dashboard_advances_while_a_cell_computes_and_buttons_act_between_cells(book):
    page, folder = book.page, book.folder
    book.run(0)
    page.locator(".al-tiles").first.wait_for(timeout=120_000)
    for cell, suffix in ((1, ""), (2, " nogil")):
        book.begin(cell)
        wait((folder / f"busy{suffix}").exists, "the busy cell")
        advances(book, f"figures that change while a{suffix} cell computes")
        prompt = page.locator(".jp-InputPrompt", has_text="[*]:")
        assert prompt.count() == 1, "the cell was computing all the while"
        if not suffix:
            page.get_by_role("button", name="Stop capture").click()
            time.sleep(1.0)
            assert page.get_by_text("recording, ").count() == 1, "a click waits for the end of the cell"
        (folder / f"enough{suffix}").touch()
        book.ended()
        if not suffix:
            page.get_by_text("stopped, ").wait_for(timeout=120_000)
    page.get_by_role("button", name="Start capture").click()
    page.get_by_text("recording, ").wait_for(timeout=120_000)
    book.run(3)
    field = page.locator(".al-dashboard input[type=text]")
    field.fill("saved.pcapng")
    field.press("Enter")
    page.locator(".al-dashboard button[title='Write what was recorded as pcapng']").click()
    page.locator(".al-dashboard [role=status]", has_text="Saved ").wait_for(timeout=120_000)
    assert len(parse_pcap((folder / "saved.pcapng").read_bytes())) > 100
    html = exported(book)
    assert "throughput down" in html and "ACKs per data segment" in html


def test_the_packet_table_filters_and_obeys_the_keyboard(book):
    page = book.page
    book.run(4)
    rows, fields = page.locator(".al-packets select").first, page.locator(".al-packets select").nth(1)
    rows.wait_for(timeout=120_000)
    wait(lambda: rows.locator("option").count() == 20, "a page of rows")
    text = page.locator(".al-packets input[type=text]").first
    text.fill("arp and tcp.prt == 80")
    text.press("Enter")
    alert = page.locator(".al-packets .al-wrong")
    alert.wait_for(timeout=120_000)
    assert "did you mean tcp.port?" in alert.inner_text()
    assert alert.inner_text().splitlines()[1].startswith(" " * 8 + "^")
    text.fill("arp")
    text.press("Enter")
    wait(lambda: 0 < rows.locator("option").count() < 20, "the rows that pass")
    assert all("ARP" in option for option in rows.locator("option").all_inner_texts())
    assert alert.count() == 0
    text.fill("")
    text.press("Enter")
    wait(lambda: rows.locator("option").count() == 20, "every row")
    wait(lambda: page.locator(".al-hex").count() == 1, "the bytes of the first row")
    before = page.locator(".al-hex").inner_text()
    rows.focus()
    wait(lambda: rows.press("ArrowDown") or page.locator(".al-hex").inner_text() != before, "another row's bytes")
    assert page.evaluate("document.activeElement.tagName") == "SELECT", "the notebook took the key"
    fields.focus()
    wait(lambda: fields.press("ArrowDown") or page.locator(".al-hex mark").count() > 0, "the field's bytes marked")
    assert page.evaluate("document.activeElement.tagName") == "SELECT"
    page.locator(".al-packets button[title='Next page']").click()
    wait(lambda: rows.locator("option").first.inner_text().strip().startswith("21"), "the next page")
    html = exported(book)
    assert "255.255.255.255" in html and "Discover" in html
