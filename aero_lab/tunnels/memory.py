"""Both halves in one process, joined by rings or by UDP on loopback, with a simulated link in between if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..bounds import DATAGRAM_MOST
from ..limits import MTU_DEFAULT
from ..paths.base import Channel, ClientHalf, Far, Path
from ..transports.base import TransportEnd
from ..transports.impaired import impaired_pair
from ..transports.memory import memory_pair
from .base import Bench, Tunnels

if TYPE_CHECKING:
    from ..link import Link

Ends = dict[str, TransportEnd]


class MemoryTunnels(Tunnels):
    """Rings in memory. With a link a message may be lost, late or doubled, as the link says."""

    def __init__(self, bench: Bench):
        super().__init__(bench)
        self.made: dict[int, tuple[Ends, Ends]] = {}
        """The ends of each guest's channels, near and far, by the guest's number."""

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        if path.dials:
            return f"option {path.letter} opens a channel for each connection so: use transport='websocket'"
        if link is not None and not virtual and any(channel.ordered for channel in path.channels(mtu)):
            return (
                f"option {path.letter} needs channels that lose nothing, and a link in memory loses: use virtual time"
            )
        return ""

    def connect(self, number: int, name: str, host: Any) -> tuple[ClientHalf, Any, tuple]:
        bench = self.bench
        near, far, links = self._ends(number)
        self.made[number] = near, far
        further = self._further(number)
        client = bench.near(host, number, near, further)
        server: Any = bench.path.server(Far(far, bench.network(number, name), bench.recorder, bench.mtu))
        self._joined(server, further)
        bench.engine.add(host, client, *links, server)
        for end in (*near.values(), *far.values()):
            bench.engine.on_close(end.close)
        return client, server, links

    def _further(self, number: int) -> Any:
        """What opens further channels of guest ``number``, for options that have such; None: there are none here."""

    def _joined(self, server: Any, further: Any) -> None:
        """The server half is there: further channels are its."""

    def _ends(self, number: int) -> tuple[Ends, Ends, tuple]:
        """Both ends of each channel, and the nodes in between."""
        near, far, links = {}, {}, ()
        channels = self.bench.path.channels(self.bench.mtu)
        if self.bench.link is not None and any(channel.ordered for channel in channels):
            return self._across(number, channels)
        for channel in channels:
            if self.bench.link is None:
                near[channel.name], far[channel.name] = memory_pair()
            else:
                rng = self.bench.rng(number)("link")
                near[channel.name], far[channel.name], links = impaired_pair(
                    self.bench.link, rng, start=self.bench.engine.now()
                )
        return near, far, links

    def _across(self, number: int, channels: tuple[Channel, ...]) -> tuple[Ends, Ends, tuple]:
        """Some channels must lose nothing: TCP of our own carries those over the link, and all share it."""
        from ..transports.simulated import SimulatedHop

        bench = self.bench
        assert bench.link is not None
        now = bench.engine.now()
        hop = SimulatedHop(bench.link, bench.rng(number)("link"), now)
        near, far = {}, {}
        for index, channel in enumerate(channels):
            near[channel.name], far[channel.name] = hop.open(index, channel.ordered, now, channel.most)
        return near, far, (*hop.directions, hop)

    @property
    def caption(self) -> str:
        return "memory"


class DatagramTunnels(MemoryTunnels):
    """Real datagrams on loopback: nothing is promised."""

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        if virtual:
            return "sockets live in real time: transport='datagram' without virtual=True"
        for channel in path.channels(mtu):
            if channel.ordered:
                return f"option {path.letter} needs channels that lose nothing, and datagrams are lost"
            if channel.most > DATAGRAM_MOST:
                return f"a datagram holds {DATAGRAM_MOST:,} bytes: too few for frames of MTU {mtu}"
        return ""

    def _ends(self, number: int) -> tuple[Ends, Ends, tuple]:
        from ..transports.datagram import Splice, datagram_pair

        near, far, nodes = {}, {}, ()
        driver, link = self.bench.engine.driver, self.bench.link  # type: ignore[union-attr]
        for channel in self.bench.path.channels(self.bench.mtu):
            one, other = datagram_pair()
            for end in (one, other):
                driver.watch(end.wake_fd, end.clear_wake)
            near[channel.name], far[channel.name] = one, other
            if link is not None:
                guest, middle, links = impaired_pair(link, self.bench.rng(number)("link"), start=driver.now())
                self.bench.engine.on_close(one.close)
                near[channel.name] = guest
                nodes = (*links, Splice(middle, one))
        return near, far, nodes

    @property
    def caption(self) -> str:
        return "datagrams on loopback"


def ends_of(channels: tuple[Channel, ...]) -> tuple[Ends, Ends]:
    """Both ends of each channel in memory, for tests and benches."""
    pairs = {channel.name: memory_pair() for channel in channels}
    return {name: near for name, (near, _) in pairs.items()}, {name: far for name, (_, far) in pairs.items()}
