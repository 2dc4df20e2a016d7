"""The tap guest: the host kernel's own TCP/IP, behind a TAP in a network namespace.

The map: ``helper`` is the process that lives in the namespace, ``namespace`` its owner's side; ``frames`` moves frames
between the TAP and rings, compiled; ``nic`` is that as a node; ``guest`` puts them together; ``programs`` are the
workloads, run inside. Linux only, as root or with unprivileged user namespaces.
"""

from .namespace import Namespace, Process, Unavailable, why_not

__all__ = ["Namespace", "Process", "Unavailable", "why_not"]
