"""UDP: echo, real-time streams with one-way delay, jitter and loss, and NTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ....errors import Malformed
from ....limits import MS, SECOND
from ....services.ntp import CLIENT, SERVER, NtpPacket, from_ntp, to_ntp
from ....services.udp_probe import PROBE_SIZE, make_probe, read_probe
from ..tasks import TaskError, TaskGenerator, TaskTimeout, Wait, sleep_until
from .result import WorkloadResult, interarrival_jitter, measured, median, spread

if TYPE_CHECKING:
    from ..guest import ScriptedGuest
    from ..sockets import UdpSocket

LINGER = 2 * SECOND
"""How long the last datagrams of a stream may take."""


def _stream(
    guest: ScriptedGuest,
    result: WorkloadResult,
    host: str,
    port: int,
    rate: float,
    size: int,
    count: int,
    family: int | None,
) -> TaskGenerator:
    """Send ``count`` probes of ``size`` bytes at ``rate`` a second and take the echo service's answers as they come."""
    address = yield from guest.resolve(host, family)
    socket = guest.udp_socket()
    try:
        # The first hop's address is asked for before the clock runs: a call does not start with an ARP request.
        yield from socket.send(address, port, b"\0")
        started = guest.now
        answered: dict[int, tuple[int, int, int]] = {}
        unsent = duplicates = sent = 0
        while sent < count:
            due = started + round(sent * SECOND / rate)
            if guest.now < due:
                yield Wait((socket.signal,), due)
            else:
                # A probe that finds no room is lost here, as in a full device queue; time does not wait for it.
                unsent += not socket.try_send(address, port, make_probe(sent, guest.now, size))
                sent += 1
            duplicates += _collect(socket, answered)
        last = guest.now
        while len(answered) < count - unsent and guest.now < last + LINGER:
            yield Wait((socket.signal,), last + LINGER)
            duplicates += _collect(socket, answered)
    finally:
        socket.close()
    _judge(result, answered, count)
    result.timed(started, started + round(count * SECOND / rate), size * count)
    result.details.update(sent=count - unsent, unsent=unsent, received=len(answered), duplicates=duplicates)
    if not answered:
        result.fail("timeout: no datagram came back")


def _collect(socket: UdpSocket, answered: dict[int, tuple[int, int, int]]) -> int:
    """Take waiting answers: sequence -> (sent, received by the service, back here). Returns how many were double."""
    duplicates = 0
    while socket.queue:
        arrival = socket.queue.popleft()
        probe = read_probe(arrival.payload)
        if probe is None:
            continue
        if probe.sequence in answered:
            duplicates += 1
        else:
            answered[probe.sequence] = (probe.sent, probe.received, arrival.at)
    return duplicates


def _judge(result: WorkloadResult, answered: dict[int, tuple[int, int, int]], count: int) -> None:
    trips = list(answered.values())
    result.udp_loss = 1 - len(trips) / count if count else None
    round_trips = [(back - sent) / MS for sent, _, back in trips]
    result.rtt_ms = median(round_trips)
    if all(received for _, received, _ in trips):
        delays = [(received - sent) / MS for sent, received, _ in trips]
        jitter = interarrival_jitter(sorted(((s, r) for s, r, _ in trips), key=lambda pair: pair[1]))
        result.udp_delay_ms = median(delays)
        result.udp_jitter_ms = None if jitter is None else jitter / MS
        result.details.update(delay_ms=delays, spread=spread(delays))
    back_jitter = interarrival_jitter((sent, back) for sent, _, back in trips)
    result.details["round_trip_jitter_ms"] = None if back_jitter is None else back_jitter / MS


@measured("udp-echo")
def udp_echo(
    guest: ScriptedGuest,
    result: WorkloadResult,
    count: int = 100,
    size: int = 64,
    rate: float = 100.0,
    host: str = "echo.lab",
    port: int = 7,
    family: int | None = None,
) -> TaskGenerator:
    """``count`` datagrams of ``size`` bytes at ``rate`` a second, echoed."""
    yield from _stream(guest, result, host, port, rate, max(size, PROBE_SIZE), count, family)


@measured("voip")
def voip(
    guest: ScriptedGuest,
    result: WorkloadResult,
    duration: float = 10.0,
    host: str = "echo.lab",
    port: int = 7,
    family: int | None = None,
) -> TaskGenerator:
    """A voice call: 50 datagrams a second of 160 bytes (G.711, 20 ms each)."""
    yield from _stream(guest, result, host, port, 50, 160, round(50 * duration), family)


@measured("game")
def game(
    guest: ScriptedGuest,
    result: WorkloadResult,
    duration: float = 10.0,
    host: str = "echo.lab",
    port: int = 7,
    family: int | None = None,
) -> TaskGenerator:
    """A shooter's updates: 60 datagrams a second of 300 bytes."""
    yield from _stream(guest, result, host, port, 60, 300, round(60 * duration), family)


@measured("ntp")
def ntp(
    guest: ScriptedGuest,
    result: WorkloadResult,
    count: int = 4,
    interval: float = 2.0,
    timeout: float = 2.0,
    host: str = "ntp.lab",
    port: int = 123,
    family: int | None = None,
) -> TaskGenerator:
    """``count`` NTP questions (RFC 5905 section 8): round-trip delay, and the offset between the two clocks."""
    address = yield from guest.resolve(host, family)
    socket = guest.udp_socket()
    delays: list[float] = []
    offsets: list[float] = []
    started = guest.now
    try:
        for number in range(count):
            next_at = guest.now + round(interval * SECOND)
            try:
                sent, answer, back = yield from _ask_time(guest, socket, address, port, round(timeout * SECOND))
            except TaskTimeout:
                pass
            else:
                received, transmitted = from_ntp(answer.receive), from_ntp(answer.transmit)
                delays.append(((back - sent) - (transmitted - received)) / MS)
                offsets.append(((received - sent) + (transmitted - back)) / 2 / MS)
            if number < count - 1:
                yield from sleep_until(next_at)
    finally:
        socket.close()
    result.timed(started, guest.now)
    result.rtt_ms = median(delays)
    result.udp_loss = 1 - len(delays) / count if count else None
    result.details.update(sent=count, received=len(delays), delay_ms=delays, offset_ms=offsets)
    if not delays:
        result.fail("timeout: no NTP answer")


def _ask_time(guest: ScriptedGuest, socket: UdpSocket, address: bytes, port: int, timeout: int) -> TaskGenerator:
    """One question. Returns ``(sent, answer, back)``; an answer to another question is passed over."""
    # The guest's clock starts at 1970: what an offset means is for whoever compares it to say.
    stamp = to_ntp(guest.now)
    yield from socket.send(address, port, NtpPacket(mode=CLIENT, transmit=stamp).emit())
    sent, until = guest.now, guest.now + timeout
    while True:
        arrival = yield from socket.receive(until)
        try:
            answer = NtpPacket.parse(arrival.payload)
        except Malformed:
            continue
        if arrival.source == address and answer.mode == SERVER and answer.originate == stamp:
            if not answer.stratum:
                raise TaskError("ntp-refused", answer.reference_id.decode("ascii", "replace"))
            return sent, answer, arrival.at
