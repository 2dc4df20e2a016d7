"""The lab in real and in virtual time: real sockets, services under .lab, interrupts, two labs, nothing left behind."""

from __future__ import annotations

import _thread
import ast
import gc
import os
import socket
import subprocess
import sys
import threading

import pytest

from aero_lab.engine import EngineStopped, TimedOut
from aero_lab.errors import UsageError
from aero_lab.lab import Lab


@pytest.fixture(scope="module")
def real():
    with Lab() as lab:
        guest = lab.guest("scripted", profile="linux")
        guest.wait_online()
        yield lab, guest


@pytest.fixture
def virtual():
    with Lab(virtual=True, link="rtt=20ms") as lab:
        yield lab, lab.guest("scripted", profile="linux")


def descriptors():
    return len(os.listdir("/dev/fd"))


def test_download_and_upload_over_real_sockets(real):
    lab, guest = real
    for workload in ("download", "upload"):
        result = guest.run(workload, size="3MB", timeout=120)
        assert (result.ok, result.digest_ok, result.bytes) == (True, True, 3_000_000), result
    flows = [row for row in lab.flows if row["protocol"] == "tcp"]
    assert [row["name"] for row in flows[:2]] == ["files.lab", "files.lab"]
    assert flows[0]["bytes_down"] > 3_000_000 and flows[1]["bytes_up"] > 3_000_000


@pytest.mark.slow
def test_100_mib_each_way_arrive_byte_for_byte():
    with Lab(capture=False) as lab:
        guest = lab.guest("scripted", profile="linux")
        for workload in ("download", "upload"):
            result = guest.run(workload, size="100MiB", timeout=300)
            assert (result.ok, result.digest_ok, result.bytes) == (True, True, 100 << 20), result


def test_services_of_the_lab_answer(real):
    _, guest = real
    for workload, parameters in (("ping", {"count": 2}), ("dns", {"count": 4}), ("rr", {"count": 20})):
        result = guest.run(workload, timeout=60, **parameters)
        assert result.ok, result


def test_flows_and_capture_show_themselves(real):
    lab, guest = real
    guest.run("download", size="64KB", timeout=60)
    assert "files.lab" in lab.flows._repr_html_() and "files.lab" in repr(lab.flows)
    assert set(lab.flows.frame().columns) >= {"guest_name", "target", "state", "bytes_up", "bytes_down", "reason"}
    assert "option" in lab._repr_html_() and guest.address in repr(guest)
    frames = lab.capture.frames()
    assert set(frames["point"].unique()) == {"nic", "tunnel"}
    assert guest.tunnel["frames_wrapped"] > 0 and guest.counters["dhcp.request"] >= 1


def test_each_frame_is_seen_at_both_points_once(virtual):
    lab, guest = virtual
    guest.run("download", size="100KB")
    lab.advance(1)
    frames = lab.capture.frames()
    for direction in ("tx", "rx"):
        at = {p: frames[(frames["point"] == p) & (frames["direction"] == direction)] for p in ("nic", "tunnel")}
        assert sorted(at["nic"]["frame_id"]) == sorted(at["tunnel"]["frame_id"])
        assert at["nic"]["frame_id"].is_unique
    delays = frames["tunnel_delay"].dropna()
    assert len(delays) == len(frames) // 2 and (delays == 10_000_000).all()


def test_virtual_time_is_exact(virtual):
    lab, guest = virtual
    assert guest.wait_online() == "10.0.2.15"
    assert lab.now == 40_000_000, "DHCP is two round trips of 20 ms"
    result = guest.run("download", size="1000")
    assert result.ok and result.connect_ms == 20.0
    assert len(lab.guests) == 1 and lab.guests[0] is guest


