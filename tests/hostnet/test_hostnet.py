"""The host's kernel as a tunnel's far side: whole workloads through it, its rules, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from aero_lab import hostnet
from aero_lab.compiled.registry import PLAIN
from aero_lab.driver import Driver
from aero_lab.errors import UsageError
from aero_lab.experiment.cases import Case
from aero_lab.experiment.probe import probe
from aero_lab.experiment.real import run_real
from aero_lab.hostnet import namespace as module
from aero_lab.hostnet import stack as stack_module
from aero_lab.hostnet.namespace import RouterNamespace
from aero_lab.lab import Lab
from aero_lab.lan import LanConfig
from aero_lab.lan.config import GATEWAY6
from aero_lab.server.config import ServerConfig
from aero_lab.services.content import content_bytes

from ..server.test_process import Process, echo_server

cannot = functools.cache(hostnet.why_not)
PATIENCE = 60


@pytest.fixture(autouse=True)
def needs_kernel():
    if PLAIN:
        pytest.skip("the kernel's timers do not wait for interpreted kernels; this runs in compiled mode")
    if why := cannot():
        pytest.skip(why)


def identity(namespace: RouterNamespace) -> str:
    """What the system calls the network namespace."""
    return namespace.run(["readlink", "/proc/self/ns/net"]).strip()


def lived_in(name: str) -> bool:
    """Whether any process of this host is in that namespace."""
    for each in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if os.readlink(each) == name:
                return True
        except OSError:
            continue
    return False


def eventually(condition, patience: float = 30) -> bool:
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def made(guest) -> RouterNamespace:
    assert eventually(lambda: guest.lan.stack.namespace is not None)
    return guest.lan.stack.namespace


WORK = (
    ("download", {"size": "3MB"}),
    ("upload", {"size": "3MB"}),
    ("parallel", {"flows": 6, "size": "300KB", "direction": "both"}),
    ("source", {"size": "500KB"}),
    ("sink", {"size": "500KB"}),
    ("rr", {"count": 30}),
    ("burst", {"count": 40}),
)


@pytest.mark.parametrize(("option", "interface"), [("B", "tun"), ("C", "tap")])
def test_workloads_pass_and_nothing_stays(option, interface):
    with Lab(option=option, far="kernel") as lab:
        guest = lab.guest()
        guest.wait_online(PATIENCE)
        inside = made(guest)
        name = identity(inside)
        assert f"tun type {interface} " in inside.run(["ip", "-details", "link", "show", "guest0"])
        assert os.readlink("/proc/self/ns/net") != name, "never in the namespace that everybody is in"
        for workload, parameters in WORK:
            result = guest.run(workload, timeout=PATIENCE, **parameters)
            assert (result.ok, result.error) == (True, None), workload
            assert result.digest_ok in (True, None), workload
        result = guest.run("udp-echo", count=30, timeout=PATIENCE)
        assert (result.ok, result.udp_loss) == (True, 0)
        for family in (4, 6):
            result = guest.run("download", size="200KB", family=family, timeout=PATIENCE)
            assert (result.ok, result.digest_ok) == (True, True), family
        counters = guest.counters
        assert counters["stack.kernel-accepted"] >= 50, "the kernel has ended every connection"
        assert counters["stack.datagrams-in"] >= 30, "and has passed the datagrams on"
        flows = [row for row in lab.flows if row["protocol"] == "tcp"]
        assert any(row["target"] == "203.0.113.10:80" and row["guest"].startswith("10.0.2.15:") for row in flows)
        udp = next(row for row in lab.flows if row["protocol"] == "udp")
        assert udp["guest"].startswith("198.18.255.1:"), "masqueraded"
        assert set(lab.capture.frames()["point"]) == {"nic", "tunnel"}
    assert eventually(lambda: not lived_in(name)), "the namespace is gone"


@pytest.mark.parametrize(("option", "transport"), [("B", "websocket"), ("C", "webrtc")])
def test_over_real_transports(option, transport):
    if transport == "webrtc":
        pytest.importorskip("aiortc")
    size = "300KB" if transport == "webrtc" else "3MB"
    with Lab(option=option, transport=transport, far="kernel") as lab:
        guest = lab.guest()
        guest.wait_online(PATIENCE)
        for workload in ("download", "upload"):
            result = guest.run(workload, size=size, timeout=PATIENCE)
            assert (result.ok, result.error, result.digest_ok) == (True, None, True), workload
        name = identity(made(guest))
    assert eventually(lambda: not lived_in(name))


def test_guests_have_kernels_of_their_own():
    with Lab(option="C", far="kernel", capture=False) as lab:
        guests: list[Any] = [lab.guest() for _ in range(3)]
        for guest in guests:
            guest.wait_online(PATIENCE)
        assert len({identity(made(guest)) for guest in guests}) == 3
        pending = [guest.start("download", size="500KB") for guest in guests]
        for each in pending:
            assert each.wait(PATIENCE).digest_ok


@pytest.mark.root
def test_a_kernel_talks_to_a_kernel():
    with Lab(option="C", far="kernel", capture=False) as lab:
        guest: Any = lab.guest("tap", addresses="dhcp")
        guest.wait_online(PATIENCE)
        guest.wait_online(PATIENCE, family=6)
        for family in (4, 6):
            for workload in ("download", "upload"):
                result = guest.run(workload, size="8MiB", family=family, timeout=PATIENCE)
                assert (result.ok, result.error, result.digest_ok) == (True, None, True), (workload, family)
        answered = guest.run(["ping", "-c", "2", "-W", "10", "10.0.2.2"]).stdout
        assert " 0% packet loss" in answered
        big = guest.run("udp-echo", count=3, size=9000, timeout=PATIENCE)
        assert (big.ok, big.udp_loss) == (True, 0), "in fragments"


def test_what_the_policy_denies_is_refused_and_told():
    with Lab(option="B", far="kernel", capture=False) as lab:
        guest = lab.guest()
        guest.wait_online(PATIENCE)
        for host in ("192.168.7.7", "10.0.2.2", "169.254.169.254"):
            result = guest.run("download", host=host, size=1000, timeout=PATIENCE)
            assert not result.ok and "reset" in result.error, (host, result.error)
        reasons = {row["target"]: row["reason"] for row in lab.flows}
        assert reasons["192.168.7.7:80"] == "denied-private"
        assert reasons["10.0.2.2:80"] == "denied-gateway"
        assert reasons["169.254.169.254:80"].startswith("denied-")
        assert "denied" in set(lab.audit["kind"])
        assert guest.run("download", size=1000, timeout=PATIENCE).digest_ok


SERVE = (
    "import socket; s = socket.create_server(('', 7000)); u = socket.socket(type=socket.SOCK_DGRAM);"
    "u.bind(('', 7000)); print('up', flush=True);"
    "d, a = u.recvfrom(99); u.sendto(d + a[0].encode(), a);"
    "c, a = s.accept(); c.sendall(c.recv(99) + a[0].encode()); c.close()"
)


@pytest.mark.root
def test_programs_of_ones_own_are_reached_and_reach_the_guest():
    with echo_server() as port, Lab(option="C", far="kernel", capture=False) as lab:
        gateway = lab.open_port(port)
        guest: Any = lab.guest("tap")
        guest.wait_online(PATIENCE)
        code = f"import socket; s = socket.create_connection(({gateway!r}, {port})); s.send(b'hello'); print(s.recv(9))"
        assert guest.run([sys.executable, "-c", code]).stdout == "b'hello'\n"
        reader, writer = os.pipe()
        server = guest.spawn([sys.executable, "-c", SERVE], stdout=writer)
        os.close(writer)
        try:
            with os.fdopen(reader) as said:
                assert said.readline() == "up\n"
            with lab.forward(guest, 7000, protocol="udp") as forward, socket.socket(type=socket.SOCK_DGRAM) as peer:
                peer.settimeout(30)
                peer.connect((forward.host, forward.port))
                peer.send(b"hello ")
                assert peer.recv(99) == b"hello " + gateway.encode()
            with lab.forward(guest, 7000) as forward:
                with socket.create_connection((forward.host, forward.port), timeout=30) as peer:
                    peer.sendall(b"hello ")
                    assert peer.recv(99) == b"hello " + gateway.encode()
            with lab.forward(guest, 7001) as forward:
                with socket.create_connection((forward.host, forward.port), timeout=30) as peer:
                    with pytest.raises(ConnectionResetError):
                        peer.recv(9)
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait(20)


FAR = """
import hashlib, socket, struct, sys, time
lines = []
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
for _ in range(4):
    sock, _ = listener.accept()
    what = sock.recv(1)
    if what == b"u":  # takes nothing at first, then all, and answers when all is there
        time.sleep(1)
        digest = hashlib.sha256()
        while data := sock.recv(1 << 16):
            digest.update(data)
        sock.sendall(digest.digest())
    elif what == b"d":
        sock.sendall(bytes(range(256)) * (1 << 15))
    elif what == b"r":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif what == b"g":  # the guest resets
        try:
            while sock.recv(1 << 16):
                pass
            print("end", flush=True)
        except ConnectionResetError:
            print("reset", flush=True)
    sock.close()
