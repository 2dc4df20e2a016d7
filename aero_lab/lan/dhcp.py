"""The DHCP server of the LAN (RFC 2131): one address to give, to one client at a time.

Theory of operation
-------------------
A message is one of nine inputs; a REQUEST is five of them, told apart as table 4 of the RFC does. The one lease is
free, the sender's own, or another client's; a client is known by its hardware address, since firmware and system of one
machine share that and not their client identifiers. :data:`TABLE` has an action for every pair.

* OFFER and ACK go out twice, broadcast first and then straight to the client, so that clients hear it that have no
  address yet and such that take only what is addressed to them. RENEWING and REBINDING have one: one copy, to it.
* A REQUEST that names a server is acknowledged with our address, whatever it names: there is no other server here. One
  that names none wants to *keep* an address; if that is not ours to give it gets a NAK, so that the client asks afresh.
* While the lease is another client's, nobody else gets an offer, and a REQUEST gets a NAK. It is given up by RELEASE,
  DECLINE, when its time is over, or when its holder was not heard of for :data:`DHCP_SILENCE`: guests come back with
  another hardware address and without having said goodbye.
* Relayed messages (``giaddr``) are dropped: no other network hangs on this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ..bounds import DHCP_CLIENT_ID, DHCP_SILENCE
from ..errors import Malformed
from ..limits import MTU_DEFAULT, SECOND
from ..wire import dhcp, udp
from ..wire.address import IP4_ANY, IP4_BROADCAST, MAC_BROADCAST, in_prefix, prefix_mask
from ..wire.dhcp import Dhcp, ip_option, text_option, u8_option, u32_option
from ..wire.ethernet import TYPE_IPV4, Ethernet
from ..wire.ipv4 import Ipv4
from .config import LanConfig


class Input(Enum):
    """What a client sent."""

    DISCOVER = auto()
    SELECTING = auto()
    """REQUEST that names a server: takes up an offer."""
    INIT_REBOOT = auto()
    """REQUEST for an address it had, which it does not use yet."""
    RENEWING = auto()
    """REQUEST for the address it uses, straight to us."""
    REBINDING = auto()
    """The same to whoever hears it."""
    BARE = auto()
    """REQUEST that names neither server nor address."""
    INFORM = auto()
    RELEASE = auto()
    DECLINE = auto()


class Lease(Enum):
    """Whose the address is, seen from the sender of a message."""

    FREE = auto()
    MINE = auto()
    OTHERS = auto()


TABLE = {
    (Lease.FREE, Input.DISCOVER): "offer",
    (Lease.FREE, Input.SELECTING): "ack",
    (Lease.FREE, Input.INIT_REBOOT): "ack_if_ours",
    (Lease.FREE, Input.RENEWING): "extend_if_ours",
    (Lease.FREE, Input.REBINDING): "extend_if_ours",
    (Lease.FREE, Input.BARE): "ack",
    (Lease.FREE, Input.INFORM): "inform",
    (Lease.FREE, Input.RELEASE): "ignore",
    (Lease.FREE, Input.DECLINE): "ignore",
    (Lease.MINE, Input.DISCOVER): "offer",
    (Lease.MINE, Input.SELECTING): "ack",
    (Lease.MINE, Input.INIT_REBOOT): "ack_if_ours",
    (Lease.MINE, Input.RENEWING): "extend_if_ours",
    (Lease.MINE, Input.REBINDING): "extend_if_ours",
    (Lease.MINE, Input.BARE): "ack",
    (Lease.MINE, Input.INFORM): "inform",
    (Lease.MINE, Input.RELEASE): "free",
    (Lease.MINE, Input.DECLINE): "free",
    (Lease.OTHERS, Input.DISCOVER): "ignore",
    (Lease.OTHERS, Input.SELECTING): "refuse_held",
    (Lease.OTHERS, Input.INIT_REBOOT): "refuse_held",
    (Lease.OTHERS, Input.RENEWING): "refuse_held",
    (Lease.OTHERS, Input.REBINDING): "refuse_held",
    (Lease.OTHERS, Input.BARE): "refuse_held",
    (Lease.OTHERS, Input.INFORM): "inform",
    (Lease.OTHERS, Input.RELEASE): "ignore",
    (Lease.OTHERS, Input.DECLINE): "ignore",
}
"""The name of a method of :class:`DhcpServer` for each pair."""
_PLAIN = {
    dhcp.DISCOVER: Input.DISCOVER,
    dhcp.INFORM: Input.INFORM,
    dhcp.RELEASE: Input.RELEASE,
    dhcp.DECLINE: Input.DECLINE,
}


def classify(request: Dhcp, unicast: bool) -> Input | None:
    """Which input a message is; None: one that clients do not send."""
    kind = request.message_type
    if request.op != dhcp.BOOT_REQUEST or kind is None:
        return None
    if kind != dhcp.REQUEST:
        return _PLAIN.get(kind)
    if request.option(dhcp.OPT_SERVER_ID) is not None:
        return Input.SELECTING
    if request.ciaddr != IP4_ANY:
        return Input.RENEWING if unicast else Input.REBINDING
    return Input.BARE if request.address(dhcp.OPT_REQUESTED_IP) in (None, IP4_ANY) else Input.INIT_REBOOT


@dataclass(frozen=True)
class Reply:
    """One DHCP message to send, from port 67 to port 68."""

    dst_mac: bytes
    dst: bytes
    payload: bytes


@dataclass(frozen=True)
class Holder:
    """Who has the lease, in the client's own words."""

    mac: bytes
    host_name: str
    """Empty when it did not tell; printable ASCII."""
    vendor_class: str
    since: int
    """Nanoseconds; the last time it was acknowledged."""


