"""The fields of the display filter: what each name means over the columns of a capture.

A field has one or more *occurrences* (``tcp.port`` is the source port and the destination port), each a column and,
where Wireshark's field belongs to one protocol and the column to several, a condition on another column. Values are
compared as numbers; columns of text (addresses, points, causes) are compared once for each category, then looked up, so
that a row costs the same whatever it is compared with.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..capture import schema
from ..causes import Cause
from ..limits import MS, SECOND, US
from .select import need

if TYPE_CHECKING:
    import pandas as pd

PROTO, VERSION = "ip_proto", "ip_version"
ICMP, IGMP, TCP, UDP, ICMPV6 = 1, 2, 6, 17, 58
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s)")
ETHER = re.compile(r"[0-9a-fA-F]{2}([:-])([0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}|([0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}")
UNITS = {"ns": 1, "us": US, "ms": MS, "s": SECOND}
CHOICES = {
    "point": schema.POINTS,
    "direction": schema.DIRECTIONS,
    "cause": tuple(cause.name.lower() for cause in Cause),
}
"""What columns of words may hold."""
PACKET_DIRECTION = {"rx": 1, "tx": 2}
"""``frame.packet_flags_direction`` of each direction."""


class Wrong(Exception):
    """A value that does not fit its field; the parser adds where it stands."""


@dataclass(frozen=True)
class Occurrence:
    """One column in which a field's value may be."""

    column: str
    where: tuple[str, tuple[int, ...]] | None = None
    """Column and its values that make this column's value one of the field."""
    shift: int = 0
    """Added to the column's value."""


@dataclass(frozen=True)
class Field:
    """A name that a filter may use."""

    name: str
    kind: str
    """``number, flag, ether, ipv4, ipv6, address, text, time`` (seconds in a filter), ``duration`` (ns in a filter) or
    ``protocol``, which can only be asked for."""
    occurrences: tuple[Occurrence, ...]
    most: int = (1 << 63) - 1
    choices: tuple[str, ...] = ()

    @property
    def signed(self) -> bool:
        return self.most > 0xFFFFFFFF


def _field(name: str, kind: str, *columns: str, where: Any = None, shift: int = 0) -> Field:
    known = schema.COLUMN[columns[0]]
    bits = re.search(r"(\d+)$", known.dtype)
    most = (1 << 63) - 1
    if bits and int(bits[1]) < 64 and kind == "number":
        most = (1 << (int(bits[1]) - (0 if known.dtype[0] in "Uu" else 1))) - 1
    return Field(
        name, kind, tuple(Occurrence(c, where, shift) for c in columns), most, CHOICES.get(columns[0], ())
    )  # fmt: skip


def _is(*protocols: int) -> tuple[str, tuple[int, ...]]:
    return PROTO, protocols


