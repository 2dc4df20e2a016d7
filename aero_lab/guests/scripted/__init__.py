"""The scripted guest: a TCP/IP host on our own stack, with the habits of a chosen operating system.

The map: ``guest`` is the node; ``profiles`` say what a system looks like; ``tasks`` and ``sockets`` are what everything
else is written with; ``startup`` runs ``ipv6_autoconf``, ``dhcp_client``, ``conflict``, ``chatter`` and ``awareness``;
``dns_client`` and ``http_client`` serve the ``workloads``.
"""

from .dhcp_client import DhcpClient, Lease
from .guest import ScriptedGuest, StaticAddress
from .profiles import LINUX, PROFILES, WINDOWS7, Profile, quiet
from .sockets import EchoSocket, TcpSocket, UdpSocket
from .tasks import Signal, Task, TaskError, Tasks, TaskTimeout, Wait
from .workloads import WORKLOADS, WorkloadResult

__all__ = [
    "LINUX",
    "PROFILES",
    "WINDOWS7",
    "WORKLOADS",
    "DhcpClient",
    "EchoSocket",
    "Lease",
    "Profile",
    "ScriptedGuest",
    "Signal",
    "StaticAddress",
    "Task",
    "TaskError",
    "TaskTimeout",
    "Tasks",
    "TcpSocket",
    "UdpSocket",
    "Wait",
    "WorkloadResult",
    "quiet",
]
