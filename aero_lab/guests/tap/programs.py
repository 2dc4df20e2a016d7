"""The workloads of a tap guest: ordinary programs on ordinary sockets, run inside its namespace.

``python -m aero_lab.guests.tap.programs NAME JSON`` runs one with the parameters in ``JSON`` and prints the fields of
its :class:`~aero_lab.guests.scripted.workloads.WorkloadResult` as JSON. They are the counterparts of the scripted
guest's, with the same names, parameters and figures; blocking sockets, one thread a flow, buffers of 256 KiB.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ...services.content import PERIOD, content, content_bytes
from ...services.udp_probe import PROBE_SIZE, make_probe, read_probe
from . import dhcp

BUFFER = 256 << 10
HEAD = 64 << 10
PATIENCE = 3600.0
"""Seconds without a byte after which a transfer is given up."""
LINGER = 2.0
"""Seconds that the last datagrams of a stream may take."""
MS = 1e6
SIZED = ("download", "upload", "parallel", "source", "sink")

Result = dict[str, Any]


class Failed(Exception):
    """A workload that did not do what it should; the text is a short reason, a colon, details."""


class Transfer:
    """What one transfer measured: times of the monotonic clock in ns, bytes, whether they were right."""

    def __init__(self) -> None:
        self.opened_at = self.connect_ns = self.sent_at = self.first_byte_at = self.done_at = self.size = 0
        self.right: bool | None = None


def find(host: str, port: int, kind: int, family: int) -> tuple[int, Any]:
    """Family and socket address of a name or an address in this family (4 or 6), as the system's resolver says."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    if family not in families:
        raise Failed(f"family: must be 4 or 6, not {family}")
    try:
        found = socket.getaddrinfo(host, port, families[family], kind)
    except socket.gaierror as error:
        raise Failed(f"dns: {host}: {error.strerror}") from None
    return found[0][0], found[0][4]


def connect(where: tuple[int, Any], timeout: float = PATIENCE) -> tuple[socket.socket, int, int]:
    """A connected socket, when the SYN was sent, and how long the handshake took (ns)."""
    family, address = where
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened = time.monotonic_ns()
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock, opened, time.monotonic_ns() - opened


class Expected:
    """Compares a stream with the lab's content as it arrives."""

    def __init__(self) -> None:
        self._block = content_bytes(PERIOD + BUFFER)
        self.position = 0
        self.right = True

    def update(self, data: bytes) -> None:
        at = self.position % PERIOD
        self.right = self.right and data == self._block[at : at + len(data)]
        self.position += len(data)


def pieces(size: int) -> Iterator[memoryview]:
    """The first ``size`` bytes of the lab's content."""
    at = 0
    while at < size:
        piece = content(at, size - at)
        yield piece
        at += len(piece)


# HTTP -----------------------------------------------------------------------------------------------------------------


def read_head(sock: socket.socket, transfer: Transfer) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and what came behind them."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(BUFFER)
        if not more:
            raise Failed("end-of-stream: in the head of the answer")
        if not data:
            transfer.first_byte_at = time.monotonic_ns()
        data += more
        if b"\r\n\r\n" not in data and len(data) > HEAD:
            raise Failed("http: the head of the answer is too large")
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    status = first.split(" ")[1]
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if not status.isdecimal() or "content-length" not in headers:
        raise Failed(f"http: {first}")
    return int(status), headers, rest


def fetch(where: tuple[int, Any], host: str, path: str) -> Transfer:
    """GET ``path`` on a connection of its own, compared with the content, and with the digest where one is told."""
    t = Transfer()
    sock, t.opened_at, t.connect_ns = connect(where)
    with sock:
        t.sent_at = time.monotonic_ns()
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status, headers, data = read_head(sock, t)
        if status != 200:
            raise Failed(f"http-status: {status}")
        t.size = int(headers["content-length"])
        known = Expected() if path.startswith("/bytes/") else None
        told = headers.get("content-md5")
        digest = hashlib.md5(usedforsecurity=False) if told and known is None else None
        left = t.size
        while True:
            if data:
                if known is not None:
                    known.update(data)
                elif digest is not None:
                    digest.update(data)
                left -= len(data)
            if left <= 0:
                break
            data = sock.recv(BUFFER)
            if not data:
                raise Failed(f"end-of-stream: {left} bytes missing")
        t.done_at = time.monotonic_ns()
    if known is not None:
        t.right = known.right and left == 0
    elif digest is not None:
        t.right = base64.b64encode(digest.digest()).decode() == told
    return t


