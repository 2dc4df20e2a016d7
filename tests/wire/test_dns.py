"""DNS against dnspython, names and their escapes, compression, truncation, replies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.errors import Malformed, UsageError
from aero_lab.limits import DNS_POINTERS_MAX, DNS_RECORDS_MAX
from aero_lab.wire import dns, rdata
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage, Edns, Question, Record

from . import strategies as s

message = pytest.importorskip("dns.message", reason="dnspython is not installed")
import dns.rrset as their_rrset  # noqa: E402


def their_name(name) -> bytes:
    """A dnspython name as its uncompressed wire form."""
    return name.to_wire()


def our_name(name: str) -> bytes:
    writer = rdata.NameWriter()
    writer.name(name, compress=False)
    return bytes(writer.data)


# Opcodes other than queries, and odd classes and types of questions, mean something else to dnspython.
ordinary = s.dns_messages.map(
    lambda each: replace(
        each, flags=each.flags & 0x87BF & ~0x7800, questions=tuple(Question(q.name, dns.A) for q in each.questions)
    )
)


@settings(max_examples=100)
@given(ordinary)
def test_dnspython_reads_what_we_write(value):
    theirs = message.from_wire(value.emit(), ignore_trailing=False, one_rr_per_rrset=True)
    assert (theirs.id, len(theirs.question)) == (value.id, len(value.questions))
    assert [their_name(each.name) for each in theirs.question] == [our_name(each.name) for each in value.questions]
    for rrsets, records in ((theirs.answer, value.answers), (theirs.authority, value.authority)):
        got = [(their_name(each.name), int(each.rdtype), each[0].to_wire()) for each in rrsets]
        want = []
        for record in records:
            writer = rdata.NameWriter()
            for part in expanded(record.rdata):
                rdata.encode(writer, record.type, part)
            want.append((our_name(record.name), record.type, bytes(writer.data)))
        assert got == want
    if value.edns:
        assert theirs.edns == value.edns.version and theirs.payload == value.edns.udp_size
        assert [(int(each.otype), each.to_wire()) for each in theirs.options] == list(value.edns.options)


def expanded(held):
    """An SOA would be compressed against itself: write it in pieces."""
    if not isinstance(held, rdata.Soa):
        return [held]
    numbers = (held.serial, held.refresh, held.retry, held.expire, held.minimum)
    return [our_name(held.mname), our_name(held.rname), b"".join(each.to_bytes(4, "big") for each in numbers)]


def test_we_read_what_dnspython_writes():
    theirs = message.make_response(message.make_query("www.files.lab", "A", use_edns=0, payload=4096))
    theirs.answer = [
        rrset("www.files.lab", 9, "CNAME", "files.lab."),
        rrset("files.lab", 9, "A", "203.0.113.1"),
        rrset("files.lab", 9, "AAAA", "2001:db8::1"),
        rrset("files.lab", 9, "MX", "5 mail.files.lab."),
        rrset("files.lab", 9, "TXT", '"a b" ""'),
        rrset("_x._tcp.lab", 9, "SRV", "1 2 3 files.lab."),
        rrset("lab", 9, "SOA", "ns.lab. root.lab. 1 2 3 4 5"),
        rrset("1.2.0.192.in-addr.arpa", 9, "PTR", "files.lab."),
        rrset("odd.lab", 9, "TYPE65400", "\\# 3 616263"),
    ]
    ours = DnsMessage.parse(theirs.to_wire())
    assert ours.questions == (Question("www.files.lab"),)
    assert [each.rdata for each in ours.answers] == [
        "files.lab",
        ip("203.0.113.1"),
        ip("2001:db8::1"),
        rdata.Mx(5, "mail.files.lab"),
        (b"a b", b""),
        rdata.Srv(1, 2, 3, "files.lab"),
        rdata.Soa("ns.lab", "root.lab", 1, 2, 3, 4, 5),
        "files.lab",
        b"abc",
    ]
    assert ours.edns is not None and ours.is_response
    assert len(ours.emit()) == len(theirs.to_wire())  # as well compressed


def rrset(name, ttl, kind, text):
    return their_rrset.from_text(name + ".", ttl, "IN", kind, text)


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=3))
def test_any_label_has_a_text(parts):
    name = ".".join(map(rdata.label_text, parts))
    assert rdata.name_labels(name) == tuple(parts)
    assert name.isascii() and " " not in name
    assert DnsMessage.parse(DnsMessage.query(1, name).emit()).questions[0].name == name


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_has_one_spelling(byte):
    plain = 0x21 <= byte <= 0x7E and byte not in b".\\"
    text = rdata.label_text(bytes((byte,)))
    assert text == (chr(byte) if plain else f"\\{byte:03}")
    assert rdata.name_labels(f"a.{text}") == (b"a", bytes((byte,)))
    if plain:
        with pytest.raises(UsageError):
            rdata.name_labels(f"\\{byte:03}")


@pytest.mark.parametrize("last, fits", [(61, True), (62, False)])
def test_the_longest_name(last, fits):
    for character in ("a", "\\000"):  # the short way and the long way
        name = ".".join([character * 63] * 3 + [character * last])
        if fits:
            assert DnsMessage.parse(DnsMessage.query(1, name).emit()).questions[0].name == name
        else:
            with pytest.raises(UsageError):
                rdata.name_labels(name)


@pytest.mark.parametrize(
    "name", ["lab.", ".", "a..b", "x" * 64, "é.lab", "a b", "\\300", "\\065", "\\", "a\\", ".".join(["x" * 63] * 4)]
)
def test_what_is_no_name(name):
    with pytest.raises(UsageError):
        DnsMessage.query(1, name)


def test_reverse_names():
    assert rdata.reverse_name(ip("192.0.2.1")) == "1.2.0.192.in-addr.arpa"
    assert (
        rdata.reverse_name(ip("2001:db8::1"))
        == "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
    )


def test_reply_and_truncation():
    query = DnsMessage.query(7, "Files.LAB", edns=Edns(512))
    answers = tuple(Record("Files.LAB", dns.A, dns.IN, 60, bytes((192, 0, 2, i))) for i in range(100))
    reply = query.reply(answers=answers, additional=(Edns().record(),))
    assert reply.flags == dns.QR | dns.RD | dns.RA and reply.questions == query.questions
    whole, cut = DnsMessage.parse(reply.emit()), DnsMessage.parse(reply.emit(512))
    assert whole == reply and not whole.truncated
    assert cut.truncated and cut.edns == Edns() and cut.questions == query.questions
    assert cut.answers == answers[: len(cut.answers)], "whole records"
    assert 512 - 16 < len(reply.emit(512)) <= 512, "as many as fit"
    assert query.reply(dns.NXDOMAIN).rcode == dns.NXDOMAIN
    with pytest.raises(UsageError):
        query.reply(16)


@given(s.dns_messages, st.integers(0, 700))
def test_truncation_leaves_whole_records_and_says_so(value, spare):
    whole = value.emit()
    opt = tuple(record for record in value.additional if record.type == dns.OPT)
    least = len(replace(value, answers=(), authority=(), additional=opt).emit())
    data = value.emit(least + spare)
    cut = DnsMessage.parse(data)
    assert data == whole if len(whole) <= least + spare else len(data) <= least + spare
    assert cut.questions == value.questions and [r for r in cut.additional if r.type == dns.OPT] == list(opt)
    assert cut.answers == value.answers[: len(cut.answers)] and cut.authority == value.authority[: len(cut.authority)]
    lost = (cut.answers, cut.authority) != (value.answers, value.authority)
    assert cut.truncated == (lost or value.truncated)
    if cut.authority:
        assert cut.answers == value.answers


def test_additional_records_are_left_out_without_a_word():
    """RFC 2181 section 9: TC tells of what was needed."""
    extra = tuple(Record("x.lab", dns.TXT, dns.IN, 1, (bytes(200),)) for _ in range(5))
    reply = DnsMessage.query(1, "lab").reply(additional=(*extra, Edns().record()))
    cut = DnsMessage.parse(reply.emit(512))
    assert not cut.truncated and cut.additional == (Edns().record(),)


def test_an_a_answer_is_the_smallest_there_is():
    """Question echoed, owner name a pointer to it: what the original's server sends."""
    query = DnsMessage.query(7, "files.lab")
    data = query.reply(answers=(Record("files.lab", dns.A, dns.IN, 60, bytes((203, 0, 113, 1))),)).emit()
    assert data == b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + query.emit()[12:] + bytes.fromhex(
        "c00c00010001 0000003c 0004 cb007101"
    )


