"""Display filters: against ``tshark -Y`` frame by frame, against plain Python, and what is refused and how."""

from __future__ import annotations

import random
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.analysis import FilterError, compile_filter
from aero_lab.analysis.display_filter import MOST_DEPTH, MOST_LENGTH
from aero_lab.analysis.filter_fields import FIELDS, PROTOCOLS
from aero_lab.capture import Recorder
from aero_lab.errors import UsageError
from tests.capture import tshark
from tests.capture.conversation import record, script
from tests.capture.packets import every_kind

TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")
SECOND = 10**9
AT_ONCE = 40
"""Filters that one run of tshark counts."""


def quotes_another(frame: bytes) -> bool:
    """An ICMP error: tshark also finds the fields of the packet inside."""
    v4, v6 = frame[12:14] == b"\x08\x00", frame[12:14] == b"\x86\xdd"
    return (v4 and frame[23] == 1 and frame[34] in (3, 11)) or (v6 and frame[20] == 58 and frame[54] < 128)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Each kind of frame and a conversation, one frame a second (tshark counts by the second); file and frames."""
    recorder = Recorder()
    chosen = [frame for frame in every_kind() if not quotes_another(frame)] + [row[2] for row in script()]
    for i, frame in enumerate(chosen):
        recorder.add(frame, "tunnel" if i % 3 == 2 else "nic", "tx" if i % 2 else "rx", (10 + i) * SECOND, i + 1)
    path = recorder.save(tmp_path_factory.mktemp("mixed") / "mixed.pcapng")
    return path, recorder.frames()


def judged_by_tshark(path, filters: list[str], count: int) -> list[np.ndarray]:
    """Which frames but the last each filter passes: tshark counts by the second, and each second has one frame."""
    command = [str(TSHARK), "-n", "-q", "-r", str(path)]
    for option in tshark._OPTIONS:
        command += ["-o", option]
    asked = ",".join(["io", "stat", "1", *filters])
    run = subprocess.run([*command, "-z", asked], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    rows = {}
    for line in run.stdout.splitlines():
        match = re.match(r"\|\s*(\d+)\s*<>\s*\S+\s*\|(.*)\|\s*$", line)
        if match:
            cells = [int(cell) for cell in match[2].split("|")]
            rows[int(match[1])] = cells[0::2]
    table = np.array([rows.get(second, [0] * len(filters)) for second in range(count - 1)], bool)
    return [table[:, i] for i in range(len(filters))]


PLAIN = """
tcp
udp
arp
ip
ipv6
icmp
icmpv6
dns
mdns
llmnr
dhcp
igmp
vlan
eth
frame
tcp.port == 80
tcp.port != 80
tcp.port !== 80
tcp.port ~= 80
tcp.port === 80
not tcp.port == 80
!(tcp.port == 80) && tcp
ip.addr != 10.0.2.15
ip.addr == 10.0.2.15 and not arp
ip.src == 10.0.2.0/24
ip.src != 10.0.2.0/24
ip.src >= 10.0.2.0/24
ip.src > 10.0.2.15
ip.dst < 203.0.113.10
ipv6.src == fd00::/8
ipv6.addr == 2001:db8::10
ipv6.dst != ff02::/16
ipv6.src > 2001::
eth.src == 02:00:00:00:00:02
eth.src == 02-00-00-00-00-02
eth.src == 0200.0000.0002
eth.dst > 02:00:00:00:00:02
eth.addr != ff:ff:ff:ff:ff:ff
eth.src contains 00:02
eth.addr contains 33:33
tcp.len
tcp.len > 0
tcp.len gt 0 and tcp.len le 100
tcp.flags.syn
tcp.flags.syn == 1
tcp.flags.syn == 1 and tcp.flags.ack == 0
tcp.flags.syn != True
tcp.flags.reset == TRUE or tcp.flags.fin == 1
tcp.flags.push == 1
tcp.flags & 2
tcp.flags & 0x12 == 0x12
tcp.flags bitwise_and 0x18
tcp.flags == 0x002
tcp.srcport > tcp.dstport
udp.srcport == udp.dstport
udp.srcport != udp.dstport
eth.src == eth.dst
ip.src < ip.dst
udp or tcp and ip.ttl == 1
udp and tcp or ip.ttl == 64
not udp and not tcp
not not tcp
ip.ttl == 1 or ipv6.hlim == 255
frame.len > 100 and frame.len < 200
frame.cap_len == 60
eth.type == 0x0800
eth.type == 0x86dd || eth.type eq 2054
vlan.id == 7
arp.opcode == 1
arp.src.proto_ipv4 == 10.0.2.15
arp.dst.proto_ipv4 == 10.0.2.0/28
ip.proto == 17
ip.len > 500
ipv6.plen > 100
ip.id == 7
ip.dsfield == 3
ipv6.tclass == 0x2e
ip.frag_offset > 0
ip.flags.mf == 1
ip.flags.df == 1
ipv6.fraghdr.more == 1
ipv6.fraghdr.offset
tcp.options.mss_val == 1460
tcp.options.wscale.shift
tcp.options.sack_perm
not tcp.options.sack_perm and tcp
tcp.options.sack.count == 2
tcp.options.timestamp.tsval > 1000
tcp.options.timestamp.tsecr == 4000000000
tcp.window_size_value < 300
tcp.seq_raw == 1001
tcp.ack_raw > 4294967000
tcp.hdr_len > 20
udp.length > 100
udp.port == 53
udp.dstport == 7000
icmp.type == 8
icmp.ident == 0x4242
icmp.seq == 3 or icmpv6.echo.sequence_number == 10
icmpv6.type >= 133
icmpv6.echo.identifier == 9
dns.id == 0x4d
dns.flags.response == 0
dhcp.option.dhcp == 1
tcp.port == 0x50
tcp.port == 0120
frame.number == 7
frame.packet_id == 3
frame.packet_flags_direction == 1
frame.interface_name == "nic"
frame.interface_name contains "unne"
frame.interface_name == tunnel
frame.time_relative > 20
frame.time_relative == 5.0
frame.time_relative >= 4.999999999
frame.time_relative < 0.5
frame.time_epoch < 15.5
frame.time_delta == 1
""".strip().splitlines()
WITH_SETS = """
tcp.port in {80, 443}
tcp.port in {80..100,443}
tcp.port not in {80}
ip.src in {10.0.2.0/24, 203.0.113.10}
ip.src in {10.0.2.1..10.0.2.200}
frame.number in {1..5, 9, 0x0c}
eth.dst in {ff:ff:ff:ff:ff:ff}
frame.time_relative in {1.5..3.5, 7}
ipv6.hlim in {255} or udp.port in {53, 67..68}
frame.interface_name in {"nic", "x"}
not (tcp.len in {0..10}) and tcp
""".strip().splitlines()
"""tshark's counting takes no commas inside a filter, so each of these is a run of its own."""


