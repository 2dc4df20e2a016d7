"""Bulk transfers: HTTP download and upload, many at once, and the plain discard and chargen-like services."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from ....limits import SECOND
from ....services.content import ContentCheck, content
from ..http_client import Answer, HttpClient, pieces_of
from ..tasks import TaskError, TaskGenerator, gather
from .result import WorkloadResult, measured, median, milliseconds, size_of

if TYPE_CHECKING:
    from ..guest import ScriptedGuest

PATIENCE = 3600.0
"""Seconds after which a transfer is given up."""


def _fetch(guest: ScriptedGuest, address: bytes, host: str, port: int, path: str, until: int) -> TaskGenerator:
    """GET ``path`` on a connection of its own. Returns ``(answer, opened_at, connect_ns, done_at, digest_ok)``."""
    client = HttpClient(guest, host, address, port)
    try:
        socket = yield from client.open(until)
        answer: Answer = yield from client.get(path, until)
        if answer.status != 200:
            raise TaskError("http-status", str(answer.status))
        return answer, socket.opened_at, socket.connect_ns, answer.done_at, answer.digest_ok
    finally:
        client.close()


def _push(
    guest: ScriptedGuest, address: bytes, host: str, port: int, path: str, size: int, until: int
) -> TaskGenerator:
    """POST ``size`` bytes of content on a connection of its own. Returns as :func:`_fetch`."""
    client = HttpClient(guest, host, address, port)
    digest = hashlib.sha256()
    try:
        socket = yield from client.open(until)
        answer: Answer = yield from client.post(path, size, pieces_of(content, size, digest), until)
        if answer.status != 200:
            raise TaskError("http-status", str(answer.status))
        return answer, socket.opened_at, socket.connect_ns, answer.done_at, _confirmed(answer, size, digest.hexdigest())
    finally:
        client.close()


def _confirmed(answer: Answer, size: int, sha256: str) -> bool:
    """Whether the service says that it got these bytes."""
    try:
        told = json.loads(answer.body)
        return told["bytes"] == size and told["sha256"] == sha256
    except (ValueError, KeyError, TypeError):
        return False


def _note(result: WorkloadResult, outcomes: list[tuple[Answer, int, int, int, bool | None]], sizes: list[int]) -> None:
    started, ended = min(o[1] for o in outcomes), max(o[3] for o in outcomes)
    result.timed(started, ended, sum(sizes))
    result.connect_ms = median(milliseconds(o[2] for o in outcomes))
    result.ttfb_ms = median(milliseconds(o[0].first_byte_at - o[0].sent_at for o in outcomes))
    verdicts = [o[4] for o in outcomes]
    result.digest_ok = False if False in verdicts else None if None in verdicts else True


@measured("download")
def download(
    guest: ScriptedGuest,
    result: WorkloadResult,
    size: int | str = 10 << 20,
    host: str = "files.lab",
    port: int = 80,
    path: str | None = None,
    timeout: float = PATIENCE,
    family: int | None = None,
) -> TaskGenerator:
    """HTTP GET of ``size`` bytes (or of ``path``), verified by the digest that the server announces."""
    until = guest.now + round(timeout * SECOND)
    address = yield from guest.resolve(host, family)
    target = path if path is not None else f"/bytes/{size_of(size)}"
    outcome = yield from _fetch(guest, address, host, port, target, until)
    _note(result, [outcome], [outcome[0].length])


@measured("upload")
def upload(
    guest: ScriptedGuest,
    result: WorkloadResult,
    size: int | str = 10 << 20,
    host: str = "files.lab",
    port: int = 80,
    path: str = "/upload",
    timeout: float = PATIENCE,
    family: int | None = None,
) -> TaskGenerator:
    """HTTP POST of ``size`` bytes; the server answers their number and SHA-256."""
    until = guest.now + round(timeout * SECOND)
    total = size_of(size)
    address = yield from guest.resolve(host, family)
    outcome = yield from _push(guest, address, host, port, path, total, until)
    _note(result, [outcome], [total])


@measured("parallel")
def parallel(
    guest: ScriptedGuest,
    result: WorkloadResult,
    flows: int = 4,
    size: int | str = 4 << 20,
    direction: str = "down",
    host: str = "files.lab",
    port: int = 80,
    timeout: float = PATIENCE,
    family: int | None = None,
) -> TaskGenerator:
    """``flows`` transfers of ``size`` bytes each at once, ``direction`` ``down``, ``up`` or ``both`` (in turn)."""
    until = guest.now + round(timeout * SECOND)
    total = size_of(size)
    address = yield from guest.resolve(host, family)
    tasks = []
    for number in range(flows):
        up = direction == "up" or (direction == "both" and number % 2 == 1)
        task = (
            _push(guest, address, host, port, "/upload", total, until)
            if up
            else _fetch(guest, address, host, port, f"/bytes/{total}", until)
        )
        tasks.append(guest.start(task, f"parallel-{number}"))
    try:
        outcomes: list[Any] = yield from gather(tasks)
    finally:
        for task in tasks:
            task.cancel()
    _note(result, outcomes, [total] * flows)
    each = [total * 8e3 / max(o[3] - o[1], 1) for o in outcomes]
    result.details["flow_mbps"] = each
    result.details["fairness"] = sum(each) ** 2 / (len(each) * sum(rate * rate for rate in each))  # Jain's index


@measured("source")
def source(
    guest: ScriptedGuest,
    result: WorkloadResult,
    size: int | str = 10 << 20,
    host: str = "source.lab",
    port: int = 19,
    timeout: float = PATIENCE,
    family: int | None = None,
) -> TaskGenerator:
    """``size`` bytes from the endless source, compared with the content as they arrive, then a reset."""
    check = ContentCheck()
    yield from _raw(guest, result, size, host, port, timeout, family, check)
    result.digest_ok = check.wrong_at is None


@measured("sink")
def sink(
    guest: ScriptedGuest,
    result: WorkloadResult,
    size: int | str = 10 << 20,
    host: str = "sink.lab",
    port: int = 9,
    timeout: float = PATIENCE,
    family: int | None = None,
) -> TaskGenerator:
    """``size`` bytes to the discard service, until it has closed too. Nobody says whether they were right."""

    yield from _raw(guest, result, size, host, port, timeout, family, None)


def _take(socket: Any, total: int, until: int, check: ContentCheck) -> TaskGenerator:
    missing = total
    while missing:
        if not (yield from socket.readable(until)):
            raise TaskError("end-of-stream", f"{missing} bytes missing")
        missing -= socket.drain(check.update, missing)


def _give(socket: Any, total: int, until: int) -> TaskGenerator:
    for piece in pieces_of(content, total):
        yield from socket.send(piece, until)
    yield from socket.finish(until)


def _raw(
    guest: ScriptedGuest,
    result: WorkloadResult,
    size: int | str,
    host: str,
    port: int,
    timeout: float,
    family: int | None,
    check: ContentCheck | None,
) -> TaskGenerator:
    """Take bytes from a plain connection and ``check`` them, or give it some, until it is reset at the end."""
    until = guest.now + round(timeout * SECOND)
    total = size_of(size)
    socket = yield from guest.connect((yield from guest.resolve(host, family)), port, until)
    try:
        if check is not None:
            yield from _take(socket, total, until, check)
        else:
            yield from _give(socket, total, until)
        result.timed(socket.opened_at, guest.now, total)
        result.connect_ms = socket.connect_ns / 1e6
    finally:
        socket.abort()
