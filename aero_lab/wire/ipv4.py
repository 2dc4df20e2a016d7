"""IPv4 (RFC 791, RFC 6864): fields, checked view and value type."""

from ..compiled.memory import (
    put_u8_field,
    put_u16_field,
    put_u32_field,
    u8_field,
    u16_field,
    u32_field,
)

HEADER_SIZE = 20
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
FLAG_DF, FLAG_MF, OFFSET_MASK = 0x4000, 0x2000, 0x1FFF

get_version_ihl, put_version_ihl = u8_field(0), put_u8_field(0)
get_tos, put_tos = u8_field(1), put_u8_field(1)
get_total_length, put_total_length = u16_field(2), put_u16_field(2)
get_id, put_id = u16_field(4), put_u16_field(4)
get_fragment, put_fragment = u16_field(6), put_u16_field(6)  # DF, MF and offset in units of 8 bytes
get_ttl, put_ttl = u8_field(8), put_u8_field(8)
get_protocol, put_protocol = u8_field(9), put_u8_field(9)
get_checksum, put_checksum = u16_field(10), put_u16_field(10)
get_src, put_src = u32_field(12), put_u32_field(12)
get_dst, put_dst = u32_field(16), put_u32_field(16)
