"""ARP for IPv4 over Ethernet (RFC 826, RFC 5227): fields, checked view and value type."""

from ..compiled.memory import put_u16_field, put_u32_field, u16_field, u32_field

SIZE = 28
REQUEST, REPLY = 1, 2

get_htype, put_htype = u16_field(0), put_u16_field(0)
get_ptype, put_ptype = u16_field(2), put_u16_field(2)
get_lengths, put_lengths = u16_field(4), put_u16_field(4)  # hlen << 8 | plen
get_op, put_op = u16_field(6), put_u16_field(6)
get_sha_hi, put_sha_hi = u16_field(8), put_u16_field(8)
get_sha_lo, put_sha_lo = u32_field(10), put_u32_field(10)
get_spa, put_spa = u32_field(14), put_u32_field(14)
get_tha_hi, put_tha_hi = u16_field(18), put_u16_field(18)
get_tha_lo, put_tha_lo = u32_field(20), put_u32_field(20)
get_tpa, put_tpa = u32_field(24), put_u32_field(24)