def compare(path, frames, filters: list[str]) -> None:
    for first in range(0, len(filters), AT_ONCE):
        batch = filters[first : first + AT_ONCE]
        for text, theirs in zip(batch, judged_by_tshark(path, batch, len(frames)), strict=True):
            ours = compile_filter(text).mask(frames)[:-1]  # the last second is cut off by the end of the file
            rows = frames.frame_number.to_numpy()[:-1]
            assert rows[ours].tolist() == rows[theirs].tolist(), text


@needs_tshark
def test_each_field_and_operator_means_what_it_means_to_tshark(mixed):
    path, frames = mixed
    compare(path, frames, PLAIN)


@needs_tshark
def test_sets_mean_what_they_mean_to_tshark(mixed):
    path, frames = mixed
    command = [str(TSHARK), "-n", "-r", str(path), "-T", "fields", "-e", "frame.number"]
    for option in tshark._OPTIONS:
        command += ["-o", option]
    for text in WITH_SETS:
        run = subprocess.run([*command, "-Y", text], capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        assert al.filter(frames, text).frame_number.tolist() == [int(n) for n in run.stdout.split()], text


def test_every_name_of_wiresharks_is_in_the_tests():
    used = set(re.findall(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*", " ".join(PLAIN + WITH_SETS)))
    rarely = {"icmp.code", "icmpv6.code", "ip.version", "ip.dst", "tcp.options.timestamp.tsecr"}
    missing = {name for name in {**FIELDS, **PROTOCOLS} if "." in name or name in PROTOCOLS} - used - rarely
    assert not missing


def random_filter(chance: random.Random, depth: int = 0) -> str:
    """A filter of several comparisons, with values that occur and values that do not."""
    if depth < 3 and chance.random() < 0.55:
        kind = chance.random()
        if kind < 0.2:
            return f"{chance.choice(['not ', '!'])}({random_filter(chance, depth + 1)})"
        sign = chance.choice([" and ", " or ", "&&", "||"])
        text = sign.join(random_filter(chance, depth + 1) for _ in range(chance.randrange(2, 4)))
        return text if chance.random() < 0.5 else f"({text})"
    number = chance.choice(["==", "!=", ">", "<", ">=", "<=", "eq", "ne", "gt", "lt", "ge", "le", "!==", "==="])
    return chance.choice(
        [
            lambda: chance.choice(sorted(PROTOCOLS)),
            lambda: f"tcp.port {number} {chance.choice([80, 49200, 443, 4])}",
            lambda: f"udp.port {number} {chance.choice([53, 67, 4001, 65535])}",
            lambda: f"tcp.len {number} {chance.choice([0, 18, 1448, 1460])}",
            lambda: f"ip.ttl {number} {chance.choice([1, 64, 255])}",
            lambda: (
                f"frame.len{number}{chance.choice([42, 54, 60, 590, 1514])}" if not number.isalpha() else "frame.len"
            ),
            lambda: f"ip.addr {number} {chance.choice(['10.0.2.15', '203.0.113.0/24', '10.0.0.0/8', '0.0.0.0/0'])}",
            lambda: f"ipv6.addr {number} {chance.choice(['fd00:aee0::15', '2001:db8::/32', '::1', 'ff02::1'])}",
            lambda: f"eth.addr {number} {chance.choice(['02:00:00:00:00:01', 'ff:ff:ff:ff:ff:ff'])}",
            lambda: f"tcp.flags.{chance.choice(['syn', 'ack', 'fin', 'push', 'reset'])} == {chance.randrange(2)}",
            lambda: f"tcp.flags & {chance.choice([1, 2, 16, '0x18'])}",
            lambda: chance.choice(["tcp.options.mss_val", "vlan.id", "dns.id", "ip.id", "ipv6.plen", "icmp.type"]),
            lambda: f"frame.time_relative {number} {chance.choice(['0', '3.25', '12', '40.0'])}",
        ]
    )()


@needs_tshark
@pytest.mark.parametrize("seed", range(3))
def test_random_filters_mean_what_they_mean_to_tshark(mixed, seed):
    chance = random.Random(seed)
    path, frames = mixed
    compare(path, frames, [random_filter(chance) for _ in range(AT_ONCE)])


# Our own columns --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frames():
    table = record().frames()
    slow = table.index[table.tunnel_delay.notna()][::3]
    table.loc[slow, "tunnel_delay"] += 5_000_000  # the conversation's own are all alike
    return table


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("cause == ack", lambda f: f.cause == "ack"),
        ('cause in {ack, "payload"}', lambda f: f.cause.isin(["ack", "payload"])),
        ("cause contains trans", lambda f: f.cause.isin(["retransmission"])),
        ("point == nic and direction != rx", lambda f: (f.point == "nic") & (f.direction == "tx")),
        ("flow_id == 1", lambda f: f.flow_id == 1),
        ("tunnel_delay", lambda f: f.tunnel_delay.notna()),
        ("tunnel_delay > 20ms", lambda f: f.tunnel_delay > 20_000_000),
        ("tunnel_delay >= 20000000", lambda f: f.tunnel_delay >= 20_000_000),
        ("tunnel_delay <= 0.02s", lambda f: f.tunnel_delay <= 20_000_000),
        ("tunnel_delay != 20000us", lambda f: f.tunnel_delay != 20_000_000),
        ("tunnel_delay > -1", lambda f: f.tunnel_delay > -1),
        ("message_len > frame_len", lambda f: f.message_len > f.frame_len),
        ("ip_src == 10.0.2.0/24", lambda f: f.ip_src.astype(str).str.startswith("10.0.2.")),
        ("tcp_len == 1460 and tcp_flags_ack == 1", lambda f: (f.tcp_len == 1460) & f.tcp_flags_ack),
        ("srcport == 80 or dstport == 80", lambda f: (f.srcport == 80) | (f.dstport == 80)),
    ],
)
def test_our_columns_can_be_asked_for_by_their_names(frames, text, plain):
    expected = plain(frames).fillna(False).to_numpy(bool)
    assert expected.any() and not expected.all()
    assert compile_filter(text).mask(frames).tolist() == expected.tolist()


def test_tables_from_elsewhere_will_do(frames):
    """Plain text, floats with holes and no other columns: what a CSV file gives."""
    table = pd.DataFrame(
        {
            "tcp_len": frames.tcp_len.astype("float64"),
            "ip_src": frames.ip_src.astype(object),
            "cause": frames.cause.astype(str),
        }
    )
    text = "tcp_len > 100 and ip_src == 203.0.113.10 and cause != retransmission"
    assert compile_filter(text).mask(table).tolist() == compile_filter(text).mask(frames).tolist()
    with pytest.raises(UsageError, match="lack the columns dstport"):
        al.filter(table, "dstport == 80")
    assert len(al.filter(frames[:0], "frame.time_relative > 1 and tcp.port == 80 and ip.src == 1.2.3.4")) == 0


def test_columns_know_every_frame_of_the_selection(frames):
    chosen = al.filter(frames, "tcp.flags.syn == 1")
    assert (chosen.tcp_flags & 2 > 0).all() and len(chosen) == (frames.tcp_flags.fillna(0) & 2 > 0).sum()
    assert al.filter(chosen, "frame.time_relative == 0").index.tolist() == chosen.index[:1].tolist()
    assert repr(compile_filter("tcp")) == "<Filter 'tcp'>"


@given(st.integers(-(2**62), 2**62), st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5), st.data())
@settings(max_examples=200, deadline=None)
def test_comparisons_with_fractions_are_exact(base, values, data):
    from fractions import Fraction

    from aero_lab.analysis.display_filter import _COMPARE, _numbers

    number = Fraction(base) + data.draw(st.sampled_from([0, Fraction(1, 2), Fraction(1, 10**9), Fraction(-1, 3)]))
    values = [*values, base, base + 1, base - 1]
    for name, compared in _COMPARE.items():
        found = _numbers(name, np.array(values, np.int64), number)
        assert found.tolist() == [compared(value, number) for value in values]
    huge = Fraction(data.draw(st.sampled_from([-1, 1])) * 2**70)
    for name, compared in _COMPARE.items():
        assert _numbers(name, np.array([0, 5]), huge).tolist() == [compared(0, huge), compared(5, huge)]


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "empty filter"),
        ("tcp and", 7, "expected a field or a protocol, not the end"),
        ("and tcp", 0, "expected a field or a protocol, not 'and'"),
        ("tcp udp", 4, "expected and, or, or the end, not 'udp'"),
        ("(tcp", 4, "expected a closing parenthesis, not the end"),
        ("tcp)", 3, "expected and, or, or the end, not ')'"),
        ("tcp.prot == 80", 0, "no field or protocol 'tcp.prot'; did you mean tcp.port"),
        ("tcp.port == eighty", 12, "compared with a number, not 'eighty'"),
        ("tcp.port == 65536", 12, "too large for tcp.port: at most 65535"),
        ("tcp.len > -1", 10, "cannot be negative"),
        ("tcp.port == 089", 12, "octal"),
        ("tcp.port == '80'", 12, "means nothing here"),
        ('tcp.port == "80"', 12, "quotation marks"),
        ('frame.interface_name == "nic', 24, "closing quotation mark"),
        ("tcp.port = 80", 9, "means nothing here"),
        ("tcp == 1", 4, "tcp is there or not"),
        ("ip.src == 10.0.2.0/33", 10, "0 to 32 bits"),
        ("ip.src == fe80::1", 10, "IPv4 address, not 'fe80::1'"),
        ("ipv6.src == 10.0.0.1", 12, "IPv6 address"),
        ("ip.src == fe80::1%eth0", 17, "'%' means nothing here"),
        ("eth.src == 02:00", 11, "no MAC address"),
        ("eth.src contains xyz", 17, "no bytes of a MAC address"),
        ("tcp.len contains 1", 17, "contains is for text"),
        ("ip.src & 1", 7, "& is for numbers"),
        ("tcp.port in 80", 12, "expected a set"),
        ("tcp.port in {}", 13, "expected a value for tcp.port, not '}'"),
        ("tcp.port in {80 443}", 16, "expected a comma or the end of the set, not '443'"),
        ("tcp.port in {80..}", 17, "expected a value"),
        ("tcp.port in {80", 15, "expected a comma or the end of the set, not the end"),
        ("tcp.port not 80", 9, "expected and, or, or the end"),
        ("tcp.srcport == ip.src", 15, "not of one kind"),
        ("cause == retransmision", 9, "cause is one of"),
        ("frame.time_relative > soon", 22, "compared with seconds"),
        ('frame.interface_name matches "n"', 21, "use contains"),
        ("tcp.window_size > 1", 0, "here there is tcp.window_size_value"),
        ("tcp.stream == 0", 0, "here there is flow_id"),
        ("tcp xor udp", 4, "xor is not part"),
        ("tcp.len + 1 > 5", 8, "'+' means nothing here"),
    ],
)
def test_what_cannot_be_understood_is_told_with_its_place(text, position, message):
    with pytest.raises(FilterError) as caught:
        compile_filter(text)
    assert caught.value.position == position and message in str(caught.value)
    assert str(caught.value).startswith(f"filter, character {position + 1}: ") and "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_length_and_nesting_are_bounded(frames):
    with pytest.raises(FilterError, match="at most"):
        compile_filter("tcp or " * MOST_LENGTH + "udp")
    with pytest.raises(FilterError, match="inside each other") as caught:
        compile_filter("(" * (MOST_DEPTH + 1) + "tcp" + ")" * (MOST_DEPTH + 1))
    assert caught.value.position == MOST_DEPTH
    deep = compile_filter("(" * MOST_DEPTH + "tcp" + ")" * MOST_DEPTH)
    assert deep.mask(frames).tolist() == frames.tcp_seq.notna().tolist()
    chain = " and ".join(["not " * 11 + "arp"] * 100)
    assert compile_filter(chain).mask(frames).tolist() == frames.arp_opcode.isna().tolist()
    wide = "tcp.port in {" + ",".join(map(str, range(1000))) + "}"
    assert compile_filter(wide).mask(frames).sum() == (frames.tcp_seq.notna()).sum()


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    *sorted(FIELDS),
                    *PROTOCOLS,
                    "==",
                    "!=",
                    "in",
                    "{",
                    "}",
                    "..",
                    ",",
                    "(",
                    ")",
                    "not",
                    "and",
                    "or",
                    "&",
                    "contains",
                    "80",
                    "0x",
                    "10.0.2.0/24",
                    "::",
                    '"a"',
                    "-1",
                    "1e99",
                    "02:00:00:00:00:01",
                    "5ms",
                ]
            ),  # fmt: skip
            max_size=12,
        ).map(" ".join),
    )
)
def test_any_text_is_a_filter_or_a_filter_error(frames, text):
    try:
        chosen = compile_filter(text)
    except FilterError as error:
        assert 0 <= error.position <= len(text) and "\n" not in str(error)
    else:
        assert chosen.mask(frames).shape == (len(frames),)
