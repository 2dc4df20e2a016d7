"""Many runs in virtual time, over a grid of options, transports, workloads, links and settings: one tidy table.

A run is the same wherever it is made, so it can be made anywhere: in processes of this machine, or on a Dask cluster.
Its row is kept under the digest of its configuration, so a sweep that was killed goes on where it stopped. See
``docs/sweep.md``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from . import grid as grids
from .rows import Row, failure, to_frame
from .store import Store, default_folder, tidy

if TYPE_CHECKING:
    import pandas

__all__ = ["plan_of", "run", "sweep"]


def sweep(
    *,
    seeds: int | Iterable[int] = 1,
    timeout: float = 600.0,
    store: str | os.PathLike[str] | bool | None = None,
    client: Any = None,
    workers: int | None = None,
    captures: str | os.PathLike[str] | None = None,
    retry: bool = False,
    progress: bool = True,
    **grid: Any,
) -> pandas.DataFrame:
    """Run every combination of a grid in virtual time, with several seeds each; one row a run.

    >>> al.sweep(option="ABC", rtt=["10ms", "100ms"], loss=[0, 0.001, 0.01], size="1MB", seeds=20)

    Parameters
    ----------
    seeds: how many, or a list of them. ``20`` is the seeds from 1 to 20.
    timeout: seconds of virtual time after which a run that is not done has failed.
    store: folder that keeps the rows; one that is there already is gone on with. None: a folder of its own for each
        sweep beside the compiled kernels, so that the same call goes on where it was killed; False keeps nothing.
    client: a Dask client, or the address of a scheduler: the runs are made on that cluster.
    workers: processes of this machine, one for each of its processors unless told otherwise; 0: in this process.
    captures: folder for the pcapng of each run.
    retry: make runs again that failed in an earlier sweep.
    progress: show a bar.
    grid: the axes; a list has several places, anything else one. ``option``, ``transport``, ``workload``, ``guest``,
        ``profile``, ``mtu``, ``ack_policy``; parameters of a :class:`~aero_lab.Link` (``rtt``, ``loss``, ``rate`` ...,
        a tuple is up and down) or ``link`` for whole ones; parameters of the workload (``size`` ...); settings of the
        option (``connect`` ...) and of the transport (``transport__congestion`` ...). ``link__``, ``workload__``,
        ``option__`` before a name say what it belongs to.

    Returns
    -------
    A DataFrame: columns of the configuration (``option``, ``transport``, ..., ``link_rtt_ms``, ``link_loss``,
    ``workload_size``, ..., ``seed``), ``ok`` and ``error`` (failures are rows), what was measured (see
    :func:`aero_lab.compare`), and ``capture_sha256``, the digest of the run's pcapng. Rows stand in the grid's order.
    ``attrs["left_out"]`` lists combinations that cannot be; ``attrs["store"]`` says where the rows are kept and
    ``attrs["made_before"]`` how many of them were there already.
    """
    return run(
        grids.plan(grid, seeds, timeout), store=store, client=client, workers=workers, captures=captures, retry=retry,
        progress=progress,
    )  # fmt: skip


def plan_of(*, seeds: int | Iterable[int] = 1, timeout: float = 600.0, **grid: Any) -> grids.Plan:
    """What :func:`sweep` would run, without running it."""
    return grids.plan(grid, seeds, timeout)


def run(
    plan: grids.Plan,
    *,
    store: str | os.PathLike[str] | bool | None = None,
    client: Any = None,
    workers: int | None = None,
    captures: str | os.PathLike[str] | None = None,
    retry: bool = False,
    progress: bool = True,
) -> pandas.DataFrame:
    """Make the runs of a plan that its store does not have yet; see :func:`sweep`."""
    from .cluster import check, client_of

    if client is not None and workers is not None:
        raise UsageError("workers= are processes of this machine, client= is a cluster: give one of them")
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 0):
        raise UsageError(f"workers must be 0 or more, not {workers!r}")
    if captures is not None:
        try:
            Path(captures).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {captures}: {error.strerror or error}") from None
        captures = os.path.abspath(captures)
    keyed = {grids.key_of(config): config for config in map(grids.config_of, plan.cases)}
    folder = _folder(store, list(keyed))
    kept = Store(folder) if folder is not None else None
    made: dict[str, Row] = {}
    before = 0
    try:
        cluster, own = client_of(client) if client is not None else (None, False)
        try:
            if cluster is not None:
                check(cluster)
            todo = [
                config
                for key, config in keyed.items()
                if kept is None or not kept.has(key, retry) or (captures is not None and not _there(captures, key))
            ]
            before = len(keyed) - len(todo)
            for row in _shown(_rows(todo, cluster, workers, captures, progress), len(keyed), len(todo), progress):
                made[row["key"]] = row
                if kept is not None:
                    kept.add(row)
        except KeyboardInterrupt as stop:
            if kept is not None:
                there = sum(key in kept.rows for key in keyed)
                stop.add_note(f"{there} of {len(keyed)} runs are kept in {folder}; the same sweep goes on from there")
            raise
        finally:
            if own and cluster is not None:
                cluster.close()
        rows = [made[key] if key in made else _kept(kept, key, config) for key, config in keyed.items()]
    finally:
        if kept is not None:
            kept.close()
    frame = to_frame(rows, plan.link_keys)
    frame.attrs = {
        "left_out": list(plan.left_out), "store": None if folder is None else str(folder), "made_before": before,
    }  # fmt: skip
    return frame


def _kept(kept: Store | None, key: str, config: dict[str, Any]) -> Row:
    if kept is not None and key in kept.rows:
        return kept.rows[key]
    return failure(config, "this run was not made")


def _there(folder: str, key: str) -> bool:
    return os.path.exists(os.path.join(folder, f"{key}.pcapng"))


def _folder(store: str | os.PathLike[str] | bool | None, keys: list[str]) -> Path | None:
    if store is False:
        return None
    if store is None or store is True:
        folder = default_folder(keys)
        tidy(folder)
        return folder
    return Path(store)


def _rows(
    todo: list[dict[str, Any]], cluster: Any, workers: int | None, captures: str | None, progress: bool
) -> Iterator[Row]:
    """The rows of these runs, made where they are to be made."""
    if not todo:
        return
    if cluster is not None:
        from .cluster import rows

        yield from rows(cluster, todo, captures)
        return
    from ...compiled.registry import warmup
    from .local import Pool, here, processors

    warmup(progress)  # once, and not by every worker
    number = min(processors() if workers is None else workers, len(todo))
    if number == 0:
        yield from here(todo, captures)
        return
    with Pool(number) as pool:
        yield from pool.rows(todo, captures)


def _shown(rows: Iterator[Row], total: int, missing: int, progress: bool) -> Iterator[Row]:
    """The same rows, with a bar that counts them."""
    from tqdm.auto import tqdm

    failed = 0
    hidden = not progress or missing == 0
    with tqdm(total=total, initial=total - missing, desc="sweep", unit="run", leave=False, disable=hidden) as bar:
        for row in rows:
            failed += not row["ok"]
            if failed:
                bar.set_postfix_str(f"{failed} failed", refresh=False)
            bar.update()
            yield row
