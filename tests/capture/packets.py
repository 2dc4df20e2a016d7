"""Frames for the tests of this room: one of each kind that Spine sends, and conversations, made with scapy."""

from functools import cache

GUEST, GATEWAY = "02:00:00:00:00:02", "02:00:00:00:00:01"
HERE, THERE = "10.0.2.15", "203.0.113.10"


@cache
def every_kind() -> tuple[bytes, ...]:
    """One frame at least of each kind."""
    from scapy.all import (
        ARP,
        BOOTP,
        DHCP,
        DNS,
        DNSQR,
        DNSRR,
        ICMP,
        IP,
        LLC,
        NTP,
        TCP,
        UDP,
        Dot1AD,
        Dot1Q,
        Dot3,
        Ether,
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6ND_NA,
        ICMPv6ND_NS,
        ICMPv6ND_RA,
        ICMPv6ND_RS,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
        IPv6ExtHdrHopByHop,
        IPv6ExtHdrRouting,
        Raw,
    )  # fmt: skip

    eth = Ether(src=GUEST, dst=GATEWAY)
    back = Ether(src=GATEWAY, dst=GUEST)
    all_of_us = Ether(src=GUEST, dst="ff:ff:ff:ff:ff:ff")
    ip, ip_back = IP(src=HERE, dst=THERE, id=7), IP(src=THERE, dst=HERE, id=9, tos=3)
    ip6 = IPv6(src="fd00:aee0::15", dst="2001:db8::10", hlim=61, tc=0x2E)
    dhcp = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(chaddr=b"\2\0\0\0\0\2")
    options = [("MSS", 1460), ("NOP", None), ("WScale", 8), ("NOP", None), ("NOP", None), ("SAckOK", b"")]
    stamps = [("NOP", None), ("NOP", None), ("Timestamp", (1234567, 4000000000))]
    sacks = [*stamps, ("NOP", None), ("NOP", None), ("SAck", (4000, 5448, 8000, 9448))]
    quoted = IP(src=HERE, dst=THERE) / UDP(sport=4000, dport=33434) / Raw(b"12345678")
    frames = [
        all_of_us / ARP(op=1, hwsrc=GUEST, psrc=HERE, pdst="10.0.2.2"),
        back / ARP(op=2, hwsrc=GATEWAY, psrc="10.0.2.2", hwdst=GUEST, pdst=HERE),
        all_of_us / dhcp / DHCP(options=[("message-type", "discover"), ("hostname", "guest"), "end"]),
        all_of_us / dhcp / DHCP(options=[("pad"), ("hostname", "guest"), ("message-type", "request"), "end"]),
        back / IP(src="10.0.2.2", dst=HERE) / UDP(sport=67, dport=68) / BOOTP(op=2)
        / DHCP(options=[("message-type", 5), "end"]),
        eth / IP(src=HERE, dst="10.0.2.2") / UDP(sport=50000, dport=53) / DNS(id=77, qd=DNSQR(qname="files.lab")),
        back / IP(src="10.0.2.2", dst=HERE) / UDP(sport=53, dport=50000)
        / DNS(id=77, qr=1, qd=DNSQR(qname="files.lab"), an=DNSRR(rrname="files.lab", rdata=THERE)),
        Ether(src=GUEST, dst="01:00:5e:00:00:fb") / IP(src=HERE, dst="224.0.0.251", ttl=1) / UDP(sport=5353, dport=5353)
        / DNS(id=0, qd=DNSQR(qname="guest.local")),
        Ether(src=GUEST, dst="01:00:5e:00:00:fc") / IP(src=HERE, dst="224.0.0.252") / UDP(sport=60001, dport=5355)
        / DNS(id=5, qd=DNSQR(qname="wpad")),
        all_of_us / IP(src=HERE, dst="10.0.2.255") / UDP(sport=137, dport=137) / Raw(b"\x81\x01" + bytes(48)),
        eth / ip / TCP(sport=49200, dport=80, flags="S", seq=0xFFFFFFF0, window=8192, options=options),
        back / ip_back / TCP(sport=80, dport=49200, flags="SA", seq=1000, ack=0xFFFFFFF1, options=options[:1]),
        eth / ip / TCP(sport=49200, dport=80, flags="A", seq=0xFFFFFFF1, ack=1001, window=256),
        eth / ip / TCP(sport=49200, dport=80, flags="PA", seq=0xFFFFFFF1, ack=1001) / Raw(b"GET / HTTP/1.1\r\n\r\n"),
        back / ip_back / TCP(sport=80, dport=49200, flags="A", seq=1001, ack=3, options=stamps) / Raw(b"x" * 1448),
        eth / ip / TCP(sport=49200, dport=80, flags="A", seq=3, ack=2449, options=sacks),
        back / ip_back / TCP(sport=80, dport=49200, flags="FA", seq=2449, ack=3) / Raw(b"last"),
        eth / ip / TCP(sport=49200, dport=80, flags="R", seq=3),
        eth / ip / TCP(sport=49201, dport=80, flags="SEC", seq=1, reserved=4),
        eth / ip / UDP(sport=123, dport=123) / NTP(),
        eth / ip / UDP(sport=40000, dport=7000) / Raw(b"v" * 160),
        eth / ip / UDP(sport=40000, dport=7000),
        eth / ip / ICMP(type=8, id=0x4242, seq=3) / Raw(b"abcdefgh"),
        back / ip_back / ICMP(type=0, id=0x4242, seq=3) / Raw(b"abcdefgh"),
        back / ip_back / ICMP(type=3, code=3) / quoted,
        back / ip_back / ICMP(type=11, code=0) / quoted,
        eth / IP(src=HERE, dst=THERE, flags="MF", id=99) / UDP(sport=4001, dport=4002, len=2008) / Raw(b"f" * 1472),
        eth / IP(src=HERE, dst=THERE, frag=185, id=99, proto=17) / Raw(b"f" * 528),
        eth / IP(src=HERE, dst=THERE, flags="DF", options=[b"\x94\x04\0\0"], proto=2)
        / Raw(b"\x16\0\x08\x05\xe0\0\0\xfc"),
        eth / IP(src=HERE, dst=THERE, proto=47) / Raw(b"gre?"),
        eth / Dot1Q(vlan=5) / ip / UDP(sport=1, dport=2) / Raw(b"tagged"),
        eth / Dot1AD(vlan=6) / Dot1Q(vlan=7) / ip / TCP(sport=3, dport=4, flags="S"),
        eth / ip6 / TCP(sport=49300, dport=443, flags="S", seq=5, options=options),
        eth / ip6 / UDP(sport=6000, dport=6001) / Raw(b"six"),
        eth / ip6 / IPv6ExtHdrHopByHop() / UDP(sport=6000, dport=6001) / Raw(b"hop"),
        eth / ip6 / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["2001:db8::1"])
        / TCP(sport=8, dport=9, flags="A"),
        eth / ip6 / IPv6ExtHdrFragment(id=3, offset=0, m=1) / UDP(sport=6000, dport=6001, len=1000) / Raw(b"y" * 200),
        eth / ip6 / IPv6ExtHdrFragment(id=3, offset=26, m=0, nh=17) / Raw(b"z" * 100),
        eth / ip6 / ICMPv6EchoRequest(id=9, seq=10, data=b"ping"),
        back / IPv6(src="2001:db8::10", dst="fd00:aee0::15") / ICMPv6EchoReply(id=9, seq=10, data=b"ping"),
        back / IPv6(src="2001:db8::10", dst="fd00:aee0::15") / ICMPv6DestUnreach(code=4) / ip6
        / UDP(sport=6000, dport=6001),
        Ether(src=GUEST, dst="33:33:ff:00:00:01") / IPv6(dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="fe80::1"),
        back / IPv6(src="fe80::1", dst="fe80::2", hlim=255) / ICMPv6ND_NA(tgt="fe80::1"),
        Ether(src=GUEST, dst="33:33:00:00:00:02") / IPv6(dst="ff02::2", hlim=255) / ICMPv6ND_RS(),
        Ether(src=GATEWAY, dst="33:33:00:00:00:01") / IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_RA(),
        Dot3(src=GUEST, dst="01:80:c2:00:00:00") / LLC() / Raw(b"\0" * 35),
        eth / Raw(b""),
    ]  # fmt: skip
    out = [bytes(frame) for frame in frames]
    padded = bytes(eth / ip / TCP(sport=49200, dport=80, flags="A", seq=3, ack=2453)).ljust(60, b"\0")
    return (*out, padded)
