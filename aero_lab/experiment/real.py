"""Runs in real time: one pair of processes a cell, its workloads one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import AeroLabError, UsageError
from ..limits import HTTP_DIGEST_BYTES, WORKER_PATIENCE
from .cases import Case
from .measure import take_cpu, take_frames, take_result, take_rtt, take_tunnel, take_wire
from .plan import SIZED
from .processes import RealRun
from .record import Run
from .worker import BESIDE

if TYPE_CHECKING:
    from ..capture import Capture

PILOT, BOXED = 200_000, (500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
"""Bytes of the transfer that shows how fast a combination is, and sizes that one is chosen from."""
WARM_UP: dict[str, dict[str, Any]] = {
    **{name: {"size": 20_000} for name in SIZED},
    "rr": {"count": 2},
    "burst": {"count": 2},
    "udp-echo": {"count": 2},
    "ping": {"count": 1},
    "dns": {"count": 1},
    "ntp": {"count": 1},
    "voip": {"duration": 0.1},
    "game": {"duration": 0.1},
}
"""What each workload is made small by, to run once before it counts: what is loaded and built on the first use of a
process is not what an option costs a megabyte."""
QUIET = 0.05
"""Seconds between two workloads for what the first left on its way."""
SLACK = 10.0
"""Seconds beyond its own timeout that a process may take to answer."""


def run_real(case: Case) -> tuple[Run, Capture | None]:
    """Make one run in real time; what fails is said in the run, what the user got wrong raises :class:`UsageError`."""
    case.check()
    return next(iter(run_cell([case])))


def run_cell(cases: Sequence[Case], budget: float | None = None) -> Iterator[tuple[Run, Capture | None]]:
    """Make the runs of one cell, in processes that they share; after one that failed the next gets new ones, unless it
    was these that failed. ``budget``: seconds for all of it, None: as :func:`budget_of` says; what is not done by then
    has failed, so that a cell that hangs does not keep others from running."""
    with _Cell(cases, budget_of(cases) if budget is None else budget) as cell:
        for number, case in enumerate(cases):
            run = case.blank()
            try:
                capture = cell.measure(case, run, number)
            except UsageError:
                raise
            except AeroLabError as error:
                run.ok, run.error = False, str(error)
                cell.close()
                yield run, None
            else:
                yield run, capture


def budget_of(cases: Sequence[Case]) -> float:
    """Seconds that a cell gets unless told otherwise: for its processes to stand, for the guest to have an address, and
    for each workload its timeout."""
    return WORKER_PATIENCE + sum(case.timeout + SLACK for case in (cases[0], *cases))


def run_beside(case: Case, budget: float | None = None) -> dict[str, Any]:
    """What the client part of a case costs an emulated PC that shares its core, see :mod:`.worker_mips`: ``idle`` and
    ``loaded`` MIPS, and the Mbit/s it carried meanwhile. Without a link: what it costs, not how far it is. ``budget``:
    as of :func:`run_cell`."""
    halves = RealRun(
        case.option,
        case.profile,
        case.mtu,
        case.seed,
        case.meta(),
        transport=case.transport,
        guest=BESIDE,
        settings=case.settings,
        transport_settings=_own(case),
        until=time.monotonic() + (budget_of([case]) if budget is None else budget),
    )
    with halves:
        halves.client.ask("online", timeout=case.timeout, patience=case.timeout + SLACK)
        return halves.client.ask(
            "run", workload=BESIDE, parameters={}, timeout=case.timeout, patience=case.timeout + SLACK
        )


def _own(case: Case) -> dict[str, Any]:
    """The transport's own settings; congestion control is the link's."""
    return {name: value for name, value in case.transport_settings.items() if name != "congestion"}


class _Cell:
    """The processes of a cell, as long as they are good for another workload."""

    def __init__(self, cases: Sequence[Case], budget: float):
        self.cases = cases
        self.halves: RealRun | None = None
        self._budget, self._until = budget, time.monotonic() + budget
        self._never: str | None = None
        """Why there are no processes for this cell."""
        self._nic: str | None = None
        self._rtt: list[float] = []

    def __enter__(self) -> _Cell:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.halves is not None:
            self.halves.close()
        self.halves = None

    def _ready(self, case: Case) -> RealRun:
        """Processes with a guest that has an address, and nothing recorded that is another workload's."""
        if self.halves is not None:
            time.sleep(QUIET)
            for worker in (self.halves.client, self.halves.proxy):
                worker.ask("clear")
            return self.halves
        if self._never is not None:
            raise AeroLabError(f"not tried, since for {self._never}")
        if time.monotonic() >= self._until:
            raise AeroLabError(f"not tried, since the {self._budget:g} s of its cell were over")
        try:
            return self._start(case)
        except UsageError:
            raise
        except AeroLabError as error:
            self._never = f"the {case.workload} before it: {error}"
            raise

    def _start(self, case: Case) -> RealRun:
        digests = {size for each in self.cases for size in _digests(each)}
        self.halves = RealRun(
            case.option,
            case.profile,
            case.mtu,
            case.seed,
            case.meta(),
            case.ack_policy,
            case.transport,
            tuple(sorted(digests)),
            case.guest,
            case.settings,
            transport_settings=_own(case),
            link=case.link,
            hop=case.hop,
            congestion=case.congestion,
            until=self._until,
        )
        about = self.halves.client.ask("online", timeout=case.timeout, patience=case.timeout + SLACK)
        self._nic = about.get("nic")
        self._rtt = self.halves.client.ask("rtt")["rtt_ms"]
        return self.halves

    def measure(self, case: Case, run: Run, number: int) -> Capture:
        halves = self._ready(case)
        parameters = dict(case.parameters)
        if case.box is not None:
            parameters["size"] = _boxed(halves, case, case.box)
        else:
            _ask(halves, case, {**parameters, **_small(case)})  # whether it can be done, what counts will tell
        hop = halves.hop_about() or None
        before = halves.measure()
        answer = _ask(halves, case, parameters)
        after = halves.measure()
        take_result(run, answer)
        take_rtt(run, self._rtt)
        take_tunnel(run, before[0]["counters"], after[0]["counters"])
        run.nic = self._nic
        run.ack_policy = next((half["ack_policy"] for half in after if "ack_policy" in half), case.ack_policy)
        take_cpu(run, *(b["cpu"] - a["cpu"] for a, b in zip(before, after)))
        since, until = (moment[0]["now"] + halves.epoch_ns for moment in (before, after))
        if hop is not None:
            run.extra["hop"] = _hop(hop, halves.hop_about())
        capture = halves.capture()
        capture.meta.update(case.meta())
        frames = capture.frames()
        take_frames(run, frames, since, case.peer_seen_at)
        between: Any = frames[(frames["frame_time"] >= since) & (frames["frame_time"] <= until)]
        take_wire(run, before[0].get("wire"), after[0].get("wire"), between)
        return capture


