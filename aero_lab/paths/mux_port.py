"""One end of a tcp-mux connection: streams over a transport end, each with a window of its own.

Theory of operation
-------------------
Both ends are this machine; what a stream is joined to is its owner's business (:class:`~.mux_stream.MuxOwner`: the
egress of a LAN at the client, sockets at the server)::

    owner -- send() --> frames --> ring --> transport
    owner <-- room(), data() -- [buffer of the stream] <-- parser <-- transport

**Out.** A stream may send as much as its credit and its share of the ring allow. Where the ring is the limit, streams
wait in one line, and room is kept for those whose turn it is, so a fast one leaves the others their share. DATA goes
into the ring behind everything that was said before.

**In.** What the owner has no room for waits in a buffer of the stream. In version 2 that buffer is the stream's
window: the peer was told how much may come (CREDIT) and is told more when the owner took it; a stream that is not read
costs its window and nobody else's time. A window grows while its stream is read as fast as it comes, and the windows of
all streams together have a bound.

In version 1 nobody was told anything. Then a full buffer stops the reading of the whole connection, for a while: see
:attr:`MuxPort.held_since`. Whoever owns the port decides what happens then.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from ..bounds import (
    MUX_AHEAD,
    MUX_BUFFER,
    MUX_CHUNK,
    MUX_FRAME_MOST,
    MUX_FRAMES_AT_ONCE,
    MUX_PINGS,
    MUX_REPLIES,
    MUX_STREAM_BUFFER,
)
from ..causes import Cause
from ..framing import tcp_mux as mux
from ..framing.tcp_mux import FIRST_CREDIT, BadMux, ErrorCode, Flags, MuxFrame, MuxParser
from ..limits import NEVER, RING_ARENA, RING_SLOTS
from ..rings import FrameRing
from ..transports.base import TransportEnd
from .mux_stream import UNLIMITED, MuxOwner, Stream


class MuxPort:
    """One end. ``note`` is told of each message: ``note(direction, size, payload, now, cause)``.

    Parameters
    ----------
    sent_as: direction, seen from the guest, of what is sent: ``"tx"`` at the client, ``"rx"`` at the server.
    version: 1 or 2.
    frame: payload that a frame may announce.
    buffer: bytes of one stream that may wait here: its window at most.
    """

    def __init__(
        self,
        owner: MuxOwner,
        end: TransportEnd,
        sent_as: str,
        version: int = 2,
        note: Any = None,
        frame: int = MUX_FRAME_MOST,
        buffer: int = MUX_STREAM_BUFFER,
    ):
        self.owner, self.end, self.version = owner, end, version
        self._frame_most, self._buffer_most = frame, buffer
        self.parser = MuxParser(frame)
        self.streams: dict[int, Stream] = {}
        self.counts: Counter[str] = Counter()
        self.broken: BadMux | None = None
        """Why nothing can be read any more."""
        self.held_since = NEVER
        """Since when the connection is not read because streams without flow control are full."""
        self.rtt: int | None = None
        self.on_rtt: Any = None
        self._sent_as, self._got_as = sent_as, "rx" if sent_as == "tx" else "tx"
        self._note = note
        self._messages = FrameRing(RING_SLOTS, RING_ARENA)
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._line: deque[Stream] = deque()  # wait for room in the ring
        self._promises: list[Stream] = []  # have waited, and are about to send
        self._round = 0
        self._full: dict[int, Stream] = {}  # version 1: their buffers are full
        self._buffered = 0
        self._windows = 0  # of all streams, beyond the first credit
        self._message_payload = 0  # of the message that is being read
        self._message_cause = Cause.TUNNEL_FRAMING
        self._message_size = 0
        self._pings: dict[bytes, int] = {}
        self._next_ping = 1
        self._more = False

    def set_version(self, version: int) -> None:
        """The peer speaks this one, as came to be known now."""
        if version == self.version:
            return
        self.version = version
        for stream in self.streams.values():
            if version == 1:
                stream.credit = stream.granted = UNLIMITED
            else:
                stream.credit, stream.granted = FIRST_CREDIT, FIRST_CREDIT

    # Streams --------------------------------------------------------------------------------------------------------

    def add(self, number: int, context: Any) -> Stream:
        """A new stream."""
        stream = self.streams[number] = Stream(number, context, self.version)
        return stream

    def drop(self, stream: Stream) -> None:
        """Forget a stream: nothing more is said about it."""
        if self.streams.pop(stream.id, None) is None:
            return
        self._buffered -= stream.buffered
        self._windows -= stream.window - FIRST_CREDIT
        stream.buffer.clear()
        stream.buffered = stream.offset = 0
        self._full.pop(stream.id, None)
        stream.in_line = False  # its place in the line is passed over
        if stream.promised:
            stream.promised = False
            self._promises.remove(stream)

    def room(self, stream: Stream) -> int:
        """Bytes of DATA that :meth:`send` would take now: its share, and beside what others were promised."""
        if stream.round != self._round:
            stream.round, stream.burst = self._round, 0
        share = max(MUX_CHUNK, MUX_AHEAD // max(1, len(self.streams))) - stream.burst
        kept = MUX_CHUNK * (len(self._promises) - stream.promised)
        return max(0, min(stream.credit, share, self._space() - kept))

    def _spent(self, stream: Stream, size: int) -> None:
        stream.credit -= size
        stream.burst += size
        if stream.promised:
            stream.promised = False
            self._promises.remove(stream)

    def _space(self) -> int:
        ring = self._messages
        if self._control or len(ring) >= RING_SLOTS - _RESERVE:
            return 0
        return max(0, MUX_AHEAD - ring.used_bytes)

    def send(self, stream: Stream, parts: Sequence[memoryview], now: int) -> int:
        """Offer bytes; returns how many were taken. Fewer than offered: the owner is told when there is room."""
        taken = 0
        for part in parts:
            at, size = 0, len(part)
            while at < size:
                room = min(self.room(stream), MUX_CHUNK, size - at)
                if room <= 0:
                    self.wait(stream)
                    return taken
                self._put(b"".join((mux.header(mux.DATA, stream.id, room), part[at : at + room])), room, now)
                self._spent(stream, room)
                at += room
                taken += room
        return taken

    def send_all(self, stream: Stream, view: memoryview, now: int) -> None:
        """Send what :meth:`room` had room for in the same instant: the ring is much larger than what that allows."""
        for at in range(0, len(view), MUX_CHUNK):
            part = view[at : at + MUX_CHUNK]
            sent = self._put(b"".join((mux.header(mux.DATA, stream.id, len(part)), part)), len(part), now)
            assert sent, "the ring was to have room for this"
        self._spent(stream, len(view))

    def wait(self, stream: Stream) -> None:
        """Have :meth:`~.mux_stream.MuxOwner.writable` called when there is room for this stream."""
        if stream.credit <= 0:
            stream.wants_credit = True
        elif not stream.in_line:
            stream.in_line = True
            self._line.append(stream)

    def finish(self, stream: Stream, now: int) -> None:
        """Send FIN after what was taken."""
        if not stream.fin_out:
            stream.fin_out = True
            self.say(mux.encode_close(stream.id, Flags.FIN))

    def abort(self, stream: Stream) -> None:
        """Send RST and forget the stream."""
        self.say(mux.encode_close(stream.id, Flags.RST))
        self.drop(stream)

    def error(self, number: int, code: int, text: str) -> None:
        """Send an ERROR."""
        self.counts[f"error_{ErrorCode(code).name.lower()}"] += 1
        self.say(mux.encode_error(number, code, text))

    def say(self, frame: bytes) -> None:
        """Send a frame that is no DATA, as soon as there is room."""
        self._control.append(frame)
        self._control_bytes += len(frame)

    def ping(self, now: int, only: bool = False, payload: bytes | None = None) -> None:
        """Send a PING; :attr:`rtt` has the round-trip time when its answer came."""
        if payload is None:
            payload = self._next_ping.to_bytes(8, "big")
            self._next_ping += 1
        if only:
            self._pings.clear()
        while len(self._pings) >= MUX_PINGS:
            del self._pings[next(iter(self._pings))]
        self._pings[payload] = now
        self.say(mux.encode(mux.PING, 0, payload))

    def grant(self, stream: Stream, size: int) -> None:
        """Let the peer send so much more than its window, for good."""
        stream.window += size
        stream.granted += size
        self._windows += size
        self.say(mux.encode_credit(stream.id, size))

    def widen(self, stream: Stream) -> bool:
        """Double a stream's window where the bounds allow it."""
        more = min(stream.window, self._buffer_most - stream.window, MUX_BUFFER - self._windows)
        if self.version != 2 or more <= 0:
            return False
        self.grant(stream, more)
        return True

    # The node's work ------------------------------------------------------------------------------------------------

    def receive(self, now: int) -> None:
        """Take frames apart, as far as somebody has room for what is in them, and no more than a bound at a time."""
        parser, received = self.parser, self.end.received
        took = False
        self._more = False
        for _ in range(MUX_FRAMES_AT_ONCE):
            if self.broken is not None or self._held(now):
                break
            if not parser.waiting:
                self._message_read(now)
                message = received.pop()
                if message is None:
                    break
                took = True
                self._message_size = len(message.data)
                parser.feed(message.data)
            try:
                frame = parser.frame()
            except BadMux as error:
                self.broken = error
                self.counts[error.reason] += 1
                break
            if frame is not None:
                self._frame(frame, now)
        else:
            self._more = True
        if not parser.waiting:
            self._message_read(now)
        if took:
            self.end.taken()

    def flush(self, now: int) -> None:
        """Put what waits into the transport, as far as there is room, and let streams that waited go on in turn."""
        for stream in self._promises:  # whoever has not used it had nothing to send
            stream.promised = False
        self._promises.clear()
        while True:
            self._round += 1
            self._push_control(now)
            for _ in range(len(self._line)):
                if self._space() <= MUX_CHUNK * len(self._promises):
                    break
                stream = self._line.popleft()
                if stream.in_line:
                    stream.in_line, stream.promised = False, True
                    self._promises.append(stream)
                    self.owner.writable(stream, now)
            if not len(self._messages) or not self.end.send(self._messages, now) or not (self._line or self._control):
                return

    def poll_at(self, now: int) -> int:
        """``now`` when :meth:`receive` or :meth:`flush` would do something."""
        if self._more and not self._is_held():
            return now
        if len(self._messages) and not self.end.stalled:
            return now
        if self._control and self._messages.has_room(len(self._control[0])):
            return now
        if self._line and self._space() > 0:  # promises end with the next flush
            return now
        if (len(self.end.received) or self.parser.waiting) and self.broken is None and not self._is_held():
            return now
        return NEVER

    def reset(self) -> None:
        """The connection is gone with all that was on its way: begin anew. The owner has let go of its streams."""
        for stream in list(self.streams.values()):
            self.drop(stream)
        self.parser = MuxParser(self._frame_most)
        self.end.received.clear()
        self._messages.clear()
        self._control.clear()
        self._line.clear()
        self._promises.clear()
        self._pings.clear()
        self._control_bytes = 0
        self.broken, self.held_since, self._more = None, NEVER, False

    @property
    def buffered(self) -> int:
        """Bytes that wait for owners."""
        return self._buffered

    @property
    def fullest(self) -> Stream | None:
        """Of the streams without flow control that hold the connection up, the one with most in its buffer."""
        return max(self.streams.values(), key=_buffered, default=None) if self._is_full() else None

    # Inward ---------------------------------------------------------------------------------------------------------

    def _is_full(self) -> bool:
        return self.version == 1 and (bool(self._full) or self._buffered >= MUX_BUFFER)

    def _is_held(self) -> bool:
        return self._control_bytes > MUX_REPLIES or self._is_full()

    def _held(self, now: int) -> bool:
        """Whether nothing may be read now; notes since when."""
        full = self._is_full()
        if full and self.held_since >= NEVER:
            self.held_since = now
            self.counts["read_pauses"] += 1
        elif not full:
            self.held_since = NEVER
        return full or self._control_bytes > MUX_REPLIES

    def _frame(self, frame: MuxFrame, now: int) -> None:
        kind, stream = frame.type, self.streams.get(frame.stream)
        if kind == mux.DATA:
            self._data(frame, stream, now)
        elif kind == mux.CLOSE:
            self._close(frame, stream, now)
        elif kind == mux.OPEN:
            wanted = None
            if frame.kept:
                try:
                    wanted = mux.decode_open(frame.payload)
                except BadMux:
                    self.counts["bad_open"] += 1
            self.owner.opens(frame.stream, wanted, now)
        elif kind == mux.PING:
            self._message_cause = Cause.KEEPALIVE
            if frame.kept:
                self.say(mux.encode(mux.PONG, frame.stream, frame.payload))
            else:
                self.counts["ping_too_large"] += 1
        elif kind == mux.PONG:
            self._message_cause = Cause.KEEPALIVE
            sent = self._pings.pop(bytes(frame.payload), None)
            if sent is not None:
                self.rtt = now - sent
                if self.on_rtt is not None:
                    self.on_rtt(self.rtt)
        elif kind == mux.ERROR:
            if stream is not None:
                self._refused(frame, stream, now)
        elif kind == mux.CREDIT and self.version == 2:
            if stream is not None:
                self._credit(frame, stream, now)
        else:
            self.counts["unknown_type"] += 1
            self.owner.strange(frame.stream, kind, now)

    def _data(self, frame: MuxFrame, stream: Stream | None, now: int) -> None:
        size = len(frame.payload)
        self._message_payload += size
        if stream is None or stream.fin_in:
            self.counts["data_without_stream" if stream is None else "data_after_fin"] += 1
            if frame.last:  # once for a frame, in however many pieces it came
                if stream is None:
                    self.owner.strange(frame.stream, mux.DATA, now)
                else:
                    self.owner.misused(stream, "after-fin", now)
            return
        if size > stream.granted:
            self.counts["beyond_credit"] += 1
            self.error(stream.id, ErrorCode.STREAM_BUFFER_OVERFLOW, "stream buffered too much data")
            self.drop(stream)
            self.owner.aborted(stream, now)
            return
        stream.granted -= size
        view = frame.payload
        if not stream.buffered:
            room = min(self.owner.room(stream), size)
            if room > 0:
                taken = self.owner.data(stream, view[:room], now)
                if self.streams.get(stream.id) is not stream:
                    return
                view = view[taken:]
                self._took(stream, taken)
        if len(view):
            stream.buffer.append(bytes(view))
            stream.buffered += len(view)
            self._buffered += len(view)
            if self.version == 1 and stream.buffered >= self._buffer_most:
                self._full[stream.id] = stream

    def deliver(self, stream: Stream, now: int) -> None:
        """The owner has room for this stream again, or for the first time."""
        while stream.buffered:
            room = self.owner.room(stream)
            if room <= 0:
                return
            part = memoryview(stream.buffer[0])[stream.offset :]
            offered = min(len(part), room)
            taken = self.owner.data(stream, part[:offered], now)
            if self.streams.get(stream.id) is not stream:
                return
            stream.offset += taken
            if taken == len(part):
                stream.buffer.popleft()
                stream.offset = 0
            stream.buffered -= taken
            self._buffered -= taken
            if stream.buffered < self._buffer_most:
                self._full.pop(stream.id, None)
            self._took(stream, taken)
            if taken < offered:
                return
        if stream.fin_in and not stream.told_fin:
            stream.told_fin = True
            self.owner.finished(stream, now)

    def _took(self, stream: Stream, size: int) -> None:
        """The owner took bytes: let the peer send as many again when that is worth a message."""
        stream.taken += size
        if not size or self.version != 2 or stream.fin_in or 2 * stream.taken < stream.window:
            return
        stream.granted += stream.taken
        taken, stream.taken = stream.taken, 0
        more = 0
        if not stream.buffered:  # it is read as fast as it comes
            more = max(0, min(stream.window, self._buffer_most - stream.window, MUX_BUFFER - self._windows))
            stream.window += more
            stream.granted += more
            self._windows += more
        self.say(mux.encode_credit(stream.id, taken + more))

    def _close(self, frame: MuxFrame, stream: Stream | None, now: int) -> None:
        if stream is None:
            return  # it has ended, or never was
        try:
            flags = mux.decode_close(frame.payload) if frame.kept else None
        except BadMux:
            flags = None
        if flags is None:
            self.counts["bad_close"] += 1
            self.owner.misused(stream, "close", now)
        elif flags & Flags.RST:
            self.drop(stream)
            self.owner.aborted(stream, now)
        elif flags & Flags.FIN and not stream.fin_in:
            stream.fin_in = True
            self.deliver(stream, now)

    def _refused(self, frame: MuxFrame, stream: Stream, now: int) -> None:
        try:
            code, text = mux.decode_error(frame.payload)
        except BadMux:
            code, text = 0, "an ERROR that cannot be read"
        self.owner.refused(stream, code, text, now)

    def _credit(self, frame: MuxFrame, stream: Stream, now: int) -> None:
        try:
            size = mux.decode_credit(frame.payload) if frame.kept else 0
        except BadMux:
            size = 0
        if not size or stream.credit + size > mux.CREDIT_MOST:
            self.counts["bad_credit"] += 1
            self.owner.misused(stream, "credit", now)
            return
        stream.credit += size
        self.owner.credited(stream, now)
        if stream.wants_credit and self.streams.get(stream.id) is stream:
            stream.wants_credit = False
            self.owner.writable(stream, now)

    def _message_read(self, now: int) -> None:
        if self._message_size:
            if self._note is not None:
                cause = Cause.PAYLOAD if self._message_payload else self._message_cause
                self._note(self._got_as, self._message_size, self._message_payload, now, cause)
            self._message_size = self._message_payload = 0
            self._message_cause = Cause.TUNNEL_FRAMING

    # Outward --------------------------------------------------------------------------------------------------------

    def _put(self, message: bytes, payload: int, now: int, cause: int = Cause.PAYLOAD) -> bool:
        if not self._messages.push(message, now, cause=cause):
            return False
        if self._note is not None:
            self._note(self._sent_as, len(message), payload, now, cause)
        return True

    def _push_control(self, now: int) -> None:
        while self._control:
            frame = self._control[0]
            cause = Cause.KEEPALIVE if frame[0] in (mux.PING, mux.PONG) else Cause.TUNNEL_FRAMING
            if not self._put(frame, 0, now, cause):
                return
            self._control_bytes -= len(self._control.popleft())

    def __repr__(self) -> str:
        return f"<MuxPort v{self.version}: {len(self.streams)} streams, {self._buffered} bytes buffered>"


_RESERVE = 64
"""Slots of the ring that DATA leaves to everything else."""


def _buffered(stream: Stream) -> int:
    return stream.buffered
