"""The pictures of ``docs/figures.md``: ``python -m tests.viz.gallery`` makes them again (or some, by name).

All but one are of runs in virtual time, so the same pictures come out on every machine with the same fonts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib

IMAGES = Path(__file__).parents[2] / "docs" / "images"
DPI = 110
MOST_BYTES = 120_000
RECIPES: dict[str, Callable[[], Any]] = {}


def picture(name: str) -> Callable[[Callable], Callable]:
    """Register what draws ``docs/images/<name>.png`` and returns its axes."""

    def register(draw: Callable) -> Callable:
        RECIPES[name] = draw
        return draw

    return register


@cache
def run(link: str, work: str = "download", seed: int = 3, profile: str = "linux", **options: Any) -> Any:
    """The frames of a workload in virtual time, without those from before it."""
    import aero_lab as al

    with al.Lab(virtual=True, seed=seed, link=link, progress=False) as lab:
        guest = lab.guest("scripted", profile=profile)
        guest.wait_online()
        lab.capture.clear()
        assert guest.run(work, **options).ok
        lab.advance(0.3)
        return lab.capture.frames()


LOSSY = {"link": "rtt=60ms, loss=8%", "size": "300KB"}
ASYMMETRIC = {"link": "rtt=20ms, rate=50kbit/s:10Mbit/s", "size": "2MB", "seed": 1}
HELD = "rtt=40ms, reorder=2%, reorder_by=80ms, ordered="


def web(frames: Any) -> Any:
    """The frames of the connections to port 80."""
    return frames[(frames.srcport == 80) | (frames.dstport == 80)]


def pair(height: float = 4.2) -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots(2, 1, figsize=(7.2, height), sharex=True, layout="constrained")[1]


@picture("pipeline")
def _pipeline() -> Any:
    from aero_lab import viz

    return viz.pipeline()


@picture("first-download")
def _ladder() -> Any:
    from aero_lab import viz

    return viz.ladder(web(run("rtt=20ms", seed=1, size="64KB")), most=18)


@picture("bandwidth")
def _bandwidth() -> Any:
    from aero_lab import viz

    return viz.bandwidth(web(run("rtt=40ms, loss=2%, rate=10Mbit/s", size="1MB")), point="tunnel")


@picture("causes")
def _causes() -> Any:
    from aero_lab import viz

    runs = {
        "Linux": run("rtt=20ms", size="1MB"),
        "Windows 7": run("rtt=20ms", profile="windows7", size="1MB"),
        "Linux, 2 % loss": run("rtt=20ms, loss=2%", size="1MB"),
    }
    return viz.causes(runs, point="tunnel", direction="tx")


@picture("time-sequence")
def _time_sequence() -> Any:
    from aero_lab import viz

    return viz.time_sequence(web(run(**LOSSY)), point="tunnel", direction="rx")


@picture("stalls")
def _stalls() -> Any:
    from aero_lab import viz

    return viz.stalls(run(**ASYMMETRIC))


@picture("waterfall")
def _waterfall() -> Any:
    from aero_lab import viz

    axes = pair()
    for ax, (name, kept) in zip(axes, (("in order", "yes"), ("as they come", "no")), strict=True):
        viz.waterfall(run(HELD + kept, seed=1, size="1MB"), ax=ax)
        ax.set_title(f"a tunnel that delivers {name}", fontsize=9, loc="left")
    axes[0].set_xlabel("")
    return axes


@picture("acks")
def _acks() -> Any:
    from aero_lab import viz

    return viz.acks(run(**ASYMMETRIC))


@picture("stretch")
def _stretch() -> Any:
    from aero_lab import viz

    return viz.stretch({"no loss": run("rtt=20ms", size="1MB"), "2 % loss": run("rtt=20ms, loss=2%", size="1MB")})


@picture("thinning")
def _thinning() -> Any:
    from aero_lab import viz

    slow = run(**ASYMMETRIC)
    return viz.thinning({"10 Mbit/s both ways": run("rtt=20ms, rate=10Mbit/s", size="2MB"), "50 kbit/s up": slow})


@picture("rtt")
def _rtt() -> Any:
    from aero_lab import viz

    lines = {f"{rate} Mbit/s": run(f"rtt=40ms, rate={rate}Mbit/s, queue=128KiB", size="1MB") for rate in (2, 5, 20)}
    return viz.rtt(lines, point="tunnel")


@picture("delay")
def _delay() -> Any:
    from aero_lab import viz

    return viz.delay(run(**ASYMMETRIC))


@picture("hops")
def _hops() -> Any:
    from aero_lab import viz

    return viz.hops(run("rtt=40ms, rate=5Mbit/s, queue=64KiB, reorder=2%, reorder_by=80ms, ordered=yes", size="1MB"))


@picture("comparison")
def _comparison() -> Any:
    """Real time: figures of the machine that drew it."""
    import aero_lab as al

    workloads = ("download", "upload", "rr")
    table = al.compare(transports=("memory", "websocket"), workloads=workloads, size="2MB", repeats=3, progress=False)
    metrics = ("goodput_mbps", "connect_ms", "rtt_ms", "acks_per_data_segment")
    return al.plot.comparison(table, metrics=metrics)


@cache
def downloads() -> Any:
    """The sweep that the walkthrough reads, at 10 Mbit/s."""
    import pandas

    table: Any = pandas.read_parquet(IMAGES.parents[1] / "datasets" / "downloads-over-links.parquet")
    return table[table["link_rate_mbps"] == 10]


@picture("bands")
def _bands() -> Any:
    import aero_lab as al

    table = downloads()
    return al.plot.bands(table[(table["link_loss"] == 0.01) & (table["option"] != "B")])


@picture("best")
def _best() -> Any:
    import aero_lab as al

    return al.plot.best(downloads())


@picture("reproduction")
def _reproduction() -> Any:
    import aero_lab as al

    return al.plot.reproduction(al.reproduce("rfc9438", quick=True))


@picture("reproduction-rows")
def _reproduction_rows() -> Any:
    import aero_lab as al

    return al.plot.reproduction(al.reproduce("mathis", quick=True))


def figures(names: Any = None) -> Iterator[tuple[str, Any]]:
    """The pictures as ``(name, figure)``."""
    for name in names or RECIPES:
        axes = RECIPES[name]()
        first = axes.ravel()[0] if hasattr(axes, "ravel") else axes
        yield name, first.figure


if __name__ == "__main__":
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for name, figure in figures(sys.argv[1:]):
        path = IMAGES / f"{name}.png"
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
        plt.close(figure)
        size = path.stat().st_size
        print(f"{path.name}: {size:,} bytes")
        assert size < MOST_BYTES, f"{path.name} is too large for a page"
