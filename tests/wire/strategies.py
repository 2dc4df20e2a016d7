"""Hypothesis strategies: any legal value of each protocol, and how to break its bytes."""

from __future__ import annotations

from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.limits import DNS_NAME_MAX
from aero_lab.wire import dhcp, dns, icmpv6, ipv4, ipv6, multicast, ndp, rdata, tcp
from aero_lab.wire.arp import Arp
from aero_lab.wire.ethernet import TYPE_QINQ, TYPE_VLAN, Ethernet, Vlan
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.udp import Udp

u8, u12, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFF), st.integers(0, 0xFFFF)
u20, u32 = st.integers(0, 0xFFFFF), st.integers(0, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6)
ip4s, ip6s = st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)
payloads = st.binary(max_size=64)
ends = st.one_of(st.tuples(ip4s, ip4s), st.tuples(ip6s, ip6s))
ends6 = st.tuples(ip6s, ip6s)

vlans = st.builds(Vlan, u12, st.integers(0, 7), st.booleans(), st.sampled_from([TYPE_VLAN, TYPE_QINQ]))
ethernets = st.builds(
    Ethernet,
    macs,
    macs,
    u16.filter(lambda kind: kind not in (TYPE_VLAN, TYPE_QINQ)),
    payloads,
    st.lists(vlans, max_size=2).map(tuple),
)
arps = st.builds(Arp, u16, macs, ip4s, macs, ip4s)

ip4_options = st.lists(
    st.one_of(
        st.just((ipv4.OPT_NOP, b"")), st.tuples(st.integers(2, 255), st.binary(max_size=8)), st.just(ipv4.ROUTER_ALERT)
    ),
    max_size=4,
).map(tuple)
ipv4s = st.builds(
    ipv4.Ipv4,
    src=ip4s,
    dst=ip4s,
    protocol=u8,
    payload=payloads,
    ttl=u8,
    id=u16,
    tos=u8,
    df=st.booleans(),
    mf=st.booleans(),
    offset=st.integers(0, 0x1FFF).map(lambda units: 8 * units),
    rb=st.booleans(),
    options=ip4_options,
)

ip6_option_lists = st.lists(
    st.one_of(st.just((0, b"")), st.tuples(st.integers(1, 255), st.binary(max_size=12))), max_size=4
).map(tuple)
hop_by_hops = st.builds(ipv6.Options, st.just(ipv6.HOP_BY_HOP), ip6_option_lists)
destinations = st.builds(ipv6.Options, st.just(ipv6.DESTINATION), ip6_option_lists)
routings = st.builds(
    ipv6.Routing, u8, u8, st.integers(0, 4).flatmap(lambda n: st.binary(min_size=8 * n + 4, max_size=8 * n + 4))
)
first_fragments = st.builds(ipv6.Fragment, st.just(0), st.booleans(), u32)
later_fragments = st.builds(ipv6.Fragment, st.integers(1, 0x1FFF).map(lambda units: 8 * units), st.booleans(), u32)


@st.composite
def extension_chains(draw):
    chain = draw(st.lists(hop_by_hops, max_size=1))
    chain += draw(st.lists(st.one_of(destinations, routings, first_fragments), max_size=4))
    return tuple(chain + draw(st.lists(later_fragments, max_size=1)))


ipv6s = st.builds(
    ipv6.Ipv6,
    src=ip6s,
    dst=ip6s,
    next_header=u8.filter(lambda protocol: protocol not in ipv6.EXTENSIONS),
    payload=payloads,
    hop_limit=u8,
    traffic_class=u8,
    flow_label=u20,
    extensions=extension_chains(),
)

icmps = st.builds(Icmp, u8, u8, u32, payloads)
icmpv6s = st.builds(icmpv6.Icmpv6, u8, u8, u32, payloads)
udps = st.builds(Udp, u16, u16, payloads)


@st.composite
def tcp_options(draw):
    """Options that fit, in any order, with no-operations between them."""
    known = {
        "mss": draw(st.none() | u16),
        "wscale": draw(st.none() | u8),
        "sack_permitted": draw(st.booleans()),
        "sack": draw(st.lists(st.tuples(u32, u32), max_size=2).map(tuple)),
        "timestamps": draw(st.none() | st.tuples(u32, u32)),
        "unknown": draw(st.lists(st.tuples(st.integers(9, 255), st.binary(max_size=6)), max_size=2).map(tuple)),
    }
    try:
        options = tcp.TcpOptions(**known)
        kinds = draw(st.permutations([kind for kind in options.layout if kind > tcp.OPT_NOP]))
        layout = [kind for each in kinds for kind in ([tcp.OPT_NOP] * draw(st.integers(0, 2)) + [each])]
        return tcp.TcpOptions(**known, layout=tuple(layout) + draw(st.sampled_from([(), (tcp.OPT_END,)])))
    except UsageError:  # more than 40 bytes
        return tcp.TcpOptions(mss=known["mss"], unknown=known["unknown"])


