"""Sweeps: the same rows wherever they are made, whoever is killed on the way, and a store that goes on."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest
from pandas.testing import assert_frame_equal

import aero_lab as al
from aero_lab.cli import run as command
from aero_lab.errors import UsageError
from aero_lab.experiment.sweep import local, plan_of
from aero_lab.experiment.sweep import store as stores
from aero_lab.experiment.sweep.grid import config_of
from aero_lab.experiment.sweep.rows import FAILED_WORKER, make_row

GRID = {"option": "BC", "transport": ["memory", "websocket"], "rtt": "20ms", "loss": [0, 0.02], "size": "20KB"}
EVERYTHING = {
    "option": "ABC", "transport": ["memory", "websocket", "webrtc", "webrtc-unordered", "webrtc-lossy"],
    "streams": ["mux", "socket"], "workload": ["download", "voip"], "size": "20KB", "duration": 1.0,
    "rtt": "20ms", "loss": 0.02, "jitter": "1ms", "rate": "20Mbit/s", "aqm": "fq_codel",
}  # fmt: skip
"""Every option over every transport that it has, connections and datagrams, on a link with much that is random."""
CELLS = 2 * (3 + 1 + 5 + 5)
"""Runs in it: option A has three transports, one of them in two ways, B and C have five."""
ROOT = Path(__file__).parents[2]


def sweep(**arguments):
    return al.sweep(**{"store": False, "progress": False, "workers": 0, **arguments})


def configs(**grid):
    return [config_of(case) for case in plan_of(**grid).cases]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The table of every option over every transport, made in this process, and the folder of its captures."""
    folder = tmp_path_factory.mktemp("captures")
    return sweep(**EVERYTHING, captures=folder), folder


