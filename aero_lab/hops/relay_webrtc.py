"""A relay for WebRTC connections: their datagrams are late, lost, doubled and out of order as a link says.

It answers signalling by HTTP (``/webrtc/offer``) in the server's place: it passes the offer on and the answer back,
and in each the only candidate is one of its own. So each peer believes the other at the relay, and all of ICE, DTLS and
SCTP goes through the two directions of the link, which all connections share. On the line a datagram takes 28 bytes
more, as its headers do on a network; what the link corrupts there is lost, as it would be.
"""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from ..bounds import HOP_DATAGRAMS, HOP_PEERS, HOP_SOCKET, RTC_OPEN
from ..driver import Driver
from ..limits import NEVER
from .sdp import NoCandidate, through
from .worker import Hop

HEADERS = bytes(20 + 8)
"""Of IP and UDP around a datagram."""
UP, DOWN = 0, 1
PASSED_ON = ("Authorization", "X-API-Key", "Origin", "Cookie")
"""Headers of signalling that concern the server."""


class _Peers:
    """One WebRTC connection: a socket that is the server to the client, and one that is the client to the server."""

    def __init__(self, address: str):
        self.sockets = [self._socket(address), self._socket(address)]
        self.peers: list[tuple[str, int] | None] = [None, None]
        """Where the client and the server are."""

    def _socket(self, address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            made.setsockopt(socket.SOL_SOCKET, option, HOP_SOCKET)
        made.bind((address, 0))
        return made

    def port(self, side: int) -> int:
        return self.sockets[side].getsockname()[1]

    def close(self) -> None:
        for each in self.sockets:
            each.close()


class WebRtcHop(Hop):
    """The relay, as the process of a hop runs it, and as a node of its driver."""

    name = "relay"

    def __init__(self, spec: dict[str, Any], driver: Driver):
        super().__init__(spec, driver)
        self.directions = self.link.build(self.rng, start=driver.now())
        self._peers: list[_Peers] = []
        self._counts: Counter[str] = Counter()
        target = urlsplit(spec["target"])
        assert target.hostname is not None
        self._address, self._scheme = target.hostname, "https" if target.scheme in ("wss", "https") else "http"
        self._runner: web.AppRunner | None = None
        self._client: ClientSession | None = None
        driver.add(self, *self.directions)

    async def start(self) -> dict[str, Any]:
        self._client = ClientSession(timeout=ClientTimeout(total=RTC_OPEN))
        application = web.Application()
        application.router.add_post("/{path:.*}webrtc/offer", self._offer)
        runner = self._runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self._address, 0)
        await site.start()
        where = f"{self._address}:{runner.addresses[0][1]}"
        return {"url": urlunsplit(urlsplit(self.spec["target"])._replace(netloc=where))}

    async def stop(self) -> None:
        for pair in self._peers:
            for each in pair.sockets:
                self.driver.loop.remove_reader(each)
            pair.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    def counters(self) -> dict[str, Any]:
        """As every hop's, and datagrams that the relay itself lost, by reason."""
        return {**super().counters(), "relay": dict(self._counts)}

    # Signalling -----------------------------------------------------------------------------------------------------

    async def _offer(self, request: web.Request) -> web.Response:
        if len(self._peers) >= HOP_PEERS:
            return web.json_response({"message": "the relay has no more sockets"}, status=503)
        pair = _Peers(self._address)
        try:
            asked = await request.json()
            offer, pair.peers[0] = through(str(asked["sdp"]["sdp"]), self._address, pair.port(1))
            asked["sdp"]["sdp"] = offer
            status, told = await self._pass_on(request, asked)
            if status == 200:
                told["sdp"]["sdp"], pair.peers[1] = through(str(told["sdp"]["sdp"]), self._address, pair.port(0))
        except (ValueError, KeyError, TypeError) as error:
            pair.close()
            text = str(error) if isinstance(error, NoCandidate) else "this is no offer"
            return web.json_response({"message": text}, status=400)
        except (ClientError, OSError, TimeoutError):
            pair.close()
            return web.json_response({"message": "the server does not answer"}, status=502)
        if status != 200:
            pair.close()
            return web.json_response(told, status=status)
        self._carry(pair)
        return web.json_response(told, headers={"Cache-Control": "no-store"})

    async def _pass_on(self, request: web.Request, body: Any) -> tuple[int, Any]:
        assert self._client is not None
        target = urlsplit(self.spec["target"])
        url = urlunsplit((self._scheme, target.netloc, request.path, request.query_string, ""))
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        async with self._client.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    # Datagrams ------------------------------------------------------------------------------------------------------

    def _carry(self, pair: _Peers) -> None:
        number = len(self._peers)
        self._peers.append(pair)
        for side, each in enumerate(pair.sockets):
            self.driver.loop.add_reader(each, self._readable, number, side)

    def _readable(self, number: int, side: int) -> None:
        """Datagrams of the client (side 0) go up, those of the server down."""
        pair, ring, now = self._peers[number], self.directions[side].input, self.driver.now()
        for _ in range(HOP_DATAGRAMS):
            try:
                data, sender = pair.sockets[side].recvfrom(0xFFFF)
            except BlockingIOError:
                break
            except OSError:  # nobody was at the other end, for an earlier one
                self._counts["unreachable"] += 1
                break
            if sender != pair.peers[side]:
                self._counts["stranger"] += 1
            elif not ring.push(HEADERS + data, now, flow=number):
                self._counts["no_room"] += 1
        self.driver.wake()

    def step(self, now: int) -> None:
        for way, direction in enumerate(self.directions):
            for frame in direction.output.pop_many():
                if not frame.data.startswith(HEADERS):
                    self._counts["header_corrupted"] += 1
                    continue
                pair = self._peers[frame.flow]
                to = pair.peers[1 - way]
                assert to is not None
                try:
                    pair.sockets[1 - way].sendto(frame.data[len(HEADERS) :], to)
                except BlockingIOError:
                    self._counts["socket_full"] += 1
                except OSError:
                    self._counts["unreachable"] += 1

    def poll_at(self, now: int) -> int:
        return now if any(len(direction.output) for direction in self.directions) else NEVER
