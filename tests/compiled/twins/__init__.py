"""Which test is the twin of which kernel: by room of the tests, then by test, then by module.

A new kernel needs a place in the file of its test's room, under a test that compares it (or what it does in the whole)
with something plain. ``test_twins.py`` believes none of it: it runs the tests without the kernels.
"""

from importlib import import_module
from pkgutil import iter_modules

TWINS: dict[str, dict[str, str]] = {}
for room in iter_modules(__path__):
    TWINS |= import_module(f"{__name__}.{room.name}").TWINS
