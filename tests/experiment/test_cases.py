"""One run as a value: what it says of itself, what is refused before anything runs, and that it comes out the same."""

from __future__ import annotations

import json
import pickle

import pytest

from aero_lab.errors import UsageError
from aero_lab.experiment.cases import Case, run_virtual
from aero_lab.link import Link

SMALL = Case(parameters={"size": 50_000}, link=Link.parse("rtt=40ms, loss=2%"), seed=6)


def test_a_case_is_plain_values_and_back():
    case = Case("A", "memory", "upload", {"size": 9}, link=SMALL.link, settings={"connect": "early"})
    text = json.dumps(case.to_dict(), sort_keys=True)
    again = Case.from_dict(json.loads(text))
    assert again == case and json.dumps(again.to_dict(), sort_keys=True) == text
    assert pickle.loads(pickle.dumps(case)) == case
    assert Case.from_dict({"link": "rtt=40ms, loss=2%"}).link == SMALL.link
    with pytest.raises(UsageError, match="a case has no 'colour'; there is ack_policy"):
        Case.from_dict({"colour": 1})


def test_the_same_case_gives_the_same_run_and_capture(tmp_path):
    (run, capture), (again, same) = run_virtual(SMALL), run_virtual(Case.from_dict(SMALL.to_dict()))
    assert run.ok and run.bytes == 50_000 and run.connect_ms == pytest.approx(40.0)
    assert run == again and capture is not None and same is not None
    assert capture.save(tmp_path / "a").read_bytes() == same.save(tmp_path / "b").read_bytes()


def test_a_run_that_is_not_done_says_so_and_keeps_what_it_saw():
    run, capture = run_virtual(Case(parameters={"size": 5_000_000}, link=Link.parse("rtt=1s"), timeout=5))
    assert (
        not run.ok
        and run.error == "not done within 5 s of virtual time"
        and run.bytes is None
        and run.goodput_mbps is None
    )
    assert capture is not None and len(capture) > 10


def test_settings_of_the_option_reach_it():
    links = {"link": SMALL.link, "parameters": {"size": 20_000}}
    early, late = (run_virtual(Case("A", settings={"connect": c}, **links))[0] for c in ("early", "answered"))
    assert early.ok and late.ok and early.connect_ms < 1 < 40 <= late.connect_ms
    assert Case("A", settings={"connect": "early"}).meta()["settings"] == {"connect": "early"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"option": "Q"}, "option 'Q' does not exist"),
        ({"transport": "pigeon"}, "transport 'pigeon' does not exist"),
        ({"settings": {"colour": 1}}, "colour"),
        ({"transport_settings": {"colour": 1}}, "no setting 'colour'"),
        ({"workload": "nap"}, "workload must be one of"),
        ({"guest": "cray"}, "guest must be one of"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": 1e300}, "timeout must be at most"),
        ({"mtu": 1500.5}, "mtu must be 576 to 65520"),
        ({"parameters": {"colour": 1}}, "takes .*, not 'colour'"),
        ({"transport": "datagram"}, "real time"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        run_virtual(Case(**values))
