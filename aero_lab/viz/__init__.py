"""Pictures: matplotlib figures that read well in a notebook, in print and in a static export.

Each function takes ``ax=`` and returns the axes it drew on; without one it makes a figure of a fitting size. Colours
are Okabe and Ito's, which colour-blind readers tell apart; a cause, an option has the same colour in every figure.
"""

from .bandwidth import bandwidth
from .chatter import acks
from .comparison import comparison
from .distributions import delay, rtt
from .ladder import ladder
from .pipeline import pipeline
from .sequence import time_sequence
from .style import CAUSE_COLOURS, OPTION_COLOURS, TRANSPORT_MARKERS

__all__ = [
    "CAUSE_COLOURS",
    "OPTION_COLOURS",
    "TRANSPORT_MARKERS",
    "acks",
    "bandwidth",
    "comparison",
    "delay",
    "ladder",
    "pipeline",
    "rtt",
    "time_sequence",
]
