"""A whole bench in virtual time, copied: the copy does the same, shares nothing, and differs by what is changed."""

from __future__ import annotations

import ast
import enum
import gc
import importlib
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aero_lab as al
from aero_lab.capture import Recorder
from aero_lab.capture.sink import Sink
from aero_lab.disk import CaptureStream
from aero_lab.engine import TimedOut
from aero_lab.guests.scripted.workloads import make
from aero_lab.keeping import files, graph
from aero_lab.link import Link
from aero_lab.transports.memory import SharedMemoryTransport, Ticket

LINKS = (
    None,
    "rtt=20ms, loss=1%",
    "rtt=7ms, rate=2Mbit/s, reorder=2%, duplicate=1%",
    "rtt=3ms, jitter=1ms, corrupt=1%",
)
WORKLOADS: tuple[tuple[str, dict], ...] = (
    ("download", {"size": 150_000}),
    ("upload", {"size": 150_000}),
    ("parallel", {"flows": 3, "size": 40_000, "direction": "both"}),
    ("burst", {"count": 20, "concurrency": 4}),
    ("rr", {"count": 30}),
    ("source", {"size": 100_000}),
    ("sink", {"size": 100_000}),
    ("udp-echo", {"count": 30}),
    ("ping", {"count": 3, "interval": 0.1}),
    ("dns", {"count": 5}),
    ("ntp", {"count": 2, "interval": 0.3}),
)
DONE = 4.0
"""Seconds of virtual time after which all that is compared has happened."""


def begin(lab, number, workload, parameters):
    host = lab.guests[number]._host
    return host.start(make(workload, host, **parameters), workload)


def a_lab(link=None, workloads=WORKLOADS[:2], profiles=("linux", "windows7"), **options):
    lab = al.Lab(virtual=True, link=link, seed=5, **options)
    for number, (workload, parameters) in enumerate(workloads):
        lab.guest(profile=profiles[number % len(profiles)])
        begin(lab, number, workload, parameters)
    return lab


def written(lab, folder: Path) -> bytes:
    return lab.capture.save(folder / "capture.pcapng").read_bytes()


def until(lab, seconds):
    lab.advance(seconds - lab.now / 1e9)
    return lab


@settings(max_examples=7, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    st.sampled_from(LINKS),
    st.lists(st.sampled_from(WORKLOADS), min_size=1, max_size=2),
    st.floats(0.0, 0.8),
    st.floats(0.0, 0.4),
    st.booleans(),
)
def test_a_fork_at_any_instant_goes_on_as_the_original_does(tmp_path, link, workloads, first, more, fork_first):
    with until(a_lab(link, workloads), DONE) as alone:
        expected = written(alone, tmp_path)
    with a_lab(link, workloads) as lab:
        until(lab, first)
        fork = lab.fork()
        one, other = (fork, lab) if fork_first else (lab, fork)
        until(one, first + more)
        second = one.fork()
        assert written(until(one, DONE), tmp_path) == expected
        # Whatever the first did in the meantime, the others are where they were.
        assert written(until(other, DONE), tmp_path) == expected
        assert written(until(second, DONE), tmp_path) == expected
        rows = [[{**row} for row in each.flows.rows()] for each in (lab, fork, second)]
        assert rows[0] == rows[1] == rows[2]


def hanging_on(*roots):
    """Every object that can be reached, by identity; what is of the program and not of a bench is not entered."""
    program = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType, np.dtype)
    seen: dict[int, object] = {}
    todo = list(roots)
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, program) or type(each).__name__ in ("_Kernel", "CPUDispatcher"):
            continue
        seen[id(each)] = each
        todo += gc.get_referents(each)
    return seen


ATOMS = (
    int,
    float,
    str,
    bytes,
    bool,
    type(None),
    complex,
    range,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
)
ATOMS += (types.MethodDescriptorType, types.GetSetDescriptorType, enum.Enum)


def can_change(each) -> bool:
    if isinstance(each, ATOMS):
        return False
    if isinstance(each, (tuple, frozenset)):
        return any(can_change(part) for part in each)
    return not (isinstance(each, dict) and "__name__" in each and "__builtins__" in each)  # a module's


def roots(lab):
    return [vars(lab), lab._engine]


