"""Why the stack dropped something, and what it counts besides.

Kernels count with :func:`drop` into ``W.drops``; a drop never raises and never stops another flow. The names that users
see (``Stack.drops``) are the lower-case forms with hyphens: ``Drop.IPV4_CHECKSUM`` is ``"ipv4-checksum"``.
"""

from enum import IntEnum


class Drop(IntEnum):
    """Reasons for dropping a frame, packet, segment or request."""

    NONE = 0
    # link
    ETHERNET_SHORT = 1
    ETHERNET_TYPE = 2
    NOT_FOR_US = 3
    VLAN = 4
    ARP_SHORT = 5
    ARP_FORMAT = 6
    TX_FULL = 7
    NEIGHBOUR_UNRESOLVED = 8
    UP_FULL = 9
    # IPv4 and IPv6
    IPV4_SHORT = 10
    IPV4_VERSION = 11
    IPV4_HEADER_LENGTH = 12
    IPV4_TOTAL_LENGTH = 13
    IPV4_CHECKSUM = 14
    IPV4_SOURCE = 15
    IPV4_SOURCE_ROUTE = 16
    IP_TTL = 17
    IP_PROTOCOL = 18
    IPV6_SHORT = 19
    IPV6_VERSION = 20
    IPV6_LENGTH = 21
    IPV6_SOURCE = 22
    IPV6_EXTENSION = 23
    FRAGMENT = 24
    FRAGMENT_TIMEOUT = 25
    # ICMP
    ICMP_SHORT = 26
    ICMP_CHECKSUM = 27
    ICMP_RATE = 28
    ICMP_QUOTE = 29
    ND_FORMAT = 30
    # UDP
    UDP_SHORT = 31
    UDP_LENGTH = 32
    UDP_CHECKSUM = 33
    UDP_TOO_BIG = 34
    # TCP
    TCP_SHORT = 35
    TCP_DATA_OFFSET = 36
    TCP_CHECKSUM = 37
    TCP_OPTIONS = 38
    TCP_FLAGS = 39
    TCP_LAND = 40
    TCP_NO_CONNECTION = 41
    TCP_NO_SLOT = 42
    TCP_BACKLOG = 43
    TCP_PAWS = 44
    TCP_NO_TIMESTAMP = 45
    TCP_OUT_OF_WINDOW = 46
    TCP_ACK_INVALID = 47
    TCP_RST_INVALID = 48
    TCP_CHALLENGE_LIMIT = 49
    TCP_OUT_OF_ORDER_FULL = 50
    TCP_AFTER_CLOSE = 51
    TCP_PENDING = 52
    TCP_BEYOND_BUFFER = 53
    TCP_BROADCAST = 54
    TCP_TRANSITION = 55
    TCP_PORT_ZERO = 56


class Count(IntEnum):
    """What a stack counts besides drops."""

    FRAMES_IN = 0
    BYTES_IN = 1
    FRAMES_OUT = 2
    BYTES_OUT = 3
    SEGMENTS_IN = 4
    SEGMENTS_OUT = 5
    RETRANSMISSIONS = 6
    FAST_RECOVERIES = 7
    TIMEOUTS = 8
    TAIL_LOSS_PROBES = 9
    CHALLENGE_ACKS = 10
    RESETS_OUT = 11
    DUPLICATES_IN = 12
    OUT_OF_ORDER_IN = 13
    DATAGRAMS_IN = 14
    DATAGRAMS_OUT = 15
    ICMP_IN = 16
    ICMP_OUT = 17
    ARP_IN = 18
    ARP_OUT = 19
    WINDOW_PROBES = 20
    KEEPALIVES = 21
    PURE_ACKS_OUT = 22
    REASSEMBLED = 23
    CONNECTIONS = 24
    BLACK_HOLES = 25
    OUTPUT_STOPPED = 26
    OVERRUN_BYTES = 27
    DSACKS_IN = 28


DROP_NAMES = {int(d): d.name.lower().replace("_", "-") for d in Drop}
COUNT_NAMES = {int(c): c.name.lower().replace("_", "-") for c in Count}
