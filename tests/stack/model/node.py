"""What every part of the model stands on: the configuration, what went out, and the counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from . import wire

BROADCAST = b"\xff" * 6
NEVER = (1 << 62) - 1
SECOND, MS = 1_000_000_000, 1_000_000
PAYLOAD, PURE_ACK, HANDSHAKE, RETRANSMISSION, KEEPALIVE, ARP, ICMP = 1, 2, 3, 4, 6, 7, 10
"""Why a frame was sent."""


@dataclass(frozen=True)
class Sent:
    """One frame that left."""

    frame: bytes
    flow: int
    """Slot of the connection, or -1."""
    cause: int


class Node:
    """The lowest part: frames out, as long as the transmit ring has room for them.

    ``secrets`` is what no outsider can know: the key of initial sequence numbers and the first IP identification.
    """

    def __init__(self, config: Any, isn_key: bytes, ip_id: int, now: int):
        self.config = config
        self.isn_key = isn_key
        self.ip_id = ip_id
        self.now = now
        self.room = 1 << 30
        """Frames that the transmit ring still takes."""
        self.headroom = 0
        """How many of these connections leave to what cannot wait."""
        self.out: list[Sent] = []
        self.up: list[tuple] = []
        """Datagrams and messages handed up."""
        self.drops: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.set_address(config.addresses, config.router4, config.router6)

    def set_address(self, addresses: tuple, router4: bytes | None, router6: bytes | None) -> None:
        self.own4 = [(a, p) for a, p in addresses if len(a) == 4]
        self.own6 = [(a, p) for a, p in addresses if len(a) == 16]
        self.router4, self.router6 = router4, router6

    @property
    def gateway(self) -> bool:
        return self.config.role == "gateway"

    @property
    def framed(self) -> bool:
        """Whether there is a link layer."""
        return self.config.medium == "ethernet"

    def drop(self, reason: str, number: int = 1) -> None:
        self.drops[reason] += number

    def emit(self, mac: bytes, kind: int, payload: bytes, flow: int, cause: int) -> bool:
        """Send one packet; False without room."""
        if self.room <= 0:
            return False
        self.room -= 1
        frame = wire.ethernet(mac, self.config.mac, kind, payload) if self.framed else payload
        self.out.append(Sent(frame, flow, cause))
        self.counts["frames-out"] += 1
        self.counts["bytes-out"] += len(frame)
        return True

    def emit_ip(
        self, mac: bytes, src: bytes, dst: bytes, protocol: int, payload: bytes, flow: int, cause: int, **more: Any
    ) -> bool:
        """Send one IP packet. The identification counts up with every IPv4 packet that is sent."""
        if self.room <= 0:
            return False
        if len(dst) == 4:
            self.ip_id = (self.ip_id + 1) & 0xFFFF
            more["ident"] = self.ip_id
        return self.emit(
            mac, 0x0800 if len(dst) == 4 else 0x86DD, wire.ip(src, dst, protocol, payload, **more), flow, cause
        )
