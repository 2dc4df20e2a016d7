"""Option B in virtual time: what travels, and that it comes to the same."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

import aero_lab as al
from aero_lab.analysis import by_cause, join


def run(option: str, *workloads: str, **lab) -> Any:
    with al.Lab(virtual=True, option=option, progress=False, **lab) as made:
        guest = made.guest()
        results = [guest.run(workload) for workload in workloads]
        return made.capture.frames(), results, guest.tunnel, made.capture.capture()


@pytest.mark.parametrize("link", [None, "rtt=20ms, loss=2%, reorder=5%, duplicate=1%, corrupt=0.5%"])
def test_every_workload_comes_to_the_same_as_over_frames(link):
    for workload in ("ping", "dns", "rr", "udp-echo", "upload"):
        frames, (result,), _, _ = run("B", workload, link=link)
        assert result.ok, (workload, result.error)
        assert result.digest_ok in (None, True)


def test_neither_link_layer_nor_dhcp_travels():
    frames, (result,), counters, _ = run("B", "download")
    assert result.digest_ok
    nic, tunnel = frames[frames["point"] == "nic"], frames[frames["point"] == "tunnel"]
    assert {"arp", "dhcp"} <= set(nic["cause"]) and not {"arp", "dhcp"} & set(tunnel["cause"])
    assert tunnel["eth_src"].isna().all() and tunnel["ip_version"].isin([4, 6]).all()
    both = nic.merge(tunnel, on=["frame_id", "direction"], suffixes=("", "_tunnel"))
    assert len(both) == len(tunnel) > 5000
    assert (both["frame_len"] - 14 == both["frame_len_tunnel"]).all()
    assert (both["message_len_tunnel"] == both["frame_len_tunnel"] + 4).all()
    assert (both["cause"] == both["cause_tunnel"]).all() and (both["flow_id"] == both["flow_id_tunnel"]).all()
    assert both["flow_id"].nunique() == 2  # the lookup and the download
    assert counters["frames_wrapped"] == (nic["direction"] == "tx").sum()
    assert counters["frames_unwrapped"] == (nic["direction"] == "rx").sum()


def test_the_causes_of_the_messages_add_up():
    frames, _, counters, _ = run("B", "rr", link="rtt=10ms, loss=3%")
    tunnel = frames[frames["point"] == "tunnel"]
    assert by_cause(tunnel, "tunnel")["bytes"].sum() == tunnel["message_len"].sum()
    joined = join(frames)
    assert joined["tunnel_delay"].notna().sum() > 300


def test_one_seed_is_one_capture():
    captures = [run("B", "rr", link="rtt=10ms, loss=3%", seed=5)[0] for _ in range(2)]
    assert captures[0].equals(captures[1])


def test_two_guests_with_one_address_keep_their_flows():
    with al.Lab(virtual=True, option="B", progress=False) as lab:
        guests = lab.guest(), lab.guest()
        for guest in guests:
            assert guest.run("dns").ok and guest.run("rr").ok
        frames = lab.capture.frames()
    nic, tunnel = (frames[frames["point"] == point] for point in ("nic", "tunnel"))
    both = nic.merge(tunnel, on=["frame_id", "direction"], suffixes=("", "_tunnel"))
    assert (both["flow_id"] == both["flow_id_tunnel"]).all()
    one, other = (set(both["flow_id"][(both["eth_src"] == g.mac) | (both["eth_dst"] == g.mac)]) for g in guests)
    assert one and other and not one & other and one | other == set(tunnel["flow_id"].dropna())
    assert set(tunnel["flow_id"].dropna()) <= set(nic["flow_id"].dropna())
    assert not (frames["cause"] == "duplicate").any()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark: install the package tshark")
def test_wireshark_reads_both_kinds_of_interface(tmp_path):
    _, _, _, capture = run("B", "dns")
    path = capture.save(tmp_path / "b.pcapng")
    fields = ["-e", "frame.interface_name", "-e", "frame.protocols"]
    said = subprocess.run(["tshark", "-r", str(path), "-T", "fields", *fields], capture_output=True, text=True)
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    assert {protocols.split(":")[0] for name, protocols in rows if name == "tunnel"} == {"raw"}
    assert {protocols.split(":")[0] for name, protocols in rows if name == "nic"} == {"eth"}
    assert al.read_pcap(path).equals(al.read_pcap(capture.save(tmp_path / "again.pcapng")))


def test_a_tunnel_of_the_other_kind_is_refused():
    with pytest.raises(al.UsageError, match="option 'D' does not exist; there is"):
        al.Lab(virtual=True, option="D")
