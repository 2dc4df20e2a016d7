"""The matrix: every option over every transport that carries it in real time, with a scripted guest and with a real
kernel. The same workloads come to the same digests in every cell."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

import aero_lab as al
from aero_lab.compiled.registry import PLAIN
from aero_lab.guests.tap import why_not as tap_why_not
from aero_lab.paths import get_path, options
from aero_lab.transports.peer import missing
from aero_lab.tunnels import transports, why_not

KINDS = ["scripted"] if PLAIN or tap_why_not() else ["scripted", "tap"]
"""In one lab, one after the other: what a cell costs is mostly its beginning."""
SETTINGS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("A", "webrtc"): [{"connect": "early", "udp": 2}, {"mux": 1}],
}
"""Further forms that an option has there. Those over WebSockets are in tests/paths/test_socket_relay.py."""
CELLS = [(option, transport, {}) for option, transport in product(options(), transports())]
CELLS += [(option, transport, settings) for (option, transport), every in SETTINGS.items() for settings in every]
EXISTING = [cell for cell in CELLS if not why_not(cell[1], get_path(cell[0], **cell[2]))]


def name(value: Any) -> str:
    return ":".join(f"{key}={each}" for key, each in value.items()) if isinstance(value, dict) else value


def test_which_cells_there_are():
    """A takes what loses nothing; B and C take everything."""
    assert {cell[:2] for cell in CELLS} - {cell[:2] for cell in EXISTING} == {
        ("A", "webrtc-unordered"),
        ("A", "webrtc-lossy"),
        ("A", "datagram"),
    }
    assert len(EXISTING) == 15 + 2


def all_workloads(guest, lossy: bool) -> None:
    if guest.kind == "scripted":  # a kernel's programs ask for names on their way
        assert guest.run("dns", timeout=60).ok
    for workload in ("download", "upload"):
        result = guest.run(workload, size="150kB", timeout=60)
        assert result.ok and result.digest_ok and result.bytes == 150_000, (guest.kind, workload, result.error)
    assert guest.run("rr", count=3, timeout=60).ok
    echoes = guest.run("udp-echo", count=10, timeout=60)
    assert echoes.ok or lossy, echoes.error


@pytest.mark.root
@pytest.mark.parametrize(("option", "transport", "settings"), EXISTING, ids=name)
def test_the_same_workloads_come_to_the_same(option, transport, settings):
    if transport.startswith("webrtc") and (why := missing()):
        pytest.skip(why)
    with al.Lab(option=option, transport=transport, progress=False, **settings) as lab:
        for kind in KINDS:
            guest = lab.guest(kind)
            all_workloads(guest, transport in ("webrtc-lossy", "datagram"))
            counters = guest.tunnel
            if option == "A":
                assert counters["relay-tcp-bytes-up"] > 150_000 < counters["relay-tcp-bytes-down"]
            else:
                assert counters["messages_sent"] > 25 < counters["messages_received"]
            if kind == "scripted":
                frames_are_known_again(lab.capture.frames(), option, transport)


def frames_are_known_again(frames: Any, option: str, transport: str) -> None:
    """At the other end, by order or by what is in them."""
    tunnel = frames[frames["point"] == "tunnel"]
    assert len(tunnel) > (10 if option == "A" else 50)
    if option == "A" or transport == "datagram":  # flows travel there; what one may lose it cannot number
        return
    nic = frames[frames["point"] == "nic"]
    both = nic.merge(tunnel, on=["frame_id", "direction"], suffixes=("_nic", "_tunnel"))
    assert len(both) > 0.8 * len(tunnel) and both["frame_id"].is_unique
    for column in ("tcp_seq", "tcp_ack", "ip_id", "ip_len", "udp_length"):
        if f"{column}_nic" in both:
            assert both[f"{column}_nic"].equals(both[f"{column}_tunnel"]), column
    delays: Any = frames["tunnel_delay"].dropna()
    assert len(delays) == len(both) and (delays >= 0).all()
