"""Runs of processes of their own across a link: the same digests whatever it does, every byte on its wire counted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import UsageError
from aero_lab.experiment.processes import RealRun
from aero_lab.hops import choose, pair, why_not
from aero_lab.link import Link
from aero_lab.transports.peer import missing

ROUGH = Link(rtt="10ms", loss=0.02, reorder=0.05, reorder_by="3ms", duplicate=0.01)
NO_PAIR = "the kernel's timers do not wait for interpreted kernels" if PLAIN else pair.why_not()
needs_pair = pytest.mark.skipif(bool(NO_PAIR), reason=NO_PAIR or "")
needs_webrtc = pytest.mark.skipif(missing() is not None, reason=missing() or "")
long = pytest.mark.long


def made(option: str, transport: str, link: Link | None, **more: Any) -> RealRun:
    return RealRun(option, "linux", 1500, 3, {}, transport=transport, link=link, digest_of=(200_000,), **more)


def workload(run: RealRun, name: str, **parameters: Any) -> dict[str, Any]:
    result = run.client.ask("run", workload=name, parameters=parameters, timeout=120, patience=130)
    assert result["ok"] and result["digest_ok"], (name, result["error"])
    return result


def still(run: RealRun) -> tuple[list[int], list[int]]:
    """The client's own count of its wire and the hop's, at a moment at which nothing is under way."""
    end = time.monotonic() + 30
    before: Any = None
    while time.monotonic() < end:
        found = run.client.ask("measure")["wire"], run.measure()[0]["wire"]
        if found == before:
            return found
        before = found
        time.sleep(0.2)
    raise AssertionError("the tunnel does not come to rest")


@pytest.mark.root
@needs_pair
@pytest.mark.parametrize(
    ("option", "transport", "guest"),
    [
        pytest.param("C", "websocket", "tap"),
        pytest.param("A", "websocket", "scripted", marks=long),
        pytest.param("B", "websocket", "scripted", marks=long),
        pytest.param("B", "webrtc-unordered", "scripted", marks=[needs_webrtc, long]),
        pytest.param("B", "webrtc-lossy", "tap", marks=[needs_webrtc, long]),
        pytest.param("C", "webrtc-unordered", "tap", marks=[needs_webrtc, long]),
        pytest.param("C", "webrtc-lossy", "scripted", marks=[needs_webrtc, long]),
        pytest.param("A", "webrtc", "tap", marks=[needs_webrtc, long]),
    ],
)
def test_every_packet_is_counted_and_lost_ones_change_no_byte(option, transport, guest):
    with made(option, transport, Link(rtt="6ms"), guest=guest, congestion="reno") as run:
        assert run.hop == "namespace"
        run.client.ask("online", timeout=60)
        assert min(run.client.ask("rtt")["rtt_ms"]) >= 6
        before = still(run)
        workload(run, "download", size=200_000)
        after = still(run)
        own, hop = ([b - a for a, b in zip(*two)] for two in zip(before, after))
        # Names of option A go over HTTP, whose connections the client does not count.
        assert own == hop or (option, transport) == ("A", "websocket"), "bytes and packets, both ways, exactly"
        assert hop[1] > 200_000
        about = run.hop_about()
        assert about["congestion"] == "reno" and about["counters"]["down"]["lost"] == 0

        run._pair.change(ROUGH)  # type: ignore[union-attr]
        for name in ("download", "upload"):
            workload(run, name, size=200_000)
        last, about = still(run), run.hop_about()
    for way in ("up", "down"):
        for what in ("lost", "reordered", "duplicated"):
            assert about["counters"][way][what] > 0, (way, what)
    own, hop = ([b - a for a, b in zip(*two)] for two in zip(after, last))
    assert hop[0] >= own[0], "what the client sent was on the wire, with the blocks of its selective acknowledgements"
    assert hop[1] > 200_000 and own[1] > 200_000


@needs_webrtc
def test_a_run_through_a_relay():
    with made("B", "webrtc-lossy", ROUGH, hop="relay") as run:
        assert run.hop == "relay"
        run.client.ask("online", timeout=60)
        workload(run, "download", size=100_000)
        wire, about = run.measure()[0]["wire"], run.hop_about()
    assert about["counters"]["down"]["lost"] > 0 and wire[1] > 100_000


def test_no_impairment_needs_no_hop():
    assert choose("websocket", None) is None and choose("memory", Link()) is None
    assert choose("webrtc", Link.parse("loopback"), hop="relay") is None


@pytest.mark.parametrize(
    ("transport", "link", "more", "said"),
    [
        ("memory", "20ms", {}, "memory has no packets"),
        ("websocket", "100ms-1%", {"hop": "relay"}, "a relay cannot lose what TCP carries: that takes namespaces"),
        ("websocket", "20ms", {"hop": "relay", "congestion": "reno"}, "congestion= needs hop='namespace'"),
        ("websocket", "loopback", {"congestion": "reno"}, "congestion= is of TCP across a link"),
    ],
)
def test_what_cannot_be_is_said(transport, link, more, said):
    assert said in why_not(transport, Link.parse(link), **more)
    with pytest.raises(UsageError, match=said.replace("(", "\\(")):
        choose(transport, Link.parse(link), **more)


def test_where_there_are_no_namespaces_a_relay_does_what_it_can(monkeypatch):
    from aero_lab.hops import choice

    monkeypatch.setattr(choice, "_no_pair", lambda: "a link between namespaces needs /dev/net/tun, which is not there")
    assert choose("websocket", Link(rtt="20ms")) == "relay" and choose("webrtc-lossy", ROUGH) == "relay"
    for link, hop in ((ROUGH, "auto"), (Link(rtt="20ms"), "namespace")):
        with pytest.raises(UsageError, match="needs /dev/net/tun"):
            choose("websocket", link, hop)


def test_an_unknown_way_is_a_mistake():
    with pytest.raises(UsageError, match="hop must be one of auto, namespace, relay, not 'bridge'"):
        choose("websocket", Link(rtt="1ms"), "bridge")
