"""The page about guests says what the code does."""

from pathlib import Path

import pytest

from aero_lab.guests.scripted import WORKLOADS
from aero_lab.guests.scripted.dhcp_client import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "guests.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not part of this copy")


def test_the_diagram_of_the_dhcp_client_is_its_table():
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, what), (_, following) in TRANSITIONS.items():
        arrows.setdefault((state.name, following.name), []).append(what.name)
    lines = [f"    {start} --> {end}: {', '.join(inputs)}" for (start, end), inputs in arrows.items()]
    drawn = PAGE.read_text().split("```mermaid\n")[1].split("\n```")[0]
    assert drawn.splitlines() == ["stateDiagram-v2", *lines]


def test_every_workload_is_listed():
    table = PAGE.read_text().split("## Workloads")[1].split("##")[0]
    assert [name for name in WORKLOADS if f"`{name}`" not in table] == []
