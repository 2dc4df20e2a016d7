"""Captures as scapy packets and back: bytes, times, lengths, points and directions stay what they were."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.capture import Capture, Recorder
from aero_lab.capture import schema as s
from aero_lab.errors import UsageError

from .packets import every_kind

EPOCH = 1_700_000_000_123_456_789


def recorded(snap: int = 0) -> Capture:
    recorder = Recorder(points=("nic", "tunnel"), snap=snap, epoch_ns=EPOCH)
    for number, frame in enumerate(every_kind()):
        point, way = ("nic", "tunnel")[number % 2], ("tx", "rx")[number // 2 % 2]
        assert recorder.add(frame, point, way, number * 1001)
    return recorder.capture()


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Equal in all but what a scapy packet has no place for."""
    lost = [name for name in left.columns if name in ("frame_id", "message_len") or name.endswith("_delay")]
    pd.testing.assert_frame_equal(left.drop(columns=lost), right.drop(columns=lost), check_categorical=False)


@pytest.mark.parametrize("snap", [0, 60])
def test_there_and_back(snap):
    capture = recorded(snap)
    packets = capture.to_scapy()
    assert [bytes(packet) for packet in packets] == [capture.frame(1 + i) for i in range(len(capture))]
    back = Capture.from_scapy(packets)
    same(capture.frames(), back.frames())
    assert back.frames()["frame_time"].iloc[0] == EPOCH


def test_scapy_sees_the_layers_above_ip_and_times_to_the_nanosecond():
    from scapy.layers.dhcp import DHCP
    from scapy.layers.dns import DNS
    from scapy.layers.inet import TCP

    packets = recorded().to_scapy()
    for layer in (DHCP, DNS, TCP):
        assert any(layer in packet for packet in packets)
    assert [int(packet.time * 10**9) for packet in packets[:3]] == [EPOCH, EPOCH + 1001, EPOCH + 2002]
    assert [packet.sniffed_on for packet in packets[:2]] == ["nic", "tunnel"]
    assert [packet.direction for packet in packets[:4]] == [2, 2, 1, 1]


def test_any_selection():
    capture = recorded()
    frames = capture.frames()
    tcp = frames[frames["tcp_seq"].notna()]
    assert [bytes(p) for p in capture.to_scapy(tcp)] == [capture.frame(n) for n in tcp["frame_number"]]
    mask = frames["cause"] == "arp"
    assert len(capture.to_scapy(mask)) == mask.sum() > 0
    assert [bytes(p) for p in capture.to_scapy([3, 1])] == [capture.frame(3), capture.frame(1)]
    assert bytes(capture.to_scapy(2)[0]) == capture.frame(2)
    assert capture.to_scapy([]) == capture.to_scapy(frames[:0]) == []


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        ([0], "frame numbers are 1 to"),
        ([10**6], "frame numbers are 1 to"),
        (np.array([True]), "mask of 1 rows"),
        (["x"], "select frames by"),
        (pd.DataFrame({"a": [1]}), "frame_number"),
    ],
)
def test_a_wrong_selection_is_told(selection, says):
    with pytest.raises(UsageError, match=says):
        recorded().to_scapy(selection)


def test_rows_of_messages_without_a_frame_have_no_packet():
    recorder = Recorder()
    recorder.add_message(b"\xa2\x03\x01\x00ping", "tx", 5)
    recorder.add_message(b"\xa2\x03\x00\x00" + every_kind()[0], "tx", 6)
    assert [bytes(packet) for packet in recorder.to_scapy()] == [every_kind()[0]]


def test_packets_that_users_make():
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    from scapy.packet import Raw
    from scapy.plist import PacketList

    made = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / IP(src="10.0.2.15", dst="10.0.2.2") / UDP(dport=7)
    made.time = 1.5
    capture = Capture.from_scapy(PacketList([made, made / Raw(b"x")]))
    frames = capture.frames()
    assert frames["dstport"].tolist() == [7, 7] and frames["frame_len"].tolist() == [42, 43]
    assert frames["frame_time"].iloc[0] == 1_500_000_000
    assert frames["direction"].isna().all() and (frames["point"] == "nic").all()
    assert capture.frame(1) == bytes(made)
    assert len(Capture.from_scapy(made)) == len(Capture.from_scapy(bytes(made))) == 1
    assert len(Capture.from_scapy([])) == 0 and Capture.from_scapy([]).frames().empty
    with pytest.raises(UsageError, match="cannot build"):
        Capture.from_scapy([made.__class__(type=70_000, src="02:00:00:00:00:02", dst="02:00:00:00:00:01")])


def test_what_scapy_wrote_is_what_we_read(tmp_path):
    from scapy.utils import rdpcap, wrpcapng

    from aero_lab.capture import parse_pcap

    capture = recorded()
    wrpcapng(str(tmp_path / "theirs.pcapng"), capture.to_scapy())
    theirs = parse_pcap((tmp_path / "theirs.pcapng").read_bytes())
    assert [theirs.frame(n + 1) for n in range(len(theirs))] == [capture.frame(n + 1) for n in range(len(capture))]
    capture.save(tmp_path / "ours.pcapng")
    back = Capture.from_scapy(rdpcap(str(tmp_path / "ours.pcapng")))
    assert [back.frame(n + 1) for n in range(len(back))] == [capture.frame(n + 1) for n in range(len(capture))]


def test_other_link_layers_come_and_go():
    from scapy.layers.inet import IP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import CookedLinux, CookedLinuxV2

    above = IP(src="10.0.2.15", dst="10.0.2.2") / UDP(sport=1, dport=2)
    made = [above, IPv6(src="fd00::1", dst="fd00::2") / UDP(), CookedLinux() / above, CookedLinuxV2() / above]
    capture = Capture.from_scapy(made)
    assert [s.LINKS[capture.link(n)][1] for n in (1, 2, 3, 4)] == [101, 101, 113, 276]
    assert capture.frames()["srcport"].notna().all() and capture.frames()["eth_src"].isna().all()
    assert [(type(p), bytes(p)) for p in capture.to_scapy()] == [(type(p), bytes(p)) for p in made]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(every_kind()), st.data())
def test_mutated_frames_never_raise_and_keep_their_bytes(frame, data):
    mutated = bytearray(frame[: data.draw(st.integers(1, len(frame)))])
    for _ in range(data.draw(st.integers(0, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    recorder = Recorder(points=("nic",))
    recorder.add(bytes(mutated), "nic", "rx", 0)
    packets = recorder.to_scapy()
    assert Capture.from_scapy(packets).frame(1) == bytes(mutated)


def test_scapy_is_imported_only_when_packets_are_made():
    program = (
        "import sys, aero_lab; from aero_lab.lab import Lab; import aero_lab.injection, aero_lab.capture.scapy_packets;"
        "sys.exit('scapy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=240).returncode == 0
