"""Widgets: what shows a lab or a capture in a notebook while it changes.

Each is a model that knows nothing of widgets (and is what the tests look at) and a view made of plain ipywidgets.
Where widgets cannot render, in plain Python, in IPython or in an exported notebook, a static table stands in their
place. :mod:`.live` is how a display changes while a cell computes.
"""

from .dashboard import Dashboard
from .live import Live, in_a_notebook
from .table import PacketTable, packets

__all__ = ["Dashboard", "Live", "PacketTable", "in_a_notebook", "packets"]
