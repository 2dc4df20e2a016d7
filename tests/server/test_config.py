"""Settings: every variable of the contract, its defaults, its spellings, and what refuses to start."""

from __future__ import annotations

import random

import pytest

from aero_lab.errors import UsageError
from aero_lab.server.config import ServerConfig
from aero_lab.server.settings import Environment, variables
from aero_lab.server.world import lan_config
from aero_lab.stack import Stack
from aero_lab.wire.address import ip

DEFAULTS = {
    "AERO_L2_MAX_CONNECTIONS": 64,
    "AERO_L2_MAX_CONNECTIONS_PER_SESSION": 0,
    "AERO_L2_MAX_CONNECTIONS_PER_IP": 0,
    "AERO_L2_MAX_BYTES_PER_CONNECTION": 0,
    "AERO_L2_MAX_BYTES_PER_SECOND": 0,
    "AERO_L2_FAR": "lan",
    "AERO_L2_MAX_FRAMES_PER_SECOND": 0,
    "AERO_L2_PING_INTERVAL_MS": 0,
    "AERO_L2_IDLE_TIMEOUT_MS": 0,
    "AERO_L2_SHUTDOWN_GRACE_MS": 3000,
    "AERO_L2_WS_SEND_BUFFER": 64,
    "AERO_L2_CAPTURE_DIR": None,
    "AERO_L2_CAPTURE_MAX_BYTES": 67108864,
    "AERO_L2_CAPTURE_FLUSH_INTERVAL_MS": 1000,
    "AERO_L2_DNS_MAX_TTL_SECS": 300,
    "AERO_L2_DNS_DEFAULT_TTL_SECS": 60,
    "AERO_L2_DNS_LOOKUP_TIMEOUT_MS": 2000,
    "AERO_L2_TCP_CONNECT_TIMEOUT_MS": 5000,
    "AERO_L2_TCP_SEND_BUFFER": 32,
    "AERO_L2_MAX_UDP_FLOWS_PER_TUNNEL": 256,
    "AERO_L2_UDP_FLOW_IDLE_TIMEOUT_MS": 60000,
    "AERO_L2_STACK_MAX_TCP_CONNECTIONS": 1024,
    "AERO_L2_STACK_MAX_PENDING_DNS": 1024,
    "AERO_L2_STACK_MAX_DNS_CACHE_ENTRIES": 10000,
    "AERO_L2_STACK_MAX_BUFFERED_TCP_BYTES_PER_CONN": 262144,
    "AERO_L2_ALLOWED_TCP_PORTS": None,
    "AERO_L2_ALLOWED_UDP_PORTS": None,
    "AERO_L2_ALLOW_PRIVATE_IPS": False,
    "AERO_L2_OPEN": False,
    "AERO_L2_TRUST_PROXY": False,
    "AERO_L2_TRUST_PROXY_HOST": False,
    "AERO_L2_PROXY_GIT_SHA": "dev",
    "AERO_L2_PROXY_BUILD_TIMESTAMP": "",
    "AERO_L2_PROXY_LISTEN_ADDR": "127.0.0.1:8090",
}
FIELD = {name: field for field, info in ServerConfig.model_fields.items() for name in variables(info)}


def env(**values):
    return ServerConfig.from_environment(values)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_also_for_blank_variables(name):
    assert getattr(env(), FIELD[name]) == DEFAULTS[name]
    if name not in ("AERO_L2_ALLOWED_TCP_PORTS", "AERO_L2_ALLOWED_UDP_PORTS"):
        assert getattr(env(**{name: "  "}), FIELD[name]) == DEFAULTS[name]


@pytest.mark.parametrize("name", [name for name, value in DEFAULTS.items() if type(value) is int])
def test_numbers(name):
    field = FIELD[name]
    for text in ("x", "-1", "1.5", "1e3", "0x10", "1" * 30, "\u0661"):
        source = Environment(ServerConfig, {name: text})
        assert source() == {} and name in source.notes[0]
        assert getattr(env(**{name: text}), field) == DEFAULTS[name]
    assert getattr(env(**{name: " 17 "}), field) == 17


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("AERO_L2_STACK_MAX_TCP_CONNECTIONS", "70000", 65535),
        ("AERO_L2_DNS_LOOKUP_TIMEOUT_MS", "999999", 60_000),
        ("AERO_L2_UDP_FLOW_IDLE_TIMEOUT_MS", "86400001", 86_400_000),
        ("AERO_L2_WS_SEND_BUFFER", "0", 64),
    ],
)
def test_ranges(name, text, value):
    assert getattr(env(**{name: text}), FIELD[name]) == value


