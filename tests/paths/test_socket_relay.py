"""Option A in labs: the same workloads as any option, over memory, in virtual and in real time."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

import aero_lab as al
from aero_lab.errors import UsageError
from aero_lab.paths import get_path

from ..guests.tap import needs_tap  # noqa: F401

WORKLOADS = (
    ("download", {"size": "2MB"}),
    ("upload", {"size": "2MB"}),
    ("download", {"size": "300KB", "family": 6}),
    ("parallel", {"flows": 3, "size": "500KB"}),
    ("rr", {"count": 20}),
    ("burst", {"count": 5}),
    ("udp-echo", {"count": 20}),
    ("dns", {}),
)


def run_all(guest):
    for name, parameters in WORKLOADS:
        result = guest.run(name, timeout=60, **parameters)
        assert result.ok and result.digest_ok is not False, (name, result.error)


@pytest.mark.parametrize("settings", [{}, {"mux": 1, "udp": 2}, {"connect": "early"}], ids=["v2", "v1", "early"])
def test_workloads_in_virtual_time(settings):
    with al.Lab(option="A", virtual=True, progress=False, **settings) as lab:
        guest = lab.guest()
        guest.wait_online()
        run_all(guest)
        client, server = guest.tunnel, guest.counters
        assert client["relay-tcp-bytes-up"] == server["egress.tcp-bytes-up"] > 2_000_000
        assert client["relay-udp-datagrams-up"] == server["udp.datagrams_in"] == server["udp.datagrams_out"] >= 20
        assert server["names.questions"] >= 3
        assert not [name for name in server if "dropped" in name or "error_" in name]


def test_workloads_in_real_time():
    with al.Lab(option="A", progress=False) as lab:
        guest = lab.guest()
        guest.wait_online()
        run_all(guest)


OVER_SOCKETS = ({}, {"mux": 1, "dns": "json", "connect": "early"}, {"streams": "socket"})


@pytest.mark.parametrize("settings", OVER_SOCKETS, ids=["v2", "v1-json", "sockets"])
def test_workloads_over_websockets(settings):
    with al.Lab(option="A", transport="websocket", progress=False, **settings) as lab:
        guest = lab.guest()
        guest.wait_online()
        run_all(guest)
        server = guest.counters
        assert guest.tunnel["relay-udp-datagrams-up"] == server["udp.datagrams_in"] >= 20
        assert "WebSocket to ws://127.0.0.1:" in lab._repr_html_()
        assert guest.tunnel["bytes_sent"] > 2_000_000
        if "streams" not in settings:
            assert server["mux.opened"] >= 5 and guest._client.egress.port.version == settings.get("mux", 2)


def test_a_sink_that_hardly_reads_beside_twenty_fast_streams():
    """At the real server, over a real WebSocket: it keeps its place, and holds no more than its window."""
    quit_ = threading.Event()

    def trickle(connection):
        with connection:
            while not quit_.wait(0.25) and connection.recv(256):
                pass

    def accept():
        with contextlib.suppress(OSError):
            while not quit_.is_set():
                threading.Thread(target=trickle, args=(listener.accept()[0],), daemon=True).start()

    def pour(host):
        connection = yield from host.connect(address, port)
        while True:
            yield from connection.send(bytes(1 << 16))

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        threading.Thread(target=accept, daemon=True).start()
        with al.Lab(option="A", transport="websocket", progress=False, capture=False) as lab:
            address = lab.open_port(port)
            guest = lab.guest()
            guest.wait_online()
            pouring = guest._call(lambda: guest._host.start(pour(guest._host), "pour"))
            for _ in range(2):
                result = guest.run("parallel", flows=20, size="300kB", direction="up", timeout=120)
                assert result.ok and result.digest_ok and result.bytes == 20 * 300_000, result.error
            assert not pouring.done, "its connection is neither reset nor at its end"
            server = guest.counters
            assert not [name for name in server if "error_" in name] and server["mux.opened"] >= 41
            slow = [row for row in lab.flows.rows() if row["target"].endswith(f":{port}")]
            assert [row["state"] for row in slow] == ["open"] and 0 < slow[0]["bytes_up"] < 16 << 20
        quit_.set()


def test_what_a_guest_hears_of_targets_that_are_denied():
    """An answer that waits is an ICMP error; one that was early is a reset."""
    for settings, error, reason in (
        ({}, "unreachable: connect", "denied"),
        ({"connect": "early"}, "reset: connection", "reset-by-far-side"),
        ({"mux": 1}, "reset: connection", "reset-by-far-side"),
    ):
        with al.Lab(option="A", virtual=True, progress=False, **settings) as lab:
            guest = lab.guest()
            guest.wait_online()
            result = guest.run("rr", host="10.9.9.9", port=9, timeout=30)
            assert (result.ok, result.error) == (False, error)
            assert lab.flows.rows()[-1]["reason"] == reason
            assert guest.counters["mux.error_policy_denied"] == 1


def test_what_cannot_be_is_said():
    with al.Lab(option="A", progress=False) as lab:
        guest = lab.guest()
        guest.wait_online()
        with pytest.raises(UsageError, match="connections from outside cannot come in"):
            lab.forward(guest, 80)
        with pytest.raises(UsageError, match="in option A the network is at the guest"):
            lab.restore(guest.snapshot())
        assert guest.run("ping", host="echo.lab", count=1, timeout=30).error == "denied"
        assert "denied" in repr(lab.explain("10.0.0.1:80")), "the proxy's rules are asked, not those at the guest"


@pytest.mark.root
@pytest.mark.usefixtures("needs_tap")
@pytest.mark.parametrize("settings", [{}, {"streams": "socket"}], ids=["mux", "sockets"])
def test_a_real_kernel_as_the_guest(settings):
    with al.Lab(option="A", transport="websocket", progress=False, capture=False, **settings) as lab:
        guest = lab.guest("tap")
        guest.wait_online()
        for name, size in (("download", "2MB"), ("upload", "2MB"), ("parallel", "500KB")):
            result = guest.run(name, size=size, timeout=60)
            assert result.ok and result.digest_ok, (name, result.error)
        assert guest.run("udp-echo", count=20, timeout=60).ok


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    images = []
    for number in range(2):
        with al.Lab(option="A", virtual=True, seed=7, progress=False) as lab:
            guest = lab.guest()
            guest.wait_online()
            assert guest.run("download", size="200KB", timeout=30).digest_ok
            assert guest.run("udp-echo", count=3, timeout=30).ok
            images.append(lab.capture.save(tmp_path / f"{number}.pcapng").read_bytes())
    assert images[0] == images[1] and len(images[0]) > 200_000


def test_settings():
    assert get_path("a", connect="early").settings == {"connect": "early"}
    for settings, text in (
        ({"connect": "late"}, "connect must be 'answered' or 'early', not 'late'"),
        ({"mux": 3}, "mux must be 1 or 2, not 3"),
        ({"speed": 1}, "option A has no setting 'speed'; it has connect, streams, mux"),
    ):
        with pytest.raises(UsageError, match=text):
            get_path("A", **settings)
    with pytest.raises(UsageError, match="option C has no setting 'connect'"):
        al.Lab(connect="early", progress=False)