def test_windows_guest_thinks_it_is_online(virtual):
    lab, _ = virtual
    guest = lab.guest("scripted", profile="windows7")
    lab.advance(60)
    assert guest.awareness == "internet" and guest.profile == "windows7"


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    files = []
    for seed in (1, 1, 2):
        with Lab(virtual=True, seed=seed, link="rtt=20ms, loss=2%, reorder=2%, duplicate=1%, corrupt=0.5%") as lab:
            guest = lab.guest("scripted", profile="windows7")
            assert guest.run("download", size="300KB").ok
            files.append(lab.capture.save(tmp_path / f"{len(files)}.pcapng").read_bytes())
    assert files[0] == files[1] != files[2]


def test_two_labs_beside_each_other(real):
    _, first = real
    with Lab(seed=2) as lab:
        second = lab.guest("scripted", profile="linux")
        a = second.run("download", size="200KB", timeout=60)
        b = first.run("download", size="200KB", timeout=60)
    assert a.ok and b.ok
    assert first.run("download", size="1000", timeout=60).ok, "closing one leaves the other alone"


def test_two_guests_have_networks_of_their_own(virtual):
    lab, first = virtual
    second = lab.guest("scripted", profile="linux", name="other")
    assert first.run("download", size="10KB").ok and second.run("download", size="10KB").ok
    assert first.mac != second.mac and first.address == second.address == "10.0.2.15"
    assert {row["guest_name"] for row in lab.flows} == {"guest1", "other"}


def test_an_interrupt_leaves_the_lab_usable(real):
    _, guest = real
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        guest.run("voip", duration=30.0)
    timer.join()
    assert guest.run("download", size="10KB", timeout=60).ok


def test_a_timeout_says_so(virtual):
    _, guest = virtual
    with pytest.raises(TimedOut, match="not done within 0.05 s of virtual time"):
        guest.run("download", size="10MB", timeout=0.05)
    assert guest.run("download", size="10KB").ok


def test_nothing_is_left_behind():
    Lab().close()
    gc.collect()
    threads, before = set(threading.enumerate()), descriptors()
    for _ in range(2):
        with Lab() as lab:
            guest = lab.guest("scripted", profile="linux")
            assert guest.run("download", size="100KB", timeout=60).ok
    forgotten = Lab()
    forgotten.guest("scripted")
    del forgotten
    gc.collect()
    assert set(threading.enumerate()) == threads
    assert descriptors() == before
    with pytest.raises(EngineStopped):
        guest.run("ping", timeout=5)
    assert "closed" in repr(lab)


def test_a_process_ends_although_its_lab_was_never_closed():
    program = (
        "import aero_lab as al\n"
        "lab = al.Lab(progress=False)\n"
        "print(lab.guest('scripted').run('download', size='10KB', timeout=60).ok, sum(lab.services.values()) > 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True True", "")


@pytest.mark.parametrize("virtual", [True, False])
def test_ipv6_is_on_unless_it_is_turned_off(virtual):
    with Lab(virtual=virtual) as lab:
        guest = lab.guest(profile="linux")
        assert guest.run("download", size="100kB", family=6, timeout=60).ok
        assert guest.address6.startswith("fd00:aee0::")
        assert lab.flows.rows()[-1]["target"] == "[2001:db8:113::10]:80"
    for settings in ({"ipv6": False}, {"mtu": 1000}):
        with Lab(virtual=True, **settings) as lab:
            guest = lab.guest(profile="linux")
            assert guest.run("download", size="10kB").ok
            lab.advance(30)
            assert guest.address6 is None


def test_sockets_listen_on_loopback_only():
    code = (
        "import aero_lab as al, psutil\n"
        "lab = al.Lab(progress=False)\n"
        "me = psutil.Process()\n"
        "print({c.laddr.ip for c in me.net_connections() if c.laddr})\n"
    )
    pytest.importorskip("psutil")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    found = ast.literal_eval(done.stdout)
    assert "127.0.0.1" in found and found <= {"127.0.0.1", "::1"}, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mtu": 100}, "mtu must be 576 to 65520, not 100"),
        ({"option": "Z"}, "option 'Z' does not exist"),
        ({"link": "fast"}, "a link is written like"),
        ({"link": 3}, "a link is a Link or text such as 'rtt=40ms, loss=1%', not 3"),
        ({"mtu": "large"}, "mtu must be 576 to 65520, not 'large'"),
        ({"transport_settings": 3}, "transport_settings must be names and values, not 3"),
    ],
)
def test_wrong_arguments_name_themselves(arguments, message):
    with pytest.raises(UsageError, match=message):
        Lab(virtual=True, **arguments)


