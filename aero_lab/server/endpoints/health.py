"""Whether the server lives, takes requests, what it is, and its metrics. Everybody may ask, as often as they like."""

from __future__ import annotations

from aiohttp import web

from ... import __version__
from ..call import Call
from ..metrics import CONTENT_TYPE
from ..routes import Endpoint


async def healthz(call: Call) -> web.Response:
    """It lives."""
    return web.json_response({"ok": True})


async def readyz(call: Call) -> web.Response:
    """It lets somebody in."""
    ready = not call.proxy.gatekeeper.shutting_down
    return web.json_response({"ok": ready}, status=200 if ready else 503)


async def version(call: Call) -> web.Response:
    """What it is."""
    config = call.config
    return web.json_response(
        {"version": config.version or __version__, "gitSha": config.git_sha, "builtAt": config.built_at}
    )


async def metrics(call: Call) -> web.Response:
    """In Prometheus' text format."""
    return web.Response(body=call.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


ENDPOINTS = tuple(
    Endpoint("health", (path,), serve, family="open", auth="none", limited=False)
    for path, serve in (("/healthz", healthz), ("/readyz", readyz), ("/version", version), ("/metrics", metrics))
)
