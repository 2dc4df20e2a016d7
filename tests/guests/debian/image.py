"""Debian's packages for the tests: fetched once a machine, into the cache."""

from __future__ import annotations

import os
from functools import cache

from aero_lab.errors import UsageError
from aero_lab.guests.image.fetch import build, fetch, is_kernel
from aero_lab.guests.image.store import Image, Store

EXTRA = ("perl-base",)
"""A program of Debian's that needs its glibc."""


@cache
def images() -> tuple[Image, Image] | str:
    """The plain image, which stays the default, and one with :data:`EXTRA`; or why there are none."""
    store = Store()
    try:
        there = set(store.packages)
        if not any(map(is_kernel, there)) or not {*EXTRA, "busybox-static"} <= there:
            fetch(store, extra=EXTRA)
        return build(store), build(store, extra=EXTRA, default=False)
    except UsageError as error:
        return str(error)


def required() -> bool:
    """Whether this machine (CI) promises that the image can be had."""
    return os.environ.get("AERO_LAB_TEST_GUEST") == "required"


def missing() -> str | None:
    """Why what needs the image is skipped, None where it is there or must be."""
    found = images()
    return f"no guest image: {found}" if isinstance(found, str) and not required() else None
