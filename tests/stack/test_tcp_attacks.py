"""Segments from somebody who does not see the connection: challenged, rationed, or not believed (RFC 5961, RFC
6528)."""

import pytest

from aero_lab.limits import SECOND

from .net import RST, SYN
from .peer import ACK, M32, Peer


@pytest.mark.parametrize("what", ["syn", "rst", "ack-ahead", "ack-behind"])
def test_challenge_acknowledgements(what):
    """RFC 5961 sections 3 to 5: what is only plausible is challenged, the connection stands."""
    p = Peer(ts=False, wscale=None)
    conn = p.open()
    seq, ack, flags = {
        "syn": (p.seq + 10, p.ack, SYN),
        "rst": (p.seq + 10, p.ack, RST),
        "ack-ahead": (p.seq, p.ack + 1000, ACK),
        "ack-behind": (p.seq, p.ack - 200_000, ACK),
    }[what]
    (answer,) = p.send(b"" if flags != ACK else b"evil", flags=flags, seq=seq, ack=ack)
    assert (answer.tcp.seq, answer.tcp.ack, answer.tcp.flags) == (p.ack & M32, p.seq & M32, ACK)
    assert conn.state == "ESTABLISHED" and conn.readable == 0 and p.stack.counters["challenge-acks"] == 1


def test_challenges_are_rationed():
    """RFC 5961 section 7."""
    p = Peer(ts=False)
    p.open()
    p.now += 2 * SECOND
    sent = sum(len(p.send(flags=RST, seq=p.seq + 10)) for _ in range(300))
    assert sent == 100 and p.stack.drops["tcp-challenge-limit"] == 200
    p.now += SECOND
    assert len(p.send(flags=RST, seq=p.seq + 10)) == 1


def test_only_the_exact_rst_resets():
    p = Peer(ts=False)
    conn = p.open()
    p.send(flags=RST, seq=p.seq - 1)
    p.send(flags=RST, seq=p.seq + 1_000_000)
    assert not conn.closed and p.stack.drops["tcp-rst-invalid"] == 2
    p.send(flags=RST, seq=p.seq)
    assert conn.reason == "reset"


def test_initial_sequence_numbers():
    """RFC 6528: a clock of 4 us plus a secret function of the addresses; another secret for another stack."""

    def isn(**options) -> int:
        p = Peer(**options)
        return p.syn()[0].tcp.seq

    numbers = {isn(sport=port) for port in range(5000, 5100)}
    assert len(numbers) == 100
    spread = sorted(numbers)
    assert max(after - before for before, after in zip(spread, spread[1:])) < 1 << 30, "all over the space"
    assert (isn(start=SECOND) - isn(start=0)) & M32 == 250_000
    assert isn(seed=2) != isn(seed=1) and isn(family=6) != isn(family=4)
