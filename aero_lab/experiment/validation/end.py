"""A process at one end of a real link: it sends the messages of a measurement over a real transport, or hears them.

The parent writes one JSON object a line to standard input and reads one answer a line from standard output
(:class:`aero_lab.hops.child.Child`). Commands: ``offer``, ``answer``, ``accept`` (WebRTC), ``dial`` (WebSocket),
``opened``, ``send``, ``heard``, ``results``, ``stop``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from time import monotonic_ns
from typing import Any

from ...compiled.registry import unloaded
from ...errors import AeroLabError
from ...hops.loop import precise_loop
from ...limits import SECOND
from ...rings.frame_ring import FrameRing
from ...transports.base import TransportEnd
from .simulated import CHANNEL
from .traffic import Traffic, read

PORT = 7000
DATA_CHANNEL: dict[str, dict[str, Any]] = {
    "webrtc": {},
    "webrtc-unordered": {"ordered": False},
    "webrtc-lossy": {"ordered": False, "max_retransmits": 0},
}
"""Promises of a data channel, by transport."""
FIRST = 200_000_000
"""Between the command to send and the first message, in ns."""
OPEN = 30.0
"""Seconds in which the connection must come about."""


def go_first(pid: int = 0) -> None:
    """Let a process (this one) go before all others, where that may be asked for: root may."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


class End:
    """What is common: a transport's end on this loop, messages that go and come."""

    def __init__(self, spec: dict[str, Any]):
        self.spec = spec
        self.end: TransportEnd | None = None
        self.changed = asyncio.Event()
        self.seen: list[tuple[int, int, int]] = []
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, Any]:
        return {}

    async def stop(self) -> None:
        """Let go of everything."""

    def woken(self) -> None:
        """The end has something to tell."""
        now = monotonic_ns()
        if self.end is not None and len(self.end.received):
            while some := self.end.received.pop_many(64):
                self.seen.extend((*read(each.data), now) for each in some)
            self.end.taken()
        self.changed.set()

    async def opened(self) -> dict[str, Any]:
        """Wait until messages can be sent."""
        raise NotImplementedError

    async def send(self, traffic: dict[str, Any]) -> dict[str, Any]:
        """Begin to send; the answer does not wait for the end."""
        assert self.end is not None
        self._sending = asyncio.ensure_future(self._send(self.end, Traffic(**traffic)))
        return {}

    async def _send(self, end: TransportEnd, traffic: Traffic) -> None:
        start = monotonic_ns() + FIRST
        ring = FrameRing(64, 64 * (traffic.size + 8))
        for number in range(traffic.count):
            due = start + number * traffic.gap
            while (early := due - monotonic_ns()) > 0:
                await asyncio.sleep(early / SECOND)
            # A message is due when its time has come by this process's own clock, not when it woke up.
            if traffic.gap:
                due = monotonic_ns()
            while not ring.has_room(traffic.size):
                await self._room(end, ring)
            ring.push(traffic.message(number, due), due)
            end.send(ring, due)
        while len(ring):
            await self._room(end, ring)

    async def _room(self, end: TransportEnd, ring: FrameRing) -> None:
        self.changed.clear()
        if end.send(ring, monotonic_ns()):
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(self.changed.wait(), 0.05)
        except TimeoutError:
            pass

    async def heard(self) -> dict[str, Any]:
        """How many messages have come; whether this end has sent all of its own."""
        sent = self._sending is not None and self._sending.done()
        if sent and self._sending is not None:
            self._sending.result()
        return {"heard": len(self.seen), "sent": sent}

    async def results(self, first: int) -> dict[str, Any]:
        """Messages that came, from the one with this place on: a slice at a time, for a line has its limits."""
        return {"seen": self.seen[first : first + 2000]}