def test_aliases_and_their_order():
    assert env(AERO_L2_MAX_FRAME_SIZE="3000").limits.frame == 3000
    assert env(AERO_L2_MAX_FRAME_PAYLOAD="4000", AERO_L2_MAX_FRAME_SIZE="3000").limits.frame == 4000
    assert env(AERO_L2_MAX_FRAME_PAYLOAD=" ", AERO_L2_MAX_FRAME_SIZE="3000").limits.frame == 3000
    assert env(AERO_L2_MAX_TUNNELS_PER_SESSION="3").max_connections_per_session == 3
    assert env(ALLOWED_ORIGINS="http://a").allowed_origins == ("http://a",)
    assert env(ALLOWED_ORIGINS="http://a", AERO_L2_ALLOWED_ORIGINS="http://b").allowed_origins == ("http://b",)
    assert env(AERO_L2_TOKEN="t").auth().token == "t"
    assert env(AERO_L2_TOKEN="t", AERO_L2_API_KEY="k").auth().token == "k"
    assert env(VERSION="1", AERO_L2_PROXY_VERSION="2").version == "2"


@pytest.mark.parametrize("word, value", [("1", True), ("TRUE", True), ("on", True), ("True", False), ("2", False)])
def test_what_is_true(word, value):
    assert env(AERO_L2_TRUST_PROXY=word).trust_proxy is value
    assert env(AERO_L2_OPEN=word).open is (word == "1")


def test_lists():
    config = env(
        AERO_L2_DNS_A="Echo.Local.=203.0.113.10, ,b=192.0.2.1,",
        AERO_L2_TCP_FORWARD="203.0.113.10:7=127.0.0.1:9007, 203.0.113.10:8=[::1]:1,203.0.113.11:8=host.example:2",
        AERO_L2_ALLOWED_TCP_PORTS=" 80,443 ,",
        AERO_L2_ALLOWED_UDP_PORTS="",
        AERO_L2_BLOCKED_DOMAINS=".Evil.example., ,",
    )
    assert config.dns_a == {"echo.local": ip("203.0.113.10"), "b": ip("192.0.2.1")}
    assert config.tcp_forward == {
        (ip("203.0.113.10"), 7): ("127.0.0.1", 9007),
        (ip("203.0.113.10"), 8): ("::1", 1),
        (ip("203.0.113.11"), 8): ("host.example", 2),
    }
    assert config.allowed_tcp_ports == {80, 443} and config.allowed_udp_ports == frozenset()
    lan = lan_config(config)
    assert lan.forward_tcp[ip("203.0.113.11"), 8] == ("host.example", 2)
    assert lan.forward_tcp[ip("203.0.113.10"), 8] == (ip("::1"), 1)
    assert lan.policy.tcp_port(22) == "port" and lan.policy.tcp_port(443) is None and lan.policy.udp_port(53) == "port"
    assert lan.policy.name("www.evil.example") is not None


@pytest.mark.parametrize(
    "name, text",
    [
        ("AERO_L2_DNS_A", "echo.local"),
        ("AERO_L2_DNS_A", "echo.local=::1"),
        ("AERO_L2_DNS_A", "=1.2.3.4"),
        ("AERO_L2_TCP_FORWARD", "203.0.113.10:7"),
        ("AERO_L2_TCP_FORWARD", "203.0.113.10=127.0.0.1:7"),
        ("AERO_L2_TCP_FORWARD", "203.0.113.10:0=127.0.0.1:7"),
        ("AERO_L2_TCP_FORWARD", "203.0.113.10:7=::1:7"),
        ("AERO_L2_TCP_FORWARD", "[::1]:7=127.0.0.1:7"),
        ("AERO_L2_UDP_FORWARD", "203.0.113.10:7=127.0.0.1:99999"),
        ("AERO_L2_UDP_FORWARD", "010.0.0.1:7=127.0.0.1:9"),
        ("AERO_L2_ALLOWED_TCP_PORTS", "80,http"),
        ("AERO_L2_ALLOWED_ORIGINS", "https://ok.example,https://not/ok"),
        ("AERO_L2_ALLOWED_ORIGINS_EXTRA", "nonsense"),
        ("AERO_L2_ALLOWED_HOSTS", "a b"),
        ("AERO_L2_PROXY_LISTEN_ADDR", "localhost:80"),
        ("AERO_L2_PROXY_LISTEN_ADDR", "127.0.0.1"),
        ("AERO_L2_PROXY_LISTEN_ADDR", "127.0.0.1:70000"),
        ("AERO_L2_GATEWAY6", "10.0.0.1"),
    ],
)
def test_a_bad_entry_refuses_to_start_and_names_its_variable(name, text):
    with pytest.raises(UsageError, match=f"^{name}: ") as refusal:
        env(**{name: text})
    assert "\n" not in str(refusal.value)


