"""The table of endpoints: what the server serves, under which paths, to whom, within which limits.

An endpoint is an :class:`Endpoint`; a module of :mod:`aero_lab.server.endpoints` lists its own in ``ENDPOINTS``, and
:data:`ROOMS` lists the modules. What an endpoint must do itself begins where :attr:`Endpoint.serve` is called: by then
the request has passed every check of its family, in that family's order (:mod:`.gatekeeper`), and whatever it still
finds wrong it raises as :class:`Refused`, which is answered in the family's form.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from ..errors import UsageError
from .config_gateway import PREFIX
from .credentials import Family

if TYPE_CHECKING:
    from .call import Call
    from .config import ServerConfig

ROOMS = ("tunnel", "session", "sockets", "datagrams", "webrtc", "names", "health")
"""Modules of :mod:`aero_lab.server.endpoints` that have endpoints."""
CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "payload_too_large",
    414: "url_too_long",
    415: "unsupported_media_type",
    429: "too_many_requests",
    500: "internal_error",
    502: "bad_gateway",
    503: "shutting_down",
}
"""What ``error`` or ``code`` of an answer says where nothing else is asked for."""


class Refused(Exception):
    """A request that is not served.

    Parameters
    ----------
    text: what the client is told.
    reason: short stable word for audit and metrics; the status's own by default.
    code: in JSON answers; the status's own by default.
    counts: counters of :mod:`.metrics` that this adds to, beside those of all refusals.
    """

    def __init__(
        self,
        status: int,
        text: str,
        reason: str = "",
        code: str = "",
        headers: Mapping[str, str] | None = None,
        counts: tuple[str, ...] = (),
    ):
        super().__init__(text)
        self.status, self.text, self.headers, self.counts = status, text, dict(headers or {}), counts
        self.code = code or CODES.get(status, "error")
        self.reason = reason or self.code.replace("_", "-")


@dataclass(frozen=True)
class Endpoint:
    """One endpoint.

    Attributes
    ----------
    name: what ``--endpoints`` calls it; several may share one.
    paths: where it is served; each also below ``/aero``.
    serve: ``await serve(call)``; for a WebSocket it returns when that is over.
    family: whose rules for credentials and Origin, and whose form of answers: ``tunnel`` (``/l2``, ``/l3``),
        ``gateway``, ``relay``, or ``open`` (no credentials; the gateway's form).
    upgrade: it is a WebSocket: only upgrade requests pass.
    subprotocols: one of them must be offered; the first of these that the client offers is selected. None: none is
        needed nor selected.
    auth: ``"rule"``: the family's rule is applied before ``serve``; ``"late"``: ``serve`` sees to it
        (:meth:`~.call.Call.authenticate`, :mod:`.relay_auth`); ``"none"``: everybody may.
    group: connections that share caps (:meth:`~.gatekeeper.Gatekeeper.caps`); empty: not capped.
    body: bytes of a request's body at most; more are refused with 413.
    limited: requests count against the rate limit of their address.
    refusal: makes the answer to a refusal where the family's form will not do.
    off: why the settings leave it out; None: it is served.
    """

    name: str
    paths: tuple[str, ...]
    serve: Callable[[Call], Awaitable[web.StreamResponse]]
    methods: tuple[str, ...] = ("GET",)
    family: Family = "gateway"
    upgrade: bool = False
    subprotocols: tuple[str, ...] = ()
    auth: Literal["rule", "late", "none"] = "rule"
    group: str = ""
    body: int = 0
    limited: bool = True
    refusal: Callable[[Call, Refused], web.Response] | None = None
    off: Callable[[ServerConfig], str | None] = field(default=lambda config: None)


def endpoints() -> tuple[Endpoint, ...]:
    """All there are."""
    package = __package__ or ""
    return tuple(each for room in ROOMS for each in import_module(f".endpoints.{room}", package).ENDPOINTS)


def names() -> list[str]:
    """What ``--endpoints`` may list."""
    return list(dict.fromkeys(each.name for each in endpoints()))


def served(config: ServerConfig) -> dict[str, Endpoint]:
    """Path -> endpoint, of those that the settings choose. Raises :class:`UsageError` for a name that is none."""
    chosen = set(config.endpoints) or set(names())
    unknown = sorted(chosen - set(names()))
    if unknown:
        raise UsageError(f"there is no endpoint {unknown[0]!r}; there are {', '.join(names())}")
    found: dict[str, Endpoint] = {}
    for each in endpoints():
        why_not = each.off(config)
        if each.name not in chosen and each.name != "health":
            continue
        if why_not is not None:
            if each.name in config.endpoints:
                raise UsageError(f"endpoint {each.name}: {why_not}")
            continue
        for path in each.paths:
            found[path] = found[PREFIX + path] = each
    return found


def refusal(endpoint: Endpoint | None, refused: Refused, upgrade: bool) -> web.Response:
    """The answer, in the form of the endpoint's family; ``upgrade``: a WebSocket was asked for."""
    family = endpoint.family if endpoint is not None else "gateway"
    headers: dict[str, Any] = dict(refused.headers)
    if family == "tunnel":
        return web.Response(text=refused.text, status=refused.status, headers=headers)
    if family == "relay":
        told = {"code": refused.code, "message": refused.text}
        if endpoint is not None and endpoint.upgrade:
            told = {"type": "error", **told} if refused.status == 400 else told
        return web.json_response(told, status=refused.status, headers=headers)
    if upgrade:
        answer = web.Response(text=f"{refused.text}\n", status=refused.status, headers=headers)
        answer.force_close()
        return answer
    return web.json_response({"error": refused.code, "message": refused.text}, status=refused.status, headers=headers)
