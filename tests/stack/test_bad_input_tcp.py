"""Bad TCP, row by row: counted under a reason or answered as RFC 9293, 7323 and 5961 say, and no harm to others.

Each test plays in gateway and in server role, over IPv4 and IPv6, beside a healthy connection that must go on.
"""

from __future__ import annotations

import random

import pytest

from aero_lab.limits import SECOND
from aero_lab.stack import Closed, EndOfStream, TcpConfig

from .hostile import (
    ACK,
    ADDRESSES,
    BROADCAST_MAC,
    EVIL_MAC,
    FIN,
    GUEST_MAC,
    M32,
    PSH,
    RST,
    SYN,
    TCP,
    URG,
    Client,
    Rig,
    drain,
    eth,
    packet,
    tcp,
    v4,
    v6,
)

ROLES = ("gateway", "server")
pytestmark = [pytest.mark.parametrize("role", ROLES), pytest.mark.parametrize("family", ADDRESSES)]

MSS, SACK_OK, SACK, TIMESTAMPS = 2, 4, 5, 8
SYN_OPTIONS = b"\2\4\5\xb4\1\3\3\7"


def stamps(value: int, echo: int = 0) -> bytes:
    return b"\1\1\x08\x0a" + (value & M32).to_bytes(4, "big") + (echo & M32).to_bytes(4, "big")


def sack(*blocks: tuple[int, int]) -> bytes:
    edges = b"".join((edge & M32).to_bytes(4, "big") for block in blocks for edge in block)
    return b"\1\1" + bytes([SACK, 2 + len(edges)]) + edges


# Segments that belong to nothing --------------------------------------------------------------------------------------


def stray(rig: Rig, family: str, message: bytes, bad_sum: int = 0, **link):
    a = ADDRESSES[family]
    return rig.inject(eth(packet(message, TCP, a.evil, rig.target(family), bad_sum), **link))


STRAYS = [
    ("header cut off", "tcp-short", [tcp(flags=SYN)[:n] for n in range(20)]),
    ("data offset below 5", "tcp-data-offset", [tcp(flags=SYN, words=n) for n in range(5)]),
    ("data offset beyond the segment", "tcp-data-offset", [tcp(flags=SYN, words=n) for n in (6, 15)]),
    ("SYN and FIN", "tcp-flags", [tcp(flags=SYN | FIN)]),
    ("SYN and RST", "tcp-flags", [tcp(flags=SYN | RST)]),
    ("all flags", "tcp-flags", [tcp(flags=0xFF)]),
    ("from port 0", "tcp-port-zero", [tcp(flags=SYN, sport=0)]),
    ("to port 0", "tcp-port-zero", [tcp(flags=SYN, dport=0)]),
    ("RST for nothing", "tcp-no-connection", [tcp(flags=RST), tcp(flags=RST | ACK)]),
]


@pytest.mark.parametrize("name, reason, messages", STRAYS, ids=[s[0] for s in STRAYS])
def test_strays_are_dropped_in_silence(role, family, name, reason, messages):
    rig = Rig(role)
    for message in messages:
        assert stray(rig, family, message) == []
    assert rig.drops()[reason] == len(messages), rig.drops()
    assert not rig.events
    rig.assert_healthy()


def test_a_bad_checksum_is_dropped(role, family):
    rig = Rig(role)
    assert stray(rig, family, tcp(flags=SYN), bad_sum=1) == []
    client = Client(rig, family)
    assert client.send(b"data", bad_sum=0x100) == []
    assert rig.drops()["tcp-checksum"] == 2
    client.assert_alive()
    rig.assert_healthy()


def test_same_source_and_destination_is_no_connection(role, family):
    """The LAND attack: a SYN that claims to come from where it goes."""
    rig = Rig(role)
    target = rig.target(family)
    frame = eth(packet(tcp(flags=SYN, sport=80, dport=80), TCP, target, target))
    assert rig.inject(frame, frame) == []
    drops = rig.drops()
    assert drops.get("tcp-land", 0) + drops.get("ipv4-source", 0) + drops.get("ipv6-source", 0) == 2
    assert not rig.events
    rig.assert_healthy()