def test_a_fork_shares_nothing_that_can_change():
    with a_lab("rtt=20ms, loss=1%", WORKLOADS[:3]) as lab:
        until(lab, 0.3)
        lab.capture.frames()
        fork = lab.fork(ack_policy="mirror")
        both = hanging_on(*roots(lab)).keys() & hanging_on(*roots(fork)).keys()
        seen = hanging_on(*roots(lab))
        shared = [each for identity, each in seen.items() if identity in both and can_change(each)]
        assert len(seen) > 3000
        assert [f"{type(each)}: {each!r:.80}" for each in shared] == []
        memory = [each for each in hanging_on(*roots(fork)).values() if isinstance(each, np.ndarray) and each.size]
        for each in memory:
            assert not any(np.may_share_memory(each, other) for other in seen.values() if isinstance(other, np.ndarray))


def test_handles_of_a_fork_are_new_and_belong_to_it():
    with a_lab() as lab:
        until(lab, 0.2)
        fork = lab.fork()
        assert [guest.name for guest in fork.guests] == ["guest1", "guest2"]
        assert fork.guests[0] is not lab.guests[0] and fork.guests[0]._lab is fork
        assert fork.now == lab.now and fork.seed == lab.seed and not fork.closed
        task = begin(fork, 0, "ping", {"count": 1})
        until(fork, 3.0)
        assert task.done and task.result.ok
        assert len(lab.capture) < len(fork.capture)
        third = fork.guest(profile="linux")
        assert third.name == "guest3" and third.run("download", size=1000).ok
        assert len(lab.guests) == 2
        fork.close()
        assert fork.closed and not lab.closed
        assert lab.guests[0].run("download", size=1000).ok
    with pytest.raises(al.UsageError, match="closed"):
        lab.fork()


def test_a_changed_link_changes_what_comes_from_now_on():
    with a_lab("rtt=10ms", [("ping", {"count": 1})]) as lab:
        guest = lab.guests[0]
        assert guest.run("ping", count=2).rtt_ms == pytest.approx(10)
        slow = lab.fork(link="rtt=80ms")
        assert slow.guests[0].run("ping", count=2).rtt_ms == pytest.approx(80)
        assert guest.run("ping", count=2).rtt_ms == pytest.approx(10)
        none = slow.fork(link=None)
        assert none.guests[0].run("ping", count=2).rtt_ms == pytest.approx(0, abs=0.01)
        assert none.link is None and str(slow.link) == "rtt=80ms" and lab.capture.meta["link"]["rtt_ns"] == 10_000_000
        lossy = lab.fork(link=al.Link(rtt="10ms", loss=0.3))
        assert lossy.guests[0].run("udp-echo", count=40).udp_loss > 0.2
        assert lossy.guests[0].link["up"]["lost"] > 0
        assert lossy.guest().run("ping", count=1).ok is not None  # a new guest has the new link
        assert lossy.guests[1].link["up"]["frames_in"] > 0


def test_what_is_under_way_when_the_link_changes_arrives_when_it_would_have():
    with al.Lab(virtual=True, link="rtt=400ms, rate=1Mbit/s") as lab:
        guest = lab.guest(profile="linux")
        guest.wait_online()
        task = begin(lab, 0, "udp-echo", {"count": 40, "rate": 200, "size": 600})
        for _ in range(60):
            lab.advance(0.05)
            flying = guest.link["up"]["in_flight"] + guest.link["down"]["in_flight"]
            if flying > 15 and guest.link["down"]["in_flight"] > 3:
                break
        fork = lab.fork(link="rtt=10ms, loss=100%")
        assert flying > 15
        inside = fork.guests[0].link
        assert inside["up"]["in_flight"] + inside["down"]["in_flight"] == flying
        before = inside["down"]["frames_out"]
        on_the_way_down = inside["down"]["in_flight"]
        fork.advance(3.0)
        after = fork.guests[0].link
        assert after["down"]["frames_out"] - before == on_the_way_down, (inside, after)
        assert after["up"]["in_flight"] == after["down"]["in_flight"] == 0
        for side in after.values():
            made = side["frames_in"] + side["duplicated"] - side["copies_refused"]
            assert made == side["frames_out"] + side["lost"] + side["queue_full"] + side["oversize"]
        lab.advance(3.0)
        assert task.done and task.result.udp_loss == 0


