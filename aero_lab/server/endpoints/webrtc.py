"""Signalling: ``/webrtc/offer`` and its older form ``/offer`` by HTTP, ``/webrtc/signal`` by WebSocket; and
``/webrtc/ice``.

A connection that was made lives on without the request, or the WebSocket, that made it: it ends when WebRTC says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import WSMsgType, web

from ...bounds import RTC_BODY, RTC_GATHER, RTC_SIGNAL, RTC_SIGNAL_RATE
from ...limits import SECOND
from ...transports.peer import Description, IceCandidate, Peer, PeerFailed, make_peer, missing
from ...transports.websocket import GOING_AWAY, NORMAL
from ..auth import Identity
from ..call import Call
from ..config import ServerConfig
from ..config_webrtc import ice_servers
from ..quota import VIOLATION, TokenBucket
from ..relay_auth import TRY_LATER, RelayFull, judge_first, refuse, sessions
from ..routes import Endpoint, Refused
from ..rtc_session import RtcSession
from ..signalling import BadSignal, Signal, read_offer, read_signal, said_candidate, said_description

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache", "Expires": "0"}
NOT_BINARY, INTERNAL = 1003, 1011


class NotGathered(PeerFailed):
    """No answer could be made in time: not the client's fault, whose offer may be as good as any."""


def off(config: ServerConfig) -> str | None:
    """Why there is no WebRTC here."""
    return missing(config.webrtc_library)


def new_peer(config: ServerConfig) -> Peer:
    """A peer at the addresses that the settings name."""
    return make_peer(config.webrtc_addresses or (config.host,), config.webrtc_library)


# By HTTP ------------------------------------------------------------------------------------------------------------


async def offer(call: Call) -> web.Response:
    """Answer an offer."""
    session, answer = await _by_http(call, versioned=False)
    return web.json_response({"sessionId": session.public_id, "sdp": said_description(answer)}, headers=NO_STORE)


async def versioned_offer(call: Call) -> web.Response:
    """The same in the older form."""
    _, answer = await _by_http(call, versioned=True)
    return web.json_response({"version": 1, "answer": said_description(answer)}, headers=NO_STORE)


async def _by_http(call: Call, versioned: bool) -> tuple[RtcSession, Description]:
    try:
        wanted = read_offer(await call.body(), versioned)
    except BadSignal as error:
        raise Refused(400, error.text, "bad-message", "bad_message") from None
    leave = _enter(call)
    peer = new_peer(call.config)
    session = RtcSession(call, call.number(), peer)
    try:
        answer = await _answer(call, peer, wanted)
    except NotGathered as error:
        await _abandon(session, leave)
        raise Refused(500, str(error), "ice-gathering-timeout") from None
    except PeerFailed as error:
        await _abandon(session, leave)
        raise Refused(400, str(error), "bad-message", "bad_message") from None
    except BaseException:
        await _abandon(session, leave)
        raise
    _live_on(call, session, leave)
    return session, answer


def _enter(call: Call) -> Any:
    identity = call.identity or Identity("none")
    try:
        return sessions(call).enter(identity)
    except RelayFull as full:
        call.metrics.event("too_many_sessions")
        raise full.refused from None


async def _answer(call: Call, peer: Peer, wanted: Description) -> Description:
    try:
        async with asyncio.timeout(RTC_GATHER):
            return await peer.answer(wanted)
    except TimeoutError:
        call.metrics.event("ice_gathering_timeout")
        raise NotGathered("no candidates could be gathered in time") from None


async def _abandon(session: RtcSession, leave: Any) -> None:
    leave()
    session.finish(0, "never connected")
    await session.run()


def _live_on(call: Call, session: RtcSession, leave: Any) -> None:
    """Serve a connection beyond the request that made it."""
    background: set[asyncio.Task[Any]] = call.proxy.shared.setdefault("webrtc", set())

    async def serve() -> None:
        try:
            await call.proxy.serve(call, session)
        finally:
            leave()

    task = asyncio.ensure_future(serve())
    background.add(task)
    task.add_done_callback(background.discard)


async def ice(call: Call) -> web.Response:
    """The ICE servers that a client shall use."""
    try:
        listed = ice_servers(call.config)
    except ValueError:
        return web.json_response({"error": "the ICE servers are not configured right"}, status=503, headers=NO_STORE)
    return web.json_response({"iceServers": listed}, headers=NO_STORE)


# By WebSocket -------------------------------------------------------------------------------------------------------


class Ended(Exception):
    """Signalling ends: what the client is told, and the close code."""

    def __init__(self, code: str, text: str, close: int = VIOLATION):
        super().__init__(text)
        self.code, self.text, self.close = code, text, close