def push(where: tuple[int, Any], host: str, path: str, size: int) -> Transfer:
    """POST ``size`` bytes of content on a connection of its own; the service tells their number and digest."""
    t = Transfer()
    t.size = size
    digest = hashlib.sha256()
    sock, t.opened_at, t.connect_ns = connect(where)
    with sock:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        for piece in pieces(size):
            sock.sendall(piece)
            digest.update(piece)
        t.sent_at = time.monotonic_ns()
        status, headers, body = read_head(sock, t)
        if status != 200:
            raise Failed(f"http-status: {status}")
        while len(body) < int(headers["content-length"]):
            more = sock.recv(BUFFER)
            if not more:
                raise Failed("end-of-stream: in the answer")
            body += more
        t.done_at = time.monotonic_ns()
    told = json.loads(body)
    t.right = told == {"bytes": size, "sha256": digest.hexdigest()}
    return t


def note(result: Result, transfers: list[Transfer]) -> None:
    timed(
        result, min(t.opened_at for t in transfers), max(t.done_at for t in transfers), sum(t.size for t in transfers)
    )
    result["connect_ms"] = statistics.median(t.connect_ns / MS for t in transfers)
    result["ttfb_ms"] = statistics.median((t.first_byte_at - t.sent_at) / MS for t in transfers)
    verdicts = [t.right for t in transfers]
    result["digest_ok"] = False if False in verdicts else None if None in verdicts else True


def timed(result: Result, started: int, ended: int, size: int | None = None) -> None:
    result["seconds"] = (ended - started) / 1e9
    if size is not None:
        result["bytes"] = size
        if ended > started:
            result["goodput_mbps"] = size * 8e3 / (ended - started)


def download(
    result: Result,
    size: int = 10 << 20,
    host: str = "files.lab",
    port: int = 80,
    path: str | None = None,
    family: int = 4,
) -> None:
    """HTTP GET of ``size`` bytes, or of ``path``."""
    where = find(host, port, socket.SOCK_STREAM, family)
    note(result, [fetch(where, host, path if path is not None else f"/bytes/{size}")])


def upload(
    result: Result,
    size: int = 10 << 20,
    host: str = "files.lab",
    port: int = 80,
    path: str = "/upload",
    family: int = 4,
) -> None:
    """HTTP POST of ``size`` bytes."""
    note(result, [push(find(host, port, socket.SOCK_STREAM, family), host, path, size)])


def parallel(
    result: Result,
    flows: int = 4,
    size: int = 4 << 20,
    direction: str = "down",
    host: str = "files.lab",
    port: int = 80,
    family: int = 4,
) -> None:
    """``flows`` transfers of ``size`` bytes each at once, ``direction`` ``down``, ``up`` or ``both`` (in turn)."""
    where = find(host, port, socket.SOCK_STREAM, family)

    def one(number: int) -> Transfer:
        if direction == "up" or (direction == "both" and number % 2 == 1):
            return push(where, host, "/upload", size)
        return fetch(where, host, f"/bytes/{size}")

    transfers = together([lambda number=number: one(number) for number in range(flows)])
    note(result, transfers)
    each = [size * 8e3 / max(t.done_at - t.opened_at, 1) for t in transfers]
    result["details"]["flow_mbps"] = each
    result["details"]["fairness"] = sum(each) ** 2 / (len(each) * sum(rate * rate for rate in each))


