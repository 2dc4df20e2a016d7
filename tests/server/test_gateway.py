"""The gateway over HTTP: sessions, headers, Origins, errors, rates, relay tokens, and what each mode lets in."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
import time
from urllib.parse import unquote

import pytest

from aero_lab.errors import UsageError
from aero_lab.framing.l2_tunnel import encode_ping
from aero_lab.server.config import ServerConfig
from aero_lab.server.metrics_gateway import EVENTS
from aero_lab.server.routes import names, served
from aero_lab.server.tokens import mint_jwt, mint_session, read_jwt, read_session

from .rig import on_a_loop, rig, until

pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key")
SECRET = "a session secret"
TOKEN = "correct-horse"
JWT = "a jwt secret"
RELAY = {"udp_relay_base_url": "http://relay.test:18081/", "udp_relay_auth_mode": "jwt", "udp_relay_jwt_secret": JWT}


def now():
    return int(time.time())


def cookie_of(headers):
    (line,) = headers.getall("Set-Cookie")
    return line.partition(";")[0].partition("=")[2]


def cookie(sid="somebody", ttl=60, secret=SECRET):
    return {"Cookie": f"aero_session={mint_session(secret, sid, now() + ttl)}"}


async def ask(r, path, method="GET", headers=None, data=None):
    async with r.client.request(method, r.origin + path, headers=headers, data=data) as answer:
        return answer.status, answer.headers, await answer.read()


# Sessions -------------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_session_and_what_it_tells():
    async with rig(session_secret=SECRET, public_base_url="https://lab.test/aero", **RELAY) as r:
        began = now()
        status, headers, body = await ask(r, "/session", "POST")
        assert status == 201 and headers["Cache-Control"] == "no-store"
        told = json.loads(body)
        assert list(told) == ["session", "endpoints", "limits", "udpRelay"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["session"]["expiresAt"])
        assert told["endpoints"]["l2"] == "/aero/l2" and told["endpoints"]["udpRelayToken"] == "/aero/udp-relay/token"
        assert told["endpoints"]["dnsQuery"] == "/aero/dns-query"
        assert told["limits"]["l2"] == {"maxFramePayloadBytes": 2048, "maxControlPayloadBytes": 256}
        assert told["limits"]["tcp"] == {
            "maxConnections": 64,
            "maxMessageBytes": 1048576,
            "connectTimeoutMs": 10000,
            "idleTimeoutMs": 300000,
        }
        assert told["limits"]["dns"] == {"maxQueryBytes": 4096}
        relay = told["udpRelay"]
        assert list(relay) == ["baseUrl", "authMode", "endpoints", "token", "expiresAt"]
        assert relay["baseUrl"] == "http://relay.test:18081" and relay["authMode"] == "jwt"
        line = headers["Set-Cookie"]
        assert re.fullmatch(r"aero_session=[^;]+; Max-Age=86400; Path=/; HttpOnly; SameSite=Lax", line)
        claims = read_session(SECRET, unquote(cookie_of(headers)), now() * 1000)
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", claims.sid)
        assert began + 86400 <= claims.exp <= now() + 86400
        assert read_jwt(JWT, relay["token"], now()).sid == claims.sid
        # The same session again, and another one for a cookie that does not hold.
        sent = {"Cookie": f"x=1; aero_session={cookie_of(headers)}"}
        status, headers, _ = await ask(r, "/aero/session", "POST", sent)
        assert status == 201 and read_session(SECRET, unquote(cookie_of(headers)), now() * 1000).sid == claims.sid
        for bad in (cookie(secret="another"), cookie(ttl=-1), {"Cookie": "aero_session="}):
            status, headers, _ = await ask(r, "/session", "POST", bad)
            assert status == 201
            assert read_session(SECRET, unquote(cookie_of(headers)), now() * 1000).sid not in (claims.sid, "somebody")
        status, headers, body = await ask(r, "/session")
        assert (status, json.loads(body)) == (200, {"ok": True}) and "aero_session" in headers["Set-Cookie"]


@on_a_loop
async def test_what_a_session_is_asked_with():
    async with rig(trust_proxy=True, session_cookie_samesite="none", session_ttl_seconds=5) as r:
        for body in (b"", b" ", b"{}", b'{"anything": [1]}'):
            assert (await ask(r, "/session", "POST", data=body))[0] == 201, body
        for body in (b"[]", b"null", b"5", b'"x"'):
            status, _, told = await ask(r, "/session", "POST", data=body)
            assert status == 400 and json.loads(told)["message"] == "Request body must be a JSON object"
        for body in (b"{", b"[" * 60_000, b"\xff"):
            status, _, told = await ask(r, "/session", "POST", data=body)
            assert (
                status == 400 and json.loads(told)["error"] == "Bad Request" and json.loads(told)["statusCode"] == 400
            )
        status, _, told = await ask(r, "/session", "POST", data=bytes(70_000))
        assert status == 413 and json.loads(told)["error"] == "payload_too_large"
        status, headers, _ = await ask(r, "/session", "POST", {"X-Forwarded-Proto": "https, http"})
        assert headers["Set-Cookie"].endswith("; Max-Age=5; Path=/; HttpOnly; SameSite=None; Secure")
        assert json.loads((await ask(r, "/session", "POST"))[2]).get("udpRelay") is None
        status, headers, told = await ask(r, "/session", "DELETE")
        assert status == 405 and headers["Allow"] == "GET, POST"
        assert json.loads(told) == {"error": "method_not_allowed", "message": "Method Not Allowed"}
    async with rig(api_key=TOKEN, session_needs_token=True) as r:
        assert (await ask(r, "/session", "POST"))[0] == 401
        assert (await ask(r, "/session"))[0] == 401
        assert (await ask(r, f"/session?token={TOKEN}", "POST"))[0] == 201
        assert (await ask(r, "/session", "POST", {"Authorization": f"Bearer {TOKEN}"}))[0] == 201
        assert (await ask(r, "/session", "POST", {"X-API-Key": "wrong"}))[0] == 401


# Every answer ---------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_headers_of_every_answer():
    async with rig(cross_origin_isolation=True) as r:
        for path in ("/healthz", "/session", "/nowhere", "/metrics", "/udp-relay/token"):
            _, headers, _ = await ask(r, path, headers={"X-Request-ID": "mine-1"})
            assert headers["X-Request-ID"] == "mine-1" and headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Frame-Options"] == "DENY"
            assert headers["Permissions-Policy"] == "camera=(), geolocation=(), microphone=(self), usb=(self)"
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin" and headers["Origin-Agent-Cluster"] == "?1"
        first, second = [(await ask(r, "/healthz"))[1]["X-Request-ID"] for _ in range(2)]
        assert first != second and len(first) == 36
        long = (await ask(r, "/healthz", headers={"X-Request-ID": "x" * 500}))[1]["X-Request-ID"]
        assert len(long) == 36
        assert (await ask(r, "/aero/version"))[0] == 200
        status, _, body = await ask(r, "/nowhere")
        assert status == 404 and json.loads(body) == {"error": "not_found", "message": "Not Found"}
    async with rig() as r:
        assert "Cross-Origin-Opener-Policy" not in (await ask(r, "/healthz"))[1]


@on_a_loop
async def test_an_url_that_is_too_long():
    async with rig() as r:
        status, _, body = await ask(r, "/session?" + "x" * (8192 - 9), "POST")
        assert status == 201
        for path in ("/session?", "/nowhere?", "/healthz?"):
            status, _, body = await ask(r, path + "x" * 8192)
            assert status == 414
            assert json.loads(body) == {"error": "url_too_long", "message": "Request URL too long"}
        assert (await ask(r, "/session?" + "x" * 100_000))[0] in (400, 414)
        assert (await ask(r, "/healthz"))[0] == 200


@on_a_loop
async def test_origins_and_preflights():
    async with rig(allowed_origins="https://app.test,https://other.test:444") as r:
        for path in ("/session", "/healthz", "/nowhere"):
            for origin in ("https://evil.test", "null", "not an origin", "https://" + "a" * 5000):
                status, headers, body = await ask(r, path, headers={"Origin": origin})
                assert status == 403, (path, origin)
                assert json.loads(body) == {"error": "forbidden", "message": "Origin not allowed"}
                assert "Access-Control-Allow-Origin" not in headers
            status, headers, _ = await ask(r, path, headers={"Origin": "HTTPS://App.test:443/"})
            assert status in (200, 404) and headers["Access-Control-Allow-Origin"] == "https://app.test"
            assert headers["Access-Control-Allow-Credentials"] == "true" and headers["Vary"] == "Origin"
            assert headers["Access-Control-Expose-Headers"] == "x-request-id, content-length"
        status, _ = await r.upgrade("/session", Origin=["https://app.test", "https://app.test"])
        assert status == 403
        asked = {
            "Origin": "https://app.test",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, x-thing",
        }
        status, headers, body = await ask(r, "/session", "OPTIONS", asked)
        assert status == 204 and body == b"" and headers["Access-Control-Max-Age"] == "600"
        assert headers["Access-Control-Allow-Methods"] == "GET,POST,PUT,PATCH,DELETE,OPTIONS"
        assert headers["Access-Control-Allow-Headers"] == "Content-Type, x-thing"
        assert "Access-Control-Allow-Private-Network" not in headers
        _, headers, _ = await ask(r, "/session", "OPTIONS", {**asked, "Access-Control-Request-Private-Network": "true"})
        assert headers["Access-Control-Allow-Private-Network"] == "true"
        for bad in ("x" * 5000, "a b", "é", ","):
            asked["Access-Control-Request-Headers"] = bad
            _, headers, _ = await ask(r, "/session", "OPTIONS", asked)
            assert headers["Access-Control-Allow-Headers"] == "Content-Type", bad
        assert (await ask(r, "/anything", "OPTIONS"))[0] == 204
        assert (await ask(r, "/session", "OPTIONS", {**asked, "Origin": "https://evil.test"}))[0] == 403
    async with rig(public_base_url="https://lab.test/aero") as r:
        assert (await ask(r, "/session", headers={"Origin": "https://lab.test"}))[0] == 200
        assert (await ask(r, "/session", headers={"Origin": r.origin}))[0] == 200  # this very host
        assert (await ask(r, "/session", headers={"Origin": "https://lab.test:444"}))[0] == 403


@on_a_loop
async def test_the_rate_of_an_address():
    async with rig(rate_limit_requests_per_minute=5, trust_proxy=True) as r:
        one, two = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        assert [(await ask(r, "/session", headers=one))[0] for _ in range(6)] == [200] * 5 + [429]
        status, _, body = await ask(r, "/nowhere", headers=one)
        assert status == 429
        assert json.loads(body) == {"error": "too_many_requests", "message": "Rate limit exceeded"}
        status, headers, body = await ask(r, "/dns-query", headers=one)
        assert status == 429 and body == bytes.fromhex("000080820000000000000000")
        assert headers["Content-Type"] == "application/dns-message"
        assert (await ask(r, "/session", headers=two))[0] == 200
        for path in ("/healthz", "/readyz", "/metrics", "/version"):
            assert (await ask(r, path, headers=one))[0] == 200


@on_a_loop
async def test_metrics_of_requests():
    async with rig() as r:
        await ask(r, "/session", "POST")
        await ask(r, "/nowhere")
        await ask(r, "/session", "PROPFIND")
        text = (await ask(r, "/metrics"))[2].decode()
        assert 'http_requests_total{method="POST",route="/session",status_code="201"} 1.0' in text
        assert 'http_requests_total{method="GET",route="unknown",status_code="404"} 1.0' in text
        assert 'http_requests_total{method="other",route="/session",status_code="405"} 1.0' in text
        assert 'http_request_duration_seconds_count{method="POST",route="/session",status_code="201"} 1.0' in text
        told = re.findall(r'aero_webrtc_udp_relay_events_total{event="(\w+)"} 0.0', text)
        assert set(told) == set(EVENTS) and "udp_ws_dropped_denied_by_policy" in told and told == sorted(told)
        assert "process_resident_memory_bytes" in text and "_created" not in text
        assert 'aero_lab_refused_total{endpoint="none",reason="not-found"} 1.0' in text


# Relay tokens ---------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_relay_tokens():
    sent = {"Origin": "https://app.test"}
    async with rig(session_secret=SECRET, allowed_origins="https://app.test") as r:
        status, _, body = await ask(r, "/udp-relay/token", "POST")
        assert status == 404 and json.loads(body)["message"] == "UDP relay not configured"
    more = {"udp_relay_audience": "relay", "udp_relay_issuer": "gateway", "udp_relay_token_ttl_seconds": 7}
    async with rig(session_secret=SECRET, allowed_origins="https://app.test", **RELAY, **more) as r:
        status, _, body = await ask(r, "/udp-relay/token", "POST", cookie())
        assert (status, json.loads(body)["message"]) == (403, "Origin header required")
        status, _, body = await ask(r, "/udp-relay/token", "POST", {**cookie(), "Origin": "https://evil.test"})
        assert (status, json.loads(body)["message"]) == (403, "Origin not allowed")
        for bad in ({}, cookie(ttl=-1), cookie(secret="x")):
            status, _, body = await ask(r, "/udp-relay/token", "POST", {**sent, **bad})
            assert (status, json.loads(body)["message"]) == (401, "Missing or expired session")
        status, headers, body = await ask(r, "/udp-relay/token", "POST", {**sent, **cookie("a")})
        told = json.loads(body)
        assert status == 200 and headers["Cache-Control"] == "no-store"
        assert list(told) == ["authMode", "token", "expiresAt"]
        claims = read_jwt(JWT, told["token"], now())
        assert claims.sid == "a" and claims.origin == "https://app.test" and claims.exp - claims.iat == 7
        assert (claims.aud, claims.iss) == ("relay", "gateway")
        again = [(await ask(r, "/udp-relay/token", "POST", {**sent, **cookie("a")}))[0] for _ in range(5)]
        assert again == [200] * 4 + [429]
        assert (await ask(r, "/udp-relay/token", "POST", {**sent, **cookie("b")}))[0] == 200
    async with rig(session_secret=SECRET, udp_relay_base_url="http://x", allowed_origins="https://app.test") as r:
        assert json.loads((await ask(r, "/udp-relay/token", "POST", {**sent, **cookie()}))[2]) == {"authMode": "none"}
    # Where a cookie opens nothing it buys no relay token: anybody may have a cookie.
    async with rig(
        auth_mode="token", api_key=TOKEN, session_secret=SECRET, allowed_origins="https://app.test", **RELAY
    ) as r:
        assert (await ask(r, "/udp-relay/token", "POST", {**sent, **cookie()}))[0] == 401
        assert (await ask(r, f"/udp-relay/token?token={TOKEN}", "POST", {**sent, **cookie()}))[0] == 200


def test_a_relay_needs_what_its_mode_needs():
    for mode, name in (("jwt", "UDP_RELAY_JWT_SECRET"), ("api_key", "UDP_RELAY_API_KEY")):
        with pytest.raises(UsageError, match=name):
            ServerConfig(udp_relay_base_url="http://relay.test", udp_relay_auth_mode=mode)
    with pytest.raises(UsageError, match="PUBLIC_BASE_URL"):
        ServerConfig(public_base_url="https://lab.test/other")
    with pytest.raises(UsageError, match="UDP_RELAY_BASE_URL"):
        ServerConfig(udp_relay_base_url="ftp://relay.test")
    with pytest.raises(UsageError, match="TLS_CERT_PATH"):
        ServerConfig(tls_enabled=True)


# Modes, at a tunnel ---------------------------------------------------------------------------------------------------


def jwt_for(r, sid="j", ttl=60, secret=JWT, **more):
    return mint_jwt(secret, sid, now(), ttl, **more)


@on_a_loop
async def test_sessions_open_tunnels():
    async with rig(auth_mode="session", session_secret=SECRET) as r:
        assert (await r.upgrade("/l2", **cookie()))[0] == 101
        refused = (401, "missing or expired session")
        for lines in (
            {},
            cookie(ttl=-1),
            cookie(secret="other"),
            {"Cookie": ["aero_session=", cookie()["Cookie"]]},  # the first counts, even if it is empty
            {"Cookie": "aero_session=x; " + cookie()["Cookie"]},
            {"Cookie": "a=" + "x" * 16_400},
            {"Cookie": cookie()["Cookie"] + "%3D"},
        ):
            assert await r.upgrade("/l2", **lines) == refused, lines
        assert (await r.upgrade("/l2", Cookie=["other=1", cookie()["Cookie"].replace(".", "%2E")]))[0] == 101
        assert await r.upgrade(f"/l2?token={TOKEN}") == refused
        assert r.proxy.metrics.auth["invalid_cookie"] == 6 and r.proxy.metrics.auth["missing_credentials"] == 2


@on_a_loop
async def test_a_session_has_so_many_tunnels():
    async with rig(auth_mode="session", session_secret=SECRET, max_connections_per_session=2) as r:
        async with r.tunnel(headers=cookie("a")), r.tunnel(headers=cookie("a")), r.tunnel(headers=cookie("b")) as last:
            await last.send_bytes(encode_ping(b"open"))
            text = "quota_connections: max connections per session exceeded"
            assert await r.upgrade("/l2", **cookie("a")) == (429, text)
            assert (await r.upgrade("/l2", **cookie("b")))[0] == 101
            for name in ("connection_denied", "x"):
                if name != "x":
                    assert r.count(f"l2_session_{name}_total") == 1
            assert r.count("l2_upgrade_reject_max_tunnels_per_session_total") == 1
        await until(lambda: not r.proxy.sessions, "closed")
        assert (await r.upgrade("/l2", **cookie("a")))[0] == 101
        await until(lambda: not r.proxy.gatekeeper.occupancy["tunnel"].by_session, "everybody has left")


@on_a_loop
async def test_jwts_open_tunnels():
    async with rig(auth_mode="jwt", jwt_secret=JWT, jwt_audience="relay") as r:
        good = jwt_for(r, aud="relay")
        for target, lines in (
            ("/l2", {"Authorization": f"bearer {good}"}),
            (f"/l2?token={good}", {}),
            (f"/l2?apiKey={good}", {}),
            ("/l2", {"Sec_WebSocket_Protocol": f"aero-l2-tunnel-v1, aero-l2-token.{good}"}),
            (f"/l2?token={good}", {"Authorization": "Bearer wrong"}),  # the first that verifies
            ("/l2?token=wrong", {"Sec_WebSocket_Protocol": f"aero-l2-token.{good}, aero-l2-tunnel-v1"}),
        ):
            assert (await r.upgrade(target, **lines))[0] == 101, (target, lines)
        none = "eyJhbGciOiJub25lIn0." + good.split(".")[1] + "."
        for bad in (jwt_for(r), jwt_for(r, aud="other"), jwt_for(r, ttl=-1, aud="relay"), none, f"{good}=", "x"):
            assert await r.upgrade(f"/l2?token={bad}") == (401, "invalid jwt")
        assert await r.upgrade("/l2", Authorization=f"Bearer {good} x") == (401, "invalid jwt")
        bound = jwt_for(r, aud="relay", origin=r.origin.upper())
        assert (await r.upgrade(f"/l2?token={bound}"))[0] == 101
        elsewhere = jwt_for(r, aud="relay", origin="https://elsewhere.test")
        assert await r.upgrade(f"/l2?token={elsewhere}") == (401, "invalid jwt")
        assert r.proxy.metrics.auth["jwt_origin_mismatch"] == 1
        assert await r.upgrade(f"/l2?token={bound}", drop=["Origin"]) == (403, "missing Origin header")
    async with rig(auth_mode="jwt", jwt_secret=JWT, open=True) as r:
        bound = jwt_for(r, origin=r.origin)
        assert (await r.upgrade(f"/l2?token={bound}", drop=["Origin"]))[0] == 401
        assert (await r.upgrade(f"/l2?token={jwt_for(r)}", drop=["Origin"]))[0] == 101


@pytest.mark.parametrize(
    "mode, by_cookie, by_token, by_jwt, by_both",
    [
        ("none", 101, 101, 101, 101),
        ("session", 101, 401, 401, 101),
        ("token", 401, 101, 401, 101),
        ("jwt", 401, 401, 101, 401),
        ("cookie_or_jwt", 101, 401, 101, 101),
        ("session_or_token", 101, 101, 401, 101),
        ("session_and_token", 401, 401, 401, 101),
    ],
)
@on_a_loop
async def test_each_mode_at_tunnel_and_gateway(mode, by_cookie, by_token, by_jwt, by_both):
    settings = {"api_key": TOKEN, "session_secret": SECRET, "jwt_secret": JWT}
    async with rig(auth_mode=mode, **settings) as r:
        statuses = {101: 200, 401: 401}
        for expected, target, lines in (
            (by_cookie, "", cookie()),
            (by_token, f"token={TOKEN}", {}),
            (by_jwt, f"token={jwt_for(r)}", {}),
            (by_both, f"token={TOKEN}", cookie()),
            (101 if mode == "none" else 401, "", {}),
        ):
            assert (await r.upgrade(f"/l2?{target}", **lines))[0] == expected, target
            status, _, body = await ask(r, f"/dns-json?name=localhost&type=A&{target}", headers=lines)
            assert status == statuses[expected], (target, body)
            if status == 401:
                assert json.loads(body) == {"error": "unauthorized", "message": "Missing or invalid session"}


@on_a_loop
async def test_the_gateway_may_have_a_mode_of_its_own():
    async with rig(api_key=TOKEN, session_secret=SECRET, gateway_auth_mode="session", auth_mode="token") as r:
        assert (await ask(r, "/dns-json?name=localhost&type=A", headers=cookie()))[0] == 200
        assert (await ask(r, f"/dns-json?name=localhost&type=A&token={TOKEN}"))[0] == 401
        assert (await r.upgrade("/l2", **cookie()))[0] == 401
        assert (await r.upgrade(f"/l2?token={TOKEN}"))[0] == 101


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *subject, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@on_a_loop
async def test_tls(certificate):
    cert, key = map(str, certificate)
    with pytest.raises(UsageError, match="TLS_CERT_PATH"):
        _ = ServerConfig(tls_enabled=True, tls_cert_path=key, tls_key_path=key).tls
    trust = ssl.create_default_context(cafile=cert)
    async with rig(tls_enabled=True, tls_cert_path=cert, tls_key_path=key, auth_mode="session") as r:
        assert r.proxy.url.startswith("wss://127.0.0.1:")
        base = f"https://{r.proxy.authority}"
        silent = [await asyncio.open_connection("127.0.0.1", r.proxy.port) for _ in range(3)]
        garbage = await asyncio.open_connection("127.0.0.1", r.proxy.port)
        garbage[1].write(b"GET / HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in await garbage[0].read()
        async with r.client.post(f"{base}/session", ssl=trust) as answer:
            assert answer.status == 201 and answer.headers["Set-Cookie"].endswith("; Secure")
            sent = {"Cookie": f"aero_session={cookie_of(answer.headers)}"}
        async with r.tunnel(r.proxy.url, ssl=trust, origin=base, headers=sent) as socket:
            await socket.send_bytes(encode_ping(b"sealed"))
            assert (await socket.receive_bytes(timeout=20))[4:] == b"sealed"
        for _, writer in [*silent, garbage]:
            writer.close()


# Which endpoints ------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_chosen_set_of_endpoints():
    async with rig(endpoints=("session",)) as r:
        assert (await ask(r, "/session", "POST"))[0] == 201
        assert json.loads((await ask(r, "/session", "POST"))[2])["endpoints"] == {"udpRelayToken": "/udp-relay/token"}
        assert (await r.upgrade("/l2"))[0] == 404
        assert await r.upgrade("/nowhere") == (404, "Not Found\n")
        assert (await ask(r, "/healthz"))[0] == 200
    assert set(served(ServerConfig(endpoints=("dns",)))) >= {"/dns-query", "/aero/dns-json", "/healthz"}
    assert "l2" in names() and "/l2" not in served(ServerConfig(endpoints=("dns",)))
    with pytest.raises(UsageError, match="no endpoint 'nothing'"):
        served(ServerConfig(endpoints=("nothing",)))


@on_a_loop
async def test_while_it_shuts_down():
    async with rig(auth_mode="none") as r:
        async with r.tunnel() as socket:
            draining = asyncio.create_task(r.proxy.drain())
            await asyncio.sleep(0)
            assert json.loads((await ask(r, "/readyz"))[2]) == {"ok": False}
            assert await r.upgrade("/l2") == (503, "shutting down")
            assert (await socket.receive(timeout=20)).data == 1001
            await socket.close()
            await draining
