"""Debian on the emulated PC: fetched and booted once, then every test resumes or forks it.

Where the image cannot be had the tests are skipped with the reason; where it must be (``AERO_LAB_TEST_GUEST=required``,
as in CI) that is a failure.
"""

from __future__ import annotations

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.guests.image.store import Image
from aero_lab.guests.linux.boot import Boot
from aero_lab.guests.linux.guest import LinuxGuest

from .image import images, required


def available(what: tuple[Image, Image] | str) -> tuple[Image, Image]:
    if isinstance(what, str):
        if required():
            pytest.fail(f"the guest must be there for these tests: {what}")
        pytest.skip(f"no guest image: {what}")
    return what


@pytest.fixture(scope="session")
def plain_image() -> Image:
    if PLAIN:
        pytest.skip("a boot takes hours in plain Python")
    return available(images())[0]


@pytest.fixture(scope="session")
def perl_image(plain_image: Image) -> Image:
    return available(images())[1]


@pytest.fixture(scope="session")
def machine(plain_image):
    """The machine at its prompt, in instruction-count time. Tests fork it."""
    return Boot.of(plain_image).resume()


@pytest.fixture
def guest(machine):
    with LinuxGuest(machine.fork()) as guest:
        yield guest


@pytest.fixture
def live(plain_image):
    """A guest that runs by itself."""
    with LinuxGuest(Boot.of(plain_image).resume(clock="host")) as guest:
        yield guest