def _fields() -> dict[str, Field]:
    four, six = (VERSION, (4,)), (VERSION, (6,))
    tcp, udp, icmp, icmpv6 = _is(TCP), _is(UDP), _is(ICMP), _is(ICMPV6)
    numbers: list[tuple[str, tuple[str, ...], Any]] = [
        ("frame.number", ("frame_number",), None),
        ("frame.len", ("frame_len",), None),
        ("frame.cap_len", ("frame_cap_len",), None),
        ("frame.packet_id", ("frame_id",), None),
        ("eth.type", ("eth_type",), None),
        ("vlan.id", ("vlan_id",), None),
        ("arp.opcode", ("arp_opcode",), None),
        ("ip.version", ("ip_version",), None),
        ("ip.proto", ("ip_proto",), four),
        ("ip.len", ("ip_len",), four),
        ("ip.ttl", ("ip_ttl",), four),
        ("ip.dsfield", ("ip_dsfield",), four),
        ("ip.id", ("ip_id",), None),
        ("ip.frag_offset", ("ip_frag",), four),
        ("ipv6.hlim", ("ip_ttl",), six),
        ("ipv6.tclass", ("ip_dsfield",), six),
        ("ipv6.fraghdr.offset", ("ip_frag",), six),
        ("tcp.port", ("srcport", "dstport"), tcp),
        ("tcp.srcport", ("srcport",), tcp),
        ("tcp.dstport", ("dstport",), tcp),
        ("tcp.seq_raw", ("tcp_seq",), None),
        ("tcp.ack_raw", ("tcp_ack",), None),
        ("tcp.flags", ("tcp_flags",), None),
        ("tcp.window_size_value", ("tcp_window_size",), None),
        ("tcp.hdr_len", ("tcp_hdr_len",), None),
        ("tcp.len", ("tcp_len",), None),
        ("tcp.options.mss_val", ("tcp_options_mss_val",), None),
        ("tcp.options.wscale.shift", ("tcp_options_wscale_shift",), None),
        ("tcp.options.sack.count", ("tcp_options_sack_count",), None),
        ("tcp.options.timestamp.tsval", ("tcp_options_timestamp_tsval",), None),
        ("tcp.options.timestamp.tsecr", ("tcp_options_timestamp_tsecr",), None),
        ("udp.port", ("srcport", "dstport"), udp),
        ("udp.srcport", ("srcport",), udp),
        ("udp.dstport", ("dstport",), udp),
        ("udp.length", ("udp_length",), None),
        ("icmp.type", ("icmp_type",), icmp),
        ("icmp.code", ("icmp_code",), icmp),
        ("icmp.ident", ("icmp_ident",), icmp),
        ("icmp.seq", ("icmp_seq",), icmp),
        ("icmpv6.type", ("icmp_type",), icmpv6),
        ("icmpv6.code", ("icmp_code",), icmpv6),
        ("icmpv6.echo.identifier", ("icmp_ident",), icmpv6),
        ("icmpv6.echo.sequence_number", ("icmp_seq",), icmpv6),
        ("dhcp.option.dhcp", ("dhcp_type",), None),
        ("dns.id", ("dns_id",), None),
    ]
    made = [_field(name, "number", *columns, where=where) for name, columns, where in numbers]
    made.append(_field("ipv6.plen", "number", "ip_len", where=six, shift=-40))
    made += [
        _field(name, kind, *columns)
        for name, kind, columns in (
            ("eth.src", "ether", ("eth_src",)),
            ("eth.dst", "ether", ("eth_dst",)),
            ("eth.addr", "ether", ("eth_src", "eth_dst")),
            ("ip.src", "ipv4", ("ip_src",)),
            ("ip.dst", "ipv4", ("ip_dst",)),
            ("ip.addr", "ipv4", ("ip_src", "ip_dst")),
            ("ipv6.src", "ipv6", ("ip_src",)),
            ("ipv6.dst", "ipv6", ("ip_dst",)),
            ("ipv6.addr", "ipv6", ("ip_src", "ip_dst")),
            ("arp.src.proto_ipv4", "ipv4", ("arp_src",)),
            ("arp.dst.proto_ipv4", "ipv4", ("arp_dst",)),
            ("frame.interface_name", "text", ("point",)),
            ("frame.time_epoch", "time", ("frame_time",)),
            ("frame.time_relative", "time", ("frame_time",)),
            ("frame.time_delta", "time", ("frame_time",)),
            ("frame.packet_flags_direction", "number", ("direction",)),
            ("dns.flags.response", "flag", ("dns_response",)),
            ("tcp.options.sack_perm", "protocol", ("tcp_options_sack_perm",)),
        )
    ]
    made += [_field(f"tcp.flags.{bit}", "flag", f"tcp_flags_{bit}") for bit in ("fin", "syn", "reset", "push", "ack")]
    made.append(_field("ip.flags.df", "flag", "ip_flags_df"))
    made.append(_field("ip.flags.mf", "flag", "ip_flags_mf", where=four))
    made.append(_field("ipv6.fraghdr.more", "flag", "ip_flags_mf", where=six))
    kinds = {"eth": "ether", "ip_": "address", "arp": "address"}
    for column in schema.COLUMNS:
        if column.dtype == "category":
            text = column.name in CHOICES
            made.append(_field(column.name, "text" if text else kinds[column.name[:3]], column.name))
        elif column.dtype == "boolean":
            made.append(_field(column.name, "flag", column.name))
        else:
            made.append(_field(column.name, "duration" if column.unit == "ns" else "number", column.name))
    known = {field.name: field for field in made}
    known["frame.interface_name"] = Field("frame.interface_name", "text", (Occurrence("point"),))
    known["frame.packet_flags_direction"] = Field(
        "frame.packet_flags_direction", "number", (Occurrence("direction"),), 0xFFFFFFFF
    )
    return known


FIELDS = _fields()
"""Wireshark's names and our columns' that a filter may compare or ask for."""

