"""How the guests of a lab reach a proxy over real WebSockets: one that the lab serves itself, or one elsewhere.

The lab's own proxy is the one that ``aero-lab proxy`` serves, on loopback, on a port that the kernel picks, behind a
token that the lab minted. Its worlds are the lab's: the same services, the same policy. Each guest has a tunnel of its
own, and the proxy learns from the tunnel's URL whose it is. Everything lives on the lab's one thread.

A guest's cable is its tunnel: when that is lost and made again, the guest is told that its cable was pulled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ..engine import RealEngine, TimedOut
from ..errors import UsageError
from ..hops.relay import why_not as relay_why_not
from ..limits import MTU_DEFAULT
from ..paths.base import Channel, ClientHalf, Path
from ..paths.keepalive import Keepalive
from ..transports.doh import DohClient
from ..transports.tcp_info import WireCount
from ..transports.websocket import Identities
from ..transports.websocket_client import WebSocketClient, plain_url, tunnel_url
from .base import Bench, Tunnels

if TYPE_CHECKING:
    from ..driver import Driver
    from ..egress.contract import Egress, EgressSink
    from ..hops import Relay
    from ..lan import Lan, LanConfig
    from ..link import Link
    from ..server.call import Call
    from ..server.proxy import Proxy, Session
    from ..server.relay_session import RelayConnection
    from ..worlds import HostWorld

Client = WebSocketClient | DohClient
LAN_PATIENCE = 30.0
"""Seconds until the first frame of a guest that was plugged in must have reached the lab's own proxy."""


class TunnelWorld:
    """The lab's world for one tunnel, whose sockets wake that tunnel's driver."""

    def __init__(self, world: HostWorld, mtu: int, ipv6: bool):
        self._world, self._mtu, self._ipv6 = world, mtu, ipv6

    def lan_config(self, mtu: int = 0) -> LanConfig:
        return self._world.lan_config(mtu or self._mtu, self._ipv6)

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        return self._world.make_egress(sink, rng, now)

    def make_stack(self, config: LanConfig, rng: Any, now: int) -> Any:
        return self._world.make_stack(config, rng, now)

    def close(self) -> None:
        self._world.close()


class ServerSide:
    """The proxy's half of a guest's pipeline, whichever connections it comes by just now."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.identities: Identities | None = None
        """For the client's end, when it is in this process."""
        self._last: Lan | None = None
        self._relays: list[RelayConnection] = []
        self._past: Counter[str] = Counter()

    def opened(self, connection: Any) -> None:
        """A connection of this guest has come."""
        if hasattr(connection, "relay"):
            self._relays.append(connection)
            return
        self.session = connection
        self.identities, connection.end.identities = Identities.pair()

    @property
    def lan(self) -> Lan:
        """The LAN of the latest tunnel that has one."""
        newest = self.session.lan if self.session is not None else None
        self._last = newest or self._last
        if self._last is None and self.session is not None:
            raise UsageError("no frame of this guest has reached the proxy yet, so it has no network there")
        if self._last is None:
            raise UsageError("this guest's network is at another proxy, which alone knows its flows and counters")
        return self._last

    @property
    def counters(self) -> dict[str, int]:
        """Those of that LAN, or of the relay's connections."""
        if not self._relays and not self._past:
            return self.lan.counters
        live = []
        for connection in self._relays:
            if connection.closed:
                self._past.update(connection.counters)
            else:
                live.append(connection)
        self._relays = live
        sums = Counter(self._past)
        for connection in live:
            sums.update(connection.counters)
        return dict(sums)

    @property
    def has_lan(self) -> bool:
        return self._last is not None or (self.session is not None and self.session.lan is not None)


