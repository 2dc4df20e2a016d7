"""Guests over IPv6: autoconfiguration from the LAN's advertisements, every workload, and honest refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aero_lab.errors import UsageError
from aero_lab.guests.scripted.profiles import LINUX, WINDOWS7, quiet
from aero_lab.guests.scripted.workloads import WORKLOADS, make
from aero_lab.lan import Policy
from aero_lab.limits import SECOND
from aero_lab.link import Link
from aero_lab.wire.address import ip, is_link_local, link_local
from aero_lab.wire.frame import dissect
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.ndp import Rdnss, RouterAdvert, RouterSolicit

from .bench import Bench
from .peer import Peer
from .test_startup import advertise

GATEWAY6 = ip("fd00:aee0::2")
SMALL = {
    "ping": {"count": 2},
    "dns": {"count": 3},
    "download": {"size": 100_000},
    "upload": {"size": 100_000},
    "rr": {"count": 3},
    "burst": {"count": 5},
    "parallel": {"flows": 2, "size": 50_000},
    "udp-echo": {"count": 5},
    "voip": {"duration": 0.2},
    "game": {"duration": 0.2},
    "ntp": {"count": 1},
    "source": {"size": 100_000},
    "sink": {"size": 100_000},
}


@pytest.mark.parametrize("profile", ["linux", "windows7"])
def test_a_guest_configures_itself(profile):
    b = Bench(profile)
    b.run_task(b.guest.wait_online(family=6))
    assert b.clock.now() < 5 * SECOND
    own = b.guest.ipv6.address
    assert own[:8] == GATEWAY6[:8] and b.guest.online6
    assert (own[8:] == link_local(b.guest.mac)[8:]) == (profile == "linux"), "Windows takes a random one"
    assert b.guest.ipv6.router == link_local(b.lan.config.mac)
    b.run_task(b.guest.wait_online())
    assert b.guest.name_servers == (ip("10.0.2.2"), *([GATEWAY6] if profile == "linux" else []))


@pytest.mark.parametrize("profile", [quiet(LINUX), quiet(WINDOWS7)], ids=lambda p: p.name)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_workload_over_ipv6(workload, profile):
    wanted = {"linux": LINUX, "windows7": WINDOWS7}[profile.name].ipv6
    b = Bench(replace(profile, ipv6=wanted), link=Link(rtt="2ms"))
    result = b.run(workload, family=6, **SMALL[workload])
    assert result.ok, result.error
    targets = [row["target"] for row in b.lan.flows.rows()]
    assert all(target.startswith("[2001:db8:113::") for target in targets)
    assert targets or workload in ("ping", "dns")


def test_a_lost_advertisement_is_asked_for_again():
    asked = 0
    for seed in range(6):
        b = Bench("linux", link=Link(rtt="10ms", loss=0.25), seed=seed)
        b.run_task(b.guest.wait_online(family=6))
        asked = max(asked, len([1 for _, frame in b.frames if isinstance(dissect(frame)[-1], RouterSolicit)]))
    assert asked > 1


def test_by_default_names_lead_over_ipv4():
    b = Bench("linux")
    assert b.run("rr", count=1).ok
    b.wait(5)
    assert b.guest.online6
    assert b.run("rr", count=1).ok
    assert [row["target"] for row in b.lan.flows.rows()] == ["203.0.113.11:7"] * 2


def test_a_lan_without_ipv6_has_none():
    b = Bench("linux", lan={"gateway6": None})
    result = b.run("rr", family=6)
    assert not result.ok and "no IPv6 address" in result.error
    assert b.run_task(b.guest.resolve("files.lab")) == ip("203.0.113.10")
    sent_by_lan = [frame for _, frame in b.frames if frame[6:12] == b.lan.config.mac]
    assert sent_by_lan and not [frame for frame in sent_by_lan if isinstance(dissect(frame)[1], Ipv6)]
    result = Bench("linux", mtu=1000).run("rr", family=6)
    assert (result.ok, result.error) == (False, "unreachable: this guest has no IPv6")


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("2001:db8:113::10", 81, "refused"),  # closed
        ("2001:db8:113::99", 80, "unreachable"),  # no such host
        ("2606:4700:4700::1111", 80, "unreachable"),  # a world that the far end does not have
        ("fd00::1", 80, "refused"),  # denied by the policy
    ],
)
def test_refusals_are_told_at_once_so_that_the_other_family_is_tried(host, port, reason):
    policy = Policy(allow_private=not host.startswith("fd00"))
    b = Bench("linux", lan={"policy": policy}, link=Link(rtt="10ms"))
    b.run_task(b.guest.wait_online(family=6))
    started = b.clock.now()
    result = b.run("rr", host=host, port=port)
    assert result.error == f"{reason}: connect"
    assert b.clock.now() - started < SECOND


def test_udp_is_told_too():
    b = Bench("linux", lan={"policy": Policy(allow_private=True)})
    b.run_task(b.guest.wait_online(family=6))
    for host, port, reason in (("2001:db8:113::11", 1234, "refused"), ("2001:db8:113::99", 7, "unreachable")):

        def ask(host=host, port=port):
            socket = b.guest.udp_socket()
            yield from socket.send(ip(host), port, b"anyone?")
            yield from socket.receive(b.guest.now + SECOND)

        task = b.guest.start(ask())
        b.wait(2)
        assert task.error.reason == reason


def test_large_datagrams_travel_in_fragments():
    b = Bench("linux")
    assert b.run("udp-echo", count=2, size=5000, family=6).ok
    assert b.lan.counters["stack.reassembled"] >= 2


@pytest.mark.parametrize("family", [4, 6])
def test_family_restricts_names_and_addresses(family):
    b = Bench("linux")
    b.run_task(b.guest.wait_online(family=family))
    expected = {4: ip("203.0.113.10"), 6: ip("2001:db8:113::10")}
    assert b.run_task(b.guest.resolve("files.lab", family)) == expected[family]
    other = "10.0.0.1" if family == 6 else "fd00::1"
    result = b.run("rr", host=other, family=family)
    assert result.error == f"no-address: {other} is no IPv{family} address"
    with pytest.raises(UsageError, match="family must be 4 or 6, not 5"):
        make("rr", b.guest, family=5)


def test_names_are_looked_up_at_an_advertised_server_when_there_is_no_other():
    b = Bench("linux")
    b.run_task(b.guest.wait_online(family=6))
    b.guest.dns_servers = ()
    assert b.run_task(b.guest.resolve("files.lab", 6)) == ip("2001:db8:113::10")
    last = [dissect(frame) for _, frame in b.frames][-1]
    assert isinstance(last[1], Ipv6) and last[1].src == GATEWAY6


def test_advertised_name_servers_expire_are_withdrawn_and_are_few():
    peer = Peer("linux")
    peer.run(5)
    many = tuple(ip(f"fd00::{n}") for n in range(1, 9))
    advertise(peer, RouterAdvert(options=(Rdnss(50, many), Rdnss(0, many[:1]))))
    assert peer.guest.ipv6.name_servers == many[1:3]
    advertise(peer, RouterAdvert(options=(Rdnss(500, many[1:2]),)))
    peer.run(60)
    assert peer.guest.ipv6.name_servers == many[1:2]
    peer.run(500)
    assert peer.guest.ipv6.name_servers == ()


def test_the_link_local_address_is_not_one_to_reach_the_world_from():
    peer = Peer("linux")
    peer.run(5)
    assert [is_link_local(a) for a in peer.guest.ipv6.addresses] == [True]
    assert peer.guest.ipv6.address is None and not peer.guest.online6
