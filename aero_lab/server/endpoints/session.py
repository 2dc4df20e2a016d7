"""``/session`` hands out session cookies and tells what the server offers; ``/udp-relay/token`` hands out relay tokens.

Anybody may have a session, unless the settings ask for the token: it says who comes again, not who somebody is. So a
session opens what the rule for credentials lets it open, and a relay token is only for whom that rule lets in.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from time import time_ns
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ...bounds import SESSION_BODY
from ...limits import SECOND
from ..auth import Denied, Identity
from ..call import Call
from ..quota import Buckets
from ..routes import Endpoint, Refused
from ..tokens import mint_jwt, mint_session

NO_STORE = {"Cache-Control": "no-store"}
_TOKEN_RATE, _TOKEN_BURST = 1, 5
"""Relay tokens of one session: a second, and at once (the original's)."""
RELAY_PATHS = {
    "webrtcSignal": "/webrtc/signal",
    "webrtcOffer": "/webrtc/offer",
    "udp": "/udp",
    "webrtcIce": "/webrtc/ice",
}


def iso(milliseconds: int) -> str:
    """A time as JavaScript writes it."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03}Z"


def _known(call: Call, now: int) -> str | None:
    """The session of the request's cookie, if that holds."""
    found = call.proxy.auths["gateway"].check_session(call.credentials(), now)
    return found.sid if isinstance(found, Identity) else None


async def post_session(call: Call) -> web.Response:
    """Begin a session, or prolong the one that the cookie names."""
    post = call.request.method == "POST"
    if post:
        await _read_body(call)
    if call.config.session_needs_token and isinstance(
        call.proxy.auths["tunnel"].check_token(call.credentials()), Denied
    ):
        raise Refused(401, "Missing or invalid token", "auth-invalid", headers=NO_STORE)
    if not post:
        return _with_cookie(call, web.json_response({"ok": True}, headers=NO_STORE))[0]
    response = web.Response(status=201, content_type="application/json", headers=NO_STORE)
    response, sid, expires_ms = _with_cookie(call, response)
    response.body = json.dumps(description(call, sid, expires_ms), separators=(",", ":")).encode()
    return response


async def _read_body(call: Call) -> None:
    raw = await call.body()
    if not raw.strip():
        return
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise _Malformed("Body is not valid JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "Request body must be a JSON object")


class _Malformed(Refused):
    """Text that is no JSON: answered in the form of the original's framework."""

    def __init__(self, text: str):
        super().__init__(400, text, "json")


def refusal(call: Call, refused: Refused) -> web.Response:
    """The answer to what ``/session`` turns away."""
    told: dict[str, Any] = {"error": refused.code, "message": refused.text}
    if isinstance(refused, _Malformed):
        told = {"statusCode": 400, "error": "Bad Request", "message": refused.text}
    return web.json_response(told, status=refused.status, headers=refused.headers)


def _with_cookie(call: Call, response: web.Response) -> tuple[web.Response, str, int]:
    """The response with its cookie, the session, and when it expires (ms since 1970)."""
    config, now = call.config, time_ns()
    sid = _known(call, now) or str(uuid.uuid4())
    lifetime = config.session_ttl_seconds
    expires_ms = now // 1_000_000 + lifetime * 1000
    token = mint_session(call.proxy.auths["gateway"].session_secret, sid, expires_ms // 1000)
    cookie = f"aero_session={quote(token, safe='')}; Max-Age={lifetime}; Path=/; HttpOnly"
    cookie += f"; SameSite={config.session_cookie_samesite}{'; Secure' if call.secure else ''}"
    response.headers["Set-Cookie"] = cookie
    return response, sid, expires_ms


def description(call: Call, sid: str, expires_ms: int) -> dict[str, Any]:
    """What ``POST /session`` answers, its keys in the original's order."""
    config = call.config
    there, prefix = {each.name for each in call.proxy.endpoints.values()}, config.public_prefix
    paths = {
        "tcp": "/tcp",
        "dnsQuery": "/dns-query",
        "tcpMux": "/tcp-mux",
        "dnsJson": "/dns-json",
        "l2": "/l2",
        "udpRelayToken": "/udp-relay/token",
    }
    names = {"tcp": "tcp", "tcpMux": "tcp-mux", "dnsQuery": "dns", "dnsJson": "dns", "l2": "l2"}
    told: dict[str, Any] = {
        "session": {"expiresAt": iso(expires_ms)},
        "endpoints": {key: prefix + path for key, path in paths.items() if names.get(key, "session") in there},
        "limits": {
            "tcp": {
                "maxConnections": config.tcp_proxy_max_connections,
                "maxMessageBytes": config.tcp_proxy_max_message_bytes,
                "connectTimeoutMs": config.tcp_proxy_connect_timeout_ms,
                "idleTimeoutMs": config.tcp_proxy_idle_timeout_ms,
            },
            "dns": {"maxQueryBytes": config.dns_max_query_bytes},
            "l2": {
                "maxFramePayloadBytes": config.limits.frame,
                "maxControlPayloadBytes": config.limits.control,
            },
        },
    }
    if config.udp_relay_base_url is not None:
        told["udpRelay"] = {
            "baseUrl": config.udp_relay_base_url,
            "authMode": config.udp_relay_auth_mode,
            "endpoints": RELAY_PATHS,
            **_relay_token(call, sid, config.session_ttl_seconds),
        }
    return told


# Relay tokens ---------------------------------------------------------------------------------------------------------


def _relay_token(call: Call, sid: str, key_lifetime: int) -> dict[str, str]:
    """``token`` and ``expiresAt`` for a relay, as its mode wants them."""
    config, now = call.config, time_ns() // SECOND
    if config.udp_relay_auth_mode == "none":
        return {}
    lifetime = config.udp_relay_token_ttl_seconds
    if config.udp_relay_auth_mode == "api_key":
        token = config.udp_relay_api_key.get_secret_value() if config.udp_relay_api_key else ""
    else:
        secret = config.udp_relay_jwt_secret
        token = mint_jwt(
            secret.get_secret_value() if secret else "",
            sid,
            now,
            lifetime,
            origin=call.origin,
            aud=config.udp_relay_audience,
            iss=config.udp_relay_issuer,
        )
    return {"token": token, "expiresAt": iso((now + lifetime) * 1000)}


async def relay_token(call: Call) -> web.Response:
    """A token for the relay, for who has a session."""
    config = call.config
    if config.udp_relay_base_url is None:
        raise Refused(404, "UDP relay not configured", headers=NO_STORE)
    if "Origin" not in call.headers:
        raise Refused(403, "Origin header required", "origin-missing", headers=NO_STORE)
    sid = _known(call, time_ns())
    if sid is None or not _entitled(call):
        raise Refused(401, "Missing or expired session", "auth-invalid", headers=NO_STORE)
    rates = call.proxy.shared.setdefault(relay_token, Buckets(_TOKEN_RATE, _TOKEN_BURST))
    if not rates.take(sid, call.proxy.now()):
        raise Refused(429, "Rate limit exceeded", "rate", headers=NO_STORE)
    told = {"authMode": config.udp_relay_auth_mode, **_relay_token(call, sid, config.udp_relay_token_ttl_seconds)}
    return web.json_response(told, headers=NO_STORE)


def _entitled(call: Call) -> bool:
    """Where a cookie alone opens nothing it buys no relay token either."""
    return call.proxy.auths["gateway"].takes_cookies or isinstance(call.authenticate(), Identity)


ENDPOINTS = (
    Endpoint(
        "session",
        ("/session",),
        post_session,
        methods=("GET", "POST"),
        auth="none",
        body=SESSION_BODY,
        refusal=refusal,
    ),
    Endpoint("session", ("/udp-relay/token",), relay_token, methods=("POST",), auth="none", body=SESSION_BODY),
)
