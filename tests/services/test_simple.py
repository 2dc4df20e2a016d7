"""Echo, sink, source, content, NTP, probes and the name server, each without I/O."""

from __future__ import annotations

import hashlib

import dns.message
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.ntp import NTPHeader

from aero_lab.errors import Malformed, UsageError
from aero_lab.limits import SECOND, SERVICE_BUFFER
from aero_lab.services import CATALOGUE, endpoints, identity_forwards, make_services, names
from aero_lab.services.base import Echo, Sink
from aero_lab.services.content import (
    PERIOD,
    ContentCheck,
    Digest,
    Source,
    content,
    content_bytes,
    content_md5,
    known_md5,
)
from aero_lab.services.dns import Dns
from aero_lab.services.ntp import CLIENT, SERVER, Ntp, NtpPacket, from_ntp, to_ntp
from aero_lab.services.udp_probe import PROBE_SIZE, UdpEcho, make_probe, read_probe
from aero_lab.services.unreachable import HOST, PORT, unreachable
from aero_lab.wire.address import ip
from aero_lab.wire.ipv6 import Ipv6

BLOCK = hashlib.shake_256(b"aero_lab content").digest(PERIOD)
"""The plain definition of the content: this, repeated."""
CLIENT_AT = (ip("10.0.2.15"), 40000)


@given(st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 300))))
def test_echo_gives_back_what_it_got_in_order(moves):
    session = Echo().connected()
    sent, got = bytearray(), bytearray()
    for chunk, most in moves:
        session.data(chunk)
        sent += chunk
        piece = session.output(most)
        assert len(piece) <= most
        got += piece
    session.eof()
    got += session.output(1 << 20)
    assert got == sent and session.done


def test_echo_takes_no_more_than_it_can_hold():
    session = Echo().connected()
    while session.room:
        session.data(bytes(min(session.room, 60_000)))
    assert session.room == 0
    assert len(session.output(1000)) == 1000
    assert session.room == 1000
    assert len(session.output(1 << 30)) == SERVICE_BUFFER - 1000


def test_sink_counts():
    service = Sink()
    session = service.connected()
    session.data(bytes(1000))
    assert session.output(100) == b"" and not session.done
    session.eof()
    assert session.done and service.received == 1000


def test_source_with_and_without_an_end():
    session = Source().connected()
    got = bytearray()
    while len(got) < 2 * PERIOD:
        got += session.output(100_000)
    assert bytes(got) == content_bytes(len(got))
    session.eof()
    assert session.done and session.output(10) == b""
    short = Source(10).connected()
    assert bytes(short.output(4)) + bytes(short.output(100)) == content_bytes(10)
    assert short.done
    assert Source(0).connected().done


@given(st.integers(0, 3 * PERIOD), st.integers(1, 400_000))
def test_content_is_one_sequence_however_it_is_asked_for(position, most):
    piece = bytes(content(position, most))
    assert 0 < len(piece) <= most
    block = BLOCK
    assert piece[:50] == bytes(block[(position + i) % PERIOD] for i in range(min(50, len(piece))))
    assert piece[-1] == block[(position + len(piece) - 1) % PERIOD]


