"""Sweeps on a Dask cluster: the same rows as anywhere, also when a worker is killed on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest
from pandas.testing import assert_frame_equal

import aero_lab as al
from aero_lab.errors import UsageError
from aero_lab.experiment.sweep import cluster, plan_of
from aero_lab.experiment.sweep.grid import config_of
from aero_lab.experiment.sweep.rows import make_row

from .test_sweep import CELLS, EVERYTHING

distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'aero-lab[cluster]'")


@contextlib.contextmanager
def a_cluster(workers, threads=1):
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address=None, host="127.0.0.1"
        ) as made,
        distributed.Client(made, timeout=60) as client,
    ):
        client.wait_for_workers(workers, timeout=60)
        yield client


@pytest.fixture(scope="module")
def client():
    with a_cluster(2) as made:
        yield made


def test_a_dask_worker_makes_the_same_rows_and_the_same_bytes(client, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    mine = al.sweep(**EVERYTHING, store=False, workers=0, captures=here, progress=False)
    theirs = al.sweep(**EVERYTHING, store=tmp_path / "store", client=client, captures=there, progress=False)
    assert mine["ok"].all()
    assert_frame_equal(theirs, mine)
    names = sorted(path.name for path in here.iterdir())
    assert len(names) == CELLS and names == sorted(path.name for path in there.iterdir())
    for name in names:
        assert (here / name).read_bytes() == (there / name).read_bytes()


def test_failures_are_rows_there_too(client):
    frame = al.sweep(size=["5MB", "1KB"], rtt="1s", timeout=5, store=False, client=client, progress=False)
    assert list(frame["ok"]) == [False, True] and "not done within 5 s" in frame["error"][0]


def test_a_dask_worker_that_is_killed_costs_no_row(client):
    configs = [config_of(case) for case in plan_of(size="20KB", loss=0.05, seeds=40).cases]
    pids = list(client.run(os.getpid).values())
    rows = []
    for row in cluster.rows(client, configs):
        rows.append(row)
        if len(rows) == 5:
            os.kill(pids[0], signal.SIGKILL)
    assert sorted(row["key"] for row in rows) == sorted(make_row(config)["key"] for config in configs)
    wanted = {row["key"]: row for row in map(make_row, configs)}
    assert all(row == wanted[row["key"]] for row in rows)


def test_what_a_cluster_lacks_is_one_line(client, monkeypatch):
    with pytest.raises(UsageError, match="must be a Dask client or the address"):
        al.sweep(store=False, client=7, progress=False)
    with pytest.raises(UsageError, match="no Dask scheduler at"):
        al.sweep(store=False, client="nonsense://127.0.0.1:1", progress=False)
    monkeypatch.setattr(cluster, "program", lambda: str(os.getpid()))
    with pytest.raises(UsageError, match="has another version of aero_lab"):
        cluster.check(client)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_thousand_runs_with_a_worker_killed_on_the_way(tmp_path):
    grid = {"option": "BC", "rtt": ["10ms", "100ms"], "loss": [0, 0.001, 0.01, 0.02, 0.05], "size": "20KB"}
    store = tmp_path / "store"
    with a_cluster(2) as made:
        pids = list(made.run(os.getpid).values())
        killed = threading.Event()

        def kill() -> None:
            end = time.monotonic() + 600
            while time.monotonic() < end and not list(store.glob("rows-*")):
                time.sleep(0.02)
            os.kill(pids[0], signal.SIGKILL)
            killed.set()

        killer = threading.Thread(target=kill)
        killer.start()
        frame = al.sweep(**grid, seeds=100, store=store, client=made, progress=False)
        killer.join(60)
        assert killed.is_set() and pids[0] not in made.run(os.getpid).values()
    assert len(frame) == 2000 and frame["ok"].all() and frame["digest_ok"].all()
    assert_frame_equal(frame, al.sweep(**grid, seeds=100, store=False, progress=False))
