"""The HTTP client against servers that are right, wrong, slow and hostile."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aero_lab.guests.scripted import TaskError
from aero_lab.guests.scripted.http_client import HttpClient, announced_digests, pieces_of
from aero_lab.limits import HTTP_HEAD, SECOND
from aero_lab.services.content import content, content_bytes

from .server import SERVER, Host, Pair

BODY = content_bytes(100_000)
MD5 = base64.b64encode(hashlib.md5(BODY).digest())


def fetch(reply, path="/", until=20 * SECOND, keep=1 << 20, **pair):
    """The answer to one GET, where the server sends ``reply`` (None at its end: close) once the request is complete."""
    requests = []

    def talk(conn, received):
        if received.endswith(b"\r\n\r\n") and not requests:
            requests.append(received)
            return reply
        return b""

    both = Pair(Host(talk), **pair)

    def task():
        client = HttpClient(both.guest, "server.lab", SERVER)
        try:
            yield from client.open(until)
            return (yield from client.get(path, until, keep=keep))
        finally:
            client.close()

    return both.run_task(task()), requests


def test_request_and_sized_answer():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-MD5: " + MD5 + b"\r\n\r\n"
    answer, (request,) = fetch(head + BODY, "/some/path")
    assert request.startswith(b"GET /some/path HTTP/1.1\r\nHost: server.lab\r\n")
    assert answer.status == 200 and answer.length == 100_000 and answer.body == BODY and answer.digest_ok is True


def test_a_body_that_differs_in_one_byte():
    wrong = bytearray(BODY)
    wrong[77_777] ^= 1
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-MD5: " + MD5 + b"\r\n\r\n"
    answer, _ = fetch(head + bytes(wrong))
    assert answer.digest_ok is False


def test_without_a_digest_nothing_is_claimed():
    answer, _ = fetch(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    assert answer.digest_ok is None and answer.body == b"hello"


def test_chunked_answer():
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (b"Microsoft ", b"NC", b"SI")) + b"0\r\n\r\n"
    answer, _ = fetch(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.body == b"Microsoft NCSI" and answer.length == 14


def test_interim_answers_are_passed_over():
    answer, _ = fetch(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert answer.status == 404 and answer.body == b""


def test_only_the_beginning_is_kept():
    answer, _ = fetch(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + BODY, keep=10)
    assert answer.body == BODY[:10] and answer.length == 100_000


@pytest.mark.parametrize(
    "reply, reason",
    [
        (b"220 smtp.example ESMTP\r\n\r\n", "http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "http"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * (HTTP_HEAD + 10), "http"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour", "timeout"),
        (b"", "timeout"),
    ],
)
def test_bad_answers_end_with_a_reason(reply, reason):
    with pytest.raises(TaskError) as caught:
        fetch(reply)
    assert caught.value.reason == reason


@pytest.mark.parametrize("tail", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour"])
def test_a_server_that_closes_too_early(tail):
    stage = []

    def talk(conn, received):
        if received.endswith(b"\r\n\r\n"):
            if stage:
                return None
            stage.append(1)
            conn.write(tail, 0)
            return None
        return b""

    both = Pair(Host(talk))

    def task():
        client = HttpClient(both.guest, "server.lab", SERVER)
        yield from client.open()
        return (yield from client.get("/"))

    with pytest.raises(TaskError) as caught:
        both.run_task(task())
    assert caught.value.reason in ("end-of-stream", "http")


def test_two_requests_on_one_connection_and_an_upload():
    seen = []

    def talk(conn, received):
        new = received[sum(map(len, seen)) :]
        if new.startswith(b"GET") and new.endswith(b"\r\n\r\n"):
            seen.append(new)
            return b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
        if new.startswith(b"POST") and len(new.partition(b"\r\n\r\n")[2]) == 300_000:
            seen.append(new)
            return b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\ndone"
        return b""

    both = Pair(Host(talk))

    def task():
        client = HttpClient(both.guest, "server.lab", SERVER)
        yield from client.open()
        first = yield from client.get("/a", keep=10)
        digest = hashlib.sha256()
        second = yield from client.post("/b", 300_000, pieces_of(content, 300_000, digest), keep=10)
        third = yield from client.get("/c", keep=10)
        client.close()
        return [a.body for a in (first, second, third)], digest.hexdigest()

    bodies, digest = both.run_task(task())
    assert bodies == [b"yes", b"done", b"yes"]
    assert seen[1].partition(b"\r\n\r\n")[2] == content_bytes(300_000)
    assert digest == hashlib.sha256(content_bytes(300_000)).hexdigest()


def test_announced_digests():
    assert announced_digests({"content-md5": base64.b64encode(b"x" * 16).decode()}) == {"md5": b"x" * 16}
    both = {"repr-digest": "sha-256=:" + base64.b64encode(b"y" * 32).decode() + ":", "digest": "md5=!!, crc=aa"}
    assert announced_digests(both) == {"sha256": b"y" * 32}
    assert announced_digests({"digest": "md5=!!, crc=aa"}) == {"md5": b""}
    assert announced_digests({"content-type": "text/plain"}) == {}


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 \r\n", b"HTTP/1.1 100 Continue\r\n"]),
            st.lists(
                st.sampled_from(
                    [
                        b"Content-Length: 3\r\n",
                        b"Content-Length: 99999999999\r\n",
                        b"Transfer-Encoding: chunked\r\n",
                        b"Transfer-Encoding: gzip\r\n",
                        b"Connection: close\r\n",
                        b"Content-MD5: !\r\n",
                        b": nothing\r\n",
                        b" folded\r\n",
                    ]
                ),
                max_size=3,
            ),
            st.binary(max_size=50),
        ).map(lambda parts: parts[0] + b"".join(parts[1]) + b"\r\n" + parts[2]),
    )
)
def test_whatever_a_server_sends_the_task_ends_with_an_answer_or_a_reason(reply):
    try:
        answer, _ = fetch(reply, until=5 * SECOND)
    except TaskError as error:
        assert error.reason in ("http", "timeout", "end-of-stream")
    else:
        assert answer.length == len(answer.body)


def test_refused_and_silent_servers():
    with pytest.raises(TaskError) as caught:
        both = Pair(Host(None))
        both.run_task(both.guest.connect(SERVER, 80))
    assert caught.value.reason == "refused"
