"""Analysis: from the frames of a capture to tables that answer a question.

Each function takes any DataFrame with the columns of ``docs/columns.md`` (a running lab's, a file's, somebody else's
capture) and returns a DataFrame or a small record; none keeps state.
"""

from .acks import Acks, acks, thinned
from .bandwidth import bandwidth, by_cause
from .display_filter import Filter, FilterError, compile_filter, filter
from .flows import flows
from .intervals import Interval, intervals, median_interval
from .join import join
from .latency import latency
from .requests import critical_path, requests
from .rtt import rtt
from .sequence import Stream, stream
from .stalls import stalls

__all__ = [
    "Acks",
    "Filter",
    "FilterError",
    "Interval",
    "Stream",
    "acks",
    "bandwidth",
    "by_cause",
    "compile_filter",
    "filter",
    "critical_path",
    "flows",
    "intervals",
    "join",
    "latency",
    "median_interval",
    "requests",
    "rtt",
    "stalls",
    "stream",
    "thinned",
]
