"""Links on real sockets: workloads come to the same bytes where datagrams are lost, doubled and out of order, on every
cell that stands it; and where TCP is late."""

from __future__ import annotations

import pytest

import aero_lab as al
from aero_lab.guests.tap import why_not as tap_why_not
from aero_lab.transports.peer import missing

needs_webrtc = pytest.mark.skipif(missing() is not None, reason=missing() or "")
ROUGH = "rtt=10ms, loss=2%, reorder=5%, reorder_by=4ms, duplicate=1%"
KINDS = ["scripted"] if tap_why_not() else ["scripted", "tap"]
"""In one lab, one after the other: what the test waits for is mostly its beginning."""


@needs_webrtc
@pytest.mark.parametrize("transport", ["webrtc-unordered", "webrtc-lossy"])
@pytest.mark.parametrize("option", ["B", "C"])
def test_every_byte_across_loss_and_disorder(option, transport):
    with al.Lab(option=option, transport=transport, link=ROUGH, seed=4, progress=False) as lab:
        for kind in KINDS:
            guest = lab.guest(kind)
            for workload in ("download", "upload"):
                result = guest.run(workload, size="100kB", timeout=120)
                assert result.ok and result.digest_ok, (kind, workload, result.error)
        suffered = guest.link
    for way in ("up", "down"):
        for what in ("lost", "reordered", "duplicated"):
            assert suffered[way][what] > 0, (way, what)


@needs_webrtc
def test_the_ordered_cells_stand_it_too():
    with al.Lab(option="A", transport="webrtc", link=ROUGH, seed=2, progress=False) as lab:
        guest = lab.guest()
        result = guest.run("download", size="100kB", timeout=120)
        assert result.ok and result.digest_ok, result.error
        assert guest.link["down"]["lost"] > 0
        wire, relay = lab._tunnels.wire, lab._tunnels.relay.wire()  # type: ignore[attr-defined]
        # Nothing goes up beside what this peer sent; of what came down, the link lost some and doubled some.
        assert wire.bytes_out <= relay.bytes_out and wire.bytes_in != relay.bytes_in


@pytest.mark.parametrize("option", ["A", "C"])
def test_websockets_are_late_and_slow(option):
    with al.Lab(option=option, transport="websocket", link="rtt=40ms, rate=20Mbit/s", progress=False) as lab:
        guest = lab.guest()
        result = guest.run("download", size="300kB", timeout=120)
        assert result.ok and result.digest_ok, result.error
        assert result.ttfb_ms >= 40 and result.seconds >= 300_000 * 8 / 20e6
        assert guest.link["down"]["bytes_out"] > 300_000 and guest.link["down"]["queue_full"] == 0


def test_a_link_without_impairment_is_none():
    with al.Lab(transport="websocket", link="loopback", progress=False) as lab:
        assert lab.guest().link == {}


def test_what_cannot_be_is_one_line():
    with pytest.raises(al.UsageError, match="a relay cannot lose what TCP carries: that takes namespaces"):
        al.Lab(transport="websocket", link="loss=1%", progress=False)
    with pytest.raises(al.UsageError, match="this one is elsewhere"):
        al.Lab(proxy_url="ws://127.0.0.1:9/l2", link="rtt=10ms", progress=False)
