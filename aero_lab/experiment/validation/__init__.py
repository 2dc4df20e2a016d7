"""Validation: is what virtual time says of a transport what the real one does?

The map: ``traffic`` is what is sent, ``simulated`` sends it in virtual time and ``real`` over real sockets between two
namespaces (``end`` is a process there), ``points`` are the transports and links at which both are done, ``verdict``
holds one against the other, ``store`` keeps measurements.
"""

from .points import POINTS, Point, point
from .store import load, save
from .table import judge, table
from .traffic import Arrivals, Traffic
from .verdict import Estimate, Verdict, compare

__all__ = [
    "POINTS",
    "Arrivals",
    "Estimate",
    "Point",
    "Traffic",
    "Verdict",
    "compare",
    "judge",
    "load",
    "point",
    "save",
    "table",
]