class WebSocketTunnels(Tunnels):
    """WebSockets to the proxy at the bench's URL, or to one that these tunnels serve themselves."""

    carried = "websocket"
    """What a relay has to carry, see :class:`aero_lab.hops.Relay`."""

    def __init__(self, bench: Bench):
        super().__init__(bench)
        self._engine: RealEngine = bench.engine  # type: ignore[assignment]
        self._clients: list[tuple[Client, asyncio.Task]] = []
        self._newest: list[Client] = []
        self._further: dict[WebSocketClient, asyncio.Task] = {}
        self._past_wire = WireCount()
        self._sides: dict[str, ServerSide] = {}
        self.proxy: Proxy | None = None
        self.relay: Relay | None = None
        """What makes the link, if there is one."""
        self.url = bench.url or self._serve()
        self._engine.on_close(self._close)
        if bench.link is not None:
            self._put_between(bench.link)

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        if virtual:
            return "sockets live in real time: transport='websocket' without virtual=True"
        return relay_why_not(cls.carried, link) if link is not None else ""

    def _put_between(self, link: Link) -> None:
        """From now on guests find the proxy behind a link."""
        from ..hops import Relay

        if link == type(link)():
            return
        if self.proxy is None:
            raise UsageError("link= stands before a lab's own proxy, and this one is elsewhere")
        self.relay = Relay(self.url, link, self.carried, seed=self.bench.seed)
        self._engine.on_close(self.relay.close)
        self.url = self.relay.url

    def _serve(self) -> str:
        from ..server.config import ServerConfig
        from ..server.proxy import Proxy

        bench, world = self.bench, self.bench.world
        assert world is not None, "a proxy of one's own needs a world behind it"

        def world_for(driver: Driver) -> Any:
            return TunnelWorld(world.for_driver(driver), bench.mtu, bench.ipv6)  # type: ignore[attr-defined]

        config = ServerConfig(
            bind=f"{bench.address}:0", mtu=bench.mtu, max_connections=0, dns_qps_per_ip=0, tcp_proxy_max_connections=0,
            **self._of_proxy(),
        )  # fmt: skip
        self.proxy = proxy = Proxy(config, world_for, bench.audit, bench.recorder, bench.seed)
        proxy.on_connection = self._came
        asyncio.run_coroutine_threadsafe(proxy.start(), self._engine.loop).result()
        return proxy.url

    def _of_proxy(self) -> dict[str, Any]:
        """Further settings of our own proxy."""
        return {}

    def _came(self, call: Call, connection: Any) -> None:
        side = self._sides.get(call.query.get("guest", ""))
        if side is not None:
            side.opened(connection)

    def expect(self, number: int) -> ServerSide:
        """The proxy's half of the tunnel that guest ``number`` is going to open at :meth:`url_for`."""
        side = self._sides[str(number)] = ServerSide()
        return side

    def url_for(self, number: int) -> str:
        """Where that guest's tunnel is: the lab's own proxy learns from it whose it is."""
        return _with(self.url, f"guest={number}") if self.proxy is not None else self.url

    def connect(self, number: int, name: str, host: Any) -> tuple[ClientHalf, Any, tuple]:
        bench = self.bench
        side = self.expect(number) if self.proxy is not None else ServerSide()
        channels = bench.path.channels(bench.mtu)
        ends = {each.name: self._dial(each, number, host, side, lambda: half) for each in channels}
        further = _Further(self, number) if bench.path.dials else None
        half = bench.near(host, number, ends, further)
        self._newest = list(ends.values())
        keepers = [
            Keepalive(talk, ends[channel], bench.rng(number)("keepalive"))  # type: ignore[arg-type]
            for channel, talk in half.talks.items()
        ]
        self._engine.add(host, half, *keepers)
        return half, side, ()

    def _dial(self, channel: Channel, number: int, host: Any, side: ServerSide, half: Any) -> Client:
        """A WebSocket for a channel, made anew whenever it is lost; or HTTP."""
        url, wake, before = self.url_for(number), self._engine.driver.wake, 0
        if channel.http:
            other = tunnel_url(url, self.bench.token, "/dns-json") if channel.route == "/dns-json" else None
            asks = DohClient(tunnel_url(url, self.bench.token, "/dns-query"), wake, other)
            self._clients.append((asks, self._engine.loop.create_task(asks.run())))
            return asks

        def carrier(up: bool) -> None:
            nonlocal before
            if up and tunnel.end is not None:
                tunnel.end.identities = side.identities
            half().carrier(channel.name, up, self._engine.now())
            if up and before and self.bench.path.cable and hasattr(host, "relink"):
                host.relink()
            before += up

        tunnel = WebSocketClient(
            url,
            wake,
            self.bench.rng(number)("websocket"),
            token=self.bench.token,
            most=channel.most,
            carrier=carrier,
            max_segment=self.bench.max_segment,
            route=channel.route,
            protocols=channel.subprotocols,
        )
        self._clients.append((tunnel, self._engine.loop.create_task(tunnel.run())))
        return tunnel

    def open(self, channel: Channel, number: int, query: str) -> WebSocketClient:
        """One more WebSocket of guest ``number``, which is not made again when it ends."""
        client = WebSocketClient(
            _with(self.url_for(number), query),
            self._engine.driver.wake,
            self.bench.rng(number)("websocket"),
            token=self.bench.token,
            most=channel.most,
            reconnect=False,
            max_segment=self.bench.max_segment,
            route=channel.route,
            protocols=channel.subprotocols,
        )
        task = self._engine.loop.create_task(client.run())
        self._further[client] = task
        task.add_done_callback(lambda _: self._ended(client))
        return client

    def _ended(self, client: WebSocketClient) -> None:
        self._further.pop(client, None)
        self._past_wire = self._past_wire.plus(client.wire or WireCount())

    def wait(self) -> None:
        """On the user's thread: until the newest guest's tunnel is open and its network is there."""
        clients, side = self._engine.call(lambda: (self._newest, next(reversed(self._sides.values()), None)))

        async def ready() -> None:
            for client in clients:
                await client.opened()
            if side is not None and self.bench.path.lan_side == "proxy":
                async with asyncio.timeout(LAN_PATIENCE):
                    while not side.has_lan:
                        await asyncio.sleep(0.001)

        waiting = asyncio.run_coroutine_threadsafe(ready(), self._engine.loop)
        try:
            waiting.result()
        except BaseException as error:
            waiting.cancel()
            for client in clients:  # a guest that nobody got must not go on trying
                self._engine.call(client.close)
            if isinstance(error, TimeoutError):
                raise TimedOut(f"no frame of the guest reached the proxy within {LAN_PATIENCE:g} s") from None
            raise

    def link_counters(self) -> dict[str, dict[str, int]]:
        if self.relay is None:
            return {}
        counters = self.relay.counters()
        return {way: counters[way] for way in ("up", "down")}

    @property
    def clients(self) -> list[Client]:
        """The guests' ends of their tunnels, in the order in which they were plugged in."""
        return [client for client, _ in self._clients]

    @property
    def where(self) -> str:
        """The proxy's address, as it may be shown."""
        return plain_url(self.url)

    @property
    def caption(self) -> str:
        return f"WebSocket to {self.where}"

    @property
    def wire(self) -> WireCount | None:
        """What all connections cost on the wire so far; None where nobody counts. Names over HTTP are not in it."""
        clients = [*(client for client, _ in self._clients), *self._further]
        counted = [found for client in clients if (found := client.wire) is not None]
        total = self._past_wire
        for each in counted:
            total = total.plus(each)
        return total if counted or total.segments_out else None

    def _close(self) -> None:
        """When the engine closes: its loop stands still but for this."""
        self._engine.loop.run_until_complete(self._stop())

    async def _stop(self) -> None:
        for client, _ in self._clients:
            client.close()
        for client in self._further:
            client.close()
        tasks = [*(task for _, task in self._clients), *self._further.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.proxy is not None:
            await self.proxy.stop()


class _Further:
    """Opens further channels of one guest."""

    def __init__(self, tunnels: WebSocketTunnels, number: int):
        self._tunnels, self._number = tunnels, number

    def __call__(self, channel: Channel, query: str) -> WebSocketClient:
        return self._tunnels.open(channel, self._number, query)


def _with(url: str, parameter: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, parameter)))))
