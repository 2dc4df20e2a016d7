"""The stack against the plain model of it: random lives, everything compared after every call."""

import pytest

from .model.scripts import Script
from .net import plain

LIVES = plain(2, 8)
TURNS = plain(100, 250)


@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("seed", range(LIVES))
def test_a_random_life(role, seed):
    script = Script(seed, role)
    script.run(TURNS)
    assert script.twin.compared >= TURNS * 9 // 10
