"""The DHCP server of the LAN (RFC 2131): one client, one lease, no memory but whether it was taken.

=====================  ===============================================================================================
DISCOVER               OFFER
REQUEST                ACK, whatever address or server it names; but one that asks to *keep* an address that is not
                       ours to give (INIT-REBOOT, RENEWING, REBINDING: it names no server) gets a NAK
INFORM                 ACK without an address, to the address that the client has
RELEASE, DECLINE       no answer; the lease counts as free
=====================  ===============================================================================================

Answers go out twice, broadcast first and then straight to the client, so that clients hear it that have no
address yet and such that take only what is addressed to them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..errors import Malformed
from ..limits import MTU_DEFAULT
from ..wire import dhcp
from ..wire.address import IP4_ANY, IP4_BROADCAST, MAC_BROADCAST, prefix_mask
from ..wire.dhcp import Dhcp, ip_option, u8_option, u32_option
from .config import LanConfig


@dataclass(frozen=True)
class Reply:
    """One DHCP message to send, from port 67 to port 68."""

    dst_mac: bytes
    dst: bytes
    payload: bytes


class DhcpServer:
    """Answers one request at a time."""

    def __init__(self, config: LanConfig):
        self._config = config
        self.leased_to: bytes | None = None
        """Hardware address of the client whose REQUEST was acknowledged last; None when the lease is free."""
        self.counters: Counter[str] = Counter()

    def handle(self, payload: bytes) -> list[Reply]:
        """The answers to one UDP payload at port 67. What is no DHCP request is counted and gets none."""
        try:
            request = Dhcp.parse(payload)
        except Malformed as error:
            self.counters[error.reason] += 1
            return []
        kind = request.message_type
        if request.op != dhcp.BOOT_REQUEST or kind is None or not dhcp.DISCOVER <= kind <= dhcp.INFORM:
            self.counters["dhcp-no-request"] += 1
            return []
        self.counters[dhcp.TYPE_NAMES[kind].lower()] += 1
        if kind == dhcp.DISCOVER:
            return self._both(request, self._lease(request, dhcp.OFFER))
        if kind == dhcp.REQUEST:
            if self._keeps_wrong_address(request):
                return self._refuse(request)
            self.leased_to = request.chaddr
            return self._both(request, self._lease(request, dhcp.ACK))
        if kind == dhcp.INFORM:
            return self._inform(request)
        if kind in (dhcp.RELEASE, dhcp.DECLINE) and self.leased_to == request.chaddr:
            self.leased_to = None
        return []

    def _keeps_wrong_address(self, request: Dhcp) -> bool:
        if self._config.dhcp_always_ack or request.option(dhcp.OPT_SERVER_ID) is not None:
            return False
        wanted = request.address(dhcp.OPT_REQUESTED_IP) or request.ciaddr
        return wanted not in (IP4_ANY, self._config.guest)

    def _network(self) -> tuple[dhcp.Option, ...]:
        config = self._config
        return (
            ip_option(dhcp.OPT_SERVER_ID, config.gateway),
            (dhcp.OPT_MASK, prefix_mask(config.prefix_len)),
            ip_option(dhcp.OPT_ROUTER, config.gateway),
            ip_option(dhcp.OPT_DNS, config.gateway),
        )

    def _lease(self, request: Dhcp, kind: int) -> Dhcp:
        seconds = self._config.lease_time
        # Told only when it is not what every client assumes, so that the usual answer stays the usual bytes.
        mtu = (dhcp.u16_option(dhcp.OPT_MTU, self._config.mtu),) if self._config.mtu != MTU_DEFAULT else ()
        return Dhcp(
            op=dhcp.BOOT_REPLY,
            xid=request.xid,
            flags=request.flags,
            chaddr=request.chaddr,
            yiaddr=self._config.guest,
            siaddr=self._config.gateway,
            options=(
                u8_option(dhcp.OPT_MESSAGE_TYPE, kind),
                *self._network(),
                u32_option(dhcp.OPT_LEASE_TIME, seconds),
                u32_option(dhcp.OPT_T1, seconds // 2),
                u32_option(dhcp.OPT_T2, seconds * 7 // 8),
                *mtu,
            ),
        )

    def _both(self, request: Dhcp, answer: Dhcp) -> list[Reply]:
        payload = answer.emit()
        replies = [Reply(MAC_BROADCAST, IP4_BROADCAST, payload)]
        if request.chaddr != MAC_BROADCAST:
            replies.append(Reply(request.chaddr, self._config.guest, payload))
        return replies

    def _refuse(self, request: Dhcp) -> list[Reply]:
        """RFC 2131 section 4.3.2: broadcast, since the client's address is wrong here."""
        self.counters["nak"] += 1
        answer = Dhcp(
            op=dhcp.BOOT_REPLY,
            xid=request.xid,
            flags=request.flags,
            chaddr=request.chaddr,
            options=(
                u8_option(dhcp.OPT_MESSAGE_TYPE, dhcp.NAK),
                ip_option(dhcp.OPT_SERVER_ID, self._config.gateway),
            ),
        )
        return [Reply(MAC_BROADCAST, IP4_BROADCAST, answer.emit())]

    def _inform(self, request: Dhcp) -> list[Reply]:
        """RFC 2131 section 4.3.5: parameters only, sent to the address that the client says it has."""
        if request.ciaddr == IP4_ANY or request.chaddr == MAC_BROADCAST:
            return []
        answer = Dhcp(
            op=dhcp.BOOT_REPLY,
            xid=request.xid,
            flags=request.flags,
            chaddr=request.chaddr,
            ciaddr=request.ciaddr,
            siaddr=self._config.gateway,
            options=(u8_option(dhcp.OPT_MESSAGE_TYPE, dhcp.ACK), *self._network()),
        )
        return [Reply(request.chaddr, request.ciaddr, answer.emit())]
