"""How the guests of a lab reach a proxy over real WebRTC data channels: the lab's own proxy, or one elsewhere.

Signalling is one HTTP request to the proxy (``/webrtc/offer``); then both peers speak UDP, on loopback when the proxy
is the lab's own. All channels of a guest share one connection. What a channel promises is the transport's choice where
the option leaves it open: in order, in any order, or in any order and never sent again.

A connection that is lost is not made again: such a guest's cable stays out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

from ..bounds import RTC_OPEN
from ..errors import UsageError
from ..hops.relay import why_not as relay_why_not
from ..limits import MTU_DEFAULT
from ..paths.base import Channel, ClientHalf, Path
from ..transports.data_channel import DataChannelEnd
from ..transports.peer import LIBRARIES, Description, Peer, PeerFailed, make_peer, missing
from ..transports.sightings import Unordered
from ..transports.tcp_info import WireCount
from ..transports.websocket import Identities
from ..transports.websocket_client import ConnectFailed, reason, tunnel_url
from .base import Bench
from .websocket import ServerSide, WebSocketTunnels

if TYPE_CHECKING:
    from ..link import Link


def _library(settings: Mapping[str, Any]) -> str:
    """What stands behind the peers: what was asked for, aiortc, or what there is."""
    asked = settings.get("peer")
    return str(asked) if asked is not None else "wrtc" if missing("aiortc") and not missing("wrtc") else "aiortc"


class RtcSide(ServerSide):
    """The proxy's half of a guest's pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.near: dict[str, DataChannelEnd] = {}
        """The client's ends, by channel, when they are in this process."""

    def opened(self, session: Any) -> None:
        self.session = session
        session.on_channel = self._joined

    @property
    def counters(self) -> dict[str, int]:
        """Those of the LAN, or of what the channels are joined to."""
        return self.session.counters if self.session is not None else {}

    def _joined(self, label: str, end: DataChannelEnd) -> None:
        """Both ends are in this process: the identities of frames, which no message carries, go along."""
        if label in self.near:
            near = self.near[label]
            near.identities, end.identities = Identities.pair() if end.reliable else Unordered.pair(end.lossless)