"""
NEAR = """
import hashlib, socket, struct, sys, time
def connect(what):
    sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
    sock.sendall(what)
    return sock
whole = bytes(range(256)) * (1 << 15)
with connect(b"u") as sock:
    sock.sendall(whole)
    sock.shutdown(socket.SHUT_WR)
    print(sock.recv(99, socket.MSG_WAITALL) == hashlib.sha256(whole).digest())
with connect(b"d") as sock:
    time.sleep(1)
    got = b""
    while data := sock.recv(1 << 16):
        got += data
    print(got == whole)
with connect(b"r") as sock:
    try:
        print(sock.recv(9))
    except ConnectionResetError:
        print("reset")
with connect(b"g") as sock:
    sock.sendall(bytes(100_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""


@pytest.mark.root
def test_slow_sides_halves_and_resets():
    """8 MiB to one who does not take them yet, and back: all waits in windows. Ends and resets are passed on."""
    with subprocess.Popen([sys.executable, "-c", FAR], stdout=subprocess.PIPE, text=True) as far:
        assert far.stdout is not None
        try:
            port = int(far.stdout.readline())
            with Lab(option="C", far="kernel", capture=False) as lab:
                gateway = lab.open_port(port)
                guest: Any = lab.guest("tap")
                guest.wait_online(PATIENCE)
                said = guest.run([sys.executable, "-c", NEAR, gateway, str(port)], timeout=2 * PATIENCE)
                assert (said.stdout.split(), said.stderr) == (["True", "True", "reset"], "")
                assert far.stdout.readline() == "reset\n"
                assert eventually(lambda: all(row["reason"] for row in lab.flows))
                rows = [row for row in lab.flows if row["target"] == f"{gateway}:{port}"]
                reasons = [row["reason"] for row in rows]
                assert reasons == ["closed", "closed", "reset-by-far-side", "reset-by-guest"]
                assert (rows[0]["bytes_up"], rows[1]["bytes_down"]) == ((8 << 20) + 1, 8 << 20)
        finally:
            far.kill()


def test_nonsense_from_the_guest_does_no_harm():
    with Lab(option="C", far="kernel", capture=False) as lab:
        guest = lab.guest()
        guest.wait_online(PATIENCE)
        head = bytes.fromhex("020000000001 525400000001 0800")
        junk = [bytes(14), head + bytes(5), head + b"\xff" * 60, head + b"\x45" + bytes(40), bytes(1514)]
        some = content_bytes(300)
        junk += [head + b"\x45\0" + (20 + n).to_bytes(2, "big") + some[: 16 + n] for n in range(0, 60, 7)]
        lab.send(junk, guest)
        assert guest.run("download", size="200KB", timeout=PATIENCE).digest_ok
        assert guest.run("udp-echo", count=5, timeout=PATIENCE).udp_loss == 0


def family_of(pid: int) -> list[int]:
    """The descendants of a process."""
    found, at = [], [pid]
    while at:
        for task in Path(f"/proc/{at.pop()}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += children
            at += children
    return found


def test_the_proxy_process():
    with echo_server() as port:
        settings = {
            "AERO_L2_OPEN": "1",
            "AERO_L2_AUTH_MODE": "none",
            "AERO_L2_PROXY_LISTEN_ADDR": "127.0.0.1:0",
            "AERO_L2_TCP_FORWARD": f"203.0.113.10:{port}=127.0.0.1:{port}",
            "AERO_L2_DNS_A": "echo.local=203.0.113.10",
        }
        with Process("--far", "kernel", **settings) as process:
            url = process.listening()
            probe(url, origin=None, echo=f"echo.local:{port}", size=65536, dhcp=True, step_timeout=30)
            # The tunnel has gone, and with it all that it had.
            assert eventually(lambda: not family_of(process.child.pid))
            assert process.end() == 0


def test_the_namespace_ends_with_its_owner():
    code = (
        "import time\n"
        "from aero_lab.hostnet.namespace import RouterNamespace\n"
        "from aero_lab.lan import LanConfig\n"
        "made = RouterNamespace(LanConfig())\n"
        "print(made.run(['readlink', '/proc/self/ns/net']).strip(), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        name = owner.stdout.readline().strip()
        assert name.startswith("net:[") and lived_in(name)
        owner.kill()
    assert eventually(lambda: not lived_in(name))


def test_what_the_namespace_lets_pass():
    with RouterNamespace(LanConfig(gateway6=GATEWAY6)) as inside:
        rules = inside.run(["nft", "list", "ruleset"])
        assert "masquerade" in rules and "redirect to" in rules and rules.count("policy drop") == 2
        assert "default via 198.18.255.2 dev up0" in inside.run(["ip", "route"])
        links = [line for line in inside.run(["ip", "-o", "link"]).splitlines() if "UP" in line.split(">")[0]]
        assert [line.split(":")[1].strip() for line in links] == ["lo", "guest0", "up0"], "no way out"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"virtual": True}, "real time"),
        ({"ack_policy": "mirror"}, "ack_policy='mirror' cannot be"),
        ({"proxy_url": "ws://127.0.0.1:1/l2"}, "elsewhere"),
        ({"option": "A"}, "no setting 'far'"),
        ({"far": "moon"}, "far must be 'lan' or 'kernel'"),
    ],
)
def test_what_cannot_be_is_told(options, says):
    with pytest.raises(UsageError, match=says) as caught:
        Lab(**{"far": "kernel", **options}).close()
    assert "\n" not in str(caught.value)


