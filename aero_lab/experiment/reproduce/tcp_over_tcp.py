"""TCP over TCP: an L2 tunnel over a WebSocket, over loss and buffer sizes: where it hurts and where it helps."""

from __future__ import annotations

from ...link import Link
from .base import Progress, Report, Row, within
from .labs import run_lab

TITLE = "TCP over TCP: an L2 tunnel over a WebSocket, over loss and buffer sizes"
SOURCE = (
    "O. Honda et al., Understanding TCP over TCP, 2005; O. Titz, Why TCP over TCP is a bad idea, 2001: what they say"
)
RTT_MS = 40
SIZE = 1_000_000
BUFFERS = (16, 32, 64)
"""KiB of the outer TCP's buffers."""
AMPLE = "1MiB"
LOSSES = (0.0, 0.005, 0.01, 0.02, 0.05)
TOLERANCE = 0.15
SEEDS = 8


def upload(option: str, transport: str, loss: float, seed: int, buffer: str | None, size: int) -> tuple[float, float]:
    """Mbit/s of an upload, and bytes that the guest's own TCP sent again, in percent of the file."""
    settings = {"buffer": buffer} if buffer else {}
    link = Link(rtt=f"{RTT_MS}ms", loss=loss)
    result, causes = run_lab(option, transport, link, "upload", seed, settings, size=size)
    return result.goodput_mbps, 100 * causes.get("retransmission", 0) / size


def run(seeds: int | None, quick: bool, progress: Progress) -> Report:
    """An upload of a Linux-like guest: bare over the link, in the tunnel, and by a relay that ends its TCP."""
    many = seeds or (2 if quick else SEEDS)
    size = SIZE // 2 if quick else SIZE
    losses = (0.0, 0.02) if quick else LOSSES
    buffers = BUFFERS[:1] if quick else BUFFERS
    total = len(buffers) + 3 * sum(many if loss else 1 for loss in losses)
    rows: list[Row] = []
    done = 0
    for kib in buffers:
        limit = kib * 1024 * 8 / RTT_MS / 1000
        ours, _ = upload("C", "websocket", 0.0, 1, f"{kib}KiB", kib * 100_000)
        rows.append(within(f"outer buffer {kib} KiB, no loss", limit, ours, TOLERANCE, "Mbit/s", "buffer / RTT"))
        done += 1
        progress(done, total, "buffers")
    for loss in losses:
        found: dict[str, list[tuple[float, float]]] = {"bare": [], "tunnel": [], "relay": []}
        for seed in range(1, 1 + (many if loss else 1)):
            found["bare"].append(upload("C", "memory", loss, seed, None, size))
            found["tunnel"].append(upload("C", "websocket", loss, seed, AMPLE, size))
            found["relay"].append(upload("A", "websocket", loss, seed, AMPLE, size))
            done += 3
            progress(done, total, f"loss {loss:.1%}")
        rows += _beside(loss, found)
    notes = [
        "bare: the guest's frames as datagrams over the link; tunnel: the same frames in a WebSocket's TCP; relay: the "
        "guest's TCP ends before the link, its bytes in a WebSocket's, so with the outer TCP alone.",
        "It helps: no loss reaches the guest's TCP, which sends next to nothing again, and datagrams beside it are not "
        "lost. It hurts: a small outer buffer is a second window (buffer / RTT), and at high loss the inner TCP waits "
        "for the outer one's recovery.",
    ]
    return Report("tcp-over-tcp", TITLE, SOURCE, rows, notes, quick, many)


def _beside(loss: float, found: dict[str, list[tuple[float, float]]]) -> list[Row]:
    """Rows of one loss ratio."""

    def mean(name: str, i: int) -> float:
        return sum(values[i] for values in found[name]) / len(found[name])

    rows = []
    for name, values in found.items():
        rates = [rate for rate, _ in values]
        note = f"{mean(name, 1):.2g} % sent again by the guest"
        between = (min(rates), max(rates)) if loss else (None, None)
        rows.append(Row(f"loss {loss:.1%}, {name}", None, mean(name, 0), "Mbit/s", *between, note=note))
    ratio = mean("tunnel", 0) / mean("bare", 0)
    if not loss:
        rows.append(
            Row(
                "no loss: tunnel over bare, costs little",
                1.0,
                ratio,
                "",
                ok=abs(ratio - 1) <= TOLERANCE,
                tolerance=TOLERANCE,
            )
        )
    else:
        hidden = mean("tunnel", 1) < mean("bare", 1) / 10
        rows.append(Row(f"loss {loss:.1%}: hidden from the guest (helps)", 0.0, mean("tunnel", 1), "%", ok=hidden))
        apart = f"{mean('tunnel', 0) / mean('relay', 0):.2g} of the outer TCP alone"
        hurts = ratio < 1 if loss >= 0.02 else None
        rows.append(Row(f"loss {loss:.1%}: tunnel over bare (hurts)", None, ratio, "", ok=hurts, note=apart))
    return rows
