"""Headers of every answer: what browsers are told about it, and to whom they may show it."""

from __future__ import annotations

import re

from aiohttp import web

from .call import Call

METHODS = "GET,POST,PUT,PATCH,DELETE,OPTIONS"
MAX_AGE = 600
_REQUESTED_MOST = 4096
_REQUESTED = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), usb=(self)",
}
_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
}


def common_headers(call: Call, response: web.StreamResponse) -> None:
    """Put them on an answer."""
    headers = response.headers
    headers["X-Request-ID"] = call.id
    headers.update(_ALWAYS)
    if call.config.cross_origin_isolation:
        headers.update(_ISOLATED)
    if call.origin is not None and response.status != 101:
        headers["Access-Control-Allow-Origin"] = call.origin
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = "x-request-id, content-length"
        headers["Vary"] = "Origin"


def preflight(call: Call) -> web.Response:
    """The answer to OPTIONS."""
    response = web.Response(status=204)
    if "Access-Control-Request-Method" in call.headers and call.origin is not None:
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = _allowed(call)
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE)
        if call.headers.get("Access-Control-Request-Private-Network") == "true":
            response.headers["Access-Control-Allow-Private-Network"] = "true"  # the page is allowed, wherever we are
    return response


def _allowed(call: Call) -> str:
    """``Content-Type``, and what is asked for where that is well formed."""
    asked = ",".join(call.headers.getall("Access-Control-Request-Headers", []))
    if not asked or len(asked) > _REQUESTED_MOST or not _REQUESTED.fullmatch(asked.strip()):
        return "Content-Type"
    more = [name.strip() for name in asked.split(",")]
    return ", ".join(["Content-Type", *(name for name in more if name.lower() != "content-type")])
