"""SCTP (RFC 9260) as WebRTC's data channels use it, without sockets or clocks: for virtual time.

::

    messages -> streams (fragments) -> sender (TSNs, SACKs, T3-rtx) -> packets
                                         congestion (cwnd)
    packets -> receiver (gaps, SACKs) -> streams (reassembly, order) -> messages

:class:`Association` puts them together: messages in, packets out, packets in, messages out, and the time when it wants
to be asked again. One association, one path, no multi-homing, no shutdown: what data channels need (RFC 8831), with
partial reliability (RFC 3758). Which habits it has beyond the RFC, a :class:`Constants` says.
"""

from .association import Association, Message
from .constants import AIORTC, CONSTANTS, RFC, Constants

__all__ = ["AIORTC", "CONSTANTS", "RFC", "Association", "Constants", "Message"]
