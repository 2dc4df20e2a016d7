"""Debian's own drivers in a lab, by the host's clock: what stands between card and lab, sleep, copies, the end."""

from __future__ import annotations

import gc
import os
import threading

import pytest

import aero_lab as al
from aero_lab.guests.linux.boot import Boot
from aero_lab.guests.linux.guest import LinuxGuest

from .judged import check_online, check_transfers, nic_trouble, wait

NICS = ("e1000", "virtio-net")


@pytest.fixture(scope="module", params=NICS)
def bench(request, plain_image):
    """A lab with a guest behind the rings of a browser's runtime."""
    with al.Lab(progress=False) as lab:
        yield lab, lab.guest("linux", nic=request.param, backend="ring", progress=False)


def test_it_goes_online_transfers_and_pings_through_shared_rings(bench):
    lab, guest = bench
    check_online(guest)
    check_transfers(guest, "300kB")
    assert guest.sh("ping -c 2 -i 0.1 -s 8000 10.0.2.2").ok
    stats, counters = guest._host.cable.backend.stats, guest._host.cable.forwarder.counters
    assert stats["tx_pushed_frames"] == counters["txFrames"] > 100
    assert stats["rx_popped_frames"] == counters["rxFrames"] > 100
    drops = [name for name in (*stats, *counters) if "drop" in name.lower() or "orrupt" in name]
    assert {name: {**stats, **counters}[name] for name in drops} == dict.fromkeys(drops, 0)
    guest.sh("sleep 0.5").check()
    frames = lab.capture.frames()
    ours = frames[frames.direction == "tx"]
    assert (ours.point == "nic").sum() == (ours.point == "tunnel").sum() > 100
    joined = ours.groupby("frame_id").point.nunique()
    assert (joined == 2).all(), "each frame is known at both points by its identity"
    assert nic_trouble(guest) == []


def test_the_cable(bench):
    lab, guest = bench
    changes = "cat /sys/class/net/eth0/carrier_changes"
    before = int(guest.sh(changes).output)
    guest.relink()
    wait(lambda: int(guest.sh(changes).output) >= before + 2, "the cable was not out and in again")
    wait(lambda: guest.sh("ping -c 1 -W 1 10.0.2.2").ok, "no echo after the cable was pulled")


def test_a_guest_that_waits_sleeps(bench):
    _, guest = bench

    def asleep() -> bool:
        last = guest.machine.last
        return last is not None and last.asleep > last.seconds / 2

    wait(asleep, "the machine spins while its guest has nothing to do")


def test_a_copy_of_a_guest_in_a_lab_has_its_card_and_no_cable_of_the_lab(bench, tmp_path):
    _, guest = bench
    size = guest.save(tmp_path / "guest.pc")
    machine = al.Machine.load(tmp_path / "guest.pc")
    (nic,) = machine.nics
    assert size > 1 << 20 and nic.model == guest.nic.model and nic.bell == -1
    with LinuxGuest(machine) as other:
        assert other.run("cat /sys/class/net/eth0/address").output.strip() == guest.mac
        assert other.run("ip addr show dev eth0").output.count("10.0.2.15") == 1
        assert other.run("ping -c 1 -W 1 10.0.2.2").status == 1, "nobody is at the other end"
    with guest.fork() as fork:
        assert fork.run("cat /proc/uptime").ok
    assert guest.sh("ping -c 1 10.0.2.2").ok


def test_a_snapshot_has_no_lease_of_another_lab(plain_image):
    """Resumed guests get theirs where they go on."""
    machine = Boot.of(plain_image, nic="e1000").resume()
    with LinuxGuest(machine) as guest:
        assert "inet " not in guest.run("ip addr show dev eth0").output
        assert guest.run("ls /etc/resolv.conf").status != 0 and "e1000" in guest.run("cat /proc/modules").output
        assert guest.mac == bytes.fromhex("525400123456")
        with pytest.raises(al.UsageError, match="backend 'memory' does not exist"):
            guest.attach(None, guest.mac, "memory")


def test_two_guests_of_one_lab_and_nothing_is_left_of_them(plain_image):
    gc.collect()
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with al.Lab(progress=False) as lab:
        first = lab.guest("linux", progress=False)
        assert first.nic.model == "e1000"
        second = lab.guest("linux", nic="virtio-net", mac="52:54:00:aa:bb:cc", progress=False)
        assert first.mac != second.mac == "52:54:00:aa:bb:cc" and lab.guests == [first, second]
        assert first.address == second.address == "10.0.2.15", "each on a network of its own"
        for guest in (first, second):
            assert guest.run("download", size="100kB").digest_ok
        names = {row["guest_name"] for row in lab.flows.rows()}
        assert names == {"guest1", "guest2"}
        first.close()
        with pytest.raises(al.UsageError, match="closed"):
            first.sh("true")
        assert second.run("ping", count=1).ok
    wait(lambda: threading.active_count() <= threads, "the threads of the machines do not end")
    gc.collect()
    if files:
        wait(lambda: len(os.listdir("/proc/self/fd")) <= files, "descriptors stay open")


def test_what_cannot_be_is_one_line(plain_image):
    with al.Lab(progress=False) as lab:
        for options, says in (
            ({"nic": "e1000", "backend": "pigeon"}, "backend 'pigeon' does not exist; there is 'queue', 'ring'"),
            ({"nic": None, "backend": "ring"}, "backend= is of a network card"),
            ({"nic": "e1000", "mac": "01:00:5e:00:00:01"}, "no address of a single"),
        ):
            with pytest.raises(al.UsageError, match=says):
                lab.guest("linux", progress=False, **options)
        assert lab.guests == lab.unplugged == []
