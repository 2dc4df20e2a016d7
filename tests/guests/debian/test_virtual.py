"""Debian in virtual time: machine, network card, link, network and far end advance together, the same every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import aero_lab as al
from aero_lab.guests.linux.session import NoAnswer
from aero_lab.nic.models import MODELS
from aero_lab.services.content import content_bytes
from tests.lab.test_fork import can_change, hanging_on

NICS = [model for model in ("e1000", "virtio-net") if find_spec(MODELS[model].partition(":")[0])]
pytestmark = pytest.mark.usefixtures("plain_image")


@pytest.fixture(params=NICS)
def nic(request):
    return request.param


def plugged(nic, **options) -> tuple[al.Lab, Any]:
    lab = al.Lab(virtual=True, seed=3, progress=False, **options)
    return lab, lab.guest("linux", nic=nic, progress=False)


def written(lab, folder) -> bytes:
    return lab.capture.save(folder / "capture.pcapng").read_bytes()


@pytest.mark.timeout(900)
def test_two_processes_that_boot_and_download_write_the_same_captures(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    running = []
    for folder in folders:
        folder.mkdir()
        command = [sys.executable, "-m", "tests.guests.debian.virtual_run", str(folder), *NICS]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    told = []
    for each in running:
        out, error = each.communicate(timeout=800)
        assert each.returncode == 0, error
        told.append(out)
    assert told[0] == told[1]
    digest = hashlib.md5(content_bytes(500_000)).hexdigest()
    assert told[0].count(digest) == 2 * len(NICS) == 2 * told[0].count("10.0.2.15")
    seen = set()
    for name in (f"{nic}{kind}.pcapng" for nic in NICS for kind in ("", "-lossy")):
        captures = [(folder / name).read_bytes() for folder in folders]
        assert len(captures[0]) > 1_000_000 and captures[0] == captures[1], name
        seen.add(captures[0])
    assert len(seen) == 2 * len(NICS)


def test_a_bench_with_a_real_kernel_forks_in_the_middle_of_a_download(tmp_path, nic):
    lab, guest = plugged(nic, link="rtt=10ms, loss=0.5%")
    with lab:
        guest.run("(wget -q -O - http://files.lab/1MB | md5sum > /tmp/sum) &")
        for _ in range(200):
            lab.advance(0.02)
            if guest.tunnel["bytes_received"] > 150_000:
                break
        assert guest.tunnel["bytes_received"] < 900_000
        fork, slow = lab.fork(), lab.fork(link="rtt=100ms")
        lab.save(tmp_path / "x.bench")
        loaded = al.Lab.load(tmp_path / "x.bench", progress=False)
        captures, pings, sums = [], [], set()
        for each in (slow, lab, loaded, fork):
            each.advance(4 - each.now / 1e9)
            own = each.guests[0]
            sums.add(own.run("cat /tmp/sum").output.split()[0])
            pings.append(float(own.run("ping -c 1 files.lab").output.split("min/avg/max = ")[1].split("/")[0]))
            captures.append(written(each, tmp_path))
        assert sums == {hashlib.md5(content_bytes(1_000_000)).hexdigest()}
        assert captures[1] == captures[2] == captures[3] != captures[0]
        assert pings == pytest.approx([100, 10, 10, 10], abs=1)
        # What one does from here is nobody else's affair.
        fork.guests[0].run("echo changed > /tmp/sum; ip link set eth0 down")
        assert guest.run("cat /tmp/sum; cat /sys/class/net/eth0/operstate").output.split()[-1] == "up"
        for each in (fork, slow, loaded):
            each.close()


def test_a_fork_of_a_machine_shares_nothing_that_can_change(nic):
    lab, guest = plugged(nic)
    with lab:
        guest.run("ping -c 1 files.lab").check()
        guest.run("(ping -c 100 files.lab > /tmp/pings) &")
        lab.advance(0.2)
        fork = lab.fork()
        seen, other = hanging_on(vars(lab), lab._engine), hanging_on(vars(fork), fork._engine)
        shared = [each for identity, each in seen.items() if identity in other and can_change(each)]
        assert [f"{type(each)}: {each!r:.80}" for each in shared] == []
        memory, copies = ([each for each in held.values() if isinstance(each, np.ndarray)] for held in (seen, other))
        assert any(each is guest.machine.ram for each in memory) and len(copies) > 40
        assert not any(np.may_share_memory(one, two) for one in memory for two in copies if one.size and two.size)
        fork.close()


def test_machines_and_scripted_guests_share_a_lab(tmp_path):
    lab, guest = plugged(NICS[0])
    with lab:
        scripted, bare = lab.guest(), lab.guest("linux", nic=None, progress=False)
        other = lab.guest("linux", nic=NICS[-1], progress=False)
        assert scripted.run("download", size=50_000).ok
        assert guest.run("download", size=50_000).digest_ok and other.run("download", size=50_000).digest_ok
        assert bare.run("cat /proc/net/dev | wc -l").output.strip() == "3"
        before = lab.now
        uptime = float(bare.run("cut -d' ' -f1 /proc/uptime").output)
        lab.advance(5)
        assert lab.now - before == pytest.approx(5e9, rel=0.02)
        assert float(bare.run("cut -d' ' -f1 /proc/uptime").output) - uptime == pytest.approx(5, abs=0.1)
        runs = bare._host.cable.runs
        guest.run("ping -c 3 10.0.2.2").check()
        assert bare._host.cable.runs - runs < 60  # asleep, but for its own clock
        table = lab.capture.frames()
        assert table.frame_time.is_monotonic_increasing


def test_a_command_that_takes_too_long_is_ended_by_the_virtual_clock():
    lab, guest = plugged(NICS[0])
    with lab:
        before = lab.now
        with pytest.raises(NoAnswer):
            guest.run("sleep 1000", timeout=3)
        assert 3e9 <= lab.now - before < 6e9
        assert guest.run("echo again").output == "again\n"
        lab.advance(20)
        with pytest.raises(NoAnswer, match="stopped"):
            guest.run("echo b > /proc/sysrq-trigger; echo o > /proc/sysrq-trigger; sleep 100")
        assert lab.guest().run("ping", count=1).ok


def test_the_cable_is_pulled_and_plugged_in_in_virtual_time(nic):
    lab, guest = plugged(nic)
    with lab:
        guest.set_link(False)
        lab.advance(3)
        assert guest.run("cat /sys/class/net/eth0/carrier").output.strip() == "0"
        guest.set_link(True)
        lab.advance(5)
        assert guest.run("cat /sys/class/net/eth0/carrier").output.strip() == "1"
        guest.relink()
        lab.advance(4)
        assert guest.run("ping -c 2 10.0.2.2").check().status == 0
