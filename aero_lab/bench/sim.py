"""``bench sim``: what virtual time costs.

``download/C/websocket`` and its like are 10 MiB over 100 ms and 1 % loss, a whole bench each time: guest, NIC, tunnel,
link, proxy, services, a capture of every frame and the figures drawn from it. The unit is CPU seconds of the measuring
process. ``single-flow/one-seed`` is smoltcp's table of one flow (``aero-lab reproduce``), all its cells once.
``sweep/2-workers`` makes runs of a sweep in two processes, beside one process that makes the same runs in the same
interleaved rounds, so its ratio is what the second one brings; there the unit is runs a second of the clock on the
wall, and a machine that is busy with something else shows. ``sweep/2-workers/arithmetic`` is what the second process
brings to a plain loop in those rounds: no sweep can be expected to bring more. Where a target was set in advance
(``< 1 s``, ``< 180 s``, ``ratio >= 1.8``) it is printed beside.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
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
ROUNDS = 12
"""Of the sweeps: one sample swings by a fifth on a virtual machine, whose processors others use too."""
LOOP = 300_000
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
        results += make(case, seconds, peers)
    tell(len(todo), len(todo), "")
    return results


def _download(case: Case, seconds: float, peers: bool) -> list[Result]:
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
    return [result]


def _table(case: Case, seconds: float, peers: bool) -> list[Result]:
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
    return [result]


def _sweep(case: Case, seconds: float, peers: bool) -> list[Result]:
    """Rounds of the same runs with all workers and with one, first this one, then that: a sample of all workers takes
    ``seconds``. The same rounds hold plain arithmetic, which says what the machine has to give."""
    result = Result(case.name, "runs/s", peer="1 worker" if peers else None, least_ratio=case.target)
    machine = Result(f"{case.name}/arithmetic", "loops/s", peer="1 process", note="what the machine has to give")
    with ExitStack() as stack:
        ours, one = (stack.enter_context(Pool(n)) for n in (case.workers, 1))
        all_, single = (stack.enter_context(_processes(n)) for n in (case.workers, 1))
        for pool in (ours, one):
            _runs(pool, 2 * case.workers, 0)
        for processes in (all_, single):
            _loops(processes, 2 * case.workers)
        size = max(2 * case.workers, round(_runs(ours, 2 * case.workers, 0) * seconds))
        for turn in range(ROUNDS if peers else SAMPLES):
            todo = [
                (result.samples, partial(_runs, ours, size, turn * size)),
                (result.peer_samples, partial(_runs, one, size, turn * size)),
                (machine.samples, partial(_loops, all_, size // case.workers)),
                (machine.peer_samples, partial(_loops, single, size // case.workers)),
            ]
            for samples, rate in (todo if turn % 2 else reversed(todo)) if peers else todo[:1]:
                samples.append(rate())
    return [result, machine] if peers else [result]


def _runs(pool: Pool, number: int, first: int) -> float:
    """Runs a second of so many runs, whose seeds follow ``first``."""
    configs: list[dict[str, Any]] = [config_of(replace(SWEPT, seed=first + n)) for n in range(1, number + 1)]
    start = time.perf_counter()
    for row in pool.rows(configs):
        if not row["ok"]:
            raise AeroLabError(f"a run of the sweep failed: {row['error']}")
    return number / (time.perf_counter() - start)


def _processes(number: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(number, mp_context=get_context("spawn"))


def _loops(processes: ProcessPoolExecutor, number: int) -> float:
    """Loops of plain arithmetic a second."""
    start = time.perf_counter()
    deque(processes.map(_loop, [LOOP] * number), maxlen=0)
    return number / (time.perf_counter() - start)


def _loop(number: int) -> int:
    return sum(n * n for n in range(number))
