"""What is asked for a client, and what is not: policy, memory, one lookup for all who ask the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ...bounds import DNS_CACHE_SIZE, DOH_PENDING
from ...errors import Malformed
from ...lan.dns_judge import reverse_address
from ...lan.policy import Policy
from ...limits import SECOND
from ...wire import dns
from ..metrics_gateway import GatewayMetrics
from .messages import Asked, Query, error, lifetime, told
from .upstreams import Asks, Failed


@dataclass(slots=True)
class _Remembered:
    raw: bytes
    stored: int
    expires: int


class Memory:
    """Answers as they came; the one that was wanted longest ago goes first.

    Parameters
    ----------
    entries: 0: none.
    size: bytes of all of them.
    """

    def __init__(self, entries: int, size: int = DNS_CACHE_SIZE):
        self._most, self._size_most = entries, size
        self._held: OrderedDict[Asked, _Remembered] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, asked: Asked, now: int) -> tuple[bytes, int] | None:
        """An answer that still holds, and its age in whole seconds."""
        held = self._held.get(asked)
        if held is None:
            return None
        if held.expires <= now:
            self._forget(asked)
            return None
        self._held.move_to_end(asked)
        return held.raw, (now - held.stored) // SECOND

    def put(self, asked: Asked, raw: bytes, seconds: int, now: int) -> None:
        """Remember for so long."""
        self._forget(asked)
        if not self._most or not seconds or len(raw) > self._size_most:
            return
        self._held[asked] = _Remembered(raw, now, now + seconds * SECOND)
        self.size += len(raw)
        while len(self._held) > self._most or self.size > self._size_most:
            self._forget(next(iter(self._held)))

    def _forget(self, asked: Asked) -> None:
        held = self._held.pop(asked, None)
        if held is not None:
            self.size -= len(held.raw)


class Forwarder:
    """Answers queries.

    Parameters
    ----------
    asks: where answers come from.
    memory: what is remembered; None: ``asks`` does that itself.
    """

    def __init__(
        self,
        asks: Asks,
        memory: Memory | None,
        metrics: GatewayMetrics,
        now: Callable[[], int],
        allow_any: bool = False,
        allow_private_ptr: bool = False,
        most_ttl: int = 300,
        negative_ttl: int = 60,
    ):
        self._asks, self.memory, self._metrics, self._now = asks, memory, metrics, now
        self._allow_any, self._allow_private_ptr = allow_any, allow_private_ptr
        self._most_ttl, self._negative_ttl = most_ttl, negative_ttl
        self._pending: dict[Asked, asyncio.Task[bytes]] = {}
        self._policy = Policy()

    async def answer(self, query: Query) -> bytes:
        """The answer; SERVFAIL where none can be had."""
        asked = query.asked
        if self._refused(asked):
            self._count(asked, dns.REFUSED, "policy")
            return error(query, dns.REFUSED)
        if asked.cls != dns.IN or query.flags & dns.OPCODE_MASK:
            self._count(asked, dns.NOTIMP, "policy")
            return error(query, dns.NOTIMP)
        known = self.memory.get(asked, self._now()) if self.memory is not None else None
        if known is not None:
            self._metrics.dns_hits.labels(asked.qtype).inc()
            self._count(asked, known[0][3] & dns.RCODE_MASK, "cache")
            return told(known[0], query, known[1])
        self._metrics.dns_misses.inc()
        try:
            raw = await self._ask(query)
            answer = told(raw, query, 0)
        except (Failed, Malformed, OSError):
            self._count(asked, dns.SERVFAIL, "error")
            return error(query, dns.SERVFAIL)
        self._count(asked, raw[3] & dns.RCODE_MASK, "upstream")
        return answer

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._pending.values()):
            task.cancel()
        await self._asks.close()

    def _refused(self, asked: Asked) -> bool:
        if asked.type == dns.ANY and not self._allow_any:
            return True
        if asked.type != dns.PTR or self._allow_private_ptr:
            return False
        address = reverse_address(asked.name)
        return address is not None and self._policy.address(address) is not None

    async def _ask(self, query: Query) -> bytes:
        if self.memory is None:
            return await self._asks.ask(query)
        task = self._pending.get(query.asked)
        if task is None:
            if len(self._pending) >= DOH_PENDING:
                raise Failed("busy")
            task = self._pending[query.asked] = asyncio.create_task(self._look_up(query))
            task.add_done_callback(lambda _: self._pending.pop(query.asked, None))
        return await asyncio.shield(task)  # one asker that goes away takes nothing from the others

    async def _look_up(self, query: Query) -> bytes:
        raw = await self._asks.ask(query)
        seconds = lifetime(raw, self._most_ttl, self._negative_ttl)
        assert self.memory is not None
        self.memory.put(query.asked, raw, seconds, self._now())
        return raw

    def _count(self, asked: Asked, rcode: int, source: str) -> None:
        word = dns.RCODE_NAMES[rcode] if rcode < len(dns.RCODE_NAMES) else str(rcode)
        self._metrics.dns_queries.labels(asked.qtype, word, source).inc()
