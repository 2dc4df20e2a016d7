"""A WebRTC peer of ``wrtc`` (BSD): Chromium's libwebrtc, and what the lab needs of it that it does not offer.

**Addresses.** libwebrtc opens sockets at every address of the host and can be told a range of ports alone. So a port
is picked that is free at the wanted addresses, :class:`_Place` occupies it at all others while candidates are
gathered, and the range is that one port: libwebrtc finds no place there and stays where it is wanted. Loopback, which
it leaves out, is switched on for the process. Candidates over TCP and such that would have a name looked up are taken
from no description and told in none.

**The receive window.** libwebrtc hands each message over at once and considers it gone, and its window cannot be
shrunk. What a receiver cannot take is held, in bounds (:class:`~.data_channel.DataChannelEnd` closes a reliable
channel beyond :data:`~aero_lab.bounds.RTC_OVERRUN`); a peer whose messages come faster than this thread takes them
loses its connection beyond :data:`~aero_lab.bounds.RTC_BACKLOG`.

**The loop.** ``wrtc`` takes its events off a mailbox only when nothing else is ready on the asyncio loop, which on a
busy loop is a hundredth of the time (9 Mbit/s where 290 can be had). Here they have their turn with all others.

**What it cost.** libwebrtc tells the datagrams and bytes of its transport, and of ICE the number of messages; these
count with the size they have between two such peers (aiortc's are up to 12 bytes shorter). What it tells may be 50 ms
old.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import ifaddr
import webrtc
import wrtc
from webrtc.utils.loops import LoopState

from ..bounds import RTC_BACKLOG, RTC_GATHER
from ..errors import UsageError
from .peer import LOOPBACK, Channel, Description, IceCandidate, Peer, PeerFailed
from .tcp_info import WireCount

HEADERS = 20 + 8
"""Of IPv4 and UDP. Over IPv6 a datagram has 20 more."""
STUN_REQUEST = {"controlling": 100, "controlled": 96}
"""Bytes of libwebrtc's connectivity check (RFC 8445 section 7), by the role of its sender."""
STUN_RESPONSE = 64
PATIENCE = 0.25
"""Seconds that a question about statistics may take; it is a matter of milliseconds."""
TRIES = 64
"""Ports that are looked at until one is free wherever it has to be."""


class _Place:
    """A port at the wanted addresses of this host, and a lock on it at all others."""

    def __init__(self, addresses: Sequence[str]):
        self._theirs: list[socket.socket] = []
        self._ours: list[socket.socket] = []
        self.port = 0
        self.problem: str | None = None
        """Why there is none."""
        here = _addresses()
        if any(ipaddress.ip_address(each).is_unspecified for each in addresses):
            return
        self._wanted = wanted = {str(ipaddress.ip_address(each)) for each in addresses}
        if missing := wanted - {at[0] for _, at in here}:
            self.problem = f"{', '.join(sorted(missing))} is no address of this host"
        elif not any(self._take(here) for _ in range(TRIES)):
            self.problem = "no UDP port is free at all addresses of this host"

    def _take(self, here: list[tuple[int, tuple[Any, ...]]]) -> bool:
        for family, at in sorted(here, key=lambda each: each[1][0] not in self._wanted):
            made = socket.socket(family, socket.SOCK_DGRAM)
            try:
                made.bind((at[0], self.port, *at[1:]))
            except OSError as error:
                made.close()
                if (
                    error.errno == errno.EADDRNOTAVAIL and at[0] not in self._wanted
                ):  # an IPv6 address that is not settled yet: open to nobody
                    continue
                self.port = 0
                self.close()
                return False
            self.port = made.getsockname()[1]
            (self._ours if at[0] in self._wanted else self._theirs).append(made)
        return True

    def yield_(self) -> None:
        """Make room at the wanted addresses; occupy it at those that have come since."""
        if self.port:
            held = {each.getsockname()[0] for each in (*self._ours, *self._theirs)}
            for family, at in _addresses():
                if at[0] not in held and at[0] not in self._wanted:
                    made = socket.socket(family, socket.SOCK_DGRAM)
                    self._theirs.append(made)
                    with contextlib.suppress(OSError):
                        made.bind((at[0], self.port, *at[1:]))
        self._open()

    def _open(self) -> None:
        while self._ours:
            self._ours.pop().close()

    def close(self) -> None:
        """Let go of the others."""
        self._open()
        while self._theirs:
            self._theirs.pop().close()


def _addresses() -> list[tuple[int, tuple[Any, ...]]]:
    """This host's: family, and what a socket is bound to but for the port."""
    found: list[tuple[int, tuple[Any, ...]]] = []
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            if isinstance(each.ip, tuple):
                found.append((socket.AF_INET6, (each.ip[0], each.ip[1], each.ip[2])))
            else:
                found.append((socket.AF_INET, (each.ip,)))
    return found


