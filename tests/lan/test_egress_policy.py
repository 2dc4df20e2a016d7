"""Guests that try to get where they must not, end to end: what names resolve to, what addresses hide, what is asked of
the world. In front of each check stands the same question: was a forbidden address ever connected to?
"""

from __future__ import annotations

import random

import pytest

from aero_lab.clock import Scheduler, VirtualClock
from aero_lab.egress.contract import Answer
from aero_lab.egress.virtual import VirtualEgress
from aero_lab.lan import Lan, LanConfig, Policy
from aero_lab.limits import SECOND
from aero_lab.services.catalogue import Offer
from aero_lab.services.far_end import FarEnd
from aero_lab.wire import dns, icmpv6, tcp, udp
from aero_lab.wire.address import ip, ip_text, link_local
from aero_lab.wire.dns import DnsMessage
from aero_lab.wire.ethernet import TYPE_IPV6, Ethernet
from aero_lab.wire.ipv6 import Ipv6

from .bench import GATEWAY, GUEST, GUEST_MAC, Client, Guest

PUBLIC, PUBLIC6 = ip("93.184.216.34"), ip("2606:2800:220:1::1")
GUEST6 = ip("fd00:aee0::15")
CATALOGUE = (Offer("public.example", PUBLIC, PUBLIC6, tcp={80: "echo"}, udp={7: "udp-echo"}),)