tcps = st.builds(
    tcp.Tcp,
    srcport=u16,
    dstport=u16,
    seq=u32,
    ack=u32,
    flags=u12,
    window=u16,
    urgent=u16,
    options=tcp_options(),
    payload=payloads,
)

dhcp_options = st.lists(st.tuples(st.integers(1, 254), st.binary(max_size=255)), max_size=5).map(tuple)
dhcps = st.builds(
    dhcp.Dhcp,
    op=u8,
    xid=u32,
    chaddr=macs,
    options=dhcp_options,
    ciaddr=ip4s,
    yiaddr=ip4s,
    siaddr=ip4s,
    giaddr=ip4s,
    secs=u16,
    flags=u16,
    hops=u8,
    sname=st.binary(max_size=64),
    file=st.binary(max_size=128),
)

labels = st.binary(min_size=1, max_size=12) | st.sampled_from([b"lab", b"files", b"www", b"x" * 63])
# Four of the longest labels make a name that is too long.
names = (
    st.lists(labels, max_size=4)
    .filter(lambda parts: sum(1 + len(label) for label in parts) + 1 <= DNS_NAME_MAX)
    .map(lambda parts: ".".join(map(rdata.label_text, parts)))
)
questions = st.builds(dns.Question, names, u16, u16)
rdata_by_type = {
    rdata.A: ip4s,
    rdata.AAAA: ip6s,
    rdata.CNAME: names,
    rdata.NS: names,
    rdata.PTR: names,
    rdata.TXT: st.lists(st.binary(max_size=20), min_size=1, max_size=3).map(tuple),
    rdata.MX: st.builds(rdata.Mx, u16, names),
    rdata.SRV: st.builds(rdata.Srv, u16, u16, u16, names),
    rdata.SOA: st.builds(rdata.Soa, names, names, u32, u32, u32, u32, u32),
    65400: st.binary(max_size=20),  # a private type
}
records = st.one_of(
    *(st.builds(dns.Record, names, st.just(kind), st.just(rdata.IN), u32, held) for kind, held in rdata_by_type.items())
)
# Option codes for local use (RFC 6891 section 9): dnspython looks into those it knows.
edns_options = st.lists(st.tuples(st.integers(65001, 65534), st.binary(max_size=12)), max_size=2).map(tuple)
edns = st.builds(dns.Edns, u16, u8, u8, u16, edns_options)
sections = st.lists(records, max_size=3).map(tuple)
dns_messages = st.builds(
    dns.DnsMessage,
    u16,
    u16,
    st.lists(questions, max_size=2).map(tuple),
    sections,
    sections,
    st.one_of(sections, edns.map(lambda each: (each.record(),))),
)

link_addresses = st.builds(ndp.LinkAddress, st.sampled_from([1, 2]), macs)
nd_options = st.lists(
    st.one_of(
        link_addresses,
        st.builds(ndp.Prefix, ip6s, st.integers(0, 128), u8, u32, u32),
        st.builds(ndp.Mtu, u32),
        st.builds(ndp.Rdnss, u32, st.lists(ip6s, min_size=1, max_size=3).map(tuple)),
        st.builds(
            ndp.RawOption,
            st.integers(26, 255) | st.sampled_from([0, 4, 14]),
            st.sampled_from([6, 14, 22]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
        ),
    ),
    max_size=4,
).map(tuple)
targets = ip6s.filter(lambda address: address[0] != 0xFF)
nd_flags = st.integers(0, 7).map(lambda bits: bits << 29)
nd_messages = st.one_of(
    st.builds(ndp.RouterSolicit, nd_options),
    st.builds(ndp.RouterAdvert, u8, u8, u16, u32, u32, nd_options),
    st.builds(ndp.NeighbourSolicit, targets, nd_options),
    st.builds(ndp.NeighbourAdvert, targets, nd_flags, nd_options),
    st.builds(ndp.Redirect, targets, ip6s, nd_options),
)


def group_records(addresses):
    aux = st.sampled_from([b"", b"aux!"])
    record = st.builds(multicast.GroupRecord, u8, addresses, st.lists(addresses, max_size=3).map(tuple), aux)
    return st.lists(record, max_size=3).map(tuple)


igmp_reports = st.builds(multicast.IgmpReport, group_records(ip4s))
mld_reports = st.builds(multicast.MldReport, group_records(ip6s))


@st.composite
def broken(draw, data: bytes) -> bytes:
    """``data`` cut short, or with some bytes replaced, inserted or lost."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        how = draw(st.sampled_from(["cut", "replace", "insert", "delete", "extreme"]))
        at = draw(st.integers(0, max(len(out) - 1, 0)))
        if how == "cut":
            del out[at:]
        elif how == "insert":
            out[at:at] = draw(st.binary(max_size=8))
        elif out and how == "delete":
            del out[at]
        elif out:
            out[at] = draw(u8 if how == "replace" else st.sampled_from([0, 1, 0x7F, 0x80, 0xC0, 0xFF]))
    return bytes(out)
