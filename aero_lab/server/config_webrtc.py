"""Settings of WebRTC: addresses, ICE servers, the time a connection may take, and the bridge to another proxy."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import json
import secrets
from time import time
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator
from pydantic_settings import NoDecode

from .settings import Settings, entries, number, setting


class WebRtcSettings(Settings):
    """What is told to peers about each other, and to this one about its addresses."""

    webrtc_addresses: Annotated[tuple[str, ...], NoDecode] = setting((), "AERO_LAB_WEBRTC_ADDRESSES")
    """Addresses of this host that peers may reach it at; by default the one that it listens on."""
    webrtc_library: Literal["aiortc", "wrtc"] = setting("aiortc", "AERO_LAB_WEBRTC_LIBRARY")
    """What does ICE, DTLS and SCTP: aiortc, or libwebrtc (:mod:`aero_lab.transports.peer_wrtc`)."""
    webrtc_session_connect_timeout_seconds: int = number(30, "WEBRTC_SESSION_CONNECT_TIMEOUT", least=1, most=3600)
    webrtc_tunnels: bool = setting(True, "AERO_LAB_WEBRTC_TUNNELS")
    """Whether the channels ``l2`` and ``l3`` are served."""
    ice_servers: str = setting("[]", "AERO_ICE_SERVERS_JSON")
    """JSON list of what browsers take as ``iceServers``; told to clients, never asked by this host."""
    turn_rest_shared_secret: SecretStr | None = setting(None, "TURN_REST_SHARED_SECRET")
    turn_rest_ttl_seconds: int = number(3600, "TURN_REST_TTL_SECONDS", least=1, most=86_400 * 30)
    turn_rest_username_prefix: str = setting("aero", "TURN_REST_USERNAME_PREFIX")

    # The bridge
    l2_backend_ws_url: str | None = setting(None, "L2_BACKEND_WS_URL")
    l2_backend_auth_forward_mode: Literal["query", "subprotocol", "none"] = setting(
        "query", "L2_BACKEND_AUTH_FORWARD_MODE"
    )
    l2_backend_token: SecretStr | None = setting(None, "L2_BACKEND_TOKEN")
    l2_backend_origin: str | None = setting(None, "L2_BACKEND_ORIGIN_OVERRIDE", "L2_BACKEND_ORIGIN")
    l2_backend_forward_origin: bool = setting(True, "L2_BACKEND_FORWARD_ORIGIN")
    l2_backend_forward_aero_session: bool = setting(False, "L2_BACKEND_FORWARD_AERO_SESSION")
    l2_max_message: int = number(4096, "L2_MAX_MESSAGE_BYTES", least=1, most=1 << 20)

    @field_validator("webrtc_addresses", mode="before")
    @classmethod
    def _address_list(cls, value: object) -> object:
        return entries(value) if isinstance(value, str) else value

    @field_validator("webrtc_addresses")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            try:
                ipaddress.ip_address(entry)
            except ValueError:
                raise ValueError(f"not an address: {entry!r}") from None
        return value

    @field_validator("l2_backend_ws_url")
    @classmethod
    def _backend(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("ws", "wss") or not urlsplit(value).hostname):
            raise ValueError("must be a ws:// or wss:// URL")
        return value or None


def ice_servers(config: WebRtcSettings, now: float | None = None) -> list[dict[str, Any]]:
    """What ``/webrtc/ice`` answers. Raises ``ValueError`` when the setting makes no sense.

    TURN servers without a credential of their own get one that holds for a while (the REST API of TURN).
    """
    listed = json.loads(config.ice_servers)
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ValueError("ICE servers must be a list of objects")
    out = []
    for each in listed:
        urls = each.get("urls")
        urls = [urls] if isinstance(urls, str) else urls
        if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
            raise ValueError("an ICE server needs urls")
        if any(not url.startswith(("stun:", "stuns:", "turn:", "turns:")) for url in urls):
            raise ValueError("the URL of an ICE server begins with stun: or turn:")
        server: dict[str, Any] = {"urls": urls}
        for name in ("username", "credential"):
            if isinstance(each.get(name), str):
                server[name] = each[name]
        secret = config.turn_rest_shared_secret
        if secret is not None and "credential" not in server and any(url.startswith("turn") for url in urls):
            expiry = int(now if now is not None else time()) + config.turn_rest_ttl_seconds
            user = f"{expiry}:{config.turn_rest_username_prefix}:{secrets.token_hex(8)}"
            digest = hmac.digest(secret.get_secret_value().encode(), user.encode(), "sha1")
            server["username"], server["credential"] = user, base64.b64encode(digest).decode()
        out.append(server)
    return out
