"""``compare`` across real links: what the summary makes of several, and settings that reach the transport."""

from __future__ import annotations

import pytest

from aero_lab.errors import UsageError
from aero_lab.experiment.compare import compare
from aero_lab.hops import pair
from aero_lab.link import Link
from aero_lab.transports.peer import missing

NO_PAIR = pair.why_not()


def test_several_links_through_a_relay():
    links = ["loopback", "rtt=20ms, rate=20Mbit/s"]
    table = compare(
        "C", ["memory", "websocket"], ["rr"], parameters={"count": 5}, link=links, hop="relay", progress=False
    )
    assert table.ok, [run.error for run in table.runs]
    name = table.runs[-1].link_name
    assert [(run.transport, run.link_name) for run in table.runs] == [
        ("memory", "none"), ("websocket", "none"), ("websocket", name),
    ]  # fmt: skip
    assert [(each["option"], each["transport"]) for each in table.left_out] == [("C", "memory")]
    near, far = table.runs[1:]
    assert "hop" not in near.extra and far.extra["hop"]["hop"] == "relay"
    assert far.request_ms >= 20 and far.rtt_ms >= 20 and Link.from_dict(far.link) == Link.parse(links[1])
    titles = [title for title, _, _ in table.summary()]
    assert titles[:2] == ["how fast, link none", f"how fast, link {name}"] and table.title().count("2 links") == 1
    parts = {title: rows for title, _, rows in table.summary()}
    assert [len(parts[title]) for title in titles[:2]] == [2, 1]
    assert "link" in table.every_run()[0][1] and list(table.medians().index.names)[-1] == "link"


@pytest.mark.root
@pytest.mark.skipif(bool(NO_PAIR), reason=NO_PAIR or "")
def test_a_link_of_namespaces_and_the_control_of_its_tcp():
    (run,) = compare(
        "B", ["websocket"], size=100_000, link="rtt=10ms, loss=2%", hop="namespace",
        transport_settings={"congestion": "reno"}, progress=False,
    ).runs  # fmt: skip
    assert run.ok and run.digest_ok, run.error
    assert run.over == "websocket:congestion=reno" and run.extra["hop"]["congestion"] == "reno"
    assert run.extra["hop"]["hop"] == "namespace" and run.connect_ms >= 10
    assert sum(run.extra["causes"]["down"].values()) == run.wire_bytes_down > 100_000


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_settings_go_to_those_that_have_them():
    from aero_lab.experiment.plan import Plan

    plan = Plan(
        "AC", ("websocket", "webrtc"), ("rr",), links=["20ms"], hop="relay",
        settings={"connect": "early"}, transport_settings={"peer": "aiortc"},
    )  # fmt: skip
    assert [(case.label, case.transport, case.transport_settings) for case in plan.cases()] == [
        (label, transport, told)
        for label in ("A:connect=early", "C")
        for transport, told in (("websocket", {}), ("webrtc", {"peer": "aiortc"}))
    ]
    with pytest.raises(UsageError, match="none of the options has a setting 'colour'; there is"):
        Plan("AC", ("websocket",), ("rr",), settings={"colour": 1}).cases()
    with pytest.raises(UsageError, match="no setting 'colour'"):
        Plan("AC", ("websocket", "webrtc"), ("rr",), transport_settings={"colour": 1}).cases()
