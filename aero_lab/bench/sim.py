"""``bench sim``: what virtual time costs.

``download/C/websocket`` and its like are 10 MiB over 100 ms and 1 % loss, a whole bench each time: guest, NIC, tunnel,
link, proxy, services, a capture of every frame and the figures drawn from it. The unit is CPU seconds of the measuring
process. ``single-flow/one-seed`` is smoltcp's table of one flow (``aero-lab reproduce``), all its cells once.
``sweep/2-workers`` makes runs of a sweep in two processes, beside one process in the same interleaved run, so its ratio
is what the second one brings; there the unit is runs a second of the clock on the wall, and a machine that is busy with
something else shows. Where a target was set in advance (``< 1 s``, ``< 180 s``, ``ratio >= 1.8``) it is printed beside.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from ..errors import AeroLabError
from ..experiment.cases import Case as Run
from ..experiment.cases import run_virtual
from ..experiment.sweep.grid import config_of
from ..experiment.sweep.local import Pool
from ..link import Link
from .report import Progress, Result, chosen

SIZE = 10 << 20
TABLE_BYTES = 10 << 20
LINK = "rtt=100ms, loss=1%"
SAMPLES = 3
SWEPT = Run(option="C", transport="websocket", parameters={"size": 200_000}, link=Link.parse("rtt=20ms, loss=1%"))
"""A run of the sweeps, whose seeds differ."""


@dataclass(frozen=True)
class Case:
    name: str
    option: str = "C"
    transport: str = "websocket"
    workers: int = 0
    """Processes of a sweep; 0: a download in this process."""
    table: bool = False
    """A seed of every cell of smoltcp's table of one flow."""
    target: float | None = None
    """What was set in advance: most seconds, or least runs a second beside one worker's."""


CASES = (
    Case("download/C/websocket", target=1.0),
    Case("download/B/websocket", "B"),
    Case("download/A/websocket", "A"),
    Case("download/C/webrtc", "C", "webrtc"),
    Case("download/C/webrtc-unordered", "C", "webrtc-unordered"),
    Case("download/C/memory", "C", "memory"),
    Case("single-flow/one-seed", table=True, target=180.0),
    Case("sweep/2-workers", workers=2, target=1.8),
)


def chosen_cases(names: Sequence[str] | None) -> list[Case]:
    """The cases whose names begin with one of ``names``; all when there are none."""
    return chosen(CASES, names)


def measure(
    seconds: float, cases: Sequence[str] | None = None, peers: bool = True, progress: Progress | None = None
) -> list[Result]:
    """Run the cases; ``peers`` is whether two workers are measured beside one."""
    todo = chosen_cases(cases)
    tell: Progress = progress or (lambda done, total, what: None)
    results: list[Result] = []
    for done, case in enumerate(todo):
        tell(done, len(todo), case.name)
        make = _table if case.table else _sweep if case.workers else _download
        results.append(make(case, seconds, peers))
    tell(len(todo), len(todo), "")
    return results


def _download(case: Case, seconds: float, peers: bool) -> Result:
    result = Result(case.name, "s", more_is_better=False, note=f"10 MiB over {LINK}; CPU of the whole bench")
    result.most = case.target

    def once(size: int, seed: int) -> float:
        run = Run(
            option=case.option, transport=case.transport, parameters={"size": size}, link=Link.parse(LINK), seed=seed,
            timeout=3600.0,
        )  # fmt: skip
        start = time.process_time()
        made, _ = run_virtual(run)
        spent = time.process_time() - start
        if not made.ok or not made.digest_ok:
            raise AeroLabError(f"{case.name}: {made.error or 'other bytes arrived than were sent'}")
        return spent

    once(100_000, 1)  # kernels are loaded before anything is measured
    spent = 0.0
    for seed in range(1, 100):
        result.samples.append(once(SIZE, seed))
        spent += result.samples[-1]
        if seed >= SAMPLES and spent >= seconds:
            break
    return result


def _table(case: Case, seconds: float, peers: bool) -> Result:
    """The whole table of ``aero-lab reproduce``, one seed, in this process alone."""
    from ..compiled.registry import load_all
    from ..experiment.reproduce.smoltcp import LOSS, SINGLE_FLOW, run_flow

    result = Result(case.name, "s", more_is_better=False, note="72 transfers of 10 MiB; CPU of one process")
    result.most = case.target
    load_all("reproduce")
    for seed in range(1, SAMPLES + 1):
        start = time.process_time()
        for buffer in SINGLE_FLOW:
            for loss in LOSS:
                run_flow(buffer, loss, seed, size=TABLE_BYTES)
        result.samples.append(time.process_time() - start)
    return result


def _sweep(case: Case, seconds: float, peers: bool) -> Result:
    result = Result(case.name, "runs/s", peer="1 worker" if peers else None, least_ratio=case.target)
    seeds = count(1)
    with ExitStack() as stack:
        ours = stack.enter_context(Pool(case.workers))
        one = stack.enter_context(Pool(1)) if peers else None
        size = max(_runs_of(pool, 2 * case.workers, seeds, seconds) for pool in (ours, one) if pool is not None)
        for _ in range(SAMPLES):
            result.samples.append(_rate(ours, size, seeds))
            if one is not None:
                result.peer_samples.append(_rate(one, max(1, size // case.workers), seeds))
    return result


def _runs_of(pool: Pool, number: int, seeds: Iterator[int], seconds: float) -> int:
    """Get a pool's workers going; gives how many runs fit a sample."""
    _rate(pool, number, seeds)
    return max(number, round(_rate(pool, number, seeds) * seconds / SAMPLES))


def _rate(pool: Pool, number: int, seeds: Iterator[int]) -> float:
    """Runs a second of so many runs."""
    configs: list[dict[str, Any]] = [config_of(replace(SWEPT, seed=next(seeds))) for _ in range(number)]
    start = time.perf_counter()
    for row in pool.rows(configs):
        if not row["ok"]:
            raise AeroLabError(f"a run of the sweep failed: {row['error']}")
    return number / (time.perf_counter() - start)
