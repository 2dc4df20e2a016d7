"""ICMPv6, neighbour discovery and router advertisement (RFC 4443, RFC 4861, RFC 8106): fields, view and value types."""

from ..compiled.memory import put_u64_field, u64_field
from .icmp import (  # the fixed part has one layout in both families
    get_checksum,
    get_code,
    get_rest,
    get_type,
    put_checksum,
    put_code,
    put_rest,
    put_type,
)

__all__ = ["get_checksum", "get_code", "get_rest", "get_type", "put_checksum", "put_code", "put_rest", "put_type"]

HEADER_SIZE = 8
UNREACHABLE, PACKET_TOO_BIG, TIME_EXCEEDED, PARAMETER_PROBLEM = 1, 2, 3, 4
ECHO_REQUEST, ECHO_REPLY = 128, 129
ROUTER_SOLICIT, ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT = 133, 134, 135, 136
NO_ROUTE, PROHIBITED, ADDRESS_UNREACHABLE, PORT_UNREACHABLE = 0, 1, 3, 4
FLAG_ROUTER, FLAG_SOLICITED, FLAG_OVERRIDE = 0x80000000, 0x40000000, 0x20000000
OPT_SOURCE_LINK, OPT_TARGET_LINK, OPT_PREFIX, OPT_MTU, OPT_RDNSS = 1, 2, 3, 5, 25

get_target_hi, put_target_hi = u64_field(8), put_u64_field(8)
get_target_lo, put_target_lo = u64_field(16), put_u64_field(16)
