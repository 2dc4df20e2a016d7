"""``compare`` with Debian as the guest, on the emulated PC and under QEMU: the same rows as of any other."""

from __future__ import annotations

import shutil

import pytest

import aero_lab as al
from aero_lab.experiment.compare import compare
from aero_lab.experiment.plan import EVERY_OPTION, TRANSPORTS, usual_workloads
from aero_lab.experiment.table import Table

pytestmark = pytest.mark.usefixtures("plain_image")
SMALL = {"download": {"size": 100_000}, "rr": {"count": 10}}


def check(table: Table, guest: str) -> None:
    assert table.ok, [(run.label, run.transport, run.error) for run in table.runs if not run.ok]
    for run in table.runs:
        assert (run.guest, run.nic) == (guest, "e1000") and run.messages_up and run.messages_down
        if run.workload == "download":
            assert run.digest_ok and run.bytes == 100_000 and run.goodput_mbps
        else:
            assert run.request_ms is not None and run.connect_ms is None, "what busybox does not tell is not measured"
        assert (run.client_cpu_us_per_mb is None) == (run.mode == "virtual")


def test_in_virtual_time():
    table = compare("AC", guest="linux", virtual=True, parameters=SMALL["download"], link="rtt=10ms", progress=False)
    check(table, "linux")
    assert len(table.runs) == 2 and all((run.seconds or 0) >= 0.02 for run in table.runs)


def test_what_is_sent_twice_without_loss_is_a_tail_loss_probe():
    with al.Lab(virtual=True, option="C", progress=False) as lab:
        guest = lab.guest("linux", progress=False)
        guest.wait_online()
        assert guest.run("download", size=100_000).digest_ok
        counted = guest.counters
    assert counted["stack.timeouts"] == counted["stack.fast-recoveries"] == 0, "nothing is taken for lost"
    assert counted["stack.retransmissions"] <= counted["stack.tail-loss-probes"]
    assert counted["stack.segments-out"] > 60


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("virtual", [True, False])
def test_every_cell(virtual):
    names = usual_workloads("linux")
    assert names == ["download", "rr"], "busybox has no program for datagrams at a rate"
    table = compare(
        EVERY_OPTION, TRANSPORTS, names, guest="linux", virtual=virtual, parameters=SMALL, progress=False
    )  # fmt: skip
    check(table, "linux")
    # Of twenty, those with sockets of their own are there over WebSocket alone, and A needs order.
    assert len(table.runs) == 14 * 2 and len(table.left_out) == 6


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.root
@pytest.mark.skipif(shutil.which("qemu-system-i386") is None, reason="needs qemu-system-i386")
@pytest.mark.parametrize("transport", ["memory", "websocket", "webrtc"])
def test_under_qemu(transport):
    table = compare("ABC", [transport], usual_workloads("qemu"), guest="qemu", parameters=SMALL, progress=False)
    check(table, "qemu")
    assert len(table.runs) == 6