class WrtcChannel(Channel):
    """A data channel of libwebrtc's."""

    def __init__(self, channel: Any, peer: WrtcPeer):
        super().__init__()
        self._channel, self._peer = channel, peer
        self.label, self.protocol = channel.label, channel.protocol
        self.ordered = channel.ordered
        self.max_retransmits, self.max_life_ms = channel.max_retransmits, channel.max_packet_life_time
        channel.on("message", self._message)
        channel.on("bufferedamountlow", lambda _: self.on_room())
        channel.on("open", lambda _: self.on_open())
        channel.on("close", lambda _: self.on_close())

    def _message(self, event: Any) -> None:
        self._peer.heard()
        self.on_message(event.data)

    @property
    def open(self) -> bool:
        return self._channel.ready_state == "open" and not self._peer.over

    @property
    def closed(self) -> bool:
        return self._peer.over or self._channel.ready_state in ("closing", "closed")

    @property
    def buffered(self) -> int:
        return self._channel.buffered_amount

    def tell_room(self, threshold: int) -> None:
        self._channel.buffered_amount_low_threshold = threshold

    def send(self, message: bytes | str) -> None:
        try:
            self._channel.send(message)
        except TypeError as error:
            raise ValueError(str(error)) from None
        except webrtc.InvalidStateError:  # it closed, and the event that says so is on its way
            return

    def held(self, size: int) -> None:
        """libwebrtc's window knows nothing of it."""

    def close(self) -> None:
        if not self.closed:
            self._channel.close()


class WrtcPeer(Peer):
    """A peer of libwebrtc's, reachable at ``addresses``."""

    library = "wrtc"

    def __init__(self, addresses: Sequence[str] = LOOPBACK):
        super().__init__()
        _loopback()
        self._mailbox = LoopState.of(asyncio.get_running_loop()).mailbox
        LoopState.of(asyncio.get_running_loop())._others_ready = _never  # type: ignore[method-assign]
        self._place = _Place(addresses)
        ports = (self._place.port, self._place.port) if self._place.port else None
        self._peer = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(port_range=ports))
        self._peer.on("datachannel", lambda event: self.on_channel(WrtcChannel(event.channel, self)))
        self._peer.on("connectionstatechange", lambda _: self._changed())
        self._gathered = asyncio.Event()
        self._peer.on("icegatheringstatechange", lambda _: self._gathering())
        self._closed = self._left = False
        self._wire = WireCount()

    @property
    def over(self) -> bool:
        """Whether either side has ended it."""
        return self._closed or self._left

    @property
    def state(self) -> str:
        return "closed" if self.over else str(self._peer.connection_state.value)

    @property
    def wire(self) -> WireCount:
        if not self._closed and (told := self._statistics()):
            self._wire = _count(told)
        return self._wire

    @property
    def candidates(self) -> list[IceCandidate]:
        described = self._peer.local_description
        lines = _without_tcp(described.sdp).split("\r\n") if described is not None else []
        return [IceCandidate(line[2:], "0", 0) for line in lines if line.startswith("a=candidate:")]

    def channel(
        self,
        label: str,
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        max_life_ms: int | None = None,
        protocol: str = "",
    ) -> WrtcChannel:
        wanted = webrtc.RTCDataChannelInit(
            ordered=ordered, max_retransmits=max_retransmits, max_packet_life_time=max_life_ms, protocol=protocol
        )
        return WrtcChannel(self._peer.create_data_channel(label, wanted), self)

    async def offer(self) -> Description:
        return await self._described(await self._peer.create_offer())

    async def answer(self, offer: Description) -> Description:
        if offer.type != "offer":
            raise PeerFailed(f"an offer was wanted, not {offer.type!r}")
        await self._remote(offer)
        if self._peer.sctp is None and "m=application" not in offer.sdp:
            raise PeerFailed("the offer has no data channels")
        try:
            answer = await self._described(await self._peer.create_answer())
        except Exception as error:  # libwebrtc reads the peer's words as it goes
            raise PeerFailed(f"the offer cannot be answered: {_words(error)}") from None
        if self._peer.sctp is None:
            raise PeerFailed("the offer has no data channels")
        return answer

    async def accept(self, answer: Description) -> None:
        if answer.type != "answer":
            raise PeerFailed(f"an answer was wanted, not {answer.type!r}")
        await self._remote(answer)

    async def add_candidate(self, candidate: IceCandidate) -> None:
        text = candidate.candidate.removeprefix("a=")
        if text and not _sensible(text):
            raise PeerFailed(f"{text[:100]!r} is no candidate")
        if text and _dropped(text):
            return
        try:
            if not text:
                await self._peer.add_ice_candidate(None)
                return
            index = candidate.index if candidate.mid is None and candidate.index is None else candidate.index or 0
            await self._peer.add_ice_candidate(
                webrtc.RTCIceCandidateInit(candidate=text, sdp_mid=candidate.mid, sdp_m_line_index=index)
            )
        except Exception as error:
            raise PeerFailed(f"{text[:100]!r} is no candidate: {_words(error)}") from None

    async def close(self) -> None:
        if not self._closed:
            _ = self.wire
            self._closed = True
            self._place.close()
            self._peer.close()

    def heard(self) -> None:
        """A message came; whoever sends more than can be taken is let go."""
        if len(self._mailbox) > RTC_BACKLOG:
            self._leave()

    async def _remote(self, description: Description) -> None:
        kind = "offer" if description.type == "offer" else "answer"
        sdp = _without_tcp(description.sdp)
        try:
            await self._peer.set_remote_description(webrtc.RTCSessionDescriptionInit(kind, sdp))
        except Exception as error:
            raise PeerFailed(f"the {description.type} makes no sense: {_words(error)}") from None
        self._watch()

    async def _described(self, description: Any) -> Description:
        """Take it for our own, with all candidates."""
        if self._place.problem is not None:
            raise PeerFailed(self._place.problem)
        self._place.yield_()
        try:
            await self._peer.set_local_description(description)
            self._gathering()
            async with asyncio.timeout(RTC_GATHER):
                await self._gathered.wait()
        except TimeoutError:
            raise PeerFailed("no candidates could be gathered") from None
        finally:
            self._place.close()
        self._watch()
        local = self._peer.local_description
        assert local is not None
        return Description("offer" if local.type == "offer" else "answer", _without_tcp(local.sdp))

    def _gathering(self) -> None:
        if self._peer.ice_gathering_state == "complete":
            self._gathered.set()

    def _watch(self) -> None:
        """The other peer's leave shows in DTLS alone."""
        transport = self._peer.sctp
        if transport is not None and transport.transport is not None:
            transport.transport.on("statechange", lambda _: self._changed())

    def _changed(self) -> None:
        transport = self._peer.sctp
        if transport is not None and transport.transport.state in ("closed", "failed"):
            self._left = True
        self.on_state(self.state)

    def _leave(self) -> None:
        if not self._closed:
            self._left = True
            self._peer.close()
            self.on_state(self.state)

    def _statistics(self) -> list[dict[str, Any]]:
        """What libwebrtc tells of itself, asked and waited for: it answers from threads of its own."""
        box = wrtc.Mailbox()
        try:
            self._peer._native_obj.getStats(box, 1)
            until = time.monotonic() + PATIENCE
            while (told := box.take()) is None:
                if time.monotonic() > until:
                    return []
                time.sleep(0.0002)
        except Exception:  # it has just closed
            return []
        finally:
            box.close()
        return json.loads(str(told[3][0])) if told[3] and not told[2] else []


