"""Grids: what they stand for, and everything that can be wrong with them, said before anything runs."""

from __future__ import annotations

import numpy as np
import pytest

import aero_lab as al
from aero_lab.errors import UsageError
from aero_lab.experiment.sweep import plan_of
from aero_lab.experiment.sweep.grid import config_of, key_of
from aero_lab.experiment.sweep.spec import read


def keys(**grid):
    return [key_of(config_of(case)) for case in plan_of(**grid).cases]


def test_a_grid_is_every_combination_and_the_seed_turns_fastest():
    plan = plan_of(option="CB", rtt=["10ms", "100ms"], loss=np.array([0.0, 0.01]), size="10KB", seeds=2)
    seen = [(case.option, case.link.rtt, case.link.loss, case.seed) for case in plan.cases]
    assert seen == [
        (option, rtt, loss, seed)
        for option in "CB"
        for rtt in (10**7, 10**8)
        for loss in (0.0, 0.01)
        for seed in (1, 2)
    ]
    assert len(set(map(key_of, map(config_of, plan.cases)))) == len(plan) == 16
    assert all(case.virtual and case.parameters == {"size": 10_000} for case in plan.cases)
    assert plan.link_keys == ("rtt", "loss")


def test_one_run_written_in_several_ways_has_one_key():
    assert keys(size="1MB", loss=0.01, rtt="40ms") == keys(rtt=40_000_000, size=1_000_000, loss="1%")
    parts = {"rtt": "40ms", "loss": 0.01}
    assert keys(link="rtt=40ms, loss=1%") == keys(link__rtt="40ms", loss=0.01) == keys(link=parts)
    assert keys(rate="none", rtt="1ms") == keys(rate=[None], rtt="1ms")
    assert keys(link=al.Link(rtt="40ms")) == keys(rtt="40ms") != keys(rtt="41ms")
    assert keys(rtt="40ms", seeds=[7]) == keys(rtt="40ms", seeds=range(7, 8)) != keys(rtt="40ms", seeds=[8])
    assert keys() != keys(timeout=5)


def test_pairs_are_up_and_down():
    pair, other = plan_of(rate=[("50kbit/s", "10Mbit/s"), ["1Mbit/s", "2Mbit/s"]]).cases
    assert pair.link.rate == (50_000, 10_000_000) and other.link.rate == (1_000_000, 2_000_000)
    (text,) = plan_of(rate="50kbit/s:10Mbit/s").cases
    (one,) = plan_of(rate=("50kbit/s", "10Mbit/s")).cases
    assert text == one == pair
    (up,) = plan_of(rate="none:1Mbit/s").cases
    assert up.link.rate == (None, 1_000_000)


def test_a_parameter_holds_for_those_that_take_it_and_the_others_run_once():
    plan = plan_of(workload=["download", "dns"], size=["10KB", "20KB"], option="AC", option__dns=["wire", "json"])
    seen = [(case.option, case.workload, case.settings, case.parameters) for case in plan.cases]
    assert [each for each in seen if each[0] == "C"] == [
        ("C", "download", {}, {"size": 10_000}),
        ("C", "download", {}, {"size": 20_000}),
        ("C", "dns", {}, {}),
    ]
    assert len([each for each in seen if each[:2] == ("A", "download")]) == 4
    assert [each[2] for each in seen if each[:2] == ("A", "dns")] == [{"dns": "wire"}, {"dns": "json"}]


