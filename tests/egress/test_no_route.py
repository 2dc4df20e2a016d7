"""Ways to fail that a host knows at once, each told as what it is: in a network namespace with such routes alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

CODE = """
import json
import subprocess
import sys
from aero_lab.egress.host import HostEgress
from aero_lab.wire.address import ip

for route in sys.argv[1:]:
    subprocess.run(["ip", *route.split()], check=True)
if sys.argv[1:]:
    open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 0")

class Sink:
    calls = {}
    def failed(self, flow, why, now):
        self.calls[flow] = why
    def undeliverable(self, flow, why, now):
        self.calls[flow] = why

sink, echoes = Sink(), []
targets = ["2606:4700:4700::1111", "8.8.8.8", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]
with HostEgress(sink) as egress:
    for flow, address in enumerate(targets):
        egress.open_tcp(2 * flow, ip(address), 80, 0)
        egress.open_udp(2 * flow + 1, ip(address), 53, 0)
        echoes.append(egress.echo(flow, ip(address), b"", 0))
    egress.step(0)
print(json.dumps([echoes, [sink.calls.get(n) for n in range(12)]]))
"""


def run(*routes: str) -> list:
    isolated = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    try:
        made = subprocess.run([*isolated, "true"], capture_output=True, timeout=20).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("this user may not make a network namespace")
    done = subprocess.run([*isolated, sys.executable, "-c", CODE, *routes], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_route_over_either_family():
    echoes, flows = run()
    assert flows[2:8] == ["net-unreachable"] * 6
    assert set(flows[:2] + flows[8:]) <= {"net-unreachable", "unreachable"}, "no IPv6 address to speak from is no route"
    assert set(echoes) == {"denied"}, "no unprivileged echo sockets in a fresh namespace"


def test_routes_that_say_no():
    if shutil.which("ip") is None:
        pytest.skip("needs iproute2")
    echoes, flows = run(
        "link set lo up",
        "route add unreachable 192.0.2.1",
        "route add prohibit 192.0.2.2",
        "-6 route add unreachable 2001:db8::1",
        "-6 route add prohibit 2001:db8::2",
    )
    reasons = ["net-unreachable", "net-unreachable", "unreachable", "denied", "unreachable", "denied"]
    assert flows == [why for why in reasons for _ in ("tcp", "udp")]
    assert echoes == reasons
