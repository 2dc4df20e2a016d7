"""Runs on a Dask cluster: the same rows, made by its workers. Dask gives what a lost worker was at to another."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from ...bounds import SWEEP_ATTEMPTS, SWEEP_TASKS
from ...errors import UsageError
from .grid import key_of
from .rows import FAILED_WORKER, Row, failure, make_row, program

Config = dict[str, Any]


def client_of(client: Any) -> tuple[Any, bool]:
    """A client that can be asked, and whether it was made here: an address is connected to."""
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("a sweep on a cluster needs Dask: pip install 'aero-lab[cluster]'") from None
    if isinstance(client, str):
        try:
            return Client(client, timeout=10), True
        except (OSError, ValueError, TypeError) as error:
            said = str(error).splitlines()
            raise UsageError(f"no Dask scheduler at {client}: {said[0] if said else type(error).__name__}") from None
    if not isinstance(client, Client):
        raise UsageError(f"client must be a Dask client or the address of a scheduler, not {type(client).__name__}")
    if client.asynchronous:
        raise UsageError("client must be a synchronous Dask client: Client(..., asynchronous=False)")
    return client, False


def check(client: Any) -> None:
    """Refuse a cluster whose workers run something else than this program."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise UsageError("the Dask cluster has no workers")
    found = client.run(program, on_error="return")
    for address, answer in found.items():
        if isinstance(answer, BaseException):
            raise UsageError(f"the Dask worker {address} has no aero_lab that could run this: {answer}")
        if answer != program():
            raise UsageError(f"the Dask worker {address} has another version of aero_lab")


def rows(client: Any, configs: Iterable[Config], captures: str | None = None) -> Iterator[Row]:
    """The rows of these runs, as they come."""
    from distributed import KilledWorker, as_completed

    waiting = iter(configs)
    mark = uuid.uuid4().hex[:8]  # results that another sweep left on the cluster are not ours
    under_way: dict[str, Config] = {}

    def submit() -> Any:
        config = next(waiting, None)
        if config is None:
            return None
        name = f"aero-lab-run-{mark}-{key_of(config)}"
        under_way[name] = config
        return client.submit(make_row, config, captures, key=name, retries=SWEEP_ATTEMPTS - 1, pure=False)

    first = [future for _ in range(SWEEP_TASKS) if (future := submit()) is not None]
    pending = as_completed(first)
    try:
        for future in pending:
            config = under_way.pop(future.key)
            if future.status == "finished":
                yield future.result()
            else:
                error = future.exception()
                lost = isinstance(error, KilledWorker) or future.status in ("lost", "cancelled")
                why = "the Dask workers that made this run ended" if lost else f"{type(error).__name__}: {error}"
                yield failure(config, why, FAILED_WORKER)
            future.release()
            following = submit()
            if following is not None:
                pending.add(following)
    finally:
        if under_way:  # the sweep was interrupted
            client.cancel([client_future for client_future in pending.futures], force=True)
