"""One tunnel: a WebSocket, and behind it a LAN of its own.

Theory of operation
-------------------
A session has a driver of its own on the loop that all share, so that its timers and wake-ups are its own and a defect
in one ends one. Until the first FRAME arrives there is no LAN: PINGs are answered, rules are kept, and it costs little.
Then the LAN is built and the session is the node :class:`~aero_lab.paths.l2_tunnel.L2Server`.

Whatever ends a tunnel goes through :meth:`Session.finish`: flows end at once, the client gets the reason, and
:meth:`Session.run` returns when the WebSocket is closed, a second later at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..bounds import BACKPRESSURE_PATIENCE, PING_REARM
from ..driver import Driver
from ..framing.l2_tunnel import FRAME, BadMessage, ErrorCode, L2Limits, decode, encode_error
from ..limits import MS, NEVER, PONG_QUEUE
from ..paths.base import Tap
from ..paths.l2_control import ControlChannel
from ..paths.l2_tunnel import FRAMES, L2Port, L2Server, Medium
from ..rings import FrameRing
from ..transports.base import TransportEnd
from ..transports.paced import PacedEnd
from ..transports.websocket import WebSocketEnd
from ..worlds import World
from .metrics import DROPS_COUNTER, Metrics, from_lan
from .quota import VIOLATION, SessionGate

if TYPE_CHECKING:
    from ..audit import Source
    from ..lan import Lan
    from .capture import SessionCapture
    from .config import ServerConfig

GOING_AWAY, TOO_LARGE = 1001, 1009
log = logging.getLogger(__name__)
_BAD = ("too_short", "invalid_magic", "unsupported_version", "payload_too_large")


class Session:
    """A tunnel from its upgrade to its end. Made by :mod:`.endpoints.tunnel`.

    Parameters
    ----------
    number: of the tunnel, from 1.
    query: parameters of the request's URL, credentials left out.
    address: IP address of the client.
    socket: aiohttp's WebSocket, open.
    rng: ``rng(part)`` gives the seeded generator for a part of the session.
    medium: what travels: frames, or packets, whose link layer is then at the client.
    """

    name = "session"

    def __init__(
        self,
        number: int,
        query: Mapping[str, str],
        address: str,
        socket: Any,
        config: ServerConfig,
        world_for: Callable[[Driver], World],
        metrics: Metrics,
        rng: Callable[[str], Any],
        audit: Source | None = None,
        recorder: Tap | None = None,
        capture: SessionCapture | None = None,
        medium: Medium = FRAMES,
    ):
        self.id, self.query, self.address = number, dict(query), address
        self.config, self.metrics, self.audit = config, metrics, audit
        self.server: L2Server | None = None
        """LAN and tunnel port, from the first FRAME on."""
        self.failure: BaseException | None = None
        """The defect that ended this session."""
        self._world_for, self._rng, self._recorder, self._capture = world_for, rng, recorder, capture
        self._medium = medium
        self._world: World | None = None
        self.driver = Driver(asyncio.get_running_loop(), failed=self._failed)
        self.opened_at = now = self.driver.now()
        self._limits = limits = config.limits
        rate = config.max_bytes_per_second
        quota = (
            0 if rate else config.max_bytes_per_connection
        )  # where there is a rate, a tunnel that used it up goes on
        self.gate = SessionGate(quota, config.max_frames_per_second, limits, self.driver.now, self._quota_hit)
        self._watched = bool(quota or config.max_frames_per_second or config.idle_timeout_ms)
        self.end = WebSocketEnd(
            socket,
            self.driver.wake,
            queue_messages=config.ws_send_buffer,
            gate=self.gate if self._watched else None,
        )
        self.paced: PacedEnd | None = None
        """What keeps the tunnel to its byte rate, where it has one."""
        if rate:
            self.paced = PacedEnd(self.end, rate, now, limits.message, config.max_bytes_per_connection)
        self._way: TransportEnd = self.paced or self.end
        self.control = ControlChannel(limits, self._violation, metrics.rtt)
        self._idle = config.idle_timeout_ms * MS
        self._ping_every = config.ping_interval_ms * MS
        self._ping_at = now + self._ping_every if self._ping_every else NEVER
        self._replies = FrameRing(PONG_QUEUE, PONG_QUEUE * (limits.control + 64) & ~7)
        self._why: str | None = None
        self._flows_ended = self._closing = False
        self._task: asyncio.Task[Any] | None = None

    @property
    def lan(self) -> Lan | None:
        """The LAN, from the first FRAME on."""
        return None if self.server is None else self.server.lan

    # Life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the tunnel ends. Cancelling drops the connection."""
        self._task = asyncio.current_task()
        if self.paced is not None:
            self.driver.add(self.paced)
        self.driver.add(self)
        try:
            await self.end.run()
        except asyncio.CancelledError:
            if self.failure is None or self._task is None:
                raise
            self._task.uncancel()  # that was drop(), of our own doing
        except Exception as error:
            self._failed(error)
        finally:
            self._close()

    def finish(self, code: int, reason: str, error: bytes | None = None) -> None:
        """End the tunnel: its flows now, the connection within a second. The first reason counts."""
        if self._why is None:
            self._why = reason
            self.end.finish(code, reason, error)
            self.driver.loop.call_soon(self._end_flows)  # not now: the LAN may be in the middle of its step

    def drop(self) -> None:
        """End the connection without a word."""
        if self._task is not None:
            self._task.cancel()

    def _close(self) -> None:
        self._closing = True
        if self._why is None and self.failure is None:
            try:
                self._step_network(self.driver.now())  # what came with the Close
            except Exception as error:
                self._failed(error)
        self._end_flows()
        self.driver.stop()
        if self._world is not None:
            self._world.close()
        if self._capture is not None:
            self._capture.close()

    def _end_flows(self) -> None:
        """Tell every far side; may be called twice."""
        lan, ended, self._flows_ended = self.lan, self._flows_ended, True
        if lan is not None and not ended and self.failure is None:
            try:
                lan.close(self.driver.now())
            except Exception as error:
                self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """A defect of ours: this tunnel ends without a word, the others go on."""
        if self.failure is None:
            self.failure = error
            log.error("session %d ends because of a defect", self.id, exc_info=error)
            if not self._closing:
                self.drop()

    @property
    def reason(self) -> str:
        """Why it ended, for the audit."""
        if self.failure is not None:
            return "internal-error"
        if self._why is not None:
            return self._why
        if self.end.closed_by == "peer":
            return "closed by the client"
        return self.end.close_reason or "connection lost"

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        if self._why is not None:
            return
        self._step_network(now)
        self._keep_rules(now)

    def poll_at(self, now: int) -> int:
        if self._why is not None:
            return NEVER
        deadline = self._ping_at
        if self._idle:
            deadline = min(deadline, self.gate.last_inbound + self._idle)
        if self._capture is not None and (due := self._capture.poll_at()) is not None:
            deadline = min(deadline, due)
        blocked = self.end.blocked_since
        if blocked is not None:
            deadline = min(deadline, blocked + BACKPRESSURE_PATIENCE)
        if self.server is not None:
            return min(deadline, self.server.poll_at(now))
        if self.control.waiting or len(self._replies):
            return deadline if self._way.stalled else now
        return now if len(self._way.received) else deadline

    def _step_network(self, now: int) -> None:
        if self.server is None:
            self._talk(now)
        if self.server is not None and self._why is None:
            self.server.step(now)

    def _talk(self, now: int) -> None:
        """Before there is a LAN: answer, until a FRAME comes. What cannot be answered yet is not read yet."""
        received, took = self._way.received, False
        self._answer(now)
        while self._why is None and not self.control.waiting and (waiting := received.peek_many(1)):
            if _is_frame(waiting[0].data, self._limits):
                self._build(now)
                break
            received.pop()
            took = True
            self.control.message(waiting[0].data, now)
            self._answer(now)
        if took:
            self._way.taken()

    def _answer(self, now: int) -> None:
        if self._why is None and (self.control.waiting or len(self._replies)):
            self.control.flush(self._replies, now)
            self._way.send(self._replies, now)

    def _build(self, now: int) -> None:
        from ..lan import Lan
        from ..lan.edge import without_link
        from ..lan.network import first_identity

        medium = self._medium
        self._world = world = self._world_for(self.driver)

        def make_egress(sink: Any) -> Any:
            return world.make_egress(sink, self._rng("egress"), now)

        config = world.lan_config(self.config.lan_mtu)
        if medium.lan != "ethernet":
            config = without_link(config)
        lan = Lan(
            config, make_egress, self._rng("lan"), now, audit=self.audit, make_stack=getattr(world, "make_stack", None)
        )
        lan.stack.number_frames(first_identity(self.id) + 1)
        port = L2Port(
            f"{medium.channel}-server", lan.tx, lan.rx, self._way, "rx", self._recorder, "tunnel", self._limits,
            control=self.control, frames=self._capture, medium=medium,
        )  # fmt: skip
        port.adopt(self._replies)
        self.server = L2Server(port, lan)

    def _keep_rules(self, now: int) -> None:
        if self._why is not None:
            return
        if self._idle and now >= self.gate.last_inbound + self._idle:
            self.metrics.count("aero_l2_idle_timeouts_total")
            self.finish(VIOLATION, "idle timeout")
            return
        blocked = self.end.blocked_since
        if blocked is not None and now >= blocked + BACKPRESSURE_PATIENCE:
            self.metrics.count("l2_sessions_closed_backpressure_total")
            self._record("quota", now, reason="backpressure")
            text = "outbound websocket backpressure"
            self.finish(VIOLATION, text, encode_error(text, ErrorCode.BACKPRESSURE, self._limits))
            return
        if now >= self._ping_at:
            self._ping(now)
        if self._capture is not None:
            self._capture.tick(now)

    def _ping(self, now: int) -> None:
        sent = self.control.outstanding
        if sent is None or now >= sent + PING_REARM * self._ping_every:
            self.control.ping(now, only=True)
            self.driver.wake()
        self._ping_at = now + self._ping_every

    # What the rules say ---------------------------------------------------------------------------------------------

    def _violation(self, error: BadMessage) -> None:
        self.finish(VIOLATION, error.text, encode_error(error.text, ErrorCode.PROTOCOL_ERROR, self._limits))

    def _quota_hit(self, word: str) -> None:
        self.metrics.count(f"l2_sessions_closed_quota_{word}_total")
        self._why = self._why or f"{word} quota"
        self._record("quota", self.driver.now(), reason=f"quota-{word}")
        self.driver.loop.call_soon(self._end_flows)

    def _record(self, kind: str, now: int, **fields: Any) -> None:
        if self.audit is not None:
            self.audit.record(kind, now, **fields)

    def summary(self) -> dict[str, Any]:
        """For the audit."""
        tally = self.tally()
        return {
            "reason": self.reason,
            "code": self.end.close_code,
            "bytes_up": tally["l2_bytes_rx_total"],
            "bytes_down": tally["l2_bytes_tx_total"],
        }

    # What it did ----------------------------------------------------------------------------------------------------

    def tally(self) -> Counter[str]:
        """Sums of this tunnel by metric name, and its gauges."""
        control = self.control.counts
        dropped = {reason: control[reason] for reason in _BAD}
        dropped["message_too_large"] = int(self.end.close_code == TOO_LARGE)
        sums: Counter[str] = Counter()
        if self.paced is not None:
            sums["aero_lab_paced_total"] = self.paced.waits
        sums["aero_lab_text_messages_total"] = self.end.counters.get("text_messages", 0)
        if self.server is not None:
            port, lan = self.server.port, self.server.lan
            codec = port.codec.counters
            sums.update(from_lan(lan.counters))
            sums["l2_frames_rx_total"], sums["l2_frames_tx_total"] = codec["frames_unwrapped"], codec["frames_wrapped"]
            sums["l2_bytes_tx_total"], sums["l2_bytes_rx_total"] = port.frame_bytes
            sums["l2_tcp_conns_active"], sums["l2_udp_flows_active"] = len(lan.tcp), len(lan.udp)
            dropped["frame_too_large"] = codec["frame_too_large"]
            dropped["never_fits"] = codec["never_fits"]
        for reason, number in dropped.items():
            sums["l2_frames_dropped_total"] += number
            if number:
                sums[f"{DROPS_COUNTER} tunnel-{reason.replace('_', '-')}"] += number
        return sums

    def __repr__(self) -> str:
        state = "no LAN yet" if self.server is None else repr(self.server.port)
        return f"<Session {self.id} of {self.address}, {state}>"


def _is_frame(raw: bytes, limits: L2Limits) -> bool:
    try:
        return decode(raw, limits).type == FRAME
    except BadMessage:
        return False
