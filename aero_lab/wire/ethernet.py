"""Ethernet II frames (IEEE 802.3 clause 3, 802.1Q tags): fields, checked view and value type."""

from ..compiled.memory import put_u16_field, put_u32_field, u16_field, u32_field

HEADER_SIZE = 14
VLAN_TAG_SIZE = 4
TYPE_IPV4, TYPE_ARP, TYPE_VLAN, TYPE_QINQ, TYPE_IPV6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD

# A MAC address is two numbers in kernels: its first 16 bits and its last 32 bits.
get_dst_hi, put_dst_hi = u16_field(0), put_u16_field(0)
get_dst_lo, put_dst_lo = u32_field(2), put_u32_field(2)
get_src_hi, put_src_hi = u16_field(6), put_u16_field(6)
get_src_lo, put_src_lo = u32_field(8), put_u32_field(8)
get_type, put_type = u16_field(12), put_u16_field(12)
get_vlan_tci, get_vlan_type = u16_field(14), u16_field(16)
