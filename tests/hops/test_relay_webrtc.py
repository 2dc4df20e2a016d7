"""The relay of WebRTC without any WebRTC: signalling that names it in both directions, datagrams that obey a link."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from aero_lab.hops import Relay
from aero_lab.link import Link

PATIENCE = 30.0


def sdp(port: int, kind: str) -> dict[str, Any]:
    lines = ["v=0", f"m=application {port} UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 127.0.0.1", "a=mid:0"]
    lines += [f"a=candidate:x 1 udp 2130706431 127.0.0.1 {port} typ host", "a=end-of-candidates", ""]
    return {"sdp": {"type": kind, "sdp": "\r\n".join(lines)}}


def candidate(told: dict[str, Any]) -> tuple[str, int]:
    (line,) = [line for line in told["sdp"]["sdp"].split("\r\n") if line.startswith("a=candidate:")]
    words = line.split()
    return words[4], int(words[5])


class Server:
    """Answers offers, and sends every datagram back to where it came from."""

    def __init__(self) -> None:
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.offers: list[tuple[str, dict[str, Any], str | None]] = []
        self.senders: set[tuple[str, int]] = set()
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.offers.append((self.path, json.loads(body), self.headers["Authorization"]))
                said = sdp(outer.udp.getsockname()[1], "answer") if outer.status == 200 else {"message": "no"}
                data = json.dumps(said).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"ws://127.0.0.1:{self.http.server_port}/l2?token=T&guest=1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self._thread = threading.Thread(target=self._echo, daemon=True)
        self._thread.start()

    def _echo(self) -> None:
        while True:
            try:
                data, sender = self.udp.recvfrom(0xFFFF)
            except OSError:
                return
            if data == b"over":
                return
            self.senders.add(sender)
            self.udp.sendto(data, sender)

    def hang_up(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def close(self) -> None:
        self.hang_up()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"over", self.udp.getsockname())
        self._thread.join(PATIENCE)
        self.udp.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(PATIENCE)
        yield made


def post(relay: Relay, body: bytes, path: str = "/webrtc/offer?token=T&guest=1") -> tuple[int, dict[str, Any]]:
    base = relay.url.replace("ws://", "http://").partition("/l2")[0]
    request = urllib.request.Request(base + path, body, {"Authorization": "Bearer T"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else {}


def offer(relay: Relay, client: socket.socket) -> tuple[str, int]:
    status, told = post(relay, json.dumps(sdp(client.getsockname()[1], "offer")).encode())
    assert status == 200, told
    return candidate(told)


def test_each_side_finds_the_other_at_the_relay(server, client):
    with Relay(server.url, Link(rtt="40ms"), "webrtc") as relay:
        where = offer(relay, client)
        (path, body, authorization) = server.offers[0]
        began = time.monotonic()
        for number in range(20):
            client.sendto(b"%d" % number, where)
        came = [client.recvfrom(64) for _ in range(20)]
        took = time.monotonic() - began
        wire = relay.wire()
    assert (path, authorization) == ("/webrtc/offer?token=T&guest=1", "Bearer T")
    own = client.getsockname(), server.udp.getsockname()
    assert where not in own and server.senders == {candidate(body)} and candidate(body) not in own
    assert [data for data, _ in came] == [b"%d" % number for number in range(20)]
    assert {sender for _, sender in came} == {where}, "answers come from where the other is believed to be"
    assert took >= 0.040
    assert wire == (20 * 28 + 30, 20 * 28 + 30, 20, 20), "datagrams of one and two bytes, and their headers"


def test_datagrams_are_lost_doubled_and_damaged_as_the_link_says(server, client):
    link = Link(loss=(0.3, 0), duplicate=(0, 0.3), corrupt=(0, 0.2))
    with Relay(server.url, link, "webrtc-lossy", seed=5) as relay:
        where = offer(relay, client)
        for _ in range(200):
            client.sendto(bytes(72), where)
        client.settimeout(0.2)
        came: list[bytes] = []
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                came.append(client.recv(128))
                continue
            except TimeoutError:
                counters = relay.counters()
            up, down, headers = counters["up"], counters["down"], counters["relay"].get("header_corrupted", 0)
            passed = up["frames_in"] == 200 and down["frames_in"] == up["frames_out"] and not down["in_flight"]
            if passed and len(came) == down["frames_out"] - headers:
                break
        else:
            raise AssertionError((len(came), counters))
    assert up["lost"] > 20 and down["duplicated"] > 20 and down["corrupted"] > 10
    assert 0 < headers < down["corrupted"], "a header that was damaged is no datagram any more"
    assert sum(any(data) for data in came) == down["corrupted"] - headers


def test_strangers_are_not_passed_on(server, client):
    with Relay(server.url, Link(), "webrtc") as relay, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        where = offer(relay, client)
        stranger.sendto(b"let me in", where)
        client.sendto(b"me", where)
        assert client.recv(64) == b"me"
        assert relay.counters()["relay"] == {"stranger": 1}
    assert len(server.senders) == 1


GARBAGE = [b"", b"nonsense", b"[]", b'{"sdp": 1}', b'{"sdp": {"type": "offer", "sdp": "v=0"}}', b'{"sdp": {}}']


def test_garbage_for_an_offer_is_refused_and_goes_nowhere(server):
    with Relay(server.url, Link(), "webrtc") as relay:
        for body in GARBAGE:
            status, told = post(relay, body)
            assert status == 400 and told["message"], body
        assert post(relay, b"{}", "/l2")[0] == 404
    assert server.offers == []


def test_a_refusal_is_passed_on_and_a_server_that_is_gone_is_said(server, client):
    with Relay(server.url, Link(), "webrtc") as relay:
        server.status = 403
        assert post(relay, json.dumps(sdp(1, "offer")).encode()) == (403, {"message": "no"})
        server.hang_up()
        status, told = post(relay, json.dumps(sdp(client.getsockname()[1], "offer")).encode())
        assert (status, told) == (502, {"message": "the server does not answer"})
