"""Asking the world that lies behind the guests' networks: the same names, policy and resolver as a LAN's own server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from ...driver import Driver
from ...egress.contract import Answer
from ...lan.dns import DnsServer
from ...limits import NEVER
from ...worlds import World
from .messages import Query
from .upstreams import Failed


class WorldNames:
    """The name server of a LAN that no guest is in. Lives on the loop it is made on."""

    def __init__(self, world_for: Callable[[Driver], World], rng: random.Random):
        self._driver = Driver(asyncio.get_running_loop())
        self._world = world_for(self._driver)
        now = self._driver.now()
        self._egress: Any = self._world.make_egress(_Sink(self), rng, now)  # type: ignore[arg-type]
        self.server = DnsServer(self._world.lan_config(), self._egress.resolve, self._answered)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._next = 1
        self._driver.add(self)

    async def ask(self, query: Query) -> bytes:
        ticket, self._next = self._next, self._next + 1
        future = self._waiting[ticket] = self._driver.loop.create_future()
        try:
            if not self.server.handle(query.raw, (ticket,), self._driver.now(), stream=True):
                raise Failed("garbage")
            self._driver.wake()
            return await future
        finally:
            self._waiting.pop(ticket, None)

    async def close(self) -> None:
        """Give up; whoever waits is told."""
        self._driver.stop()
        self._world.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Failed("closed"))

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        self._egress.step(now)
        self.server.tick(now)

    def poll_at(self, now: int) -> int:
        return min(self._egress.poll_at(now), self.server.poll_at(), NEVER)

    def _answered(self, client: tuple[Any, ...], payload: bytes, now: int) -> None:
        future = self._waiting.get(client[0])
        if future is not None and not future.done():
            future.set_result(payload)


class _Sink:
    """Takes lookups alone: nothing else is opened here."""

    def __init__(self, names: WorldNames):
        self._names = names

    def resolved(self, query: int, answer: Answer, now: int) -> None:
        self._names.server.resolved(query, answer, now)

    def room(self, flow: int) -> int:
        return 0

    def accepted(self, listener: int, peer: tuple[bytes, int], now: int) -> None:
        return None

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None
