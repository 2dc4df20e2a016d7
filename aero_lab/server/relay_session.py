"""A WebSocket of the gateway or the relay: one channel, and behind it a relay of its own.

As a tunnel's :class:`~.session.Session` it has a driver of its own, so that its timers and wake-ups are its own and a
defect in one ends one. What it carries is its part of the :class:`~aero_lab.paths.relay.Relay`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..driver import Driver
from ..lan.config import LanConfig
from ..lan.network import Network
from ..limits import NEVER
from ..paths.relay import Relay
from ..transports.websocket import MessageKind, Refusal, WebSocketEnd
from .metrics import from_lan

if TYPE_CHECKING:
    from ..egress.contract import Egress, EgressSink
    from .call import Call

log = logging.getLogger(__name__)
NOT_TEXT = 1003


class Makings:
    """The world of a connection, under rules of its own."""

    def __init__(self, world: Any, mtu: int, change: Callable[[LanConfig], LanConfig]):
        self._world, self._mtu, self._change = world, mtu, change

    def lan_config(self, mtu: int, ipv6: bool) -> LanConfig:
        return self._change(self._world.lan_config(self._mtu))

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        return self._world.make_egress(sink, rng, now)

    @property
    def make_stack(self) -> Any:
        """What the world's networks speak TCP/IP with; None: a stack of ours."""
        return getattr(self._world, "make_stack", None)


class ByteGate:
    """Counts what passes. Implements :class:`aero_lab.transports.websocket.Gate`."""

    def __init__(self, clock: Callable[[], int]):
        self._clock = clock
        self.last_inbound = clock()
        self.bytes_in = self.bytes_out = 0

    def received(self, kind: MessageKind, size: int) -> Refusal | None:
        self.last_inbound = self._clock()
        self.bytes_in += size
        return None

    def sent(self, size: int) -> Refusal | None:
        self.bytes_out += size
        return None


def no_text(text: str) -> Refusal | None:
    """What a text message gets where only binary ones mean something."""
    return Refusal(NOT_TEXT, "expected binary message")


class RelayConnection:
    """A channel of the relay over WebSocket. Implements :class:`~.call.Connection`.

    Parameters
    ----------
    change: makes the rules of this connection from those of the network.
    """

    name = "relay-connection"

    def __init__(self, call: Call, number: int, change: Callable[[LanConfig], LanConfig]):
        proxy = call.proxy
        self.id, self.query, self.address = number, dict(call.query), call.address
        self.audit = call.audit(number)
        self.failure: BaseException | None = None
        """The defect that ended this connection."""
        self.driver = Driver(asyncio.get_running_loop(), failed=self._failed)
        self.world = proxy.world_for(self.driver)
        makings = Makings(self.world, call.config.lan_mtu, change)
        network = Network(
            makings, lambda part: proxy.rng(number, part), self.driver.clock, call.config.lan_mtu, told=self.audit
        )
        self.relay = Relay(network, proxy.recorder)
        self.gate = ByteGate(self.driver.now)
        self.end: WebSocketEnd | None = None
        self.part: Any = None
        """What the channel is joined to."""
        self.tick: Callable[[int], int] | None = None
        """Called after each step: does what is due, and returns when something is again."""
        self.tell: Callable[[], None] | None = None
        """Called before the sums are looked at: brings what is counted elsewhere up to date."""
        self._due = NEVER
        self._why: str | None = None
        self._closing = False
        self._task: asyncio.Task[Any] | None = None
        self.driver.add(self)

    def join(self, socket: Any, queue_messages: int) -> WebSocketEnd:
        """The WebSocket is open: the end of its channel."""
        self.end = WebSocketEnd(socket, self.driver.wake, queue_messages=queue_messages, gate=self.gate)
        self.end.on_text = no_text
        return self.end

    # Life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the connection ends. Cancelling drops it."""
        assert self.end is not None
        self._task = asyncio.current_task()
        self.driver.wake()
        try:
            await self.end.run()
        except asyncio.CancelledError:
            if self.failure is None or self._task is None:
                raise
            self._task.uncancel()  # that was drop(), of our own doing
        except Exception as error:
            self._failed(error)
        finally:
            self.close()

    def finish(self, code: int, reason: str) -> None:
        """End it with a Close, within a second. The first reason counts."""
        if self._why is None and self.end is not None:
            self._why = reason
            self.end.finish(code, reason)

    def drop(self) -> None:
        """End it without a word."""
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        """Let go of everything: the WebSocket has gone, or never came. May be called twice."""
        if self._closing:
            return
        self._closing = True
        if self.failure is None:
            try:
                now = self.driver.now()
                if self._why is None and self.end is not None:
                    self.relay.step(now)  # what came with the Close
                self.relay.close(now)
            except Exception as error:
                self._failed(error)
        self.driver.stop()
        self.relay.abandon()
        self.world.close()

    def _failed(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            log.error("connection %d ends because of a defect", self.id, exc_info=error)
            if not self._closing:
                self.drop()

    @property
    def closed(self) -> bool:
        return self._closing

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        if self._why is not None:
            return
        self.relay.step(now)
        if self.part is not None and self.end is not None and (over := self.part.farewell) is not None:
            self.end.finish_after(*over)
        elif self.tick is not None:
            self._due = self.tick(now)

    def poll_at(self, now: int) -> int:
        return NEVER if self._why is not None else min(self.relay.poll_at(now), self._due)

    # What it did ----------------------------------------------------------------------------------------------------

    @property
    def counters(self) -> dict[str, int]:
        """Those of the relay."""
        return self.relay.counters

    def tally(self) -> Counter[str]:
        """Sums of this connection by metric name, and its gauges."""
        if self.tell is not None:
            self.tell()
        sums = from_lan(self.relay.counters)
        sums["l2_tcp_conns_active"] = len(self.relay.tcp)
        sums["l2_udp_flows_active"] = len(self.relay.ports)
        return sums

    def summary(self) -> dict[str, Any]:
        """For the audit."""
        code, reason = (None, "connection lost") if self.end is None else (self.end.close_code, self.end.close_reason)
        if self.failure is not None:
            reason = "internal-error"
        elif self._why is not None:
            reason = self._why
        elif self.end is not None and self.end.closed_by == "peer":
            reason = "closed by the client"
        return {
            "reason": reason or "connection lost",
            "code": code,
            "bytes_up": self.gate.bytes_in,
            "bytes_down": self.gate.bytes_out,
        }

    def __repr__(self) -> str:
        return f"<RelayConnection {self.id} of {self.address}: {self.relay!r}>"
