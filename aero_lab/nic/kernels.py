"""Names the modules of this room that hold entries, so that importing this one registers them all."""

from .e1000 import serve as e1000
from .virtio_net import serve as virtio_net

__all__ = ["e1000", "virtio_net"]