def test_groups_have_no_connections(role, family):
    rig = Rig(role)
    evil = ADDRESSES[family].evil
    groups = [v4("255.255.255.255"), v4("10.0.2.255"), v4("224.0.0.1")] if family == "ipv4" else [v6(1, "ff02")]
    for group in groups:
        assert rig.inject(eth(packet(tcp(flags=SYN), TCP, evil, group), dst=BROADCAST_MAC)) == []
    assert not rig.events and len(rig.stack.flows()) == 1
    rig.assert_healthy()


def test_a_segment_for_no_connection_is_reset(role, family):
    """RFC 9293 section 3.10.7.1."""
    rig = Rig(role)
    (answer,) = stray(rig, family, tcp(b"data", seq=7, ack=99, flags=ACK | PSH))
    assert (answer.flags, answer.seq) == (RST, 99)
    (answer,) = stray(rig, family, tcp(b"data", seq=7, ack=99, flags=ACK | FIN, dport=81))
    assert (answer.flags, answer.seq) == (RST, 99)
    if role == "server":
        for flags, ack in ((PSH, 11), (FIN, 12), (0, 11)):
            (answer,) = stray(rig, family, tcp(b"data", seq=7, flags=flags, dport=81))
            assert (answer.flags, answer.seq, answer.ack) == (RST | ACK, 0, ack)
    assert rig.drops()["tcp-no-connection"] == (5 if role == "server" else 2) and not rig.events
    rig.assert_healthy()


@pytest.mark.parametrize("flags", [0, PSH, FIN, URG, FIN | PSH | URG])
def test_a_listener_is_silent_about_segments_without_a_meaning(role, family, flags):
    """RFC 9293 section 3.10.7.2, the last case. A gateway listens everywhere."""
    rig = Rig(role)
    assert stray(rig, family, tcp(b"data", flags=flags)) == []
    assert sum(rig.drops().get(r, 0) for r in ("tcp-flags", "tcp-no-connection")) == 1
    rig.assert_healthy()


def test_a_closed_port_resets(role, family):
    rig = Rig(role)
    rig.refuse.add(81)
    answers = stray(rig, family, tcp(flags=SYN, seq=M32, dport=81))
    if role == "gateway":
        assert answers == []
        rig.events[-1].conn.refuse("reset", rig.now)
        rig.run()
        answers = rig.answers
    assert [(a.flags, a.ack) for a in answers] == [(RST | ACK, 0)]
    rig.assert_healthy()


# Options --------------------------------------------------------------------------------------------------------------

BAD_OPTIONS = [
    ("length 0", bytes([MSS, 0, 0, 0])),
    ("length 1", bytes([TIMESTAMPS, 1, 0, 0])),
    ("past the header", bytes([TIMESTAMPS, 10, 0, 0])),
    ("length cut off", bytes([1, 1, 1, MSS])),
    ("unknown, past the header", bytes([77, 200, 0, 0])),
    ("SACK of odd length", bytes([SACK, 7, 0, 0, 0, 0, 0, 0])),
    ("SACK past the header", bytes([1, 1, SACK, 34])),
    ("timestamps of length 4", bytes([TIMESTAMPS, 4, 0, 0])),
]


@pytest.mark.parametrize("name, options", BAD_OPTIONS, ids=[o[0] for o in BAD_OPTIONS])
def test_bad_options_do_no_harm(role, family, name, options):
    rig = Rig(role)
    client = Client(rig, family, options=SYN_OPTIONS)
    client.send(b"data", options=options)
    if not drain(client.conn):
        assert rig.drops()["tcp-options"] == 1
    else:
        client.seq += 4
    client.assert_alive()
    rig.assert_healthy()


@pytest.mark.parametrize("name, options", BAD_OPTIONS, ids=[o[0] for o in BAD_OPTIONS])
def test_bad_options_in_a_syn_make_no_half_connection(role, family, name, options):
    """The SYN is dropped under its reason, or answered as if the options were not there."""
    rig = Rig(role)
    answers = stray(rig, family, tcp(flags=SYN, options=options))
    if answers:
        assert [a.flags for a in answers] == [SYN | ACK]
    else:
        assert rig.drops()["tcp-options"] == 1 and len(rig.stack.flows()) == 1
    rig.assert_healthy()


