"""Who may use the relay: credentials of the request or of the first message, and how many at once.

A browser's WebSocket can carry no headers, so the relay does the upgrade first and lets the client say who it is in a
text message, ``{"type": "auth", "token": ...}`` or ``"apiKey"``. What is wrong is told as ``{"type": "error", "code":
..., "message": ...}`` and a Close with the same words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

from ..bounds import WS_CLOSE_PATIENCE
from .auth import Auth, Denied, Identity
from .call import Call
from .credentials import Credentials
from .routes import Refused

VIOLATION, TRY_LATER = 1008, 1013
"""Close codes: policy, and service restart or overload (RFC 6455 section 7.4.1 and its registry)."""


class RelayFull(Exception):
    """No session can be had: ``code`` and the text for the client."""

    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code, self.text = code, text

    @property
    def refused(self) -> Refused:
        """The same as the answer to an HTTP request."""
        return Refused(409 if self.code == "session_already_active" else 503, self.text, self.code, self.code)


class RelaySessions:
    """Sessions of the relay that are open, by whatever transport: a JWT's may be open once."""

    def __init__(self, most: int):
        self._most = most
        self._open = 0
        self._sids: set[str] = set()

    def __len__(self) -> int:
        return self._open

    def enter(self, identity: Identity) -> Callable[[], None]:
        """Count a session; returns what ends it (may be called twice). Raises :class:`RelayFull`."""
        if self._most and self._open >= self._most:
            raise RelayFull("too_many_sessions", "too many sessions")
        sid = identity.sid if identity.how == "jwt" else None
        if sid is not None and sid in self._sids:
            raise RelayFull("session_already_active", "session already active")
        self._open += 1
        if sid is not None:
            self._sids.add(sid)
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._open -= 1
                self._sids.discard(sid or "")

        return leave


def sessions(call: Call) -> RelaySessions:
    """Those of the call's server."""
    return call.proxy.shared.setdefault(RelaySessions, RelaySessions(call.config.max_sessions))


async def admit(call: Call, socket: web.WebSocketResponse) -> Identity | None:
    """Let a client in over its open WebSocket. None: it was told why not, and the WebSocket is closed.

    The session is counted until the call is over.
    """
    try:
        found = await _identity(call, socket)
    except TimeoutError:
        found = ("unauthorized", "authentication timeout")
    if isinstance(found, Identity):
        try:
            call.on_leave(sessions(call).enter(found))
        except RelayFull as full:
            call.metrics.event("too_many_sessions")
            call.proxy.turned_away(call, full.code.replace("_", "-"), TRY_LATER)
            await refuse(socket, full.code, full.text, TRY_LATER)
            return None
        call.identity = found
        return found
    if found is not None:
        call.metrics.event("auth_failure")
        call.proxy.turned_away(call, "auth-missing" if "required" in found[1] else "auth-invalid", VIOLATION)
        await refuse(socket, *found)
    return None


async def refuse(socket: web.WebSocketResponse, code: str, text: str, close: int = VIOLATION) -> None:
    """Tell a client what is wrong, and close; a client that does not listen is dropped."""
    told = json.dumps({"type": "error", "code": code, "message": text})
    with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
        async with asyncio.timeout(WS_CLOSE_PATIENCE):
            await socket.send_str(told)
            await socket.close(code=close, message=text.encode())


async def _identity(call: Call, socket: web.WebSocketResponse) -> Identity | tuple[str, str] | None:
    auth = call.proxy.auths["relay"]
    found = auth.check(call.credentials())
    if isinstance(found, Identity):
        return found
    if found.verdict != "missing_credentials":
        return "unauthorized", "invalid credentials"
    async with asyncio.timeout(call.config.relay_auth_timeout_ms / 1000):
        message = await socket.receive()
        while message.type is WSMsgType.PING:
            await socket.pong(message.data)
            message = await socket.receive()
    if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        with contextlib.suppress(ConnectionError, RuntimeError):
            await socket.close()
        return None
    if message.type is not WSMsgType.TEXT:
        return "unauthorized", "authentication required"
    return judge_first(auth, call, message.data)


def judge_first(auth: Auth, call: Call, text: str) -> Identity | tuple[str, str]:
    """Whom a first message lets in, or the code and the text of the refusal."""
    said = _object(text)
    if said is None or said.get("type") != "auth":
        return "unauthorized", "authentication required"
    key, token = said.get("apiKey"), said.get("token")
    if any(value is not None and not isinstance(value, str) for value in (key, token)):
        return "bad_message", "invalid auth message"
    if key and token and key != token:
        return "bad_message", "invalid auth message"
    given = key or token
    if not given:
        return "unauthorized", "missing credentials"
    found = auth.check(_Said(call.credentials(), given))
    return ("unauthorized", "invalid credentials") if isinstance(found, Denied) else found


def _object(text: str) -> dict[str, Any] | None:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


class _Said(Credentials):
    """The credential of a first message, beside the cookies of the request."""

    def __init__(self, request: Credentials, given: str):
        super().__init__(request.family, request.target, request.headers, request.protocols)
        object.__setattr__(self, "_given", given)

    def token(self) -> str | None:
        return self._given  # type: ignore[attr-defined]

    def jwts(self):
        yield self._given  # type: ignore[attr-defined]
