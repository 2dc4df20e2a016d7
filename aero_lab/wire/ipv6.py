"""IPv6 and its extension headers (RFC 8200): fields, checked view and value type."""

from ..compiled.memory import (
    put_u8_field,
    put_u16_field,
    put_u32_field,
    put_u64_field,
    u8_field,
    u16_field,
    u32_field,
    u64_field,
)

HEADER_SIZE = 40
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, NO_NEXT = 0, 43, 44, 60, 59

get_version_class_flow, put_version_class_flow = u32_field(0), put_u32_field(0)
get_payload_length, put_payload_length = u16_field(4), put_u16_field(4)
get_next_header, put_next_header = u8_field(6), put_u8_field(6)
get_hop_limit, put_hop_limit = u8_field(7), put_u8_field(7)
# An address is two numbers in kernels: its upper and its lower 64 bits, as signed int64.
get_src_hi, put_src_hi = u64_field(8), put_u64_field(8)
get_src_lo, put_src_lo = u64_field(16), put_u64_field(16)
get_dst_hi, put_dst_hi = u64_field(24), put_u64_field(24)
get_dst_lo, put_dst_lo = u64_field(32), put_u64_field(32)