def together(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run every job in a thread of its own; the first error is raised when all have ended."""
    outcomes: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            outcomes[number] = jobs[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return outcomes


def source(result: Result, size: int = 10 << 20, host: str = "source.lab", port: int = 19, family: int = 4) -> None:
    """``size`` bytes from the endless source, compared with the content, then a reset."""
    sock, opened, took = connect(find(host, port, socket.SOCK_STREAM, family))
    with sock:
        known, left = Expected(), size
        while left:
            data = sock.recv(min(BUFFER, left))
            if not data:
                raise Failed(f"end-of-stream: {left} bytes missing")
            known.update(data)
            left -= len(data)
        timed(result, opened, time.monotonic_ns(), size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    result["connect_ms"] = took / MS
    result["digest_ok"] = known.right


def sink(result: Result, size: int = 10 << 20, host: str = "sink.lab", port: int = 9, family: int = 4) -> None:
    """``size`` bytes to the discard service, until it has closed too."""
    sock, opened, took = connect(find(host, port, socket.SOCK_STREAM, family))
    with sock:
        for piece in pieces(size):
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(BUFFER):
            pass
        timed(result, opened, time.monotonic_ns(), size)
    result["connect_ms"] = took / MS


# Small exchanges ------------------------------------------------------------------------------------------------------


def exchange(sock: socket.socket, request: bytes) -> bool:
    """Send, and take as many bytes back; whether they are the same."""
    sock.sendall(request)
    return sock.recv(len(request), socket.MSG_WAITALL) == request


def request_response(
    result: Result,
    count: int = 200,
    size: int = 64,
    host: str = "echo.lab",
    port: int = 7,
    timeout: float = 300.0,
    family: int = 4,
) -> None:
    """``count`` exchanges of ``size`` bytes each way on one connection, each waiting for the one before."""
    request, times, right = content_bytes(size), [], True
    sock, opened, took = connect(find(host, port, socket.SOCK_STREAM, family), timeout)
    with sock:
        started = time.monotonic_ns()
        for _ in range(count):
            asked = time.monotonic_ns()
            right &= exchange(sock, request)
            times.append((time.monotonic_ns() - asked) / MS)
        ended = time.monotonic_ns()
    timed(result, opened, ended, 2 * size * count)
    result["connect_ms"] = took / MS
    result["rtt_ms"] = statistics.median(times)
    result["digest_ok"] = right
    result["details"].update(rtt_ms=times, per_second=count * 1e9 / max(ended - started, 1))


def burst(
    result: Result,
    count: int = 100,
    concurrency: int = 16,
    size: int = 16,
    host: str = "echo.lab",
    port: int = 7,
    timeout: float = 60.0,
    family: int = 4,
) -> None:
    """``count`` connections, ``concurrency`` at a time, each exchanging ``size`` bytes. Failures count by reason."""
    where, request = find(host, port, socket.SOCK_STREAM, family), content_bytes(size)
    numbers, lock = iter(range(count)), threading.Lock()
    times: list[float] = []
    failures: dict[str, int] = {}
    wrong = 0

    def worker() -> None:
        nonlocal wrong
        while True:
            with lock:
                if next(numbers, None) is None:
                    return
            try:
                sock, _, took = connect(where, timeout)
                with sock:
                    right = not request or exchange(sock, request)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(4096):
                        pass
            except OSError as error:
                reason = reason_of(error)
                with lock:
                    failures[reason] = failures.get(reason, 0) + 1
            else:
                with lock:
                    times.append(took / MS)
                    wrong += not right

    started = time.monotonic_ns()
    together([worker] * min(concurrency, count))
    ended = time.monotonic_ns()
    timed(result, started, ended, 2 * size * len(times))
    result["connect_ms"] = statistics.median(times) if times else None
    result["digest_ok"] = not wrong if times and size else None
    result["details"].update(connected=len(times), failures=failures, connect_ms=times)
    result["details"]["per_second"] = len(times) * 1e9 / max(ended - started, 1)
    if len(times) < count:
        raise Failed(f"connections: {count - len(times)} of {count} failed: {failures}")


# Datagrams ------------------------------------------------------------------------------------------------------------


def udp_echo(
    result: Result,
    count: int = 100,
    size: int = 64,
    rate: float = 100.0,
    host: str = "echo.lab",
    port: int = 7,
    family: int = 4,
) -> None:
    """``count`` datagrams of ``size`` bytes at ``rate`` a second, echoed."""
    stream(result, (host, port, family), rate, max(size, PROBE_SIZE), count)


def voip(result: Result, duration: float = 10.0, host: str = "echo.lab", port: int = 7, family: int = 4) -> None:
    """A voice call: 50 datagrams a second of 160 bytes (G.711, 20 ms each)."""
    stream(result, (host, port, family), 50, 160, round(50 * duration))


def game(result: Result, duration: float = 10.0, host: str = "echo.lab", port: int = 7, family: int = 4) -> None:
    """A shooter's updates: 60 datagrams a second of 300 bytes."""
    stream(result, (host, port, family), 60, 300, round(60 * duration))


def stream(result: Result, target: tuple[str, int, int], rate: float, size: int, count: int) -> None:
    """Send probes at a rate, take the answers as they come, and judge delay, jitter and loss."""
    host, port, family = target
    domain, address = find(host, port, socket.SOCK_DGRAM, family)
    answered: dict[int, tuple[int, int, int]] = {}
    sent = duplicates = 0
    with socket.socket(domain, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.send(b"\0")  # the first hop's address is asked for before the clock runs
        started = time.monotonic_ns()
        end = started + round(count / rate * 1e9 + LINGER * 1e9)
        while len(answered) < count:
            now = time.monotonic_ns()
            due = started + round(sent * 1e9 / rate) if sent < count else end
            if sent < count and now >= due:
                sock.send(make_probe(sent, now, size))
                sent += 1
            elif now >= end:
                break
            elif select.select([sock], [], [], (due - now) / 1e9)[0]:
                probe = read_probe(sock.recv(65535))
                if probe is not None and probe.sequence in answered:
                    duplicates += 1
                elif probe is not None:
                    answered[probe.sequence] = (probe.sent, probe.received, time.monotonic_ns())
    trips = list(answered.values())
    timed(result, started, started + round(count * 1e9 / rate), size * count)
    result["udp_loss"] = 1 - len(trips) / count if count else None
    result["details"].update(sent=sent, received=len(trips), duplicates=duplicates)
    if not trips:
        raise Failed("timeout: no datagram came back")
    result["rtt_ms"] = statistics.median((back - began) / MS for began, _, back in trips)
    delays = [(received - began) / MS for began, received, _ in trips]
    result["udp_delay_ms"] = statistics.median(delays)
    result["udp_jitter_ms"] = jitter(sorted(((s, r) for s, r, _ in trips), key=lambda pair: pair[1]))
    result["details"]["delay_ms"] = delays


def jitter(times: list[tuple[int, int]]) -> float | None:
    """RFC 3550 section 6.4.1 over ``(sent, received)`` in order of receipt, in ms."""
    value = 0.0
    for (sent, received), (sent_next, received_next) in zip(times, times[1:]):
        value += (abs((received_next - received) - (sent_next - sent)) - value) / 16
    return value / MS if len(times) > 1 else None


# The program ----------------------------------------------------------------------------------------------------------


def reason_of(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    return (error.strerror or str(error)).lower()


WORKLOADS: dict[str, Callable[..., None]] = {
    "download": download,
    "upload": upload,
    "parallel": parallel,
    "burst": burst,
    "rr": request_response,
    "udp-echo": udp_echo,
    "voip": voip,
    "game": game,
    "source": source,
    "sink": sink,
}
"""Name -> workload: a function that fills in the result, and raises :class:`Failed` or ``OSError``."""


def main(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run one program; what it found."""
    if name == "dhcp":
        return dhcp.lease(**parameters)
    result: Result = {"workload": name, "details": {}}
    try:
        WORKLOADS[name](result, **parameters)
        if result.get("digest_ok") is False:
            raise Failed("digest: the bytes that arrived are not those that were sent")
    except Failed as error:
        result.update(ok=False, error=str(error))
    except OSError as error:
        result.update(ok=False, error=f"{reason_of(error)}: {error}")
    return result


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