def test_it_is_a_setting_of_measured_runs():
    """Client and proxy in processes of their own, as ``compare`` makes them."""
    case = Case(option="B", settings={"far": "kernel"}, virtual=False, parameters={"size": 500_000}, timeout=PATIENCE)
    run, capture = run_real(case)
    assert (run.ok, run.error, run.digest_ok, run.ack_policy) == (True, None, True, "early")
    assert run.proxy_cpu_us_per_mb is not None and capture is not None
    frames: Any = capture.frames()
    tunnel = frames[(frames["point"] == "tunnel") & (frames["frame_len"] > 0)]
    assert frames["tunnel_delay"].notna().sum() >= 0.98 * len(tunnel) > 300, "both ends know each packet"


def test_cases_tell_too():
    with pytest.raises(UsageError, match="real time"):
        Case(settings={"far": "kernel"}, virtual=True).check()
    Case(settings={"far": "kernel"}, virtual=False).check()


def test_what_is_missing_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name, path=None: None if name == "nft" else f"/sbin/{name}")
    assert hostnet.why_not() == "a kernel far side needs nft, not installed here"
    monkeypatch.setattr(module, "no_namespace", lambda purpose: f"a {purpose} needs /dev/net/tun, which is not there")
    assert hostnet.why_not() == "a kernel far side needs /dev/net/tun, which is not there"


