"""Whatever the bytes, a parser gives a value or ``Malformed`` with a reason, and nothing else."""

from __future__ import annotations

import os
import re
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import Malformed
from aero_lab.wire import frame, ndp
from aero_lab.wire.arp import Arp
from aero_lab.wire.dhcp import Dhcp
from aero_lab.wire.dns import DnsMessage
from aero_lab.wire.ethernet import Ethernet
from aero_lab.wire.icmp import Icmp
from aero_lab.wire.icmpv6 import Icmpv6
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.multicast import IgmpReport, MldReport
from aero_lab.wire.tcp import Tcp, TcpOptions
from aero_lab.wire.udp import Udp

from . import strategies as s

A4, B4, A6, B6 = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2)), bytes(15) + b"\1", bytes(15) + b"\2"

EXAMPLES = int(os.environ.get("WIRE_EXAMPLES", "60"))
"""Of each kind of damage for each parser; a night's run sets more."""
PARSERS = {
    "ethernet": (Ethernet.parse, s.ethernets.map(lambda v: v.emit())),
    "arp": (Arp.parse, s.arps.map(lambda v: v.emit())),
    "ipv4": (partial(Ipv4.parse, verify=False), s.ipv4s.map(lambda v: v.emit())),
    "ipv4-quoted": (Ipv4.parse_quoted, s.ipv4s.map(lambda v: v.emit())),
    "ipv6": (Ipv6.parse, s.ipv6s.map(lambda v: v.emit())),
    "ipv6-quoted": (Ipv6.parse_quoted, s.ipv6s.map(lambda v: v.emit())),
    "icmp": (partial(Icmp.parse, verify=False), s.icmps.map(lambda v: v.emit())),
    "icmpv6": (Icmpv6.parse, s.icmpv6s.map(lambda v: v.emit(A6, B6))),
    "nd": (ndp.parse, s.nd_messages.map(lambda v: v.emit(A6, B6))),
    "igmp": (partial(IgmpReport.parse, verify=False), s.igmp_reports.map(lambda v: v.emit())),
    "mld": (MldReport.parse, s.mld_reports.map(lambda v: v.emit(A6, B6))),
    "udp": (Udp.parse, s.udps.map(lambda v: v.emit(A4, B4))),
    "tcp": (Tcp.parse, s.tcps.map(lambda v: v.emit(A4, B4))),
    "tcp-options": (TcpOptions.parse, s.tcp_options().map(lambda v: v.emit())),
    "dhcp": (Dhcp.parse, s.dhcps.map(lambda v: v.emit())),
    "dns": (DnsMessage.parse, s.dns_messages.map(lambda v: v.emit())),
}
CHECKED = {
    "ipv4": (Ipv4.parse, s.ipv4s.map(lambda v: v.emit())),
    "icmp": (Icmp.parse, s.icmps.map(lambda v: v.emit())),
    "igmp": (IgmpReport.parse, s.igmp_reports.map(lambda v: v.emit())),
    "udp": (lambda data: Udp.parse(data, A4, B4), s.udps.map(lambda v: v.emit(A4, B4))),
    "udp6": (lambda data: Udp.parse(data, A6, B6), s.udps.map(lambda v: v.emit(A6, B6))),
    "tcp": (lambda data: Tcp.parse(data, A4, B4), s.tcps.map(lambda v: v.emit(A4, B4))),
    "icmpv6": (lambda data: Icmpv6.parse(data, A6, B6), s.icmpv6s.map(lambda v: v.emit(A6, B6))),
    "nd": (lambda data: ndp.parse(data, A6, B6), s.nd_messages.map(lambda v: v.emit(A6, B6))),
    "mld": (lambda data: MldReport.parse(data, A6, B6), s.mld_reports.map(lambda v: v.emit(A6, B6))),
}


def survives(parse, data: bytes) -> None:
    """Parse; what comes out can be sent again and reads the same."""
    try:
        value = parse(data)
    except Malformed as error:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", error.reason)
        return
    assert value == parse(data)


