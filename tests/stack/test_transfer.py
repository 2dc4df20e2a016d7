"""Whole transfers over a hostile link: 16 MiB both ways at once, 50 seeds, byte-exact, nothing left behind.

Virtual time, so a seed is the same run on every machine. Seeds take turns at the congestion controllers, at IPv4 and
IPv6, at the detectors
of loss and at the role of the far end.
"""

import pytest

from aero_lab.limits import SECOND
from aero_lab.stack import TcpConfig

from .net import HOSTILE, Net, plain, transfer

SIZE = plain(64 << 10, 16 << 20)
SEEDS, FIRST = range(50), 12
VARIANTS = (
    {"congestion": "cubic"},
    {"congestion": "none"},
    {"congestion": "newreno"},
    {"congestion": "cubic", "rack": False},
    {"congestion": "none", "sack": False},
    {"congestion": "none", "timestamps": False, "rack": False},
)
"""No congestion control keeps a full window under way, so that most seeds see deep queues of losses and not only the
small
windows that 2 % loss leaves."""
HOURS = 3600 * SECOND


def hostile_transfer(seed: int, size: int) -> Net:
    net = Net(
        HOSTILE,
        seed,
        TcpConfig(**VARIANTS[seed % len(VARIANTS)]),
        family=6 if seed % 4 == 3 else 4,
        role="gateway" if seed % 2 else "server",
    )
    up, down = net.rng.randbytes(size), net.rng.randbytes(size)
    near, far = transfer(net, up, down, 12 * HOURS)
    assert len(far.got) == len(near.got) == size
    assert far.got == up and near.got == down
    assert near.reason == far.reason == "closed"
    assert near.eof and far.eof
    net.check_over()
    return net


@pytest.mark.parametrize("seed", SEEDS[:FIRST])
def test_both_ways_over_a_hostile_link(seed):
    """The first seeds of the fifty, and that the link was as bad as it says."""
    net = hostile_transfer(seed, SIZE)
    for figures in (net.up.counters, net.down.counters):
        if figures["frames_in"] > 5000:
            for name, share in (("lost", 0.02), ("duplicated", 0.01), ("reordered", 0.05), ("corrupted", 0.005)):
                assert share / 2 < figures[name] / figures["frames_in"] < share * 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[FIRST:])
def test_both_ways_over_a_hostile_link_the_other_seeds(seed):
    hostile_transfer(seed, SIZE)
