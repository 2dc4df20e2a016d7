"""What notebooks need of the machine: one that needs more than Python is skipped, with a reason, where that is not.
And the order in which files are handed to workers."""

from __future__ import annotations

import pytest

NEEDS_TAP = "02_a_real_kernel.ipynb"
NEEDS_IMAGE = ("05_boot_a_pc.ipynb", "06_a_real_guest.ipynb")
LONGEST_FIRST = (
    "notebooks/05_boot_a_pc.ipynb",  # what it builds of Debian the next ones find
    "tests/compiled/test_twins.py",
    "notebooks",
    "tests/notebooks",
    "tests/guests/debian",
    "tests/experiment",
    "tests/hostnet",
    "tests/hops",
    "tests/lab",
    "tests/transports",
    "tests/server",
    "tests/bench",
)
"""Files of many seconds, before the many of less: the last one that a worker begins is what the other waits for."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)
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


def turn(item: pytest.Item) -> int:
    """Which of :data:`LONGEST_FIRST` a test belongs to."""
    here = item.nodeid.partition("::")[0]
    return next((i for i, p in enumerate(LONGEST_FIRST) if here == p or here.startswith(p + "/")), len(LONGEST_FIRST))