class DhcpServer:
    """Answers one message at a time.

    Parameters
    ----------
    heard: when the leased address was last heard of, nanoseconds; without it a lease holds for its whole time.
    """

    def __init__(self, config: LanConfig, heard: Callable[[], int] | None = None):
        self._config = config
        self._heard = heard
        self.holder: Holder | None = None
        """The client whose REQUEST was acknowledged last; None when the lease is free."""
        self.counters: Counter[str] = Counter()

    @property
    def leased_to(self) -> bytes | None:
        """Hardware address of the holder."""
        return None if self.holder is None else self.holder.mac

    def handle(self, payload: bytes, now: int = 0, unicast: bool = False) -> list[Reply]:
        """The answers to one UDP payload at port 67. What is no DHCP request is counted and gets none.

        Parameters
        ----------
        unicast: whether it was sent to our address rather than to everybody.
        """
        try:
            request = Dhcp.parse(payload)
        except Malformed as error:
            self.counters[error.reason] += 1
            return []
        what = classify(request, unicast)
        if what is None:
            self.counters["dhcp-no-request"] += 1
            return []
        if request.giaddr != IP4_ANY:
            self.counters["dhcp-relayed"] += 1
            return []
        self.counters[dhcp.TYPE_NAMES[request.message_type or 0].lower()] += 1
        return getattr(self, f"_{TABLE[self.lease(request.chaddr, now), what]}")(request, now)

    def packet(self, reply: Reply, ident: int) -> bytes:
        """A reply as it goes onto the network: a frame, or on a medium without frames an IP packet."""
        config = self._config
        datagram = udp.Udp(dhcp.SERVER_PORT, dhcp.CLIENT_PORT, reply.payload).emit(config.gateway, reply.dst)
        packet = Ipv4(config.gateway, reply.dst, udp.PROTOCOL, datagram, id=ident, df=True).emit()
        if config.medium != "ethernet":
            return packet
        return Ethernet(reply.dst_mac, config.mac, TYPE_IPV4, packet).emit()

    def lease(self, mac: bytes, now: int) -> Lease:
        """Whose the lease is at ``now``, seen from the client with this hardware address."""
        holder = self.holder
        if holder is None or now - holder.since >= self._config.lease_time * SECOND:
            return Lease.FREE
        if holder.mac == mac:
            return Lease.MINE
        if self._config.dhcp_always_ack:
            return Lease.FREE
        if self._heard is not None and now - max(holder.since, self._heard()) >= DHCP_SILENCE:
            return Lease.FREE
        return Lease.OTHERS

    # Actions --------------------------------------------------------------------------------------------------------

    def _offer(self, request: Dhcp, now: int) -> list[Reply]:
        return self._both(request, self._answer(request, dhcp.OFFER))

    def _ack(self, request: Dhcp, now: int) -> list[Reply]:
        self._grant(request, now)
        return self._both(request, self._answer(request, dhcp.ACK))

    def _ack_if_ours(self, request: Dhcp, now: int) -> list[Reply]:
        if self._ours(request.address(dhcp.OPT_REQUESTED_IP)):
            return self._ack(request, now)
        return self._refuse(request, "not an address of this network")

    def _extend_if_ours(self, request: Dhcp, now: int) -> list[Reply]:
        if not self._ours(request.ciaddr):
            return self._refuse(request, "not an address of this network")
        if request.ciaddr != self._config.guest:  # as the original does: tell it the right one, where it may hear it
            return self._ack(request, now)
        self._grant(request, now)
        return [Reply(request.chaddr, request.ciaddr, self._answer(request, dhcp.ACK, ciaddr=request.ciaddr).emit())]

    def _refuse_held(self, request: Dhcp, now: int) -> list[Reply]:
        self.counters["held"] += 1
        return self._refuse(request, "the address is in use by another client")

    def _inform(self, request: Dhcp, now: int) -> list[Reply]:
        """RFC 2131 section 4.3.5: parameters only, to the address that the client says it has, if it can have that."""
        config, address = self._config, request.ciaddr
        own = in_prefix(address, config.gateway, config.prefix_len) and address != config.gateway
        if not own or request.chaddr[0] & 1:
            self.counters["inform-elsewhere"] += 1
            return []
        return [Reply(request.chaddr, address, self._answer(request, dhcp.ACK, ciaddr=address, lease=False).emit())]

    def _free(self, request: Dhcp, now: int) -> list[Reply]:
        if request.message_type == dhcp.RELEASE and request.ciaddr not in (IP4_ANY, self._config.guest):
            return self._ignore(request, now)
        self.holder = None
        return []

    def _ignore(self, request: Dhcp, now: int) -> list[Reply]:
        self.counters["ignored"] += 1
        return []

    # Inside ---------------------------------------------------------------------------------------------------------

    def _ours(self, address: bytes | None) -> bool:
        return self._config.dhcp_always_ack or address == self._config.guest

    def _grant(self, request: Dhcp, now: int) -> None:
        if self.holder is not None and self.holder.mac != request.chaddr:
            self.counters["new-holder"] += 1
        name, vendor = (_printable(request.text(code)) for code in (dhcp.OPT_HOST_NAME, dhcp.OPT_VENDOR_CLASS))
        self.holder = Holder(request.chaddr, name, vendor, now)

    def _answer(self, request: Dhcp, kind: int, ciaddr: bytes = IP4_ANY, lease: bool = True) -> Dhcp:
        """An OFFER or ACK. The options are told whatever the client's parameter list asks for: these it needs, and we
        have no others. What the configuration adds stands behind them, so that the usual answer stays the usual
        bytes; and last the client's identifier, if it sent one (RFC 6842)."""
        config = self._config
        seconds = config.lease_time
        times = (
            u32_option(dhcp.OPT_LEASE_TIME, seconds),
            u32_option(dhcp.OPT_T1, seconds // 2),
            u32_option(dhcp.OPT_T2, seconds * 7 // 8),
        )
        return Dhcp(
            op=dhcp.BOOT_REPLY,
            xid=request.xid,
            flags=request.flags,
            chaddr=request.chaddr,
            ciaddr=ciaddr,
            yiaddr=config.guest if lease else IP4_ANY,
            siaddr=config.gateway,
            options=(
                u8_option(dhcp.OPT_MESSAGE_TYPE, kind),
                ip_option(dhcp.OPT_SERVER_ID, config.gateway),
                (dhcp.OPT_MASK, prefix_mask(config.prefix_len)),
                ip_option(dhcp.OPT_ROUTER, config.gateway),
                ip_option(dhcp.OPT_DNS, config.gateway),
                *(times if lease else ()),
                *((dhcp.u16_option(dhcp.OPT_MTU, config.mtu),) if config.mtu != MTU_DEFAULT else ()),
                *((text_option(dhcp.OPT_DOMAIN_NAME, config.domain),) if config.domain else ()),
                *_identifier(request),
            ),
        )

    def _both(self, request: Dhcp, answer: Dhcp) -> list[Reply]:
        payload = answer.emit()
        replies = [Reply(MAC_BROADCAST, IP4_BROADCAST, payload)]
        if not request.chaddr[0] & 1:
            replies.append(Reply(request.chaddr, self._config.guest, payload))
        return replies

    def _refuse(self, request: Dhcp, why: str) -> list[Reply]:
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
                text_option(dhcp.OPT_MESSAGE, why),
                *_identifier(request),
            ),
        )
        return [Reply(MAC_BROADCAST, IP4_BROADCAST, answer.emit())]


def _identifier(request: Dhcp) -> tuple[dhcp.Option, ...]:
    held = request.option(dhcp.OPT_CLIENT_ID)
    return ((dhcp.OPT_CLIENT_ID, held),) if held is not None and len(held) <= DHCP_CLIENT_ID else ()


def _printable(text: str | None) -> str:
    return "".join(character for character in (text or "")[:255] if " " <= character <= "~")
