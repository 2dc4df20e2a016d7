"""One end of a WebSocket as a message transport: binary messages each way, both ways bounded.

Theory of operation
-------------------
An end lives on one asyncio loop. Two tasks work for it: the reader takes messages off the socket into :attr:`received`,
the writer takes them out of the queue that :meth:`WebSocketEnd.send` fills. Whoever owns the end is told by ``wake()``,
on the loop, when messages arrived, when room came back after :meth:`~WebSocketEnd.send` had left some behind, and when
it is over. Neither task gives the loop away for each message: both go on as long as there is something at hand.

Nothing is dropped and nothing queues without bound. Inward: when :attr:`received` is full the reader keeps the one
message in its hand and reads no more; aiohttp's own queue then fills up to its limit and stops reading the socket, and
TCP tells the peer. Outward: aiohttp waits for the socket once more than its limit lies there, so the writer stops
taking, the queue fills, and :meth:`~WebSocketEnd.send` takes less.

:meth:`WebSocketEnd.finish` ends a connection from this side as the tunnel's contract says: what waits is thrown away,
one last message and the Close go out, and the peer has a second to answer with its own. However it ends, the socket
does not outlive :meth:`~WebSocketEnd.run`.

The framing of RFC 6455 is aiohttp's. What touches its API is :meth:`WebSocketEnd._read`, :class:`_Writer` and
:meth:`WebSocketEnd._say_close` alone, so that a codec which frames whole rings on the raw transport can take their
place.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
import struct
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fcntl import ioctl
from termios import TIOCOUTQ
from time import monotonic_ns
from typing import Any, Literal, Protocol

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http import WebSocketError, WebSocketWriter

from ..bounds import WS_BATCH, WS_CLOSE_PATIENCE, WS_CLOSE_REASON, WS_COPY, WS_PONGS, WS_QUEUE_MESSAGES, WS_WRITE
from ..errors import UsageError
from ..framing.l2_tunnel import cut_utf8
from ..limits import RING_ARENA, RING_SLOTS
from ..rings.frame_ring import FrameRing
from .base import AskedEnd

NORMAL, GOING_AWAY, PROTOCOL_ERROR, NO_CODE, ABNORMAL = 1000, 1001, 1002, 1005, 1006
"""Close codes of RFC 6455 section 7.4.1; the last two never travel: a Close without a code, and none at all."""

MessageKind = Literal["binary", "text", "ping", "pong"]


@dataclass(frozen=True)
class Refusal:
    """Why a message is not processed and the connection ends."""

    code: int
    reason: str
    error: bytes | str | None = None
    """Sent before the Close: an encoded tunnel message, or a text."""


class Gate(Protocol):
    """Looks at every message that passes an end: quotas, activity, metrics."""

    def received(self, kind: MessageKind, size: int) -> Refusal | None:
        """A message of ``size`` payload bytes arrived; one that is refused is not processed."""
        ...

    def sent(self, size: int) -> Refusal | None:
        """A message of ``size`` payload bytes is about to be sent; one that is refused is not."""
        ...


@dataclass(frozen=True)
class Identities:
    """Identities of the messages under way, as one end sees them."""

    coming: deque[int]
    going: deque[int]

    @staticmethod
    def pair() -> tuple[Identities, Identities]:
        """For the two ends of a connection."""
        up, down = deque(), deque()
        return Identities(down, up), Identities(up, down)

    def sent(self, message: bytes, identity: int, now: int) -> None:
        """A message goes out."""
        self.going.append(identity)

    def came(self, message: bytes, now: int) -> int:
        """The identity of one that came; 0 when it is not known."""
        return self.coming.popleft() if self.coming else 0


@dataclass(frozen=True)
class _Ending:
    """How a connection ends. ``by``: who began it, ``"us"``, ``"peer"`` or ``"loss"``."""

    code: int
    reason: str = ""
    error: bytes | str | None = None
    by: str = "us"
    said: bool = False
    """The Close has been sent already."""


_LOST = _Ending(ABNORMAL, by="loss")


def server_socket(most: int, protocols: Iterable[str] = (), autoping: bool = False) -> web.WebSocketResponse:
    """An unprepared WebSocket of aiohttp's server, set up for a :class:`WebSocketEnd`.

    ``most`` is the size of the largest message. aiohttp closes a connection with 1009 for one that is larger.
    """
    return web.WebSocketResponse(
        protocols=tuple(protocols),
        max_msg_size=most + 1,  # aiohttp refuses a message of this size
        compress=False,
        autoping=autoping,  # off: the gate sees Pings, and their answers are queued with a bound
        autoclose=False,
        timeout=WS_CLOSE_PATIENCE,
    )


class WebSocketEnd(AskedEnd):
    """One end of a WebSocket, at the server or at the client.

    Parameters
    ----------
    socket: the open WebSocket, aiohttp's server or client side, with ``autoping`` and ``autoclose`` off.
    wake: called on the loop when messages arrived, room came back, or the connection ended.
    queue_messages: messages that wait to be sent before :meth:`send` takes less.
    gate: asked about every message both ways.
    arena: bytes of each of the two queues, and the largest message.
    received: the ring for what arrives, when it is to outlive this end.
    """

    def __init__(
        self,
        socket: Any,
        wake: Callable[[], None],
        *,
        queue_messages: int = WS_QUEUE_MESSAGES,
        gate: Gate | None = None,
        arena: int = RING_ARENA,
        received: FrameRing | None = None,
    ):
        if queue_messages < 1:
            raise UsageError(f"a queue holds 1 message or more, not {queue_messages}")
        self.received = received if received is not None else FrameRing(RING_SLOTS, arena)
        self.close_code: int | None = None
        """Code that ended the connection; 1006 when it just broke. None before."""
        self.close_reason: str | None = None
        self.closed_by: str | None = None
        """``"us"``, ``"peer"`` or ``"loss"``; None before the end."""
        self.identities: Identities | None = None
        """Set when both ends are in one process: how the frames' identities, which no message carries, go along."""
        self.on_text: Callable[[str], Refusal | None] | None = None
        """Asked about each text message, which means nothing otherwise."""
        self._socket = socket
        self._wake = wake
        self._gate = gate
        self._most = queue_messages
        self._outgoing = FrameRing(1 << (queue_messages - 1).bit_length(), arena)
        self._pongs: deque[bytes] = deque(maxlen=WS_PONGS)
        self._work = asyncio.Event()  # something waits to be sent
        self._room = asyncio.Event()  # the owner took messages out
        self._ended = asyncio.Event()  # an ending is known
        self._ending: _Ending | None = None
        self._after: _Ending | None = None
        self._full_since: int | None = None
        self._unsent = 0
        self._writer = _Writer(socket)
        self._stalls = self._too_large = self._texts = 0
        self._gone = False

    # What the owner calls -------------------------------------------------------------------------------------------

    def send(self, ring: FrameRing, now: int) -> int:
        if self._ending is not None or not len(ring):
            return 0
        moved = 0
        room = self._most - len(self._outgoing)
        if room > 0:
            moved = ring.move_to(self._outgoing, room)
        if moved:
            self._work.set()
        if len(ring) and self._full_since is None:
            self._full_since = now
            self._stalls += 1
        return moved

    def taken(self) -> None:
        self._room.set()

    @property
    def stalled(self) -> bool:
        return self._full_since is not None

    @property
    def blocked_since(self) -> int | None:
        """Since when (monotonic ns) the queue is full and nothing leaves this host; None while it moves.

        A peer that reads slowly is not one that reads nothing: each look compares what lies in the socket with the look
        before.
        """
        if self._full_since is not None:
            left = self._writer.unsent()
            if left < self._unsent:
                self._full_since = monotonic_ns()
            self._unsent = left
        return self._full_since

    @property
    def peer_closed(self) -> bool:
        return self._gone or (self._ending is not None and self._ending.by != "us")

    @property
    def counters(self) -> dict[str, int]:
        return {
            "messages_sent": self._outgoing.given,
            "bytes_sent": self._outgoing.given_bytes,
            "messages_received": self.received.given,
            "bytes_received": self.received.given_bytes,
            "stalls": self._stalls,
            "text_messages": self._texts,
            "message_too_large": self._too_large,
        }

    def finish(self, code: int, reason: str, error: bytes | str | None = None) -> None:
        """End the connection: throw away what waits to be sent, send ``error`` if given, then Close.

        The first ending counts; another is ignored. :meth:`run` does the work and returns when it is done, a second
        later at most.
        """
        self._end(_Ending(code, reason, error))

    def finish_after(self, code: int, reason: str) -> None:
        """End the connection when all that waits to be sent has gone out."""
        self._after = self._after or _Ending(code, reason)
        self._work.set()

    def close(self) -> None:
        """:meth:`finish` in the ordinary way."""
        self.finish(NORMAL, "")

    # The connection's life ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until the connection ends, from whichever side; the socket is closed when this returns.

        Cancelling it drops the socket without a word.
        """
        raw = self._socket.get_extra_info("socket")
        clean = False
        tasks = {asyncio.create_task(job) for job in (self._read(), self._write(), self._ended.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await _cancel(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()  # a defect of ours, or of the gate's, is not to be hidden
            assert self._ending is not None
            clean = await self._say_close(self._ending)
        finally:
            await _cancel(tasks)
            self._end(_LOST)
            assert self._ending is not None
            self.close_code, self.close_reason, self.closed_by = (
                self._ending.code,
                self._ending.reason,
                self._ending.by,
            )
            self._gone = True
            if clean:  # our Close may still wait behind data that the peer is reading
                asyncio.get_running_loop().call_later(WS_CLOSE_PATIENCE, _drop, raw)
            else:
                _drop(raw)
            self._wake()

    def _end(self, ending: _Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._outgoing.clear()
            self._full_since = None
            self._ended.set()

    async def _read(self) -> None:
        """From the socket into :attr:`received`, until the connection ends."""
        receive, gate, ring, wake = self._socket.receive, self._gate, self.received, self._wake
        while self._ending is None:
            message: WSMessage = await receive()
            kind, data = message.type, message.data
            if kind is WSMsgType.BINARY:
                if gate is not None and (refusal := gate.received("binary", len(data))) is not None:
                    return self._refuse(refusal)
                known = self.identities
                identity = known.coming.popleft() if known is not None and known.coming else 0
                while not ring.push(data, monotonic_ns(), identity):
                    if len(data) > ring.arena:
                        self._too_large += 1
                        break
                    self._room.clear()
                    await self._room.wait()
                wake()
                continue
            if kind is WSMsgType.CLOSE:
                if data in (NO_CODE, ABNORMAL):
                    return self.finish(PROTOCOL_ERROR, f"close code {data} must not be sent")
                return self._end(_Ending(data or NO_CODE, message.extra or "", by="peer"))
            if kind is WSMsgType.ERROR and isinstance(data, WebSocketError):  # aiohttp has sent a Close already
                return self._end(_Ending(int(data.code), str(data), said=True))
            if kind is WSMsgType.TEXT:
                name, size = "text", len(data.encode())
                self._texts += 1
            elif kind is WSMsgType.PING or kind is WSMsgType.PONG:
                name, size = kind.name.lower(), len(data)
            else:
                return self._end(_LOST)
            if gate is not None and (refusal := gate.received(name, size)) is not None:  # type: ignore[arg-type]
                return self._refuse(refusal)
            if kind is WSMsgType.TEXT and self.on_text is not None and (refusal := self.on_text(data)) is not None:
                return self._refuse(refusal)
            if kind is WSMsgType.PING:
                self._pongs.append(bytes(data))
                self._work.set()

    async def _write(self) -> None:
        """From the queue to the socket, until the connection ends."""
        socket, gate, ring, writer = self._socket, self._gate, self._outgoing, self._writer
        try:
            while self._ending is None:
                self._work.clear()
                while self._pongs:
                    pong = self._pongs.popleft()
                    if gate is not None and (refusal := gate.sent(len(pong))) is not None:
                        return self._refuse(refusal)
                    await socket.pong(pong)
                batch = ring.pop_many(WS_BATCH)
                if not batch:
                    if self._after is not None:
                        return self._end(self._after)
                    await self._work.wait()
                    continue
                self._work.set()  # there may be more
                if self._full_since is not None:
                    self._full_since = None
                    self._wake()
                for message in batch:
                    if gate is not None and (refusal := gate.sent(len(message.data))) is not None:
                        await writer.flush()
                        return self._refuse(refusal)
                    if self.identities is not None:
                        self.identities.going.append(message.frame_id)
                    await writer.add(message.data)
                await writer.flush()
        except ConnectionError:
            self._end(_LOST)

    async def _say_close(self, ending: _Ending) -> bool:
        """Send the last message and the Close, and read until the peer's; False when that did not come in time."""
        if ending.by == "loss":
            return False
        if ending.said:
            return True
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(WS_CLOSE_PATIENCE):
                if isinstance(ending.error, str):
                    await self._socket.send_str(ending.error)
                elif ending.error is not None:
                    await self._socket.send_bytes(ending.error)
                code = NORMAL if ending.code == NO_CODE else ending.code
                # A peer's own code goes back to it, without its reason (RFC 6455 section 5.5.1).
                reason = cut_utf8(ending.reason, WS_CLOSE_REASON) if ending.by == "us" else b""
                await self._socket.close(code=code, message=reason)
                return True
        return False

    def _refuse(self, refusal: Refusal) -> None:
        self.finish(refusal.code, refusal.reason, refusal.error)

    def __repr__(self) -> str:
        state = "open" if self._ending is None else f"closed by {self._ending.by}, {self._ending.code}"
        return f"<WebSocketEnd {state}, {len(self.received)} received, {len(self._outgoing)} to send>"


