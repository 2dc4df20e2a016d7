"""Honest conversations over a bad link against the plain model: recovery, congestion control, closing and opening
again."""

import pytest

from .model.exchange import Exchange
from .net import plain

LIVES = plain(2, 6)
TURNS = plain(200, 400)
KINDS = {
    "rack": {"congestion": "cubic", "rack": True, "sack": True, "timestamps": True},
    "sack": {"congestion": "cubic", "rack": False, "sack": True},
    "newreno": {"congestion": "newreno", "sack": False},
    "any": {},
}


@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation(role, kind):
    conversation(role, kind, 0, 0.15 if role == "gateway" else 0.02)


@pytest.mark.long
@pytest.mark.parametrize("role", ["server", "gateway", "guest"])
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(1, LIVES))
def test_many_conversations(role, loss, kind, seed):
    conversation(role, kind, seed, loss)


def conversation(role: str, kind: str, seed: int, loss: float) -> None:
    roomy = {"recv_buffer": 100_000, "send_buffer": 40_000, "window_scale": 4, "mss": 1000} if kind != "any" else {}
    exchange = Exchange(seed, role, loss, **KINDS[kind], **roomy)
    exchange.run(TURNS)
    assert exchange.twin.compared > TURNS // 2 and exchange.checked > 1000
