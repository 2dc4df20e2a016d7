"""Head-of-line blocking: what a lost message does to those behind it, by transport, and what is congestion control."""

from __future__ import annotations

from ...link import Link
from .base import Progress, Report, Row
from .labs import run_lab

TITLE = "Head-of-line blocking across transports, congestion control kept apart"
SOURCE = (
    "measured on real sockets through a relay of 20 ms one way: aiortc's data channels, a WebSocket; "
    "one-way delay of a message"
)
DELAYS: dict[str, tuple[float, float, float]] = {
    "websocket": (20.6, 28.0, 94.0),
    "webrtc": (21.0, 46.0, 112.0),
    "webrtc-unordered": (20.9, 21.2, 112.0),
    "webrtc-lossy": (21.0, 21.3, 21.7),
}
"""p50, p90, p99 in ms at 60 messages of 300 bytes a second and 2 % loss."""
CROWDED = (660.0, 810.0)
"""ms at which every DataChannel sat at 300 messages of 600 bytes a second and 3 % loss."""
QUANTILES = (0.5, 0.9, 0.99)
ONE_WAY = 20.0
CHANNELS = tuple(name for name in DELAYS if name.startswith("webrtc"))
CLOSE_SHARE, CLOSE_MS = 0.15, 5.0
"""A median that is off by less is the same."""
SEEDS = 8
COUNT = 600
"""Messages of a run."""


def quantiles(delays: list[float]) -> tuple[float, ...]:
    """p50, p90, p99 of delays in ms."""
    ordered = sorted(delays)
    return tuple(ordered[min(int(q * len(ordered)), len(ordered) - 1)] for q in QUANTILES)


def delays(
    transport: str, loss: float, rate: float, size: int, count: int, seed: int, congestion: bool = True
) -> list[float]:
    """One-way delays of messages from the guest, ms, those that came; over an L3 tunnel, a datagram a message."""
    link = Link(rtt="40ms", loss=loss)
    settings = {} if congestion else {"congestion": "none"}
    result, _ = run_lab("B", transport, link, "udp-echo", seed, settings, count=count, size=size, rate=rate)
    return result.details["delay_ms"]


def _allowed(theirs: float) -> float:
    """How far off ours may be, as a share of theirs."""
    return max(CLOSE_SHARE, CLOSE_MS / theirs)


def _close(ours: float, theirs: float) -> bool:
    return abs(ours - theirs) <= _allowed(theirs) * theirs


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """Delays by transport, then the crowded case with congestion control and without."""
    many = seeds or (1 if quick else SEEDS)
    crowd = CHANNELS[:1] if quick else CHANNELS
    rows: list[Row] = []
    blocked: dict[str, list[float]] = {}
    total = len(DELAYS) * many + 2 * len(crowd)
    done = 0
    for transport, theirs in DELAYS.items():
        runs = []
        for seed in range(1, many + 1):
            runs.append(delays(transport, 0.02, 60, 300, COUNT, seed))
            done += 1
            progress(done, total, transport)
        pooled = [d for run in runs for d in run]
        blocked[transport] = pooled
        each = [quantiles(run) for run in runs]
        for i, (name, published, ours) in enumerate(zip(("p50", "p90", "p99"), theirs, quantiles(pooled), strict=True)):
            low, high = min(q[i] for q in each), max(q[i] for q in each)
            # The tail is the luck of a dozen losses in theirs: p50 is judged, beyond it only what comes of blocking.
            ok, allowed = (_close(ours, published), _allowed(published)) if name == "p50" else (None, None)
            rows.append(Row(f"{transport} {name}", published, ours, "ms", low, high, ok, tolerance=allowed))
    rows += _blocking(blocked)
    for transport in crowd:
        with_control, without = [
            quantiles(delays(transport, 0.03, 300, 600, 2 * COUNT, 1, congestion)) for congestion in (True, False)
        ]
        done += 2
        progress(done, total, "crowded")
        ok = with_control[0] > 2 * ONE_WAY and _close(without[0], ONE_WAY)
        note = f"{without[0]:.0f} ms without congestion control"
        rows.append(Row(f"{transport} crowded, p50", sum(CROWDED) / 2, with_control[0], "ms", ok=ok, note=note))
    notes = [
        "An ordered channel holds every message behind a lost one until it has come again; an unordered one only the "
        "lost one itself; without retransmission nothing waits, and what is lost is lost.",
        "Crowded (300 messages of 600 bytes a second, 3 % loss) the delay is congestion control's: the window is too "
        "small for the rate, and messages queue before it. With a window that ignores loss it is gone, so it is no "
        "blocking. How long the queue gets depends on the length of the run; that it is there is judged.",
    ]
    return Report("head-of-line", TITLE, SOURCE, rows, notes, quick, many)


def _blocking(blocked: dict[str, list[float]]) -> list[Row]:
    """Messages that came late, by transport: judged by their order."""
    late = {name: sum(d > ONE_WAY + CLOSE_MS for d in values) / len(values) for name, values in blocked.items()}
    holds = late["webrtc"] > 2 * late["webrtc-unordered"] > 0 and late["webrtc-lossy"] == 0
    holds = holds and late["websocket"] > 2 * late["webrtc-unordered"]
    return [
        Row(f"{name} later than 25 ms", None, 100 * share, "%", ok=holds if name == "webrtc" else None)
        for name, share in late.items()
    ]