@pytest.mark.parametrize("name", PARSERS)
def test_arbitrary_bytes(name):
    @settings(max_examples=EXAMPLES)
    @given(st.binary(max_size=400))
    def check(data):
        survives(PARSERS[name][0], data)

    check()


@pytest.mark.parametrize("name", PARSERS)
def test_mutated(name):
    parse, valid = PARSERS[name]

    @settings(max_examples=EXAMPLES)
    @given(valid.flatmap(s.broken))
    def check(data):
        survives(parse, data)

    check()


@pytest.mark.parametrize("name", PARSERS)
def test_every_truncation(name):
    parse, valid = PARSERS[name]

    @settings(max_examples=10)
    @given(valid)
    def check(data):
        for size in range(len(data)):
            survives(parse, data[:size])

    check()


@pytest.mark.parametrize("name", PARSERS)
def test_whatever_is_read_can_be_sent_and_reads_the_same(name):
    """Mutated bytes that still parse give a legal value: it round-trips."""
    parse, valid = PARSERS[name]

    @settings(max_examples=EXAMPLES)
    @given(valid.flatmap(s.broken))
    def check(data):
        try:
            value = parse(data)
        except Malformed:
            return
        if name.endswith("quoted"):
            return  # the payload is cut: its length is not what the header said
        ends = (A6, B6) if name in ("icmpv6", "nd", "mld") else (A4, B4) if name in ("udp", "tcp") else ()
        assert parse(value.emit(*ends)) == value

    check()


@pytest.mark.parametrize("name", CHECKED)
def test_one_changed_byte_never_passes_a_checksum(name):
    parse, valid = CHECKED[name]

    @settings(max_examples=EXAMPLES)
    @given(valid, st.data())
    def check(data, draw):
        size = 4 * (data[0] & 15) if name == "ipv4" else len(data)  # its checksum covers the header only
        at = draw.draw(st.integers(0, size - 1))
        other = draw.draw(s.u8.filter(lambda byte: byte != data[at]))
        changed = data[:at] + bytes((other,)) + data[at + 1 :]
        if name == "udp" and changed[6:8] == b"\0\0":
            return  # says that there is no checksum
        with pytest.raises(Malformed):
            parse(changed)

    check()


@settings(max_examples=150)
@given(st.one_of(st.binary(max_size=200), s.ethernets.map(lambda v: v.emit()).flatmap(s.broken)))
def test_dissect_and_summary_of_anything(data):
    for medium in ("ethernet", "ip"):
        for verify in (True, False):
            values = frame.dissect(data, medium, verify)
            assert values or (medium == "ip" and not data)
            assert isinstance(frame.summary(data, medium, verify), str)


@given(st.data())
def test_dissect_of_broken_frames(data):
    """Legal inside of legal, then broken anywhere."""
    mac = bytes(6)
    kind = data.draw(st.sampled_from(["udp", "tcp", "icmp", "nd", "igmp", "mld", "arp"]))
    if kind == "udp":
        port = data.draw(st.sampled_from([53, 67, 68, 137, 5353, 5355, 9]))
        content = data.draw(st.one_of(s.dns_messages, s.dhcps)).emit()
        ends = data.draw(s.ends)
        raw = frame.udp_frame(mac, mac, *ends, 49152, port, content)
    elif kind == "tcp":
        raw = frame.tcp_frame(mac, mac, *data.draw(s.ends), data.draw(s.tcps))
    elif kind == "arp":
        raw = frame.arp_frame(data.draw(s.arps))
    elif kind == "icmp":
        raw = frame.icmp_frame(mac, mac, A4, B4, data.draw(s.icmps))
    elif kind == "nd":
        raw = frame.icmp_frame(mac, mac, A6, B6, data.draw(s.nd_messages))
    elif kind == "igmp":
        raw = frame.igmp_frame(mac, A4, data.draw(s.igmp_reports))
    else:
        raw = frame.mld_frame(mac, A6, data.draw(s.mld_reports))
    mutated = data.draw(s.broken(raw))
    for verify in (True, False):
        frame.dissect(mutated, verify=verify)
        assert frame.summary(mutated, verify=verify)