def test_multicast_dns_flag_bit_is_no_other_class():
    value = DnsMessage(0, dns.QR, answers=(Record("a.local", dns.PTR, 0x8001, 60, "b.a.local"),))
    assert DnsMessage.parse(value.emit()) == value


@pytest.mark.parametrize(
    "kind, held",
    [
        (dns.A, b"abc"),
        (dns.A, "192.0.2.1"),
        (dns.AAAA, b"abcd"),
        (dns.CNAME, b"\0"),
        (dns.CNAME, "a..b"),
        (dns.MX, "mail.lab"),
        (dns.MX, rdata.Mx(65536, "mail.lab")),
        (dns.SRV, rdata.Srv(0, 0, -1, "lab")),
        (dns.SOA, rdata.Soa("a", "b", 1 << 32, 0, 0, 0, 0)),
        (dns.TXT, ()),
        (dns.TXT, (b"x" * 256,)),
        (dns.TXT, ("text",)),
        (dns.OPT, ((65536, b""),)),
        (65400, "text"),
        (65400, bytes(65536)),
    ],
)
def test_what_cannot_be_sent(kind, held):
    with pytest.raises(UsageError):
        Record("lab", kind, dns.IN, 0, held)


def test_a_long_message_is_written_and_read():
    """Names beyond the reach of a pointer (14 bits) are written out."""
    answers = tuple(Record(f"host{i}.lab", dns.TXT, dns.IN, 0, (bytes(200),)) for i in range(200))
    value = DnsMessage(1, dns.QR, answers=answers + answers[-1:])
    data = value.emit()
    assert len(data) > 0x8000 and DnsMessage.parse(data) == value
    with pytest.raises(UsageError, match="65535"):
        DnsMessage(1, additional=tuple(Edns(options=((1, bytes(60000)),)).record() for _ in range(2))).emit()


