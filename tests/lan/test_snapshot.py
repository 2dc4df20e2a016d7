"""Images of a LAN: their bytes, hostile ones, and what goes on after a restore."""

from __future__ import annotations

import gc
import struct

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aero_lab.bounds import SNAPSHOT_CONNECTIONS, SNAPSHOT_NAME, SNAPSHOT_NAMES, SNAPSHOT_SIZE
from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.errors import UsageError
from aero_lab.lab import Lab
from aero_lab.lan import Policy
from aero_lab.lan.restoring import restore, take
from aero_lab.lan.snapshot import (
    DISCONNECTED,
    CachedAnswer,
    CachedName,
    Connection,
    LanState,
    LeaseState,
    Neighbour,
    SnapshotError,
    TcpState,
    UdpState,
)
from aero_lab.limits import SECOND
from aero_lab.wire import dns
from aero_lab.wire.address import ip, mac
from aero_lab.wire.dns import DnsMessage, Record

from .bench import ECHO, GUEST, GUEST_MAC, VirtualBench
from .test_lan_virtual import ask_dns, send_udp

REASONS = {
    "size", "short", "magic", "format", "device", "version", "fields", "duplicate", "count", "length", "value", "text",
    "message",
}  # fmt: skip
HEADER = b"AERO\x01\0\0\0NETS\x01\0\0\0"
ANSWER = DnsMessage(0, dns.QR, (), (Record("a.example", dns.AAAA, dns.IN, 60, ip("2606:2800::1")),)).emit()
FULL = LanState(
    guest_mac=GUEST_MAC,
    ip_assigned=True,
    next_tcp_id=7,
    next_dns_id=9,
    ipv4_ident=0xBEEF,
    last_now_ms=123_456_789_012,
    names=(CachedName("a.example", ip("93.184.216.34"), 123_456_799_012),),
    connections=(Connection(3, 49152, ip("93.184.216.34"), 80),),
    tcp=(TcpState(3, (GUEST, 49152), (ip("93.184.216.34"), 80), 1460, 7, 2, True),),
    udp=(UdpState(4, (ip("fd00:aee0::5"), 5000), (ip("2606:2800::1"), 53), 2500),),
    answers=(CachedAnswer("a.example", dns.AAAA, 9000, ANSWER),),
    neighbours=(Neighbour(GUEST, GUEST_MAC), Neighbour(ip("fd00:aee0::5"), GUEST_MAC)),
    lease=LeaseState(GUEST_MAC, 5000, "guest", "udhcp"),
)


def field(tag: int, value: bytes) -> bytes:
    return struct.pack("<HI", tag, len(value)) + value


def test_the_bytes_of_an_image():
    """Put together by hand from the description: header, then the fields with their tags in order."""
    state = LanState(
        mac("52:54:00:12:34:56"), True, 5, 6, 0x1234, 1000,
        (CachedName("x.y", ip("1.2.3.4"), 61_000),), (Connection(2, 1025, ip("5.6.7.8"), 443),),
    )  # fmt: skip
    expected = HEADER + bytes.fromhex(
        "0100 06000000 525400123456"
        "0200 01000000 01"
        "0300 04000000 05000000"
        "0400 04000000 06000000"
        "0500 02000000 3412"
        "0600 17000000 01000000 03000000 782e79 01020304 48ee000000000000"
        "0700 11000000 01000000 02000000 0104 05060708 bb01 01"
        "0800 08000000 e803000000000000"
    )
    assert state.emit() == expected
    assert LanState.parse(expected).connections[0].status == DISCONNECTED, "whatever it was when it was written"


def test_round_trip():
    again = LanState.parse(FULL.emit())
    assert again.connections == tuple(each._replace(status=DISCONNECTED) for each in FULL.connections)
    assert LanState.parse(LanState().emit()) == LanState()
    expected = {**vars(FULL), "connections": again.connections}
    assert vars(again) == expected


