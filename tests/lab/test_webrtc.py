"""Every option over WebRTC, beside what tests/lab/test_matrix.py shows: the other library, large packets, mistakes."""

from __future__ import annotations

import asyncio
import threading

import pytest

import aero_lab as al
from aero_lab.lan import Policy
from aero_lab.paths import get_path
from aero_lab.transports.peer import missing
from aero_lab.tunnels.base import why_not
from tests.egress.name_server import Served

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

CELLS = [
    ("A", "webrtc"),
    ("B", "webrtc"),
    ("B", "webrtc-unordered"),
    ("B", "webrtc-lossy"),
    ("C", "webrtc"),
    ("C", "webrtc-unordered"),
    ("C", "webrtc-lossy"),
]


@pytest.mark.skipif(missing("wrtc") is not None, reason=missing("wrtc") or "")
@pytest.mark.parametrize(("option", "transport"), CELLS)
def test_they_come_to_the_same_over_libwebrtc(option, transport):
    with al.Lab(option=option, transport=transport, transport_settings={"peer": "wrtc"}, progress=False) as lab:
        guest = lab.guest()
        assert guest.run("dns").ok
        for workload in ("download", "upload"):
            result = guest.run(workload, size="2MB")
            assert result.ok and result.digest_ok, (workload, result.error)
        wire = lab._tunnels.wire  # type: ignore[attr-defined]
        assert wire is not None and wire.bytes_out > 2_000_000 and wire.bytes_in > 2_000_000


@pytest.fixture
def world(monkeypatch):
    """A name server on loopback, where every lab looks names up that are not its own."""
    from aero_lab.egress import resolver

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    served, real = Served(), resolver.HostResolver
    names, where = run(served.__aenter__())
    monkeypatch.setattr(resolver, "HostResolver", lambda timeout: real(where, timeout, hosts=None))
    yield names
    run(served.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


@pytest.mark.parametrize(("option", "settings"), [("A", {}), ("A", {"dns": "json"}), ("B", {})])
def test_names_of_the_world_are_looked_up_at_the_proxy(option, settings, world):
    """Those that the lab does not serve itself; by A in a channel of their own."""
    with al.Lab(
        option=option, transport="webrtc", policy=Policy(allow_private=True), progress=False, **settings
    ) as lab:
        guest = lab.guest()
        found = guest.run("dns", names=("one.example", "www.example"), count=4)
        assert found.ok, found.error
        assert {asked[1:] for asked in world.asked} == {("one.example.", "A"), ("www.example.", "A")}
        nobody = guest.run("dns", names=("none.example",), count=1)
        assert not nobody.ok and "none.example" in (nobody.error or "")
        rows = lab.capture.frames()
    answers = rows[(rows["point"] == "nic") & (rows["direction"] == "rx") & (rows["cause"] == "dns")]
    assert len(answers) >= 5


def test_a_peer_that_there_is_not_is_said_in_one_line():
    with pytest.raises(al.UsageError, match="aiortc, wrtc, not 'pion'"):
        al.Lab(transport="webrtc", transport_settings={"peer": "pion"})
    with pytest.raises(al.UsageError, match="no setting 'pear'; there is: peer"):
        al.Lab(transport="webrtc", transport_settings={"pear": "wrtc"})


@pytest.mark.parametrize(("option", "transport"), [("A", "webrtc"), ("B", "webrtc-unordered"), ("C", "webrtc")])
def test_packets_as_large_as_messages_can_be(option, transport):
    """65,500 bytes and their headers fit the largest message that a data channel takes."""
    with al.Lab(option=option, transport=transport, mtu=65_500, progress=False) as lab:
        guest = lab.guest()
        for workload in ("download", "upload"):
            result = guest.run(workload, size="1MB", timeout=60)
            assert result.ok and result.digest_ok, (workload, result.error)
        frames = lab.capture.frames()
    assert frames["frame_len"].to_numpy().max() > 60_000


def test_two_guests_have_a_connection_each():
    with al.Lab(transport="webrtc", progress=False) as lab:
        guests = [lab.guest(), lab.guest()]
        assert [guest.run("dns").ok for guest in guests] == [True, True]
        assert guests[0].lan is not guests[1].lan


def test_what_cannot_be_is_said_in_one_line():
    assert "no channel that may lose" in why_not("webrtc-unordered", get_path("A"))
    assert not why_not("webrtc", get_path("A"))
    with pytest.raises(al.UsageError, match="sockets live in real time"):
        al.Lab(transport="datagram", virtual=True)
    with pytest.raises(al.AeroLabError, match="cannot reach http"):
        with al.Lab(proxy_url="http://127.0.0.1:1/l2", transport="webrtc", progress=False) as lab:
            lab.guest()
