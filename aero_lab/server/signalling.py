"""Signalling messages, read strictly: what is not expected is refused, not passed over.

By HTTP an offer comes as ``{"sdp": {"type": "offer", "sdp": ...}}``, bare, or (``/offer``) with a version. Over
WebSocket there are ``auth``, ``offer``, ``answer``, ``candidate``, ``close`` and ``error``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import Malformed
from ..transports.peer import Description, IceCandidate

Kind = Literal["auth", "offer", "candidate", "close"]
_FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "auth": (frozenset(), frozenset({"apiKey", "token"})),
    "offer": (frozenset({"sdp"}), frozenset()),
    "candidate": (frozenset({"candidate"}), frozenset()),
    "close": (frozenset(), frozenset()),
}
"""Of each message: fields that must be there, and that may."""


@dataclass(frozen=True)
class Signal:
    """A message of the client's."""

    kind: Kind
    description: Description | None = None
    candidate: IceCandidate | None = None


class BadSignal(Malformed):
    """A message that makes no sense; ``text`` is what its sender is told."""

    def __init__(self, text: str):
        super().__init__("bad_message", text)
        self.text = text


bad = BadSignal


def read_signal(text: str) -> Signal:
    """A message of trickle signalling; raises :class:`BadSignal`."""
    said = _object(text)
    kind = said.get("type")
    if kind not in _FIELDS:
        raise bad("unknown message type")
    must, may = _FIELDS[kind]
    _only(said, {"type"} | must | may)
    if not must <= said.keys():
        raise bad(f"{kind} needs {', '.join(sorted(must - said.keys()))}")
    if kind == "offer":
        return Signal("offer", description(said["sdp"], "offer"))
    if kind == "candidate":
        return Signal("candidate", candidate=_candidate(said["candidate"]))
    return Signal(kind)


def read_offer(body: bytes, versioned: bool = False) -> Description:
    """The offer in a request's body; raises :class:`BadSignal`. ``versioned``: as ``/offer`` has it."""
    try:
        said = _object(body.decode())
    except UnicodeDecodeError:
        raise bad("the body is no UTF-8") from None
    if versioned:
        _only(said, {"version", "offer"})
        if said.get("version") != 1 or isinstance(said.get("version"), bool):
            raise bad("unsupported version")
        return description(said.get("offer"), "offer")
    if "type" in said:
        return description(said, "offer")
    _only(said, {"sdp"})
    return description(said.get("sdp"), "offer")


def description(said: Any, kind: Literal["offer", "answer"]) -> Description:
    """``{"type": ..., "sdp": ...}``; raises :class:`BadSignal`."""
    if not isinstance(said, dict):
        raise bad("a session description is an object")
    _only(said, {"type", "sdp"})
    if said.get("type") != kind:
        raise bad(f"a session description of type {kind!r} was expected")
    if not isinstance(said.get("sdp"), str) or not said["sdp"]:
        raise bad("a session description needs sdp")
    return Description(kind, said["sdp"])


def said_description(what: Description) -> dict[str, str]:
    """The other way round."""
    return {"type": what.type, "sdp": what.sdp}


def said_candidate(what: IceCandidate) -> dict[str, Any]:
    """A candidate as it travels."""
    return {"candidate": what.candidate, "sdpMid": what.mid, "sdpMLineIndex": what.index}


def _candidate(said: Any) -> IceCandidate:
    if not isinstance(said, dict):
        raise bad("a candidate is an object")
    _only(said, {"candidate", "sdpMid", "sdpMLineIndex", "usernameFragment"})
    text, mid, index = said.get("candidate"), said.get("sdpMid"), said.get("sdpMLineIndex")
    if not isinstance(text, str):
        raise bad("a candidate needs candidate")
    if mid is not None and not isinstance(mid, str):
        raise bad("sdpMid is a text")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 1 << 16):
        raise bad("sdpMLineIndex is a number")
    return IceCandidate(text, mid, index)


def _object(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise bad("no JSON") from None
    if not isinstance(said, dict):
        raise bad("a message is an object")
    return said


def _only(said: dict[str, Any], known: set[str] | frozenset[str]) -> None:
    unknown = sorted(said.keys() - known)
    if unknown:
        raise bad(f"unknown field {unknown[0][:40]!r}")
