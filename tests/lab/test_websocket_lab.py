"""A lab whose guests reach the real proxy server over real WebSockets."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time

import pytest

import aero_lab as al
from aero_lab.errors import UsageError
from aero_lab.transports.websocket_client import ConnectFailed


@pytest.fixture(scope="module")
def lab():
    with al.Lab(transport="websocket", progress=False, seed=3) as lab:
        yield lab


@pytest.fixture(scope="module")
def guest(lab):
    guest = lab.guest("scripted")
    guest.wait_online(30)
    return guest


def wait(condition, what):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"never: {what}")


def test_bytes_are_right_both_ways_and_seen_from_all_sides(lab, guest):
    assert guest.address == "10.0.2.15"
    wait(lambda: guest.address6, "an IPv6 address")
    lab.capture.clear()
    before = guest.tunnel
    down, up = guest.run("download", size="2MB", timeout=60), guest.run("upload", size="2MB", timeout=60)
    assert down.ok and up.ok and down.digest_ok and up.digest_ok
    after = guest.tunnel
    assert after["bytes_received"] - before["bytes_received"] > 2_000_000 < after["bytes_sent"] - before["bytes_sent"]
    assert after["connections"] == 1
    flows = [row for row in lab.flows.rows() if row["target"] == "203.0.113.10:80"][-2:]
    assert [row["guest_name"] for row in flows] == ["guest1", "guest1"]
    assert flows[0]["bytes_down"] > 2_000_000 < flows[1]["bytes_up"]
    assert guest.counters["dns.queries"] >= 1
    frames = lab.capture.frames()
    for direction in ("tx", "rx"):
        nic, tunnel = (
            frames[(frames["point"] == point) & (frames["direction"] == direction)] for point in ("nic", "tunnel")
        )
        assert abs(len(nic) - len(tunnel)) < 20, "a few are on their way"
        common = min(len(nic), len(tunnel)) - 20
        assert common > 1000 and list(nic["frame_len"][:common]) == list(tunnel["frame_len"][:common])
        assert (tunnel["message_len"] == tunnel["frame_len"] + 4).all()
        # No message carries an identity, yet each frame keeps its own.
        both = nic.merge(tunnel, on="frame_id", suffixes=("_nic", "_tunnel"))
        assert len(both) >= common and nic["frame_id"].is_unique
        assert both["tcp_seq_nic"].equals(both["tcp_seq_tunnel"])
    assert (frames["tunnel_delay"].dropna() >= 0).all() and frames["tunnel_delay"].notna().sum() > 1000


def test_guests_have_networks_of_their_own(lab, guest):
    other = lab.guest("scripted", profile="windows7", name="second")
    other.wait_online(30)
    assert other.lan is not guest.lan and other.address == guest.address
    assert other.run("rr", count=3, timeout=30).ok
    rows = lab.flows.rows()
    assert {row["guest_name"] for row in rows} == {"guest1", "second"}
    assert len(lab._tunnels.proxy.sessions) == 2


def test_a_lost_tunnel_is_made_again_and_the_guest_sees_its_cable_pulled(lab, guest):
    lan, mac = guest.lan, guest.mac
    client = lab._tunnels._clients[0][0]
    session = next(s for s in lab._tunnels.proxy.sessions if s.query == {"guest": "1"})
    lab._engine.call(session.drop)
    wait(lambda: client.connections == 2 and guest.lan is not lan, "a new tunnel with a new network")
    guest.wait_online(30)
    assert guest.run("download", size="100KB", timeout=60).ok and guest.mac == mac
    assert guest.tunnel["connections"] == 2
    leased = [row for row in lab.capture.frames().query("point == 'nic'")["cause"]].count("dhcp")
    assert leased >= 2, "it asked for its address again"


def test_rtt_by_ping(lab, guest):
    port = guest._client
    lab._engine.call(lambda: port.control.ping(lab.now, payload=b"\1\2\3\4"))
    wait(lambda: port.rtt is not None, "an answer")
    assert 0 < port.rtt < 5_000_000_000


def test_nobody_else_gets_in(lab):
    from urllib.parse import urlsplit

    where = urlsplit(lab._tunnels.url)
    assert where.hostname == "127.0.0.1" and "token=" in where.query and "token" not in repr(lab._tunnels.where)
    with pytest.raises(ConnectFailed, match="401"):
        al.probe(lab._tunnels.where)
    assert where.query not in lab._repr_html_() and "WebSocket to ws://127.0.0.1:" in lab._repr_html_()


def test_the_probe_passes_against_our_own_server(lab, guest):
    for size, dhcp in ((131_072, False), (1 << 20, False), (65_536, True)):
        found = al.probe(lab._tunnels.url, echo="echo.lab", size=size, dhcp=dhcp)
        assert found["tcp"]["ok"] and found["tcp"]["remoteIp"] == "203.0.113.11"
        assert (found["dhcp"] or {"ip": "10.0.2.15"})["ip"] == "10.0.2.15"


def test_a_guest_of_a_proxy_elsewhere(lab, guest):
    with al.Lab(proxy_url=lab._tunnels.where, token=_token(lab), progress=False) as away:
        visitor = away.guest("scripted")
        visitor.wait_online(30)
        assert visitor.run("download", size="100KB", timeout=60).ok
        with pytest.raises(UsageError, match="at another proxy"):
            _ = visitor.counters
        assert set(away.capture.frames()["point"]) == {"nic"}
    with al.Lab(proxy_url=lab._tunnels.where, token="wrong", progress=False) as away:
        with pytest.raises(ConnectFailed, match="401 Unauthorized"):
            away.guest("scripted")
        assert away.guests == []


@pytest.mark.slow
def test_a_proxy_that_is_killed_and_comes_back():
    """The real process, killed without a word; its successor at the same address gives the guest a network again."""
    from tests.server.test_process import Process

    settings = {"AERO_L2_API_KEY": "k-1", "AERO_L2_AUTH_MODE": "token"}
    with Process(**settings, AERO_L2_PROXY_LISTEN_ADDR="127.0.0.1:0") as first:
        url = first.listening()
        with al.Lab(proxy_url=url, token="k-1", progress=False) as away:
            guest = away.guest("scripted")
            guest.wait_online(30)
            client = away._tunnels.clients[0]
            first.end(signal.SIGKILL)
            wait(lambda: not client.connected, "the loss")
            assert client.error == "the connection was lost"
            wait(lambda: "refused" in (client.error or "").lower(), "an attempt that nobody answers")
            sent = guest.tunnel["messages_sent"]
            with Process(**settings, AERO_L2_PROXY_LISTEN_ADDR=url.removeprefix("http://")) as second:
                second.listening()
                wait(lambda: client.connections == 2 and guest.tunnel["messages_sent"] > sent, "a new tunnel")
                guest.wait_online(30)
                wait(lambda: (away.capture.frames()["cause"] == "dhcp").sum() >= 8, "two leases of four messages")
                assert guest.address == "10.0.2.15"
                assert second.end() == 0


def _token(lab):
    return lab._tunnels.url.partition("token=")[2]


def test_closing_leaves_nothing(lab, guest):
    gc.collect()
    threads, fds = threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    short = al.Lab(transport="websocket", progress=False)
    port = short._tunnels.proxy.port
    short.guest("scripted").wait_online(30)
    listening = [row.split() for row in open("/proc/net/tcp").read().splitlines()[1:]] if fds else []
    mine = [row[1] for row in listening if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert mine in ([], [f"0100007F:{port:04X}"]), "loopback alone"
    short.close()
    short.close()
    with socket.socket() as knock:
        assert knock.connect_ex(("127.0.0.1", port)) != 0
    assert threading.active_count() == threads
    if fds:
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= fds


def test_a_forgotten_lab_closes_itself():
    lab = al.Lab(transport="websocket", progress=False)
    engine = lab._engine
    lab.guest("scripted")
    del lab
    gc.collect()
    assert engine.closed


def test_what_does_not_go_together():
    for options, said in (
        ({"transport": "pigeon"}, "there is memory, websocket"),
        ({"transport": "datagram", "virtual": True}, "real time"),
        ({"transport": "websocket", "link": "loss=1%"}, "a relay cannot lose"),
        ({"token": "x"}, "proxy_url"),
        ({"proxy_url": "nonsense"}, "no address of a proxy"),
    ):
        with pytest.raises(UsageError, match=said):
            al.Lab(progress=False, **options).guest()
