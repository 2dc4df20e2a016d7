"""Names the modules of this room that hold entries, so that importing this one registers them all."""

from .e1000 import serve as e1000  # noqa: F401
