"""Frames of the user's own: sent from a guest's NIC, and what comes back for them.

A frame is put among those that the guest's NIC sends, so it is recorded, tunnelled and answered like any of the guest's
own. Answers are seen where the guest sees them, at its NIC, and reach the guest too: a TCP of its own that knows of no
connection resets one that was opened here, as a host's kernel does under scapy's ``srp``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .bounds import INJECT_ANSWERS, INJECT_MOST, INJECT_PATIENCE
from .capture import Recorder
from .capture.scapy_packets import frame_bytes, parse_frame
from .capture.schema import ETHERNET
from .engine import TimedOut
from .errors import UsageError
from .limits import NEVER, SECOND
from .paths.l2_tunnel import frame_limits
from .wire.address import (
    IP4_BROADCAST,
    MAC_BROADCAST,
    ip,
    ip_text,
    is_multicast,
    link_local,
    mac_text,
    multicast_mac,
)

if TYPE_CHECKING:
    from scapy.packet import Packet

    from .handles import Guest
    from .lab import Lab
    from .rings import FrameRing


GATEWAY_PATIENCE = 2.0
"""Seconds that a gateway has to answer ARP: more than any path there is."""


class NicTap:
    """A recorder's tap, and beside it whoever waits for the frames that go to one guest."""

    def __init__(self, recorder: Any):
        self._recorder = recorder
        self._waiting: tuple[tuple[FrameRing, Catcher], ...] = ()

    def tap(
        self,
        ring: FrameRing,
        count: int,
        point: str,
        direction: str,
        now: int,
        skip: int = 0,
        newest: bool = False,
        link: int = ETHERNET,
    ) -> int:
        kept = self._recorder.tap(ring, count, point, direction, now, skip, newest, link)
        for wanted, catcher in self._waiting:
            if wanted is ring:
                catcher.recorder.tap(ring, count, point, direction, now, skip, newest, link)
                catcher.arrived.set()
        return kept

    def listen(self, ring: FrameRing, catcher: Catcher) -> None:
        """Hand frames of this ring to the catcher as well; on the engine's thread, as :meth:`leave`."""
        self._waiting += ((ring, catcher),)

    def leave(self, catcher: Catcher) -> None:
        self._waiting = tuple(each for each in self._waiting if each[1] is not catcher)


class Catcher:
    """Frames that arrive at a guest, in memory of their own, until somebody looks at them."""

    def __init__(self, epoch_ns: int):
        self.recorder = Recorder(points=("nic",), most_bytes=INJECT_ANSWERS, epoch_ns=epoch_ns)
        self.arrived = threading.Event()
        self._seen = 0

    def new(self) -> list[Packet]:
        """What arrived since the last call."""
        self.arrived.clear()
        capture = self.recorder.capture()
        first, self._seen = self._seen, len(capture)
        return capture.to_scapy(range(first + 1, self._seen + 1))


class Injector:
    """A node that puts frames into the ring of those that a NIC sends, as there is room."""

    name = "injector"

    def __init__(self, ring: FrameRing):
        self._ring = ring
        self.tasks: deque[Injection] = deque()

    def step(self, now: int) -> None:
        while self.tasks:
            task = self.tasks[0]
            while task.frames and self._ring.has_room(len(task.frames[0])):
                self._ring.push(task.frames.popleft(), now)
            if task.frames:
                return
            self.tasks.popleft()

    def poll_at(self, now: int) -> int:
        if not self.tasks:
            return NEVER
        frames = self.tasks[0].frames
        return now if not frames or self._ring.has_room(len(frames[0])) else NEVER


class Injection:
    """A task: these frames have been put into the ring."""

    def __init__(self, injector: Injector, frames: Iterable[bytes]):
        self.frames = deque(frames)
        self.number = len(self.frames)
        self._injector = injector
        injector.tasks.append(self)

    @property
    def done(self) -> bool:
        return not self.frames

    def cancel(self) -> None:
        if self in self._injector.tasks:
            self._injector.tasks.remove(self)

    def value(self) -> int:
        return self.number


def send(lab: Lab, guest: Guest, packets: Any) -> int:
    """See :meth:`aero_lab.Lab.send`."""
    return _put(lab, guest, [frame for _, frame in _prepared(lab, guest, packets)])


