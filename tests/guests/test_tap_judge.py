"""A real kernel judges the proxy: transports, acknowledgement policies, both families, digests of all that passes.

The sizes here are for every run of the tests; ``python -m pytest -m long tests/guests`` runs the same with 1 GiB each
way, 10,000 connections and 200 flows at once over every combination, which takes minutes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from aero_lab.lab import Lab

from .tap import needs_tap, unquiet  # noqa: F401

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("needs_tap")]


@dataclass(frozen=True)
class Sizes:
    bulk: str
    connections: int
    flows: int
    each: str


DAILY = Sizes("64MiB", 1000, 50, "1MiB")
WHOLE = Sizes("1GiB", 10_000, 200, "5MiB")
TRANSPORTS, POLICIES, FAMILIES = ("memory", "websocket"), ("early", "mirror"), (4, 6)
ALL = [(t, p, f) for t in TRANSPORTS for p in POLICIES for f in FAMILIES]
PAIRS = [("memory", "early", 4), ("memory", "mirror", 6), ("websocket", "early", 6), ("websocket", "mirror", 4)]
"""Every two values together once."""


def judge(transport: str, policy: str, family: int, sizes: Sizes) -> None:
    patience = 900
    with Lab(transport=transport, ack_policy=policy, capture=False) as lab:
        guest = lab.guest("tap")
        guest.wait_online(30, family=family)
        before = guest.kernel_counters()
        work = (
            ("download", {"size": sizes.bulk}),
            ("upload", {"size": sizes.bulk}),
            ("burst", {"count": sizes.connections, "concurrency": 16}),
            ("parallel", {"flows": sizes.flows, "size": sizes.each, "direction": "both"}),
        )
        for name, parameters in work:
            result = guest.run(name, timeout=patience, family=family, **parameters)
            assert (result.ok, result.error, result.digest_ok) == (True, None, True), name
        after = guest.kernel_counters()
        assert unquiet(before, after) == {}, "nothing was lost, reordered, reset or stalled"
        device = guest.run(["grep", "tap0", "/proc/net/dev"]).stdout.split(":")[1].split()
        assert (device[2:4], device[10:12]) == (["0", "0"], ["0", "0"]), "the interface lost nothing"
        rows = [row for row in lab.flows if row["protocol"] == "tcp"]
        assert Counter(row["reason"] for row in rows) == {"closed": len(rows)}
        counters = guest.counters
        dropped = {name for name, n in counters.items() if name.startswith("stack.drop.") and n}
        assert dropped <= {"stack.drop.tcp-out-of-window", "stack.drop.tcp-no-connection"}, "what came twice"
        assert {row["ack_policy"] for row in rows} == {policy}


@pytest.mark.parametrize(("transport", "policy", "family"), PAIRS)
def test_transfers_connections_and_flows(transport, policy, family):
    judge(transport, policy, family, DAILY)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("transport", "policy", "family"), ALL)
def test_a_gibibyte_each_way_10000_connections_200_flows(transport, policy, family):
    judge(transport, policy, family, WHOLE)


def test_a_handshake_that_takes_longer_than_a_second_is_not_an_error():
    """Its SYN-ACK comes twice, which the kernel counts among the errors, and among nothing else that is not quiet."""
    with Lab(link="rtt=1600ms", capture=False) as lab:
        guest = lab.guest("tap")
        guest.wait_online(60, family=4)
        before = guest.kernel_counters()
        result = guest.run("burst", count=2, concurrency=2, timeout=120, family=4)
        after = guest.kernel_counters()
    assert (result.ok, result.error) == (True, None)
    assert after["TcpInErrs"] > before["TcpInErrs"] and unquiet(before, after) == {}


@pytest.mark.parametrize(("transport", "family"), [("memory", 4), ("memory", 6), ("datagram", 4), ("datagram", 6)])
def test_through_a_lossy_channel_without_order(transport, family):
    """What a message channel without order or repetition does to a tunnel: the guest's TCP brings every byte back."""
    link = "rtt=5ms, jitter=2ms, loss=1%, reorder=5%, duplicate=1%"
    with Lab(transport=transport, link=link, capture=False) as lab:
        guest = lab.guest("tap")
        guest.wait_online(30, family=family)
        for name, parameters in (
            ("download", {"size": "2MiB"}),
            ("upload", {"size": "2MiB"}),
            ("burst", {"count": 50}),
            ("parallel", {"flows": 8, "size": "200KB", "direction": "both"}),
        ):
            result = guest.run(name, timeout=120, family=family, **parameters)
            assert (result.ok, result.error, result.digest_ok) == (True, None, True), name
        assert guest.kernel_counters()["TcpRetransSegs"] > 0
        assert all(side["lost"] > 0 for side in guest.link.values()), guest.link
