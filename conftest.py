"""What notebooks need of the machine: one that needs more than Python is skipped, with a reason, where that is not."""

from __future__ import annotations

import pytest

NEEDS_TAP = "02_a_real_kernel.ipynb"
NEEDS_IMAGE = ("05_boot_a_pc.ipynb", "06_a_real_guest.ipynb")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name, why_not in ((NEEDS_TAP, no_tap), *((name, no_image) for name in NEEDS_IMAGE)):
        affected = [item for item in items if item.path.name == name]
        if affected and (why := why_not()):
            for item in affected:
                item.add_marker(pytest.mark.skip(reason=why))


def no_tap() -> str | None:
    from aero_lab.guests.tap import why_not

    return why_not()


def no_image() -> str | None:
    from tests.guests.debian.image import missing

    return missing()
