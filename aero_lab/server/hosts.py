"""Hosts as browsers read them: the host parser of the WHATWG URL standard for ASCII text, and ``Host`` headers.

A policy that reads a host differently from the client that connects to it can be fooled, so this follows the standard
to the letter where it is surprising: ``010.0.0.1`` is 8.0.0.1, ``127.1`` is 127.0.0.1, a name whose last label is a
number is an address or an error. (https://url.spec.whatwg.org/#host-parsing; text outside ASCII does not get here, so
of IDNA only the check of ``xn--`` labels is left.)
"""

from __future__ import annotations

import ipaddress
import re

from ..errors import Malformed

_FORBIDDEN = re.compile(r"[\x00-\x20#/:<>?@\[\\\]^|%\x7f-\U0010ffff]")
_RADIX = {8: re.compile(r"[0-7]*"), 10: re.compile(r"[0-9]*"), 16: re.compile(r"[0-9a-f]*")}
DEFAULT_PORTS = {"http": 80, "https": 443}


class BadHost(Malformed):
    """Text that is no host."""

    def __init__(self, detail: str):
        super().__init__("host", detail)
        self.args = (detail,)


def parse_host(text: str) -> str:
    """The one spelling of a host: a lower-case name, dotted IPv4, or IPv6 in brackets. Raises :class:`BadHost`."""
    if text.startswith("["):
        if not text.endswith("]"):
            raise BadHost("a bracket that is not closed")
        return f"[{_ipv6(text[1:-1])}]"
    host = text.lower()
    if not host:
        raise BadHost("no host")
    if _FORBIDDEN.search(host):
        raise BadHost("a character that no host may have")
    for label in host.split("."):
        _check_label(label)
    if _ends_in_number(host):
        return _ipv4(host)
    return host


def parse_authority(text: str, scheme: str) -> str:
    """``host[:port]`` in its one spelling, without the default port of ``scheme``. Raises :class:`BadHost`."""
    end = text.rfind("]") + 1
    host, colon, port = text, "", ""
    if ":" in text[end:]:
        at = text.index(":", end)
        host, colon, port = text[:at], ":", text[at + 1 :]
    clean = parse_host(host)
    if not colon:
        return clean
    if not port.isascii() or not port.isdigit():
        raise BadHost("a port that is no number")
    number = int(port[-6:]) if not port[:-6].strip("0") else 1 << 16
    if not 0 < number < 1 << 16:
        raise BadHost("a port out of range")
    return clean if number == DEFAULT_PORTS.get(scheme) else f"{clean}:{number}"


def _check_label(label: str) -> None:
    if label.startswith("xn--"):
        try:
            plain = label[4:].encode().decode("punycode")
            sound = not plain.isascii() and plain.encode("punycode").decode() == label[4:]
        except (UnicodeError, ValueError, OverflowError):
            sound = False
        if not sound:
            raise BadHost("a label that is not punycode")


def _ends_in_number(host: str) -> bool:
    parts = host.split(".")
    if parts[-1] == "":
        if len(parts) == 1:
            return False
        parts.pop()
    last = parts[-1]
    return last.isdigit() or _number(last) is not None


def _number(text: str) -> int | None:
    """A part of an IPv4 address in any of its spellings, None when it is no number."""
    if text == "":
        return None
    radix = 10
    if text.startswith("0x"):
        radix, text = 16, text[2:]
    elif len(text) > 1 and text[0] == "0":
        radix, text = 8, text[1:]
    if not _RADIX[radix].fullmatch(text):
        return None
    digits = text.lstrip("0")
    if len(digits) > 16:
        return 1 << 64  # too large for an address already
    return int(digits, radix) if digits else 0


def _ipv4(host: str) -> str:
    parts = host.split(".")
    if parts[-1] == "" and len(parts) > 1:
        parts.pop()
    if len(parts) > 4:
        raise BadHost("an IPv4 address of more than four parts")
    numbers = [_number(part) for part in parts]
    value = 0
    for place, number in enumerate(numbers[:-1]):
        if number is None or number > 255:
            raise BadHost("not an IPv4 address")
        value |= number << 8 * (3 - place)
    last = numbers[-1]
    if last is None or last >= 256 ** (5 - len(numbers)):
        raise BadHost("not an IPv4 address")
    return str(ipaddress.IPv4Address(value | last))


def _ipv6(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError
        packed = ipaddress.IPv6Address(text).packed
    except ValueError:
        raise BadHost("not an IPv6 address") from None
    pieces = [int.from_bytes(packed[i : i + 2], "big") for i in range(0, 16, 2)]
    # The first of the longest runs of zeros is compressed; mapped IPv4 is not written in dots.
    start, length = 0, 1
    i = 0
    while i < 8:
        j = i
        while j < 8 and pieces[j] == 0:
            j += 1
        if j - i > length:
            start, length = i, j - i
        i = max(j, i + 1)
    if length < 2:
        return ":".join(f"{piece:x}" for piece in pieces)
    head, tail = pieces[:start], pieces[start + length :]
    return ":".join(f"{piece:x}" for piece in head) + "::" + ":".join(f"{piece:x}" for piece in tail)
