"""What notebooks need of the machine: the one with a real kernel is skipped, with the reason, where none can run."""

from __future__ import annotations

import pytest

NEEDS_TAP = "02_a_real_kernel.ipynb"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    affected = [item for item in items if item.path.name == NEEDS_TAP]
    if affected:
        from aero_lab.guests.tap import why_not

        if why := why_not():
            for item in affected:
                item.add_marker(pytest.mark.skip(reason=why))
