"""Pictures: matplotlib figures that read well in a notebook, in print and in a static export.

Each function takes ``ax=`` and returns the axes it drew on; without one it makes a figure of a fitting size.
:func:`comparison` has a panel for each workload and metric, :func:`reproduction` one for each unit: they divide the
axes they are given, or take as many as there are panels, and return them as an array. Frames may be a DataFrame or a
capture; where a figure compares several, give them by name as a dictionary. A table without rows is drawn as an empty
picture that says so; one without the columns that are needed is refused in one line.

Colours are Okabe and Ito's, which colour-blind readers tell apart; a cause, an option, a transport, a hop, a stall has
the same colour in every figure, and a hatch, a marker or dashes for print without colour.
"""

from .bandwidth import bandwidth
from .causes import causes
from .chatter import acks, stretch, thinning
from .comparison import comparison
from .distributions import cdf, delay, hops, rtt
from .ladder import ladder
from .pipeline import pipeline
from .reproduced import reproduction
from .sequence import time_sequence
from .stalls import STALL_COLOURS, stalls
from .style import CAUSE_COLOURS, OPTION_COLOURS, TRANSPORT_COLOURS, TRANSPORT_DASHES, TRANSPORT_MARKERS
from .swept import bands, best
from .waterfall import HOP_COLOURS, waterfall

__all__ = [
    "CAUSE_COLOURS",
    "HOP_COLOURS",
    "OPTION_COLOURS",
    "STALL_COLOURS",
    "TRANSPORT_COLOURS",
    "TRANSPORT_DASHES",
    "TRANSPORT_MARKERS",
    "acks",
    "bands",
    "bandwidth",
    "best",
    "causes",
    "cdf",
    "comparison",
    "delay",
    "hops",
    "ladder",
    "pipeline",
    "reproduction",
    "rtt",
    "stalls",
    "stretch",
    "thinning",
    "time_sequence",
    "waterfall",
]
