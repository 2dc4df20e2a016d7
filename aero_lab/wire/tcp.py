"""TCP segments and options (RFC 9293, RFC 7323, RFC 2018, RFC 2883): fields, checked view and value type."""

from ..compiled.memory import put_u8_field, put_u16_field, put_u32_field, u8_field, u16_field, u32_field

HEADER_SIZE = 20
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
OPT_END, OPT_NOP, OPT_MSS, OPT_WSCALE, OPT_SACK_PERMITTED, OPT_SACK, OPT_TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8

get_srcport, put_srcport = u16_field(0), put_u16_field(0)
get_dstport, put_dstport = u16_field(2), put_u16_field(2)
get_seq, put_seq = u32_field(4), put_u32_field(4)
get_ack, put_ack = u32_field(8), put_u32_field(8)
get_data_offset, put_data_offset = u8_field(12), put_u8_field(12)  # words << 4 | reserved
get_flags, put_flags = u8_field(13), put_u8_field(13)
get_window, put_window = u16_field(14), put_u16_field(14)
get_checksum, put_checksum = u16_field(16), put_u16_field(16)
get_urgent, put_urgent = u16_field(18), put_u16_field(18)