def test_mtu_and_limits_agree():
    assert env().lan_mtu == 1500 and env().limits.frame == 2048 and env().limits.control == 256
    assert env(AERO_L2_MTU="9000").limits.frame == 9018
    assert env(AERO_L2_MTU="9000", AERO_L2_MAX_FRAME_PAYLOAD="2048").lan_mtu == 2030
    assert env(AERO_L2_MAX_FRAME_PAYLOAD="0").limits.frame == 2048
    assert env().gateway6_address == ip("fd00:aee0::2") and env(AERO_L2_MTU="1000").gateway6_address is None
    assert env(AERO_L2_GATEWAY6="off").gateway6_address is None
    assert env(AERO_L2_GATEWAY6="fd00::2").gateway6_address == ip("fd00::2")
    with pytest.raises(UsageError, match="IPv6"):
        env(AERO_L2_MAX_FRAME_PAYLOAD="1000", AERO_L2_GATEWAY6="fd00::2")


@pytest.mark.parametrize("flows, buffer", [("0", 262_144), ("1024", 262_144), ("65535", 65_536)])
def test_a_lan_of_any_number_of_connections_can_be_laid_out(flows, buffer):
    lan = lan_config(env(AERO_L2_STACK_MAX_TCP_CONNECTIONS=flows, AERO_L2_STACK_MAX_BUFFERED_TCP_BYTES_PER_CONN=""))
    assert lan.tcp.send_buffer == lan.tcp.recv_buffer == buffer
    assert Stack(lan.stack(), random.Random(1), 0).counters is not None
    assert lan_config(env(AERO_L2_STACK_MAX_BUFFERED_TCP_BYTES_PER_CONN="0")).tcp.recv_buffer == 4096
    jumbo = lan_config(env(AERO_L2_MTU="65520")).tcp
    assert jumbo.send_buffer == jumbo.recv_buffer == 16 * 65520
    large = lan_config(env(AERO_L2_STACK_MAX_BUFFERED_TCP_BYTES_PER_CONN="67108864"))
    assert large.tcp.recv_buffer == 1 << 21


def test_pings_need_room():
    with pytest.raises(UsageError, match="AERO_L2_MAX_CONTROL_PAYLOAD"):
        env(AERO_L2_PING_INTERVAL_MS="5", AERO_L2_MAX_CONTROL_PAYLOAD="7")


def test_the_environment_is_read_on_request_only(monkeypatch):
    monkeypatch.setenv("AERO_L2_MAX_CONNECTIONS", "5")
    monkeypatch.setenv("MTU", "600")
    assert ServerConfig().max_connections == 64 and ServerConfig().mtu == 1500
    with pytest.raises(UsageError, match="AERO_L2_MAX_CONNECTIONS"):
        ServerConfig(max_connections=-1)


def test_secrets_do_not_show():
    config = env(AERO_L2_API_KEY="top-secret", SESSION_SECRET="other-secret")
    assert "top-secret" not in repr(config) and "other-secret" not in repr(config)
    assert "top-secret" not in repr(config.auths()) and "other-secret" not in repr(config.auths())


def test_what_is_configured_chooses_the_mode():
    assert env(SESSION_SECRET="s").auth().mode == "session_or_token"
    assert env(SESSION_SECRET="s", AERO_L2_API_KEY="k").auth().mode == "session_or_token"
    assert env(SESSION_SECRET="s", AERO_L2_AUTH_MODE="none").auth().mode == "none"
    assert env(AERO_L2_AUTH_MODE=" Cookie ", SESSION_SECRET="s").auth().session_secret == "s"
    one, two = env(AERO_L2_AUTH_MODE="session").auth(), env(AERO_L2_AUTH_MODE="session").auth()
    assert one.session_secret != two.session_secret and len(one.session_secret) >= 32
    with pytest.raises(UsageError, match="AERO_L2_JWT_SECRET"):
        env(AERO_L2_AUTH_MODE="jwt").auth()
    with pytest.raises(UsageError, match="JWT_SECRET"):
        env(AUTH_MODE="jwt").auths()


def test_the_rules_of_gateway_and_relay():
    auths = env(AERO_L2_TOKEN="t").auths()
    assert auths["gateway"] is auths["tunnel"] and auths["relay"].token == "t"
    auths = env(AERO_L2_TOKEN="t", AERO_GATEWAY_AUTH_MODE="session", API_KEY="k").auths()
    assert auths["gateway"].mode == "session" and auths["gateway"].session_secret == auths["tunnel"].session_secret
    assert auths["relay"].mode == "token" and auths["relay"].token == "k"
    auths = env(AERO_L2_TOKEN="t", UDP_RELAY_JWT_SECRET="j").auths()
    assert auths["relay"].mode == "jwt" and auths["relay"].jwt_secret == "j" and not auths["relay"].binds_origin
    assert env(AUTH_MODE="none").auths()["relay"].mode == "none"
    minted = env().auths()
    assert minted["relay"].token == minted["tunnel"].token == minted["gateway"].token != ""