@pytest.mark.parametrize("size", [0, 1, 7])
def test_an_absurd_mss_moves_bytes_and_bounded_frames(role, family, size):
    rig = Rig(role)
    client = Client(rig, family, options=bytes([MSS, 4, 0, size]))
    client.conn.write(b"x" * 300, rig.now)
    got = {}
    for _ in range(40):
        for answer in rig.wait(SECOND):
            if answer.data:
                got[answer.seq] = answer.data
        client.ack = max([client.ack, *(seq + len(data) for seq, data in got.items())])
        client.send()
    assert sum(map(len, got.values())) >= 300
    assert len(rig.answers) < 1000
    rig.assert_healthy()


def test_a_window_scale_beyond_14_is_14(role, family):
    """RFC 7323 section 2.3: a window of 1 is then 16 KiB."""
    rig = Rig(role, tcp=TcpConfig(congestion="none", send_buffer=64 << 10))
    client = Client(rig, family, options=bytes([1, 3, 3, 255]), window=1)
    client.conn.write(bytes(60000), rig.now)
    rig.run()
    sent = sum(len(a.data) for a in rig.answers if a.dport == client.sport)
    assert 16384 - 1460 < sent <= 16384
    client.assert_alive()
    rig.assert_healthy()


def test_old_timestamps_are_refused(role, family):
    """PAWS, RFC 7323 section 5: dropped and acknowledged; a RST is judged without them."""
    rig = Rig(role)
    client = Client(rig, family, options=stamps(1000))
    at = client.syn_ack.body.index(b"\x08\x0a", 20)
    echo = int.from_bytes(client.syn_ack.body[at + 2 : at + 6], "big")
    answers = client.send(b"evil", options=stamps(1000 - 1, echo))
    assert [(a.flags & ~PSH, a.ack) for a in answers] == [(ACK, client.seq)]
    assert rig.drops()["tcp-paws"] == 1
    assert drain(client.conn) == b""
    assert client.send(b"evil", options=b"") == []  # RFC 7323 section 3.2: a segment without is dropped in silence
    assert rig.drops()["tcp-no-timestamp"] == 1
    client.send(b"good", options=stamps(1001, echo))
    assert drain(client.conn) == b"good"
    rig.assert_healthy()


def test_senseless_sack_blocks_are_not_believed(role, family):
    rig = Rig(role)
    client = Client(rig, family, options=SYN_OPTIONS + bytes([1, 1, SACK_OK, 2]))
    data = random.Random(3).randbytes(5000)
    client.conn.write(data, rig.now)
    rig.run()
    base = client.ack
    blocks = [
        [(base + 100, base + 50)],
        [(base, base)],
        [(base + 10**6, base + 2 * 10**6)],
        [(base - 5000, base - 4000)],
        [(base + 2**31, base + 2**31 + 10)],
        [(base - 100, base + 10**6)],
    ]
    for options in blocks:
        client.send(options=sack(*options))
    # Nothing was acknowledged, so all of it comes (again) until it is.
    got = bytearray(len(data))
    for _ in range(60):
        rig.wait(SECOND)
        for answer in rig.answers:
            if answer.data and answer.dport == client.sport:
                at = (answer.seq - base) & M32
                got[at : at + len(answer.data)] = answer.data
                client.ack = max(client.ack, base + at + len(answer.data))
        rig.answers.clear()
        client.send()
        if client.ack == base + len(data):
            break
    assert bytes(got) == data
    client.assert_alive()
    rig.assert_healthy()


# Established connections ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("urgent", [1, 4, 5, 65535])
def test_an_urgent_pointer_beyond_the_data_changes_nothing(role, family, urgent):
    rig = Rig(role)
    client = Client(rig, family)
    client.send(b"data", flags=ACK | URG, urgent=urgent)
    client.send(b"", flags=ACK | URG, urgent=urgent, seq=client.seq + 4)
    assert drain(client.conn) == b"data"
    client.seq += 4
    client.assert_alive()
    rig.assert_healthy()