def test_a_link_where_there_was_none():
    with a_lab(None, [("download", {"size": 400_000})]) as lab:
        until(lab, 0.003)
        fork = lab.fork(link="rtt=60ms, loss=2%")
        assert fork.guests[0].run("ping", count=1).rtt_ms == pytest.approx(60)
        fork.advance(20)
        task = begin(fork, 0, "download", {"size": 100_000})
        fork.advance(20)
        assert task.done and task.result.ok
        assert fork.guests[0].link["down"]["lost"] > 0 and lab.guests[0].link == {}
        fork.close()


def test_a_link_where_there_was_none_begins_when_it_is_put_there():
    with al.Lab(virtual=True) as lab:
        lab.guest().wait_online()
        lab.advance(7.0)
        fork = lab.fork(link="rtt=10ms, outage=200ms/300ms")
        guest = fork.guests[0]
        assert guest.run("ping", count=1).ok
        fork.advance(0.2)
        assert guest.link["up"]["outage"] == 0
        begin(fork, 0, "ping", {"count": 1})
        fork.advance(0.1)
        assert guest.link["up"]["outage"] == 1
        fork.advance(0.4)
        assert guest.run("ping", count=1).ok
        fork.close()


def test_an_ack_policy_holds_for_connections_that_begin_from_now_on():
    with a_lab("rtt=10ms", [("upload", {"size": 300_000})]) as lab:
        until(lab, 0.06)
        fork = lab.fork(ack_policy="mirror")
        begin(fork, 0, "upload", {"size": 50_000})
        begin(lab, 0, "upload", {"size": 50_000})
        for each in (lab, fork):
            until(each, DONE)
        policies = [
            [row["ack_policy"] for row in each.flows.rows() if row["protocol"] == "tcp"] for each in (lab, fork)
        ]
        assert policies == [["early", "early"], ["early", "mirror"]]
        assert all(row["state"] != "open" for row in fork.flows.rows() if row["protocol"] == "tcp")


def test_what_is_begun_is_waited_for_in_each_fork_by_itself():
    with al.Lab(virtual=True, link="rtt=20ms") as lab:
        guest: Any = lab.guest(profile="linux")
        pending = guest.start("download", size=500_000)
        lab.advance(0.2)
        fork = lab.fork(link="rtt=100ms")
        twin: Any = fork.guests[0]
        assert len(guest.pending) == len(twin.pending) == 1 and not pending.done
        slower = twin.pending[0].wait()
        assert slower.ok and not pending.done
        assert pending.wait().seconds < slower.seconds and pending.done and guest.pending == []
        more = guest.start("download", size=10_000_000)
        lab.advance(0.1)
        more.cancel()
        assert more.done and guest.pending == []
        with pytest.raises(TimedOut):
            guest.start("download", size=10_000_000).wait(timeout=0.2)


@pytest.mark.parametrize(("option", "link"), [("A", None), ("A", "rtt=20ms, loss=1%"), ("B", "rtt=20ms, loss=1%")])
def test_other_options_fork_and_are_written_to_files(option, link, tmp_path):
    with al.Lab(virtual=True, option=option, link=link) as lab:
        guest: Any = lab.guest(profile="linux")
        guest.start("source", size=300_000)
        guest.start("udp-echo", count=20)
        lab.advance(0.0011 if link is None else 0.15)
        fork = lab.fork()
        lab.save(tmp_path / "x.bench")
        loaded = al.Lab.load(tmp_path / "x.bench")
        captures = {written(until(each, 1.0), tmp_path) for each in (lab, fork, loaded)}
        assert len(captures) == 1 and len(lab.capture) > 300
        if link is not None:
            with lab.fork(link="rtt=90ms") as slow:
                times = [each.guests[0].run("rr", count=5).rtt_ms for each in (lab, slow)]
                assert times[0] == pytest.approx(20, rel=0.2) and times[1] == pytest.approx(90, rel=0.1)
        elif option == "A":
            with pytest.raises(al.UsageError, match="lose nothing"):
                lab.fork(link="rtt=90ms")
        fork.close()
        loaded.close()