def srp(lab: Lab, guest: Guest, packets: Any, timeout: float, multi: bool) -> tuple[Any, Any]:
    """See :meth:`aero_lab.Lab.srp`."""
    from scapy.plist import PacketList, QueryAnswer, SndRcvList
    from scapy.utils import EDecimal

    sent = _prepared(lab, guest, packets)
    questions = []
    for packet, frame in sent:
        question = parse_frame(frame) if packet is None else packet
        questions.append(question)
    matching = Matching(questions, multi)
    catcher = Catcher(lab.capture.epoch_ns)
    engine, ring, tap = lab._engine, guest._host.nic_rx, lab._tap
    engine.call(tap.listen, ring, catcher)
    try:
        start = engine.now()
        for question in questions:
            question.sent_time = question.time = EDecimal(start + lab.capture.epoch_ns) / SECOND
        _put(lab, guest, [frame for _, frame in sent])
        _wait(lab, catcher, matching, start + round(timeout * SECOND))
    finally:
        if not lab.closed:
            engine.call(tap.leave, catcher)
    answers = [QueryAnswer(question, answer) for question, answer in matching.answered]
    return SndRcvList(answers, "Results"), PacketList(matching.unanswered, "Unanswered")


class Matching:
    """Which answer belongs to which question, as scapy sees it."""

    def __init__(self, questions: list[Packet], multi: bool):
        from scapy.layers.dhcp import BOOTP

        self._bootp = BOOTP
        self._multi = multi
        self._questions = questions
        self._open: dict[bytes, list[int]] = {}
        self._dhcp: list[int] = []
        self._answered: set[int] = set()
        self.answered: list[tuple[Packet, Packet]] = []
        for number, question in enumerate(questions):
            if BOOTP in question:
                self._dhcp.append(number)
            else:
                self._open.setdefault(question.hashret(), []).append(number)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return not self._multi and len(self._answered) == len(self._questions)

    @property
    def unanswered(self) -> list[Packet]:
        return [each for number, each in enumerate(self._questions) if number not in self._answered]

    def look(self, packet: Packet) -> None:
        """Take a packet that arrived, if it answers something."""
        if self._bootp in packet:
            # Whom a DHCP server answers has no address yet: the transaction tells, not the addresses.
            candidates, inner = self._dhcp, self._bootp
        else:
            candidates, inner = self._open.get(packet.hashret(), []), None
        for number in candidates:
            question = self._questions[number]
            if number in self._answered and not self._multi:
                continue
            answers = packet[inner].answers(question[inner]) if inner is not None else packet.answers(question)
            if answers:
                self._answered.add(number)
                self.answered.append((question, packet))
                return


def _wait(lab: Lab, catcher: Catcher, matching: Matching, deadline: int) -> None:
    """Look at what arrives until all is answered or it is too late, on the user's thread."""

    def look() -> bool:
        for packet in catcher.new():
            matching.look(packet)
        return matching.done

    engine = lab._engine
    if lab.virtual:
        try:
            engine.run(lambda: _Watch(look), max(0, deadline - engine.now()))
        except TimedOut:
            look()
        return
    while not look():
        left = deadline - engine.now()
        if left <= 0 or engine.closed:
            return
        catcher.arrived.wait(min(left / SECOND, 0.5))


class _Watch:
    """A task of virtual time that is done when a condition holds."""

    def __init__(self, condition: Callable[[], bool]):
        self._condition = condition

    @property
    def done(self) -> bool:
        return self._condition()

    def cancel(self) -> None:
        """Nothing is under way."""

    def value(self) -> None:
        return None


def _put(lab: Lab, guest: Guest, frames: list[bytes]) -> int:
    engine = lab._engine

    def begin() -> Injection:
        injector = lab._injectors.get(guest.name)
        if injector is None:
            injector = lab._injectors[guest.name] = Injector(guest._host.nic_tx)
            engine.add(injector)
        return Injection(injector, frames)

    if not frames:
        return 0
    try:
        return engine.run(begin, INJECT_PATIENCE)
    except TimedOut:
        raise TimedOut(f"the guest's NIC had no room for all of it within {INJECT_PATIENCE // SECOND} s") from None


