"""The HTTP service as a session without I/O, against h11's client side."""

from __future__ import annotations

import base64
import hashlib
import json

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aero_lab.limits import HTTP_BODY_BYTES, HTTP_DIGEST_BYTES, SERVICE_BUFFER
from aero_lab.services.content import DIGEST_TURN, content_bytes
from aero_lab.services.http import Http, HttpSession, body_size

HEAD = b"GET %b HTTP/1.1\r\nHost: files.lab\r\n\r\n"


def session() -> HttpSession:
    return Http().connected()


def drain(s: HttpSession, step: int = 1 << 20) -> bytes:
    out = bytearray()
    while len(chunk := s.output(step)) or s.working:
        assert len(chunk) <= step
        out += chunk
    return bytes(out)


def answers(raw: bytes, methods: list[bytes]) -> list[tuple[int, dict, bytes]]:
    """Parsed responses to these requests, by an independent reader of HTTP."""
    out = []
    client = h11.Connection(h11.CLIENT)
    client.receive_data(raw)
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("host", "x"), ("content-length", "0")]))
        client.send(h11.EndOfMessage())
        body = b""
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                assert isinstance(event, h11.InformationalResponse), event
        out.append((head.status_code, {k.decode(): v.decode() for k, v in head.headers}, body))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    return out


def ask(request: bytes, method: bytes = b"GET") -> tuple[int, dict, bytes]:
    s = session()
    s.data(request)
    return answers(drain(s), [method])[0]


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/bytes/0", 0),
        ("/bytes/10", 10),
        ("/bytes/10kB", 10_000),
        ("/10MB", 10_000_000),
        ("/10MiB", 10 << 20),
        ("/1GB", 10**9),
        ("/64KiB", 65536),
        ("/1TiB", HTTP_BODY_BYTES),
        ("/2TiB", None),
        ("/10", None),
        ("/", None),
        ("/MB", None),
        ("/bytes/-1", None),
        ("/bytes/9999999999999999", None),
        ("/10XB", None),
        ("/10MB/x", None),
    ],
)
def test_body_size(path, size):
    assert body_size(path) == size


def test_awareness_probe_body_is_exact():
    status, headers, body = ask(b"GET /ncsi.txt HTTP/1.1\r\nHost: www.msftncsi.com\r\nConnection: close\r\n\r\n")
    assert (status, body, headers["content-length"]) == (200, b"Microsoft NCSI", "14")


@pytest.mark.parametrize("size", [0, 1, 65536, 1_048_573, 1_048_574, 3_000_000])
def test_content_comes_with_its_digest(size):
    status, headers, body = ask(HEAD % b"/bytes/%d" % size)
    assert status == 200
    assert body == content_bytes(size)
    assert base64.b64decode(headers["content-md5"]) == hashlib.md5(body).digest()
    assert headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'


def test_bodies_too_large_to_digest_are_announced_without():
    s = session()
    s.data(HEAD % (b"/bytes/%d" % (HTTP_DIGEST_BYTES + 1)))
    head = bytes(s.output(1 << 16))
    assert b"200" in head.split(b"\r\n")[0]
    assert b"md5" not in head


def test_digesting_is_done_in_turns_and_only_once():
    s = session()
    size = 3 * DIGEST_TURN + 17
    s.data(HEAD % b"/bytes/%d" % size)
    turns = 0
    while not len(first := s.output(1000)):
        assert s.working and not s.done
        turns += 1
    assert turns == 3 and not s.working
    assert bytes(first).startswith(b"HTTP/1.1 200 ")
    again = session()
    again.data(HEAD % b"/bytes/%d" % size)
    assert len(again.output(1000))


def test_a_request_behind_one_that_is_being_digested_waits():
    s = session()
    s.data(HEAD % b"/bytes/9000017" + HEAD % b"/ncsi.txt")
    assert s.working and not len(s.output(10))
    assert [len(body) for _, _, body in answers(drain(s), [b"GET", b"GET"])] == [9000017, 14]


def test_a_terabyte_costs_a_buffer():
    s = session()
    s.data(HEAD % b"/1TiB")
    for _ in range(50):
        assert 0 < len(s.output(1 << 20)) <= SERVICE_BUFFER
        assert s._out_bytes <= SERVICE_BUFFER


