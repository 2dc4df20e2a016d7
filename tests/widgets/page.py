"""A notebook in JupyterLab in a browser, run cell by cell: for the tests of this room and for its screenshots."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..notebooks.browser import CHROMIUM, FLAGS, jupyterlab

PATIENCE = 120.0
"""Seconds for anything that must come about; mostly it takes less than one."""


def wait(condition: Callable[[], Any], what: str) -> Any:
    """Ask again and again until it is so; returns what it then is."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.1)
    return value


class Notebook:
    """One open notebook."""

    def __init__(self, page: Any, path: Path):
        self.page, self.path = page, path
        self.begun = 0

    def begin(self, number: int) -> None:
        """Run cell ``number``, counted from 0, and do not wait."""
        self.page.locator(".jp-CodeCell").nth(number).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        self.begun += 1

    def run(self, number: int) -> None:
        """Run a cell to its end."""
        self.begin(number)
        self.ended()

    def ended(self) -> None:
        """Wait until the cell begun last has its number."""
        prompt = self.page.locator(".jp-InputPrompt", has_text=f"[{self.begun}]:")
        prompt.first.wait_for(timeout=PATIENCE * 1000, state="attached")

    def save(self) -> str:
        """Save the notebook; its text, when all that ran is in it."""
        before = self.path.stat().st_mtime_ns
        self.page.keyboard.press("Control+s")

        def saved() -> str | None:
            if self.path.stat().st_mtime_ns == before:
                return None
            text = self.path.read_text()
            try:
                counts = [cell["execution_count"] or 0 for cell in json.loads(text)["cells"] if "outputs" in cell]
            except json.JSONDecodeError:  # it is being written
                return None
            return text if max(counts) == self.begun else None

        return wait(saved, "the saved notebook")


@contextlib.contextmanager
def notebook(folder: Path, cells: list[str], size: tuple[int, int] = (1300, 1100)) -> Iterator[Notebook]:
    """A notebook with these cells of code, opened in JupyterLab in a browser."""
    from playwright.sync_api import sync_playwright

    path = folder / "live.ipynb"
    content = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {"id": f"cell-{i}", "cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [],
             "source": source}
            for i, source in enumerate(cells)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))
    with jupyterlab(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            page.goto(f"{address}/tree/{path.name}", timeout=120_000)
            page.locator(".jp-Notebook .jp-Cell").first.click(timeout=120_000)
            page.get_by_text("| Idle").first.wait_for(timeout=120_000)
            yield Notebook(page, path)
        finally:
            browser.close()
