"""Slow, plain twins of TCP's kernels: written from the RFCs with sets, dicts, fractions and closed formulas; they
share no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aero_lab.compiled.registry import PLAIN

M32 = 0xFFFFFFFF


def get(row: Any, name: str) -> Any:
    """A field of a record in either mode; arrays as lists."""
    value = getattr(row, name) if PLAIN else row[name]
    return value if isinstance(value, int | float) else value.tolist() if hasattr(value, "tolist") else list(value)


def put(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if PLAIN:
            setattr(row, name, value)
        else:
            row[name] = value


def parse_options(data: bytes) -> dict[str, Any] | None:
    """Options of a segment (RFC 9293 section 3.2), the last of a kind counting; None when they are malformed."""
    out: dict[str, Any] = {"mss": 0, "wscale": -1, "sack_ok": 0, "ts": None, "blocks": []}
    rest = data
    while rest:
        kind, rest = rest[0], rest[1:]
        if kind == 0:
            break
        if kind == 1:
            continue
        if not rest or rest[0] < 2 or rest[0] - 1 > len(rest):
            return None
        body, rest = rest[1 : rest[0] - 1], rest[rest[0] - 1 :]
        words = [int.from_bytes(body[i : i + 4], "big") for i in range(0, len(body), 4)]
        if (kind, len(body)) == (2, 2):
            out["mss"] = words[0]
        elif (kind, len(body)) == (3, 1):
            out["wscale"] = min(body[0], 14)
        elif (kind, len(body)) == (4, 0):
            out["sack_ok"] = 1
        elif (kind, len(body)) == (8, 8):
            out["ts"] = tuple(words)
        elif kind == 5 and body and len(body) % 8 == 0:
            out["blocks"] = list(zip(words[::2], words[1::2]))[:4]
    return out


def unwrap(wire: int, near: int) -> int:
    """The number closest to ``near`` with these low 32 bits; of two equally close the lower."""
    base = near >> 32 << 32
    return min((base + turn + wire for turn in (-(1 << 32), 0, 1 << 32)), key=lambda n: (abs(n - near), n))


@dataclass
class Receiver:
    """A receive buffer as a set of byte numbers."""

    nxt: int
    held: set[int] = field(default_factory=set)
    """Bytes beyond a gap."""

    def receive(self, seq: int, size: int, window: int) -> None:
        """Take bytes ``seq..seq+size`` as far as they are below the right edge ``window``."""
        self.held |= {n for n in range(seq, seq + size) if self.nxt <= n < window}
        while self.nxt in self.held:
            self.held.remove(self.nxt)
            self.nxt += 1

    def ranges(self) -> list[tuple[int, int]]:
        out: list[tuple[int, int]] = []
        for n in sorted(self.held):
            if out and out[-1][1] == n:
                out[-1] = (out[-1][0], n + 1)
            else:
                out.append((n, n + 1))
        return out


@dataclass
class Rtt:
    """RFC 6298 section 2 in exact fractions of a nanosecond."""

    least: int
    most: int
    srtt: Fraction | None = None
    var: Fraction = Fraction(0)

    def sample(self, r: int) -> None:
        if self.srtt is None:
            self.srtt, self.var = Fraction(r), Fraction(r, 2)
        else:
            self.var = Fraction(3, 4) * self.var + Fraction(1, 4) * abs(self.srtt - r)
            self.srtt = Fraction(7, 8) * self.srtt + Fraction(1, 8) * r

    @property
    def rto(self) -> Fraction:
        granularity = 1_000_000
        return min(max(self.srtt + max(granularity, 4 * self.var), Fraction(self.least)), Fraction(self.most))


@dataclass
class Cubic:
    """RFC 9438 by its closed formula; windows in segments, times in seconds."""

    C = 0.4
    BETA = 0.7
    w_max: float
    start: float
    """Window when congestion avoidance began."""

    @property
    def k(self) -> float:
        """Equation 2."""
        return ((self.w_max - self.start) / self.C) ** (1 / 3) if self.w_max > self.start else 0.0

    def window(self, t: float) -> float:
        """Equation 1."""
        return self.C * (t - self.k) ** 3 + max(self.w_max, self.start)

    def reno(self, t: float, rtt: float) -> float:
        """Equation 4 with a window's worth of acknowledgements every round trip: alpha_cubic up to w_max, then 1."""
        alpha = 3 * (1 - self.BETA) / (1 + self.BETA)
        rounds = t / rtt
        slow = max(self.w_max - self.start, 0) / alpha
        return self.start + alpha * min(rounds, slow) + max(rounds - slow, 0)


def scoreboard(stack: Any, slot: int) -> dict[str, int]:
    """The sender's figures of one connection, counted anew from its segment queue (RFC 6675 section 4)."""
    c = stack._tcb[slot]
    size, mask = get(stack._world[0], "segq"), get(stack._world[0], "segq_mask")
    queue = [stack._segs[slot * size + (k & mask)] for k in range(get(c, "head"), get(c, "tail"))]
    sacked = lost = flight = 0
    at = get(c, "snd_una")
    for s in queue:
        seq, end, flags = get(s, "seq"), get(s, "end"), get(s, "flags")
        assert seq == at < end, "the queue covers what is unacknowledged without gap or overlap"
        assert flags & 3 != 3, "sacked and lost at once"
        at = end
        if flags & 1:
            sacked += end - seq
        elif flags & 2:
            lost += end - seq
        else:
            flight += end - seq
    assert not queue or at == get(c, "snd_nxt")
    return {"sacked_bytes": sacked, "lost_bytes": lost, "in_flight": flight}
