"""Where clients of gateway and relay may go."""

from __future__ import annotations

import dataclasses

import pytest
from prometheus_client import CollectorRegistry

from aero_lab.errors import UsageError
from aero_lab.lan.policy import Policy
from aero_lab.server.config import ServerConfig
from aero_lab.server.config_relay import AllowRule, port_range
from aero_lab.server.dev_relay import relay_config
from aero_lab.server.metrics_gateway import GatewayMetrics
from aero_lab.server.routes import names
from aero_lab.server.targets import matches, target_policy, tcp_rules
from aero_lab.wire.address import ip

PUBLIC, OTHER, PRIVATE, LOOPBACK = map(ip, ("93.184.216.34", "8.8.8.8", "10.1.2.3", "127.0.0.1"))


def config(**settings):
    return ServerConfig(**settings)


@pytest.mark.parametrize(
    "pattern, host, expected",
    [
        ("example.com", "Example.COM.", True),
        ("example.com", "www.example.com", False),
        ("*.example.com", "www.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "[2001:DB8:0::1]", True),
        ("192.0.2.1", "192.0.2.10", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("*.2.1", "192.0.2.1", False),
    ],
)
def test_patterns(pattern, host, expected):
    assert matches(pattern, host) is expected


def test_the_order_of_the_rules_for_tcp():
    metrics = GatewayMetrics(CollectorRegistry())
    judge = tcp_rules(
        config(tcp_allowed_ports="80,443", tcp_allowed_hosts="*.ok.test,192.0.2.1", tcp_blocked_hosts="bad.ok.test"),
        metrics,
    )
    assert judge("www.ok.test", 22) == "Target port not allowed"
    assert judge("bad.ok.test", 80) == "Target is blocked"
    assert judge("other.test", 80) == "Target host not allowed"
    assert judge("www.ok.test", 80) is None and judge("192.0.2.1", 443) is None
    assert metrics.blocked_host._value.get() == 2
    judge = tcp_rules(config(tcp_require_dns_name=True))
    assert judge("192.0.2.1", 80) == judge("[::1]", 80) == "IP-literal targets are not allowed"
    assert judge("name.test", 80) is None
    assert tcp_rules(config())("anything", 1) is None


def test_addresses():
    metrics = GatewayMetrics(CollectorRegistry())
    policy = target_policy(config(), Policy(), metrics)
    assert policy.tcp(PUBLIC, 80) is None and policy.tcp(PRIVATE, 80) is not None
    assert policy.udp(PUBLIC, 53) is None and policy.udp(PRIVATE, 53) is not None and policy.udp(PUBLIC, 0) == "port"
    assert metrics.blocked_ip._value.get() == 1
    policy = target_policy(config(tcp_allow_private_ips=True), Policy())
    assert policy.tcp(PRIVATE, 80) is None and policy.tcp(LOOPBACK, 80) is None and policy.udp(PRIVATE, 80) is not None
    assert policy.tcp(ip("169.254.169.254"), 80) is not None and policy.tcp(ip("224.0.0.1"), 80) is not None
    world = Policy(tcp_ports=frozenset([80]), blocked_domains=("evil.test",))
    policy = target_policy(config(tcp_allow_private_ips=True), world)
    assert policy.tcp(PUBLIC, 81) == "port" and policy.name("www.evil.test") == "blocked-domain"
    assert {each.name for each in dataclasses.fields(Policy)} <= {each.name for each in dataclasses.fields(policy)}


@pytest.mark.parametrize(
    "settings, allowed, denied",
    [
        ({"destination_policy_preset": "prod"}, [], [(PUBLIC, 53), (PRIVATE, 53)]),
        ({"destination_policy_preset": "dev"}, [(PUBLIC, 53), (PRIVATE, 53), (LOOPBACK, 9)], [(PUBLIC, 0)]),
        ({"destination_policy_preset": "dev", "allow_private_networks": False}, [(PUBLIC, 53)], [(PRIVATE, 53)]),
        (
            {"destination_policy_preset": "prod", "allow_udp_cidrs": "93.184.216.0/24, 10.0.0.0/8"},
            [(PUBLIC, 53)],
            [(OTHER, 53), (PRIVATE, 53)],
        ),
        (
            {"destination_policy_preset": "dev", "deny_udp_cidrs": "8.8.8.8/32", "allow_udp_cidrs": "8.0.0.0/8"},
            [(ip("8.8.4.4"), 53)],
            [(OTHER, 53), (PUBLIC, 53)],
        ),
        (
            {"deny_udp_ports": "53,100-200", "allow_udp_ports": "1-1000"},
            [(PUBLIC, 54)],
            [(PUBLIC, 53), (PUBLIC, 150), (PUBLIC, 2000)],
        ),
        ({"dev_open": True}, [(LOOPBACK, 53)], [(ip("224.0.0.1"), 53)]),
        ({"dev_allow": "10.0.0.0/8:53"}, [(PRIVATE, 53), (PUBLIC, 53)], [(PRIVATE, 54)]),
    ],
)
def test_datagrams(settings, allowed, denied):
    policy = target_policy(config(**settings), Policy())
    assert [policy.udp(*each) for each in allowed] == [None] * len(allowed)
    assert None not in [policy.udp(*each) for each in denied]


def test_rules_of_the_development_relay():
    settings = config(dev_allow="*.ok.test:443, echo.test:*, 10.0.0.0/8:8000-8999, [::1]:80, 127.0.0.1:7")
    judge, policy = tcp_rules(settings), target_policy(settings, Policy())
    assert judge("www.ok.test", 443) is None and judge("Echo.test.", 5) is None and judge("10.9.9.9", 8080) is None
    for host, port in (
        ("ok.test", 443),
        ("www.ok.test", 80),
        ("10.9.9.9", 80),
        ("93.184.216.34", 443),
        ("11.0.0.1", 8080),
    ):
        assert judge(host, port) == "Target is not allowed", host
    assert policy.tcp(PRIVATE, 8080) is None and policy.tcp(LOOPBACK, 7) is None and policy.tcp(ip("::1"), 80) is None
    assert policy.tcp(LOOPBACK, 8) is not None and policy.tcp(PUBLIC, 443) is None
    assert tcp_rules(config(dev_allow="a:1", dev_open=True))("b", 2) is None
    for bad in ("host", ":80", "host:0", "host:x", "a b/c:1", "*:80", "*.:80", "host:5-4", "ftp://x:80"):
        with pytest.raises(UsageError, match="AERO_PROXY_ALLOW"):
            config(dev_allow=bad)
    assert AllowRule.parse("a.test:5-6").ports == port_range("5-6") == range(5, 7)


def test_the_development_relays_settings():
    notes = []
    settings = relay_config({}, notes, "127.0.0.1", 0)
    auths = settings.auths()
    assert {auth.mode for auth in auths.values()} == {"none"} and settings.host == "127.0.0.1"
    assert set(settings.endpoints) <= set(names()) and "l2" not in settings.endpoints
    assert len(notes) == 1 and notes[0].startswith("WARNING")
    assert relay_config({}, notes, "::1", 5).bind == "[::1]:5" and relay_config({}, notes, "localhost", 5).port == 5
    settings = relay_config({"AERO_PROXY_OPEN": "1"}, notes, "127.0.0.1", 5, ["a.test:80", "10.0.0.0/8:*"])
    assert settings.dev_open and len(settings.dev_allow) == 2 and "private networks" in notes[-1]
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.com"):
        with pytest.raises(UsageError, match="loopback"):
            relay_config({}, notes, host, 1)
    with pytest.raises(UsageError, match="65535"):
        relay_config({}, notes, "127.0.0.1", 70_000)