def test_the_older_name_and_unknown_fields_and_missing_ones():
    assert LanState.parse(HEADER.replace(b"NETS", b"NSTK") + field(2, b"\1")).ip_assigned
    assert LanState.parse(HEADER + field(99, b"from the future") + field(2, b"\1")).ip_assigned
    assert LanState.parse(HEADER) == LanState()
    minor = b"AERO\x01\0\7\0NETS\x01\0\7\0"
    assert LanState.parse(minor) == LanState(), "a later minor version may say more, not otherwise"
    assert LanState.parse(HEADER + field(3, bytes(4)) + field(5, bytes(2))).next_tcp_id == 1


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "short"),
        (HEADER[:15], "short"),
        (bytes(SNAPSHOT_SIZE + 1), "size"),
        (b"ZERO" + HEADER[4:], "magic"),
        (b"AERO\x02\0\0\0NETS\x01\0\0\0", "format"),
        (b"AERO\x01\0\0\0E1K0\x01\0\0\0", "device"),
        (b"AERO\x01\0\0\0NETS\x02\0\0\0", "version"),
        (HEADER + b"\1", "short"),
        (HEADER + b"\1\0\xff\xff\xff\xff", "short"),
        (HEADER + field(2, b"\1") * 2, "duplicate"),
        (HEADER + b"".join(field(tag, b"") for tag in range(100, 4200)), "fields"),
        (HEADER + field(1, b"12345"), "short"),
        (HEADER + field(1, b"1234567"), "length"),
        (HEADER + field(2, b"\2"), "value"),
        (HEADER + field(2, b""), "short"),
        (HEADER + field(3, b"123"), "short"),
        (HEADER + field(8, b"123456789"), "length"),
        (HEADER + field(6, b"\0\0\0"), "short"),
        (HEADER + field(6, struct.pack("<I", SNAPSHOT_NAMES + 1)), "count"),
        (HEADER + field(6, struct.pack("<I", SNAPSHOT_NAMES)), "short"),
        (HEADER + field(6, struct.pack("<II", 1, SNAPSHOT_NAME + 1) + bytes(2000)), "length"),
        (HEADER + field(6, struct.pack("<II", 1, 0xFFFFFFFF)), "length"),
        (HEADER + field(6, struct.pack("<II", 1, 2) + b"\xff\xfe" + bytes(12)), "text"),
        (HEADER + field(6, struct.pack("<II", 1, 3) + b"a..b" + bytes(11)), "text"),
        (HEADER + field(7, struct.pack("<I", SNAPSHOT_CONNECTIONS + 1)), "count"),
        (HEADER + field(7, struct.pack("<IIH4sHB", 1, 1, 0, b"abcd", 80, 1)), "value"),
        (HEADER + field(7, struct.pack("<IIH4sHB", 1, 1, 9, b"abcd", 80, 1) + b"x"), "length"),
        (HEADER + field(0xAE01, struct.pack("<IIB", 1, 1, 5) + bytes(99)), "length"),
        (HEADER + field(0xAE03, struct.pack("<II", 1, 0) + struct.pack("<HQI", 1, 1, 4) + b"junk"), "message"),
        (HEADER + field(0xAE05, b"123456"), "short"),
    ],
)
def test_hostile_images_have_a_name_each(image, reason):
    with pytest.raises(SnapshotError) as caught:
        LanState.parse(image)
    assert caught.value.reason == reason and reason in REASONS
    assert "\n" not in str(caught.value)


def test_numbers_that_no_handshake_gives():
    for change in ({"mss": 20}, {"send_shift": 15}, {"recv_shift": -2}, {"target": (ip("::1"), 80)}):
        with pytest.raises(SnapshotError) as caught:
            LanState.parse(LanState(tcp=(FULL.tcp[0]._replace(**change),)).emit())
        assert caught.value.reason == "value"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_images_are_read_or_refused_by_name_and_never_anything_else(data):
    image = bytearray(FULL.emit())
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(["byte", "cut", "insert", "size"]))
        at = data.draw(st.integers(0, max(0, len(image) - 1)))
        if kind == "byte" and image:
            image[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del image[at : at + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            image[at:at] = data.draw(st.binary(max_size=20))
        elif len(image) >= at + 4:
            image[at : at + 4] = struct.pack("<I", data.draw(st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])))
    try:
        state = LanState.parse(bytes(image))
    except SnapshotError as error:
        assert error.reason in REASONS
        return
    assert LanState.parse(state.emit()) == state


@given(st.binary(max_size=300))
def test_noise_behind_a_header(noise):
    try:
        LanState.parse(HEADER + noise)
    except SnapshotError as error:
        assert error.reason in REASONS


# Restoring ------------------------------------------------------------------------------------------------------------


def fresh(**config) -> VirtualBench:
    """Another LAN of the same kind."""
    return VirtualBench(seed=99, policy=Policy(allow_private=True), **config)


endpoints = st.tuples(
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), st.integers(1, 65535)
)


def same_family(pair) -> bool:
    return len(pair[0][0]) == len(pair[1][0])


