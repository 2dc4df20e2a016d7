"""Debian under QEMU in a lab: Linux's own drivers on QEMU's network cards, through the tunnel to the proxy."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import aero_lab as al
from aero_lab.compiled.registry import PLAIN
from aero_lab.guests.qemu.command import why_not
from aero_lab.guests.qemu.guest import BootFailed
from aero_lab.handles_qemu import open_qemu

from . import judged
from .image import images, required
from .judged import wait

NICS = ("e1000", "virtio-net")
TRANSPORTS = {"e1000": "websocket", "virtio-net": "memory"}


@pytest.fixture(scope="module", autouse=True)
def needs_qemu() -> None:
    if PLAIN:
        pytest.skip("the guest's timers do not wait for interpreted kernels; this runs in compiled mode")
    found, why = images(), why_not()
    if isinstance(found, str):
        why = f"no guest image: {found}"
    if why is not None:
        if required():
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module", params=NICS)
def bench(request, needs_qemu):
    """A lab with a guest, used by several tests."""
    with al.Lab(transport=TRANSPORTS[request.param], progress=False) as lab:
        yield lab, lab.guest("qemu", nic=request.param), request.param


def qemus() -> set[int]:
    """Processes of QEMU that are this one's: by whose watcher they have."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"qemu-system" in (folder / "cmdline").read_bytes().partition(b"\0")[0]:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                grandparent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
                if grandparent == os.getpid():
                    found.add(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def readers() -> int:
    return sum(thread.name == "aero-lab-qemu" for thread in threading.enumerate())


def test_it_is_a_guest_like_the_others(bench):
    lab, guest, nic = bench
    judged.check_drivers(guest, nic)
    judged.check_online(guest)
    assert lab.guests == [guest] and guest.kind == "qemu" and guest.nic_model == nic
    assert "10.0.2.15" in repr(guest) and "running" in repr(guest) and "/ # " in guest.text
    assert guest.run("uname -m").output == "i686\n" and guest.run("exit 3").status == 3
    wait(lambda: guest.address6 is not None, "no router was heard")
    assert guest.address6.startswith("fd") or guest.address6.startswith("2")  # type: ignore[union-attr]
    assert guest.counters and guest.tunnel and guest.nic_counters["tx_frames"] > 0
    guest.type("echo typed $((40 + 2))\n")
    wait(lambda: "typed 42" in guest.text, "the console's answer")
    assert "typed 42" in repr(guest.console)


def test_what_is_asked_of_linux_drivers(bench):
    lab, guest, nic = bench
    guest.wait_online()
    judged.check_transfers(guest, "2MB")
    judged.check_pings(guest)
    judged.check_mtu(guest, (1400,))
    judged.check_connections(guest, 400)
    judged.check_link(lab, guest)
    judged.check_frames(lab, guest)
    assert judged.nic_trouble(guest) == []


def test_workloads_have_the_names_and_the_results_of_all_guests(bench):
    _, guest, nic = bench
    if nic != NICS[0]:
        pytest.skip("once is enough: they are programs, and know no card")
    guest.wait_online()
    for name, parameters, measured in (
        ("download", {"size": "200kB", "family": 6}, "goodput_mbps"),
        ("upload", {"size": "200kB", "family": 6}, "goodput_mbps"),
        ("parallel", {"size": "100kB", "flows": 3, "direction": "both"}, "goodput_mbps"),
        ("source", {"size": "500kB"}, "goodput_mbps"),
        ("sink", {"size": "500kB"}, "goodput_mbps"),
        ("rr", {"count": 20}, "rtt_ms"),
        ("burst", {"count": 20, "concurrency": 4}, "seconds"),
        ("ping", {"count": 2, "interval": 0.1, "family": 6}, "rtt_ms"),
        ("dns", {"count": 4}, "seconds"),
    ):
        result = guest.run(name, **parameters)
        assert result.ok and result.digest_ok in (None, True) and result.workload == name, (name, result)
        assert getattr(result, measured) > 0
        assert result.connect_ms is None and result.udp_loss is None, "what was not measured is not there"
    missing = guest.run("download", path="/nothere")
    assert not missing.ok and missing.error.startswith("wget: status") and missing.bytes is None
    unknown = guest.run("download", host="nowhere.lab")
    assert not unknown.ok and unknown.error == "dns: nowhere.lab: no address"
    with pytest.raises(al.UsageError, match="busybox in the guest cannot run voip: it has no program that sends"):
        guest.run("voip")
    with pytest.raises(al.UsageError, match="workload download takes size, .*, not 'colour'"):
        guest.run("download", colour="red")
    with pytest.raises(al.UsageError, match="a command takes no size"):
        guest.run("ls", size=3)
    with pytest.raises(al.AeroLabError, match="not done within 0.2 s"):
        guest.run("download", size="500MB", timeout=0.2)
    assert guest.sh("echo still here").output == "still here\n"


def test_nothing_is_left_behind(needs_qemu):
    before, threads = qemus(), readers()
    lab = al.Lab(progress=False)
    guest = lab.guest("qemu", nic="virtio-net")
    assert len(qemus() - before) == 1
    lab.close()
    wait(lambda: qemus() == before, "QEMU is still there")
    wait(lambda: readers() == threads, "its thread is")
    with pytest.raises(al.AeroLabError, match="closed"):
        guest.sh("true")
    forgotten = open_qemu(nic="virtio-net", netdev="user")
    wait(lambda: len(qemus() - before) == 1, "QEMU was not started")
    del forgotten
    gc.collect()
    wait(lambda: qemus() == before, "QEMU of a forgotten guest is still there")


def test_a_guest_that_does_not_come_up_says_why(needs_qemu):
    with pytest.raises(BootFailed, match="not within 0.1 s"):
        with open_qemu(nic="virtio-net", netdev="user") as guest:
            guest.boot(0.1)
    with open_qemu(nic="e1000", netdev="nonsense") as guest:
        with pytest.raises(BootFailed, match="QEMU ended: .*nonsense"):
            guest.boot()
    with open_qemu(nic="virtio-net", netdev="user") as guest:
        guest.boot()
        guest.type("poweroff -f\n")
        # Without ACPI the PC stays on; QEMU is ended instead, as a guest that crashed would.
        guest.machine.qmp.execute("quit")
        wait(lambda: guest.machine.ended, "QEMU did not end")
        with pytest.raises(al.AeroLabError, match="the machine has stopped"):
            guest.run("true")


OWNER = """
import aero_lab as al
lab = al.Lab(progress=False)
guest = lab.guest("qemu", nic="virtio-net")
print(guest._host.machine.pid, flush=True)
input()
"""


def test_a_killed_owner_leaves_no_qemu(needs_qemu):
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    watcher = int(owner.stdout.readline())
    children = Path(f"/proc/{watcher}/task/{watcher}/children")
    pids = [watcher, *map(int, children.read_text().split())] if children.exists() else [watcher]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    wait(lambda: not any(alive(pid) for pid in pids), "QEMU outlived its owner")
    for pipe in (owner.stdin, owner.stdout):
        pipe.close()  # type: ignore[union-attr]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("nic", NICS)
def test_all_of_it_over_websocket(nic, needs_qemu):
    """100 MB each way, 10,000 connections, everything else, and the driver has nothing to say."""
    with al.Lab(transport="websocket", capture=False, progress=False) as lab:
        guest = lab.guest("qemu", nic=nic)
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
        print(nic, f"{time.monotonic() - started:.0f} s in all")
