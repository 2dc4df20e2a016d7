"""Display filters: a subset of Wireshark's, over the columns of a capture.

>>> chosen = al.filter(frames, "tcp.port == 80 and tcp.len > 0 and not cause == retransmission")

A filter is compiled once, and gives a mask over any DataFrame with the columns it names. ``docs/analysis.md`` has the
language; what is in it means what it means to ``tshark -Y``.

Theory of operation
-------------------
A tokenizer and a recursive-descent parser make a tree of small objects whose ``mask(rows)`` are numpy expressions over
whole columns. Length and nesting are bounded, and what the parser recurses into is only what nests. Precedence is
Wireshark's: ``not`` before ``and`` before ``or``.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from . import filter_fields as ff
from .filter_fields import FIELDS, PROTOCOLS, Field, Rows, Value, Wrong

if TYPE_CHECKING:
    import pandas as pd

MOST_LENGTH = 8192
"""Characters of a filter."""
MOST_DEPTH = 50
"""Parentheses inside each other."""

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<range>\.\.)
      | (?P<op>===|!==|==|!=|~=|>=|<=|>|<|&&|\|\||!|&|\(|\)|\{|\}|,)
      | (?P<word>(?:[A-Za-z0-9_:/\-]|\.(?!\.))+)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS = {"and": "&&", "or": "||", "not": "!", "eq": "==", "any_eq": "==", "all_eq": "===", "ne": "!=", "all_ne": "!=",
          "any_ne": "!==", "~=": "!==", "gt": ">", "ge": ">=", "lt": "<", "le": "<=", "bitwise_and": "&",
          "contains": "contains", "in": "in"}  # fmt: skip
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "===": operator.eq, "!=": operator.ne, "!==": operator.ne, ">": operator.gt, ">=": operator.ge,
    "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_ALL = ("===", "!=")
"""Comparisons that every occurrence of a field has to pass; any one is enough for the others."""
_UNSUPPORTED = {
    "matches": "regular expressions are not part of these filters: use contains",
    "~": "regular expressions are not part of these filters: use contains",
    "xor": "xor is not part of these filters",
    "tcp.window_size": "tcp.window_size is scaled by what was seen before; here there is tcp.window_size_value",
    "tcp.seq": "tcp.seq may be relative; here there is tcp.seq_raw",
    "tcp.ack": "tcp.ack may be relative; here there is tcp.ack_raw",
    "tcp.stream": "tcp.stream is Wireshark's own numbering; here there is flow_id",
}


class FilterError(UsageError):
    """A filter that cannot be understood: what is wrong and where."""

    def __init__(self, position: int, message: str):
        super().__init__(f"filter, character {position + 1}: {message}")
        self.position = position
        """Where in the text it is wrong, counted from 0."""


@dataclass(frozen=True)
class Token:
    """A piece of a filter."""

    kind: str
    """``text``, ``word``, ``end``, or the operator itself."""
    text: str
    at: int


def _tokens(text: str) -> list[Token]:
    if len(text) > MOST_LENGTH:
        raise FilterError(MOST_LENGTH, f"a filter has at most {MOST_LENGTH} characters, not {len(text)}")
    out, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = (
                "a text without its closing quotation mark" if text[at] == '"' else f"{text[at]!r} means nothing here"
            )
            raise FilterError(at, _UNSUPPORTED.get(text[at], what))
        kind, piece = str(match.lastgroup), match[0]
        if kind == "text":
            out.append(Token("text", re.sub(r"\\(.)", r"\1", piece[1:-1], flags=re.DOTALL), at))
        elif kind == "word" and piece in _WORDS:
            out.append(Token(_WORDS[piece], piece, at))
        elif kind in ("word", "range"):
            out.append(Token(kind, piece, at))
        elif kind == "op":
            out.append(Token(_WORDS.get(piece, piece), piece, at))
        at = match.end()
    out.append(Token("end", "the end", at))
    return out


# The tree -------------------------------------------------------------------------------------------------------------


class Node:
    """A part of a filter that is true or false for each row."""

    def mask(self, rows: Rows) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Both(Node):
    """Parts joined by ``and`` or by ``or``."""

    parts: tuple[Node, ...]
    every: bool

    def mask(self, rows: Rows) -> np.ndarray:
        out = self.parts[0].mask(rows)
        for part in self.parts[1:]:
            out = out & part.mask(rows) if self.every else out | part.mask(rows)
        return out


@dataclass(frozen=True)
class Not(Node):
    part: Node

    def mask(self, rows: Rows) -> np.ndarray:
        return ~self.part.mask(rows)


@dataclass(frozen=True)
class Protocol(Node):
    name: str

    def mask(self, rows: Rows) -> np.ndarray:
        return ff.protocol_mask(rows, self.name)


@dataclass(frozen=True)
class Present(Node):
    field: Field

    def mask(self, rows: Rows) -> np.ndarray:
        return ff.present(rows, self.field)


@dataclass(frozen=True)
class Compare(Node):
    """A field against values: ``tests`` are ``(operator, value)``, all of which one occurrence has to pass; of several
    such rows any one is enough (the members of a set)."""

    field: Field
    tests: tuple[tuple[tuple[str, Value], ...], ...]
    every: bool = False
    """Whether all occurrences have to pass; at least one has to be there."""
    bits: int | None = None

    def mask(self, rows: Rows) -> np.ndarray:
        passed, there = np.full(rows.count, self.every), np.zeros(rows.count, bool)
        for occurrence in self.field.occurrences:
            values, own = ff.occurrence_values(rows, self.field, occurrence)
            fit = self._fit(values, own)
            passed = passed & (fit | ~own) if self.every else passed | (fit & own)
            there |= own
        return passed & there

    def _fit(self, values: Any, own: np.ndarray) -> np.ndarray:
        if isinstance(values, tuple):
            codes, keys = values
            return ff.looked_up(codes, keys, self._passes)
        if self.bits is not None:
            values = values & self.bits
        fit = np.zeros(len(own), bool)
        for row in self.tests:
            good = own.copy()
            for name, value in row:
                good &= _numbers(name, values, value.number)
            fit |= good
        return fit

    def _passes(self, key: tuple[str, Any]) -> bool:
        return any(all(_text(name, key, value) for name, value in row) for row in self.tests)


def _numbers(name: str, values: np.ndarray, number: Any) -> np.ndarray:
    """Compare int64 values with an integer or a fraction, exactly."""
    down = number.numerator // number.denominator
    if not -(1 << 63) <= down < (1 << 63) - 1:
        outside = 1 if down < 0 else -1
        return np.full(len(values), bool(_COMPARE[name](outside, 0)))
    if number.denominator == 1:
        return _COMPARE[name](values, down)
    if name in ("==", "==="):
        return np.zeros(len(values), bool)
    if name in ("!=", "!=="):
        return np.ones(len(values), bool)
    return values > down if name in (">", ">=") else values <= down


def _text(name: str, key: tuple[str, Any], value: Value) -> bool:
    family, own = key
    if value.family != family:
        return name in ("!=", "!==")
    return bool(_COMPARE[name](own if value.mask is None else own & value.mask, value.number))


@dataclass(frozen=True)
class Contains(Node):
    field: Field
    part: bytes | str

    def mask(self, rows: Rows) -> np.ndarray:
        out = np.zeros(rows.count, bool)
        for occurrence in self.field.occurrences:
            (codes, keys), _ = ff.occurrence_values(rows, self.field, occurrence)
            out |= ff.looked_up(codes, keys, self._has)
        return out

    def _has(self, key: tuple[str, Any]) -> bool:
        if isinstance(self.part, bytes):
            return self.part in key[1].to_bytes(6, "big")
        return self.part in key[1]


@dataclass(frozen=True)
class Pair(Node):
    """Two fields against each other."""

    left: Field
    name: str
    right: Field

    def mask(self, rows: Rows) -> np.ndarray:
        every = self.name in _ALL
        passed, there = np.full(rows.count, every), np.zeros(rows.count, bool)
        for a in self.left.occurrences:
            for b in self.right.occurrences:
                (mine, has_mine), (theirs, has_theirs) = (
                    ff.occurrence_values(rows, field, one) for field, one in ((self.left, a), (self.right, b))
                )
                own = has_mine & has_theirs
                fit = _COMPARE[self.name](*_aligned(mine, theirs))
                passed = passed & (fit | ~own) if every else passed | (fit & own)
                there |= own
        return passed & there


def _aligned(mine: Any, theirs: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as they are; texts as ranks in one order."""
    if not isinstance(mine, tuple):
        return mine, theirs
    order = {key: rank for rank, key in enumerate(sorted({k for _, keys in (mine, theirs) for k in keys if k}))}
    return tuple(  # type: ignore[return-value]
        np.array([-1 if key is None else order[key] for key in keys] + [-1])[codes] for codes, keys in (mine, theirs)
    )