def test_head_has_no_body():
    status, headers, body = ask(b"HEAD /10MB HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD")
    assert (status, headers["content-length"], body) == (200, "10000000", b"")


def test_unknown_path_and_method():
    assert ask(HEAD % b"/nothing")[0] == 404
    status, headers, _ = ask(b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", b"DELETE")
    assert (status, headers["allow"]) == (405, "GET, HEAD, POST, PUT")


def test_absolute_target_and_query_are_understood():
    assert ask(HEAD % b"http://files.lab/ncsi.txt?x=1")[2] == b"Microsoft NCSI"


def test_upload_is_answered_with_length_and_digest():
    body = content_bytes(700_000)
    s = session()
    s.data(b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 700000\r\n\r\n")
    for at in range(0, len(body), 60_000):
        assert s.room == SERVICE_BUFFER, "an upload never closes the door on itself"
        s.data(memoryview(body)[at : at + 60_000])
    status, _, text = answers(drain(s), [b"POST"])[0]
    assert status == 200
    assert json.loads(text) == {"bytes": 700_000, "sha256": hashlib.sha256(body).hexdigest()}


def test_chunked_upload_and_100_continue():
    s = session()
    s.data(b"PUT /up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert drain(s).startswith(b"HTTP/1.1 100 ")
    s.data(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    assert json.loads(answers(drain(s), [b"PUT"])[0][2])["sha256"] == hashlib.sha256(b"hello world").hexdigest()


def test_http_1_0_closes():
    s = session()
    s.data(b"GET /ncsi.txt HTTP/1.0\r\n\r\n")
    assert drain(s).endswith(b"Microsoft NCSI")
    assert s.done


@given(st.data())
def test_how_the_bytes_are_cut_changes_nothing(data):
    script = (
        (HEAD % b"/bytes/1000")
        + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world"
        + (HEAD % b"/ncsi.txt")
    )
    whole = session()
    whole.data(script)
    expected = drain(whole)
    s = session()
    out = bytearray()
    at = 0
    while at < len(script):
        size = data.draw(st.integers(1, 60))
        s.data(script[at : at + size])
        at += size
        out += s.output(data.draw(st.integers(0, 500)))
        assert not s.working or s.room
    out += drain(s, data.draw(st.integers(1, 700)))
    assert bytes(out) == expected
    assert [a[0] for a in answers(bytes(out), [b"GET", b"POST", b"GET"])] == [200, 200, 200]


def test_pipelined_requests_are_answered_in_order_and_held_back():
    s = session()
    request = HEAD % b"/ncsi.txt"
    number = SERVICE_BUFFER // len(request)
    s.data(request * number)
    assert s._out_bytes < SERVICE_BUFFER + 1000, "answers pile up without bound"
    assert s.room < SERVICE_BUFFER
    out = drain(s)
    assert out.count(b"Microsoft NCSI") == number
    assert s.room == SERVICE_BUFFER


def test_requests_behind_a_long_body_wait():
    s = session()
    s.data(HEAD % b"/10MB")
    while not len(first := s.output(10)):
        assert s.working
    s.data(HEAD % b"/ncsi.txt")
    rest = drain(s)
    replies = answers(bytes(first) + rest, [b"GET", b"GET"])
    assert [len(body) for _, _, body in replies] == [10_000_000, 14]


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00" * 10 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000,
    ],
)
def test_what_is_no_http_gets_400_and_a_close(junk):
    s = session()
    s.data(junk)
    out = drain(s)
    assert out.split(b" ")[1] in (b"400", b"431", b"501")
    assert s.done
    s.data(b"more")
    s.eof()
    assert not len(s.output(100))


def test_eof_ends_the_session_after_the_answer():
    s = session()
    s.data(HEAD % b"/bytes/100000")
    s.eof()
    assert not s.done
    assert len(drain(s)) > 100_000
    assert s.done


def test_eof_in_the_middle_of_a_request():
    s = session()
    s.data(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello")
    s.eof()
    drain(s)
    assert s.done


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_no_bytes_raise(chunks):
    s = session()
    for chunk in chunks:
        if s.room >= len(chunk):
            s.data(chunk)
        s.output(50)
    s.eof()
    drain(s)
    assert s.done