def test_a_kernel_without_translation_is_told(monkeypatch):
    monkeypatch.setattr(module.rules, "translation", lambda addresses, port: "table inet aero { nonsense }\n")
    why = hostnet.why_not()
    assert why is not None and why.startswith("no kernel far side can run here: nft was refused: ") and "\n" not in why


def test_off_unless_asked_for():
    assert ServerConfig.from_environment({}, []).far == "lan"
    assert ServerConfig.from_environment({"AERO_L2_FAR": "kernel"}, []).far == "kernel"
    with pytest.raises(UsageError):
        ServerConfig.from_environment({"AERO_L2_FAR": "moon"}, [])
    with Lab(capture=False) as lab:
        assert type(lab.guest().lan.stack).__name__ == "Stack"


def test_one_that_does_not_come_about_ends_its_tunnel(monkeypatch):
    """Later than at the start, when it was tried out."""

    def broken(config):
        raise hostnet.Unavailable("no more namespaces")

    monkeypatch.setattr(stack_module, "RouterNamespace", broken)

    async def run():
        failed: list[BaseException] = []
        driver = Driver(asyncio.get_running_loop(), failed=failed.append)
        stack = stack_module.KernelStack(LanConfig(), random.Random(1), driver.now(), driver)
        driver.add(stack)
        end = time.monotonic() + 30
        while not failed and time.monotonic() < end:
            await asyncio.sleep(0.01)
        stack.stop()
        return [str(error) for error in failed]

    assert asyncio.run(run()) == ["no more namespaces"]
