"""One workload over options and transports: the same question put to each, answered in one table.

In real time each run has a client process and a proxy process, joined by shared memory or by real WebSockets or WebRTC
data channels to the real proxy server, and real sockets to a real HTTP server in this process; in virtual time a run is
one lab without sockets, and the same seed gives the same bytes.

A combination that cannot be is left out, with its reason in the table. Repeats are interleaved: each combination runs
once before any runs again, so that a machine whose speed drifts treats them alike. A transfer without a size is boxed
in time: a small one shows how fast the combination is, and the one that counts is as large as fits the box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AeroLabError, UsageError
from ..limits import HTTP_DIGEST_BYTES, MTU_DEFAULT
from .cases import TIMEOUT, Case, run_virtual
from .measure import take_cpu, take_frames, take_result, take_rtt, take_tunnel, take_wire
from .record import Run
from .table import Table

if TYPE_CHECKING:
    from ..capture import Capture
    from ..link import Link

TRANSPORTS = ("memory", "websocket", "webrtc", "webrtc-unordered", "webrtc-lossy")
"""What a run of processes of its own can be made over."""
PILOT, BOXED = 200_000, (500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
"""Bytes of the transfer that shows how fast a combination is, and sizes that one is chosen from."""
BOX = 4.0
"""Seconds that a transfer without a size is to take at most."""
SIZED = ("download", "upload", "parallel", "source", "sink")
"""Workloads that take a ``size``."""


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
    link: Link | str | None = None,
    mtu: int = MTU_DEFAULT,
    seed: int = 1,
    repeats: int = 1,
    ack_policy: str = "early",
    out: str | Path | None = None,
    timeout: float = TIMEOUT,
    progress: bool = True,
) -> Table:
    """Run each workload over each option and transport; returns the table.

    Parameters
    ----------
    options: letters, for instance ``"AC"``.
    transports: names: ``"memory"``, and ``"websocket"`` in real time: the proxy server and a client of it.
    workloads: names, see :meth:`aero_lab.handles.Guest.run`.
    size: of bulk transfers, ``"10MB"`` or a number of bytes.
    parameters: further parameters of the workload; only with a single one.
    guest: ``"scripted"``, or ``"tap"`` for the host kernel's own TCP/IP (Linux, real time).
    profile: what the scripted guest looks like.
    virtual: in virtual time.
    link: impairment of the tunnel; needs ``virtual=True``.
    seed: of everything random; repeat ``n`` runs with ``seed + n``.
    ack_policy: when the guest's TCP hears that its bytes arrived: ``"early"``, when the proxy has them, or
        ``"mirror"``, when the far TCP acknowledged them. Runs tell what came of it: ``"mirror-accepted"`` on systems
        that cannot tell.
    out: folder for pcapng, parquet, JSON and report; None writes nothing.
    timeout: seconds, of the lab's clock, after which a run has failed.
    """
    left_out: list[dict[str, str]] = []
    cases = list(
        _cases(
            options, transports, workloads, size, parameters, guest, profile, virtual, link, mtu, seed, repeats,
            timeout, ack_policy, box, left_out,
        )
    )  # fmt: skip
    if not cases:
        raise UsageError("; ".join(dict.fromkeys(each["reason"] for each in left_out)))
    folder = Path(out) if out is not None else None
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
    from tqdm.auto import tqdm

    from ..compiled.registry import warmup

    warmup(progress)
    runs, files = [], []
    for case in tqdm(cases, desc="runs", unit="run", leave=False, disable=not progress or len(cases) < 2):
        run, capture = (run_virtual if virtual else _run_real)(case)
        if folder is not None and capture is not None and run.ok:
            files += _write(capture, folder / case.name)
            run.capture = str(files[-2])
        runs.append(run)
    table = Table(runs, seed, left_out=left_out)
    if folder is not None:
        table.files = files
        table.write(folder)
    return table


def _cases(
    options: str | Sequence[str],
    transports: Sequence[str],
    workload_names: Sequence[str],
    size: int | str | None,
    parameters: dict[str, Any] | None,
    guest: str,
    profile: str,
    virtual: bool,
    link: Link | str | None,
    mtu: int,
    seed: int,
    repeats: int,
    timeout: float,
    ack_policy: str,
    box: float | None,
    left_out: list[dict[str, str]],
) -> Iterator[Case]:
    from ..guests.scripted.workloads import size_of
    from ..link import Link
    from ..paths import get_path

    paths = [get_path(letter) for letter in options]
    if not paths or not transports or not workload_names:
        raise UsageError("compare needs at least one option, transport and workload")
    for transport in transports:
        if transport not in TRANSPORTS:
            raise UsageError(f"transport {transport!r} does not exist; there is {', '.join(TRANSPORTS)}")
    if guest == "tap":
        _check_tap(virtual)
    if parameters and len(workload_names) > 1:
        raise UsageError("parameters= belong to one workload; name only that one")
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more, not {repeats}")
    link = Link.parse(link) if isinstance(link, str) else link
    if link is not None and not virtual:
        raise UsageError("a link is simulated in virtual time only so far: add --virtual")
    boxed = box if size is None and not virtual else None
    for repeat, path, transport, workload in product(range(repeats), paths, transports, workload_names):
        own = dict(parameters or {})
        if size is not None and workload in SIZED:
            own.setdefault("size", size_of(size))
        case = Case(
            path.letter, transport, workload, own, profile, mtu, seed + repeat, repeat, virtual, link, timeout,
            ack_policy, guest, box=boxed if workload in SIZED and "size" not in own else None,
        )  # fmt: skip
        case.check_values()
        if not (why := case.why_not()):
            yield case
        elif repeat == 0 and workload == workload_names[0]:
            left_out.append({"option": path.letter, "transport": transport, "reason": why})


def _check_tap(virtual: bool) -> None:
    from ..guests.tap import why_not

    if virtual:
        raise UsageError("a tap guest is a real kernel and lives in real time: leave --virtual or the guest out")
    if why := why_not():
        raise UsageError(why)


def _run_real(case: Case) -> tuple[Run, Capture | None]:
    run = case.blank()
    try:
        return run, _measure_real(case, run)
    except UsageError:
        raise
    except AeroLabError as error:
        run.ok, run.error = False, str(error)
        return run, None


def _measure_real(case: Case, run: Run) -> Capture:
    from .processes import RealRun

    size = case.parameters.get("size", 0) if case.workload == "download" else 0
    digest_of: tuple[int, ...] = (size,) if isinstance(size, int) and 0 < size <= HTTP_DIGEST_BYTES else ()
    if case.box is not None and case.workload == "download":
        digest_of = (PILOT, *BOXED)
    with RealRun(
        case.option,
        case.profile,
        case.mtu,
        case.seed,
        case.meta(),
        case.ack_policy,
        case.transport,
        digest_of,
        case.guest,
        case.settings,
    ) as halves:
        halves.client.ask("online", timeout=case.timeout, patience=case.timeout + 10)
        rtt = halves.client.ask("rtt")["rtt_ms"]
        parameters = dict(case.parameters)
        if case.box is not None:
            parameters["size"] = _boxed(halves, case, case.box)
        before = [worker.ask("measure") for worker in (halves.client, halves.proxy)]
        answer = halves.client.ask(
            "run",
            workload=case.workload,
            parameters=parameters,
            timeout=case.timeout,
            patience=case.timeout + 10,
        )
        after = [worker.ask("measure") for worker in (halves.client, halves.proxy)]
        take_result(run, answer)
        take_rtt(run, rtt)
        take_tunnel(run, before[0]["counters"], after[0]["counters"])
        run.ack_policy = next(half["ack_policy"] for half in after if "ack_policy" in half)
        take_cpu(run, *(b["cpu"] - a["cpu"] for a, b in zip(before, after)))
        capture = halves.capture()
        since, until = (moment[0]["now"] + halves.epoch_ns for moment in (before, after))
    frames = capture.frames()
    take_frames(run, frames, since, case.peer_seen_at)
    between: Any = frames[(frames["frame_time"] >= since) & (frames["frame_time"] <= until)]
    take_wire(run, before[0].get("wire"), after[0].get("wire"), between)
    return capture


def _boxed(halves: Any, case: Case, box: float) -> int:
    """The size of a transfer that fits the box, from a small one."""
    pilot = halves.client.ask(
        "run",
        workload=case.workload,
        parameters={**case.parameters, "size": PILOT},
        timeout=case.timeout,
        patience=case.timeout + 10,
    )
    if not pilot["ok"]:
        raise AeroLabError(pilot["error"] or "a small transfer before the one that counts failed")
    fits = PILOT / max(pilot["seconds"], 1e-6) * box
    return max((each for each in BOXED if each <= fits), default=BOXED[0])


def _write(capture: Capture, stem: Path) -> list[Path]:
    return [capture.save(f"{stem}.pcapng"), capture.save_parquet(f"{stem}.parquet")]