PROTOCOLS: dict[str, tuple[tuple[tuple[str, tuple[int, ...] | None], ...], ...]] = {
    "frame": ((),),
    "eth": ((("eth_src", None),),),
    "vlan": ((("vlan_id", None),),),
    "arp": ((("arp_opcode", None),),),
    "ip": (((VERSION, (4,)),),),
    "ipv6": (((VERSION, (6,)),),),
    "icmp": (((PROTO, (ICMP,)), ("icmp_type", None)),),
    "icmpv6": (((PROTO, (ICMPV6,)), ("icmp_type", None)),),
    "igmp": (((PROTO, (IGMP,)),),),
    "tcp": (((PROTO, (TCP,)), ("srcport", None)),),
    "udp": (((PROTO, (UDP,)), ("srcport", None)),),
    "dns": ((("dns_id", None), ("srcport", (53,))), (("dns_id", None), ("dstport", (53,)))),
    "mdns": ((("dns_id", None), ("srcport", (5353,))), (("dns_id", None), ("dstport", (5353,)))),
    "llmnr": ((("dns_id", None), ("srcport", (5355,))), (("dns_id", None), ("dstport", (5355,)))),
    "dhcp": ((("dhcp_type", None),),),
}
"""Protocols, each as alternatives of conditions that all have to hold: a column, and its values or None for any."""


# Values ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A literal in the terms of a field: a number or text, and which of its bits count."""

    number: Any
    mask: int | None = None
    family: str = ""
    """``ipv4`` or ``ipv6`` for a field that holds both."""


def value_of(field: Field, text: str, quoted: bool) -> Value:
    """A literal of a filter as a value that the field's can be compared with; raises :class:`Wrong`."""
    kind = field.kind
    if kind == "text":
        if field.choices and text not in field.choices:
            raise Wrong(f"{field.name} is one of {', '.join(field.choices)}, not {text!r}")
        return Value(text)
    if quoted:
        raise Wrong(f"{field.name} is not compared with a text in quotation marks")
    if kind == "flag":
        if text in ("True", "TRUE", "true", "False", "FALSE", "false"):
            return Value(int(text.lower() == "true"))
        return Value(int(_integer(field, text) != 0))
    if kind == "number":
        return Value(_integer(field, text))
    if kind == "time":
        if not re.fullmatch(r"-?\d+(\.\d+)?", text):
            raise Wrong(f"{field.name} is compared with seconds such as 0.25, not {text!r}")
        return Value(Fraction(text) * SECOND)
    if kind == "duration":
        match = DURATION.fullmatch(text)
        return Value(Fraction(match[1]) * UNITS[match[2]] if match else _integer(field, text))
    if kind == "ether":
        if not ETHER.fullmatch(text):
            raise Wrong(f"{text!r} is no MAC address such as 02:00:00:00:00:01")
        return Value(int(re.sub(r"[^0-9a-fA-F]", "", text), 16))
    return _address(field, text)


def _integer(field: Field, text: str) -> int:
    match = re.fullmatch(r"(-?)(0[xX][0-9a-fA-F]+|\d+)", text)
    if not match:
        raise Wrong(f"{field.name} is compared with a number, not {text!r}")
    digits = match[2]
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
    if octal and re.search("[89]", digits):
        raise Wrong(f"{text!r} begins with 0, so it is octal, and has no such digit")
    number = int(digits, 8 if octal else 0)
    number = -number if match[1] else number
    if number > field.most:
        raise Wrong(f"{text} is too large for {field.name}: at most {field.most}")
    if number < 0 and not field.signed:
        raise Wrong(f"{field.name} cannot be negative")
    return number


def _address(field: Field, text: str) -> Value:
    plain, slash, prefix = text.partition("/")
    try:
        found = ipaddress.ip_address(plain)
    except ValueError:
        raise Wrong(f"{text!r} is no IP address") from None
    family, bits = f"ipv{found.version}", found.max_prefixlen
    family = "ipv4" if found.version == 4 else family
    if "%" in plain or field.kind not in ("address", family):
        raise Wrong(f"{field.name} is compared with an IPv{field.kind[-1]} address, not {text!r}")
    if not slash:
        return Value(int(found), None, family)
    if not re.fullmatch(r"\d{1,3}", prefix) or int(prefix) > bits:
        raise Wrong(f"a prefix of an IPv{found.version} address is 0 to {bits} bits, not {prefix!r}")
    mask = ((1 << bits) - 1) ^ ((1 << (bits - int(prefix))) - 1)
    return Value(int(found) & mask, mask, family)


def part_of(field: Field, text: str, quoted: bool) -> bytes | str:
    """What ``contains`` looks for: text, or the bytes of part of a MAC address."""
    if field.kind == "text":
        return text
    if field.kind != "ether":
        raise Wrong(f"contains is for text and MAC addresses; {field.name} is neither")
    if quoted or not re.fullmatch(r"[0-9a-fA-F]{2}([:.-][0-9a-fA-F]{2})*", text):
        raise Wrong(f"{text!r} are no bytes of a MAC address such as 02:00")
    return bytes.fromhex(re.sub("[:.-]", "", text))


