"""A WebRTC peer of aiortc's (BSD), and what the lab needs of it that it does not offer.

**Addresses.** aiortc gathers candidates at every address of the host but loopback. Here they are those that were
asked for: a proxy bound to loopback must not open sockets on the network, and a namespace with nothing but ``lo`` has
no other.

**The receive window.** aiortc hands each message over at once and considers it gone; whoever cannot take more has no
way to say so. :class:`_Association` takes what its owner holds off the window it promises, and once that is used up
it discards further DATA without acknowledging it, as RFC 9260 section 6.2 lets a receiver do that has no room: the
sender, who may be one that does not look at the window, sends it again.

**What it cost.** The IP bytes of a connection are those of its datagrams with 28 bytes of header each (48 over IPv6),
counted where they pass the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import aioice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import RTCSctpTransport
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from ..bounds import RTC_HELD
from .peer import LOOPBACK, Channel, Description, IceCandidate, Peer, PeerFailed
from .tcp_info import WireCount

IP_UDP = {4: 20 + 8, 6: 40 + 8}
"""Header bytes of a datagram."""


class _Connection(aioice.Connection):
    """ICE at given addresses; counts datagrams."""

    addresses: Sequence[str]
    counted: list[int]

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Any]:
        found = await super().get_component_candidates(component, list(self.addresses), timeout)
        for protocol in self._protocols:
            if not isinstance(protocol.transport, _Counting):
                protocol.transport = _Counting(protocol.transport, protocol, self.counted)  # type: ignore[assignment]
        return found


class _Counting:
    """A datagram transport that counts: out datagrams and IP bytes, in datagrams and IP bytes."""

    def __init__(self, transport: Any, protocol: Any, counted: list[int]):
        self._transport, self._counted = transport, counted
        address = transport.get_extra_info("sockname")[0]
        self._header = IP_UDP[6 if ":" in address else 4]
        received = protocol.datagram_received

        def count(data: Any, sender: Any) -> None:
            counted[2] += 1
            counted[3] += len(data) + self._header
            received(data, sender)

        protocol.datagram_received = count

    def sendto(self, data: Any, address: Any = None) -> None:
        self._counted[0] += 1
        self._counted[1] += len(data) + self._header
        self._transport.sendto(data, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Association(RTCSctpTransport):
    """SCTP whose receive window shrinks by what its user holds."""

    holding = 0
    discarded = 0

    async def _receive_data_chunk(self, chunk: Any) -> None:
        if self.holding >= RTC_HELD:
            self.discarded += 1
            self._sack_needed = True
            return
        await super()._receive_data_chunk(chunk)

    def hold(self, size: int) -> None:
        full = self.holding >= RTC_HELD
        self.holding += size
        self._advertised_rwnd -= size
        if full and self.holding < RTC_HELD:
            self._sack_needed = True
            asyncio.ensure_future(self._send_sack())


class AiortcChannel(Channel):
    """A data channel of aiortc's."""

    def __init__(self, channel: Any):
        super().__init__()
        self._channel = channel
        self.label, self.protocol = channel.label, channel.protocol
        self.ordered = channel.ordered
        self.max_retransmits, self.max_life_ms = channel.maxRetransmits, channel.maxPacketLifeTime
        # Through self, so that callbacks may be set later than aiortc's own.
        channel.on("message", lambda message: self.on_message(message))
        channel.on("bufferedamountlow", lambda: self.on_room())
        channel.on("open", lambda: self.on_open())
        channel.on("close", lambda: self.on_close())

    @property
    def open(self) -> bool:
        return self._channel.readyState == "open"

    @property
    def closed(self) -> bool:
        return self._channel.readyState in ("closing", "closed")

    @property
    def buffered(self) -> int:
        return self._channel.bufferedAmount

    def tell_room(self, threshold: int) -> None:
        self._channel.bufferedAmountLowThreshold = threshold

    def send(self, message: bytes | str) -> None:
        self._channel.send(message)

    def held(self, size: int) -> None:
        self._channel.transport.hold(size)

    def close(self) -> None:
        if not self.closed:
            self._channel.close()


class AiortcPeer(Peer):
    """A peer of aiortc's, reachable at ``addresses``."""

    library = "aiortc"

    def __init__(self, addresses: Sequence[str] = LOOPBACK):
        super().__init__()
        self._addresses = tuple(addresses)
        self._counted = [0, 0, 0, 0]
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peer.on("datachannel", lambda channel: self.on_channel(AiortcChannel(channel)))
        self._peer.on("connectionstatechange", lambda: self.on_state(self.state))
        self._closed = False

    @property
    def state(self) -> str:
        return self._peer.connectionState

    @property
    def wire(self) -> WireCount:
        out, out_bytes, into, into_bytes = self._counted
        return WireCount(out_bytes, into_bytes, out, into)

    @property
    def candidates(self) -> list[IceCandidate]:
        sctp = self._peer.sctp
        if sctp is None:
            return []
        found = sctp.transport.transport.iceGatherer.getLocalCandidates()
        return [IceCandidate("candidate:" + candidate_to_sdp(each), sctp.mid, 0) for each in found]

    def channel(
        self,
        label: str,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        max_life_ms: int | None = None,
        protocol: str = "",
    ) -> AiortcChannel:
        made = self._peer.createDataChannel(
            label,
            max_life_ms,
            max_retransmits,
            ordered=ordered,
            protocol=protocol,  # fmt: skip
        )
        self._adapt()
        return AiortcChannel(made)

    async def offer(self) -> Description:
        await self._peer.setLocalDescription(await self._peer.createOffer())
        return self._described()

    async def answer(self, offer: Description) -> Description:
        if offer.type != "offer":
            raise PeerFailed(f"an offer was wanted, not {offer.type!r}")
        await self._remote(offer)
        if self._peer.sctp is None:
            raise PeerFailed("the offer has no data channels")
        self._adapt()
        try:
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except Exception as error:  # it reads the peer's words as it goes, and fails in many ways over wrong ones
            raise PeerFailed(f"the offer cannot be answered: {_words(error)}") from None
        return self._described()

    async def accept(self, answer: Description) -> None:
        if answer.type != "answer":
            raise PeerFailed(f"an answer was wanted, not {answer.type!r}")
        await self._remote(answer)

    async def add_candidate(self, candidate: IceCandidate) -> None:
        try:
            if not candidate.candidate:
                return await self._peer.addIceCandidate(None)
            parsed = candidate_from_sdp(candidate.candidate.removeprefix("candidate:"))
            parsed.sdpMid, parsed.sdpMLineIndex = candidate.mid, candidate.index
            await self._peer.addIceCandidate(parsed)
        except Exception as error:
            raise PeerFailed(f"{candidate.candidate[:100]!r} is no candidate: {_words(error)}") from None

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(ConnectionError):
                await self._peer.close()

    async def _remote(self, description: Description) -> None:
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(description.sdp, description.type))
        except Exception as error:  # its parser asserts, indexes and converts
            raise PeerFailed(f"the {description.type} makes no sense: {_words(error)}") from None

    def _adapt(self) -> None:
        """Give aiortc's transports, as soon as there are any, the habits described above."""
        sctp = self._peer.sctp
        if sctp is not None and not isinstance(sctp, _Association):
            sctp.__class__ = _Association
            connection: Any = sctp.transport.transport.iceGatherer._connection
            connection.__class__ = _Connection
            connection.addresses, connection.counted = self._addresses, self._counted

    def _described(self) -> Description:
        local = self._peer.localDescription
        return Description("offer" if local.type == "offer" else "answer", local.sdp)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
