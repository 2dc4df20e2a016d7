"""A host that has no way to an address says so at once: in a network namespace without any route."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
from aero_lab.egress.host import HostEgress
from aero_lab.wire.address import ip

class Sink:
    calls = []
    def failed(self, flow, why, now):
        self.calls.append((flow, why))

sink = Sink()
with HostEgress(sink) as egress:
    for flow, address in enumerate(("2606:4700:4700::1111", "8.8.8.8")):
        egress.open_tcp(2 * flow, ip(address), 80, 0)
        egress.open_udp(2 * flow + 1, ip(address), 53, 0)
        print(egress.echo(flow, ip(address), b"", 0))
    egress.step(0)
print(sorted(sink.calls))
"""


def test_unreachable_over_either_family():
    isolated = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    try:
        made = subprocess.run([*isolated, "true"], capture_output=True, timeout=20).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("this user may not make a network namespace")
    done = subprocess.run([*isolated, sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:3] == ["False", "False", str([(n, "unreachable") for n in range(4)])], done.stderr
