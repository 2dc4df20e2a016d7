"""The packet table's rows, pages, filter, fields and bytes, without a browser."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.capture import Capture, Recorder
from aero_lab.errors import UsageError
from aero_lab.widgets.details import MOST_FIELDS, MOST_HEX, details, hex_html
from aero_lab.widgets.rows import HEADINGS, aligned, rows_of
from aero_lab.widgets.table import PAGE, PacketTable, packets

from ..capture.packets import every_kind

HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


def recorded(frames=None) -> Recorder:
    recorder = Recorder(points=("nic", "tunnel"))
    for number, frame in enumerate(every_kind() if frames is None else frames):
        recorder.add(frame, "nic", ("tx", "rx")[number % 2], 1000 * number)
    return recorder


def test_every_kind_of_frame_has_a_line_that_says_what_it_is():
    recorder = recorded()
    recorder.add_message(b"\xa2\x03\x01\x00ping", "tx", 5)
    shown = PacketTable(recorder)
    lines = [row for first in range(0, len(shown.order), PAGE) for row in (shown.go(first), shown.page())[1]]
    assert len(lines) == len(recorder) and all(len(line) == len(HEADINGS) for line in lines)
    assert {line[6] for line in lines} >= {"ARP", "DHCP", "DNS", "ICMP", "ICMPv6", "TCP", "UDP", "tunnel", "LLC"}
    infos = [line[8] for line in lines]
    assert "Who has 10.0.2.2? Tell 10.0.2.15" in infos and "10.0.2.2 is at 02:00:00:00:00:01" in infos
    assert "Discover" in infos and any(info.startswith("Query 0x") for info in infos)
    assert any("[SYN" in info and "Seq=" in info for info in infos)
    assert any("more follow" in info or info.startswith("fragment at") for info in infos)
    assert infos[-1] == "[keepalive] message of 8 bytes without a frame"


def test_sequence_numbers_count_from_the_beginning_of_their_conversation():
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import Ether

    there = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / IP(src="10.0.2.15", dst="10.0.2.2")
    back = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.2.2", dst="10.0.2.15")
    one, two = 0xFFFFFFF0, 7_000_000
    segments = [
        there / TCP(sport=4000, dport=80, flags="S", seq=one),
        back / TCP(sport=80, dport=4000, flags="SA", seq=two, ack=(one + 1) & 0xFFFFFFFF),
        there / TCP(sport=4000, dport=80, flags="PA", seq=(one + 1) & 0xFFFFFFFF, ack=two + 1) / (b"x" * 40),
        back / TCP(sport=80, dport=4000, flags="A", seq=two + 1, ack=(one + 41) & 0xFFFFFFFF),
        there / TCP(sport=5000, dport=80, flags="A", seq=12345, ack=99),
    ]
    infos = [line[8] for line in packets(recorded([bytes(each) for each in segments])).page()]
    numbers = [info[info.index("Seq") : info.index(" Win")] for info in infos]
    assert numbers == [
        "Seq=0 Len=0",
        "Seq=0 Ack=1 Len=0",
        "Seq=1 Ack=1 Len=40",
        "Seq=1 Ack=41 Len=0",
        "Seq=1 Ack=99 Len=0",
    ]


def test_pages_and_the_filter():
    frame = every_kind()[0]
    shown = packets(recorded([frame] * 95))
    assert shown.position == "1–20 of 95" and len(shown.page()) == PAGE
    shown.go(PAGE)
    assert shown.position == "21–40 of 95" and shown.page()[0][0] == "21"
    shown.go(10**9)
    assert shown.position == "81–95 of 95" and len(shown.page()) == 15
    shown.go(-5)
    assert shown.first == 0
    assert shown.go_to(45) == 4 and shown.page()[4][0] == "45"
    assert shown.apply("arp and frame.number > 90") and shown.position == "1–5 of 5 (of 95)"
    assert shown.go_to(1) == 0 and shown.page()[0][0] == "91"
    assert shown.apply("tcp") and shown.position == "no frames of 95" and shown.page() == []
    assert "0 of 95 frames" in repr(shown) and "<table" in shown._repr_html_()
    assert shown.apply("") and len(shown.order) == 95


def test_a_filter_that_is_wrong_changes_nothing_and_says_where():
    shown = packets(recorded(), "arp")
    before = shown.order.tolist()
    assert not shown.apply("arp and tcp.prt == 80")
    assert shown.order.tolist() == before and shown.filter == "arp"
    assert shown.wrong.position == 8 and "tcp.port" in str(shown.wrong)
    assert shown.apply("udp") and shown.wrong is None
    with pytest.raises(UsageError, match="character 2"):
        packets(recorded(), "(")


def test_what_it_shows(tmp_path):
    recorder = recorded()
    path = recorder.save(tmp_path / "frames.pcapng")
    frames = recorder.frames()
    arp = frames[frames["cause"] == "arp"]
    for source in (recorder, recorder.capture(), str(path), path):
        shown = packets(source)
        assert len(shown.order) == len(frames) and shown.frame(3) == (every_kind()[3], len(every_kind()[3]), 0)
    some = packets(arp)
    assert len(some.order) == len(arp) and some.page()[0][0] == str(arp["frame_number"].iloc[0])
    assert some.frame(0) == (b"", int(arp["frame_len"].iloc[0]), 0), "a DataFrame alone has no bytes"
    read = al.read_pcap(path)
    assert packets(read[read["cause"] == "arp"]).frame(0)[0] == recorder.capture().frame(
        int(arp["frame_number"].iloc[0])
    )
    with pytest.raises(UsageError, match="not int"):
        packets(7)
    assert packets(Capture()).position == "no frames"


def test_a_recorder_that_goes_on():
    recorder = recorded()
    shown = packets(recorder, "arp")
    before = len(shown.order)
    recorder.add(every_kind()[0], "nic", "tx", 99)
    assert len(shown.order) == before
    shown.refresh()
    assert len(shown.order) == before + 1 and shown.filter == "arp"


def test_columns_that_are_missing_are_empty():
    frames = recorded().frames()[["frame_number", "frame_len", "ip_src", "ip_dst"]]
    shown = packets(frames)
    assert len(shown.page()) == PAGE and shown.page()[0][1] == ""
    assert packets(pd.DataFrame({"x": [1, 2]})).page() == [("",) * 6 + ("?", "", "")] * 2


def test_a_page_of_a_million_rows_touches_that_page_alone():
    frames = recorded([every_kind()[0]] * 8).frames()
    many = frames.take(np.arange(1_000_000) % len(frames)).reset_index(drop=True)
    many["frame_number"] = np.arange(1, len(many) + 1, dtype=np.uint32)
    shown = packets(many)
    assert shown.position == "1–20 of 1,000,000"
    began = time.process_time()
    for number in range(1, 1_000_000, 50_000):
        line = shown.go_to(number)
        assert shown.page()[line][0] == str(number)
    spent = time.process_time() - began
    assert len(rows_of(many, shown.order[:PAGE])) == PAGE
    # No clock is asserted but this: twenty pages of a million rows must not be twenty walks over them.
    assert spent < 20, spent


def test_fields_lie_where_their_bytes_are():
    from scapy.layers.inet import IP, TCP
    from scapy.layers.l2 import Dot1Q, Ether

    frame = bytes(
        Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
        / Dot1Q(vlan=7)
        / IP(src="10.0.2.15", dst="192.0.2.1", ttl=63)
        / TCP(sport=4321, dport=80, seq=0x01020304, flags="PA", options=[("MSS", 1460)])
        / b"GET / HTTP/1.0"
    )
    found = {detail.text.split(":")[0]: frame[detail.start : detail.end] for detail in details(frame) if detail.depth}
    assert found["seq"] == b"\1\2\3\4" and found["ttl"] == b"\x3f" and found["sport"] == (4321).to_bytes(2, "big")
    assert found["options"] == bytes.fromhex("020405b4") and found["load"] == b"GET / HTTP/1.0"
    layers = [(detail.text, detail.start, detail.end) for detail in details(frame) if detail.depth == 0]
    assert [start for _, start, _ in layers] == [0, 14, 18, 38, 62]
    assert layers[-1][2] == len(frame) and layers[3][0] == "TCP, 24 bytes"


@pytest.mark.parametrize("number", range(len(every_kind())))
def test_layers_cover_each_frame_from_first_to_last_byte(number):
    frame = every_kind()[number]
    at = 0
    for detail in details(frame):
        assert detail.start is not None and detail.end is not None and 0 <= detail.start <= detail.end <= len(frame)
        if detail.depth == 0:
            assert detail.start == at
            at = detail.end
    assert at == len(frame)


def test_the_bytes_are_marked():
    html = hex_html(bytes(range(40)), 14, 18)
    assert "<mark>0e 0f</mark>" in html and "<mark>10 11</mark>" in html and html.count("<mark>") == 4
    assert "<mark>" not in hex_html(b"abc") and "<mark>" not in hex_html(b"abc", 2, 2)
    assert "1,000 bytes were not captured" in hex_html(b"abc", length=1003)
    assert "5 more bytes" in hex_html(bytes(MOST_HEX + 5))


def test_nothing_of_a_capture_becomes_markup():
    from scapy.layers.dns import DNS, DNSQR
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    query = bytes(
        Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
        / IP(src="10.0.2.15", dst="10.0.2.2")
        / UDP(sport=53, dport=53)
        / DNS(qd=DNSQR(qname=b"<script>alert(1)</script>.example"))
    )
    shown = packets(recorded([query]))
    frames = pd.DataFrame({"frame_number": [1], "point": [HOSTILE], "ip_src": [HOSTILE], "ip_dst": ["a\nb\u202ec"],
                           "cause": [HOSTILE], "frame_len": [1]})  # fmt: skip
    for html in (shown._repr_html_(), hex_html(query), packets(frames)._repr_html_()):
        assert "<script" not in html and "<img" not in html
    assert any("<script>" in detail.text for detail in details(query)), "as text of a list it is harmless"
    head, line = aligned(packets(frames).page())
    assert "\n" not in line and "\u202e" not in line


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(every_kind()), st.data())
def test_no_frame_makes_it_fail(frame, data):
    mutated = bytearray(frame[: data.draw(st.integers(0, len(frame)))])
    for _ in range(data.draw(st.integers(0, 6)) if mutated else 0):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    out = details(bytes(mutated))
    assert len(out) <= MOST_FIELDS
    for detail in out:
        assert "\n" not in detail.text
        assert detail.start is None or 0 <= detail.start <= detail.end <= len(mutated)
    shown = packets(recorded([bytes(mutated)]))
    assert len(aligned(shown.page())) == 2


def test_widgets_follow(tmp_path):
    pytest.importorskip("ipywidgets")
    shown = packets(recorded([*every_kind(), *every_kind()]))
    box = shown.widget and shown._widgets
    assert len(box["rows"].options) == PAGE and box["rows"].index == 0
    assert box["first"].disabled and not box["next"].disabled
    box["next"].click()
    assert shown.first == PAGE and box["rows"].options[0][0].lstrip().startswith("21 ")
    box["filter"].value = "tcp and ip"
    assert box["rows"].options and "TCP" in box["rows"].options[0][0] and shown.first == 0
    box["filter"].value = "tcp and (ip"
    assert 'role="alert"' in box["wrong"].value and shown.filter == "tcp and ip"
    box["clear"].click()
    assert box["wrong"].value == "" and len(shown.order) == len(shown.frames)
    box["go"].value = 30
    assert shown.first == PAGE and box["rows"].index == 9
    data, _, _ = shown.frame(9)
    texts = [text for text, _ in box["fields"].options]
    assert texts[0].startswith("Ethernet") or texts[0].startswith("802.3")
    assert box["fields"].index is None and "<mark>" not in box["bytes"].value
    box["fields"].index = 1
    assert f"<mark>{data[:6].hex(' ')}</mark>" in box["bytes"].value
    box["filter"].value = "frame.number > 100000"
    assert box["rows"].options == () and box["bytes"].value == ""
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
