"""Which cells a comparison has, which it leaves out and why, and what each needs of the user: before anything runs."""

from __future__ import annotations

import pytest

from aero_lab.errors import UsageError
from aero_lab.experiment.cases import Case
from aero_lab.experiment.compare import compare
from aero_lab.experiment.plan import EVERY_OPTION, TRANSPORTS, Plan
from aero_lab.hops import choice
from aero_lab.hostnet import why_not as no_kernel
from aero_lab.transports.peer import missing

NO_ORDER = "option A has no channel that may lose messages or their order, but for datagrams"
NO_DIAL = "option A opens a channel for each connection so: use transport='websocket'"
SOCKETS = "A:streams=socket"
LOSSY = ("webrtc-unordered", "webrtc-lossy")
needs_webrtc = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def planned(**more):
    """Cells that would run, and those that would not with their reasons."""
    plan = Plan(**{"options": EVERY_OPTION, "transports": TRANSPORTS, "workloads": ("download",), **more})
    cells = {(case.label, case.transport) for case in plan.cases()}
    return cells, {(each["option"], each["transport"]): each["reason"] for each in plan.left_out}


@needs_webrtc
def test_every_cell_of_the_matrix_runs_or_says_why_not():
    cells, left_out = planned()
    every = {(option, transport) for option in ("A", SOCKETS, "B", "C") for transport in TRANSPORTS}
    assert cells | set(left_out) == every and not cells & set(left_out)
    assert left_out == {
        **{("A", transport): NO_ORDER for transport in LOSSY},
        **{(SOCKETS, transport): NO_DIAL for transport in TRANSPORTS if transport != "websocket"},
    }


def test_in_virtual_time_too():
    cells, left_out = planned(virtual=True, size=1000)
    sockets = {(SOCKETS, transport) for transport in TRANSPORTS if transport != "websocket"}
    assert {("A", transport) for transport in LOSSY} | sockets == set(left_out)
    assert len(cells) + len(left_out) == 4 * len(TRANSPORTS)


@needs_webrtc
def test_a_real_link_leaves_out_what_cannot_have_one(monkeypatch):
    monkeypatch.setattr(choice, "_no_pair", lambda: "namespaces are not to be had")
    cells, left_out = planned(options="C", links=["20ms"])
    assert cells == {("C", transport) for transport in TRANSPORTS[1:]}
    assert "memory has no packets that a link could delay" in left_out["C", "memory"]
    # Without namespaces a relay makes the link, which cannot lose what TCP carries.
    cells, left_out = planned(options="C", links=["100ms-1%"])
    assert cells == {("C", transport) for transport in TRANSPORTS[2:]}
    assert left_out["C", "websocket"] == "namespaces are not to be had"
    # Beside a link that can be, one that cannot is left out only there.
    plan = Plan("C", ("websocket",), ("download",), links=[None, "100ms-1%", "20ms"])
    assert [case.link.name if case.link else None for case in plan.cases()] == [None, "20ms"]
    assert len(plan.left_out) == 1


def test_a_library_that_is_not_there_is_a_reason(monkeypatch):
    monkeypatch.setattr("aero_lab.tunnels.webrtc.missing", lambda library=None: "WebRTC needs aiortc")
    cells, left_out = planned(options="BC")
    assert cells == {(option, transport) for option in "BC" for transport in ("memory", "websocket")}
    assert set(left_out.values()) == {"WebRTC needs aiortc"} and len(left_out) == 6
    with pytest.raises(UsageError, match="^WebRTC needs aiortc$"):
        planned(options="BC", transports=["webrtc"])


@pytest.mark.parametrize("guest", ["tap", "qemu"])
def test_guests_that_live_in_real_time(guest):
    with pytest.raises(UsageError, match=f"a {guest} guest .* lives in real time: leave --virtual or it out"):
        planned(guest=guest, virtual=True)


@pytest.mark.parametrize(
    ("option", "settings", "guest", "told"),
    [
        ("C", {}, "scripted", "none"),
        ("A", {"connect": "early"}, "linux", "none"),
        ("B", {"far": "kernel"}, "scripted", "root or user namespaces at proxy"),
        ("C", {}, "tap", "root or user namespaces at guest"),
        ("C", {"far": "kernel"}, "tap", "root or user namespaces at proxy and guest"),
    ],
)
def test_privileges(option, settings, guest, told):
    assert Case(option, settings=settings, guest=guest).privileges == told


def test_privileges_are_always_in_the_tables():
    table = compare("BC", size=1000, virtual=True, progress=False)
    assert [run.privileges for run in table.runs] == ["none", "none"] and "privileges" in repr(table)
    costs = next(part for part in table.summary() if part[0] == "what it costs")
    assert costs[1][-1] == "privileges" and [row[-1] for row in costs[2]] == ["none", "none"]


@pytest.mark.root
@pytest.mark.skipif(bool(no_kernel()), reason=no_kernel() or "")
def test_a_kernel_far_end_is_one_more_option():
    plan = Plan("C,C:far=kernel", ("memory",), ("download",), size=1000)
    assert [(case.label, case.privileges) for case in plan.cases()] == [
        ("C", "none"),
        ("C:far=kernel", "root or user namespaces at proxy"),
    ]
