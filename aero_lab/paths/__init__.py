"""Where the pipeline is cut: options A, B and C behind one interface. See :mod:`.base`."""

from .base import OPTIONS, Path, get_path, options

__all__ = ["OPTIONS", "Path", "get_path", "options"]