@pytest.mark.parametrize("port", [21, 113, 6667])
def test_payload_is_never_rewritten(role, family, port):
    """FTP, ident and IRC carry addresses in their payload; libslirp rewrote them, and overflowed. We do not look."""
    rig = Rig(role)
    if role == "server":
        rig.stack.listen(port, rig.now)
    text = b"PORT 10,0,2,66,255,255\r\n6191, 23\r\nDCC CHAT chat 167772738 65535\x01\r\n" * 20
    src, dst = ADDRESSES[family].evil, rig.target(family)
    seq, frames = 1, []
    rig.inject(eth(packet(tcp(flags=SYN, dport=port, seq=0), TCP, src, dst)))
    ack = rig.answers[-1].seq + 1
    for at in range(0, len(text), 100):
        frames.append(eth(packet(tcp(text[at : at + 100], dport=port, seq=seq, ack=ack), TCP, src, dst)))
        seq += len(text[at : at + 100])
    rig.inject(*frames)
    assert drain(rig.accepted[src, 4000]) == text
    rig.assert_healthy()


def test_an_acknowledgement_of_data_never_sent_is_answered_and_ignored(role, family):
    """RFC 9293 section 3.10.7.4, fifth step."""
    rig = Rig(role)
    client = Client(rig, family)
    for beyond in (1, 70000, 2**31 - 1):
        (answer,) = client.send(b"evil", ack=client.ack + beyond)
        assert (answer.flags, answer.seq, answer.ack) == (ACK, client.ack, client.seq)
        rig.wait(SECOND)
    assert rig.drops()["tcp-ack-invalid"] == 3
    assert drain(client.conn) == b""
    client.assert_alive()
    rig.assert_healthy()


def test_an_ancient_acknowledgement_is_answered_and_ignored(role, family):
    """RFC 5961 section 5: below SND.UNA - MAX.SND.WND."""
    rig = Rig(role)
    client = Client(rig, family)
    answers = client.send(b"evil", ack=client.ack - 2**30)
    assert [(a.flags, a.ack) for a in answers] == [(ACK, client.seq)]
    assert drain(client.conn) == b""
    client.assert_alive()
    rig.assert_healthy()


def test_a_wrong_acknowledgement_of_our_syn_is_reset(role, family):
    rig = Rig(role)
    (syn_ack,) = stray(rig, family, tcp(flags=SYN, seq=10))
    (answer,) = stray(rig, family, tcp(seq=11, ack=syn_ack.seq + 2))
    assert (answer.flags, answer.seq) == (RST, (syn_ack.seq + 2) & M32)
    # The handshake can still be completed.
    stray(rig, family, tcp(seq=11, ack=syn_ack.seq + 1))
    assert (ADDRESSES[family].evil, 4000) in rig.accepted
    rig.assert_healthy()


def test_rst_is_taken_only_at_the_very_next_byte(role, family):
    """RFC 5961 section 3.2: exact, reset; in the window, challenge; outside, silence."""
    rig = Rig(role)
    client = Client(rig, family)
    for offset in (-1, -70000, 10**6 * 5, 2**31):
        assert client.send(flags=RST, seq=client.seq + offset, ack=0) == []
    assert rig.drops()["tcp-rst-invalid"] + rig.drops().get("tcp-out-of-window", 0) >= 4
    client.assert_alive()
    rig.wait(SECOND)
    for offset in (1, 1000):
        (answer,) = client.send(flags=RST, seq=client.seq + offset, ack=0)
        assert (answer.flags, answer.seq, answer.ack) == (ACK, client.ack, client.seq)
        rig.wait(SECOND)
    client.assert_alive()
    assert client.send(flags=RST, ack=0) == []
    assert [e.reason for e in rig.events if isinstance(e, Closed)] == ["reset"]
    assert client.conn.closed
    rig.assert_healthy()