def test_wrong_guests_and_workloads_name_themselves(virtual):
    lab, guest = virtual
    with pytest.raises(UsageError, match="guest 'cray' does not exist"):
        lab.guest("cray")
    with pytest.raises(UsageError, match="profile must be one of"):
        lab.guest("scripted", profile="beos")
    with pytest.raises(UsageError, match="workload must be one of"):
        guest.run("mine-bitcoin")
    with pytest.raises(UsageError, match="takes .*, not 'colour'"):
        guest.run("download", colour="blue")
    with pytest.raises(UsageError, match="not a size"):
        guest.run("download", size="10 furlongs")


@pytest.mark.parametrize("mtu", [576, 1280, 9000, 65520])
def test_mtu_from_the_least_to_the_most(mtu):
    with Lab(virtual=True, mtu=mtu, link="rtt=2ms") as lab:
        guest = lab.guest("scripted", profile="linux")
        assert guest.run("download", size="300KB").ok
        assert guest.run("upload", size="300KB").ok
        frames = lab.capture.frames()
    assert frames["frame_len"].max() <= mtu + 14
    assert frames["frame_len"].max() > mtu - 100 or mtu > 60000


def test_a_forward_leads_from_this_machine_to_a_guest(real):
    lab, guest = real

    def serve(host):
        sock = host.udp_socket(5353)
        question = yield from sock.receive()
        yield from sock.send(question.source, question.port, question.payload.upper())
        sock.close()

    with lab.forward(guest.name, 5353, protocol="udp") as forward, socket.socket(type=socket.SOCK_DGRAM) as peer:
        assert forward.host == "127.0.0.1" and "-> guest1:5353, open" in repr(forward)
        peer.settimeout(0.5)
        peer.connect((forward.host, forward.port))
        answer = threading.Thread(target=lambda: guest.do(serve, timeout=20))
        answer.start()
        heard = None
        for _ in range(40):  # the first may come before the guest listens
            peer.send(b"hello")
            try:
                heard = peer.recv(100)
                break
            except TimeoutError:
                continue
        assert heard == b"HELLO"
        answer.join()
    row = [row for row in lab.flows if row["direction"] == "in"][-1]
    assert (row["protocol"], row["guest"], row["reason"]) == ("udp", f"{guest.address}:5353", "closed")
    with lab.forward(guest, 81) as forward, socket.create_connection((forward.host, forward.port)) as peer:
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    forward.close()
    assert "closed" in repr(forward) and "in" in repr(lab.flows)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((forward.host, forward.port))


@pytest.mark.parametrize(
    ("guest", "options", "complaint"),
    [
        ("nobody", {}, "no guest 'nobody' in this lab; there is guest1"),
        ("guest1", {"protocol": "sctp"}, "a forward is for tcp or udp"),
        ("guest1", {"host": "localhost"}, "not an IP address"),
        ("guest1", {"host_port": 70000}, "must be 0 to 65535"),
    ],
)
def test_wrong_forwards_are_one_line(real, guest, options, complaint):
    with pytest.raises(UsageError, match=complaint):
        real[0].forward(guest, 80, **options)


def test_virtual_time_has_no_host_to_forward_from(virtual):
    with pytest.raises(UsageError, match="forwards are for real time"):
        virtual[0].forward(virtual[1], 80)


def test_an_unknown_ack_policy_is_one_line():
    with pytest.raises(UsageError, match="ack_policy must be one of early, mirror, not 'never'"):
        Lab(virtual=True, ack_policy="never")