def _prepared(lab: Lab, guest: Guest, packets: Any) -> list[tuple[Packet | None, bytes]]:
    """Each packet with the addresses it lacks, as it goes out; None for what came as bytes."""
    most = frame_limits(lab.mtu).frame
    own: _Addresses | None = None
    out: list[tuple[Packet | None, bytes]] = []
    for packet in _expanded(packets):
        if isinstance(packet, (bytes, bytearray, memoryview)):
            whole, frame = None, bytes(packet)
        else:
            own = own or _Addresses(lab, guest)
            whole = complete(packet, own)
            frame = frame_bytes(whole)
        if len(frame) > most:
            raise UsageError(f"a frame of {len(frame):,} bytes does not go through this tunnel, which takes {most:,}")
        if len(out) == INJECT_MOST:
            raise UsageError(f"at most {INJECT_MOST:,} packets at once")
        out.append((whole, frame))
    return out


def _expanded(packets: Any) -> Iterable[Any]:
    """Packets one by one; one with a set of values in a field, such as ``dport=[80, 443]``, is as many."""
    from scapy.base_classes import Gen
    from scapy.packet import Packet

    if isinstance(packets, (bytes, bytearray, memoryview)):
        yield packets
    elif isinstance(packets, Packet):
        try:
            yield from packets
        except OSError as error:
            raise UsageError(f"scapy cannot build this packet: {error}") from None
    elif isinstance(packets, (Iterable, Gen)) and not isinstance(packets, str):
        for each in packets:
            yield from _expanded(each)
    else:
        raise UsageError(f"send scapy packets or bytes, not {type(packets).__name__}")


class _Addresses:
    """What fills the gaps of a packet."""

    def __init__(self, lab: Lab, guest: Guest):
        self._lab, self._guest = lab, guest
        self.mac = guest.mac
        self.address = guest.address or "0.0.0.0"
        self.link_local = ip_text(link_local(guest._host.mac))
        self.address6 = guest.address6 or self.link_local

    @property
    def gateway_mac(self) -> str:
        """The lab's own gateway's; that of a proxy elsewhere is asked for, once. Broadcast when nobody answers."""
        lab, guest = self._lab, self._guest
        if not lab._elsewhere:
            return mac_text(lab._world.lan_config(lab.mtu, lab.ipv6).mac)
        router = guest._host.router
        if guest.name not in lab._gateways and router is not None:
            from scapy.layers.l2 import ARP

            answered, _ = srp(lab, guest, ARP(pdst=ip_text(router)), GATEWAY_PATIENCE, False)
            if answered:
                lab._gateways[guest.name] = answered[0].answer.hwsrc
        return lab._gateways.get(guest.name) or mac_text(MAC_BROADCAST)


def _group_mac(address: str) -> bytes | None:
    """MAC address of a multicast or broadcast address (RFC 1112, RFC 2464), None for a host's."""
    try:
        packed = ip(str(address))
    except UsageError:
        return None  # a name: scapy asks this machine for the address
    if packed == IP4_BROADCAST:
        return MAC_BROADCAST
    return multicast_mac(packed) if is_multicast(packed) else None


def complete(packet: Packet, own: Any) -> Packet:
    """A copy of a packet with what it lacks to leave the guest.

    Without a link layer it gets an Ethernet header. Only fields that the user did not set are filled, since scapy would
    take this machine's routes and addresses for them: the guest's MAC and IP address as source; as destination MAC the
    group's for multicast and broadcast, broadcast for an ARP request, and the gateway's for everything else.
    """
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import ARP, Dot3, Ether

    packet = packet.copy()
    if isinstance(packet, (IP, IPv6, ARP)):
        packet = Ether() / packet
    target = None
    layer = packet
    while layer:
        if isinstance(layer, ARP):
            layer.fields.setdefault("hwsrc", own.mac)
            layer.fields.setdefault("psrc", own.address)
            target = target or (MAC_BROADCAST if layer.op == 1 else None)
        elif isinstance(layer, IP):
            layer.fields.setdefault("src", own.address)
            target = target or _group_mac(layer.dst)
        elif isinstance(layer, IPv6):
            nearby = layer.dst.lower().startswith(("fe8", "fe9", "fea", "feb", "ff"))
            layer.fields.setdefault("src", own.link_local if nearby else own.address6)
            target = target or _group_mac(layer.dst)
        layer = layer.payload
    if isinstance(packet, (Ether, Dot3)):
        packet.fields.setdefault("src", own.mac)
        packet.fields.setdefault("dst", mac_text(target) if target else own.gateway_mac)
    return packet
