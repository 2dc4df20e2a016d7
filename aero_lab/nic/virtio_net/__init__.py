"""virtio-net over PCI: the network device of Virtual I/O Device 1.2, section 5.1, and its transport, section 4.1."""

from .device import VirtioNet

__all__ = ["VirtioNet"]
