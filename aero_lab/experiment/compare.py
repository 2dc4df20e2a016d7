"""Workloads over options and transports: the same questions put to each, answered in one table.

In real time each cell has a client process and a proxy process, joined by shared memory or by real WebSockets or WebRTC
data channels to the real proxy server, and real sockets to a real HTTP server in this process; in virtual time a run is
one lab without sockets, and the same seed gives the same bytes.

A combination that cannot be is left out, with its reason in the table. Repeats are interleaved: each combination runs
once before any runs again, so that a machine whose speed drifts treats them alike. A transfer without a size is boxed
in time: a small one shows how fast the combination is, and the one that counts is as large as fits the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AeroLabError, UsageError
from ..limits import MTU_DEFAULT
from .cases import TIMEOUT, Case, check_timeout, run_virtual
from .plan import Plan, cells_of
from .record import Run
from .table import Table

if TYPE_CHECKING:
    from ..capture import Capture
    from ..link import Link

BOX = 3.0
"""Seconds that a transfer without a size is to take at most, on the command line."""
BRIEF = {"rr": {"count": 50}, "voip": {"duration": 2.0}}
"""What is asked of workloads that run because nobody named any."""


def compare(
    options: str | Sequence[str] = "C",
    transports: Sequence[str] = ("memory",),
    workloads: Sequence[str] = ("download",),
    *,
    size: int | str | None = None,
    box: float | None = None,
    parameters: dict[str, Any] | None = None,
    guest: str = "scripted",
    profile: str = "linux",
    virtual: bool = False,
    link: Link | str | Sequence[Link | str | None] | None = None,
    hop: str = "auto",
    mtu: int = MTU_DEFAULT,
    seed: int = 1,
    repeats: int = 1,
    ack_policy: str = "early",
    settings: Mapping[str, Any] | None = None,
    transport_settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    timeout: float = TIMEOUT,
    cell_timeout: float | None = None,
    mips: bool = False,
    progress: bool = True,
) -> Table:
    """Run each workload over each option and transport; returns the table.

    Parameters
    ----------
    options: letters, for instance ``"AC"``, or a list of letters with settings of their own, such as
        ``["A", "A:streams=socket", "C"]``.
    transports: names: ``"memory"``, ``"websocket"``, ``"webrtc"``, ``"webrtc-unordered"``, ``"webrtc-lossy"``; in
        virtual time protocols of our own stand for them.
    workloads: names, see :meth:`aero_lab.handles.Guest.run`.
    size: of bulk transfers, ``"10MB"`` or a number of bytes.
    box: seconds that a transfer without a size may take (real time); its size is chosen so.
    parameters: further parameters of the workload; of several, a dictionary of such by workload.
    guest: ``"scripted"``; ``"tap"`` for the host kernel's own TCP/IP (Linux, real time); ``"linux"`` for Debian on the
        emulated PC; ``"qemu"`` for the same under QEMU (real time).
    profile: what the scripted guest looks like.
    virtual: in virtual time.
    link: impairment of the tunnel, as a :class:`~aero_lab.Link`, text such as ``"rtt=40ms, loss=1%"`` or the name of a
        profile: ``"loopback"``, ``"20ms"``, ``"100ms-1%"``; or several of them.
    hop: what impairs real transports: ``"namespace"``, ``"relay"``, or ``"auto"``.
    seed: of everything random; repeat ``n`` runs with ``seed + n``.
    ack_policy: when the guest's TCP hears that its bytes arrived: ``"early"``, when the proxy has them, or
        ``"mirror"``, when the far TCP acknowledged them. Runs tell what came of it: ``"mirror-accepted"`` on systems
        that cannot tell.
    settings: of the options, such as ``{"connect": "early"}``: each takes those that it has.
    transport_settings: of the transports, such as ``{"congestion": "reno"}``: each takes those that it has.
    out: folder for pcapng, parquet, JSON and report; None writes nothing.
    timeout: seconds, of the lab's clock, after which a run has failed.
    cell_timeout: seconds for all workloads of one combination together (real time); what is not done by then has
        failed, and the next one begins. None: what ``timeout`` allows each of them, and time to start.
    mips: also measure what each cell's client part costs an emulated PC that shares its core (real time).
    """
    from ..link import Link

    links = [link] if link is None or isinstance(link, str | Link) else list(link)
    plan = Plan(
        options, transports, workloads, size, box, parameters, guest, profile, virtual, links, hop, mtu, seed, repeats,
        ack_policy, timeout, settings or {}, transport_settings or {},
    )  # fmt: skip
    if cell_timeout is not None:
        check_timeout(cell_timeout, "cell_timeout")
        if virtual:
            raise UsageError("cell_timeout is about real time: leave it or virtual time out")
    cases = plan.cases()
    folder = Path(out) if out is not None else None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    from tqdm.auto import tqdm

    from ..warming import warmup

    groups = ["cpu"] if guest == "linux" or (mips and not virtual) else []
    groups += ["nic"] if guest == "linux" else []
    warmup(progress, "network", *groups)  # here, with a bar, and not in the middle of a measurement
    runs, files = [], []
    made = _run_all(cases, virtual, mips, cell_timeout)
    bar = tqdm(made, total=len(cases), desc="runs", unit="run", leave=False, disable=not progress or len(cases) < 2)
    for case, (run, capture) in zip(cases, bar):
        if folder is not None and capture is not None and run.ok:
            files += _write(capture, folder / case.name)
            run.capture = str(files[-2])
        runs.append(run)
    table = Table(runs, seed, left_out=plan.left_out)
    if folder is not None:
        table.files = files
        table.write(folder)
    return table


def _run_all(
    cases: Iterable[Case], virtual: bool, mips: bool, budget: float | None
) -> Iterator[tuple[Run, Capture | None]]:
    from .real import run_cell

    measured: dict[str, dict[str, Any]] = {}
    for cell in cells_of(cases):
        if virtual:
            yield from map(run_virtual, cell)
            continue
        found = _beside(cell[0], measured, budget) if mips else {}
        for case, (run, capture) in zip(cell, run_cell(cell, budget)):
            if case is cell[0] and run.ok:  # of the cell, not of a workload: once is enough
                run.guest_mips_idle, run.guest_mips_loaded = found.get("idle"), found.get("loaded")
                run.extra["mips"] = found
            yield run, capture


def _beside(case: Case, measured: dict[str, dict[str, Any]], budget: float | None) -> dict[str, Any]:
    """MIPS beside the client part of a cell. Neither link nor repeat change that part, so once is enough."""
    from .real import run_beside

    name = f"{case.label} {case.transport} {sorted(case.transport_settings.items())} {case.mtu}"
    if name not in measured:
        try:
            measured[name] = run_beside(case, budget)
        except UsageError:
            raise
        except AeroLabError as error:
            measured[name] = {"error": str(error)}
    return measured[name]


def _write(capture: Capture, stem: Path) -> list[Path]:
    return [capture.save(f"{stem}.pcapng"), capture.save_parquet(f"{stem}.parquet")]
