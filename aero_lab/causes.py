"""Why a byte was spent: the one classification that stack, tunnel and captures share."""

from enum import IntEnum


class Cause(IntEnum):
    """Reason for a frame's (or a header's) bytes on a wire. Sums over causes equal the bytes sent."""

    UNKNOWN = 0
    PAYLOAD = 1
    """A segment or datagram that carries new application data, headers included."""
    ACK = 2
    """A pure TCP acknowledgement or window update."""
    HANDSHAKE = 3
    """SYN, SYN-ACK, FIN or RST without data."""
    RETRANSMISSION = 4
    DUPLICATE = 5
    """Data that the receiver already had, sent again by the network or against need."""
    KEEPALIVE = 6
    """Keepalive and zero-window probes, tunnel PING and PONG."""
    ARP = 7
    """ARP and IPv6 neighbour discovery."""
    DHCP = 8
    DNS = 9
    ICMP = 10
    BROADCAST = 11
    """Broadcast and multicast chatter that is none of the above."""
    TUNNEL_FRAMING = 12
    TRANSPORT_OVERHEAD = 13