def test_what_cannot_be_is_left_out_when_the_rest_can():
    plan = plan_of(option="AC", transport=["memory", "datagram"])
    assert {(case.option, case.transport) for case in plan.cases} == {("A", "memory"), ("C", "memory")}
    assert {(each["option"], each["transport"]) for each in plan.left_out} == {("A", "datagram"), ("C", "datagram")}
    assert "real time" in plan.left_out[0]["reason"]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"loss": -0.1}, "loss must lie between 0 and 1"),
        ({"loss": [0, 1.5]}, "loss must lie between 0 and 1"),
        ({"rtt": "-40ms"}, "rtt must look like"),
        ({"jitter": -5}, "jitter must look like"),
        ({"rate": 0}, "rate must be above zero"),
        ({"queue": "64KiB"}, "a queue needs a rate"),
        ({"loss": []}, "loss has no values"),
        ({"loss": {0, 0.1}}, "loss is a set, which has no order"),
        ({"loss": [0.01, "1%"]}, "loss has '1%' twice"),
        ({"size": ["1MB", 1_000_000]}, "size has 1000000 twice"),
        ({"option": "CC"}, "option has 'C' twice"),
        ({"option": "ABC", "options": "A"}, "options is given twice"),
        ({"option": ""}, "option has no values"),
        ({"option": "Q"}, "option 'Q' does not exist"),
        ({"transport": "pigeon"}, "transport 'pigeon' does not exist"),
        ({"workload": "nap"}, "workload must be one of"),
        ({"profile": "beos"}, "profile must be one of"),
        ({"mtu": 70_000}, "mtu must be 576 to 65520"),
        ({"ack_policy": "late"}, "ack_policy must be one of"),
        ({"link": "rtt=1ms", "loss": 0.1}, "link gives whole links, and loss a part of one"),
        ({"link": 5}, "a link is a Link or text"),
        ({"link__colour": 1}, "a link has no colour; there is"),
        ({"rtt": "1ms", "link__rtt": "2ms"}, "link__rtt is given twice"),
        ({"colour": 1}, "'colour' is no axis: there is option, "),
        ({"los": 0.1}, r"'los' is no axis \(did you mean loss\?\): there is"),
        ({"link__rrt": "1ms"}, r"a link has no rrt \(did you mean rtt\?\); there is"),
        ({"size": float("nan")}, "a size is a number of bytes or text such as 10MB, not nan"),
        ({"size": None}, "a size is a number of bytes"),
        ({"size": 1.5}, "a size is a number of bytes"),
        ({"size": True}, "a size is a number of bytes"),
        ({"size": [(1, 2)]}, "a size is a number of bytes"),
        ({"size": 10**400}, "a size is at most 1,099,511,627,776 bytes"),
        ({"loss": 10**400}, "loss must lie between 0 and 1"),
        ({"loss": True}, "loss must lie between 0 and 1"),
        ({"workload": "voip", "duration": -1}, "duration must be above 0 and at most 1,000,000,000 seconds, not -1"),
        ({"workload": "voip", "duration": float("nan")}, "duration must be above 0"),
        ({"workload": "voip", "duration": "long"}, "duration must be above 0"),
        ({"workload": "udp-echo", "workload__rate": 0}, "rate must be above 0"),
        ({"workload": "udp-echo", "size": 65_508}, "size of a udp-echo must be at most 65,507 bytes"),
        ({"workload": "parallel", "direction": "sideways"}, "direction must be one of down, up, both"),
        ({"workload": "rr", "count": 1.5}, "count must be 0 to"),
        ({"port": 0}, "port must be 1 to 65535"),
        ({"host": ""}, "host must be a name"),
        ({"path": "10MB"}, "path must begin with /"),
        ({"workload__timeout": 5}, "timeout is that of the whole run"),
        ({"wire__rtt": 1}, "wire is no group of axes"),
        ({"workload": "dns", "size": "1MB"}, "'size' is no axis"),
        ({"workload": "dns", "workload__size": "1MB"}, "none of these workloads has size"),
        ({"workload": "udp-echo", "rate": 10}, "rate could be two things here: write link__rate or workload__rate"),
        ({"option": "C", "mux": True}, "'mux' is no axis"),
        ({"option": "C", "option__mux": True}, "no option here has mux"),
        ({"option": "A", "mux": "perhaps"}, "mux"),
        ({"transport__colour": 1}, "has no setting 'colour'"),
        ({"transport": "datagram"}, "nothing of this grid can run: .*real time"),
        ({"seed": 5}, "seeds are given by seeds="),
        ({"virtual": False}, "a sweep runs in virtual time"),
        ({"repeats": 3}, "repeats itself exactly"),
        ({"settings": {}}, "settings"),
        ({"seeds": 0}, "seeds must be 1 or more"),
        ({"seeds": [1, 1]}, "seeds names one seed twice"),
        ({"seeds": []}, "seeds must be a number"),
        ({"seeds": "many"}, "seeds must be a number"),
        ({"seeds": 1.5}, "seeds must be a number"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": "long"}, "timeout must be above 0"),
        ({"timeout": float("inf")}, "timeout must be at most 1,000,000,000 seconds, not inf"),
        ({"mtu": "large"}, "mtu must be 576 to 65520, not 'large'"),
        ({"rate": 1e30}, "rate must look like"),
        ({"rate": 10**30}, "rate must be at most 1000000Gbit/s"),
        ({"seeds": 2_000_000}, "a sweep has at most 1,000,000"),
        ({"size": "big"}, "not a size"),
    ],
)  # fmt: skip
def test_a_grid_that_is_wrong_says_so_in_one_line(grid, message):
    with pytest.raises(UsageError, match=message) as caught:
        plan_of(**grid)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": -1}, "workers must be 0 or more"),
        ({"workers": 1, "client": "tcp://127.0.0.1:1"}, "give one of them"),
        ({"store": "/dev/null/x"}, "cannot keep a sweep in"),
        ({"captures": "/dev/null/x"}, "cannot write to"),
        ({"seeds": [-1]}, "a seed is a whole number from 0 to 2.63 - 1, not -1"),
        ({"seeds": [1 << 63]}, "a seed is a whole number"),
        ({"seeds": 10**400}, "a sweep has at most 1,000,000 runs"),
    ],
)
def test_so_do_wrong_arguments_beside_it(arguments, message):
    with pytest.raises(UsageError, match=message):
        al.sweep(**{"store": False, "progress": False, **arguments})


SPEC = """
seeds = 3
timeout = 30
[grid]
option = "ABC"
rtt = ["10ms", "100ms"]
rate = [["50kbit/s", "10Mbit/s"]]
size = "10KB"
[option]
mux = [2, 1]
"""


def test_a_spec_is_the_same_grid(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(SPEC)
    found = read(path)
    assert found.name == "grid"
    assert found.plan == plan_of(
        option="ABC", rtt=["10ms", "100ms"], rate=[("50kbit/s", "10Mbit/s")], size="10KB", mux=[2, 1],
        seeds=3, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds = 3", "has no \\[grid\\]"),
        ("sedes = 3", r"'sedes' is not of a sweep \(did you mean seeds\?\)"),
        ("seeds =", "is not TOML"),
        ("[grid]\nloss = 2", "loss must lie between 0 and 1"),
        ("colour = 1\n[grid]\nloss = 0.1", "'colour' is not of a sweep"),
        ("transport = 'memory'\n[grid]\nloss = 0.1", "transport is a table"),
    ],
)
def test_a_spec_that_is_wrong_names_the_file(text, message, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path / "none.toml")