class Trickle:
    """Trickle signalling with one client."""

    def __init__(self, call: Call, socket: web.WebSocketResponse):
        self.call, self.socket = call, socket
        self.config, self.auth = call.config, call.proxy.auths["relay"]
        self.identity = call.identity
        self.session: RtcSession | None = None
        self._bucket = TokenBucket(RTC_SIGNAL_RATE, call.proxy.now())

    async def run(self) -> None:
        """Until the client or we have said all there is to say."""
        call = self.call
        found = self.auth.check(call.credentials())
        if isinstance(found, Identity):
            self.identity = found
        elif found.verdict != "missing_credentials":
            raise Ended("unauthorized", "invalid credentials")
        silence = (self.config.relay_idle_timeout_ms or 86_400_000) / 1000
        every = (self.config.relay_ping_interval_ms or 86_400_000) / 1000
        heard = call.proxy.now()
        while True:
            if self.identity is None:
                patience = self.config.relay_auth_timeout_ms / 1000
                quiet = Ended("unauthorized", "authentication timeout")
            else:
                patience, quiet = min(every, silence), None
            try:
                async with asyncio.timeout(patience):
                    message = await self.socket.receive()
            except TimeoutError:
                if quiet is not None:
                    raise quiet from None
                if call.proxy.now() - heard >= silence * SECOND:
                    raise Ended("", "idle timeout", NORMAL) from None
                await self._ping()
                continue
            heard = call.proxy.now()
            if message.type is WSMsgType.PING:
                await self.socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                if len(message.data.encode(errors="replace")) > RTC_SIGNAL:
                    raise Ended("bad_message", "message too large")
                if not self._bucket.take(heard):
                    call.metrics.event("rate_limited")
                    raise Ended("rate_limited", "too many messages")
                if not await self._heard(message.data):
                    return
            elif message.type is WSMsgType.BINARY:
                raise Ended("bad_message", "expected a text message", NOT_BINARY)
            elif message.type is not WSMsgType.PONG:
                return

    async def _ping(self) -> None:
        try:
            await self.socket.ping()
        except (ConnectionError, RuntimeError):
            raise Ended("", "ping failed", GOING_AWAY) from None

    async def _heard(self, text: str) -> bool:
        """One message; False ends the conversation."""
        if self.identity is None:
            found = judge_first(self.auth, self.call, text)
            if not isinstance(found, Identity):
                raise Ended(*found)
            self.identity = found
            return True
        try:
            signal = read_signal(text)
        except BadSignal as error:
            raise Ended("bad_message", error.text) from None
        if signal.kind == "close":
            if self.session is not None:
                self.session.finish(0, "closed by the client")
            return False
        await self._act(signal)
        return True

    async def _act(self, signal: Signal) -> None:
        if signal.kind == "auth":
            if self.session is not None:
                raise Ended("unexpected_message", "auth after offer")
        elif signal.kind == "offer":
            if self.session is not None:
                raise Ended("unexpected_message", "a second offer")
            assert signal.description is not None
            await self._offered(signal.description)
        elif self.session is None:
            raise Ended("unexpected_message", "a candidate before the offer")
        else:
            assert signal.candidate is not None
            try:
                await self.session.peer.add_candidate(signal.candidate)
            except PeerFailed as error:
                raise Ended("bad_message", str(error)) from None

    async def _offered(self, wanted: Description) -> None:
        call = self.call
        call.identity = self.identity
        try:
            leave = sessions(call).enter(self.identity or Identity("none"))
        except RelayFull as full:
            call.metrics.event("too_many_sessions")
            raise Ended(full.code, full.text, TRY_LATER) from None
        peer = new_peer(self.config)
        self.session = session = RtcSession(call, call.number(), peer)
        try:
            answer = await _answer(call, peer, wanted)
        except PeerFailed as error:
            await _abandon(session, leave)
            if isinstance(error, NotGathered):
                raise Ended("internal_error", str(error), INTERNAL) from None
            raise Ended("bad_message", str(error)) from None
        _live_on(call, session, leave)
        bare = _without_candidates(answer)
        await self._say({"type": "answer", "sdp": said_description(bare)})
        for each in [*peer.candidates, IceCandidate("", peer.candidates[0].mid if peer.candidates else None, 0)]:
            await self._say({"type": "candidate", "candidate": said_candidate(each)})

    async def _say(self, what: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.socket.send_str(json.dumps(what))


def _without_candidates(answer: Description) -> Description:
    """The same description, its candidates to be told one by one."""
    lines = answer.sdp.split("\r\n")
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return Description(answer.type, "\r\n".join(kept))


async def signal(call: Call) -> web.StreamResponse:
    """Trickle signalling."""
    socket = await call.websocket(RTC_SIGNAL + 4096)
    trickle = Trickle(call, socket)
    try:
        await trickle.run()
    except Ended as end:
        if end.code in ("unauthorized", "bad_message"):
            call.metrics.event("auth_failure" if end.code == "unauthorized" else "bad_message")
        if end.code:
            await refuse(socket, end.code, end.text, end.close)
        else:
            with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
                async with asyncio.timeout(1):
                    await socket.close(code=end.close, message=end.text.encode())
    else:
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            async with asyncio.timeout(1):
                await socket.close(code=NORMAL)
    return socket


ENDPOINTS = (
    Endpoint("webrtc", ("/webrtc/offer",), offer, ("POST",), family="relay", body=RTC_BODY, off=off),
    Endpoint("webrtc", ("/offer",), versioned_offer, ("POST",), family="relay", body=RTC_BODY, off=off),
    Endpoint("webrtc", ("/webrtc/ice",), ice, family="relay", off=off),
    Endpoint("webrtc", ("/webrtc/signal",), signal, family="relay", upgrade=True, auth="late", group="relay", off=off),
)
