"""Makes the pictures of docs/live-view.md: ``python -m tests.widgets.screenshots``. It needs Chromium and playwright.

Each picture is one output of a notebook in JupyterLab, in colours reduced to a palette so that it stays small.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from ..notebooks.browser import ROOT
from .page import notebook, wait

IMAGES = ROOT / "docs" / "images"
DASHBOARD = """
import threading
from pathlib import Path
import aero_lab as al

lab = al.Lab(link="rtt=30ms, rate=20Mbit/s, loss=0.2%")
guest = lab.guest(profile="windows7")
guest.wait_online()
over = Path("over")

def work():
    while not over.exists():
        guest.run("download", size="4MB")
        guest.run("upload", size="1MB")
        guest.run("parallel", size="300kB")

threading.Thread(target=work).start()
lab.dashboard()
"""
COMPUTING = """
n = 0
while not over.exists():
    n += 1
"""
PACKETS = """
import aero_lab as al

lab = al.Lab(virtual=True, link="rtt=20ms, loss=1%", seed=4)
guest = lab.guest()
guest.run("download", size="300kB")
al.packets(lab.capture, "tcp and point == nic")
"""


def keep(data: bytes, name: str) -> None:
    """Write a picture with a palette of 64 colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(64)
    picture.save(IMAGES / name, optimize=True)
    print(f"{name}: {(IMAGES / name).stat().st_size:,} bytes", file=sys.stderr)


def dashboard() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        notebook(Path(folder), [DASHBOARD.strip(), COMPUTING.strip()]) as book,
    ):
        book.run(0)
        book.begin(1)
        drops = book.page.locator(".al-tables", has_text="link")
        drops.wait_for(timeout=120_000)
        time.sleep(40)
        wait(lambda: book.page.locator(".al-tables tr", has_text="files.lab").count() >= 3, "several flows")
        keep(book.page.locator(".al-dashboard").screenshot(), "dashboard.png")
        (Path(folder) / "over").touch()
        book.ended()


def packet_table() -> None:
    with tempfile.TemporaryDirectory() as folder, notebook(Path(folder), [PACKETS.strip()]) as book:
        book.run(0)
        rows, fields = book.page.locator(".al-packets select").first, book.page.locator(".al-packets select").nth(1)
        rows.wait_for(timeout=120_000)
        book.page.locator(".al-packets button[title='Next page']").click()
        wait(lambda: rows.locator("option").first.inner_text().strip() != "", "a page")
        time.sleep(1)
        rows.focus()
        for _ in range(3):
            rows.press("ArrowDown")
            time.sleep(0.3)
        fields.select_option(label=wait(lambda: _option(fields, "seq:"), "the field"))
        wait(lambda: book.page.locator(".al-hex mark").count() > 0, "marked bytes")
        book.page.mouse.move(0, 0)
        time.sleep(0.5)
        keep(book.page.locator(".al-packets").screenshot(), "packet-table.png")


def _option(fields, start: str) -> str | None:
    return next((text for text in fields.locator("option").all_inner_texts() if text.strip().startswith(start)), None)


if __name__ == "__main__":
    dashboard()
    packet_table()
