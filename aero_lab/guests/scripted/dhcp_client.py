"""The DHCP client (RFC 2131): a state machine that is a table, told the time, that leaves its messages in an outbox.

Theory of operation
-------------------
:data:`TRANSITIONS` says for each (state, input) which method acts and which state follows; a pair that is not there is
ignored and counted. Inputs are answers of a server (:meth:`DhcpClient.receive`), the passing of time
(:meth:`DhcpClient.timeout`, when :attr:`DhcpClient.deadline` has come) and what its owner found out
(:meth:`DhcpClient.address_checked`, :meth:`DhcpClient.restart`, :meth:`DhcpClient.release`)::

      INIT --DISCOVER--> SELECTING --OFFER/REQUEST--> REQUESTING --ACK--> CHECKING --free--> BOUND
        ^                    ^                            |NAK, silence      |taken/DECLINE     |T1
        |                    +------ PAUSING <------------+<-----------------+                  v
        |                                                                                    RENEWING <-> BOUND
        |                                                                                       |T2
        +------------------------------ NAK, lease over -------------------------------- REBINDING -> BOUND

``INIT_REBOOT`` and ``REBOOTING`` stand in for ``INIT`` to ``REQUESTING`` when an address is known from before.

Trust: an answer must carry our transaction identifier and hardware address, and an ACK or OFFER must name its server
and a usable address; anything else is counted in :attr:`DhcpClient.ignored` and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, NamedTuple

from ...errors import Malformed
from ...limits import NEVER, SECOND
from ...wire import dhcp
from ...wire.address import IP4_ANY, IP4_BROADCAST
from ...wire.dhcp import ACK, DECLINE, DISCOVER, NAK, OFFER, RELEASE, REQUEST, Dhcp
from .profiles import DhcpProfile

MINIMUM_RENEWAL_WAIT = 60 * SECOND
"""RFC 2131 section 4.4.5: repetitions in RENEWING and REBINDING come after half the time left, at least a minute."""
DECLINE_PAUSE = 10 * SECOND
"""RFC 2131 section 3.1 step 5: wait ten seconds after a DECLINE."""
NAK_PAUSE = 3 * SECOND
"""After a server took its own offer back; udhcpc waits as long, lest the two go round at the speed of the link."""
MINIMUM_LEASE = 16
"""Seconds: a shorter lease is taken to be this long, as udhcpc does, or renewing it would be all there is to do."""
INFINITE_LEASE = 0xFFFFFFFF


class State(Enum):
    """States of RFC 2131 figure 5, and three of ours: CHECKING (the probe of the address), PAUSING, RELEASED."""

    INIT = auto()
    SELECTING = auto()
    REQUESTING = auto()
    INIT_REBOOT = auto()
    REBOOTING = auto()
    CHECKING = auto()
    BOUND = auto()
    RENEWING = auto()
    REBINDING = auto()
    PAUSING = auto()
    RELEASED = auto()


class Input(Enum):
    """What can happen to the client."""

    START = auto()
    OFFER = auto()
    ACK = auto()
    NAK = auto()
    REPEAT = auto()
    """No answer in time, and another try is due."""
    SILENCE = auto()
    """No answer to the last try, or a pause is over."""
    T1 = auto()
    T2 = auto()
    EXPIRED = auto()
    FREE = auto()
    """Nobody else uses the address."""
    TAKEN = auto()
    RESTART = auto()
    """The link went away and came back."""
    RELEASE = auto()


S, I = State, Input  # noqa: E741 - short names keep the table readable
TRANSITIONS: dict[tuple[State, Input], tuple[str, State]] = {
    (S.INIT, I.START): ("_discover", S.SELECTING),
    (S.SELECTING, I.OFFER): ("_select", S.REQUESTING),
    (S.SELECTING, I.REPEAT): ("_repeat", S.SELECTING),
    (S.SELECTING, I.SILENCE): ("_pause", S.PAUSING),
    (S.REQUESTING, I.ACK): ("_take", S.CHECKING),
    (S.REQUESTING, I.NAK): ("_refused_again", S.PAUSING),
    (S.REQUESTING, I.REPEAT): ("_repeat", S.REQUESTING),
    (S.REQUESTING, I.SILENCE): ("_begin_again", S.INIT),
    (S.INIT_REBOOT, I.START): ("_ask_again", S.REBOOTING),
    (S.REBOOTING, I.ACK): ("_take", S.CHECKING),
    (S.REBOOTING, I.NAK): ("_refused", S.INIT),
    (S.REBOOTING, I.REPEAT): ("_repeat", S.REBOOTING),
    (S.REBOOTING, I.SILENCE): ("_begin_again", S.INIT),
    (S.CHECKING, I.FREE): ("_bind", S.BOUND),
    (S.CHECKING, I.TAKEN): ("_decline", S.PAUSING),
    (S.CHECKING, I.EXPIRED): ("_begin_again", S.INIT),
    (S.BOUND, I.T1): ("_renew", S.RENEWING),
    (S.BOUND, I.T2): ("_rebind", S.REBINDING),
    (S.BOUND, I.EXPIRED): ("_lose", S.INIT),
    (S.BOUND, I.TAKEN): ("_decline", S.PAUSING),
    (S.RENEWING, I.ACK): ("_extend", S.BOUND),
    (S.RENEWING, I.NAK): ("_refused", S.INIT),
    (S.RENEWING, I.REPEAT): ("_repeat", S.RENEWING),
    (S.RENEWING, I.T2): ("_rebind", S.REBINDING),
    (S.RENEWING, I.EXPIRED): ("_lose", S.INIT),
    (S.RENEWING, I.TAKEN): ("_decline", S.PAUSING),
    (S.REBINDING, I.ACK): ("_extend", S.BOUND),
    (S.REBINDING, I.NAK): ("_refused", S.INIT),
    (S.REBINDING, I.REPEAT): ("_repeat", S.REBINDING),
    (S.REBINDING, I.EXPIRED): ("_lose", S.INIT),
    (S.REBINDING, I.TAKEN): ("_decline", S.PAUSING),
    (S.PAUSING, I.SILENCE): ("_begin_again", S.INIT),
    (S.BOUND, I.RELEASE): ("_release", S.RELEASED),
    (S.RENEWING, I.RELEASE): ("_release", S.RELEASED),
    (S.REBINDING, I.RELEASE): ("_release", S.RELEASED),
    (S.RELEASED, I.RESTART): ("_reboot", S.INIT_REBOOT),
} | {
    (state, I.RESTART): ("_reboot", S.INIT_REBOOT)
    for state in (S.SELECTING, S.REQUESTING, S.REBOOTING, S.CHECKING, S.BOUND, S.RENEWING, S.REBINDING, S.PAUSING)
}
"""(state, input) -> (method that acts, next state). INIT and INIT_REBOOT start at once by themselves."""


@dataclass(frozen=True)
class Lease:
    """What a server granted."""

    address: bytes
    prefix: int
    router: bytes | None
    dns: tuple[bytes, ...]
    domain: str
    server: bytes
    started: int
    """When the request that the server granted was sent (ns): a lease counts from there (RFC 2131 section 4.4.1)."""
    renew_at: int
    """T1."""
    rebind_at: int
    """T2."""
    expires_at: int


class Message(NamedTuple):
    """A DHCP message to be sent."""

    source: bytes
    """IPv4 address it comes from: 0.0.0.0 while there is none."""
    destination: bytes
    """255.255.255.255, or the server."""
    payload: bytes


def prefix_length(mask: bytes) -> int | None:
    """Length of the prefix that a netmask stands for; None when its ones are not on the left."""
    value = int.from_bytes(mask, "big")
    length = value.bit_count()
    return length if len(mask) == 4 and value == (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF else None


def classful_prefix(address: bytes) -> int:
    """Prefix length of an address whose server named no netmask."""
    return 8 if address[0] < 128 else 16 if address[0] < 192 else 24


def usable(address: bytes) -> bool:
    """Whether a host may have this address: not 0/8, not loopback, not multicast or above."""
    return len(address) == 4 and 0 < address[0] < 224 and address[0] != 127


class DhcpClient:
    """One interface's DHCP client.

    ``rng`` gives transaction identifiers and jitter. ``known`` is an address held before: it is asked for again.
    Its owner sends what is in :attr:`outbox`, calls :meth:`timeout` at :attr:`deadline`, checks the address when
    :attr:`state` is CHECKING, and uses :attr:`lease` while that is not None.
    """

    def __init__(
        self, profile: DhcpProfile, mac: bytes, host_name: str, rng: Any, domain: str = "", known: bytes | None = None
    ):
        self.profile = profile
        self.mac = mac
        self.host_name = host_name
        self.domain = domain
        self.rng = rng
        self.state = State.INIT if known is None else State.INIT_REBOOT
        self.lease: Lease | None = None
        self.offered: Lease | None = None
        """What was granted but is still being checked."""
        self.known = known
        self.outbox: list[Message] = []
        self.ignored: Counter[str] = Counter()
        """Answers and inputs that changed nothing, by reason."""
        self.attempts = 0
        self.xid = 0
        self._message: tuple[int, tuple[int, ...], bytes, bytes] | None = None
        self._began = self._sent = 0
        self._repeat_at = NEVER
        self._server = IP4_ANY
        self._answer: Lease | None = None

    # Inputs ---------------------------------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """Begin to look for an address."""
        self._input(Input.START, now)

    def restart(self, now: int) -> None:
        """The link is new: ask for the same address again (INIT-REBOOT), from the beginning when there was none."""
        self._input(Input.RESTART, now)

    def release(self, now: int) -> None:
        """Give the address back."""
        self._input(Input.RELEASE, now)

    def address_checked(self, free: bool, now: int) -> None:
        """The outcome of the probe that CHECKING asks for, or (``free=False``) the loss of an address in use."""
        self._input(Input.FREE if free else Input.TAKEN, now)

    def receive(self, payload: bytes, now: int) -> None:
        """The contents of a datagram for port 68."""
        try:
            message = Dhcp.parse(payload)
        except Malformed as error:
            self.ignored[error.reason] += 1
            return
        kind = message.message_type
        if message.op != dhcp.BOOT_REPLY or message.chaddr != self.mac:
            self.ignored["not-for-us"] += 1
        elif message.xid != self.xid:
            self.ignored["other-transaction"] += 1
        elif kind == NAK:
            self._input(Input.NAK, now)
        elif kind in (OFFER, ACK):
            lease = self._read(message)
            if lease is not None:
                self._answer = lease
                self._input(Input.OFFER if kind == OFFER else Input.ACK, now)
        else:
            self.ignored["message-type"] += 1

    def timeout(self, now: int) -> None:
        """Do what is due."""
        held = self.lease or (self.offered if self.state is State.CHECKING else None)
        if held is not None and now >= held.expires_at:
            self._input(Input.EXPIRED, now)
        elif held is not None and now >= held.rebind_at and self.state in (State.BOUND, State.RENEWING):
            self._input(Input.T2, now)
        elif held is not None and now >= held.renew_at and self.state is State.BOUND:
            self._input(Input.T1, now)
        elif now >= self._repeat_at:
            waiting = self.state in (State.RENEWING, State.REBINDING)
            again = waiting or self.attempts < len(self.profile.retries) and self.state is not State.PAUSING
            self._input(Input.REPEAT if again else Input.SILENCE, now)

    @property
    def deadline(self) -> int:
        """When :meth:`timeout` wants to be called (ns), or ``NEVER``."""
        due = self._repeat_at
        if self.state is State.CHECKING and self.offered is not None:
            due = min(due, self.offered.expires_at)
        elif self.lease is not None:
            lease = self.lease
            due = min(due, lease.expires_at)
            if self.state is State.BOUND:
                due = min(due, lease.renew_at, lease.rebind_at)
            elif self.state is State.RENEWING:
                due = min(due, lease.rebind_at)
        return due

    def _input(self, what: Input, now: int) -> None:
        found = TRANSITIONS.get((self.state, what))
        if found is None:
            self.ignored[f"{what.name.lower()}-in-{self.state.name.lower()}"] += 1
            return
        action, self.state = found
        getattr(self, action)(now)
        if self.state in (State.INIT, State.INIT_REBOOT):
            self._input(Input.START, now)

    # Actions --------------------------------------------------------------------------------------------------------

    def _discover(self, now: int) -> None:
        self._begin(now)
        self._send(DISCOVER, self.profile.discover, now)

    def _select(self, now: int) -> None:
        offer = self._answer
        assert offer is not None  # only an OFFER leads here
        self.known, self._server = offer.address, offer.server
        self.attempts = 0
        self._send(REQUEST, self.profile.select, now)

    def _ask_again(self, now: int) -> None:
        if self.known is None:
            self.state = State.SELECTING
            self._discover(now)
            return
        self._begin(now)
        order = tuple(code for code in self.profile.select if code != dhcp.OPT_SERVER_ID)
        self._send(REQUEST, order, now)

    def _take(self, now: int) -> None:
        self.offered = self._dated()
        self.known = self.offered.address
        self._repeat_at = NEVER

    def _bind(self, now: int) -> None:
        self.lease, self.offered = self.offered, None
        self._repeat_at = NEVER

    def _extend(self, now: int) -> None:
        self.lease = self._dated()
        self.known = self.lease.address
        self._repeat_at = NEVER

    def _renew(self, now: int) -> None:
        self._begin(now)
        assert self.lease is not None  # the table enters here from BOUND only
        self._send(REQUEST, self.profile.renew, now, self.lease.address, self.lease.server)

    def _rebind(self, now: int) -> None:
        self._begin(now)
        assert self.lease is not None
        self._send(REQUEST, self.profile.renew, now, self.lease.address, IP4_BROADCAST)

    def _repeat(self, now: int) -> None:
        assert self._message is not None
        kind, order, source, destination = self._message
        self._send(kind, order, now, source, destination)

    def _lose(self, now: int) -> None:
        self.lease = None
        self._begin_again(now)

    def _refused(self, now: int) -> None:
        self.known = None
        self._lose(now)

    def _refused_again(self, now: int) -> None:
        self._refused(now)
        self._repeat_at = now + NAK_PAUSE

    def _begin_again(self, now: int) -> None:
        self.offered = None
        self._server = IP4_ANY
        self._repeat_at = NEVER

    def _reboot(self, now: int) -> None:
        self.lease = None
        self._begin_again(now)

    def _pause(self, now: int) -> None:
        self._repeat_at = now + self.profile.pause

    def _decline(self, now: int) -> None:
        taken = self.lease or self.offered
        assert taken is not None
        self._server = taken.server
        order = (dhcp.OPT_MESSAGE_TYPE, dhcp.OPT_CLIENT_ID, dhcp.OPT_REQUESTED_IP, dhcp.OPT_SERVER_ID)
        self._send(DECLINE, order, now)
        self.lease = self.offered = self.known = None
        self._repeat_at = now + DECLINE_PAUSE

    def _release(self, now: int) -> None:
        assert self.lease is not None
        lease, self._server = self.lease, self.lease.server
        order = (dhcp.OPT_MESSAGE_TYPE, dhcp.OPT_SERVER_ID, dhcp.OPT_CLIENT_ID)
        self._begin(now)
        self._send(RELEASE, order, now, lease.address, lease.server)
        self.lease, self._repeat_at = None, NEVER

    # Messages -------------------------------------------------------------------------------------------------------

    def _begin(self, now: int) -> None:
        self.xid = self.rng.getrandbits(32)
        self.attempts = 0
        self._began = now

    def _send(
        self, kind: int, order: tuple[int, ...], now: int, source: bytes = IP4_ANY, destination: bytes = IP4_BROADCAST
    ) -> None:
        name = self.host_name.encode("ascii", "replace")[:63]
        values = {
            dhcp.OPT_MESSAGE_TYPE: bytes((kind,)),
            dhcp.OPT_CLIENT_ID: b"\x01" + self.mac,
            dhcp.OPT_HOST_NAME: name,
            dhcp.OPT_VENDOR_CLASS: self.profile.vendor_class,
            dhcp.OPT_PARAMETER_LIST: bytes(self.profile.parameters),
            dhcp.OPT_CLIENT_FQDN: dhcp.client_fqdn_option(".".join(filter(None, (self.host_name, self.domain))))[1][
                :255
            ],
        }
        if self.known is not None:
            values[dhcp.OPT_REQUESTED_IP] = self.known
        if self._server != IP4_ANY:
            values[dhcp.OPT_SERVER_ID] = self._server
        if self.profile.max_message_size is not None:
            values[dhcp.OPT_MAX_SIZE] = self.profile.max_message_size.to_bytes(2, "big")
        message = Dhcp(
            op=dhcp.BOOT_REQUEST,
            xid=self.xid,
            secs=min((now - self._began) // SECOND, 0xFFFF),
            flags=dhcp.FLAG_BROADCAST if self.profile.broadcast and source == IP4_ANY else 0,
            ciaddr=source,
            chaddr=self.mac,
            options=tuple((code, values[code]) for code in order if code in values),
        )
        self.outbox.append(Message(source, destination, message.emit(self.profile.minimum_size)))
        self._message = (kind, order, source, destination)
        self._sent = now
        self._repeat_at = now + self._patience(now)
        self.attempts += 1

    def _patience(self, now: int) -> int:
        """How long to wait for an answer to what is being sent."""
        if self.lease is not None and self.state in (State.RENEWING, State.REBINDING):
            end = self.lease.rebind_at if self.state is State.RENEWING else self.lease.expires_at
            return max((end - now) // 2, MINIMUM_RENEWAL_WAIT)
        retries = self.profile.retries
        wait = retries[min(self.attempts, len(retries) - 1)]
        return wait + (self.rng.randint(-self.profile.jitter, self.profile.jitter) if self.profile.jitter else 0)

    def _read(self, message: Dhcp) -> Lease | None:
        """The lease an OFFER or ACK describes, with times still in seconds; None (counted) when it is no use."""
        server, length = message.address(dhcp.OPT_SERVER_ID), message.number(dhcp.OPT_LEASE_TIME)
        if not usable(message.yiaddr):
            self.ignored["address"] += 1
        elif server is None:
            self.ignored["no-server"] += 1
        elif not length:
            self.ignored["no-lease-time"] += 1
        else:
            length = max(length, MINIMUM_LEASE)
            t1, t2 = message.number(dhcp.OPT_T1), message.number(dhcp.OPT_T2)
            t1, t2 = length // 2 if t1 is None else t1, length * 7 // 8 if t2 is None else t2
            if not 0 < t1 <= t2 <= length:
                t1, t2 = length // 2, length * 7 // 8
            prefix = prefix_length(message.option(dhcp.OPT_MASK) or b"")
            router = message.address(dhcp.OPT_ROUTER)
            return Lease(
                address=message.yiaddr,
                prefix=classful_prefix(message.yiaddr) if prefix is None else prefix,
                router=router if router is not None and usable(router) else None,
                dns=tuple(filter(usable, message.addresses(dhcp.OPT_DNS)))[:3],
                domain=message.text(dhcp.OPT_DOMAIN_NAME) or "",
                server=server,
                started=0,
                renew_at=t1,
                rebind_at=t2,
                expires_at=length,
            )
        return None

    def _dated(self) -> Lease:
        """The last answer's lease with its times on our clock."""
        lease, start = self._answer, self._sent
        assert lease is not None  # only an ACK leads here
        if lease.expires_at == INFINITE_LEASE:
            return replace(lease, started=start, renew_at=NEVER, rebind_at=NEVER, expires_at=NEVER)
        return replace(
            lease,
            started=start,
            renew_at=start + lease.renew_at * SECOND,
            rebind_at=start + lease.rebind_at * SECOND,
            expires_at=start + lease.expires_at * SECOND,
        )
