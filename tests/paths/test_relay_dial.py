"""From a target in a client's words to what is connected to."""

from __future__ import annotations

import pytest

from aero_lab.paths.relay_dial import _ascii, literal
from aero_lab.paths.relay_egress import why_of
from aero_lab.wire.address import ip


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("files.lab", "files.lab"), ("Files.LAB.", "files.lab"), ("bücher.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".b", "a" * 63 + ".b"), ("a" * 64 + ".b", None), ("a..b", None), ("", None), (".", None),
        (".".join(["a" * 63] * 4), None), ("ü" * 80, None),
    ],
)  # fmt: skip
def test_names_as_resolvers_know_them(host, name):
    assert _ascii(host) == name


def test_literals_are_addresses_in_their_one_spelling():
    assert literal("192.0.2.1") == ip("192.0.2.1") and literal("[::1]") == literal("::1") == ip("::1")
    for text in ("192.0.2", "0300.0.2.1", "0x7f.1", "1", "fe80::1%eth0", "[::1", "a.b"):
        assert literal(text) is None


@pytest.mark.parametrize(
    ("code", "text", "why"),
    [
        (1, "Target is not allowed", "denied"),
        (2, "connection refused", "refused"),
        (2, "TCP connect timeout", "timeout"),
        (2, "connection timed out", "timeout"),
        (2, "network unreachable", "net-unreachable"),
        (2, "host unreachable", "unreachable"),
        (2, "dial failed", "unreachable"),
        (3, "refused", "unreachable"),
        (5, "max streams exceeded", "unreachable"),
    ],
)
def test_what_an_error_means_to_a_guest(code, text, why):
    assert why_of(code, text) == why
