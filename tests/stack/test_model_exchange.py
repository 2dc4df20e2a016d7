"""Honest conversations over a bad link against the plain model: recovery, congestion control, closing and opening
again."""

import pytest

from .model.exchange import Exchange
from .net import plain

LIVES = plain(1, 1)
TURNS = plain(200, 400)
KINDS = {
    "rack": {"congestion": "cubic", "rack": True, "sack": True, "timestamps": True},
    "sack": {"congestion": "cubic", "rack": False, "sack": True},
    "newreno": {"congestion": "newreno", "sack": False},
    "any": {},
}


@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("loss", [0.02, 0.15])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(LIVES))
def test_a_conversation(role, loss, kind, seed):
    roomy = {"recv_buffer": 100_000, "send_buffer": 40_000, "window_scale": 4, "mss": 1000} if kind != "any" else {}
    exchange = Exchange(seed, role, loss, **KINDS[kind], **roomy)
    exchange.run(TURNS)
    assert exchange.twin.compared > TURNS // 2 and exchange.checked > 1000