class RtcConnection:
    """The client's end: a peer and its channels."""

    def __init__(self, peer: Peer, url: str, token: str | None):
        self.peer, self.url, self.token = peer, url, token
        self.ends: dict[str, DataChannelEnd] = {}
        self.error: str | None = None
        self._opened, self._over = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Connect, and stay until :meth:`close`; :meth:`opened` tells when there is a connection."""
        try:
            await self._connect()
            self._opened.set()
            await self._over.wait()
        finally:
            for end in self.ends.values():
                end.close()
            await self.peer.close()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(RTC_OPEN):
                await self.peer.accept(await self._signal(await self.peer.offer()))
                while not all(end.channel.open for end in self.ends.values()):
                    if self.peer.state in ("failed", "closed"):
                        raise PeerFailed(f"the connection {self.peer.state}")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            self.error = f"{self.where}: no connection within {RTC_OPEN:g} s"
        except (PeerFailed, ConnectFailed) as error:
            self.error = str(error)

    async def opened(self) -> None:
        """Wait for the connection; raises :class:`ConnectFailed`."""
        await self._opened.wait()
        if self.error is not None:
            raise ConnectFailed(self.error, for_good=True)

    @property
    def where(self) -> str:
        """Where it leads, as it may be shown."""
        return urlunsplit(urlsplit(self.url)._replace(query=""))

    @property
    def wire(self) -> WireCount | None:
        """What it cost so far, in datagrams and their IP bytes."""
        return self.peer.wire

    async def _signal(self, offer: Description) -> Description:
        said = {"sdp": {"type": offer.type, "sdp": offer.sdp}}
        headers = {"Authorization": f"Bearer {self.token}", "X-API-Key": self.token} if self.token else {}
        try:
            async with ClientSession(timeout=ClientTimeout(total=RTC_OPEN)) as session:
                async with session.post(self.url, json=said, headers=headers) as answer:
                    told = await answer.json(content_type=None)
                    if answer.status != 200:
                        text = told.get("message", "") if isinstance(told, dict) else ""
                        raise ConnectFailed(f"{self.where} refused the offer: {answer.status} {text}", for_good=True)
                    return Description("answer", told["sdp"]["sdp"])
        except (ClientError, OSError) as error:
            raise ConnectFailed(f"cannot reach {self.where}: {reason(error)}") from None
        except (ValueError, KeyError, TypeError):
            raise ConnectFailed(f"{self.where} does not speak WebRTC signalling", for_good=True) from None

    def close(self) -> None:
        """End it; :meth:`run` returns soon."""
        self._over.set()


class WebRtcTunnels(WebSocketTunnels):
    """Data channels to the proxy at the bench's URL, or to one that these tunnels serve themselves."""

    carried = "webrtc"
    ordered, max_retransmits = True, None
    """Promises of channels that may lose messages or their order."""

    def __init__(self, bench: Bench):
        self.check_settings(bench.transport_settings)
        self.library = _library(bench.transport_settings)
        if (lack := missing(self.library)) is not None:
            raise UsageError(lack)
        super().__init__(bench)

    @classmethod
    def why_not(cls, path: Path, *, virtual: bool = False, link: Link | None = None, mtu: int = MTU_DEFAULT) -> str:
        if virtual:
            return "sockets live in real time: transport='webrtc' without virtual=True"
        if path.dials:
            return f"option {path.letter} opens a channel for each connection so: use transport='websocket'"
        if link is not None and (why := relay_why_not(cls.carried, link)):
            return why
        if not any(not channel.ordered and channel.name != "udp" for channel in path.channels(mtu)):
            if not cls.ordered:
                return f"option {path.letter} has no channel that may lose messages or their order, but for datagrams"
        return missing(_library({})) or ""

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        for name in settings:
            if name != "peer":
                raise UsageError(f"the transport has no setting {name!r}; there is: peer ({' or '.join(LIBRARIES)})")
        # A library that nobody asked for by name and that is not there is a reason, see why_not, and not a mistake.
        if settings and (lack := missing(_library(settings))) is not None:
            raise UsageError(lack)

    def _of_proxy(self) -> dict[str, Any]:
        return {"webrtc_library": self.library}

    def expect(self, number: int) -> ServerSide:
        side = self._sides[str(number)] = RtcSide()
        return side

    def connect(self, number: int, name: str, host: Any) -> tuple[ClientHalf, Any, tuple]:
        bench = self.bench
        side = self.expect(number) if self.proxy is not None else RtcSide()
        peer = make_peer((bench.address,), self.library)
        connection = RtcConnection(peer, self._offer_url(number), bench.token or self._token())
        for channel in bench.path.channels(bench.mtu):
            connection.ends[channel.name] = self._channel(connection.peer, channel)
        side.near = connection.ends  # type: ignore[attr-defined]
        half = bench.near(host, number, connection.ends)
        self._engine.add(host, half)  # ICE asks by itself whether the other peer is still there
        self._clients.append((connection, self._engine.loop.create_task(connection.run())))  # type: ignore[arg-type]
        self._newest = [connection]  # type: ignore[list-item]
        return half, side, ()

    def _channel(self, peer: Peer, channel: Channel) -> DataChannelEnd:
        protocol = channel.subprotocols[0] if channel.subprotocols else ""
        if channel.name == "udp":
            made = peer.channel(channel.name, ordered=False, max_retransmits=0, protocol=protocol)
        elif channel.ordered:
            made = peer.channel(channel.name, protocol=protocol)
        else:
            made = peer.channel(
                channel.name, ordered=self.ordered, max_retransmits=self.max_retransmits, protocol=protocol
            )  # fmt: skip
        return DataChannelEnd(made, self._engine.driver.wake, most=channel.most)

    def _token(self) -> str | None:
        return dict(parse_qsl(urlsplit(self.url).query)).get("token")

    def _offer_url(self, number: int) -> str:
        parts = urlsplit(tunnel_url(self.url, None, "/webrtc/offer"))
        query = [pair for pair in parse_qsl(parts.query) if pair[0] != "token"]
        if self.proxy is not None:
            query.append(("guest", str(number)))
        scheme = "https" if parts.scheme == "wss" else "http"
        return urlunsplit(parts._replace(scheme=scheme, query=urlencode(query)))

    @property
    def caption(self) -> str:
        return f"WebRTC to {self.where}"


class UnorderedWebRtcTunnels(WebRtcTunnels):
    """The same, in any order."""

    ordered = False

    @property
    def caption(self) -> str:
        return f"WebRTC, unordered, to {self.where}"


class LossyWebRtcTunnels(UnorderedWebRtcTunnels):
    """The same, in any order and never sent again."""

    max_retransmits = 0

    @property
    def caption(self) -> str:
        return f"WebRTC, unordered and never sent again, to {self.where}"