# Columns --------------------------------------------------------------------------------------------------------------

Predicate = Callable[[Any], bool]


class Rows:
    """The rows a filter looks at; columns are turned into arrays once, however often a filter names them."""

    def __init__(self, frames: pd.DataFrame):
        self.frames = frames
        self.count = len(frames)
        self._numbers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._texts: dict[str, tuple[np.ndarray, list[str]]] = {}
        self._keys: dict[tuple[str, str], list[Any]] = {}

    def column(self, name: str) -> Any:
        need(self.frames, name)
        return self.frames[name]

    def numbers(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Values and whether there is one."""
        if name not in self._numbers:
            column = self.column(name)
            there = column.notna().to_numpy(bool)
            if name == "direction":
                values = np.zeros(self.count, np.int64)
                codes, names = self.texts(name)
                for code, text in enumerate(names):
                    values[codes == code] = PACKET_DIRECTION.get(text, 0)
            elif there.all() or hasattr(column.array, "_mask"):
                values = column.to_numpy(np.int64, na_value=0) if hasattr(column.array, "_mask") else column.to_numpy()
                values = values.astype(np.int64)
            else:  # floats or objects with holes, as tables from elsewhere have them
                values = column.where(there, 0).astype(np.int64).to_numpy()
            self._numbers[name] = values, there
        return self._numbers[name]

    def texts(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Number of each row's text, -1 without one, and the texts."""
        if name not in self._texts:
            column: Any = self.column(name)
            if column.dtype != "category":
                column = column.astype("category")
            self._texts[name] = column.cat.codes.to_numpy(), [str(c) for c in column.cat.categories]
        return self._texts[name]

    def keys(self, kind: str, name: str) -> tuple[np.ndarray, list[Any]]:
        """Number of each row's text, -1 without one, and what the texts are compared by (see :func:`key_of`)."""
        codes, names = self.texts(name)
        if (kind, name) not in self._keys:
            self._keys[kind, name] = [key_of(kind, text) for text in names]
        return codes, self._keys[kind, name]

    def holds(self, where: tuple[str, tuple[int, ...] | None]) -> np.ndarray:
        """Rows in which a column has one of some values, or any at all."""
        name, allowed = where
        if allowed is None:
            return self.column(name).notna().to_numpy(bool)
        values, there = self.numbers(name)
        return there & np.isin(values, allowed)


def protocol_mask(rows: Rows, name: str) -> np.ndarray:
    """Rows that a protocol is in."""
    out = np.zeros(rows.count, bool)
    for conditions in PROTOCOLS[name]:
        own = np.ones(rows.count, bool)
        for condition in conditions:
            own &= rows.holds(condition)
        out |= own
    return out


def present(rows: Rows, field: Field) -> np.ndarray:
    """Rows in which a field has a value."""
    if field.kind == "protocol":
        values, there = rows.numbers(field.occurrences[0].column)
        return there & (values != 0)
    out = np.zeros(rows.count, bool)
    for occurrence in field.occurrences:
        out |= occurrence_values(rows, field, occurrence)[1]
    return out


def occurrence_values(rows: Rows, field: Field, occurrence: Occurrence) -> tuple[Any, np.ndarray]:
    """``(values, whether there is one)``: numbers, or ``(codes, keys)`` for columns of text."""
    if field.kind in ("text", "ether", "ipv4", "ipv6", "address"):
        codes, keys = rows.keys(field.kind, occurrence.column)
        return (codes, keys), np.array([key is not None for key in keys] + [False])[codes]
    values, there = rows.numbers(occurrence.column)
    if field.name == "frame.time_relative" and rows.count:
        values = values - values[0]
    elif field.name == "frame.time_delta" and rows.count:
        values = np.diff(values, prepend=values[0])
    if occurrence.shift:
        values = values + occurrence.shift
    if occurrence.where is not None:
        there = there & rows.holds(occurrence.where)
    return values, there


def key_of(kind: str, name: str) -> Any:
    """A text of a column as what it is compared by, None when it is of another kind: ``(family, number)``."""
    if kind == "text":
        return ("", name)
    if kind == "ether":
        digits = name.replace(":", "").replace("-", "")
        try:
            return ("", int(digits, 16))
        except ValueError:
            return None
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    family = f"ipv{found.version}"
    return (family, int(found)) if kind in ("address", family) else None


def looked_up(codes: np.ndarray, keys: Sequence[Any], test: Predicate) -> np.ndarray:
    """Rows whose text passes a test; each text is tested once."""
    return np.array([key is not None and test(key) for key in keys] + [False])[codes]
