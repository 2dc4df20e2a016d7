"""An egress sink that notes what it is told and takes data at the rate a test wants; shared by the egress tests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any


class RecordingSink:
    """Keeps calls up in order in ``calls`` and data by flow in ``received``."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.received: dict[int, bytearray] = defaultdict(bytearray)
        self.datagrams: dict[int, list[bytes]] = defaultdict(list)
        self.rooms: dict[int, int] = defaultdict(lambda: 1 << 20)
        self.largest = 0
        self.on_accepted: Callable[[int], int | None] = lambda listener: None
        self.on_drained: Callable[[int, int], None] = lambda flow, now: None

    def opened(self, flow: int, now: int) -> None:
        self.calls.append(("opened", flow))

    def failed(self, flow: int, why: str, now: int) -> None:
        self.calls.append(("failed", flow, why))

    def room(self, flow: int) -> int:
        return self.rooms[flow]

    def data(self, flow: int, view: memoryview, now: int) -> None:
        assert len(view) <= self.rooms[flow], "more than there was room for"
        self.largest = max(self.largest, len(view))
        self.rooms[flow] -= len(view)
        self.received[flow] += view

    def drained(self, flow: int, now: int) -> None:
        self.calls.append(("drained", flow))
        self.on_drained(flow, now)

    def eof(self, flow: int, now: int) -> None:
        self.calls.append(("eof", flow))

    def reset(self, flow: int, now: int) -> None:
        self.calls.append(("reset", flow))

    def datagram(self, flow: int, payload: bytes, now: int) -> None:
        self.datagrams[flow].append(payload)

    def undeliverable(self, flow: int, why: str, now: int) -> None:
        self.calls.append(("undeliverable", flow, why))

    def echo_failed(self, query: int, sender: bytes | None, type: int, code: int, rest: int, now: int) -> None:
        self.calls.append(("echo_failed", query, sender, type, code, rest))

    def accepted(self, listener: int, peer: tuple[bytes, int], now: int) -> int | None:
        self.calls.append(("accepted", listener, peer))
        return self.on_accepted(listener)

    def resolved(self, query: int, answer: Any, now: int) -> None:
        self.calls.append(("resolved", query, answer))

    def echoed(self, query: int, address: bytes, payload: bytes, now: int) -> None:
        self.calls.append(("echoed", query, address, payload))

    def told(self, *call: Any) -> bool:
        return call in self.calls