names = st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9]{1,10}){0,2}", fullmatch=True)
pairs = st.tuples(endpoints, endpoints).filter(same_family)
states = st.builds(
    LanState,
    guest_mac=st.none() | st.binary(min_size=6, max_size=6),
    ip_assigned=st.booleans(),
    next_tcp_id=st.integers(0, 0xFFFFFFFF),
    ipv4_ident=st.integers(0, 0xFFFF),
    last_now_ms=st.integers(0, (1 << 64) - 1),
    names=st.lists(
        st.builds(CachedName, names, st.binary(min_size=4, max_size=4), st.integers(0, (1 << 64) - 1)),
        max_size=3,
    ).map(tuple),
    tcp=st.lists(
        st.builds(
            lambda ends, mss, shift, sack: TcpState(1, ends[0], ends[1], mss, shift, shift, sack),
            pairs,
            st.integers(64, 0xFFFF),
            st.integers(-1, 14),
            st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    udp=st.lists(
        st.builds(lambda ends, idle: UdpState(1, ends[0], ends[1], idle), pairs, st.integers(0, 1 << 63)), max_size=3
    ).map(tuple),
    answers=st.lists(
        st.builds(CachedAnswer, names, st.integers(0, 0xFFFF), st.integers(0, 1 << 63), st.just(ANSWER)),
        max_size=3,
    ).map(tuple),
    neighbours=st.lists(
        st.builds(
            Neighbour,
            st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
            st.binary(min_size=6, max_size=6),
        ),
        max_size=3,
    ).map(tuple),
    lease=st.none()
    | st.builds(
        LeaseState, st.binary(min_size=6, max_size=6), st.integers(0, 1 << 63), st.text(max_size=9), st.text(max_size=9)
    ),
)


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(states, st.sampled_from(["drop", "reconnect"]))
def test_no_image_harms_the_network_that_takes_it_over(state, tcp):
    gc.collect()  # what the last example built is large, and held by cycles alone
    b = fresh(gateway6=ip("fd00:aee0::2"), max_tcp=4)
    out = restore(b.lan, LanState.parse(state.emit()), b.now, tcp)
    if tcp == "drop":
        assert out.tcp == 0 and len(b.lan.tcp) == 0
    b.run_for(2)
    client = b.guest.open((ECHO, 7), b"hello")
    assert b.run(lambda: bytes(client.got) == b"hello", 30)


def test_lease_names_and_numbers_go_on():
    b = VirtualBench(names={}, policy=Policy(allow_private=True))
    assert ask_dns(b, "echo.lab").answers[0].rdata == ECHO
    with Lab(virtual=True) as lab:
        guest = lab.guest(profile="linux")
        assert guest.run("rr", count=1).ok
        state = LanState.parse(guest.snapshot())
        assert state.ip_assigned and state.guest_mac == mac(guest.mac)
        assert state.next_tcp_id == 2 and state.lease is not None and state.lease.vendor_class.startswith("udhcp")
    state = take(b.lan, b.now)
    assert state.names[0][:2] == ("echo.lab", ECHO)
    assert 0 < state.names[0].expires_ms - state.last_now_ms <= 60_000
    other = fresh(names={})
    out = restore(other.lan, LanState.parse(state.emit()), other.now)
    assert out.names >= 1 and not out.lease
    found = other.lan.dns.judge("echo.lab", dns.A, other.now)
    assert found.step == "cache" and found.verdict is not None and found.verdict.records[0].rdata == ECHO


def test_what_the_policy_now_forbids_is_left_out():
    state = LanState(
        names=(CachedName("inside.example", ip("10.0.0.1"), 60_000), CachedName("2130706433", ip("8.8.8.8"), 60_000)),
        tcp=(TcpState(1, (GUEST, 40000), (ip("192.168.1.1"), 80)),),
        udp=(UdpState(2, (GUEST, 40001), (ip("169.254.169.254"), 53)), UdpState(3, (bytes(4), 1), (ECHO, 7))),
    )
    b = VirtualBench()
    out = restore(b.lan, state, b.now, "reconnect")
    assert out.left_out == {"name-denied": 2, "tcp-private": 1, "udp-metadata": 1, "udp-no-guest": 1}
    assert (out.names, out.tcp, out.udp, len(b.lan.tcp), len(b.lan.udp)) == (0, 0, 0, 0, 0)


def test_datagram_flows_go_on_and_expire_when_they_would_have():
    b = VirtualBench()
    send_udp(b, (ECHO, 7), b"x")
    b.run_for(40)
    send_udp(b, (ECHO, 7), b"y", port=41000)
    b.run_for(1)
    other = VirtualBench(seed=5)
    out = restore(other.lan, LanState.parse(take(b.lan, b.now).emit()), other.now)
    assert out.udp == 2
    other.run_for(18)
    assert len(other.lan.udp) == 2
    other.run_for(3)
    assert len(other.lan.udp) == 1, "41 seconds had gone by before"
    send_udp(other, (ECHO, 7), b"z", port=41000)
    assert other.run(lambda: any(each.payload == b"z" for each in other.guest.datagrams), 5)
    assert len(other.lan.udp) == 1, "the restored flow is used"
    other.run_for(61)
    assert len(other.lan.udp) == 0 and [row["reason"] for row in other.lan_rows()] == ["idle", "idle"]


def swap(b: VirtualBench, tcp: str, **config):
    """The proxy dies and another one takes its place, with the guest none the wiser."""
    image = take(b.lan, b.now).emit()
    other = VirtualBench(seed=1234, **config)
    out = restore(other.lan, LanState.parse(image), b.now, tcp)
    b.lan.rx.pop_many(1000), b.lan.tx.pop_many(1000)
    b.scheduler = Scheduler(VirtualClock(b.now))
    b.scheduler.add(b.guest, other.lan)
    b.lan = b.guest.lan = other.lan
    return out


@pytest.mark.parametrize("ack_policy", ["early", "mirror"])
def test_an_echo_connection_survives_with_reconnect(ack_policy):
    b = VirtualBench(ack_policy=ack_policy)
    client = b.guest.open((ECHO, 7), b"before")
    assert b.run(lambda: bytes(client.got) == b"before")
    b.run_for(1)
    out = swap(b, "reconnect", ack_policy=ack_policy)
    assert out.tcp == 1
    for text in (b" after", b" and again", bytes(300_000)):
        expected = len(client.got) + len(text)
        client.to_send = memoryview(text)
        assert b.run(lambda expected=expected: len(client.got) == expected)
        assert bytes(client.got[-len(text) :]) == text
    client.finish = True
    assert b.run(lambda: client.reason is not None)
    assert client.reason == "closed"
    assert b.lan_rows()[0]["reason"] == "closed" and b.lan_rows()[0]["flow"] == 2


def test_by_default_connections_are_gone_and_the_guest_hears_it():
    b = VirtualBench()
    client = b.guest.open((ECHO, 7), b"before")
    assert b.run(lambda: bytes(client.got) == b"before")
    out = swap(b, "drop")
    assert out.left_out == {"tcp-dropped": 1}
    client.to_send = memoryview(b"anyone?")
    assert b.run(lambda: client.reason is not None, 30)
    assert client.reason == "reset"


def test_a_far_side_that_is_gone_is_a_reset_at_the_next_segment():
    b = VirtualBench()
    client = b.guest.open((ECHO, 7), b"before")
    assert b.run(lambda: bytes(client.got) == b"before")
    swap(b, "reconnect", forward_tcp={(ECHO, 7): (ECHO, 81)})
    b.run_for(1)
    assert b.lan_rows()[0]["reason"] == "refused"
    client.to_send = memoryview(b"anyone?")
    assert b.run(lambda: client.reason is not None, 30)
    assert client.reason == "reset"


def test_connections_half_closed_or_not_yet_open_are_not_in_it():
    b = VirtualBench()
    half = b.guest.open((ECHO, 7), read=False)
    assert b.run(lambda: half.established)
    b.far._tcp.clear()
    half.finish = True
    b.run_for(1)
    assert take(b.lan, b.now).tcp == ()


@pytest.mark.parametrize("virtual", [True, False])
def test_in_a_lab(virtual):
    with Lab(virtual=virtual) as lab:
        with pytest.raises(UsageError, match="no guest"):
            lab.restore(LanState().emit())
        guest = lab.guest(profile="linux")
        assert guest.run("rr", count=2).ok
        held = {}

        def connect(host):
            held["socket"] = yield from host.connect("echo.lab", 7)
            yield from held["socket"].send(b"one")
            return (yield from held["socket"].receive_exactly(3))

        def go_on(host):
            yield from held["socket"].send(b"two")
            return (yield from held["socket"].receive_exactly(3, host.now + 20 * SECOND))

        assert guest.do(connect) == b"one"
        image = guest.snapshot()
        before = guest.lan
        with pytest.raises(SnapshotError):
            lab.restore(image[:-1])
        with pytest.raises(UsageError, match="drop, reconnect"):
            lab.restore(image, tcp="keep")
        assert guest.lan is before
        out = lab.restore(image, tcp="reconnect")
        assert guest.lan is not before and (out.lease, out.tcp) == (True, 1)
        assert guest.do(go_on, timeout=30) == b"two"
        assert guest.run("download", size="100kB", timeout=30).ok
        lab.restore(guest.snapshot())
        with pytest.raises(Exception, match="reset"):
            guest.do(go_on, timeout=30)


def test_the_same_state_gives_the_same_bytes():
    def image(seed):
        b = VirtualBench(seed=seed)
        client = b.guest.open((ECHO, 7), b"x")
        assert b.run(lambda: bool(client.got))
        return take(b.lan, b.now).emit()

    assert image(3) == image(3)


def test_a_network_in_use_takes_nothing_over():
    b = VirtualBench()
    client = b.guest.open((ECHO, 7), b"x")
    assert b.run(lambda: bool(client.got))
    with pytest.raises(UsageError, match="carries flows"):
        restore(b.lan, LanState(), b.now)
