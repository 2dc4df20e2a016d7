"""Debian on the emulated PC in a lab: Linux's own drivers on our network cards, through the tunnel to the proxy."""

from __future__ import annotations

import threading
import time

import pytest

import aero_lab as al

from . import judged
from .judged import wait

NICS = ("e1000", "virtio-net")


@pytest.fixture(scope="module", params=NICS)
def bench(request, plain_image):
    """A lab with a guest, used by several tests."""
    with al.Lab(transport="websocket", progress=False) as lab:
        yield lab, lab.guest("linux", nic=request.param, progress=False), request.param


def test_it_is_a_guest_like_the_others(bench):
    lab, guest, nic = bench
    judged.check_drivers(guest, nic)
    judged.check_online(guest)
    assert lab.guests == [guest] and guest.kind == "linux" and guest.nic_model == nic == guest.nic.model
    assert nic in repr(guest) and "10.0.2.15" in repr(guest)
    assert guest.run("uname -m").output == "i686\n" and guest.run("exit 3").status == 3
    wait(lambda: guest.address6 is not None, "no router was heard")
    assert guest.counters and guest.tunnel and guest.nic_counters
    rows = [row for row in lab.flows if row["protocol"] == "udp"]
    assert any(row["reason"] is None or row["bytes_up"] for row in rows) or guest.counters["dns.queries"] > 0


def test_what_is_asked_of_linux_drivers(bench):
    lab, guest, nic = bench
    judged.check_transfers(guest, "2MB")
    judged.check_pings(guest)
    judged.check_mtu(guest)
    judged.check_connections(guest, 1000)
    judged.check_link(lab, guest)
    judged.check_frames(lab, guest)
    assert judged.nic_trouble(guest) == []
    assert judged.card_trouble(guest) == {}


def test_jumbo_frames(plain_image):
    """A network of MTU 9000: what both cards send and take as one frame, with the card's segmentation on top."""
    with al.Lab(mtu=9000, transport="websocket", progress=False) as lab:
        for nic in NICS:
            guest = lab.guest("linux", nic=nic, progress=False)
            wait(lambda guest=guest: guest.sh("ping -c 1 -W 2 -s 8000 10.0.2.2").ok, f"{nic}: no ping passes whole")
            result = guest.run("download", size="1MB")
            assert result.ok and result.digest_ok, result
            result = guest.run("upload", size="1MB")
            assert result.ok and result.digest_ok, result
            frames = lab.capture.frames()
            mine = frames[(frames.point == "nic") & ((frames.eth_src == guest.mac) | (frames.eth_dst == guest.mac))]
            longest = mine.groupby("direction", observed=True).frame_len.max()
            assert (longest > 8900).all() and (longest <= 9014).all(), (nic, longest)
            assert judged.nic_trouble(guest) == [] and judged.card_trouble(guest) == {}


def test_two_guests_and_none_is_left_behind(plain_image):
    """Two of them beside each other in one lab, each on a network of its own; the lab's end is theirs."""
    before = threading.active_count()
    with al.Lab(progress=False) as lab:
        one, other = (lab.guest("linux", nic=nic, progress=False) for nic in NICS)
        assert one.mac != other.mac and one.address == other.address == "10.0.2.15"
        for guest in (one, other):
            result = guest.run("download", size="200kB")
            assert result.ok and result.digest_ok, result
        frames = lab.capture.frames()
        assert {one.mac, other.mac} <= set(frames.eth_src)
    wait(lambda: threading.active_count() <= before, "threads are left")
    with pytest.raises(al.UsageError, match="closed"):
        one.sh("true")


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("nic", NICS)
def test_all_of_it_over_websocket(nic, plain_image):
    """100 MB each way, 10,000 connections, everything else, and the driver has nothing to say."""
    with al.Lab(transport="websocket", capture=False, progress=False) as lab:
        guest = lab.guest("linux", nic=nic, progress=False)
        judged.check_drivers(guest, nic)
        judged.check_online(guest)
        started = time.monotonic()
        for result in judged.check_transfers(guest, "100MB"):
            print(nic, result.workload, f"{result.goodput_mbps:.1f} Mbit/s")
        judged.check_pings(guest, (0, 1, 56, 1472, 1473, 4000, 8000))
        judged.check_mtu(guest, (576, 1280, 1492, 1500))
        judged.check_link(lab, guest)
        print(nic, f"{judged.check_connections(guest, 10_000):.0f} connections/s")
        assert judged.nic_trouble(guest) == []
        assert judged.card_trouble(guest) == {}
        print(nic, f"{time.monotonic() - started:.0f} s in all")
