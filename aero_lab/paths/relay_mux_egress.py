"""TCP of a guest through a relay by tcp-mux: a stream for each connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..egress.contract import Why
from ..framing import tcp_mux as mux
from ..framing.tcp_mux import Open
from ..transports.base import TransportEnd
from ..wire.address import ip_text
from .mux_port import MuxPort
from .mux_stream import Stream
from .relay_egress import Notice, RelayEgress, why_of


class _Tcp:
    """A connection of the sink's."""

    __slots__ = ("far_eof", "flow", "open", "stream")

    def __init__(self, flow: int, stream: Stream | None):
        self.flow, self.stream = flow, stream
        self.open = self.far_eof = False


class MuxEgress(RelayEgress):
    """Streams over the channel ``mux``. ``version`` is that of tcp-mux, unless the relay knows an older one alone."""

    def __init__(self, sink: Any, ends: dict[str, TransportEnd], *, version: int = 2, **options: Any):
        super().__init__(sink, ends, **options)
        self.port = MuxPort(self, ends["mux"], "tx", version)
        self._flows: dict[int, _Tcp] = {}
        self._next = 1
        self._down = False
        self._credited: dict[int, _Tcp] = {}

    @property
    def counters(self) -> dict[str, int]:
        return {**super().counters, **{f"mux-{name}": number for name, number in self.port.counts.items()}}

    @property
    def talk(self) -> MuxPort:
        return self.port

    def step_tcp(self, now: int) -> None:
        self.port.receive(now)
        while self._credited:
            flow = next(iter(self._credited))
            f = self._credited.pop(flow)
            if f.stream is not None and self._flows.get(flow) is f:
                self.port.deliver(f.stream, now)

    def flush_tcp(self, now: int) -> None:
        self.port.flush(now)

    def poll_tcp(self, now: int) -> int:
        return now if self._credited else self.port.poll_at(now)

    def told(self, notice: Notice, now: int) -> None:
        f = self._flows.get(notice.flow)
        if f is None:
            return
        if notice.what != "opened":
            self._gone(f, notice.why, now)
        elif not f.open:
            self._opened(f, now)

    # TCP ------------------------------------------------------------------------------------------------------------

    def open_tcp(self, flow: int, address: bytes, port: int, now: int) -> None:
        f = self._flows[flow] = _Tcp(flow, None)
        if self._down:
            self._count["tcp-no-relay"] += 1
            self._notices.append(Notice("failed", flow, "net-unreachable"))
            return
        number, self._next = self._next, self._next + 1
        f.stream = self.port.add(number, f)
        self.port.say(mux.encode_open(number, ip_text(address), port))
        if self.early or self.port.version == 1:
            self._notices.append(Notice("opened", flow))

    def send(self, flow: int, parts: Sequence[memoryview], now: int) -> int:
        f = self._flows.get(flow)
        if f is None or not f.open or f.stream is None or f.stream.fin_out:
            return 0
        taken = self.port.send(f.stream, parts, now)
        self._count["tcp-bytes-up"] += taken
        return taken

    def shutdown(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None and f.open and f.stream is not None:
            self.port.finish(f.stream, now)

    def reset(self, flow: int, now: int) -> None:
        f = self._forget(flow)
        if f is not None and f.stream is not None:
            self.port.abort(f.stream)

    def close_tcp(self, flow: int, now: int) -> None:
        f = self._forget(flow)
        if f is None or f.stream is None:
            return
        if f.stream.fin_out and f.far_eof:
            self.port.drop(f.stream)
        else:
            self.port.abort(f.stream)

    def credit(self, flow: int, now: int) -> None:
        f = self._flows.get(flow)
        if f is not None:
            self._credited[flow] = f

    def round_trip(self, flow: int) -> int:
        return self.port.rtt or 0

    def _forget(self, flow: int) -> _Tcp | None:
        self._credited.pop(flow, None)
        return self._flows.pop(flow, None)

    # The mux's calls ------------------------------------------------------------------------------------------------

    def room(self, stream: Stream) -> int:
        f = stream.context
        return self.sink.room(f.flow) if f.open else 0

    def data(self, stream: Stream, view: memoryview, now: int) -> int:
        self._count["tcp-bytes-down"] += len(view)
        self.sink.data(stream.context.flow, view, now)
        return len(view)

    def writable(self, stream: Stream, now: int) -> None:
        self.sink.drained(stream.context.flow, now)

    def credited(self, stream: Stream, now: int) -> None:
        """The first CREDIT of a stream says that the far side answered."""
        f = stream.context
        if not f.open and not self.early:
            self._opened(f, now)

    def finished(self, stream: Stream, now: int) -> None:
        f = stream.context
        if not f.open:
            self._opened(f, now)
        f.far_eof = True
        self.sink.eof(f.flow, now)

    def aborted(self, stream: Stream, now: int) -> None:
        self._gone(stream.context, "refused", now)

    def refused(self, stream: Stream, code: int, text: str, now: int) -> None:
        self._count[f"error-{code}"] += 1
        self.port.drop(stream)
        self._gone(stream.context, why_of(code, text), now)

    def opens(self, number: int, wanted: Open | None, now: int) -> None:
        """A relay opens nothing."""
        self._count["mux-unasked"] += 1

    def strange(self, number: int, kind: int, now: int) -> None:
        """About a stream that we have ended already."""

    def misused(self, stream: Stream, what: str, now: int) -> None:
        self._count[f"mux-{what}"] += 1

    def _opened(self, f: _Tcp, now: int) -> None:
        f.open = True
        self._count["tcp-opened"] += 1
        self.sink.opened(f.flow, now)

    def _gone(self, f: _Tcp, why: Why, now: int) -> None:
        """The relay has ended the stream."""
        if self._forget(f.flow) is None:
            return
        if f.open:
            self._count["tcp-reset-by-world"] += 1
            self.sink.reset(f.flow, now)
        else:
            self._count[f"tcp-{why}"] += 1
            self.sink.failed(f.flow, why, now)

    # The channels ---------------------------------------------------------------------------------------------------

    def carrier(self, channel: str, up: bool, now: int) -> None:
        """The connection of a channel came or went. With the mux's go all its streams."""
        if channel != "mux":
            return
        self._down = not up
        if up:
            if getattr(self.port.end, "protocol", None) == mux.V1 and self.port.version != 1:
                self.port.set_version(1)
                self._notices.extend(Notice("opened", flow) for flow, f in self._flows.items() if not f.open)
            return
        for f in self._flows.values():
            if f.stream is not None:
                f.stream = None
                self._notices.append(Notice("failed", f.flow, "net-unreachable"))
        self.port.reset()
        self._next = 1
