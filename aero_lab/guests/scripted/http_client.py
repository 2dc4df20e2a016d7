"""The client side of HTTP/1.1: heads by h11, bodies straight between the stack's buffers and a digest.

h11 reads every head and every body whose length is not told beforehand. A body with ``Content-Length`` is counted here:
its bytes go as views from the receive buffer into the digest, and are never all in memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11

from ...limits import HTTP_CHUNK, HTTP_HEAD, NEVER
from .sockets import TcpSocket
from .tasks import TaskError, TaskGenerator

if TYPE_CHECKING:
    from .guest import ScriptedGuest

READ_PIECE = 64 << 10
"""Bytes h11 gets at a time."""


@dataclass
class Answer:
    """An HTTP answer, its body digested."""

    status: int
    headers: dict[str, str]
    length: int = 0
    """Bytes of body received."""
    body: bytes = b""
    """The first bytes of the body, as many as were asked to be kept."""
    digests: dict[str, bytes] = field(default_factory=dict)
    """Digests of the whole body by name, those that the answer announces."""
    sent_at: int = 0
    """When the request was handed to the stack (ns)."""
    first_byte_at: int = 0
    """When the first byte of the answer was there (ns)."""
    done_at: int = 0
    """When the last byte of the body was there (ns)."""

    @property
    def announced(self) -> dict[str, bytes]:
        """Digests the server announced: Content-MD5 (RFC 1864), Repr-Digest (RFC 9530), Digest (RFC 3230)."""
        return announced_digests(self.headers)

    @property
    def digest_ok(self) -> bool | None:
        """Whether the body is what the server announced; None when it announced nothing."""
        announced = self.announced
        return all(self.digests.get(name) == value for name, value in announced.items()) if announced else None


def announced_digests(headers: dict[str, str]) -> dict[str, bytes]:
    """``{"sha256" or "md5": digest}`` from an answer's headers, SHA-256 alone if there are both.

    A value that is no base64 counts as a wrong digest.
    """
    found: dict[str, bytes] = {}
    if "content-md5" in headers:
        found["md5"] = _base64(headers["content-md5"])
    for item in ",".join(filter(None, (headers.get("digest"), headers.get("repr-digest")))).split(","):
        name, _, value = item.strip().partition("=")
        if name.lower() in ("sha-256", "md5") and value:
            found[name.lower().replace("-", "")] = _base64(value.strip(":"))
    return {"sha256": found["sha256"]} if "sha256" in found else found


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


class _Body:
    """Counts, digests and keeps the beginning of a body."""

    def __init__(self, names: Any, keep: int):
        self.hashes = {name: hashlib.new(name) for name in names}
        self.length = 0
        self.kept = bytearray()
        self._keep = keep

    def take(self, view: Any) -> None:
        self.length += len(view)
        for digest in self.hashes.values():
            digest.update(view)
        if len(self.kept) < self._keep:
            self.kept += view[: self._keep - len(self.kept)]


class HttpClient:
    """One connection to an HTTP server, for one request after another.

    ``headers`` go with each request in this order, those of a body behind them.
    """

    def __init__(
        self,
        guest: ScriptedGuest,
        host: str,
        address: bytes,
        port: int = 80,
        headers: tuple[tuple[str, str], ...] = (("User-Agent", "aero-lab"), ("Accept", "*/*")),
    ):
        self._guest = guest
        named = any(name.lower() == "host" for name, _ in headers)
        literal = f"[{host}]" if ":" in host else host
        self._headers = headers if named else (("Host", literal), *headers)
        self._address = address
        self._port = port
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HTTP_HEAD)
        self._under_way = False
        self.socket: TcpSocket | None = None

    def open(self, until: int = NEVER) -> TaskGenerator:
        """Task: connect."""
        self.socket = yield from self._guest.connect(self._address, self._port, until)
        return self.socket

    def get(self, path: str, until: int = NEVER, keep: int = 0) -> TaskGenerator:
        """Task: GET ``path``; the :class:`Answer` keeps the first ``keep`` bytes of the body."""
        return (yield from self._exchange("GET", path, None, 0, until, keep))

    def post(
        self, path: str, length: int, pieces: Iterator[Any], until: int = NEVER, keep: int = 4096, method: str = "POST"
    ) -> TaskGenerator:
        """Task: POST ``length`` bytes taken from ``pieces``."""
        return (yield from self._exchange(method, path, pieces, length, until, keep))

    def close(self) -> None:
        """End the connection: gracefully, or by a reset when an exchange is under way."""
        if self.socket is not None and self.socket.reason is None:
            if self._under_way:
                self.socket.abort()
            else:
                self.socket.shutdown()

    def _exchange(
        self, method: str, path: str, pieces: Iterator[Any] | None, length: int, until: int, keep: int
    ) -> TaskGenerator:
        socket, guest = self.socket, self._guest
        assert socket is not None, "open() comes first"
        headers = list(self._headers)
        if pieces is not None:
            headers += [("Content-Type", "application/octet-stream"), ("Content-Length", str(length))]
        try:
            if self._http.our_state is h11.DONE:
                self._http.start_next_cycle()
            head = self._http.send(h11.Request(method=method, target=path, headers=headers))
        except h11.ProtocolError as error:
            raise TaskError("http", str(error)) from None
        sent_at = guest.now
        self._under_way = True
        yield from socket.send(head or b"", until)
        if pieces is not None:
            for piece in pieces:
                # h11 counts the body against Content-Length and, with this call, copies nothing.
                for part in self._http.send_with_data_passthrough(h11.Data(data=piece)) or ():
                    yield from socket.send(part, until)
        self._http.send(h11.EndOfMessage())
        answer = yield from self._answer(sent_at, until, keep)
        self._under_way = False
        return answer

    def _answer(self, sent_at: int, until: int, keep: int) -> TaskGenerator:
        socket, guest = self.socket, self._guest
        assert socket is not None
        yield from socket.readable(until)
        first_byte_at = guest.now
        response = yield from self._next_event(until)
        while isinstance(response, h11.InformationalResponse):
            response = yield from self._next_event(until)
        if not isinstance(response, h11.Response):
            raise TaskError("http", "no answer before the end of the stream")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        answer = Answer(response.status_code, headers, sent_at=sent_at, first_byte_at=first_byte_at)
        body = _Body(answer.announced, keep)
        if "content-length" in headers and "transfer-encoding" not in headers:
            yield from self._sized_body(int(headers["content-length"]), body.take, until)
        else:
            yield from self._other_body(body.take, until)
        answer.done_at = guest.now
        answer.length, answer.body = body.length, bytes(body.kept)
        answer.digests = {name: digest.digest() for name, digest in body.hashes.items()}
        return answer

    def _sized_body(self, length: int, take: Callable[[Any], None], until: int) -> TaskGenerator:
        """A body of known length: what h11 holds already, then the rest from the receive buffer."""
        socket = self.socket
        assert socket is not None
        held = self._http.trailing_data[0]
        take(memoryview(held)[:length])
        missing = length - min(len(held), length)
        while missing:
            if not (yield from socket.readable(until)):
                raise TaskError("end-of-stream", f"{missing} bytes of the body missing")
            missing -= socket.drain(take, missing)
        # h11 has not seen this body: the next exchange on this connection starts with a fresh one.
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HTTP_HEAD)
        if len(held) > length:
            self._http.receive_data(held[length:])

    def _other_body(self, take: Callable[[Any], None], until: int) -> TaskGenerator:
        while isinstance(event := (yield from self._next_event(until)), h11.Data):
            take(event.data)
        if isinstance(event, h11.ConnectionClosed):
            raise TaskError("end-of-stream", "body cut short")

    def _next_event(self, until: int) -> TaskGenerator:
        socket = self.socket
        assert socket is not None
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data((yield from socket.receive(READ_PIECE, until)))
        except h11.RemoteProtocolError as error:
            raise TaskError("http", str(error)) from None
        return event


def pieces_of(content: Callable[[int, int], Any], length: int, digest: Any = None) -> Iterator[Any]:
    """``length`` bytes of ``content(offset, size)`` a chunk at a time, each told to ``digest`` on its way."""
    offset = 0
    while offset < length:
        piece = content(offset, min(HTTP_CHUNK, length - offset))
        if digest is not None:
            digest.update(piece)
        yield piece
        offset += len(piece)