@pytest.mark.parametrize("profile", ["linux", "windows7"])
def test_a_name_that_nobody_answers_for_is_asked_for_in_each_fork(profile, tmp_path):
    with al.Lab(virtual=True, link="rtt=20ms", progress=False) as lab:
        assert lab.guest(profile=profile).run("ping", count=1).ok  # so that it knows whom to send questions to
        with lab.fork(link="loss=100%") as alone:
            alone.guests[0].start("download", size="20KB")
            ends, turns = set(), 0
            for turn in range(24):  # before, between and after the repetitions
                alone.advance(2)
                if not alone.guests[0].pending:
                    break
                turns = turn + 1
                alone.save(tmp_path / f"{turn}.bench")
                for other in (alone.fork(), al.Lab.load(tmp_path / f"{turn}.bench", progress=False)):
                    with other:
                        result = other.guests[0].pending[0].wait(60)
                        ends.add((result.ok, result.error, other.now))
            assert turns > 2 and len(ends) == 1 and "no DNS answer for files.lab" in next(iter(ends))[1]


def test_no_task_of_a_guest_waits_where_it_could_not_be_copied():
    folder = Path(al.__file__).parent / "guests"
    found = []
    for path in (*folder.glob("scripted/**/*.py"), *folder.glob("replay/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Try):
                inside = [*node.handlers, *node.finalbody]
            elif isinstance(node, ast.With):
                inside = node.body
            else:
                continue
            waits = (each for part in inside for each in ast.walk(part) if isinstance(each, (ast.Yield, ast.YieldFrom)))
            found += [f"{path.name}:{each.lineno}" for each in waits]
    assert found == []


def test_a_knob_of_a_wrong_kind_is_one_line():
    with al.Lab(virtual=True, progress=False) as lab, pytest.raises(al.UsageError, match="a link is a Link or text"):
        lab.fork(link=20)


def test_mistakes_are_one_line():
    with al.Lab(virtual=True) as lab:
        lab.guest()
        for knobs, says in (
            ({"mtu": 1400}, "cannot be given mtu"),
            ({"link": "rtt=fast"}, "rtt"),
            ({"ack_policy": "late"}, "ack_policy must be one of"),
        ):
            with pytest.raises(al.UsageError, match=says):
                lab.fork(**knobs)

        def mine(host):
            count = 0

            def more():
                nonlocal count
                count += 1

            yield from host.wait_online()
            with memoryview(b""):
                more()
                yield from host.wait_online(10**12) if not count else _forever()

        task = lab.guests[0]._host.start(mine(lab.guests[0]._host), "mine")
        lab.advance(0.5)
        assert not task.done
        with pytest.raises(al.UsageError, match="mine"):
            lab.fork()
        task.cancel()
        lab.fork().close()


def _forever():
    from aero_lab.guests.scripted.tasks import Wait

    while True:
        yield Wait((), 1 << 60)


def own_task(host):
    yield from host.wait_online()
    socket = yield from host.connect("echo.lab", 7)
    heard = []
    for number in range(20):
        yield from socket.send(b"%d" % number)
        heard.append((yield from socket.receive()))
    return heard


def test_a_task_of_ones_own_is_copied_but_not_written_to_a_file(tmp_path):
    with al.Lab(virtual=True, link="rtt=10ms") as lab:
        host = lab.guest(profile="linux")._host
        task = host.start(own_task(host), "own")
        lab.advance(0.15)
        assert not task.done
        fork = lab.fork()
        running = next(each for each in fork.guests[0]._host.tasks._running if each.name == "own")
        for each in (lab, fork):
            each.advance(1)
        assert running.result == task.result and len(task.result) == 20
        again = host.start(own_task(host), "own")
        lab.advance(0.1)
        with pytest.raises(al.UsageError, match="own_task is a task of your own"):
            lab.save(tmp_path / "x.bench")
        again.cancel()


# Files ----------------------------------------------------------------------------------------------------------------
KEPT = (
    ("source", {"size": 300_000}),
    ("udp-echo", {"count": 60}),
    ("burst", {"count": 30}),
    ("sink", {"size": 300_000}),
)


def test_a_bench_goes_on_from_a_file_also_in_another_process(tmp_path):
    with a_lab("rtt=20ms, loss=1%", KEPT) as lab:
        until(lab, 0.25)
        file = tmp_path / "a.bench"
        assert lab.save(file) == file.stat().st_size < 8_000_000
        with al.Lab.load(file) as loaded:
            assert repr(loaded) == repr(lab)
            expected = written(until(lab, DONE), tmp_path)
            assert written(until(loaded, DONE), tmp_path) == expected
        program = f"""
            import aero_lab as al
            lab = al.Lab.load({str(file)!r})
            lab.advance({DONE} - lab.now / 1e9)
            lab.capture.save({str(tmp_path / "elsewhere.pcapng")!r})
        """
        lines = "\n".join(line.strip() for line in program.splitlines())
        done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "elsewhere.pcapng").read_bytes() == expected


def test_files_that_are_none(tmp_path, monkeypatch):
    good = tmp_path / "good.bench"
    with al.Lab(virtual=True) as lab:
        lab.guest().run("download", size=10_000)
        lab.save(good)
    data = good.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(files, "program", lambda: bytes(32))
        with pytest.raises(al.UsageError, match="another version of this program"):
            al.Lab.load(good)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for number, (damaged, says) in enumerate(
        (
            (b"", "begins otherwise"),
            (b"\x0a\x0d\x0d\x0a" + data[4:], "begins otherwise"),
            (data[:40], "cut off"),
            (data[:-1], "cut off"),
            (data[: len(data) // 2], "cut off"),
            (bytes(flipped), "damaged"),
            (data[:8] + b"\x63\0" + data[10:], "version 99"),
        )
    ):
        file = tmp_path / f"{number}.bench"
        file.write_bytes(damaged)
        with pytest.raises(al.UsageError, match=says) as told:
            al.Lab.load(file)
        assert "\n" not in str(told.value) and file.name in str(told.value)
    with pytest.raises(al.UsageError, match="cannot be read"):
        al.Lab.load(tmp_path / "nowhere.bench")
    with al.Lab.load(good, progress=False) as lab, pytest.raises(al.UsageError, match="cannot be written"):
        lab.save(tmp_path / "no" / "such.bench")


class Runs:
    """What a hostile file would like its reader to call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments

    def __call__(self):
        """So that what comes of it can be called in turn."""


def test_a_file_cannot_have_anything_called_that_is_not_of_a_bench(tmp_path):
    mark = tmp_path / "was here"
    generator = graph._generator, ("os", "system", 1, None, [1, 0, 1, 9])
    task = graph._generator, ("aero_lab.services.content", "content", 1, str(tmp_path / "mine.py"), "fresh")
    (tmp_path / "mine.py").write_text(f"open({str(mark)!r}, 'w')")
    memory = Runs(graph._unpacked, "<f8", (4,), 32, None, bytes(32))
    hostile = (
        Runs(os.system, f"touch '{mark}'"),
        Runs(eval, f"open({str(mark)!r}, 'w')"),
        Runs(getattr, "text", "join"),
        Runs(open, str(mark), "w"),
        Runs(subprocess.Popen, ["touch", str(mark)]),
        Runs(importlib.import_module, "antigravity"),
        Runs(CaptureStream, None, str(mark)),
        Runs(Recorder.save, None, str(mark)),
        Runs(Sink, str(mark)),
        Runs(Runs(graph._method, Runs(Recorder), "save"), str(mark)),
        Runs(Runs(graph._method, Runs(Link), "to_dict")),
        Runs(graph._method, Link, "parse"),
        Runs(Ticket, (1,), ""),
        Runs(SharedMemoryTransport.attach, "0,1,1,1,1,8"),
        Runs(graph._method, {}, "__class__"),
        Runs(graph._method, Runs(importlib.import_module, "os"), "system"),
        Runs(graph._new, dict),
        Runs(graph._unpacked, "O", (1,), 8, None, bytes(8)),
        Runs(graph._unpacked, "<i8", (1 << 40,), 8, None, bytes(8)),
        Runs(graph._view, memory, "<f8", 24, (2,), (8,)),
        Runs(graph._view, memory, "<f8", -8, (2,), (8,)),
        Runs(graph._view, memory, "<f8", 16, (2,), (-8,)),
        Runs(graph._memoryview, bytearray(4), 2, 8, "B"),
        Runs(*generator),
        Runs(*task),
        Runs(graph._beside, 0),
    )
    for number, each in enumerate(hostile):
        file = tmp_path / f"{number}.bench"
        files.write(file, pickle.dumps(each, protocol=5))
        with pytest.raises(al.UsageError) as told:
            al.Lab.load(file, progress=False)
        assert "\n" not in str(told.value), number
    assert not mark.exists()
    nothing = tmp_path / "nothing.bench"
    for data in (pickle.dumps([]), pickle.dumps({"lab": 1}), b"", b"\x80\x05", bytes(100)):
        files.write(nothing, data)
        with pytest.raises(al.UsageError, match="no bench that can be loaded"):
            al.Lab.load(nothing, progress=False)
