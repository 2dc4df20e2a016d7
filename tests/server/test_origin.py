"""Origins and hosts: golden vectors, surprising spellings, and another house's URL library where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.errors import UsageError
from aero_lab.server.hosts import BadHost, parse_authority, parse_host
from aero_lab.server.origin import BadOrigin, OriginRules, normalize_origin

GOLDEN = Path(__file__).parents[2] / "../shared/vectors"


def golden(name):
    path = GOLDEN / name
    if not path.exists():
        pytest.skip("the golden vectors are not beside this checkout")
    return json.loads(path.read_text())


def normal(raw):
    try:
        return normalize_origin(raw)
    except BadOrigin:
        return None


def test_golden_normalisations():
    cases = golden("origin.json")["normalize"]
    assert len(cases) >= 57
    for case in cases:
        expected = None if case.get("expectError") else case["normalizedOrigin"]
        assert normal(case["rawOriginHeader"]) == expected, case["name"]


def test_golden_strings():
    cases = golden("origin-allowlist-test-vectors.json")
    assert len(cases) >= 60
    for case in cases:
        assert normal(case["raw"]) == case["normalized"], case


def test_golden_decisions():
    cases = golden("origin.json")["allow"]
    assert len(cases) >= 30
    for case in cases:
        rules = OriginRules.of(case["allowedOrigins"])
        origin = normal(case["rawOriginHeader"])
        allowed = origin is not None and rules.allows(origin, case["requestHost"])
        assert allowed is case["expectAllowed"], case["name"]


@pytest.mark.parametrize(
    "raw, clean",
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com."),
        ("1.2.3.4.", "1.2.3.4"),
        ("0x", "0.0.0.0"),
        ("0x7F.1", "127.0.0.1"),
        ("1.2.0xffff", "1.2.255.255"),
        ("00000000000000000000000000000000000000000000000000000000000000000000000001", "0.0.0.1"),
        ("[::]", "[::]"),
        ("[1:0:0:2:0:0:0:3]", "[1:0:0:2::3]"),
        ("[1:0:2:3:4:5:6:7]", "[1:0:2:3:4:5:6:7]"),
        ("[::1.2.3.4]", "[::102:304]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"),
    ],
)
def test_hosts(raw, clean):
    assert parse_host(raw) == clean


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "1.2.3.4.5",
        "1..2",
        "a.1",
        "a.0x1",
        "256",
        "[::1",
        "::1",
        "[::1%lo]",
        "a b",
        "xn--",
        "xn--\u00e9",
        "xn--ascii-",
    ]
    + ["9" * 4000, "0x" + "f" * 4000, "a%41", "a|b", "[1.2.3.4]"],
)
def test_what_is_no_host(raw):
    if raw == "256":  # a number is an IPv4 address
        assert parse_host(raw) == "0.0.1.0"
        return
    with pytest.raises(BadHost):
        parse_host(raw)


@pytest.mark.parametrize("port", ["", "0", "65536", "x", "-1", "1" * 4000, "\u0661"])
def test_what_is_no_port(port):
    with pytest.raises(BadHost):
        parse_authority(f"example.com:{port}", "http")


def test_ports():
    assert parse_authority("example.com:00080", "http") == "example.com"
    assert parse_authority("[::1]:0443", "http") == "[::1]:443"
    assert parse_authority("[::1]:443", "https") == "[::1]"


def test_a_bad_entry_of_a_list_is_named():
    with pytest.raises(UsageError, match="http://a/b"):
        OriginRules.of(["https://ok.example", "http://a/b"])
    assert OriginRules.of([" * "]).allows("null", None)


HOST_TEXT = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%,{}`\\@?#/"), max_size=20),
    st.lists(
        st.sampled_from(["0", "1", "255", "256", "0x", "0xff", "0377", "08", "a", "", "xn--a", "x-"]), max_size=6
    ).map(".".join),
    st.lists(st.sampled_from(["0", "1", "ffff", "", "00ff", "1.2.3.4", "12345"]), max_size=9).map(
        lambda parts: f"[{':'.join(parts)}]"
    ),
)


@given(HOST_TEXT)
def test_as_another_house_reads_hosts(text):
    ada = pytest.importorskip("ada_url", reason="the URL library to compare with is not installed")
    if "xn--" in text.lower() or ":" in text.rpartition("]")[2]:
        return  # of IDNA only the punycode is checked here; ports have their own rules
    try:
        theirs = ada.URL(f"http://{text}/").host
    except ValueError:
        theirs = None
    try:
        ours = parse_host(text)
    except BadHost:
        ours = None
    assert ours == theirs


@given(st.text(max_size=40))
def test_nothing_but_the_refusal_comes_out(raw):
    origin = normal(raw)
    if origin is not None:
        assert normal(origin) == origin
