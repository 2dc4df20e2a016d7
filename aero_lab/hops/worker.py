"""The process of a hop: it stands between two ends of real sockets and does to what passes what a link does.

The parent writes one JSON object a line to standard input and reads one answer a line from standard output; the first
line says which hop this is. When the parent goes away, so does this process.

Commands: ``counters``, ``change`` (become another link for all that comes from now on), ``stop``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Callable
from typing import Any

from ..compiled.registry import unloaded
from ..driver import Driver
from ..errors import AeroLabError
from ..link import Link, LinkDirection
from .loop import precise_loop


class Hop:
    """What all hops have in common: a link on a driver of its own."""

    directions: tuple[LinkDirection, LinkDirection]

    def __init__(self, spec: dict[str, Any], driver: Driver):
        self.spec, self.driver = spec, driver
        self.link = Link.from_dict(spec["link"])
        self.rng = random.Random(f"{spec['seed']}/hop")

    async def start(self) -> dict[str, Any]:
        """Begin; what the parent has to know."""
        return {}

    async def stop(self) -> None:
        """Let go of everything."""

    def counters(self) -> dict[str, Any]:
        """What became of the frames of each direction; ``bytes_in`` are IP bytes that were put on the wire."""
        up, down = self.directions
        return {"up": up.counters, "down": down.counters}

    def change(self, link: dict[str, Any]) -> dict[str, Any]:
        """Become another link, see :meth:`aero_lab.link.LinkDirection.change`."""
        self.link = Link.from_dict(link)
        for side, direction in enumerate(self.directions):
            direction.change(self.link.stages(side), self.link.in_flight_bytes(side))
        self.driver.wake()
        return {}


class TunHop(Hop):
    """Two interfaces joined by their descriptors: every packet of one comes out of the other, or does not."""

    def __init__(self, spec: dict[str, Any], driver: Driver):
        from ..guests.tap.nic import TapNic

        super().__init__(spec, driver)
        self.near, self.far = (TapNic(fd, spec["mtu"]) for fd in spec["fds"])
        self.directions = self.link.build(
            self.rng, (self.near.nic_tx, self.far.nic_rx), (self.far.nic_tx, self.near.nic_rx),
            medium="ip", start=driver.now(),
        )  # fmt: skip
        for nic in (self.near, self.far):
            nic.attach(driver)
        driver.add(self.near, self.far, *self.directions)

    def counters(self) -> dict[str, Any]:
        refused = {"near_refused": self.near.counters, "far_refused": self.far.counters}
        return {**super().counters(), **refused}


def make_hop(spec: dict[str, Any], driver: Driver) -> Hop:
    """The hop that the parent asked for."""
    if spec["kind"] == "tun":
        return TunHop(spec, driver)
    from .relay_streams import StreamHop
    from .relay_webrtc import WebRtcHop

    return {"stream": StreamHop, "webrtc": WebRtcHop}[spec["kind"]](spec, driver)


def main() -> None:
    # Whatever prints by accident must not end up between the answers.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        out.write(json.dumps(value) + "\n")

    lines = sys.stdin.buffer
    spec = json.loads(lines.readline())
    loop = precise_loop()
    asyncio.set_event_loop(loop)
    over = loop.create_future()

    def failed(error: BaseException) -> None:
        if not over.done():
            over.set_exception(error)

    driver = Driver(loop, failed=failed)
    hop = make_hop(spec, driver)
    for kernel in unloaded("aero_lab.link", "aero_lab.rings", "aero_lab.guests.tap"):
        kernel.prepare()  # else the first packet of each kind would pay for loading
    commands: dict[str, Callable[..., dict[str, Any]]] = {"counters": hop.counters, "change": hop.change}

    def obey() -> None:
        """One command: the parent waits for the answer before it sends another."""
        line = lines.readline()
        request = json.loads(line) if line else {"do": "stop"}
        name = request.pop("do")
        if name == "stop":
            if not over.done():
                over.set_result(None)
            return
        try:
            answer({"ok": True, "value": commands[name](**request)})
        except AeroLabError as error:
            answer({"ok": False, "error": str(error)})

    async def live() -> None:
        try:
            answer({"ok": True, "value": {"pid": os.getpid(), **await hop.start()}})
            loop.add_reader(0, obey)
            await over
        except AeroLabError as error:
            answer({"ok": False, "error": str(error)})
        finally:
            loop.remove_reader(0)
            await hop.stop()
            driver.stop()

    try:
        loop.run_until_complete(live())
    except (BrokenPipeError, KeyboardInterrupt):
        pass


if __name__ == "__main__":
    main()