class WebSocket(End):
    """A WebSocket of aiohttp's, as the lab uses it, to a proxy or at one."""

    _task: asyncio.Task[None] | None = None
    _socket: Any = None
    _runner: Any = None

    async def start(self) -> dict[str, Any]:
        if self.spec["role"] == "server":
            from aiohttp import web

            application = web.Application()
            application.router.add_get(CHANNEL.route, self._serve)
            self._runner = web.AppRunner(application)
            await self._runner.setup()
            await web.TCPSite(self._runner, self.spec["address"], PORT).start()
        return {}

    async def _serve(self, request: Any) -> Any:
        from ...transports.websocket import WebSocketEnd, server_socket

        socket = server_socket(CHANNEL.most)
        await socket.prepare(request)
        self.end = WebSocketEnd(socket, self.woken)
        await self.end.run()
        return socket

    async def dial(self, address: str) -> dict[str, Any]:
        """Connect to the other end."""
        from aiohttp import ClientSession

        from ...transports.websocket import WebSocketEnd

        self._session = ClientSession()
        socket = await self._session.ws_connect(
            f"http://{address}:{PORT}{CHANNEL.route}", max_msg_size=CHANNEL.most + 1, autoping=False, autoclose=False
        )
        self.end = WebSocketEnd(socket, self.woken)
        self._task = asyncio.ensure_future(self.end.run())
        return {}

    async def opened(self) -> dict[str, Any]:
        async with asyncio.timeout(OPEN):
            while self.end is None:
                await asyncio.sleep(0.01)
        return {}

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()


class WebRtc(End):
    """A data channel of a WebRTC library's."""

    async def start(self) -> dict[str, Any]:
        from ...transports.data_channel import DataChannelEnd
        from ...transports.peer import make_peer

        self.peer = make_peer((self.spec["address"],), self.spec["library"])
        if self.spec["role"] == "client":
            channel = self.peer.channel(CHANNEL.name, **DATA_CHANNEL[self.spec["transport"]])
            self.end = DataChannelEnd(channel, self.woken)
        else:
            self.peer.on_channel = lambda channel: setattr(self, "end", DataChannelEnd(channel, self.woken))
        return {}

    async def offer(self) -> dict[str, Any]:
        return {"sdp": (await self.peer.offer()).sdp}

    async def answer(self, sdp: str) -> dict[str, Any]:
        from ...transports.peer import Description

        return {"sdp": (await self.peer.answer(Description("offer", sdp))).sdp}

    async def accept(self, sdp: str) -> dict[str, Any]:
        from ...transports.peer import Description

        await self.peer.accept(Description("answer", sdp))
        return {}

    async def opened(self) -> dict[str, Any]:
        async with asyncio.timeout(OPEN):
            while self.end is None or not self.end.channel.open:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
        return {}

    async def stop(self) -> None:
        await self.peer.close()


def main() -> None:
    # Whatever prints by accident must not end up between the answers.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lines = sys.stdin.buffer
    spec = json.loads(lines.readline())
    if spec["eager"]:
        go_first()
    loop = precise_loop()
    asyncio.set_event_loop(loop)
    for kernel in unloaded("aero_lab.rings"):
        kernel.prepare()  # else the first message would pay for loading

    def answer(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")

    async def live() -> None:
        end = (WebSocket if spec["transport"] == "websocket" else WebRtc)(spec)
        try:
            answer({"ok": True, "value": {"pid": os.getpid(), **await end.start()}})
            while (line := await loop.run_in_executor(None, lines.readline)) and (told := json.loads(line)):
                name = told.pop("do")
                if name == "stop":
                    break
                try:
                    answer({"ok": True, "value": await getattr(end, name)(**told)})
                except (AeroLabError, OSError, TimeoutError) as error:
                    answer({"ok": False, "error": f"{name}: {error or type(error).__name__}"})
        except (AeroLabError, OSError) as error:
            answer({"ok": False, "error": str(error)})
        finally:
            await end.stop()

    try:
        loop.run_until_complete(live())
    except (BrokenPipeError, KeyboardInterrupt):
        pass


if __name__ == "__main__":
    main()