def test_syn_on_a_connection_is_challenged(role, family):
    """RFC 5961 section 4.2: wherever it lies, an ACK and nothing else."""
    rig = Rig(role)
    client = Client(rig, family)
    for offset in (0, 1, 1000, -5000, 2**31):
        answers = client.send(flags=SYN, seq=client.seq + offset, ack=0)
        assert [(a.flags, a.seq, a.ack) for a in answers] == [(ACK, client.ack, client.seq)]
        rig.wait(SECOND)
    client.assert_alive()
    rig.assert_healthy()


def test_challenges_are_rationed(role, family):
    """RFC 5961 section 7: a flood of SYNs does not become a flood of ACKs."""
    rig = Rig(role)
    client = Client(rig, family)
    before = len(rig.answers)
    rig.inject(*[client.frame(flags=SYN, seq=client.seq + i, ack=0) for i in range(2000)])
    assert len(rig.answers) - before <= 1000
    assert rig.drops()["tcp-challenge-limit"] >= 1000
    client.assert_alive()
    rig.assert_healthy()


def test_data_outside_the_window_is_acknowledged_and_dropped(role, family):
    rig = Rig(role)
    client = Client(rig, family)
    for offset in (-5, -70000, 2**31, 50 << 20):
        answers = client.send(b"evil", seq=client.seq + offset)
        assert {(a.flags, a.ack) for a in answers} <= {(ACK, client.seq)}
        rig.wait(SECOND)
    assert drain(client.conn) == b""
    client.assert_alive()
    rig.assert_healthy()


def test_data_without_ack_is_dropped(role, family):
    rig = Rig(role)
    client = Client(rig, family)
    assert client.send(b"evil", flags=PSH) == []
    assert drain(client.conn) == b""
    client.assert_alive()
    rig.assert_healthy()


def test_an_overlap_keeps_what_was_delivered(role, family):
    rig = Rig(role)
    client = Client(rig, family)
    client.send(b"good")
    client.send(b"EVILmore")
    client.seq += 8
    assert drain(client.conn) == b"goodmore"
    client.assert_alive()
    rig.assert_healthy()


def test_sequence_numbers_wrap(role, family):
    rig = Rig(role)
    src, dst = ADDRESSES[family].evil, rig.target(family)
    start = M32 - 10
    rig.inject(eth(packet(tcp(flags=SYN, seq=start), TCP, src, dst)))
    ack = rig.answers[-1].seq + 1
    text = bytes(range(100))
    pieces = [(at, text[at : at + 5]) for at in range(0, 100, 5)]
    random.Random(4).shuffle(pieces)
    rig.inject(*[eth(packet(tcp(data, seq=start + 1 + at, ack=ack), TCP, src, dst)) for at, data in pieces])
    assert drain(rig.accepted[src, 4000]) == text
    rig.assert_healthy()


def test_fin_beyond_a_gap_waits_for_the_gap(role, family):
    rig = Rig(role)
    client = Client(rig, family)
    client.send(b"", seq=client.seq + 4, flags=FIN | ACK)
    assert not [e for e in rig.events if isinstance(e, EndOfStream)]
    client.send(b"data")
    client.send(b"", seq=client.seq + 4, flags=FIN | ACK)
    assert [e.conn for e in rig.events if isinstance(e, EndOfStream)] == [client.conn]
    assert drain(client.conn) == b"data"
    # What comes behind the end is not part of the stream.
    client.send(b"evil", seq=client.seq + 5)
    assert drain(client.conn) == b""
    rig.assert_healthy()


def test_refused_frames_come_from_the_attacker_alone(role, family):
    """The rig's own check: a healthy connection alone makes no drops, and no answers to the attacker."""
    rig = Rig(role)
    before = rig.drops()
    rig.assert_healthy()
    rig.wait(SECOND)
    assert rig.drops() == before and rig.answers == []
    a = ADDRESSES[family]
    known = rig.stack.neighbours()
    assert known[ADDRESSES["ipv4"].guest] == GUEST_MAC and known[a.evil] == EVIL_MAC and a.own not in known
