"""The tap guest in a lab: a real kernel's TCP/IP against the gateway, over memory."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading

import pytest

from aero_lab.engine import EngineStopped, TimedOut
from aero_lab.errors import AeroLabError, UsageError
from aero_lab.lab import Lab

from .tap import needs_tap, unquiet  # noqa: F401

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("needs_tap")]


@pytest.fixture(scope="module")
def lab():
    with Lab(capture_bytes=64 << 20) as made:
        yield made


@pytest.fixture
def guest(lab):
    return lab.guests[0] if lab.guests else lab.guest("tap")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("download", {"size": "3MB"}),
        ("upload", {"size": "3MB"}),
        ("parallel", {"flows": 8, "size": "300KB", "direction": "both"}),
        ("rr", {"count": 50}),
        ("burst", {"count": 100}),
        ("sink", {"size": "1MB"}),
        ("udp-echo", {"count": 20}),
        ("voip", {"duration": 0.2}),
        ("game", {"duration": 0.2}),
    ],
)
def test_workloads(guest, name, parameters):
    before = guest.kernel_counters()
    result = guest.run(name, timeout=60, **parameters)
    assert (result.ok, result.error, result.workload) == (True, None, name)
    assert result.digest_ok is (None if name in ("sink", "udp-echo", "voip", "game") else True)
    assert result.bytes > 0 and result.seconds > 0 and result.goodput_mbps > 0
    assert unquiet(before, guest.kernel_counters()) == {}, "nothing was lost, reordered, reset or stalled"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("download", {"size": "2MB"}), ("upload", {"size": "2MB"}), ("burst", {"count": 50}), ("udp-echo", {"count": 10})],
)
def test_workloads_over_ipv6(lab, guest, name, parameters):
    address = guest.wait_online(20, family=6)
    assert address == guest.address6 and address.startswith("fd")
    before = guest.kernel_counters()
    result = guest.run(name, timeout=60, family=6, **parameters)
    assert (result.ok, result.error) == (True, None)
    assert unquiet(before, guest.kernel_counters()) == {}, "nothing was lost, reordered, reset or stalled"
    assert list(lab.flows)[-1]["guest"].startswith(f"[{address}]:")


def test_the_source_is_left_by_a_reset(lab, guest):
    result = guest.run("source", size="2MB", timeout=60)
    assert (result.ok, result.digest_ok, result.bytes) == (True, True, 2_000_000)
    assert [row["reason"] for row in lab.flows if row["name"] == "source.lab"] == ["reset-by-guest"]


def test_failures_end_in_the_result(guest):
    for parameters, error in (
        ({"host": "nowhere.lab"}, "dns: nowhere.lab"),
        ({"host": "files.lab", "port": 81}, "refused: "),
        ({"path": "/nothing"}, "http-status: 404"),
    ):
        result = guest.run("download", timeout=60, **parameters)
        assert not result.ok and result.error.startswith(error), result.error


def test_wrong_names_and_values_are_one_line(lab, guest):
    for arguments, message in (
        ({"workload": "mine-bitcoin"}, "must be one of"),
        ({"workload": "download", "colour": "blue"}, "takes size, host, port, path, family, not 'colour'"),
        ({"workload": "download", "size": "10 furlongs"}, "not a size"),
        ({"workload": ["no-such-program"]}, "command not found"),
    ):
        with pytest.raises(UsageError, match=message):
            guest.run(**arguments)
    for options, message in (
        ({"mtu": 9000}, "more than the 1500 of its network"),
        ({"mtu": 100}, "mtu must be"),
        ({"addresses": "magic"}, "addresses must be one of"),
        ({"profile": "linux"}, "profile= is of scripted guests"),
    ):
        with pytest.raises(UsageError, match=message):
            lab.guest("tap", **options)
    with Lab(virtual=True) as virtual, pytest.raises(UsageError, match="real time"):
        virtual.guest("tap")


def test_programs_resolve_by_the_lab_dns(lab, guest):
    code = "import socket; print(socket.gethostbyname('files.lab'))"
    assert guest.run(["python3", "-c", code]).stdout.strip() == "203.0.113.10"
    assert guest.address == "10.0.2.15" and guest.mode in ("root", "user") and guest.kind == "tap"
    assert guest.address in repr(guest) and "TAP" in repr(guest)


def test_a_timeout_and_a_fresh_start(guest):
    with pytest.raises(TimedOut, match=r"not done within 0\.5 s"):
        guest.run("voip", duration=30.0, timeout=0.5)
    with pytest.raises(subprocess.TimeoutExpired):
        guest.run(["sleep", "100"], timeout=0.2)
    assert guest.run("download", size="10KB", timeout=60).ok


def test_dhcp_gives_the_same_as_static(lab, guest):
    asking = lab.guest("tap", addresses="dhcp", name="asking")
    assert asking.wait_online() == guest.wait_online() == "10.0.2.15"
    files = ["/proc/net/route", "/etc/resolv.conf"]
    assert asking.run(["cat", *files]).stdout == guest.run(["cat", *files]).stdout
    counters = asking.counters
    assert (counters["dhcp.discover"], counters["dhcp.request"]) == (1, 1)
    assert asking.run("download", size="100KB", timeout=60).ok
    assert asking.mac != guest.mac


def test_a_server_of_ones_own_on_this_machine():
    with Lab() as own, socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        address = own.open_port(port)
        guest = own.guest("tap")
        code = f"import socket; socket.create_connection(('{address}', {port})).sendall(b'through')"
        running = guest.spawn([sys.executable, "-c", code])
        listener.settimeout(20)
        with listener.accept()[0] as connection:
            assert connection.recv(100, socket.MSG_WAITALL) == b"through"
        assert running.wait(10) == 0
        for wrong in (0, 65536):
            with pytest.raises(UsageError, match="a port is"):
                own.open_port(wrong)
    with Lab(virtual=True) as virtual, pytest.raises(UsageError, match="real time"):
        virtual.open_port(80)


def test_two_guests_and_a_scripted_one_beside_them(lab):
    one, other, scripted = lab.guest("tap"), lab.guest("tap", mtu=1280), lab.guest("scripted")
    results = []
    threads = [
        threading.Thread(target=lambda g=g: results.append(g.run("download", size="2MB", timeout=60)))
        for g in (one, other, scripted)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.ok for r in results] == [True] * 3


def test_frames_are_captured_at_both_ends_of_the_tunnel(lab, guest):
    lab.capture.clear()
    guest.run("download", size="100KB", timeout=60)
    frames = lab.capture.frames()
    frames = frames[(frames["direction"] == "tx") & (frames["eth_src"] == guest.mac)]
    at = {point: frames[frames["point"] == point] for point in ("nic", "tunnel")}
    assert len(at["nic"]) > 3 and at["nic"]["frame_id"].is_unique
    assert sorted(at["nic"]["frame_id"]) == sorted(at["tunnel"]["frame_id"])
    assert (at["tunnel"]["tunnel_delay"].dropna() >= 0).all() and at["tunnel"]["tunnel_delay"].notna().any()


@pytest.mark.parametrize("mtu", [576, 1280, 65520])
def test_mtu_from_the_least_to_the_most(mtu):
    with Lab(mtu=mtu) as lab:
        guest = lab.guest("tap", sysctls={"net.ipv4.tcp_timestamps": 0})
        for workload in ("download", "upload"):
            assert guest.run(workload, size="1MB", timeout=60).ok
        frames = lab.capture.frames()
        assert mtu - 100 < frames["frame_len"].max() <= mtu + 14 or mtu > 60000
        assert frames["frame_len"].max() <= mtu + 14
        assert guest.run(["cat", "/proc/sys/net/ipv4/tcp_timestamps"]).stdout == "0\n"


def test_over_a_link_that_loses():
    with Lab(link="rtt=4ms, loss=1%") as lab:
        guest = lab.guest("tap")
        for workload in ("download", "upload"):
            result = guest.run(workload, size="1MB", timeout=60)
            assert (result.ok, result.digest_ok) == (True, True), result.error
        assert all(side["lost"] > 0 for side in guest.link.values())


def test_a_cable_that_was_pulled_and_plugged_in_again(lab):
    guest = lab.guest("tap")
    address = guest.wait_online(20, family=6)
    lab.capture.clear()
    guest.relink()
    assert guest.run("download", size="10KB", timeout=60).ok
    assert guest.wait_online(20, family=6) == address
    assert guest.run("download", size="10KB", timeout=60, family=6).ok
    frames = lab.capture.frames()
    asked = frames[(frames["eth_src"] == guest.mac) & (frames["icmp_type"] == 133)]
    assert len(asked), "the kernel asks for a router again"


def test_nothing_is_left_behind():
    def state():
        return set(threading.enumerate()), len(os.listdir("/proc/self/fd"))

    Lab().close()
    gc.collect()
    before = state()
    with Lab() as lab:
        guest = lab.guest("tap")
        helper = guest._host.namespace.pid
        running = guest.spawn(["sleep", "1000"])
        assert guest.run("download", size="10KB", timeout=60).ok
    assert running.wait(5) == -9
    assert not os.path.exists(f"/proc/{helper}")
    del running
    gc.collect()
    assert state() == before
    with pytest.raises(AeroLabError):
        guest.run("download", timeout=5)
    with pytest.raises(EngineStopped):
        _ = guest.counters


def test_a_frame_that_the_kernel_refuses_is_counted_and_the_next_one_goes():
    with Lab(capture=False) as lab:
        guest = lab.guest("tap")
        nic = guest._host.nic
        guest._call(lambda: nic.nic_rx.push(b"short"))
        assert guest.run("download", size="10KB", timeout=60).ok
        assert guest._call(lambda: nic.counters) == {"tap-EINVAL": 1}
