"""ICMP (RFC 792, RFC 1191): fields, checked view and value type."""

from ..compiled.memory import put_u8_field, put_u16_field, put_u32_field, u8_field, u16_field, u32_field

HEADER_SIZE = 8
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 8, 11, 12
NET_UNREACHABLE, HOST_UNREACHABLE, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE = 0, 1, 2, 3
FRAGMENTATION_NEEDED, ADMINISTRATIVELY_PROHIBITED = 4, 13

get_type, put_type = u8_field(0), put_u8_field(0)
get_code, put_code = u8_field(1), put_u8_field(1)
get_checksum, put_checksum = u16_field(2), put_u16_field(2)
get_rest, put_rest = u32_field(4), put_u32_field(4)  # echo: identifier << 16 | sequence; too big: MTU
