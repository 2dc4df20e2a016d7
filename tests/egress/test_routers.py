"""What routers say, on a real kernel: three network namespaces in a row, the egress in the first, a router between.

Datagrams that a router turns down are told with its reason, echoes see each hop by its own address.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

CODE = """
import json, os, select, subprocess, sys, time

def ip(*words, pid=None):
    enter = ["nsenter", "-t", str(pid), "-n"] if pid else []
    subprocess.run([*enter, "ip", *" ".join(words).split()], check=True)

def namespace():
    child = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 90"], stdout=subprocess.PIPE)
    assert child.stdout.readline()
    return child

router, far = namespace(), namespace()
try:
    for device, other, pid in (("a0", "r0", None), ("r1", "f0", router.pid)):
        ip("link add", device, "type veth peer name", other, pid=pid)
        target = router.pid if pid is None else far.pid
        ip("link set", other, "netns", str(target), pid=pid)
    addresses = [
        ("a0", None, "192.0.2.1/30", "2001:db8:a::1/64"),
        ("r0", router.pid, "192.0.2.2/30", "2001:db8:a::2/64"),
        ("r1", router.pid, "198.51.100.1/30", "2001:db8:b::1/64"),
        ("f0", far.pid, "198.51.100.2/30", "2001:db8:b::2/64"),
    ]
    for device, pid, four, six in addresses:
        ip("addr add", four, "dev", device, pid=pid)
        ip("addr add", six, "dev", device, "nodad", pid=pid)
        ip("link set", device, "up", pid=pid)
    for pid in (None, far.pid):
        via = ("192.0.2.2", "2001:db8:a::2") if pid is None else ("198.51.100.1", "2001:db8:b::1")
        ip("route add default via", via[0], pid=pid)
        ip("-6 route add default via", via[1], pid=pid)
    for route in ("unreachable 203.0.113.1", "prohibit 203.0.113.2"):
        ip("route add", route, pid=router.pid)
    ip("-6 route add prohibit 2001:db8:c::2", pid=router.pid)
    for name, value in (
        ("ipv4/ip_forward", 1), ("ipv6/conf/all/forwarding", 1), ("ipv4/icmp_ratelimit", 0), ("ipv6/icmp/ratelimit", 0),
    ):
        enter = ["nsenter", "-t", str(router.pid), "-n"]
        subprocess.run([*enter, "sh", "-c", f"echo {value} > /proc/sys/net/{name}"], check=True)
    open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 0")
    time.sleep(1.5)  # the links' IPv6 comes up

    from aero_lab.egress.host import HostEgress
    from aero_lab.wire.address import ip as packed, ip_text

    class Sink:
        told = []
        def undeliverable(self, flow, why, now):
            self.told.append([flow, why])
        def echo_failed(self, query, sender, type, code, rest, now):
            self.told.append([query, ip_text(sender), type, code])
        def echoed(self, query, address, payload, now):
            self.told.append([query, ip_text(address), "reply"])
        def failed(self, flow, why, now):
            self.told.append([flow, "failed", why])
        def datagram(self, flow, payload, now):
            pass

    targets = ["198.51.100.2", "203.0.113.1", "203.0.113.2", "2001:db8:b::2", "2001:db8:c::2", "2001:db8:c::3"]
    with HostEgress(Sink()) as egress:
        def settle(number, seconds=15):
            end = time.monotonic() + seconds
            while len(Sink.told) < number and time.monotonic() < end:
                select.select([egress], [], [], 0.1)
                egress.step(0)
        for flow, target in enumerate(targets):
            egress.open_udp(flow, packed(target), 9, 0)
            assert egress.send_datagram(flow, b"x", 0), target
            settle(flow + 1)
        refusals, Sink.told = Sink.told, []
        hops = [(target, ttl) for target in ("198.51.100.2", "2001:db8:b::2") for ttl in (1, 2)]
        hops.append(("203.0.113.2", 2))
        for query, (target, ttl) in enumerate(hops):
            # The router sometimes leaves the last error out: its own counter then stands one lower, and all that it
            # sent is heard. Why is not known. As traceroute does, ask again when nothing came.
            for _ in range(6):
                assert egress.echo(query, packed(target), b"ping", 0, ttl) is None
                settle(query + 1, 1.5)
                if len(Sink.told) > query:
                    break
        alive = [egress.send_datagram(flow, b"again", 0) for flow in range(len(targets))]
    print(json.dumps([refusals, Sink.told, alive]))
finally:
    for child in (router, far):
        child.kill()
"""


def test_each_router_is_heard_and_no_flow_ends():
    if sys.platform != "linux" or any(shutil.which(tool) is None for tool in ("ip", "unshare", "nsenter")):
        pytest.skip("needs Linux, iproute2 and util-linux")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        pytest.skip("needs root and network namespaces")
    run = ["unshare", "-n", sys.executable, "-c", CODE]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    refusals, hops, alive = json.loads(done.stdout)
    reasons = ["refused", "unreachable", "denied", "refused", "denied", "net-unreachable"]
    assert refusals == [[flow, reason] for flow, reason in enumerate(reasons)]
    assert hops == [
        [0, "192.0.2.2", 11, 0],
        [1, "198.51.100.2", "reply"],
        [2, "2001:db8:a::2", 3, 0],
        [3, "2001:db8:b::2", "reply"],
        [4, "192.0.2.2", 3, 13],
    ]
    assert alive == [True] * 6
