"""How the guests of a lab reach a proxy over real WebSockets: one that the lab serves itself, or one elsewhere.

The lab's own proxy is the one that ``aero-lab proxy`` serves, on loopback, on a port that the kernel picks, behind a
token that the lab minted. Its worlds are the lab's: the same services, the same policy. Each guest has a tunnel of its
own, and the proxy learns from the tunnel's URL whose it is. Everything lives on the lab's one thread.

A guest's cable is its tunnel: when that is lost and made again, the guest is told that its cable was pulled.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from .engine import RealEngine, TimedOut
from .errors import UsageError
from .paths.base import Path, Tap, Wire
from .paths.keepalive import Keepalive
from .paths.l2_tunnel import frame_limits
from .transports.websocket import Identities
from .transports.websocket_client import WebSocketClient, plain_url

if TYPE_CHECKING:
    from .audit import Audit
    from .capture import Recorder
    from .driver import Driver
    from .egress.contract import Egress, EgressSink
    from .lan import Lan, LanConfig
    from .server.proxy import Proxy, Session
    from .worlds import HostWorld

LAN_PATIENCE = 30.0
"""Seconds until the first frame of a guest that was plugged in must have reached the lab's own proxy."""


class TunnelWorld:
    """The lab's world for one tunnel, whose sockets wake that tunnel's driver."""

    def __init__(self, world: HostWorld, ipv6: bool):
        self._world, self._ipv6 = world, ipv6

    def lan_config(self, mtu: int = 0) -> LanConfig:
        return self._world.lan_config(mtu, self._ipv6)

    def make_egress(self, sink: EgressSink, rng: Any, now: int) -> Egress:
        return self._world.make_egress(sink, rng, now)

    def close(self) -> None:
        self._world.close()


class ServerSide:
    """The proxy's half of a guest's pipeline, whichever tunnel it comes by just now."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.identities: Identities | None = None
        """For the client's end, when it is in this process."""
        self._last: Lan | None = None

    def opened(self, session: Session) -> None:
        self.session = session
        self.identities, session.end.identities = Identities.pair()

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
    def has_lan(self) -> bool:
        return self._last is not None or (self.session is not None and self.session.lan is not None)


class WebSocketTunnels:
    """The tunnels of one lab.

    Parameters
    ----------
    engine, world, path, recorder, audit: the lab's.
    nic: tap at the guests' end, where it is not the recorder itself.
    url, token: of a proxy elsewhere; without it the lab serves its own.
    max_segment: limit of the TCP segments' size, so that their number tells what a network would carry; 0 for none.
    """

    def __init__(
        self,
        engine: RealEngine,
        world: HostWorld | None,
        path: Path,
        recorder: Recorder,
        audit: Audit | None,
        *,
        nic: Tap | None = None,
        mtu: int,
        ipv6: bool,
        seed: int,
        url: str | None = None,
        token: str | None = None,
        max_segment: int = 0,
    ):
        if path.letter != "C":
            raise UsageError(f"option {path.letter} does not run over WebSocket so far")
        self._engine, self._path, self._nic, self._mtu = engine, path, nic or recorder, mtu
        self._clients: list[tuple[WebSocketClient, asyncio.Task]] = []
        self._sides: dict[str, ServerSide] = {}
        self._token, self._max_segment = token, max_segment
        self.proxy: Proxy | None = None
        if url is None:
            assert world is not None, "a proxy of one's own needs a world behind it"
            self.proxy = self._serve(world, recorder, audit, ipv6, seed)
            url = self.proxy.url
        self.url = url
        engine.on_close(self._close)

    def _serve(self, world: HostWorld, recorder: Recorder, audit: Audit | None, ipv6: bool, seed: int) -> Proxy:
        from .server.config import ServerConfig
        from .server.proxy import Proxy

        def world_for(driver: Driver) -> Any:
            return TunnelWorld(world.for_driver(driver), ipv6)

        config = ServerConfig(bind="127.0.0.1:0", mtu=self._mtu, max_connections=0)
        proxy = Proxy(config, world_for, audit, recorder, seed)
        proxy.on_session = self._opened
        asyncio.run_coroutine_threadsafe(proxy.start(), self._engine.loop).result()
        return proxy

    def _opened(self, session: Session) -> None:
        side = self._sides.get(session.query.get("guest", ""))
        if side is not None:
            side.opened(session)

    def expect(self, number: int) -> ServerSide:
        """The proxy's half of the tunnel that guest ``number`` is going to open at :meth:`url_for`."""
        side = self._sides[str(number)] = ServerSide()
        return side

    def url_for(self, number: int) -> str:
        """Where that guest's tunnel is: the lab's own proxy learns from it whose it is."""
        return _with(self.url, f"guest={number}") if self.proxy is not None else self.url

    def connect(self, number: int, host: Any, rng: Callable[[str], random.Random]) -> tuple:
        """On the engine's thread: the pipeline from a host's NIC to its proxy: client, server, links."""
        side = self.expect(number) if self.proxy is not None else ServerSide()
        before = 0

        def carrier(up: bool) -> None:
            nonlocal before
            if up and tunnel.end is not None:
                tunnel.end.identities = side.identities
            if up and before and hasattr(host, "relink"):
                host.relink()
            before += up

        tunnel = WebSocketClient(
            self.url_for(number),
            self._engine.driver.wake,
            rng("websocket"),
            token=self._token,
            most=frame_limits(self._mtu).message,
            carrier=carrier,
            max_segment=self._max_segment,
        )
        client: Any = self._path.client(Wire(host.nic_tx, host.nic_rx), tunnel, self._nic, self._mtu)
        keepalive = Keepalive(client.control, tunnel, rng("keepalive"))
        self._engine.add(host, client, keepalive)
        self._clients.append((tunnel, self._engine.loop.create_task(tunnel.run())))
        return client, side, ()

    def wait(self) -> None:
        """On the user's thread: until the newest guest's tunnel is open and its network is there."""
        client, side = self._engine.call(lambda: (self._clients[-1][0], next(reversed(self._sides.values()), None)))

        async def ready() -> None:
            await client.opened()
            if side is not None:
                async with asyncio.timeout(LAN_PATIENCE):
                    while not side.has_lan:
                        await asyncio.sleep(0.001)

        waiting = asyncio.run_coroutine_threadsafe(ready(), self._engine.loop)
        try:
            waiting.result()
        except BaseException as error:
            waiting.cancel()
            self._engine.call(client.close)  # a guest that nobody got must not go on trying
            if isinstance(error, TimeoutError):
                raise TimedOut(f"no frame of the guest reached the proxy within {LAN_PATIENCE:g} s") from None
            raise

    @property
    def clients(self) -> list[WebSocketClient]:
        """The guests' ends of their tunnels, in the order in which they were plugged in."""
        return [client for client, _ in self._clients]

    @property
    def where(self) -> str:
        """The proxy's address, as it may be shown."""
        return plain_url(self.url)

    def _close(self) -> None:
        """When the engine closes: its loop stands still but for this."""
        self._engine.loop.run_until_complete(self._stop())

    async def _stop(self) -> None:
        for client, _ in self._clients:
            client.close()
        await asyncio.gather(*(task for _, task in self._clients), return_exceptions=True)
        if self.proxy is not None:
            await self.proxy.stop()


def _with(url: str, parameter: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, parameter)))))
