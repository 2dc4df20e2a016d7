"""A notebook that needs more than every machine has says so in one line and stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aero_lab.guests import tap

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02_a_real_kernel.ipynb"


def test_the_real_kernel_stops_where_there_can_be_none(monkeypatch):
    first = next(cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code")
    monkeypatch.setattr(tap, "why_not", lambda: "a tap guest needs Linux, this is something else")
    with pytest.raises(SystemExit, match="needs Linux") as caught:
        exec("".join(first["source"]), {})
    assert "\n" not in str(caught.value)