@given(st.integers(0, 3_000_000), st.integers(1, 1_000_000))
@settings(max_examples=20)
def test_digest_piece_by_piece(size, step):
    digest = Digest(size)
    found = None
    for _ in range(size // step + 2):
        found = digest.work(step)
        if found is not None:
            break
    assert found == hashlib.md5(content_bytes(size)).digest() == known_md5(size) == content_md5(size)


def test_digests_are_remembered_up_to_a_number():
    for size in range(200):
        content_md5(size)
    assert known_md5(199) and known_md5(0) is None


@settings(max_examples=30)
@given(st.integers(0, 2 * PERIOD), st.integers(1, 255), st.integers(20_000, 500_000))
def test_content_check_finds_the_first_wrong_byte(at, flip, cut):
    data = bytearray(content_bytes(2 * PERIOD + 1))
    good, bad = ContentCheck(), ContentCheck()
    for start in range(0, len(data), cut):
        good.update(data[start : start + cut])
    data[at] ^= flip
    for start in range(0, len(data), cut):
        bad.update(memoryview(data)[start : start + cut])
    assert (good.wrong_at, good.position) == (None, len(data))
    assert bad.wrong_at == at


def test_a_slip_of_any_power_of_two_shows():
    for shift in range(1, 21):
        check = ContentCheck()
        check.update(content_bytes(2_200_000)[1 << shift :])
        assert check.wrong_at is not None and check.wrong_at < 8


@given(st.integers(0, 4 * 10**18))
def test_ntp_timestamps_go_there_and_back(unix_ns):
    if (unix_ns // SECOND + 2_208_988_800) < 1 << 32:
        assert from_ntp(to_ntp(unix_ns)) == unix_ns


def test_ntp_answer_is_what_scapy_reads():
    service = Ntp(epoch=1_700_000_000 * SECOND)
    request = NtpPacket(mode=CLIENT, version=3, poll=4, transmit=0x1122334455667788).emit()
    assert (NTPHeader(request).mode, NTPHeader(request).version, NTPHeader(request).poll) == (CLIENT, 3, 4)
    answer = service.datagram(request, CLIENT_AT, 5 * SECOND // 2)
    read = NTPHeader(answer)
    assert (read.mode, read.version, read.stratum, read.leap) == (SERVER, 3, 1, 0)
    packet = NtpPacket.parse(answer)
    assert packet.originate == 0x1122334455667788
    assert from_ntp(packet.receive) == from_ntp(packet.transmit) == 1_700_000_002_500_000_000


@pytest.mark.parametrize(
    "payload", [b"", bytes(47), NtpPacket(mode=SERVER).emit(), NtpPacket(version=0).emit(), NtpPacket(version=7).emit()]
)
def test_what_is_no_ntp_request_gets_no_answer(payload):
    assert Ntp().datagram(payload, CLIENT_AT, 0) is None


def test_ntp_parse_names_its_reason():
    with pytest.raises(Malformed, match="ntp-length"):
        NtpPacket.parse(b"x")
    with pytest.raises(Malformed, match="ntp-version"):
        NtpPacket.parse(bytes(48))


@given(st.binary(max_size=100), st.integers(0, 1 << 62))
def test_udp_echo_changes_only_the_receipt_of_probes(payload, now):
    answer = UdpEcho().datagram(payload, CLIENT_AT, now)
    if read_probe(payload) is None:
        assert answer == payload
    sent = make_probe(7, 123, 40)
    back = UdpEcho().datagram(sent, CLIENT_AT, now)
    assert len(back) == 40
    assert read_probe(back) == (7, 123, now, 40)
    assert back[:16] + bytes(8) + back[24:] == sent


def test_probes_have_a_least_size():
    assert read_probe(make_probe(1, 2)) == (1, 2, 0, PROBE_SIZE)
    assert read_probe(make_probe(1, 2)[:-1]) is None
    with pytest.raises(UsageError, match="24 bytes"):
        make_probe(1, 2, 23)


TABLE = {"a.lab": ip("192.0.2.1"), "both.lab": (ip("192.0.2.2"), ip("2001:db8::2"))}


def ask(name, rtype="A", edns=None, **kw):
    query = dns.message.make_query(name, rtype, use_edns=edns, **kw)
    answer = dns.message.from_wire(Dns(TABLE, ttl=33).datagram(query.to_wire(), CLIENT_AT, 0))
    assert query.is_response(answer)
    return answer


def test_name_server_as_dnspython_reads_it():
    answer = ask("A.lab")
    assert answer.rcode() == 0
    assert [(r.ttl, [i.address for i in r]) for r in answer.answer] == [(33, ["192.0.2.1"])]
    assert [i.address for i in ask("both.lab", "AAAA").answer[0]] == ["2001:db8::2"]
    assert ask("a.lab", "AAAA").answer == [] and ask("a.lab", "AAAA").rcode() == 0
    assert ask("b.lab").rcode() == 3
    assert str(ask("1.2.0.192.in-addr.arpa", "PTR").answer[0][0]) == "a.lab."
    assert ask("a.lab", edns=0).edns == 0
    assert ask("a.lab").edns == -1
    assert ask("a.lab", rdclass="CH").rcode() == 5


@given(st.binary(max_size=300))
def test_name_server_survives_any_bytes(payload):
    Dns(TABLE).datagram(payload, CLIENT_AT, 0)
    Dns(TABLE).datagram(dns.message.make_query("a.lab", "A").to_wire()[: len(payload)] + payload, CLIENT_AT, 0)


def test_catalogue_is_consistent():
    services = make_services()
    tcp, udp = endpoints()
    assert set(tcp.values()) <= set(services.stream) and set(udp.values()) <= set(services.datagram)
    assert len({offer.address for offer in CATALOGUE}) == len(CATALOGUE) == len(names())
    addresses = [address for offer in CATALOGUE for address in offer.addresses]
    assert len(set(addresses)) == len(addresses)
    assert names()["dns.msftncsi.com"] == (ip("131.107.255.255"),)
    assert names()["files.lab"] == (ip("203.0.113.10"), ip("2001:db8:113::10"))
    assert all(a == b for forwards in identity_forwards() for a, b in forwards.items())


def test_unreachable_quotes_what_the_receiver_needs():
    for what in (PORT, HOST):
        kind, code, rest, quoted = unreachable(what, (ip("fd00::1"), 1000), (ip("2001:db8::2"), 53))
        packet = Ipv6.parse(quoted)
        assert (kind, rest, packet.src, packet.dst) == (1, 0, ip("fd00::1"), ip("2001:db8::2"))
        assert packet.payload[:4] == bytes((1000 >> 8, 1000 & 255, 0, 53))
        assert code == (4 if what == PORT else 3)