class _Writer:
    """aiohttp's framing, with many messages handed to the socket in one call.

    aiohttp's own methods write each message by itself. Its writer works as well on something that only collects what it
    writes; where there is no such writer to be had, its own methods do the work.
    """

    def __init__(self, socket: Any):
        self._socket = socket
        self._parts: list[bytes] = []
        self._size = 0
        inner: Any = getattr(socket, "_writer", None)
        self._transport: Any = getattr(inner, "transport", None)
        self._protocol: Any = getattr(inner, "protocol", None)
        self._framer: WebSocketWriter | None = None
        if self._transport is not None and hasattr(self._protocol, "_drain_helper") and hasattr(inner, "use_mask"):
            collector: Any = self
            self._framer = WebSocketWriter(
                self._protocol,
                collector,
                use_mask=inner.use_mask,
                limit=1 << 62,  # waiting for the socket is done here
            )

    async def add(self, message: bytes) -> None:
        if self._framer is None:
            await self._socket.send_bytes(message)
            return
        await self._framer.send_frame(message, WSMsgType.BINARY)
        if self._size >= WS_WRITE:
            await self.flush()

    async def flush(self) -> None:
        """Write what was collected, and wait while the socket takes no more."""
        if not self._parts:
            return
        parts, size = self._parts, self._size
        self._parts, self._size = [], 0
        if self._transport.is_closing():
            raise ConnectionResetError("the transport is closing")
        # A system call costs about as much as copying this many bytes.
        for data in parts if size > WS_COPY * len(parts) else (b"".join(parts),):
            self._transport.write(data)
        if self._protocol._paused:
            await self._protocol._drain_helper()

    # As the transport of aiohttp's writer

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def unsent(self) -> int:
        """Bytes that have not reached the peer yet: those aiohttp keeps, and those the kernel does where it tells."""
        if self._transport is None:
            return 0
        raw = self._transport.get_extra_info("socket")
        kept = self._transport.get_write_buffer_size()
        try:
            return kept + struct.unpack("i", ioctl(raw.fileno(), TIOCOUTQ, bytes(4)))[0]
        except (OSError, AttributeError):
            return kept


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End what still runs, and wait for it."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


def _drop(raw: Any) -> None:
    """Make sure that the socket ends now: one whose peer reads no more would wait for it with a full buffer."""
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.shutdown(sockets.SHUT_RDWR)
