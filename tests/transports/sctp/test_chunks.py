"""Packets and chunks: what is made can be read, byte for byte what aiortc makes and reads, and nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import Malformed
from aero_lab.transports.sctp import chunks as c

u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
data = st.builds(c.Data, u32, u16, u16, u32, st.binary(min_size=1, max_size=40), st.integers(0, 15))
gap = st.tuples(u16, u16)
sack = st.builds(c.Sack, u32, u32, st.lists(gap, max_size=5).map(tuple), st.lists(u32, max_size=5).map(tuple))
parameter = st.tuples(u16, st.binary(max_size=30))
some = st.integers(1, 0xFFFF)
init = st.builds(
    c.Init, st.integers(1, 0xFFFFFFFF), u32, some, some, u32, st.lists(parameter, max_size=4).map(tuple),
    st.sampled_from([c.INIT, c.INIT_ACK]),
)  # fmt: skip
forward = st.builds(c.ForwardTsn, u32, st.lists(gap, max_size=5).map(tuple))
plain = st.builds(c.Plain, st.sampled_from([c.COOKIE_ECHO, c.COOKIE_ACK]), st.binary(max_size=40))
chunk = st.one_of(data, sack, init, forward, plain)


@given(st.lists(chunk, min_size=1, max_size=6), u16, u16, u32, st.booleans())
def test_what_is_emitted_is_read(chunks, source, target, tag, checksum):
    body = b"".join(each.emit() for each in chunks)
    assert len(body) == sum(each.size for each in chunks)
    packet = c.emit_packet(source, target, tag, body, checksum)
    assert c.parse_packet(packet, checksum) == (source, target, tag, chunks)


@given(chunk, u32)
def test_aiortc_reads_what_we_make_and_we_what_it_makes(ours, tag):
    theirs = pytest.importorskip("aiortc.rtcsctptransport")
    packet = c.emit_packet(5000, 5001, tag, ours.emit())
    source, target, told, (read,) = theirs.parse_packet(packet)
    assert (source, target, told, read.type) == (5000, 5001, tag, ours.kind)
    assert theirs.serialize_packet(5000, 5001, tag, read) == packet
    if isinstance(ours, c.Data):
        same = read.tsn, read.stream_id, read.stream_seq, read.protocol, read.user_data, read.flags
        assert same == (ours.tsn, ours.stream, ours.sequence, ours.protocol, ours.payload, ours.flags)
    elif isinstance(ours, c.Sack):
        assert (read.cumulative_tsn, read.advertised_rwnd) == (ours.cumulative, ours.a_rwnd)
        assert (tuple(read.gaps), tuple(read.duplicates)) == (ours.gaps, ours.duplicates)
    elif isinstance(ours, c.ForwardTsn):
        assert (read.cumulative_tsn, tuple(read.streams)) == (ours.cumulative, ours.skipped)
    elif isinstance(ours, c.Init):
        assert (read.initiate_tag, read.advertised_rwnd, read.initial_tsn) == (ours.tag, ours.a_rwnd, ours.tsn)
        assert tuple(read.params) == ours.parameters
    assert c.parse_packet(bytes(packet))[3] == [ours]


def test_the_checksum_is_crc32c():
    assert c.crc32c(b"123456789") == 0xE3069283
    assert c.crc32c(bytes(32)) == 0x8A9136AA  # RFC 7143 appendix A.4


BAD = {
    "nothing": b"",
    "no chunk": bytes(12),
    "a chunk of length 0": bytes(12) + b"\x0b\0\0\0",
    "a chunk beyond the end": bytes(12) + b"\x0b\0\0\x08",
    "DATA without data": bytes(12) + b"\0\x03\0\x10" + bytes(12),
    "a short SACK": bytes(12) + b"\x03\0\0\x08" + bytes(4),
    "a SACK whose gaps do not fit": bytes(12) + b"\x03\0\0\x10" + bytes(8) + b"\xff\xff\0\0",
    "a short INIT": bytes(12) + b"\x01\0\0\x08" + bytes(4),
    "an INIT without a tag": bytes(12) + b"\x01\0\0\x14" + bytes(16),
    "a parameter beyond the end": bytes(12) + b"\x01\0\0\x18" + bytes(3) + b"\1" + b"\1" * 12 + b"\0\7\0\xff",
    "a short FORWARD TSN": bytes(12) + b"\xc0\0\0\4",
    "half a pair in a FORWARD TSN": bytes(12) + b"\xc0\0\0\x0a" + bytes(6),
}


@pytest.mark.parametrize("packet", BAD.values(), ids=BAD)
def test_nonsense_is_malformed(packet):
    with pytest.raises(Malformed):
        c.parse_packet(packet, False)


@given(st.binary(max_size=80))
def test_no_bytes_do_more_than_that(raw):
    try:
        c.parse_packet(bytes(12) + raw, False)
    except Malformed:
        pass


def test_a_wrong_checksum_is_refused():
    packet = bytearray(c.emit_packet(1, 2, 3, c.Plain(c.COOKIE_ACK).emit()))
    c.parse_packet(packet)
    packet[4] ^= 1
    with pytest.raises(Malformed):
        c.parse_packet(packet)
