"""Who may use the relay: credentials of the request or of the first message, one session for each token, a cap."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest
from aiohttp import WSMsgType

from aero_lab.server import relay_auth
from aero_lab.server.routes import Endpoint, Refused
from aero_lab.server.tokens import mint_jwt

from .rig import on_a_loop, rig, until

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key")
KEY, SECRET = "relay-key", "relay-secret"


async def greet(call):
    """An endpoint that says who it let in, and echoes."""
    socket = await call.websocket(1000)
    who = await relay_auth.admit(call, socket)
    if who is not None:
        await socket.send_json({"type": "ready", "how": who.how, "sid": who.sid})
        async for message in socket:
            await socket.send_str(message.data)
        await socket.close()
    return socket


async def tell(call):
    raise Refused(503, "too many sessions", "full", "too_many_sessions")


LATE = Endpoint("relay", ("/greet",), greet, family="relay", upgrade=True, auth="late", group="relay")
PLAIN = Endpoint("relay", ("/tell",), tell, family="relay", methods=("POST",))


@contextlib.asynccontextmanager
async def relay(**settings):
    async with rig(**settings) as r:
        for each in (LATE, PLAIN):
            r.proxy.endpoints[each.paths[0]] = each
        yield r


@contextlib.asynccontextmanager
async def client(r, query="", **options):
    async with r.client.ws_connect(f"ws://{r.proxy.authority}/greet{query}", **options) as socket:
        yield socket


async def end(socket):
    """What a WebSocket said before it closed, code and reason."""
    said = []
    while True:
        message = await socket.receive(timeout=20)
        if message.type is WSMsgType.TEXT:
            said.append(json.loads(message.data))
        else:
            return said, socket.close_code, message.extra


def token(sid="s", ttl=60):
    return mint_jwt(SECRET, sid, int(time.time()), ttl)


async def outcome(r, first=None, query="", headers=None):
    """``ready``, or the code, message and close code of the refusal."""
    async with client(r, query, headers=headers, autoclose=True) as socket:
        if first is not None:
            await (socket.send_bytes(first) if isinstance(first, bytes) else socket.send_str(first))
        message = await socket.receive(timeout=20)
        said = json.loads(message.data)
        if said["type"] == "ready":
            return "ready", said["how"]
        ending = await socket.receive(timeout=20)
        assert ending.extra == said["message"]
        return said["code"], said["message"], socket.close_code


@on_a_loop
async def test_keys_and_where_they_stand():
    async with relay(relay_api_key=KEY) as r:
        ready = ("ready", "token")
        assert await outcome(r, query=f"?apiKey={KEY}") == ready
        assert await outcome(r, query=f"?token={KEY}") == ready
        assert await outcome(r, query=f"?apiKey={KEY}&token=wrong") == ready
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"ApiKey {KEY}"}, {"Authorization": f"bearer {KEY}"}):
            assert await outcome(r, headers=headers) == ready
            assert await outcome(r, headers=headers, query="?apiKey=wrong") == ready  # headers win
        auth = {"type": "auth"}
        assert await outcome(r, json.dumps({**auth, "apiKey": KEY})) == ready
        assert await outcome(r, json.dumps({**auth, "token": KEY})) == ready
        assert await outcome(r, json.dumps({**auth, "token": KEY, "apiKey": KEY})) == ready
        wrong = ("unauthorized", "invalid credentials", 1008)
        assert await outcome(r, query="?apiKey=wrong") == wrong
        assert await outcome(r, headers={"X-API-Key": "wrong"}, query=f"?apiKey={KEY}") == wrong
        assert await outcome(r, json.dumps({**auth, "apiKey": "wrong"})) == wrong
        assert await outcome(r, json.dumps(auth)) == ("unauthorized", "missing credentials", 1008)
        for mixed in ({"apiKey": KEY, "token": "other"}, {"apiKey": 5}, {"token": [KEY]}):
            assert await outcome(r, json.dumps({**auth, **mixed})) == ("bad_message", "invalid auth message", 1008)
        required = ("unauthorized", "authentication required", 1008)
        for first in (b"\0\1", "text", "[]", '{"type":"offer"}', "{" * 900, json.dumps(KEY)):
            assert await outcome(r, first) == required, first
        assert len(relay_auth_sessions(r)) == 0
        recorded = r.kinds("session-refused")
        assert {(row["reason"], row["status"]) for row in recorded} == {("auth-invalid", 1008), ("auth-missing", 1008)}
        assert KEY not in str(recorded) and "wrong" not in str(recorded)
        assert f'auth_failure"}} {len(recorded)}.0' in (await r.get("/metrics"))[2]


def relay_auth_sessions(r):
    return r.proxy.shared[relay_auth.RelaySessions]


@on_a_loop
async def test_one_session_for_each_token():
    async with relay(relay_jwt_secret=SECRET) as r:
        async with client(r, f"?token={token('a')}") as first:
            assert (await first.receive_json(timeout=20))["sid"] == "a"
            again = await outcome(r, query=f"?token={token('a', 30)}")
            assert again == ("session_already_active", "session already active", 1013)
            assert await outcome(r, json.dumps({"type": "auth", "token": token("b")})) == ("ready", "jwt")
            await first.send_str("still here")
            assert await first.receive_str(timeout=20) == "still here"
        await until(lambda: not len(relay_auth_sessions(r)), "left")
        assert await outcome(r, headers={"Authorization": f"ApiKey {token('a')}"}) == ("ready", "jwt")
        for bad in (token(ttl=-1), "e30.e30.", "eyJhbGciOiJub25lIn0." + token().split(".")[1] + ".", token() + "="):
            assert (await outcome(r, query=f"?token={bad}"))[:2] == ("unauthorized", "invalid credentials")
        # Origin, audience and issuer are the gateway's business: here they are only looked at.
        bound = mint_jwt(SECRET, "o", int(time.time()), 60, origin="https://elsewhere.test", aud="x", iss="y")
        assert await outcome(r, query=f"?token={bound}") == ("ready", "jwt")


@on_a_loop
async def test_so_many_sessions():
    async with relay(relay_auth_mode="none", max_sessions=2) as r:
        async with client(r) as one, client(r) as two:
            for each in (one, two):
                assert (await each.receive_json(timeout=20))["type"] == "ready"
            assert await outcome(r) == ("too_many_sessions", "too many sessions", 1013)
        await until(lambda: not len(relay_auth_sessions(r)), "left")
        assert await outcome(r) == ("ready", "none")


@on_a_loop
async def test_who_says_nothing_is_not_waited_for():
    async with relay(relay_api_key=KEY, relay_auth_timeout_ms=300) as r:
        async with client(r) as silent, client(r) as busy:
            pings = asyncio.create_task(busy.ping(b"x"))
            assert await end(silent) == (
                [{"type": "error", "code": "unauthorized", "message": "authentication timeout"}],
                1008,
                "authentication timeout",
            )
            assert (await end(busy))[1] == 1008
            await pings
        async with client(r) as gone:
            await gone.close()
        await until(lambda: r.proxy.gatekeeper.occupancy["relay"].total == 0, "nobody is left")


@on_a_loop
async def test_the_upgrade_itself():
    async with relay(relay_api_key=KEY) as r:
        async with r.client.get(f"{r.origin}/greet") as answer:
            assert answer.status == 400
            told = {"type": "error", "code": "bad_message", "message": "websocket upgrade required"}
            assert await answer.json() == told
        for origin in ("https://evil.test", "nonsense"):
            status, text = await r.upgrade("/greet", Origin=origin)
            assert status == 403 and json.loads(text) == {"code": "forbidden", "message": "forbidden"}
        for origin in ("", " "):
            assert (await r.upgrade("/greet", Origin=origin, drop=["Sec-WebSocket-Protocol"]))[0] == 101
        assert (await r.upgrade("/greet", drop=["Origin", "Sec-WebSocket-Protocol"]))[0] == 101
        status, text = await r.upgrade("/greet", drop=["Sec-WebSocket-Key"])
        assert status == 400 and json.loads(text)["code"] == "bad_message"


@on_a_loop
async def test_plain_requests():
    async with relay(relay_api_key=KEY) as r:
        async with r.client.post(f"{r.origin}/tell") as answer:
            assert answer.status == 401
            assert await answer.json() == {"code": "unauthorized", "message": "unauthorized"}
        async with r.client.post(f"{r.origin}/tell", headers={"X-API-Key": KEY}) as answer:
            assert answer.status == 503
            assert await answer.json() == {"code": "too_many_sessions", "message": "too many sessions"}
    full = relay_auth.RelayFull("session_already_active", "session already active").refused
    assert (full.status, full.code) == (409, "session_already_active")
