"""Each notebook runs from top to bottom in JupyterLab, in a real browser. (nbval checks that its figures are right.)"""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from aero_lab.guests.tap import why_not

from ..guests.debian.image import missing
from .browser import CHROMIUM, FLAGS, ROOT, jupyterlab

NEEDS = {"02_a_real_kernel.ipynb": why_not, "05_boot_a_pc.ipynb": missing, "06_a_real_guest.ipynb": missing}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
"""Those with figures; what the others print is nbval's to check."""
ALWAYS = ("01_first_frames", "05_boot_a_pc", "08_what_the_network_does")
"""What a browser adds to nbval is in these: a dashboard and tables, a console, sliders. The others are ``long``."""
PATIENCE = 420


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize(
    "notebook",
    [pytest.param(path, id=path.stem, marks=() if path.stem in ALWAYS else pytest.mark.long) for path in NOTEBOOKS],
)
def test_runs_in_jupyterlab(notebook, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    if notebook.name in NEEDS and (why := NEEDS[notebook.name]()):
        pytest.skip(why)
    content = json.loads(notebook.read_text())
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    copy = tmp_path / notebook.name
    copy.write_text(json.dumps(content))
    last = sum(cell["cell_type"] == "code" for cell in content["cells"])
    with jupyterlab(tmp_path) as address, playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.goto(f"{address}/tree/{notebook.name}", timeout=120_000)
        page.locator(".jp-Notebook .jp-Cell").nth(1).click(timeout=120_000)
        page.get_by_text("| Idle").first.wait_for(timeout=120_000)  # the kernel is there
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        page.locator(".jp-InputPrompt", has_text=f"[{last}]:").wait_for(timeout=PATIENCE * 1000)
        page.keyboard.press("Control+s")
        end = time.monotonic() + 60
        cells: list = []
        while time.monotonic() < end:
            with contextlib.suppress(json.JSONDecodeError):
                cells = [cell for cell in json.loads(copy.read_text())["cells"] if cell["cell_type"] == "code"]
            if [cell["execution_count"] for cell in cells] == list(range(1, last + 1)):
                break
            time.sleep(0.5)
        browser.close()
    assert [cell["execution_count"] for cell in cells] == list(range(1, last + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