def _count(told: list[dict[str, Any]]) -> WireCount:
    transport = next((each for each in told if each.get("type") == "transport"), None)
    if transport is None:
        return WireCount()
    pairs = [each for each in told if each.get("type") == "candidate-pair"]
    asked, answered, heard, told_us = (
        sum(each[name] for each in pairs)
        for name in ("requestsSent", "responsesSent", "requestsReceived", "responsesReceived")
    )
    ours, theirs = STUN_REQUEST["controlled"], STUN_REQUEST["controlling"]
    if transport.get("iceRole") == "controlling":
        ours, theirs = theirs, ours
    out, into = transport["packetsSent"] + asked + answered, transport["packetsReceived"] + heard + told_us
    out_bytes = transport["bytesSent"] + asked * ours + answered * STUN_RESPONSE
    into_bytes = transport["bytesReceived"] + heard * theirs + told_us * STUN_RESPONSE
    return WireCount(out_bytes + out * HEADERS, into_bytes + into * HEADERS, out, into)


def _sensible(candidate: str) -> bool:
    """Whether it has the form of RFC 8839 section 5.1."""
    words = candidate.removeprefix("candidate:").split()
    return len(words) >= 8 and words[1].isdigit() and words[3].isdigit() and words[5].isdigit() and words[6] == "typ"


def _dropped(candidate: str) -> bool:
    """Whether it asks for TCP, or for a name to be looked up."""
    words = candidate.removeprefix("candidate:").split()
    if len(words) < 5:
        return False
    try:
        ipaddress.ip_address(words[4])
    except ValueError:
        return True
    return words[2].lower() != "udp"


def _without_tcp(sdp: str) -> str:
    lines = sdp.split("\r\n")
    return "\r\n".join(each for each in lines if not (each.startswith("a=candidate:") and _dropped(each[2:])))


def _loopback() -> None:
    global _allowed
    if not _allowed:
        try:
            webrtc.allow_loopback()
        except webrtc.InvalidStateError:
            raise UsageError("this process used wrtc before loopback was allowed: set WRTC_ALLOW_LOOPBACK=1") from None
        _allowed = True


def _never() -> bool:
    return False


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


_allowed = os.environ.get("WRTC_ALLOW_LOOPBACK") == "1"  # then the library has seen to it