def _hop(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """How the link was made, and what it did to packets meanwhile."""
    did = {
        way: {
            name: number - before["counters"].get(way, {}).get(name, 0)
            for name, number in counts.items()
            if isinstance(number, int) and name != "in_flight"
        }
        for way, counts in after["counters"].items()
    }
    return {**after, "counters": {way: {n: c for n, c in counts.items() if c} for way, counts in did.items()}}


def _digests(case: Case) -> tuple[int, ...]:
    """Sizes of downloads whose digest the services are to know before they begin."""
    if case.workload != "download":
        return ()
    if case.box is not None:
        return (PILOT, *BOXED)
    size = case.parameters.get("size", 0)
    return (size,) if isinstance(size, int) and 0 < size <= HTTP_DIGEST_BYTES else ()


def _ask(halves: RealRun, case: Case, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run the workload of a case, with these parameters."""
    return halves.client.ask(
        "run",
        workload=case.workload,
        parameters=parameters,
        timeout=case.timeout,
        patience=case.timeout + SLACK,
    )


def _small(case: Case) -> dict[str, Any]:
    """What makes a case's workload a small one, and never a larger one than it is."""
    least = WARM_UP.get(case.workload, {})
    return {name: value for name, value in least.items() if _number(case.parameters.get(name), value) >= value}


def _number(given: Any, otherwise: float) -> float:
    """A size as it may be given, or what stands for one that was not."""
    from ..guests.scripted.workloads import size_of

    if isinstance(given, str):
        return size_of(given)
    return given if isinstance(given, int | float) else otherwise


def _boxed(halves: RealRun, case: Case, box: float) -> int:
    """The size of a transfer that fits the box, from a small one."""
    pilot = _ask(halves, case, {**case.parameters, "size": PILOT})
    if not pilot["ok"]:
        raise AeroLabError(pilot["error"] or "a small transfer before the one that counts failed")
    fits = PILOT / max(pilot["seconds"], 1e-6) * box
    return max((each for each in BOXED if each <= fits), default=BOXED[0])
