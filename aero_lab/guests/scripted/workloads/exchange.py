"""Small exchanges: ping, DNS, request/response, bursts of connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ....limits import MS, SECOND
from ....services.content import content_bytes
from ....wire.dns import AAAA, A
from ..tasks import TaskError, TaskGenerator, TaskTimeout, gather, sleep_until
from .result import WorkloadResult, measured, median, spread

if TYPE_CHECKING:
    from ..guest import ScriptedGuest


@measured("ping")
def ping(
    guest: ScriptedGuest,
    result: WorkloadResult,
    host: str | None = None,
    count: int = 4,
    size: int | None = None,
    interval: float = 1.0,
    timeout: float = 4.0,
    family: int | None = None,
) -> TaskGenerator:
    """``count`` echo requests with the system's payload, one each ``interval`` seconds; to the router by default."""
    router = guest.ipv6.router if family == 6 and guest.ipv6 is not None else guest.router
    target = (yield from guest.resolve(host, family)) if host is not None else router
    if target is None:
        raise TaskError("unreachable", "no router")
    payload = guest.profile.ping_payload
    if size is not None:
        payload = (payload * (size // len(payload) + 1))[:size]
    echo = guest.echo_socket(guest.profile.ping_identifier)
    times: list[float] = []
    wrong = 0
    started = guest.now
    try:
        for sequence in range(1, count + 1):
            next_at = guest.now + round(interval * SECOND)
            outcome = yield from echo.exchange(target, sequence, payload, round(timeout * SECOND))
            if outcome is not None:
                sent, arrival = outcome
                times.append((arrival.at - sent) / MS)
                wrong += arrival.payload != payload
            if sequence < count:
                yield from sleep_until(next_at)
    finally:
        echo.close()
    result.timed(started, guest.now)
    result.rtt_ms = median(times)
    result.digest_ok = not wrong if times else None
    result.details.update(sent=count, received=len(times), rtt_ms=times, spread=spread(times))
    if not times:
        result.fail("timeout: no echo reply")


@measured("dns")
def dns(
    guest: ScriptedGuest,
    result: WorkloadResult,
    names: tuple[str, ...] = ("files.lab", "echo.lab", "sink.lab", "source.lab"),
    count: int = 20,
    family: int | None = None,
) -> TaskGenerator:
    """``count`` lookups, the names in turn, nothing remembered in between; of AAAA records with ``family`` 6."""
    types = (AAAA,) if family == 6 else (A,)
    times: list[float] = []
    started = guest.now
    for number in range(count):
        guest.resolver.flush()
        asked = guest.now
        yield from guest.resolver.lookup(names[number % len(names)], types)
        times.append((guest.now - asked) / MS)
    result.timed(started, guest.now)
    result.rtt_ms = median(times)
    result.details.update(rtt_ms=times, spread=spread(times))


@measured("rr")
def request_response(
    guest: ScriptedGuest,
    result: WorkloadResult,
    count: int = 200,
    size: int = 64,
    host: str = "echo.lab",
    port: int = 7,
    timeout: float = 300.0,
    family: int | None = None,
) -> TaskGenerator:
    """``count`` exchanges of ``size`` bytes each way on one connection, each waiting for the one before."""
    until = guest.now + round(timeout * SECOND)
    socket = yield from guest.connect((yield from guest.resolve(host, family)), port, until)
    request = content_bytes(size)
    times: list[float] = []
    right = True
    try:
        started = guest.now
        for _ in range(count):
            asked = guest.now
            yield from socket.send(request, until)
            right &= (yield from socket.receive_exactly(size, until)) == request
            times.append((guest.now - asked) / MS)
        ended = guest.now
        result.timed(socket.opened_at, ended, 2 * size * count)
        result.connect_ms = socket.connect_ns / MS
        result.rtt_ms = median(times)
        result.digest_ok = right
        result.details.update(rtt_ms=times, spread=spread(times))
        if ended > started:
            result.details["per_second"] = count * SECOND / (ended - started)
        yield from socket.finish(until)
    finally:
        socket.abort()


def _one_connection(guest: ScriptedGuest, address: bytes, port: int, request: bytes, until: int) -> TaskGenerator:
    """Connect, exchange, close. Returns ``(connect_ns, right)``."""
    socket = yield from guest.connect(address, port, until)
    try:
        right = True
        if request:
            yield from socket.send(request, until)
            right = (yield from socket.receive_exactly(len(request), until)) == request
        yield from socket.finish(until)
        return socket.connect_ns, right
    except BaseException:
        socket.abort()
        raise


class _Tally:
    """What became of the connections of a burst."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.failures: dict[str, int] = {}
        self.wrong = 0


def _one_by_one(
    guest: ScriptedGuest, address: bytes, port: int, request: bytes, until: int, left: Iterator[int], tally: _Tally
) -> TaskGenerator:
    """Connections one after the other, while there are any ``left``."""
    for _ in left:
        try:
            connect_ns, right = yield from _one_connection(guest, address, port, request, until)
        except TaskError as error:
            tally.failures[error.reason] = tally.failures.get(error.reason, 0) + 1
            if isinstance(error, TaskTimeout):
                return
        else:
            tally.times.append(connect_ns / MS)
            tally.wrong += not right


@measured("burst")
def burst(
    guest: ScriptedGuest,
    result: WorkloadResult,
    count: int = 100,
    concurrency: int = 16,
    size: int = 16,
    host: str = "echo.lab",
    port: int = 7,
    timeout: float = 60.0,
    family: int | None = None,
) -> TaskGenerator:
    """``count`` connections, ``concurrency`` at a time, each exchanging ``size`` bytes. Failures count by reason."""
    until = guest.now + round(timeout * SECOND)
    address = yield from guest.resolve(host, family)
    tally = _Tally()
    left, request = iter(range(count)), content_bytes(size)
    started = guest.now
    tasks = [
        guest.start(_one_by_one(guest, address, port, request, until, left, tally), f"burst-{number}")
        for number in range(min(concurrency, count))
    ]
    try:
        yield from gather(tasks)
    finally:
        for task in tasks:
            task.cancel()
    times, failures = tally.times, tally.failures
    result.timed(started, guest.now, 2 * size * len(times))
    result.connect_ms = median(times)
    result.digest_ok = not tally.wrong if times and size else None
    result.details.update(connected=len(times), failures=failures, connect_ms=times, spread=spread(times))
    if guest.now > started:
        result.details["per_second"] = len(times) * SECOND / (guest.now - started)
    if len(times) < count:
        result.fail(f"connections: {count - len(times)} of {count} failed: {failures}")
