"""``/dns-query`` (RFC 8484) and ``/dns-json``: names, over HTTP."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import random
import re
from typing import Any

from aiohttp import web

from ...errors import Malformed, UsageError
from ...wire import dns
from ...wire.dns import DnsMessage
from ..call import Call
from ..config import ServerConfig
from ..names.forwarder import Forwarder, Memory
from ..names.messages import error, read_query
from ..names.upstreams import MESSAGE, Upstreams, parse_upstream
from ..names.world import WorldNames
from ..quota import Buckets
from ..routes import Endpoint, Refused

NO_STORE = {"Cache-Control": "no-store"}
JSON_TYPES = {"A": dns.A, "AAAA": dns.AAAA, "CNAME": dns.CNAME}
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def forwarder(call: Call) -> Forwarder:
    """The server's own, made when it is first needed."""
    proxy, config = call.proxy, call.config
    found = proxy.shared.get(Forwarder)
    if found is None:
        gateway, memory = call.metrics.gateway, None
        if config.dns_upstreams:
            asks: Any = Upstreams(
                tuple(map(parse_upstream, config.dns_upstreams)),
                config.dns_upstream_timeout_ms / 1000,
                config.dns_max_response_bytes,
                lambda upstream, kind: gateway.dns_errors.labels(upstream, kind).inc(),
                gateway.dns_latency.observe,
            )
            memory = Memory(config.dns_cache_max_entries)
        else:
            asks = WorldNames(proxy.world_for, random.Random(proxy.rng(0, "names").random()))
        found = proxy.shared[Forwarder] = Forwarder(
            asks,
            memory,
            gateway,
            proxy.now,
            config.dns_allow_any,
            config.dns_allow_private_ptr,
            config.dns_cache_max_ttl_seconds,
            config.dns_cache_negative_ttl_seconds,
        )
    return found


def _take(call: Call) -> bool:
    """One of the questions that an address may ask."""
    config = call.config
    rates = call.proxy.shared.setdefault(_take, Buckets(config.dns_qps_per_ip, config.dns_burst_per_ip))
    return rates.take(call.address, call.proxy.now())


def message(body: bytes, status: int = 200, headers: Any = None) -> web.Response:
    """A DNS message as an answer."""
    return web.Response(body=body, status=status, content_type=MESSAGE, headers={**NO_STORE, **(headers or {})})


def refusal(call: Call, refused: Refused) -> web.Response:
    """What is told before a question was read: a DNS message where a client of RFC 8484 would look at one."""
    if refused.status == 429:
        return message(error(None, dns.SERVFAIL), 429)
    told = {"error": refused.code, "message": refused.text}
    return web.json_response(told, status=refused.status, headers={**NO_STORE, **refused.headers})


async def dns_query(call: Call) -> web.Response:
    """RFC 8484."""
    if not _take(call):
        return message(error(None, dns.SERVFAIL), 429)
    most = call.config.dns_max_query_bytes
    if call.request.method == "POST":
        if call.request.content_type != MESSAGE:
            return message(error(None, dns.FORMERR), 415)
        raw = await _read(call, most)
    else:
        text = call.query.get("dns", "")
        if len(text) > (most * 4 + 2) // 3:
            return message(error(None, dns.FORMERR, _decoded(text[:4]) or b""), 413)
        raw = _decoded(text) or b""
    if len(raw) > most:
        return message(error(None, dns.FORMERR, raw[:2]), 413)
    try:
        query = read_query(raw)
    except Malformed:
        return message(error(None, dns.FORMERR, raw), 400)
    return message(await forwarder(call).answer(query))


async def _read(call: Call, most: int) -> bytes:
    """The body, or as much of it as shows that it is too large."""
    taken = bytearray()
    async for chunk in call.request.content.iter_any():
        taken += chunk
        if len(taken) > most:
            break
    return bytes(taken)


def _decoded(text: str) -> bytes | None:
    text = text.rstrip("=")
    if not text or not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


# JSON -----------------------------------------------------------------------------------------------------------------


async def dns_json(call: Call) -> web.Response:
    """A question and its answer in JSON."""
    if not _take(call):
        raise Refused(429, "Rate limit exceeded", "rate", headers=NO_STORE)
    name, rtype = call.query.get("name"), call.query.get("type")
    if not name:
        raise Refused(400, "Missing 'name' query parameter", headers=NO_STORE)
    if not rtype:
        raise Refused(400, "Missing 'type' query parameter", headers=NO_STORE)
    number = JSON_TYPES.get(rtype.upper())
    if number is None:
        number = int(rtype) if rtype.isascii() and rtype.isdigit() and len(rtype) <= 5 else 0
    if number not in JSON_TYPES.values():
        raise Refused(400, "Invalid DNS record type", headers=NO_STORE)
    name = name.rstrip(".").lower()
    try:
        raw = DnsMessage.query(0, name, number).emit()
    except (UsageError, UnicodeError):
        raise Refused(400, "Invalid DNS name", headers=NO_STORE) from None
    if len(raw) > call.config.dns_max_query_bytes:
        raise Refused(413, "DNS query is too large", headers=NO_STORE)
    try:
        answer = DnsMessage.parse(await forwarder(call).answer(read_query(raw)))
    except Malformed:
        raise Refused(502, "DNS resolution failed", headers=NO_STORE) from None
    if answer.rcode == dns.SERVFAIL:
        raise Refused(502, "DNS resolution failed", headers=NO_STORE)
    if answer.rcode == dns.REFUSED:
        raise Refused(403, "DNS query is not allowed", headers=NO_STORE)
    return web.json_response(_as_json(answer, name, number), content_type="application/dns-json", headers=NO_STORE)


def _as_json(answer: DnsMessage, name: str, rtype: int) -> dict[str, Any]:
    flags = answer.flags
    told: dict[str, Any] = {
        "Status": answer.rcode,
        "TC": bool(flags & dns.TC),
        "RD": bool(flags & dns.RD),
        "RA": bool(flags & dns.RA),
        "AD": bool(flags & dns.AD),
        "CD": bool(flags & dns.CD),
        "Question": [{"name": name, "type": rtype}],
    }
    found = [
        {"name": record.name.rstrip(".").lower(), "type": record.type, "TTL": record.ttl, "data": data}
        for record in answer.answers
        if (data := _data(record)) is not None
    ]
    if found:
        told["Answer"] = found
    return told


def _data(record: dns.Record) -> str | None:
    if record.type in (dns.A, dns.AAAA) and isinstance(record.rdata, bytes):
        return str(ipaddress.ip_address(record.rdata))
    if record.type == dns.CNAME:
        return str(record.rdata).rstrip(".").lower()
    return None


def _off(config: ServerConfig) -> None:
    """Upstreams that cannot be read are told at the start."""
    for each in config.dns_upstreams:
        parse_upstream(each)


ENDPOINTS = (
    Endpoint("dns", ("/dns-query",), dns_query, methods=("GET", "POST"), refusal=refusal, off=_off),
    Endpoint("dns", ("/dns-json",), dns_json),
)
