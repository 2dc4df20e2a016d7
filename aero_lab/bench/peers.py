"""Other implementations that can do the receiving work of a stack, or the nearest to it they offer.

None of them is a batch machine; each is given the same frames and does with its own classes what its users would
do: parse from Ethernet to TCP, verify both checksums, find the flow, check that the segment is next in order, take
the payload, and build the acknowledging frame for every second segment."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version

Work = Callable[[Iterable[bytes]], int]
"""Takes frames, returns how many payload bytes were accepted."""


class _Flow:
    """What a minimal receiver keeps of a connection."""

    __slots__ = ("next", "data", "owed", "out")

    def __init__(self, start: int):
        self.next, self.data, self.owed, self.out = start, bytearray(), 0, b""

    def take(self, seq: int, payload: bytes) -> bool:
        """Accept a segment in order; True when an acknowledgement is due."""
        if seq != self.next:
            return False
        if len(self.data) > 1 << 18:
            self.data.clear()
        self.data += payload
        self.next = (seq + len(payload)) & 0xFFFFFFFF
        self.owed += 1
        if self.owed == 2:
            self.owed = 0
            return True
        return False


def scapy_work() -> Work:
    from scapy.layers.inet import IP, TCP, in4_chksum
    from scapy.layers.l2 import Ether
    from scapy.utils import checksum

    flows: dict[tuple, _Flow] = {}

    def work(frames: Iterable[bytes]) -> int:
        taken = 0
        for frame in frames:
            ether = Ether(frame)
            packet = ether[IP]
            segment = packet[TCP]
            raw = frame[14 : 14 + packet.len]
            size = packet.ihl * 4
            if checksum(raw[:size]) or in4_chksum(6, packet, raw[size:]):
                continue
            payload = bytes(segment.payload)
            key = (packet.src, segment.sport, packet.dst, segment.dport)
            flow = flows.get(key) or flows.setdefault(key, _Flow(segment.seq))
            taken += len(payload)
            if flow.take(segment.seq, payload):
                answer = Ether(src=ether.dst, dst=ether.src) / IP(src=packet.dst, dst=packet.src)
                answer /= TCP(sport=segment.dport, dport=segment.sport, seq=segment.ack, ack=flow.next, flags="A")
                flow.out = bytes(answer)
        return taken

    return work


def dpkt_work() -> Work:
    import dpkt

    flows: dict[tuple, _Flow] = {}

    def work(frames: Iterable[bytes]) -> int:
        taken = 0
        for frame in frames:
            ether = dpkt.ethernet.Ethernet(frame)
            packet = ether.data
            segment = packet.data
            raw = frame[14 : 14 + packet.len]
            size = packet.hl * 4
            pseudo = packet.src + packet.dst + struct.pack("!HH", 6, packet.len - size)
            if dpkt.dpkt.in_cksum(raw[:size]) or dpkt.dpkt.in_cksum(pseudo + raw[size:]):
                continue
            key = (packet.src, segment.sport, packet.dst, segment.dport)
            flow = flows.get(key) or flows.setdefault(key, _Flow(segment.seq))
            taken += len(segment.data)
            if flow.take(segment.seq, segment.data):
                back = dpkt.tcp.TCP(
                    sport=segment.dport, dport=segment.sport, seq=segment.ack, ack=flow.next, flags=dpkt.tcp.TH_ACK
                )
                answer = dpkt.ip.IP(src=packet.dst, dst=packet.src, p=6, ttl=64, data=back)
                answer.len = len(answer)
                flow.out = bytes(dpkt.ethernet.Ethernet(src=ether.dst, dst=ether.src, data=answer))
        return taken

    return work


def pytcp_work() -> Work:
    """PyTCP's own parsers and assemblers; its sockets need its event loop and an interface."""
    from pmd_net_proto.lib.packet_rx import PacketRx  # pyright: ignore[reportMissingImports]
    from pmd_net_proto.protocols.ethernet.ethernet__assembler import (  # pyright: ignore[reportMissingImports]
        EthernetAssembler,
    )
    from pmd_net_proto.protocols.ethernet.ethernet__parser import (  # pyright: ignore[reportMissingImports]
        EthernetParser,
    )
    from pmd_net_proto.protocols.ip4.ip4__assembler import Ip4Assembler  # pyright: ignore[reportMissingImports]
    from pmd_net_proto.protocols.ip4.ip4__parser import Ip4Parser  # pyright: ignore[reportMissingImports]
    from pmd_net_proto.protocols.tcp.tcp__assembler import TcpAssembler  # pyright: ignore[reportMissingImports]
    from pmd_net_proto.protocols.tcp.tcp__parser import TcpParser  # pyright: ignore[reportMissingImports]

    flows: dict[tuple, _Flow] = {}

    def work(frames: Iterable[bytes]) -> int:
        taken = 0
        for frame in frames:
            received = PacketRx(frame)
            ether = EthernetParser(received)
            packet = Ip4Parser(received)
            segment = TcpParser(received)
            payload = bytes(segment.payload)
            key = (packet.src, segment.sport, packet.dst, segment.dport)
            flow = flows.get(key) or flows.setdefault(key, _Flow(segment.seq))
            taken += len(payload)
            if flow.take(segment.seq, payload):
                back = TcpAssembler(
                    tcp__sport=segment.dport,
                    tcp__dport=segment.sport,
                    tcp__seq=segment.ack,
                    tcp__ack=flow.next,
                    tcp__flag_ack=True,
                    tcp__win=65535,
                )
                answer = Ip4Assembler(ip4__src=packet.dst, ip4__dst=packet.src, ip4__payload=back)
                flow.out = bytes(
                    EthernetAssembler(ethernet__src=ether.dst, ethernet__dst=ether.src, ethernet__payload=answer)
                )
        return taken

    return work


PEERS: dict[str, tuple[str, Callable[[], Work]]] = {
    "scapy": ("scapy", scapy_work),
    "dpkt": ("dpkt", dpkt_work),
    "pmd-pytcp": ("pmd-pytcp", pytcp_work),
}
"""Peers by name: the distribution they come in, and what makes their work."""


def installed(distribution: str) -> bool:
    """Whether a package is there."""
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def peer_work(name: str) -> tuple[Work | None, str | None]:
    """A peer ready to work, or the reason why there is none."""
    distribution, make = PEERS[name]
    if not installed(distribution):
        return None, f"{distribution} is not installed"
    try:
        return make(), None
    except Exception as error:  # a peer of another version than ours was written for must not end the run
        return None, f"{distribution} {version(distribution)} does not work here: {type(error).__name__}: {error}"
