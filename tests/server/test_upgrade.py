"""Upgrades: what is asked, in which order, what is answered, what is counted."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from multidict import CIMultiDict
from prometheus_client.parser import text_string_to_metric_families

from aero_lab.errors import UsageError
from aero_lab.framing.l2_tunnel import SUBPROTOCOL
from aero_lab.server.auth import Auth, Denied, choose_auth
from aero_lab.server.credentials import Credentials, query_token, subprotocol_token

from .rig import on_a_loop, rig, until

TOKEN = "correct-horse"


@on_a_loop
async def test_the_side_endpoints():
    async with rig(version="9.9", git_sha="abc", built_at="today") as r:
        assert (await r.get("/healthz"))[::2] == (200, '{"ok": true}')
        assert (await r.get("/readyz"))[::2] == (200, '{"ok": true}')
        assert (await r.get("/version"))[2] == '{"version": "9.9", "gitSha": "abc", "builtAt": "today"}'
        status, headers, text = await r.get("/metrics")
        assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert {family.type for family in text_string_to_metric_families(text)} == {"counter", "gauge", "histogram"}
        assert (await r.get("/nowhere"))[0] == 404
        assert (await r.get("/healthz", "POST"))[0] == 405


@on_a_loop
async def test_each_path_opens_a_tunnel_with_exactly_our_subprotocol():
    async with rig(api_key=TOKEN) as r:
        for path in ("/l2", "/l2/", "/eth", "/eth/"):
            url = f"ws://{r.proxy.authority}{path}?token={TOKEN}"
            async with r.tunnel(url, protocols=["other", SUBPROTOCOL, f"aero-l2-token.{TOKEN}"]) as socket:
                assert socket.protocol == SUBPROTOCOL
        assert r.count("l2_sessions_total") == 4
        assert r.count("l2_upgrade_rejected_total") == 0


@on_a_loop
async def test_what_is_no_upgrade():
    async with rig() as r:
        assert (await r.upgrade(method="POST"))[0] == 405
        for name in ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key"):
            assert (await r.upgrade(drop=[name]))[0] == 400, name
        assert (await r.upgrade(Sec_WebSocket_Version="12"))[0] == 400
        for key in ("short", "%%%%", ""):
            assert (await r.upgrade(Sec_WebSocket_Key=key))[0] == 400
        assert r.count("l2_upgrade_rejected_total") == 0
        assert len(r.kinds("session-refused")) == 9


def test_where_tokens_are_looked_for():
    assert query_token("/l2?token=a%2Bb+c") == "a+b+c"
    assert query_token("/l2?apiKey=k") == "k"
    assert query_token("/l2?apiKey=k&token=t") == "t"
    assert query_token("/l2?token=&token=later&apiKey=k") == "k"
    assert query_token("/l2?Token=t") is None and query_token("/l2") is None
    assert subprotocol_token(["aero-l2-token.", "x", "aero-l2-token.one", "aero-l2-token.two"]) == "one"
    auth = Auth("token", "right")

    def check(target, protocols):
        found = auth.check(Credentials("tunnel", target, CIMultiDict(), protocols))
        return found.verdict if isinstance(found, Denied) else found.how

    assert check("/l2?token=wrong", ["aero-l2-token.right"]) == "invalid_api_key"
    assert check("/l2?token=", ["aero-l2-token.right"]) == "token"
    assert check("/l2?token=right", ["aero-l2-token.wrong"]) == "token"
    assert check("/l2?token=%ff%00\u20ac", []) == "invalid_api_key"
    assert "right" not in repr(auth)


def test_a_token_is_made_when_there_is_none():
    one, two = choose_auth(None, None, None, False), choose_auth("token", None, None, False)
    assert one.minted and two.minted and one.mode == "token" and one.token != two.token and len(one.token) >= 32
    mode = choose_auth(" API_KEY ", "k", None, False)
    assert (mode.mode, mode.token, mode.minted) == ("token", "k", False)
    assert choose_auth(None, None, None, True).mode == "none"
    assert choose_auth(None, "k", None, True).mode == "token"


@on_a_loop
async def test_credentials_come_before_origin_and_after_the_subprotocol():
    async with rig(api_key=TOKEN) as r:
        missing = 'missing required websocket subprotocol "aero-l2-tunnel-v1"'
        assert await r.upgrade("/l2", drop=["Origin", "Sec-WebSocket-Protocol"]) == (400, missing)
        assert await r.upgrade("/l2", Sec_WebSocket_Protocol=SUBPROTOCOL.upper()) == (400, missing)
        assert r.count("l2_upgrade_rejected_total") == 0
        assert await r.upgrade("/l2", drop=["Origin"]) == (401, "invalid token")
        assert await r.upgrade("/l2?token=wrong", drop=["Origin"]) == (401, "invalid token")
        assert await r.upgrade(f"/l2?token={TOKEN}", drop=["Origin"]) == (403, "missing Origin header")
        assert (await r.upgrade(f"/l2?token={TOKEN}"))[0] == 101
        two_lines = [f"aero-l2-token.{TOKEN}", SUBPROTOCOL]
        status, head = await r.upgrade("/l2", Sec_WebSocket_Protocol=two_lines)
        assert status == 101 and f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n" in head
        metrics = (await r.get("/metrics"))[2]
        assert 'l2_auth_reject_total{reason="missing_credentials"} 1.0' in metrics
        assert 'l2_auth_reject_total{reason="invalid_api_key"} 1.0' in metrics
        assert r.count("l2_upgrade_reject_auth_missing_total") == 1
        assert r.count("l2_upgrade_reject_auth_invalid_total") == 1
        assert r.count("l2_auth_failures_total") == 2
        assert r.count("l2_upgrade_reject_origin_missing_total") == 1
        assert r.count("l2_upgrade_rejected_total") == 3
        assert TOKEN not in str(r.audit.rows()) and "wrong" not in str(r.audit.rows())


@on_a_loop
async def test_origins():
    async with rig(auth_mode="none") as r:
        assert await r.upgrade(Origin="http://Evil.example:80/") == (403, "Origin not allowed: http://evil.example")
        assert await r.upgrade(Origin=["http://a", "http://b"]) == (403, "invalid Origin header: multiple values")
        status, text = await r.upgrade(Origin="not an origin")
        assert status == 403 and text.startswith("invalid Origin header: ")
        assert (await r.upgrade(Origin=r.origin.upper()))[0] == 101
        assert r.count("l2_upgrade_reject_origin_not_allowed_total") == 3
    async with rig(auth_mode="none", allowed_origins="https://app.example", allowed_origins_extra="null") as r:
        assert (await r.upgrade(Origin="https://APP.example:443"))[0] == 101
        assert (await r.upgrade(Origin="null"))[0] == 101
        assert (await r.upgrade())[0] == 403
    async with rig(auth_mode="none", open=True) as r:
        assert (await r.upgrade(drop=["Origin"]))[0] == 101
        assert (await r.upgrade(Origin=["http://a", "not an origin"]))[0] == 101


@on_a_loop
async def test_hosts():
    async with rig(auth_mode="none", open=True, allowed_hosts="Proxy.example, [::1]:8090") as r:
        assert (await r.upgrade(Host="proxy.EXAMPLE:80"))[0] == 101
        assert (await r.upgrade(Host="[0::1]:8090"))[0] == 101
        assert await r.upgrade(Host="other.example") == (403, "Host not allowed: other.example")
        assert await r.upgrade(Host="a b") == (403, "malformed Host header")
        assert await r.upgrade(Host="") == (403, "missing Host header")
        assert (await r.upgrade(Host="x", X_Forwarded_Host="proxy.example"))[0] == 403
        names = ("missing", "invalid", "not_allowed")
        assert [r.count(f"l2_upgrade_reject_host_{name}_total") for name in names] == [1, 1, 2]
    async with rig(auth_mode="none", open=True, allowed_hosts="proxy.example", trust_proxy_host=True) as r:
        assert (await r.upgrade(Host="x", X_Forwarded_Host="proxy.example, y"))[0] == 101
        forwarded = 'for=1.2.3.4;host="proxy.example:443";proto=https, for=5.6.7.8;host=z'
        assert (await r.upgrade(Host="x", X_Forwarded_Host="y", Forwarded=forwarded))[0] == 101
        assert (await r.upgrade(Host="proxy.example", Forwarded="host=y"))[0] == 403


@on_a_loop
async def test_limits_of_tunnels():
    async with rig(auth_mode="none", max_connections=3, max_connections_per_ip=2, trust_proxy=True) as r:
        async with (
            r.tunnel(headers={"X-Forwarded-For": "9.9.9.9, 1.1.1.1"}),
            r.tunnel(headers={"Forwarded": 'for="9.9.9.9:99"', "X-Forwarded-For": "8.8.8.8"}),
        ):
            assert await r.upgrade(X_Forwarded_For="9.9.9.9") == (429, "max connections per ip exceeded")
            async with r.tunnel(headers={"Forwarded": 'for="[2001:db8::1]:4711"'}):
                assert await r.upgrade(X_Forwarded_For="7.7.7.7") == (429, "max connections exceeded")
            await until(lambda: len(r.proxy.sessions) == 2, "two tunnels")
            async with r.tunnel(headers={"X-Forwarded-For": "not an address"}):
                assert len(r.proxy.sessions) == 3
        assert r.count("l2_upgrade_ip_limit_exceeded_total") == 1
        assert r.count("l2_upgrade_reject_max_connections_total") == 1
        assert {row["source"] for row in r.kinds("session-open")} >= {"9.9.9.9", "127.0.0.1", "2001:db8::1"}
    async with rig(auth_mode="none", max_connections=0) as r:
        async with r.tunnel(), r.tunnel():
            assert r.count("l2_sessions_active") == 2


@on_a_loop
async def test_one_place_is_given_once():
    async with rig(auth_mode="none", max_connections=1) as r:
        for _ in range(3):
            asked = (r.client.ws_connect(r.proxy.url, protocols=[SUBPROTOCOL], origin=r.origin) for _ in range(20))
            answers = await asyncio.gather(*asked, return_exceptions=True)
            refused = [answer for answer in answers if isinstance(answer, aiohttp.WSServerHandshakeError)]
            assert [refusal.status for refusal in refused] == [429] * 19
            (opened,) = [answer for answer in answers if not isinstance(answer, BaseException)]
            await opened.close()
            await until(lambda: not r.proxy.sessions, "the place is free again")
        occupancy = r.proxy.gatekeeper.occupancy["tunnel"]
        await until(lambda: occupancy.total == 0, "empty")
        assert not occupancy.by_address


def test_a_mode_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="AERO_L2_AUTH_MODE 'nonsense' does not exist"):
        choose_auth("nonsense", "k", "s", False)
