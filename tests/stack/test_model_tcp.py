"""The stack against the plain model of it: random lives, everything compared after every call."""

import pytest

from .model.scripts import Script
from .net import plain

LIVES = plain(2, 4)
TURNS = plain(100, 250)


@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("seed", range(LIVES))
def test_a_random_life(role, seed):
    script = Script(seed, role)
    script.run(TURNS)
    assert script.twin.compared >= TURNS * 9 // 10


@pytest.mark.long
@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("seed", range(100, 100 + plain(4, 30)))
def test_many_more(role, seed):
    Script(seed, role).run(TURNS)
