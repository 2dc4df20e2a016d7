"""Ethernet, ARP, IP, ICMP, UDP, fragments and neighbour discovery against the plain model."""

import pytest

from .model.noise import Noise
from .net import plain

LIVES = plain(2, 4)
TURNS = plain(100, 250)


@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("seed", range(LIVES))
def test_a_random_life_on_a_link(role, seed):
    script = Noise(seed, role)
    script.run(TURNS)
    assert script.twin.compared >= TURNS * 9 // 10


@pytest.mark.parametrize("seed", range(plain(1, 4)))
def test_a_random_life_without_a_link(seed):
    script = Noise(seed, ("server", "gateway", "guest")[seed % 3], "ip")
    script.run(TURNS)
    assert script.twin.compared >= TURNS * 9 // 10


@pytest.mark.long
@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("seed", range(100, 100 + plain(4, 30)))
def test_many_more_on_a_link(role, seed):
    Noise(seed, role).run(TURNS)
