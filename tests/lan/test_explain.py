"""Explanations: the same rules as the data path, in their order, and the one that decides."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.egress.contract import Answer
from aero_lab.errors import UsageError
from aero_lab.lab import Lab
from aero_lab.lan import Policy
from aero_lab.lan.explain import Inquiry, Target, inet_aton, parse_target
from aero_lab.lan.judgement import decide, judge
from aero_lab.limits import SECOND
from aero_lab.wire.address import ip

from .bench import ECHO, FILES, VirtualBench


@pytest.fixture(scope="module")
def lab():
    with Lab(virtual=True) as lab:
        guest = lab.guest(profile="linux")
        assert guest.run("rr", count=2).ok
        assert not guest.run("rr", host="203.0.113.11", port=80).ok
        assert not guest.run("rr", host="10.1.2.3", port=80).ok
        yield lab


@pytest.mark.parametrize(
    ("text", "protocol", "expected"),
    [
        ("files.lab:80", None, Target("tcp", "files.lab", 80)),
        ("10.0.0.1:22", "udp", Target("udp", "10.0.0.1", 22)),
        ("[2001:db8::1]:443", None, Target("tcp", "2001:db8::1", 443)),
        ("udp://echo.lab:7", None, Target("udp", "echo.lab", 7)),
        ("https://example.org/a/b?c", None, Target("tcp", "example.org", 443)),
        ("http://example.org:8080/", None, Target("tcp", "example.org", 8080)),
        ("echo.lab", "icmp", Target("icmp", "echo.lab", 0)),
        ("icmp://echo.lab", None, Target("icmp", "echo.lab", 0)),
        ("2001:db8::1", "icmp", Target("icmp", "2001:db8::1", 0)),
        ("0177.0.0.1:80", None, Target("tcp", "0177.0.0.1", 80)),
    ],
)
def test_targets(text, protocol, expected):
    assert parse_target(text, protocol) == expected


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("files.lab", None), ("files.lab:0", None), ("files.lab:65536", None), ("files.lab:http", None), ("", None),
        ("2001:db8::1", None), (":80", None), ("gopher://x:70", None), ("x:80", "sctp"), ("[::1", None),
        ("a:b:c", None), ("x:-1", None), ("x:٣", None),
    ],
)  # fmt: skip
def test_what_is_no_target_is_said_in_one_line(text, protocol):
    with pytest.raises(UsageError) as caught:
        parse_target(text, protocol)
    assert "\n" not in str(caught.value)


numbers = st.one_of(st.integers(0, 300), st.integers(0, 1 << 33)).flatmap(
    lambda n: st.sampled_from([str(n), hex(n), f"0{n:o}", hex(n).upper().replace("0X", "0x")])
)


@given(st.one_of(st.lists(numbers, min_size=1, max_size=5).map(".".join), st.text("0123456789abcdefx._ ", max_size=12)))
def test_old_spellings_are_read_as_the_library_reads_them(text):
    try:
        expected = socket.inet_aton(text)
    except OSError:
        expected = None
    if " " not in text:  # the library stops at white space
        assert inet_aton(text) == expected


def test_what_is_allowed(lab):
    found = lab.explain("files.lab:80")
    assert (found.outcome, found.allowed) == ("allowed", True)
    assert (found.decided_by.about, found.decided_by.rule) == ("203.0.113.10", "forward map")
    rules = [(row.about, row.rule, row.says) for row in found.rows]
    assert rules == [
        ("files.lab", "domains", "pass"),
        ("files.lab A", "static names", "pass"),
        ("files.lab AAAA", "static names", "pass"),
        *((address, rule, says) for address in ("203.0.113.10", "2001:db8:113::10")
          for rule, says in (("forward map", "yes"), ("ports", "pass"), ("flows", "pass"))),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "protocol", "rule", "words"),
    [
        ("10.0.0.1:80", None, "address", "private: 10.0.0.0/8"),
        ("203.0.113.10:81", None, "address", "documentation: 203.0.113.0/24"),
        ("[::ffff:10.0.0.1]:80", None, "address", "private: carries 10.0.0.1"),
        ("[2002:a00:1::]:80", "udp", "address", "private: 6to4 router 10.0.0.1"),
        ("[2001:0:4136:e378:8000:63bf:f5ff:fffe]:80", None, "address", "private: Teredo client 10.0.0.1"),
        ("169.254.169.254", "icmp", "address", "metadata"),
        ("10.0.2.2:80", None, "gateway", "the network itself"),
        ("[fd00:aee0::2]:80", "udp", "gateway", "the network itself"),
        ("127.1:80", None, "domains", "numeric-name"),
        ("0x7f.0.0.1:80", None, "domains", "numeric-name"),
    ],
)
def test_what_is_denied_and_by_which_rule(lab, target, protocol, rule, words):
    found = lab.explain(target, protocol=protocol)
    assert (found.outcome, found.allowed) == ("denied", False)
    assert found.decided_by.rule == rule and words in found.decided_by.detail
    assert found.decided_by.says == "no"


def test_spellings_that_others_would_read_as_addresses(lab):
    found = lab.explain("0177.1:80")
    assert [row.detail for row in found.rows if row.rule == "spelling"][0].endswith("inet_aton reads it as 127.0.0.1")


@pytest.mark.parametrize(
    ("target", "protocol"),
    [("10.0.2.2:53", "tcp"), ("10.0.2.2:53", "udp"), ("10.0.2.2:67", "udp"), ("10.0.2.2", "icmp")],
)
def test_what_the_network_itself_offers(lab, target, protocol):
    found = lab.explain(target, protocol=protocol)
    assert (found.outcome, found.decided_by.rule) == ("allowed", "gateway")


def test_history(lab):
    rows = lab.explain("echo.lab:7").rows
    assert [row.detail for row in rows if row.rule == "last flow"][0].startswith("closed 0.0 s ago, 128 bytes up")
    found = lab.explain("10.1.2.3:80")
    assert (found.outcome, found.decided_by.rule) == ("denied", "address")
    assert found.rows[-1].detail.startswith("denied-private")


def test_denied_datagrams_are_remembered_by_the_audit():
    with Lab(virtual=True) as lab:
        guest = lab.guest(profile="linux")

        def send(host):
            yield from host.wait_online()
            yield from host.udp_socket().send(ip("192.168.7.7"), 99, b"x")

        guest.do(send)
        lab.advance(1)
        assert "denied-private, 1" in lab.explain("udp://192.168.7.7:99").rows[-1].detail


def test_what_was_allowed_and_came_to_nothing():
    b = VirtualBench(policy=Policy(allow_private=True))
    client = b.guest.open((FILES, 81))
    b.run(lambda: client.reason is not None, 5)
    found = Inquiry(b.lan, Target("tcp", "203.0.113.10", 81), b.now + SECOND).value()
    assert (found.outcome, found.allowed) == ("failed", True)
    assert found.decided_by.detail.startswith("refused")


def test_limits_lists_and_families():
    policy = Policy(tcp_ports=frozenset({7}), udp_ports=frozenset(), blocked_domains=("lab",))
    b = VirtualBench(policy=policy, max_tcp=1)
    client = b.guest.open((ECHO, 7))
    assert b.run(lambda: client.established, 5)

    def decided(protocol, host, port):
        row = Inquiry(b.lan, Target(protocol, host, port), b.now).value().decided_by
        return row.rule, row.detail

    assert decided("tcp", "203.0.113.11", 7) == ("flows", "1 of at most 1 are open")
    assert decided("tcp", "203.0.113.11", 8) == ("ports", "allowed are 7")
    assert decided("udp", "203.0.113.11", 7) == ("ports", "allowed are none")
    assert decided("tcp", "echo.lab", 7) == ("domains", "blocked-domain")
    assert decided("tcp", "2606:4700::1", 7) == ("family", "the LAN has no IPv6")


def test_a_network_that_waits_for_a_lease():
    b = VirtualBench(require_lease=True)
    found = Inquiry(b.lan, Target("tcp", "203.0.113.11", 7), b.now).value()
    assert found.rows[0].rule == "lease" and found.rows[0].says == "no"


def test_lookups_are_made_and_leave_nothing_behind():
    with Lab(virtual=True) as lab:
        guest = lab.guest(profile="linux")
        guest.wait_online()
        before = guest.counters
        found = lab.explain("nowhere.example:80")
        assert (found.outcome, found.decided_by.rule) == ("unresolved", "lookup")
        assert found.decided_by.detail.startswith("nxdomain")
        assert lab.explain("nowhere.example:80", lookup=False).decided_by.detail == "not asked"
        after = guest.counters
        assert {k: v for k, v in after.items() if k.startswith("dns.")} == {
            k: v for k, v in before.items() if k.startswith("dns.")
        }
        assert guest.lan.dns.judge("nowhere.example", 1, lab.now).step == "lookup", "not remembered"


def test_a_name_that_one_address_spoils():
    b = VirtualBench(names={})
    inquiry = Inquiry(b.lan, Target("tcp", "both.example", 80), b.now)
    assert not inquiry.done
    for query in list(b.lan._asked):
        b.lan.resolved(query, Answer.of("both.example", (ip("8.8.8.8"), ip("10.0.0.1")), 60), b.now)
    assert inquiry.done
    found = inquiry.value()
    assert (found.outcome, found.decided_by.rule) == ("denied", "lookup")
    assert "10.0.0.1 is 10.0.0.0/8, Private-Use (RFC 1918)" in found.decided_by.detail


def test_names_that_guests_asked_for_are_known():
    b = VirtualBench(names={}, policy=Policy(allow_private=True))
    b.lan.dns.handle(b"\0\1\1\0\0\1\0\0\0\0\0\0\4echo\3lab\0\0\1\0\1", (ip("10.0.2.15"), 9, ip("10.0.2.2"), 0), 0)
    b.run_for(0.1)
    found = Inquiry(b.lan, Target("tcp", "echo.lab", 7), b.now).value()
    row = next(row for row in found.rows if row.rule == "name cache")
    assert row.detail.startswith("203.0.113.11; remembered for another")


def test_without_a_guest_and_in_real_time():
    with Lab() as lab:
        assert lab.explain("files.lab:80").allowed
        assert lab.explain("192.168.0.1:80").decided_by.rule == "address"
        guest = lab.guest(profile="linux", name="alice")
        guest.wait_online()
        assert lab.explain("files.lab:80", guest="alice").guest == "alice"
        assert lab.explain("files.lab:80", guest=guest).guest == "alice"
        with pytest.raises(UsageError, match="'bob' is none of this lab's: alice"):
            lab.explain("files.lab:80", guest="bob")


def test_over_a_proxy_of_its_own_and_over_one_elsewhere():
    with Lab(transport="websocket") as lab:
        guest = lab.guest(profile="linux")
        assert lab.explain("files.lab:80", guest=guest).allowed, "before a frame of the guest arrived, too"
        assert guest.run("rr", count=1).ok
        assert "closed" in str(lab.explain("echo.lab:7"))
        with pytest.raises(UsageError, match="cannot be replaced"):
            lab.restore(guest.snapshot())
        assert lab._tunnels is not None
        with Lab(proxy_url=lab._tunnels.url) as other, pytest.raises(UsageError, match="elsewhere"):
            other.explain("files.lab:80")


def test_it_shows_itself(lab):
    found = lab.explain("<b>.lab:80")
    assert "<b>" not in found._repr_html_() and "&lt;b&gt;" in found._repr_html_()
    text = str(lab.explain("10.0.0.1:80"))
    assert text.splitlines()[0] == (
        "10.0.0.1:80 over TCP from guest1: denied. address: private: 10.0.0.0/8, Private-Use (RFC 1918)"
    )
    assert text.splitlines()[-1].startswith(">  3  10.0.0.1  address")


targets = st.tuples(
    st.one_of(
        st.binary(min_size=4, max_size=4),
        st.binary(min_size=16, max_size=16),
        st.sampled_from([FILES, ECHO, ip("10.0.2.2"), ip("10.0.2.255"), ip("10.0.0.1"), ip("8.8.8.8")]),
    ),
    st.integers(1, 100),
)


@pytest.fixture(scope="module")
def configs():
    policies = (Policy(), Policy(allow_private=True), Policy(tcp_ports=frozenset({7, 80}), udp_ports=frozenset()))
    return [VirtualBench(policy=policy).config for policy in policies]


@given(targets, st.sampled_from(["tcp", "udp", "icmp"]), st.integers(0, 80), st.integers(0, 2))
def test_the_data_path_takes_what_the_last_step_says(configs, target, protocol, flows, which):
    steps = list(judge(configs[which], protocol, target, flows))
    assert all(step.why is None for step in steps[:-1])
    _, why = decide(configs[which], protocol, target, flows)
    assert why == steps[-1].why
