"""The pictures of ``docs/link.md``: ``python -m tests.link.pictures`` makes them again. All in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aero_lab.limits import MS
from aero_lab.link import Link
from aero_lab.stack import TcpConfig
from aero_lab.viz.style import OTHERS

from .test_tcp import RATE, RTT, Beside

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NAMES = {None: "drop-tail", "codel": "CoDel", "fq_codel": "FQ-CoDel", "pie": "PIE"}


def waits(aqm: str | None, seconds: int) -> tuple[list[float], list[float], list[float]]:
    """Moments, and what the bulk flow and the sparse one then wait for in the queue, in ms."""
    link = Link(rtt=RTT, rate=(RATE, None), queue=(500_000, None), aqm=(aqm, None))
    net = Beside(link, tcp=TcpConfig(send_buffer=1 << 20, recv_buffer=1 << 20, nagle=False))
    net.watch(seconds, 0)
    at = [0.02 * n for n in range(len(net.rtts))]
    return at, [each / MS for each in net.rtts], [each / MS for each in net.sparse_rtts]


def queues(seconds: int = 12) -> Any:
    """Delay in the queue over time, by who looks after it."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.8), sharex=True, sharey=True, layout="constrained")
    for look, (aqm, name) in zip(OTHERS, NAMES.items()):
        at, bulk, sparse = waits(aqm, seconds)
        for ax, values in ((left, bulk), (right, sparse)):
            ax.plot(
                at,
                [max(each, 0.5) for each in values],
                label=name,
                color=look.colour,
                linestyle=look.dashes,
                linewidth=1.3,
            )
    for ax, title in ((left, "the flow that fills the line"), (right, "the flow that sends 100 bytes every 20 ms")):
        ax.set(title=title, xlabel="time (s)", yscale="log", ylim=(0.5, 600), xlim=(0, seconds))
        ax.set_yticks([1, 5, 15, 50, 200, 400], ["1", "5", "15", "50", "200", "400"])
        ax.minorticks_off()
        ax.grid(True, alpha=0.3)
    left.set_ylabel("smoothed round trip beyond 20 ms (ms)")
    figure.legend(*left.get_legend_handles_labels(), ncols=4, loc="outside lower center", frameon=False)
    return figure


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    queues().savefig(IMAGES / "queues.png", dpi=100)


if __name__ == "__main__":
    main()
