"""What a reverse proxy says about the request it passes on. Believed only where the settings say so.

``Forwarded`` (RFC 7239) comes before the older ``X-Forwarded-*``; of each the first element counts, which is the one
nearest to the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Protocol


class Headers(Protocol):
    """The part of a header map that is needed."""

    def getall(self, key: str, default: list[str]) -> list[str]: ...


def forwarded(headers: Headers, name: str) -> str | None:
    """Parameter ``name`` (``for``, ``host``, ``proto``) of the first element of ``Forwarded``."""
    lines = headers.getall("Forwarded", [])
    if not lines:
        return None
    return _parameters(lines[0]).get(name)


def first_of_list(headers: Headers, name: str) -> str | None:
    """The first entry of a header that is a comma list."""
    lines = headers.getall(name, [])
    return (lines[0].split(",")[0].strip() or None) if lines else None


def _parameters(line: str) -> Mapping[str, str]:
    """Parameters of the first element: ``for="[2001:db8::1]:4711";proto=https``."""
    found: dict[str, str] = {}
    name, value, quoted, escaped, in_value = "", "", False, False, False

    def put() -> None:
        if in_value and name.strip():
            found.setdefault(name.strip().lower(), value.strip())

    for character in line:
        if escaped:
            value, escaped = value + character, False
        elif quoted:
            if character == "\\":
                escaped = True
            elif character == '"':
                quoted = False
            else:
                value += character
        elif character == ",":
            break
        elif character == ";":
            put()
            name, value, in_value = "", "", False
        elif not in_value:
            if character == "=":
                in_value = True
            else:
                name += character
        elif character == '"':
            quoted = True
        else:
            value += character
    put()
    return {key: text for key, text in found.items() if text}


def client_address(headers: Headers, peer: str, trust: bool) -> str:
    """The client's IP address: the connection's own, or with ``trust`` what a reverse proxy says if it is one."""
    if trust:
        for text in (forwarded(headers, "for"), first_of_list(headers, "X-Forwarded-For")):
            address = _address(text) if text else None
            if address is not None:
                return address
    return _address(peer) or peer


def _address(text: str) -> str | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
