"""aiortc's own SCTP in virtual time: its associations on an event loop whose clock jumps, over a network of ours."""

from __future__ import annotations

import asyncio
import heapq
import random
import selectors
from unittest import mock

from aiortc import rtcsctptransport as theirs
from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters

from aero_lab.limits import SECOND


class _Jumps(selectors.SelectSelector):
    """Waits for nothing: time jumps instead."""

    loop: VirtualLoop

    def select(self, timeout=None):
        if timeout:
            self.loop.moment += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while something is to be done, and then jumps to the next timer."""

    def __init__(self):
        self.moment = 0.0
        selector = _Jumps()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.moment


class _Dtls:
    """What an association of aiortc's asks of its transport."""

    state = "connected"

    def __init__(self, net, side):
        self.net, self.side = net, side
        self._role = ("client", "server")[side]
        self.receiver = None

    def _register_data_receiver(self, receiver):
        self.receiver = receiver

    async def _send_data(self, data):
        self.net.send(self.side, data)


class TheirNet:
    """Two associations and the network between them.

    ``fate(side, size)`` says when a packet arrives that a side sends, in ns from then; None: never.
    """

    def __init__(self, fate):
        self.fate, self.loop = fate, asyncio.get_event_loop()
        self.sent = [[], []]
        self.ends = [_Dtls(self, side) for side in (0, 1)]
        self.associations = [theirs.RTCSctpTransport(end) for end in self.ends]
        self._queue, self._count = [], 0

    @property
    def now(self):
        return round(self.loop.moment * SECOND)

    def send(self, side, data):
        self.sent[side].append((self.now, len(data)))
        delay = self.fate(side, len(data))
        if delay is not None:
            self._count += 1
            heapq.heappush(self._queue, (self.now + delay, self._count, 1 - side, data))
            self.loop.call_later(delay / SECOND, self._arrive)

    def _arrive(self):
        _, _, side, data = heapq.heappop(self._queue)
        task = asyncio.ensure_future(self.ends[side].receiver._handle_data(data))
        task.add_done_callback(lambda done: done.result())


def run_theirs(fate, sizes, *, ordered=True, retransmits=None, seed=1, limit=600.0, every=0.0):
    """Send messages of these sizes, one each ``every`` seconds, or as fast as may be; returns when each arrived
    (seconds from the first sending, by number) and what each side sent (ns, size)."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    rng = random.Random(seed)

    async def main():
        net = TheirNet(fate)
        got = {}
        for side in (0, 1):
            await net.associations[side].start(theirs.RTCSctpCapabilities(maxMessageSize=1 << 20), 5000)
        channel = RTCDataChannel(
            net.associations[0],
            RTCDataChannelParameters(label="x", ordered=ordered, maxRetransmits=retransmits),
        )

        def opened(other):
            other.on("message", lambda data: got.setdefault(int.from_bytes(data[:4], "big"), loop.moment))

        net.associations[1].on("datachannel", opened)
        while channel.readyState != "open":
            await asyncio.sleep(0.01)
        begin = loop.moment
        for number, size in enumerate(sizes):
            while channel.bufferedAmount >= 256 << 10:
                await asyncio.sleep(0.001)
            channel.send(number.to_bytes(4, "big") + bytes(size - 4))
            if every:
                await asyncio.sleep(every)
        quiet = loop.moment
        while len(got) < len(sizes) and loop.moment < limit and (retransmits is None or loop.moment < quiet + 20):
            await asyncio.sleep(0.01)
        return {number: at - begin for number, at in got.items()}, net.sent

    with (
        mock.patch.object(theirs.time, "time", lambda: loop.moment),
        mock.patch.object(theirs, "random32", lambda: rng.getrandbits(32)),
    ):
        try:
            return loop.run_until_complete(main())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            asyncio.set_event_loop(None)
