"""Validation: is what virtual time says of a transport what the real one does?

The map: ``traffic`` is what is sent, ``simulated`` sends it in virtual time and ``real`` over real sockets between two
namespaces (``end`` is a process there), ``points`` are the transports and links at which both are done, ``verdict``
holds one against the other, ``habits`` are what Linux does otherwise, to be switched on where they differ, ``store``
keeps measurements.
"""

from .habits import Habits
from .points import POINTS, Point, point
from .store import load, save
from .table import explained, holds, judge, table
from .traffic import Arrivals, Traffic
from .verdict import Estimate, Verdict, compare

__all__ = [
    "POINTS",
    "Arrivals",
    "Estimate",
    "Habits",
    "Point",
    "Traffic",
    "Verdict",
    "compare",
    "explained",
    "holds",
    "judge",
    "load",
    "point",
    "save",
    "table",
]
