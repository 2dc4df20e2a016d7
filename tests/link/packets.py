"""Small real packets for links that look at headers."""

from aero_lab.wire.ethernet import Ethernet
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6

MEDIA = ("message", "ip", "ethernet")


def packet(port, ecn, size, version=4, medium="ip", protocol=17, mf=False, options=(), tags=()):
    """A UDP packet of about ``size`` bytes; ``port`` tells its flow."""
    body = (1000 + port).to_bytes(2, "big") + bytes(max(0, size - 22))
    if version == 4:
        data = Ipv4(b"\x0a\0\0\x01", b"\x0a\0\0\x02", protocol, body, tos=ecn, mf=mf, options=options).emit()
        kind = 0x0800
    else:
        data = Ipv6(b"\xfd" + bytes(15), b"\xfd" + bytes(14) + b"\x02", protocol, body, traffic_class=ecn).emit()
        kind = 0x86DD
    if medium == "ethernet":
        return Ethernet(b"\x02" + bytes(5), b"\x02" + bytes(4) + b"\x01", kind, data, tags).emit()
    return data
