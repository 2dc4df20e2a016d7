"""One WebRTC connection, and behind each of its data channels what a WebSocket of that kind would have.

==========  ======================================  ===============================================================
label       what it must promise                    what is behind it
==========  ======================================  ===============================================================
``l2``      nothing                                 a LAN; or a bridge to the ``/l2`` of another proxy
``l3``      nothing                                 a LAN without its link layer
``udp``     unordered, never sent again             the UDP relay
``mux``     everything, in order                    streams of tcp-mux; the channel's protocol names the version
``dns``     everything, in order                    the name server
==========  ======================================  ===============================================================

There is one channel of each at most; others, second ones, and such with other promises are closed and counted. The
session ends with its connection, or when that does not come about in time.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..bounds import RTC_BUFFERED
from ..driver import Driver
from ..framing.tcp_mux import V1
from ..framing.udp_relay import HEADER_MOST
from ..lan.network import Network
from ..limits import NEVER, SECOND
from ..paths.base import Far
from ..paths.l2_tunnel import FRAMES, PACKETS, L2Server, Medium
from ..paths.relay import Relay
from ..transports.data_channel import DataChannelEnd
from ..transports.paced import PacedEnd
from ..transports.peer import Channel, Peer
from .endpoints.datagrams import DatagramWatch
from .metrics import from_lan
from .relay_rules import Rules, mux_limits, udp_limits
from .relay_session import Makings
from .targets import tcp_rules

if TYPE_CHECKING:
    from .call import Call

log = logging.getLogger(__name__)
MEDIA = {"l2": FRAMES, "l3": PACKETS}
LABELS = ("l2", "l3", "udp", "mux", "dns")


class Carried:
    """A channel and what is behind it."""

    def __init__(self, end: DataChannelEnd, node: Any, part: Any = None, paced: PacedEnd | None = None):
        self.end, self.node, self.part = end, node, part
        self.paced = paced
        """What keeps a tunnel to its byte rate, and is to be driven ahead of it."""

    @property
    def counters(self) -> dict[str, int]:
        """Those of the network, or of the relay."""
        return self.node.counters


class RtcSession:
    """A connection of the relay. Implements :class:`~.call.Connection`.

    Parameters
    ----------
    peer: not yet connected; it is this session's from now on, and closed at its end.
    """

    name = "rtc-session"

    def __init__(self, call: Call, number: int, peer: Peer):
        proxy = call.proxy
        self.id, self.query, self.address = number, dict(call.query), call.address
        self.public_id = secrets.token_hex(16)
        """What the client knows this session by."""
        self.audit = call.audit(number)
        self.peer = peer
        self.carried: dict[str, Carried] = {}
        """By label."""
        self.failure: BaseException | None = None
        self.on_channel: Any = None
        """Told each channel that is served: its label and its end."""
        self._call, self._config, self._proxy = call, call.config, proxy
        self.driver = Driver(asyncio.get_running_loop(), failed=self._failed)
        self._worlds: list[Any] = []
        self._bridges: set[asyncio.Task[Any]] = set()
        self._past: Counter[str] = Counter()
        self._watch: DatagramWatch | None = None
        self._due = NEVER
        self._oversized: set[str] = set()
        self._bytes = Counter[str]()
        self._why: str | None = None
        self._ended = asyncio.Event()
        self._deadline = self.driver.now() + self._config.webrtc_session_connect_timeout_seconds * SECOND
        peer.on_channel = self._came
        peer.on_state = self._state
        self.driver.add(self)

    # Life -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until the connection ends."""
        try:
            self._state(self.peer.state)
            await self._ended.wait()
        finally:
            self.close_channels()
            self.driver.stop()
            for task in self._bridges:
                task.cancel()
            await asyncio.gather(*self._bridges, return_exceptions=True)
            await self.peer.close()
            for world in self._worlds:
                world.close()

    def finish(self, code: int, reason: str) -> None:
        """End it. The first reason counts; WebRTC has no codes."""
        if self._why is None:
            self._why = reason
        self._ended.set()

    def drop(self) -> None:
        """End it without a word."""
        self.finish(0, "dropped")

    def _failed(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            log.error("WebRTC session %d ends because of a defect", self.id, exc_info=error)
        self.finish(0, "internal-error")

    def _state(self, state: str) -> None:
        if state == "connected":
            self._deadline = NEVER
        elif state in ("failed", "closed"):
            self.finish(0, f"connection {state}")
        self.driver.wake()

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        if now >= self._deadline:
            self._call.metrics.event("webrtc_session_connect_timeout")
            self.finish(0, "connect timeout")
        for label, carried in list(self.carried.items()):
            if carried.end.peer_closed:
                self._gone(label, carried)
            elif carried.end.oversized and label not in self._oversized:
                self._oversized.add(label)
                self._too_large(label, carried)
            else:
                broken = getattr(getattr(carried.part, "port", None), "broken", None)
                if broken is not None:
                    carried.end.close()
        if self._watch is not None and "udp" in self.carried:
            self._due = self._watch(now)

    def _too_large(self, label: str, carried: Carried) -> None:
        """A message beyond the limit ends its channel, as it would end a WebSocket (1009): what came is no longer all
        that was said."""
        if label in ("udp", "l2"):
            self._call.metrics.event(f"webrtc_datachannel_{label}_message_too_large")
        if not hasattr(carried.node, "run"):  # a bridge ends itself
            carried.end.close()

    def poll_at(self, now: int) -> int:
        return NEVER if self._ended.is_set() else min(self._deadline, self._due)

    # Channels -------------------------------------------------------------------------------------------------------

    def _came(self, channel: Channel) -> None:
        try:
            self._opened(channel)
        except Exception as error:  # it must not end the library's own work
            self._failed(error)

    def _opened(self, channel: Channel) -> None:
        """The client opened a channel."""
        label = channel.label
        why = self._why_not(channel)
        if why is not None:
            self._call.metrics.event(why)
            channel.close()
            return
        most = self._most(label)
        end = DataChannelEnd(channel, self.driver.wake, buffered=self._queue(label), most=most)
        if label == "l2" and self._config.l2_backend_ws_url is not None:
            self._bridge(end)
        else:
            self.carried[label] = carried = self._serve(label, channel, end)
            self.driver.add(*filter(None, (carried.paced, carried.node)))
        if self.on_channel is not None:
            self.on_channel(label, end)

    def _why_not(self, channel: Channel) -> str | None:
        """The event of a channel that is not served."""
        label = channel.label
        if label not in LABELS or label in ("l2", "l3") and not self._config.webrtc_tunnels:
            return "webrtc_datachannel_rejected_unknown_label"
        if label in self.carried:
            known = label if label in ("udp", "l2") else "other"
            return f"webrtc_datachannel_rejected_duplicate_{known}"
        if label == "udp" and (channel.ordered or channel.max_retransmits != 0 or channel.max_life_ms is not None):
            return "webrtc_datachannel_rejected_unknown_label"
        if label in ("mux", "dns") and not channel.reliable:
            return "webrtc_datachannel_rejected_unknown_label"
        return None

    def _most(self, label: str) -> int:
        config = self._config
        if label in MEDIA:
            return config.limits.message if label == "l3" or config.l2_backend_ws_url is None else config.l2_max_message
        if label == "udp":
            return config.max_datagram_payload_bytes + HEADER_MOST
        return config.tcp_proxy_max_message_bytes if label == "mux" else 0xFFFF

    def _queue(self, label: str) -> int:
        return min(self._config.datachannel_send_queue_bytes, RTC_BUFFERED) if label == "udp" else RTC_BUFFERED

    def _serve(self, label: str, channel: Channel, end: DataChannelEnd) -> Carried:
        if label in MEDIA:
            return self._tunnel(MEDIA[label], end)
        relay = Relay(self._network(Rules(self._call)), self._proxy.recorder)
        if label == "udp":
            part = relay.add_udp(end, udp_limits(self._config))
            self._watch = DatagramWatch(self._call, part, "webrtc_udp_", self.finish, lambda: end.heard_at)
            return Carried(end, relay, part)
        relay.dialer.rules = tcp_rules(self._config, self._call.metrics.gateway)
        if label == "dns":
            return Carried(end, relay, relay.add_dns(end))
        version = 1 if channel.protocol == V1 else 2
        return Carried(end, relay, relay.add_mux(end, version, mux_limits(self._call)))

    def _tunnel(self, medium: Medium, end: DataChannelEnd) -> Carried:
        config, way, paced = self._config, end, None
        if rate := config.max_bytes_per_second:
            now, free = self.driver.now(), config.max_bytes_per_connection
            way = paced = PacedEnd(end, rate, now, config.limits.message, free)
        far = Far({medium.channel: way}, self._network(lambda lan: lan), self._proxy.recorder, config.lan_mtu)
        return Carried(end, L2Server.make(far, medium), paced=paced)

    def _network(self, change: Any) -> Network:
        proxy, world = self._proxy, self._proxy.world_for(self.driver)
        self._worlds.append(world)
        makings = Makings(world, self._config.lan_mtu, change)
        return Network(
            makings, lambda part: proxy.rng(self.id, part), self.driver.clock, self._config.lan_mtu,
            told=self.audit, number=self.id,
        )  # fmt: skip

    def _bridge(self, end: DataChannelEnd) -> None:
        from .rtc_bridge import Bridge

        bridge = Bridge(self._call, end, self.driver)
        self.carried["l2"] = Carried(end, bridge)
        self.driver.add(bridge)
        task = asyncio.ensure_future(bridge.run())
        self._bridges.add(task)
        task.add_done_callback(self._bridges.discard)

    def _gone(self, label: str, carried: Carried) -> None:
        """A channel was closed, by whichever side."""
        del self.carried[label]
        self._oversized.discard(label)
        self._due = NEVER
        self.driver.remove(*filter(None, (carried.paced, carried.node)))
        self._close(carried)

    def _close(self, carried: Carried) -> None:
        self._past.update(self._sums(carried))
        counters = carried.end.counters
        self._bytes.update(up=counters["bytes_received"], down=counters["bytes_sent"])
        network = getattr(carried.node, "lan", None) or carried.node
        if self.failure is None and hasattr(network, "close"):
            try:
                network.close(self.driver.now())
            except Exception as error:
                self._failed(error)
        if hasattr(network, "abandon"):
            network.abandon()

    def close_channels(self) -> None:
        """End what every channel carries."""
        for label in list(self.carried):
            self._close(self.carried.pop(label))

    # What it did ----------------------------------------------------------------------------------------------------

    @property
    def lan(self) -> Any:
        """The LAN of the tunnel, if there is one."""
        for label in MEDIA:
            if label in self.carried:
                return getattr(self.carried[label].node, "lan", None)
        return None

    @property
    def counters(self) -> dict[str, int]:
        """What was done and dropped behind the channels, by part and reason."""
        sums: Counter[str] = Counter()
        for carried in self.carried.values():
            sums.update(carried.counters)
        return dict(sums)

    def _sums(self, carried: Carried) -> Counter[str]:
        sums = Counter(from_lan(carried.counters))
        if carried.paced is not None:
            sums["aero_lab_paced_total"] = carried.paced.waits
        return sums

    def tally(self) -> Counter[str]:
        """Sums of this session by metric name, and its gauges."""
        if self._watch is not None:
            self._watch.tell()
        sums = Counter(self._past)
        for carried in self.carried.values():
            sums.update(self._sums(carried))
        return sums

    def summary(self) -> dict[str, Any]:
        """For the audit."""
        return {
            "reason": self._why or "closed", "code": None,
            "bytes_up": self._bytes["up"], "bytes_down": self._bytes["down"],
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"<RtcSession {self.id} of {self.address}, {self.peer.state}: {', '.join(self.carried) or 'no channel'}>"
