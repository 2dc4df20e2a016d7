"""Columns of captures that other programs made equal tshark's, row by row."""

import pandas as pd
import pytest

from aero_lab.bench.frames import mixed
from aero_lab.capture import load_pcap, read_pcap, write_pcap, write_pcapng

from . import foreign, tshark
from .packets import every_kind
from .test_tshark import capinfos, differences

pytestmark = pytest.mark.skipif(tshark.TSHARK is None, reason=tshark.REASON)
OURS = {"point", "direction", "frame_id"}
"""Columns that files of others say nothing about, or by other names."""


def agree(path, tmp_path):
    """What we read is what tshark reads, also after we wrote it; gives the frames."""
    frames = read_pcap(path)
    assert frames.attrs["warning"] is None and frames.attrs["undissected"] == {}
    assert differences(path, frames, OURS) == []
    for write, name in ((write_pcapng, "again.pcapng"), (write_pcapng, "again.pcapng.gz"), (write_pcap, "again.pcap")):
        if write is write_pcap and len({i.link for i in load_pcap(path).interfaces}) > 1:
            continue
        again = write(tmp_path / name, load_pcap(path))
        pd.testing.assert_frame_equal(read_pcap(again), frames)
        if not name.endswith(".gz"):
            assert differences(again, frames, OURS) == []
            assert f"Number of packets:   {len(frames)}" in capinfos(again)
    return frames


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """One round of traffic as tcpdump and dumpcap saw it."""
    reason = foreign.missing("tcpdump", "dumpcap", "ip", "ping")
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("foreign")
    programs = {
        "tcpdump": ("tcpdump", "-i", "cable", "-U", "-w", str(folder / "tcpdump")),
        "tcpdump-ns": ("tcpdump", "-i", "cable", "-U", "--nano", "-s", "90", "-w", str(folder / "tcpdump-ns")),
        "tcpdump-any": ("tcpdump", "-i", "any", "-U", "-w", str(folder / "tcpdump-any")),
        "tcpdump-sll": ("tcpdump", "-i", "any", "-y", "LINUX_SLL", "-U", "-w", str(folder / "tcpdump-sll")),
        "dumpcap": ("dumpcap", "-q", "-i", "cable", "-i", "lo", "-w", str(folder / "dumpcap")),
        "dumpcap-pcap": ("dumpcap", "-q", "-P", "-i", "cable", "-w", str(folder / "dumpcap-pcap")),
    }
    import contextlib

    with foreign.Wire() as wire, contextlib.ExitStack() as stack:
        for name, command in programs.items():
            stack.enter_context(foreign.capturing(wire, folder / name, *command))
        # Of two tags the kernel takes off one for the device "any", and says there is IP where the other is.
        foreign.traffic(wire, [f for f in every_kind() if len(f) <= 1514 and f[12:14] != b"\x88\xa8"])
    return folder


@pytest.mark.parametrize("program", ["tcpdump", "tcpdump-ns", "tcpdump-any", "tcpdump-sll", "dumpcap", "dumpcap-pcap"])
def test_what_tcpdump_and_dumpcap_saw(captures, tmp_path, program):
    frames = agree(captures / program, tmp_path)
    assert len(frames) > 80
    assert {4, 6} <= set(frames.ip_version.dropna()) and {6, 17, 1, 58} <= set(frames.ip_proto.dropna())
    assert (frames.ip_frag.fillna(0) > 0).any() and frames.arp_opcode.notna().any()
    assert frames.vlan_id.notna().any() or program == "tcpdump-any"  # whose header has no place for tags
    assert frames.dhcp_type.notna().any() or program == "tcpdump-ns"  # which cuts its frames at 90 bytes
    assert frames.dns_id.notna().any() and frames.tcp_options_sack_le.notna().any()
    assert ((frames.icmp_type == 3) & (frames.ip_proto == 1)).any()  # an error, with a packet quoted
    assert {"payload", "ack", "handshake", "arp", "dns", "icmp"} <= set(frames.cause)
    if program == "tcpdump-ns":
        assert frames.attrs["snap"] == 90 and frames.frame_cap_len.max() == 90 and (frames.frame_time % 1000 > 0).any()
    if program == "dumpcap":
        capture = load_pcap(captures / program)
        assert [i.name for i in capture.interfaces] == ["cable", "lo"] and any(code == 4 for code, _ in capture.section)


def test_what_qemu_saw(tmp_path):
    reason = foreign.missing("qemu-system-i386")
    if reason:
        pytest.skip(reason)
    path = tmp_path / "qemu.pcap"
    foreign.qemu(path, tmp_path)
    # QEMU was stopped in the middle: what it had not finished is not there, and said.
    frames = read_pcap(path)
    if frames.attrs["warning"]:
        path = write_pcap(tmp_path / "whole.pcap", load_pcap(path))
    frames = agree(path, tmp_path)
    assert set(frames.dhcp_type.dropna()) >= {1, 2} and "dhcp" in set(frames.cause)
    assert frames.arp_opcode.notna().any() and frames.udp_length.notna().any()


def test_the_frames_that_the_bench_makes_up(tmp_path):
    """They are what they say: tshark finds the same in them, checksums aside."""
    path = mixed(3000, 100).save(tmp_path / "mixed.pcapng")
    frames = read_pcap(path)
    assert differences(path, frames) == []
    assert frames.flow_id.nunique() == 100 and frames.tunnel_delay.notna().any()
