"""A probe of any server that speaks ``aero-l2-tunnel-v1``: ARP, DHCP if asked for, DNS, a TCP echo.

It is the smallest guest there is: it builds every frame by hand, one step after the other, and has no stack behind it.
Its TCP in particular sends all its data at once, looks at no window and never sends anything twice, so a server that
drops what lies beyond its window fails the probe. Each step has a time limit; the first that is not answered ends it.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

from ..bounds import PROBE_BYTES, PROBE_BYTES_MOST, PROBE_DATA, PROBE_SEGMENT, PROBE_STEP
from ..errors import AeroLabError, Malformed, UsageError
from ..framing.l2_tunnel import ERROR, FRAME, PING, decode, encode_frame, encode_pong
from ..rings.frame_ring import FrameRing
from ..tables import html_table
from ..transports.websocket_client import WebSocketClient, plain_url
from ..wire import dhcp, dns, tcp, udp
from ..wire.address import ip, ip_text
from ..wire.arp import REPLY, REQUEST, Arp
from ..wire.dhcp import Dhcp
from ..wire.dns import DnsMessage
from ..wire.ethernet import TYPE_ARP, TYPE_IPV4, EthernetView
from ..wire.frame import arp_frame, tcp_frame, udp_frame
from ..wire.ipv4 import Ipv4View
from ..wire.tcp import ACK, PSH, RST, SYN, Tcp, TcpView
from ..wire.udp import UdpView

T = TypeVar("T")

STATIC_MAC, DHCP_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
STATIC_ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2"
BROADCAST_MAC, ANY, BROADCAST = b"\xff" * 6, bytes(4), b"\xff" * 4
PORTS = (49152, 65534)
"""Source ports: the dynamic range."""
WINDOW = 65535
"""The window that every segment of the probe announces, whatever it holds."""
ECHO_PORT = 7


class ProbeFailed(AeroLabError):
    """A step was not answered, or not as it has to be."""


class ProbeResult(dict):
    """What the probe found: ``arp``, ``dhcp`` (None unless asked for), ``dns`` (None for an address) and ``tcp``."""

    def rows(self) -> list[tuple[str, str]]:
        """The same, one line a step."""
        told = [("ARP", f"gateway {self['arp']['gatewayMac']}")]
        if self["dhcp"]:
            told.append(("DHCP", "{ip} from {serverId}, router {router}, DNS {dns}".format(**self["dhcp"])))
        if self["dns"]:
            told.append(("DNS", "{name} is {ip}, {rttMs:.2f} ms".format(**self["dns"])))
        text = "{remoteIp}:{remotePort}, connected in {connectRttMs:.2f} ms, {throughputBytes:,} bytes and back, "
        told.append(("TCP", (text + "{throughputMbps:.1f} Mbit/s").format(**self["tcp"])))
        return told

    def _repr_html_(self) -> str:
        return html_table(("step", "answer"), self.rows())


@dataclass(frozen=True)
class Plan:
    """What is to be asked."""

    host: str
    port: int
    size: int
    dhcp: bool
    guest: bytes
    gateway: bytes
    step: float
    data: float


def probe(
    url: str,
    *,
    token: str | None = None,
    token_transport: str = "query",
    origin: str | None = "same",
    echo: str = "echo.local",
    size: int = PROBE_BYTES,
    dhcp: bool = False,
    guest: str = STATIC_ADDRESS,
    gateway: str = GATEWAY,
    step_timeout: float = PROBE_STEP,
    data_timeout: float = PROBE_DATA,
    seed: int | None = None,
) -> ProbeResult:
    """Probe the tunnel server at ``url``; raises :class:`ProbeFailed` at the first step that goes wrong.

    Parameters
    ----------
    url: of the server: ``ws://host:port``, ``http`` works too; ``/l2`` is appended unless it is there.
    token, token_transport, origin: as :class:`~aero_lab.transports.websocket_client.WebSocketClient` takes them.
    echo: ``"host"``, ``"host:port"`` or ``"address:port"`` of a TCP echo server as the guest would call it; port 7
        unless told otherwise. An address is not looked up.
    size: bytes to send there and to get back.
    dhcp: get address, router and DNS server by DHCP; else ``guest`` and ``gateway`` are used.
    step_timeout, data_timeout: seconds for a step, and for each frame of the data.
    seed: of ports, ids and sequence numbers; None takes the system's randomness.
    """
    host, port = _echo(echo)
    if not 1 <= size <= PROBE_BYTES_MOST:
        raise UsageError(f"a probe sends 1 to {PROBE_BYTES_MOST:,} bytes, not {size:,}")
    if not (step_timeout > 0 and data_timeout > 0):
        raise UsageError("the time limits of a probe must be above 0 seconds")
    own, router = ip(guest), ip(gateway)
    if len(own) != 4 or len(router) != 4:
        raise UsageError("the probe's own network is IPv4")
    plan = Plan(host, port, size, dhcp, own, router, step_timeout, data_timeout)
    rng = random.SystemRandom() if seed is None else random.Random(seed)

    async def run() -> ProbeResult:
        woken = asyncio.Event()
        client = WebSocketClient(
            url, woken.set, rng, token=token, token_transport=token_transport, origin=origin, reconnect=False
        )
        running = asyncio.create_task(client.run())
        try:
            await client.opened()
            return await _Prober(client, woken, plan, rng).run()
        finally:
            client.close()
            await running

    return _wait_for(run())


def _echo(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(ECHO_PORT)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is no echo server: write for instance echo.local:7")
    return host, int(port)


def _wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end; where a loop runs already, as in a notebook, on a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(asyncio.run(coroutine))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="aero-lab-probe", daemon=True).start()
    return done.result()


class _Prober:
    """One probe over an open tunnel."""

    def __init__(self, client: WebSocketClient, woken: asyncio.Event, plan: Plan, rng: random.Random):
        self.client, self.woken, self.plan, self.rng = client, woken, plan, rng
        self.mac = DHCP_MAC if plan.dhcp else STATIC_MAC
        self.address, self.router, self.dns_server = plan.guest, plan.gateway, plan.gateway
        self.router_mac = BROADCAST_MAC
        self.outgoing = FrameRing(64, 1 << 20)
        self.answers_arp = not plan.dhcp

    async def run(self) -> ProbeResult:
        lease = await self.lease() if self.plan.dhcp else None
        arp = await self.arp()
        names = await self.lookup()
        target = ip(names["ip"]) if names is not None else ip(self.plan.host)
        return ProbeResult(arp=arp, dhcp=lease, dns=names, tcp=await self.echo(target))

    # The steps ------------------------------------------------------------------------------------------------------

    async def lease(self) -> dict[str, Any]:
        """DISCOVER, OFFER, REQUEST, ACK."""
        began = perf_counter()
        xid = self.rng.getrandbits(32)
        await self.send(self.dhcp_frame(xid, dhcp.u8_option(dhcp.OPT_MESSAGE_TYPE, dhcp.DISCOVER)))
        offer = await self.expect(self.dhcp_answer(xid, dhcp.OFFER), "DHCP offer")
        server = offer.address(dhcp.OPT_SERVER_ID)
        if server is None:
            raise ProbeFailed("the DHCP offer names no server")
        await self.send(
            self.dhcp_frame(
                xid,
                dhcp.u8_option(dhcp.OPT_MESSAGE_TYPE, dhcp.REQUEST),
                dhcp.ip_option(dhcp.OPT_REQUESTED_IP, offer.yiaddr),
                dhcp.ip_option(dhcp.OPT_SERVER_ID, server),
            )
        )
        ack = await self.expect(self.dhcp_answer(xid, dhcp.ACK, dhcp.NAK), "DHCP acknowledgement")
        if ack.message_type == dhcp.NAK:
            raise ProbeFailed("the DHCP server refused the address that it had offered")
        router, resolver = ack.address(dhcp.OPT_ROUTER), ack.address(dhcp.OPT_DNS)
        if router is None or resolver is None or ack.yiaddr == ANY:
            raise ProbeFailed("the DHCP acknowledgement lacks an address, a router or a DNS server")
        self.address, self.router, self.dns_server = ack.yiaddr, router, resolver
        self.answers_arp = True
        return {
            "ip": ip_text(self.address),
            "router": ip_text(router),
            "dns": ip_text(resolver),
            "serverId": ip_text(server),
            "rttMs": (perf_counter() - began) * 1e3,
        }

    async def arp(self) -> dict[str, Any]:
        """Who is the router?"""

        def answer(frame: EthernetView) -> Arp | None:
            if frame.type != TYPE_ARP:
                return None
            packet = Arp.parse(frame.payload)
            return packet if packet.op == REPLY and packet.spa == self.router else None

        await self.send(arp_frame(Arp.request(self.mac, self.address, self.router)))
        reply = await self.expect(answer, f"ARP answer from {ip_text(self.router)}")
        self.router_mac = reply.sha
        return {"gatewayMac": reply.sha.hex()}

    async def lookup(self) -> dict[str, Any] | None:
        """The address of the echo server; None when that was given."""
        try:
            ip(self.plan.host)
            return None
        except UsageError:
            pass
        port, identity = self.rng.randint(*PORTS), self.rng.getrandbits(16)
        query = DnsMessage.query(identity, self.plan.host)

        def answer(frame: EthernetView) -> DnsMessage | None:
            message = self.datagram(frame, self.dns_server, dns.PORT, port)
            if message is None:
                return None
            reply = DnsMessage.parse(message)
            same = reply.id == identity and reply.is_response and len(reply.questions) == 1
            return reply if same and _name(reply.questions[0].name) == _name(self.plan.host) else None

        began = perf_counter()
        await self.send_udp(self.dns_server, port, dns.PORT, query.emit())
        reply = await self.expect(answer, f"DNS answer from {ip_text(self.dns_server)}")
        rtt = (perf_counter() - began) * 1e3
        found = [record.rdata for record in reply.answers if record.type == dns.A]
        if not found:
            code = dns.RCODE_NAMES[reply.rcode] if reply.rcode < len(dns.RCODE_NAMES) else str(reply.rcode)
            raise ProbeFailed(f"DNS has no address for {self.plan.host}: {code}")
        return {"name": self.plan.host, "ip": ip_text(found[0]), "rttMs": rtt}  # type: ignore[arg-type]

    async def echo(self, target: bytes) -> dict[str, Any]:
        """Connect, send everything at once, and take it back in order."""
        where = f"{ip_text(target)}:{self.plan.port}"
        port, isn = self.rng.randint(*PORTS), self.rng.getrandbits(32)
        payload = bytes(range(256)) * (self.plan.size // 256 + 1)
        payload = payload[: self.plan.size]

        def segment(flags: int, seq: int, ack: int, data: bytes = b"") -> bytes:
            own = Tcp(port, self.plan.port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, WINDOW, payload=data)
            return tcp_frame(self.mac, self.router_mac, self.address, target, own, df=False)

        def reset_checked(frame: EthernetView) -> TcpView | None:
            got = self.segment(frame, target, port)
            if got is not None and got.flags & RST:
                raise ProbeFailed(f"{where} refused or reset the connection")
            return got

        def opened(frame: EthernetView) -> TcpView | None:
            got = reset_checked(frame)
            right = got is not None and got.flags & (SYN | ACK) == SYN | ACK and got.ack == (isn + 1) & 0xFFFFFFFF
            return got if right else None

        began = perf_counter()
        await self.send(segment(SYN, isn, 0))
        answer = await self.expect(opened, f"SYN-ACK from {where}")
        connected = (perf_counter() - began) * 1e3
        expected, received = (answer.seq + 1) & 0xFFFFFFFF, bytearray()
        await self.send(segment(ACK, isn + 1, expected))

        async def talk() -> None:
            for at in range(0, len(payload), PROBE_SEGMENT):
                data = payload[at : at + PROBE_SEGMENT]
                await self.send(segment(PSH | ACK, isn + 1 + at, expected, data))

        def in_order(frame: EthernetView) -> bytes | None:
            got = reset_checked(frame)
            right = got is not None and got.flags & ACK and got.seq == expected
            return (bytes(got.payload) or None) if got is not None and right else None

        began = perf_counter()
        talking = asyncio.create_task(talk())
        try:
            while len(received) < len(payload):
                what = f"byte {len(received):,} of {len(payload):,} to come back from {where}"
                data = await self.expect(in_order, what, self.plan.data)
                received += data
                expected = (expected + len(data)) & 0xFFFFFFFF
                await self.send(segment(ACK, isn + 1 + len(payload), expected))
            seconds = perf_counter() - began
            await talking
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
        if received != payload:
            at = next((i for i, (a, b) in enumerate(zip(received, payload)) if a != b), len(payload))
            raise ProbeFailed(f"{where} echoed something else from byte {at:,} on")
        return {
            "remoteIp": ip_text(target),
            "remotePort": self.plan.port,
            "connectRttMs": connected,
            "throughputBytes": len(payload),
            "throughputMbps": len(payload) * 8 / seconds / 1e6,
            "ok": True,
        }

    # Frames ---------------------------------------------------------------------------------------------------------

    def dhcp_frame(self, xid: int, *options: tuple[int, bytes]) -> bytes:
        wanted = bytes((dhcp.OPT_MASK, dhcp.OPT_ROUTER, dhcp.OPT_DNS))
        message = Dhcp(dhcp.BOOT_REQUEST, xid, self.mac, (*options, (dhcp.OPT_PARAMETER_LIST, wanted)))
        data = message.emit(dhcp.BOOTP_SIZE)
        ports = dhcp.CLIENT_PORT, dhcp.SERVER_PORT
        return udp_frame(self.mac, BROADCAST_MAC, ANY, BROADCAST, *ports, data, df=False)

    def dhcp_answer(self, xid: int, *kinds: int) -> Callable[[EthernetView], Dhcp | None]:
        def answer(frame: EthernetView) -> Dhcp | None:
            message = self.datagram(frame, None, dhcp.SERVER_PORT, dhcp.CLIENT_PORT)
            if message is None:
                return None
            reply = Dhcp.parse(message)
            return reply if reply.xid == xid and reply.message_type in kinds else None

        return answer

    async def send_udp(self, target: bytes, srcport: int, dstport: int, payload: bytes) -> None:
        ends = self.mac, self.router_mac, self.address, target
        await self.send(udp_frame(*ends, srcport, dstport, payload, df=False))

    def packet(self, frame: EthernetView, protocol: int, source: bytes | None) -> Ipv4View | None:
        if frame.type != TYPE_IPV4:
            return None
        packet = Ipv4View(frame.payload)
        right = packet.protocol == protocol and (source is None or packet.src == source)
        return packet if right else None

    def datagram(self, frame: EthernetView, source: bytes | None, srcport: int, dstport: int) -> memoryview | None:
        packet = self.packet(frame, udp.PROTOCOL, source)
        if packet is None:
            return None
        datagram = UdpView(packet.payload)
        return datagram.payload if (datagram.srcport, datagram.dstport) == (srcport, dstport) else None

    def segment(self, frame: EthernetView, source: bytes, port: int) -> TcpView | None:
        packet = self.packet(frame, tcp.PROTOCOL, source)
        if packet is None:
            return None
        segment = TcpView(packet.payload)
        return segment if (segment.srcport, segment.dstport) == (self.plan.port, port) else None

    # The tunnel -----------------------------------------------------------------------------------------------------

    async def send(self, frame: bytes) -> None:
        await self.send_message(encode_frame(frame))

    async def send_message(self, message: bytes) -> None:
        """Wait for room if there is none."""
        async with asyncio.timeout(self.plan.data):
            while not self.outgoing.push(message):
                self.client.send(self.outgoing, 0)
                if self.client.peer_closed:
                    raise self.gone()
                await asyncio.sleep(0)
        self.client.send(self.outgoing, 0)

    async def expect(self, wanted: Callable[[EthernetView], T | None], what: str, limit: float = 0.0) -> T:
        """The first frame that ``wanted`` makes something of; others are ignored, broken ones too."""
        limit = limit or self.plan.step
        try:
            async with asyncio.timeout(limit):
                while True:
                    frame = await self.frame()
                    try:
                        view = EthernetView(frame)
                        if self.asks_for_us(view):
                            await self.send(arp_frame(Arp.parse(view.payload).reply(self.mac), view.src))
                        found = wanted(view)
                    except Malformed:
                        continue
                    if found is not None:
                        return found
        except TimeoutError:
            raise ProbeFailed(f"no {what} within {limit:g} s") from None

    def asks_for_us(self, frame: EthernetView) -> bool:
        if not self.answers_arp or frame.type != TYPE_ARP:
            return False
        packet = Arp.parse(frame.payload)
        return packet.op == REQUEST and packet.tpa == self.address

    async def frame(self) -> bytes:
        """The next frame that the server sends."""
        while True:
            message = self.client.received.pop()
            if message is None:
                if self.client.peer_closed or not self.client.connected:
                    raise self.gone()
                self.woken.clear()
                self.client.send(self.outgoing, 0)
                await self.woken.wait()
                continue
            self.client.taken()
            try:
                told = decode(message.data)
            except Malformed as error:
                raise ProbeFailed(f"the server broke the protocol: {error}") from None
            if told.type == FRAME:
                return told.payload
            if told.type == PING:
                await self.send_message(encode_pong(told.payload))
            elif told.type == ERROR:
                code, text = told.error
                raise ProbeFailed(f"the server reports an error: {text}" + (f" ({code})" if code is not None else ""))

    def gone(self) -> ProbeFailed:
        return ProbeFailed(f"{plain_url(self.client.url)} ended the tunnel: {self.client.error or 'without a word'}")


def _name(text: str) -> str:
    return text.rstrip(".").lower()
