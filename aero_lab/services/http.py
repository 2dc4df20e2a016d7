"""The HTTP server of the hermetic lab, on h11: content of any size down, digests of what came up, the awareness probe.

====================================  ==================================================================================
``GET /bytes/N``, ``/10MB``, ``/64KiB``  N bytes of :mod:`.content`; the MD5 as ``content-md5`` (RFC 1864, base64),
as hexadecimal in ``etag`` ``POST``, ``PUT`` anywhere                 ``{"bytes": n, "sha256": "..."}`` of the body
``GET /ncsi.txt``                          ``Microsoft NCSI``, ``GET /connecttest.txt`` ``Microsoft Connect Test``:
what Windows asks for ``GET /``                                  what there is
====================================  ==================================================================================

The body is made while it is pulled and digested while it arrives: a session holds no more than a buffer, whatever N
is. There is no clock here, so no ``Date`` (RFC 9110 section 6.6.1 allows that).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import deque
from typing import Any

import h11

from ..limits import HTTP_BODY_BYTES, HTTP_DIGEST_BYTES, SERVICE_BUFFER
from .base import Chunk
from .content import DIGEST_TURN, Digest, content, known_md5

FIXED = {
    "/": b"aero_lab hermetic HTTP service\nGET /bytes/N, /10MB, /64KiB, /ncsi.txt; POST or PUT anything\n",
    "/ncsi.txt": b"Microsoft NCSI",
    "/connecttest.txt": b"Microsoft Connect Test",
}
"""Answers that never change."""
_SIZE = re.compile(r"/(?:bytes/)?(\d{1,15})(B|[kKMGT]i?B)?")
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}


def body_size(path: str) -> int | None:
    """Bytes that ``/bytes/N``, ``/10MB`` (decimal) or ``/10MiB`` (binary) ask for; None for another path or too
    many."""
    match = _SIZE.fullmatch(path)
    if match is None:
        return None
    number, unit = int(match[1]), match[2] or "B"
    if unit == "B":
        return number if path.startswith("/bytes/") and number <= HTTP_BODY_BYTES else None
    size = number * (1024 if "i" in unit else 1000) ** _UNITS[unit[0].upper()]
    return size if size <= HTTP_BODY_BYTES else None


class Http:
    """The service; counts its requests by status."""

    def __init__(self) -> None:
        self.responses: dict[int, int] = {}

    def connected(self, conn: Any = None) -> HttpSession:
        return HttpSession(self)


class HttpSession:
    """One connection: any number of requests, one after the other, pipelined ones included."""

    def __init__(self, service: Http):
        self._service = service
        self._h11 = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._digest = hashlib.sha256()
        self._received = 0
        self._out: deque[memoryview] = deque()
        self._out_bytes = 0
        self._position = self._left = 0  # of the content being sent
        self._job: tuple[int, bool, Digest] | None = None  # size and kind of a response that waits for its digest
        self._busy = False  # a response is not finished; later requests wait inside h11
        self._stalled = False  # as much output waits as may; later requests wait inside h11
        self._waiting = 0  # bytes inside h11
        self.done = False

    @property
    def room(self) -> int:
        if self.done:
            return SERVICE_BUFFER  # read and thrown away, so that the answer is not lost to a reset
        return max(0, SERVICE_BUFFER - self._out_bytes - self._waiting)

    def data(self, view: Chunk) -> None:
        if not self.done:
            self._h11.receive_data(view)  # type: ignore[arg-type]
            self._go_on()

    def eof(self) -> None:
        if not self.done:
            self._h11.receive_data(b"")
            self._go_on()

    @property
    def working(self) -> bool:
        return self._job is not None

    def output(self, most: int) -> Chunk:
        if self._job is not None and not self._out:
            size, head_only, digest = self._job
            md5 = digest.work(DIGEST_TURN)
            if md5 is not None:
                self._job = None
                self._start_content(size, head_only, md5)
        if not self._out and self._left:
            piece = content(self._position, min(most, self._left, SERVICE_BUFFER))
            self._position += len(piece)
            self._left -= len(piece)
            self._send(h11.Data(data=piece))  # type: ignore[arg-type]
            if not self._left:
                self._finish()
                self._go_on()
        if not self._out or most <= 0:
            return b""
        first = self._out[0]
        if len(first) <= most:
            self._out.popleft()
        else:
            first, self._out[0] = first[:most], first[most:]
        self._out_bytes -= len(first)
        if self._stalled and self._out_bytes < SERVICE_BUFFER // 2:
            self._go_on()
        return first

    # Requests -------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Work through what has arrived, until more is needed, a response is under way or too many wait to be read."""
        try:
            self._advance()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
        self._waiting = len(self._h11.trailing_data[0])

    def _advance(self) -> None:
        self._stalled = False
        while not self._busy and not self.done:
            if self._out_bytes >= SERVICE_BUFFER:
                self._stalled = True
                break
            event = self._h11.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                break
            if isinstance(event, h11.Request):
                self._request = event
                self._digest, self._received = hashlib.sha256(), 0
                if self._h11.they_are_waiting_for_100_continue and event.method in (b"POST", b"PUT"):
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.Data):
                self._digest.update(event.data)
                self._received += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._respond()
            elif isinstance(event, h11.ConnectionClosed):
                self.done = True

    def _respond(self) -> None:
        assert self._request is not None
        method = self._request.method.decode("ascii")
        path = self._request.target.decode("ascii", "replace").partition("?")[0]
        if path.startswith("http://"):
            path = "/" + path[7:].partition("/")[2]
        if method in ("POST", "PUT"):
            text = json.dumps({"bytes": self._received, "sha256": self._digest.hexdigest()}).encode()
            self._answer(200, "application/json", text)
        elif method not in ("GET", "HEAD"):
            self._answer(405, "text/plain", b"GET, HEAD, POST, PUT\n", [("allow", "GET, HEAD, POST, PUT")])
        elif path in FIXED:
            self._answer(200, "text/plain", FIXED[path])
        else:
            size = body_size(path)
            if size is None:
                self._answer(404, "text/plain", b"not here\n")
            else:
                self._send_content(size, method == "HEAD")

    def _send_content(self, size: int, head_only: bool) -> None:
        md5 = known_md5(size)
        if md5 is None and size <= HTTP_DIGEST_BYTES:
            self._busy = True
            self._job = (size, head_only, Digest(size))
        else:
            self._start_content(size, head_only, md5)

    def _start_content(self, size: int, head_only: bool, md5: bytes | None) -> None:
        headers = [("content-type", "application/octet-stream"), ("content-length", str(size))]
        if md5 is not None:
            headers += [("content-md5", base64.b64encode(md5).decode()), ("etag", f'"{md5.hex()}"')]
        self._start(200, headers)
        self._position, self._left = 0, 0 if head_only else size
        if not self._left:
            self._finish()

    def _answer(self, status: int, kind: str, body: bytes, more: list[tuple[str, str]] | None = None) -> None:
        self._start(status, [("content-type", kind), ("content-length", str(len(body))), *(more or [])])
        if self._request is None or self._request.method != b"HEAD":
            self._send(h11.Data(data=body))
        self._finish()

    def _refuse(self, status: int, text: str) -> None:
        """Answer a request that is no HTTP, then close."""
        self._request = None
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(status, "text/plain", text.encode("ascii", "replace") + b"\n", [("connection", "close")])
        self.done = True

    def _start(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._busy = True
        self._service.responses[status] = self._service.responses.get(status, 0) + 1
        self._send(h11.Response(status_code=status, headers=[("server", "aero_lab"), *headers]))

    def _finish(self) -> None:
        self._send(h11.EndOfMessage())
        self._busy = False
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        elif self._h11.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            self.done = True

    def _send(self, event: Any) -> None:
        for piece in self._h11.send_with_data_passthrough(event) or ():
            if len(piece):
                self._out.append(memoryview(piece))
                self._out_bytes += len(piece)