def test_header_bits():
    value = DnsMessage(1, 5 << 11 | dns.TC | dns.QR | dns.REFUSED)
    assert (value.opcode, value.rcode, value.truncated, value.is_response) == (5, dns.REFUSED, True, True)


def test_counts_are_bounded():
    with pytest.raises(UsageError):
        DnsMessage(1, 0, (Question("a"),) * (DNS_RECORDS_MAX + 1))


def test_hostile_compression_is_bounded():
    """The most pointers in the most names."""
    offsets = [23] + [26 + 2 * i for i in range(DNS_POINTERS_MAX - 1)]
    held = b"\1a\0" + b"".join((0xC000 | each).to_bytes(2, "big") for each in offsets[:-1])
    last = (0xC000 | offsets[-1]).to_bytes(2, "big") + b"\xff\x78\0\1" + bytes(6)
    head = b"\0\1\x80\0\0\0" + DNS_RECORDS_MAX.to_bytes(2, "big") + bytes(4)
    first = b"\0\xff\x78\0\1" + bytes(4) + len(held).to_bytes(2, "big") + held
    data = head + first + last * (DNS_RECORDS_MAX - 1)
    value = DnsMessage.parse(data)
    assert {each.name for each in value.answers} == {"", "a"}
    with pytest.raises(Malformed, match="dns-record-short"):
        DnsMessage.parse(data[:-1])


def test_names_are_remembered_not_read_again():
    """A chain that names share is followed once: the reader stops at the first offset it knows."""
    data = bytes(12) + b"".join(b"\1a" for _ in range(100)) + b"\0" + b"\xc0\x0c"
    reader = rdata.NameReader(memoryview(data))
    first, end = reader.read(12)
    assert first == ".".join("a" * 100) and end == 213
    blind = bytearray(data)
    blind[12:213] = b"\xff" * 201  # what the pointer leads to is gone
    reader.data = memoryview(blind)
    assert reader.read(213) == (first, 215)
