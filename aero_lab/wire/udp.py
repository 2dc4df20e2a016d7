"""UDP (RFC 768): fields, checked view and value type."""

from ..compiled.memory import put_u16_field, u16_field

HEADER_SIZE = 8

get_srcport, put_srcport = u16_field(0), put_u16_field(0)
get_dstport, put_dstport = u16_field(2), put_u16_field(2)
get_length, put_length = u16_field(4), put_u16_field(4)
get_checksum, put_checksum = u16_field(6), put_u16_field(6)