def test_the_table_is_tidy():
    frame = sweep(**GRID, seeds=2)
    assert len(frame) == 16 and frame["ok"].all() and frame["error"].isna().all() and frame["digest_ok"].all()
    assert list(frame.columns[:13]) == [
        "option", "transport", "workload", "guest", "profile", "mtu", "ack_policy", "link", "link_rtt_ms", "link_loss",
        "workload_size", "seed", "ok",
    ]  # fmt: skip
    assert list(zip(frame["option"], frame["transport"], frame["link_loss"], frame["seed"])) == [
        (o, t, loss, seed) for o in "BC" for t in ("memory", "websocket") for loss in (0.0, 0.02) for seed in (1, 2)
    ]
    assert (frame["link_rtt_ms"] == 20.0).all() and (frame["bytes"] == 20_000).all()
    assert (frame["goodput_mbps"] > 0).all() and frame["capture_sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert frame["capture_sha256"].is_unique
    lossless = frame[(frame["option"] == "C") & (frame["transport"] == "memory") & (frame["link_loss"] == 0)]
    assert (lossless["connect_ms"] == 20.0).all() and (lossless["retransmissions"] == 0).all()


def test_columns_of_the_link_are_those_that_matter():
    grid = {"aqm": [None, "codel"], "rate": "5Mbit/s", "loss": 0, "rtt": "20ms", "jitter": "2ms", "size": "10KB"}
    frame = sweep(**grid)
    columns = [name for name in frame.columns if name.startswith("link_")]
    assert {"link_aqm", "link_rate_mbps", "link_loss", "link_jitter_ms"} <= set(columns) and frame["ok"].all()
    assert list(frame["link_aqm"].fillna("")) == ["", "codel"] and (frame["link_jitter_ms"] == 2.0).all()
    assert "link_duplicate" not in columns and frame["link"].nunique() == 2


def test_tails_are_those_of_the_workloads_samples():
    frame = sweep(workload=["voip", "rr", "download"], duration=1.0, count=20, size=[100], loss=0.1, rtt="20ms")
    voip, rr, download = (frame[frame["workload"] == each].iloc[0] for each in ("voip", "rr", "download"))
    assert 10.0 <= voip["udp_delay_ms"] <= voip["p90_ms"] <= voip["p99_ms"] < 100
    assert 20.0 <= rr["rtt_ms"] < rr["p90_ms"] <= rr["p99_ms"] and pandas.isna(download["p90_ms"])
    assert pandas.isna(voip["workload_size"]) and rr["workload_count"] == 20


def test_pairs_and_no_rate_have_columns_of_their_own():
    frame = sweep(rate=[None, ("1Mbit/s", "10Mbit/s")], queue=[None], size="10KB", profile=["linux", "windows7"])
    assert list(frame["link_rate_mbps_up"]) == [float("inf"), 1.0] * 2
    assert list(frame["link_rate_mbps_down"]) == [float("inf"), 10.0] * 2
    assert list(frame["profile"]) == ["linux"] * 2 + ["windows7"] * 2


def test_other_processes_make_the_same_rows_and_the_same_bytes(whole, tmp_path):
    frame, folder = whole
    assert len(frame) == CELLS and frame["ok"].all()
    again = sweep(**EVERYTHING, workers=2, captures=tmp_path)
    assert_frame_equal(again, frame)
    names = {path.name for path in folder.iterdir()}
    assert len(names) == CELLS and names == {path.name for path in tmp_path.iterdir()}
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


LINKS = [
    {"gilbert": "5%/30%/100%/0%"},
    {"jitter": "5ms", "jitter_model": "normal", "duplicate": 0.02, "reorder": 0.05, "corrupt": 0.01},
    {"outage": "300ms/200ms/1s", "outage_mode": "hold", "loss": 0.02},
    {"rate": "2Mbit/s", "aqm": "pie", "queue": "100KB", "ecn": True},
    {"rate": ["1Mbit/s", "4Mbit/s"], "aqm": "codel", "loss_burst": 3, "loss": 0.02},
]


def test_neither_the_order_nor_the_surroundings_of_runs_change_one(tmp_path):
    """Hashes, the zone, the folder and what ran before are another's: rows and captures are the same."""
    every = []
    for link in LINKS:
        axes = {name: [tuple(value)] if isinstance(value, list) else value for name, value in link.items()}
        every += configs(option="C", transport=["memory", "websocket", "webrtc"], size="30KB", rtt="20ms", **axes)
    program = (
        "import json, sys\n"
        "from aero_lab.experiment.sweep.rows import make_row\n"
        "print(json.dumps([make_row(config) for config in reversed(json.load(sys.stdin))]))\n"
    )
    surroundings = {"PYTHONHASHSEED": "77", "TZ": "Asia/Kathmandu", "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(every), cwd=tmp_path, env=os.environ | surroundings,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    mine = [make_row(config) for config in every]
    assert len(mine) == 15 and all(row["ok"] for row in mine) and len({row["capture_sha256"] for row in mine}) == 15
    assert list(reversed(json.loads(told.stdout))) == mine


def test_a_run_that_would_never_end_stops_at_its_deadline_and_says_so():
    frame = sweep(size=["5MB", "1KB"], rtt="1s", timeout=5)
    assert list(frame["ok"]) == [False, True]
    assert frame["error"][0] == "not done within 5 s of virtual time"
    assert pandas.isna(frame["bytes"][0]) and frame["capture_sha256"].notna().all()


def test_failures_are_rows_with_their_error(monkeypatch):
    from aero_lab.experiment.sweep import rows

    real = rows.run_virtual

    def broken(case):
        if case.seed == 2:
            raise RuntimeError("the floor\n  gave way")
        return real(case)

    monkeypatch.setattr(rows, "run_virtual", broken)
    frame = sweep(size="1KB", seeds=3)
    assert list(frame["ok"]) == [True, False, True]
    assert frame["error"][1] == "RuntimeError: the floor gave way" and pandas.isna(frame["seconds"][1])


def test_no_bench_outlives_its_run():
    """Benches are large and hold themselves: thousands of runs in one process must not wait for chance to free them."""
    (config,) = configs(size="1KB")

    def labs():
        return sum(type(each) is al.Lab for each in gc.get_objects())

    gc.unfreeze()  # what another test's proxy has frozen in this process
    gc.collect()
    gc.disable()
    try:
        before = labs()  # of other tests, perhaps
        for seed in range(3):
            assert make_row({**config, "seed": seed})["ok"]
            assert labs() <= before
    finally:
        gc.enable()
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_frozen_stays_frozen():
    (config,) = configs(size="1KB")
    gc.freeze()
    try:
        assert make_row(config)["ok"] and gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


# The store ------------------------------------------------------------------------------------------------------------


def test_a_store_is_gone_on_with(tmp_path, monkeypatch):
    store = tmp_path / "store"
    first = sweep(size="1KB", seeds=2, loss=[0, 0.1], store=store)
    made = []
    monkeypatch.setattr(local, "make_row", lambda config, captures: made.append(config) or make_row(config, captures))
    assert_frame_equal(sweep(size="1KB", seeds=2, loss=[0, 0.1], store=store), first)
    assert made == [] and first.attrs["store"] == str(store)
    more = sweep(size="1KB", seeds=3, loss=[0, 0.1], store=store)
    assert [config["seed"] for config in made] == [3, 3]
    assert_frame_equal(more[more["seed"] < 3].reset_index(drop=True), first)
    assert len(stores.read(store)) == 6
    assert sorted(path.name for path in store.iterdir())[0] == "lock" and len(list(store.glob("rows-*"))) == 1


def test_without_a_store_the_same_call_goes_on_too(tmp_path, monkeypatch):
    monkeypatch.setenv("AERO_LAB_CACHE_DIR", str(tmp_path))
    made = []
    monkeypatch.setattr(local, "make_row", lambda config, captures: made.append(config) or make_row(config, captures))
    first = sweep(size="1KB", seeds=2, store=None)
    assert_frame_equal(sweep(size="1KB", seeds=2, store=None), first)
    assert len(made) == 2 and Path(first.attrs["store"]).parent == tmp_path / "sweeps"
    for number in range(40):
        (tmp_path / "sweeps" / f"old{number}").mkdir()
    sweep(size="1KB", seeds=1, store=None)
    assert len(list((tmp_path / "sweeps").iterdir())) == 32


def test_what_was_there_when_a_sweep_broke_off_stays(tmp_path, monkeypatch):
    made = []

    def interrupted(config, captures):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(config)
        return make_row(config, captures)

    with monkeypatch.context() as patched:
        patched.setattr(local, "make_row", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            sweep(size="1KB", seeds=5, store=tmp_path)
    assert caught.value.__notes__ == [f"3 of 5 runs are kept in {tmp_path}; the same sweep goes on from there"]
    assert len(stores.read(tmp_path)) == 3
    again = sweep(size="1KB", seeds=5, store=tmp_path)
    assert again.attrs["made_before"] == 3
    assert_frame_equal(again, sweep(size="1KB", seeds=5))


KILLED = """
import sys
import aero_lab as al
from aero_lab.experiment.sweep import store
store.SWEEP_FLUSH_SECONDS = 0.1
al.sweep(size="20KB", loss=[0, 0.05], seeds=200, store=sys.argv[1], workers=1, progress=False)
"""


def test_a_sweep_that_was_killed_goes_on_where_it_stopped(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("rows-*.parquet")):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    (tmp_path / "rows-00009999.parquet.part").write_bytes(b"half a pie")
    before = stores.read(tmp_path)
    assert 0 < len(before) < 400
    here = sweep(size="20KB", loss=[0, 0.05], seeds=6, store=tmp_path)
    assert set(before) <= set(stores.read(tmp_path)) and not list(tmp_path.glob("*.part"))
    assert_frame_equal(here, sweep(size="20KB", loss=[0, 0.05], seeds=6))


def test_a_failure_is_a_result_unless_it_was_a_workers(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(local, "make_row", lambda config, captures: made.append(config) or make_row(config, captures))
    arguments = {"size": "5MB", "rtt": "1s", "timeout": 5, "store": tmp_path}
    sweep(**arguments)
    sweep(**arguments)
    assert len(made) == 1
    sweep(**arguments, retry=True)
    assert len(made) == 2
    with stores.Store(tmp_path) as store:
        (row,) = store.rows.values()
        store.add({**row, "failed": FAILED_WORKER})
    sweep(**arguments)
    assert len(made) == 3


def test_many_pieces_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "SWEEP_FLUSH_ROWS", 1)
    monkeypatch.setattr(stores, "SWEEP_PIECES", 4)
    with stores.Store(tmp_path) as store:
        for config in configs(seeds=10):
            store.add(stores_row(config))
            assert len(list(tmp_path.glob("rows-*"))) < 4
    assert len(list(tmp_path.glob("rows-*"))) == 1 and len(stores.read(tmp_path)) == 10


def stores_row(config):
    from aero_lab.experiment.sweep.rows import failure

    return failure(config, "never made")


def spoil(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (spoil("sweep.json", '{"version": 99, "program": "x"}'), "store of version 99, this program keeps version 1"),
        (spoil("sweep.json", '{"version": 1, "program": "x"}'), "made by another version of this program"),
        (spoil("sweep.json", "nonsense"), "is not that of a sweep"),
        (spoil("sweep.json", "[]"), "is not that of a sweep"),
        (lambda folder: (folder / "sweep.json").unlink(), "holds other files and no sweep"),
        (spoil("rows-00000001.parquet", "PAR1 no"), "rows-00000001.parquet cannot be read"),
        (
            lambda folder: pandas.DataFrame({"a": [1]}).to_parquet(folder / "rows-00000001.parquet"),
            "rows-00000001.parquet cannot be read: it has other columns",
        ),
    ],
)
def test_a_store_that_is_not_ours_is_refused_before_anything_runs(damage, message, tmp_path, monkeypatch):
    sweep(size="1KB", store=tmp_path)
    damage(tmp_path)
    monkeypatch.setattr(local, "make_row", lambda *_: pytest.fail("a run was made"))
    with pytest.raises(UsageError, match=message) as caught:
        sweep(size="1KB", seeds=2, store=tmp_path)
    assert "\n" not in str(caught.value)


def test_two_sweeps_do_not_write_to_one_store(tmp_path):
    with stores.Store(tmp_path), pytest.raises(UsageError, match="another sweep is writing"):
        sweep(size="1KB", store=tmp_path)
    assert sweep(size="1KB", store=tmp_path)["ok"].all()
    with pytest.raises(UsageError, match="there is no sweep in"):
        stores.read(tmp_path / "none")


# Processes ------------------------------------------------------------------------------------------------------------


PUPPET = """
import json, os, sys
for line in sys.stdin:
    config = json.loads(line)["config"]
    if config["seed"] == 2:
        sys.exit("out of nowhere")
    print(json.dumps({"key": None, "ok": True, "seed": config["seed"], "pid": os.getpid()}), flush=True)
"""
"""What stands for a worker where it matters that it ends, and not what it makes."""


def test_a_worker_that_is_killed_costs_no_row(monkeypatch):
    monkeypatch.setattr(local, "PROGRAM", ("-c", PUPPET))
    rows = []
    with local.Pool(2) as pool:
        for row in pool.rows(configs(seeds=range(10, 60))):
            rows.append(row)
            if len(rows) == 2:
                pool.workers[0].process.kill()
            if len(rows) == 20:
                for worker in list(pool.workers):
                    worker.process.kill()
        assert len(pool.workers) == 2
        children = [worker.process for worker in pool.workers]
    assert all(child.poll() is not None for child in children)
    assert sorted(row["seed"] for row in rows) == list(range(10, 60))
    assert len({row["pid"] for row in rows}) > 2


def test_a_run_that_ends_its_process_every_time_is_a_row(monkeypatch):
    monkeypatch.setattr(local, "PROGRAM", ("-c", PUPPET))
    with local.Pool(1) as pool:
        good, bad = [], []
        for row in pool.rows(configs(seeds=4)):
            (good if row["ok"] else bad).append(row)
    assert sorted(row["seed"] for row in good) == [1, 3, 4]
    (row,) = bad
    assert row["error"] == "the process that made this run ended (1): out of nowhere, 3 times"
    assert row["failed"] == FAILED_WORKER and json.loads(row["config"])["seed"] == 2


def test_processes_end_with_their_parent(tmp_path):
    psutil = pytest.importorskip("psutil")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment)
    try:
        me, children = psutil.Process(process.pid), []
        end = time.monotonic() + 60
        while not children:
            assert process.poll() is None and time.monotonic() < end
            children = [c for c in me.children() if "sweep.worker" in " ".join(c.cmdline())]
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert psutil.wait_procs(children, timeout=60)[1] == []


# The command ----------------------------------------------------------------------------------------------------------

SPEC = """
seeds = 2
timeout = 30
[grid]
option = "BC"
loss = [0, 0.1]
rtt = "10ms"
size = "10KB"
"""


def test_the_command_runs_a_spec(tmp_path, capfd):
    (tmp_path / "grid.toml").write_text(SPEC)
    line = ["sweep", str(tmp_path / "grid.toml"), "--store", str(tmp_path / "store"), "--workers", "0"]
    assert command([*line, "--dry-run"]) == 0
    assert capfd.readouterr().out == "8 runs\n" and not (tmp_path / "store").exists()
    out, table = tmp_path / "out.json", tmp_path / "out.parquet"
    assert command([*line, "--json", str(out), "--out", str(table)]) == 0
    shown = capfd.readouterr().out
    assert "goodput_mbps" in shown and "2/2" in shown and "8 runs" in shown
    document = json.loads(out.read_text())
    assert document["schema"] == 1 and len(document["runs"]) == 8 and document["runs"][0]["wire_bytes_up"] is None
    frame = sweep(option="BC", loss=[0, 0.1], rtt="10ms", size="10KB", seeds=2, timeout=30)
    assert_frame_equal(pandas.read_parquet(table), frame, check_dtype=False)
    assert command([*line, "--out", str(tmp_path / "out.csv")]) == 0
    assert len(pandas.read_csv(tmp_path / "out.csv")) == 8


def test_the_command_that_is_interrupted_says_what_is_there_and_goes_on(tmp_path, capfd, monkeypatch):
    spec, store, out = tmp_path / "grid.toml", tmp_path / "store", tmp_path / "out.csv"
    spec.write_text(SPEC)
    line = ["sweep", str(spec), "--workers", "0", "--store", str(store), "--out", str(out)]
    left = iter(range(5))

    def interrupted(config, captures):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return make_row(config, captures)

    with monkeypatch.context() as patched:
        patched.setattr(local, "make_row", interrupted)
        assert command(line) == 130
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("aero-lab: ")]
    kept = f"aero-lab: 5 of 8 runs are kept in {store}; the same sweep goes on from there"
    assert told == [kept, "aero-lab: interrupted"]
    assert not out.exists()
    assert command(line) == 0
    assert capfd.readouterr().out.splitlines()[-1] == f"8 runs, 5 of them made before, kept in {store}"
    assert len(pandas.read_csv(out)) == 8


