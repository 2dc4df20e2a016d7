"""Carrying flows to the world: the one room that owns host sockets, and its twin in virtual time.

* :mod:`.contract` says what an egress does, without any I/O: calls down, calls up, who may call when;
* :mod:`.host` does it with ordinary non-blocking sockets, :mod:`.resolver` and :mod:`.ping` help it;
* :mod:`.virtual` does it with this package's own stack and a far end, in virtual time;
* :mod:`.services_host` puts the hermetic services on real loopback ports.
"""

from .contract import Answer, Egress, EgressSink, Why

__all__ = ["Answer", "Egress", "EgressSink", "Why"]
