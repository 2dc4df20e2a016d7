"""A data channel ``l2`` whose other end is the ``/l2`` of another proxy: messages pass one to one.

Nothing is dropped for want of room, in either direction: what the channel or the WebSocket does not take waits, first
here and then at whoever sends it. The byte rate of a session (``MAX_DC_BPS_PER_SESSION``) paces what goes to the client
for the same reason. A message that is too large ends the bridge, whichever side it came from.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout

from ..bounds import RTC_BRIDGE_DIAL, RTC_BRIDGE_QUEUE
from ..errors import AeroLabError
from ..framing.l2_tunnel import SUBPROTOCOL
from ..limits import NEVER, SECOND
from ..transports.data_channel import DataChannelEnd
from ..transports.websocket import WebSocketEnd
from ..transports.websocket_client import TOKEN_PROTOCOL, tunnel_url

if TYPE_CHECKING:
    from .call import Call


class BridgeFailed(AeroLabError):
    """The other proxy cannot be reached, or does not want this client."""


class Bridge:
    """A node on its session's driver; :meth:`run` is its life."""

    name = "l2-bridge"

    def __init__(self, call: Call, end: DataChannelEnd, driver: Any):
        self.end, self.driver = end, driver
        self._call, self._config, self._metrics = call, call.config, call.metrics
        self._far: WebSocketEnd | None = None
        self._rate = self._config.max_dc_bps_per_session
        self._paced_until = 0
        self.counters: dict[str, int] = {}
        self._told: Counter[str] = Counter()

    async def run(self) -> None:
        """Dial, carry, and close the channel when the other side is gone."""
        try:
            async with ClientSession(timeout=ClientTimeout(total=None)) as session:
                self._event("dials_total")
                try:
                    async with asyncio.timeout(RTC_BRIDGE_DIAL):
                        socket = await self._dial(session)
                except (ClientError, OSError, TimeoutError, BridgeFailed):
                    self._event("dial_errors_total")
                    return
                far = WebSocketEnd(socket, self.driver.wake, queue_messages=RTC_BRIDGE_QUEUE)
                self._far = far
                self.driver.wake()
                await far.run()
        finally:
            self._far = None
            self.end.close()
            self.driver.wake()

    async def _dial(self, session: ClientSession) -> Any:
        url, protocols, headers, origin = target(self._call)
        socket = await session.ws_connect(
            url, protocols=protocols, headers=headers, origin=origin, autoping=False, autoclose=False,
            max_msg_size=self._config.l2_max_message + 1,
        )  # fmt: skip
        if socket.protocol != SUBPROTOCOL:
            await socket.close(code=1002)
            raise BridgeFailed(f"the backend does not speak {SUBPROTOCOL}")
        return socket

    # The node -------------------------------------------------------------------------------------------------------

    def step(self, now: int) -> None:
        far, end = self._far, self.end
        if far is None:
            return
        if len(end.received):
            before = far.counters
            if far.send(end.received, now):
                end.taken()
            self._count("from_client", before, far.counters)
        if len(far.received) and now >= self._paced_until:
            before = end.counters
            if end.send(far.received, now):
                far.taken()
            self._count("to_client", before, end.counters)
            if self._rate:
                sent = end.counters["bytes_sent"] - before["bytes_sent"]
                self._paced_until = now + sent * SECOND // self._rate
        if end.counters["too_large"] > self._told["too_large"]:
            self._told["too_large"] = end.counters["too_large"]
            self._event("dropped_oversized_total")
            far.finish(1009, "message too large")

    def poll_at(self, now: int) -> int:
        far, end = self._far, self.end
        if far is None:
            return NEVER
        if len(end.received) and not far.stalled:
            return now
        return max(now, self._paced_until) if len(far.received) and not end.stalled else NEVER

    def close(self, now: int) -> None:
        """The channel has gone."""
        if self._far is not None:
            self._far.finish(1000, "")

    def _count(self, way: str, before: dict[str, int], after: dict[str, int]) -> None:
        for what in ("messages", "bytes"):
            more = after[f"{what}_sent"] - before[f"{what}_sent"]
            if more:
                self._event(f"{what}_{way}_total", more)

    def _event(self, name: str, number: int = 1) -> None:
        self._metrics.event(f"l2_bridge_{name}", number)


def target(call: Call) -> tuple[str, tuple[str, ...], dict[str, str], str | None]:
    """Where a client's bridge leads and what it says there: URL, subprotocols, headers, Origin."""
    config = call.config
    assert config.l2_backend_ws_url is not None
    url, protocols = tunnel_url(config.l2_backend_ws_url), [SUBPROTOCOL]
    given = call.credentials().token()
    if given and config.l2_backend_auth_forward_mode == "query":
        url = tunnel_url(config.l2_backend_ws_url, given) + f"&apiKey={_quoted(given)}"
    own = config.l2_backend_token.get_secret_value() if config.l2_backend_token is not None else None
    if own:
        protocols.append(TOKEN_PROTOCOL + own)
    elif given and config.l2_backend_auth_forward_mode == "subprotocol":
        protocols.append(TOKEN_PROTOCOL + given)
    headers = {}
    if config.l2_backend_forward_aero_session:
        cookie = call.request.cookies.get("aero_session")
        if cookie:
            headers["Cookie"] = f"aero_session={cookie}"
    origin = config.l2_backend_origin
    if origin is None and config.l2_backend_forward_origin:
        origin = call.origin or f"{'https' if call.secure else 'http'}://{call.request.host}"
    return url, tuple(protocols), headers, origin


def _quoted(text: str) -> str:
    return quote(text, safe="")