def test_what_a_place_does_not_have_is_a_dash(tmp_path, capfd):
    spec = tmp_path / "grid.toml"
    spec.write_text(
        "[grid]\ntransport = ['memory', 'websocket']\nrate = ['none', '5Mbit/s']\nsize = '1KB'\n"
        "[transport]\ncongestion = ['cubic', 'reno']"
    )
    assert command(["sweep", str(spec), "--workers", "0", "--store", str(tmp_path / "store")]) == 0
    rows = [line.split()[:3] for line in capfd.readouterr().out.splitlines()[1:-1]]
    assert rows[0] == ["memory", "none", "–"] and ["websocket", "5", "reno"] in rows and len(rows) == 6


def test_the_command_says_what_failed_and_what_is_wrong(tmp_path, capfd):
    spec = tmp_path / "grid.toml"
    spec.write_text("timeout = 5\n[grid]\nrtt = '1s'\nsize = ['5MB', '1KB']\ntransport = ['memory', 'datagram']")
    assert command(["sweep", str(spec), "--workers", "0", "--store", str(tmp_path / "store")]) == 1
    out, err = capfd.readouterr()
    assert "aero-lab: 1 run failed: not done within 5 s of virtual time" in err
    assert "left out: C over datagram: " in err and "0/1" in out
    for line in (["sweep"], ["sweep", "no.toml"], ["sweep", str(spec), "--out", "x.pdf"],
                 ["sweep", str(spec), "--workers", "-1"]):  # fmt: skip
        assert command(line) == 2
        last = capfd.readouterr().err.strip().splitlines()
        assert last[-1].startswith("aero-lab: ")