# The parser -----------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str):
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def wrong(self, token: Token, message: str) -> FilterError:
        return FilterError(token.at, message)

    def whole(self) -> Node:
        if self.token.kind == "end":
            raise self.wrong(self.token, "an empty filter chooses nothing; leave it out")
        out = self.alternatives()
        if self.token.kind != "end":
            raise self.wrong(self.token, f"expected and, or, or the end, not {self.token.text!r}")
        return out

    def alternatives(self) -> Node:
        return self.joined("||", lambda: self.joined("&&", self.factor))

    def joined(self, name: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.token.kind == name:
            self.take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Both(tuple(parts), name == "&&")

    def factor(self) -> Node:
        odd = False
        while self.token.kind == "!":
            self.take()
            odd = not odd
        out = self.bracket() if self.token.kind == "(" else self.test()
        return Not(out) if odd else out

    def bracket(self) -> Node:
        begin = self.take()
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise self.wrong(begin, f"more than {MOST_DEPTH} parentheses inside each other")
        out = self.alternatives()
        if self.token.kind != ")":
            raise self.wrong(self.token, f"expected a closing parenthesis, not {self._named(self.token)}")
        self.take()
        self.depth -= 1
        return out

    @staticmethod
    def _named(token: Token) -> str:
        return "the end" if token.kind == "end" else repr(token.text)

    def test(self) -> Node:
        token = self.take()
        if token.kind != "word":
            raise self.wrong(token, f"expected a field or a protocol, not {self._named(token)}")
        field = FIELDS.get(token.text)
        if field is None and token.text not in PROTOCOLS:
            raise self.wrong(token, _unknown(token.text))
        following = self.token
        bits = None
        if following.kind == "&":
            field, bits = self._bits(token, field)
            following = self.token
            if following.kind not in _COMPARE:
                return Compare(field, ((("!=", Value(0)),),), bits=bits)
        if following.kind in _COMPARE or following.kind in ("contains", "in"):
            if field is None or field.kind == "protocol":
                raise self.wrong(following, f"{token.text} is there or not; it cannot be compared")
            self.take()
            return self.relation(field, following, bits)
        if following.kind == "!" and self.tokens[self.at + 1].kind == "in":
            if field is None or field.kind == "protocol":
                raise self.wrong(following, f"{token.text} is there or not; it cannot be compared")
            self.take()
            return Not(self.relation(field, self.take(), bits))
        if following.text in ("matches", "xor"):
            raise self.wrong(following, _UNSUPPORTED[following.text])
        return Protocol(token.text) if field is None else Present(field)

    def _bits(self, token: Token, field: Field | None) -> tuple[Field, int]:
        sign = self.take()
        if field is None or field.kind != "number":
            raise self.wrong(sign, f"& is for numbers; {token.text} is none")
        return field, self.value(field).number

    def relation(self, field: Field, sign: Token, bits: int | None) -> Node:
        if sign.kind == "in":
            return Compare(field, self.members(field), bits=bits)
        if sign.kind == "contains":
            token = self.literal(field)
            try:
                return Contains(field, ff.part_of(field, token.text, token.kind == "text"))
            except Wrong as problem:
                raise self.wrong(token, str(problem)) from None
        if self.token.kind == "word" and self.token.text in FIELDS and bits is None:
            other = FIELDS[self.token.text]
            if field.kind != other.kind:
                raise self.wrong(self.token, f"{field.name} and {other.name} are not of one kind")
            self.take()
            return Pair(field, sign.kind, other)
        return Compare(field, (((sign.kind, self.value(field)),),), sign.kind in _ALL, bits)

    def members(self, field: Field) -> tuple[tuple[tuple[str, Value], ...], ...]:
        begin = self.take()
        if begin.kind != "{":
            raise self.wrong(begin, f"expected a set such as {{1, 2, 5..9}}, not {self._named(begin)}")
        out: list[tuple[tuple[str, Value], ...]] = []
        while True:
            low = self.value(field)
            if self.token.kind == "range":
                self.take()
                out.append(((">=", low), ("<=", self.value(field))))
            else:
                out.append((("==", low),))
            end = self.take()
            if end.kind == "}":
                return tuple(out)
            if end.kind != ",":
                raise self.wrong(end, f"expected a comma or the end of the set, not {self._named(end)}")

    def literal(self, field: Field) -> Token:
        token = self.take()
        if token.kind not in ("word", "text"):
            raise self.wrong(token, f"expected a value for {field.name}, not {self._named(token)}")
        return token

    def value(self, field: Field) -> Value:
        token = self.literal(field)
        try:
            return ff.value_of(field, token.text, token.kind == "text")
        except Wrong as problem:
            raise self.wrong(token, str(problem)) from None


def _unknown(name: str) -> str:
    if name in _UNSUPPORTED:
        return _UNSUPPORTED[name]
    near = difflib.get_close_matches(name[:64], [*FIELDS, *PROTOCOLS], 1, 0.7)
    return f"there is no field or protocol {name[:64]!r}" + (f"; did you mean {near[0]}?" if near else "")


class Filter:
    """A compiled display filter."""

    def __init__(self, text: str):
        self.text = text
        self._tree = _Parser(text).whole()

    def mask(self, frames: pd.DataFrame) -> np.ndarray:
        """Whether each row passes: booleans in the order of the rows.

        Raises :class:`~aero_lab.errors.UsageError` when the frames lack a column that the filter names.
        """
        return self._tree.mask(Rows(frames))

    def __repr__(self) -> str:
        return f"<Filter {self.text!r}>"


def compile_filter(text: str) -> Filter:
    """A display filter, ready to be used on any number of captures; raises :class:`FilterError`."""
    return Filter(text)


def filter(frames: pd.DataFrame, text: str) -> pd.DataFrame:
    """The rows that pass a display filter such as ``"tcp.port == 80 and tcp.len > 0"``.

    The language is a subset of Wireshark's, over its names and over the names of the columns; see ``docs/analysis.md``.
    Raises :class:`FilterError`, which tells the position, for text that cannot be understood.
    """
    chosen: Any = frames[compile_filter(text).mask(frames)]
    return chosen
