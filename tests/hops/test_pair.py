"""Two namespaces and a link: real packets are late, lost and out of order as it says, and nothing stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import UsageError
from aero_lab.hops import TunPair
from aero_lab.hops.pair import why_not
from aero_lab.link import Link

pytestmark = pytest.mark.root

ECHO = """
import socket, sys
tcp = socket.create_server((sys.argv[1], 7000))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 7001))
print("ready", flush=True)
peer, _ = tcp.accept()
total = 0
while data := peer.recv(1 << 16):
    total += len(data)
peer.sendall(total.to_bytes(8, "big"))
for _ in range(int(sys.argv[2])):
    data, sender = udp.recvfrom(2048)
    udp.sendto(data, sender)
"""
ASK = """
import json, socket, sys, time
where, size, numbers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
began = time.monotonic_ns()
tcp = socket.socket()
tcp.connect((where, 7000))
connected = time.monotonic_ns()
tcp.sendall(bytes(size))
tcp.shutdown(socket.SHUT_WR)
total = int.from_bytes(tcp.recv(8), "big")
control = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\\0").decode()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((where, 7001))
for number in range(numbers):
    udp.send(number.to_bytes(4, "big"))
udp.settimeout(float(sys.argv[4]))
came = []
try:
    while len(came) < numbers:
        came.append(int.from_bytes(udp.recv(64), "big"))
except TimeoutError:
    pass
print(json.dumps({"connect": connected - began, "total": total, "control": control, "came": came}))
"""


@pytest.fixture(scope="module", autouse=True)
def needs_pair() -> None:
    if PLAIN:
        pytest.skip("the kernel's timers do not wait for interpreted kernels; this runs in compiled mode")
    if why := why_not():
        pytest.skip(why)


def talk(pair: TunPair, size: int, numbers: int, quiet: float = 20) -> dict:
    """An upload and then numbered datagrams, echoed, until all came or none for ``quiet`` seconds."""
    read, write = os.pipe()
    server = pair.far.spawn([sys.executable, "-c", ECHO, pair.far_address, str(numbers)], stdout=write)
    os.close(write)
    with os.fdopen(read) as said:
        assert said.readline() == "ready\n"
    words = [pair.far_address, str(size), str(numbers), str(quiet)]
    done = pair.near.run([sys.executable, "-c", ASK, *words], timeout=120, check=True)
    server.kill()
    return json.loads(done.stdout)


def test_what_passes_is_late_and_nothing_else():
    with TunPair(Link(rtt="30ms")) as pair:
        told = talk(pair, 300_000, 200)
        counters = pair.counters()
        wire = pair.wire()
    assert told["connect"] >= 30e6 and told["total"] == 300_000
    assert told["came"] == list(range(200)), "in order, all"
    assert told["control"] == "cubic"
    for way in ("up", "down"):
        assert counters[way]["frames_in"] == counters[way]["frames_out"] + counters[way]["in_flight"] > 100
    assert wire.bytes_out >= counters["up"]["bytes_in"] > 300_000 + 200 * 32, "the last ones may have come in between"
    assert counters["near_refused"] == counters["far_refused"] == {}


def test_real_tcp_gets_its_bytes_across_loss_and_datagrams_are_lost_and_reordered():
    link = Link(rtt="10ms", loss=0.05, reorder=0.2, reorder_by="4ms")
    with TunPair(link, congestion="reno") as pair:
        told = talk(pair, 500_000, 200, quiet=3)
        counters = pair.counters()
    assert told["total"] == 500_000 and told["control"] == "reno"
    assert 100 < len(set(told["came"])) < 200, "5 % each way"
    assert told["came"] != sorted(told["came"])
    for way in ("up", "down"):
        assert counters[way]["lost"] > 0 and counters[way]["reordered"] > 0


def test_a_link_can_change_while_packets_pass():
    with TunPair() as pair:
        assert talk(pair, 1000, 10)["came"] == list(range(10))
        pair.change(Link(rtt="50ms"))
        told = talk(pair, 1000, 10)
    assert told["connect"] >= 50e6 and told["came"] == list(range(10))


def test_nothing_stays_behind():
    pair = TunPair(Link(rtt="1ms"))
    processes = [pair.near.pid, pair.far.pid]
    pair.close()
    pair.close()
    assert pair.near.closed and pair.far.closed
    assert not any(os.path.exists(f"/proc/{pid}") for pid in processes)


def test_nothing_outlives_an_owner_that_was_killed():
    program = (
        "import time\n"
        "from aero_lab.hops import TunPair\n"
        "pair = TunPair('20ms')\n"
        "sleeper = pair.far.spawn(['sleep', '600'])\n"
        "print(pair.near.pid, pair.far.pid, pair._child._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = owner.stdout.readline().split()
        assert len(pids) == 3 and all(os.path.exists(f"/proc/{pid}") for pid in pids)
        owner.kill()
    end = time.monotonic() + 30
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def alive(pid: str) -> bool:
    """Whether a process is there and no corpse that nobody has looked at."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_congestion_control_that_is_not_there_is_one_line():
    with pytest.raises(UsageError, match="^this system has no congestion control 'carrier-pigeon'$"):
        TunPair(congestion="carrier-pigeon")