class Egress(VirtualEgress):
    """A world whose resolver says what a test wants, each time the next thing; notes where flows go."""

    def __init__(self, *args, script):
        super().__init__(*args)
        self.script = script
        self.asked: list[str] = []
        self.opened_to: list[bytes] = []

    def resolve(self, query, name, rtype, now):
        self.asked.append(name)
        answers = self.script[name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        size = 4 if rtype == "A" else 16
        found = tuple(ip(text) for text in addresses if len(ip(text)) == size)
        answer = Answer.of(name, found, 60)
        self._notices.append((self.sink.resolved, (query, answer)))

    def open_tcp(self, flow, address, port, now):
        self.opened_to.append(address)
        super().open_tcp(flow, address, port, now)

    def open_udp(self, flow, address, port, now):
        self.opened_to.append(address)
        super().open_udp(flow, address, port, now)

    def echo(self, query, address, payload, now, *more):
        self.opened_to.append(address)
        return super().echo(query, address, payload, now, *more)


class World:
    """One guest with both families behind a LAN."""

    def __init__(self, script=None, **config):
        rng = random.Random(1)
        far = FarEnd(rng, 0, catalogue=CATALOGUE, max_connections=16)
        config = LanConfig(gateway6=ip("fd00:aee0::2"), max_tcp=16, **config)
        self.lan = Lan(config, lambda sink: Egress(sink, rng, 0, far, script=script or {}), rng, 0)
        self.guest = Guest(rng, lan=self.lan)
        self.guest.stack.set_address(
            ((GUEST, 24), (GUEST6, 64)), router4=GATEWAY, router6=link_local(self.lan.config.mac)
        )
        self.scheduler = Scheduler(VirtualClock())
        self.scheduler.add(self.guest, self.lan)

    @property
    def egress(self) -> Egress:
        return self.lan.egress  # type: ignore[return-value]

    def run(self, until, seconds=20):
        self.guest.step(self.scheduler.clock.now())
        return self.scheduler.run(until, self.scheduler.clock.now() + seconds * SECOND)

    def ask(self, name: str, rtype: int = dns.A) -> DnsMessage:
        number = len(self.guest.datagrams)
        payload = DnsMessage.query(number, name, rtype).emit()
        while not self.guest.stack.udp_send(GUEST, 40053, GATEWAY, 53, payload, self.guest.now):
            self.run(lambda: False, 1)
        assert self.run(lambda: len(self.guest.datagrams) > number)
        return DnsMessage.parse(self.guest.datagrams[-1].payload)

    def addresses(self, name: str, rtype: int = dns.A) -> list[bytes]:
        return [record.rdata for record in self.ask(name, rtype).answers if record.type == rtype]  # type: ignore

    def connect(self, address: bytes, port: int = 80) -> Client:
        client = self.guest.open((address, port))
        self.run(lambda: client.established or client.reason is not None, 5)
        return client


FORBIDDEN = [
    "10.0.0.1", "127.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.169.254", "168.63.129.16",
    "100.100.100.200", "192.0.0.192", "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1", "198.18.0.1",
    "fd00:ec2::254", "fd00::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1", "2002:a00:1::1", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "::10.0.0.1",
    "2a00:1450::5efe:10.0.0.1", "100::1", "2001:db8::1", "3fff::1", "5f00::1", "2001:10::1",
]  # fmt: skip


MAPPED = ("::ffff:10.0.0.1", "::ffff:169.254.169.254")
"""Our own guest's stack cannot send these; others' can."""


@pytest.mark.parametrize("text", MAPPED)
def test_packets_to_mapped_addresses_get_nowhere(text):
    w, address = World(), ip(text)
    for protocol, body in (
        (6, tcp.Tcp(40000, 80, 1, 0, tcp.SYN, 64240).emit(GUEST6, address)),
        (17, udp.Udp(4000, 7, b"x").emit(GUEST6, address)),
        (58, icmpv6.Icmpv6.echo_request(1, 1, b"x").emit(GUEST6, address)),
    ):
        packet = Ipv6(GUEST6, address, protocol, body).emit()
        w.lan.rx.push(Ethernet(w.lan.config.mac, GUEST_MAC, TYPE_IPV6, packet).emit())
    w.run(lambda: False, 5)
    assert w.lan.counters["stack.frames-in"] >= 3
    assert w.egress.opened_to == []


@pytest.mark.parametrize("text", [text for text in FORBIDDEN if text not in MAPPED])
def test_connections_datagrams_and_echoes_to_what_is_forbidden(text):
    w, address = World(), ip(text)
    client = w.connect(address)
    assert not client.established
    assert w.lan.flows.rows()[-1]["reason"].startswith("denied-")
    source = GUEST if len(address) == 4 else GUEST6
    w.guest.stack.udp_send(source, 4000, address, 7, b"x", w.guest.now)
    w.guest.stack.icmp_echo(source, address, 1, 1, b"x", w.guest.now)
    w.run(lambda: False, 1)
    assert w.egress.opened_to == [], "nothing of it ever left"
    counted = w.lan.counters
    assert any(name.startswith("udp.denied-") for name in counted)
    assert any(name.startswith("lan.echo-denied-") for name in counted)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_names_that_resolve_to_what_is_forbidden(text):
    rtype = dns.A if len(ip(text)) == 4 else dns.AAAA
    w = World({"evil.example": [[text]]})
    answer = w.ask("evil.example", rtype)
    assert (answer.rcode, answer.answers) == (dns.NXDOMAIN, ())


def test_names_that_resolve_to_nothing():
    w = World({"empty.example": [[]]})
    assert w.ask("empty.example").answers == ()
    assert w.ask("empty.example", dns.AAAA).answers == ()


@pytest.mark.parametrize("order", [1, -1])
def test_names_that_resolve_to_a_public_and_a_private_address_at_once(order):
    w = World({"both.example": [["93.184.216.34", "10.0.0.1"][::order]]})
    answer = w.ask("both.example")
    assert (answer.rcode, answer.answers) == (dns.NXDOMAIN, ())


def test_names_that_resolve_differently_the_second_time():
    w = World({"rebind.example": [["93.184.216.34"], ["127.0.0.1"]]})
    assert w.addresses("rebind.example") == [PUBLIC]
    assert w.addresses("rebind.example") == [PUBLIC], "remembered, not asked again"
    assert w.connect(PUBLIC).established
    w.run(lambda: False, 61)
    assert w.ask("rebind.example").rcode == dns.NXDOMAIN
    assert w.egress.opened_to == [PUBLIC], "each connection goes to the address that was judged, and to no name"


@pytest.mark.parametrize(
    "name", ["2130706433", "127.1", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "10.0.0.01", "127.0.0.1", "0"]
)
def test_addresses_spelled_as_names_are_asked_of_nobody(name):
    w = World({})
    assert w.ask(name).rcode == dns.NXDOMAIN
    assert w.egress.asked == []


def test_what_is_public_is_reached_over_both_families():
    w = World({"public.example": [["93.184.216.34", "2606:2800:220:1::1"]]})
    assert w.addresses("public.example") == [PUBLIC]
    assert w.addresses("public.example", dns.AAAA) == [PUBLIC6]
    assert w.connect(PUBLIC).established
    assert w.connect(PUBLIC6).established
    assert w.egress.opened_to == [PUBLIC, PUBLIC6]


def test_domain_lists():
    policy = Policy(allowed_domains=("example",), blocked_domains=("bad.example",))
    script = {name: [["93.184.216.34"]] for name in ("good.example", "bad.example", "x.bad.example", "other.org")}
    w = World(script, policy=policy)
    assert [bool(w.addresses(name)) for name in script] == [True, False, False, False]
    assert w.egress.asked == ["good.example"]
    assert w.connect(PUBLIC).established, "lists of names say nothing about addresses"


def test_port_lists_hold_for_forwards_too():
    hidden = ip("10.1.2.3")
    forwards = {(hidden, 80): (PUBLIC, 80), (hidden, 81): (PUBLIC, 80)}
    w = World(policy=Policy(tcp_ports=frozenset({80}), udp_ports=frozenset()), forward_tcp=forwards)
    assert w.connect(hidden, 80).established, "a forward stands above the address policy"
    assert w.egress.opened_to == [PUBLIC]
    assert not w.connect(hidden, 81).established
    assert not w.connect(PUBLIC, 443).established
    w.guest.stack.udp_send(GUEST, 4000, PUBLIC, 7, b"x", w.guest.now)
    w.run(lambda: False, 1)
    assert w.egress.opened_to == [PUBLIC]
    assert [row["reason"] for row in w.lan.flows.rows()[-2:]] == ["denied-port", "denied-port"]


def test_overrides_are_answered_without_asking_but_connections_are_judged_all_the_same():
    w = World({}, names={"inside.example": (ip("10.9.9.9"), ip("fd00::9"))})
    assert w.addresses("inside.example") == [ip("10.9.9.9")]
    assert w.addresses("inside.example", dns.AAAA) == [ip("fd00::9")]
    assert w.egress.asked == []
    assert not w.connect(ip("10.9.9.9")).established
    assert not w.connect(ip("fd00::9")).established
    assert w.egress.opened_to == []


@pytest.mark.parametrize("own", ["10.0.2.2", "fd00:aee0::2"])
def test_the_gateway_is_no_way_to_its_host(own):
    w = World(policy=Policy(allow_private=True))
    assert not w.connect(ip(own)).established
    assert w.egress.opened_to == []
    assert w.lan.flows.rows()[-1]["reason"] == "denied-gateway"
    assert ip_text(ip(own)) in w.lan.flows.rows()[-1]["target"]
