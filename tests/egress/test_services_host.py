"""The services on real loopback sockets, through HostEgress and through ordinary clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import struct
import threading
from contextlib import contextmanager
from hashlib import md5, sha256

import pytest

from aero_lab.egress import services_host
from aero_lab.egress.services_host import ServicesHost
from aero_lab.services.catalogue import endpoints
from aero_lab.services.content import content_bytes
from aero_lab.services.ntp import NtpPacket, from_ntp
from aero_lab.services.udp_probe import make_probe, read_probe
from aero_lab.wire.address import ip, ip_text


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


HAS_IPV6 = _has_ipv6()


@contextmanager
def running(**settings):
    """A ServicesHost on a loop of its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(function):
        async def run():
            return function()

        return asyncio.run_coroutine_threadsafe(run(), loop).result(20)

    host = ServicesHost(now=lambda: 123_456_789, **settings)
    call(lambda: host.start(loop))
    try:
        yield host, call
    finally:
        call(host.stop)
        call(host.stop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def host():
    with running() as (host, _):
        yield host


def connect(host, name):
    return socket.create_connection(("127.0.0.1", host.ports[name]), timeout=20)


def read_all(sock):
    out = bytearray()
    while data := sock.recv(1 << 16):
        out += data
    return bytes(out)


def test_every_endpoint_of_the_catalogue_is_forwarded(host):
    tcp, udp = endpoints()
    assert set(host.forward_tcp) == set(tcp)
    assert set(host.forward_udp) == set(udp)
    v4, v6 = ip("127.0.0.1"), ip("::1") if HAS_IPV6 else ip("127.0.0.1")
    for (address, _), (where, port) in (*host.forward_tcp.items(), *host.forward_udp.items()):
        assert port and where == (v4 if len(address) == 4 else v6)


@pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6 loopback address")
def test_ipv6_loopback(host):
    address, port = host.forward_tcp[ip("2001:db8:113::11"), 7]
    with socket.create_connection((ip_text(address), port), timeout=20) as sock:
        sock.sendall(b"hello")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"hello"
    address, port = host.forward_udp[ip("2001:db8:113::11"), 7]
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.sendto(b"datagram", (ip_text(address), port))
        assert sock.recv(100) == b"datagram"


def test_a_host_without_ipv6_leads_to_the_ipv4_services():
    with running(host6="2001:db8::1234") as (host, _):  # an address that no host has
        tcp, _ = endpoints()
        assert set(host.forward_tcp) == set(tcp)
        assert host.forward_tcp[ip("2001:db8:113::10"), 80] == host.forward_tcp[ip("203.0.113.10"), 80]
        assert host.forward_udp[ip("2001:db8:113::11"), 7] == host.forward_udp[ip("203.0.113.11"), 7]
        assert host.counters["no-ipv6"] > 0


def test_http_download_and_upload(host):
    client = http.client.HTTPConnection("127.0.0.1", host.ports["http"], timeout=20)
    client.request("GET", "/bytes/3000001")
    answer = client.getresponse()
    body = answer.read()
    assert body == content_bytes(3000001)
    assert answer.headers["etag"] == f'"{md5(body).hexdigest()}"'
    client.request("PUT", "/anywhere", body=body)  # on the same connection
    assert json.loads(client.getresponse().read()) == {"bytes": 3000001, "sha256": sha256(body).hexdigest()}
    client.close()


def test_echo_of_more_than_any_buffer_holds(host):
    whole = content_bytes(5 << 20)
    with connect(host, "echo") as sock:
        sender = threading.Thread(target=lambda: (sock.sendall(whole), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        assert read_all(sock) == whole
        sender.join()


def test_sink_and_source(host):
    with connect(host, "sink") as sock:
        sock.sendall(bytes(1 << 20))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert host.services.stream["sink"].received == 1 << 20
    with connect(host, "source") as sock:
        got = bytearray()
        while len(got) < 3 << 20:
            got += sock.recv(1 << 16)
        assert bytes(got) == content_bytes(len(got))


def test_a_reader_that_stops_costs_a_bounded_amount(host):
    with connect(host, "source") as slow, connect(host, "echo") as other:
        slow.recv(1)
        other.sendall(b"alive")
        assert other.recv(5) == b"alive"


def test_resets_do_no_harm(host):
    for name in ("http", "echo", "source", "sink"):
        with connect(host, name) as sock:
            sock.sendall(b"GET /1GB HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with connect(host, "echo") as sock:
        sock.sendall(b"alive")
        assert sock.recv(5) == b"alive"


def test_datagram_services(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.sendto(make_probe(3, 100, 40), ("127.0.0.1", host.ports["udp-echo"]))
        probe = read_probe(sock.recv(100))
        assert probe == (3, 100, 123_456_789, 40)
        sock.sendto(NtpPacket(transmit=42).emit(), ("127.0.0.1", host.ports["ntp"]))
        packet = NtpPacket.parse(sock.recv(100))
        assert packet.originate == 42
        assert from_ntp(packet.transmit) > 1_700_000_000 * 10**9, "NTP tells the time of day"


def test_too_many_sessions_are_closed_at_once(host, monkeypatch):
    monkeypatch.setattr(services_host, "SERVICE_SESSIONS", 2)
    socks = [connect(host, "echo") for _ in range(2)]
    for sock in socks:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    with connect(host, "echo") as third:
        assert third.recv(1) == b""
    for sock in socks:
        sock.close()


def test_stop_leaves_no_session_and_no_port():
    with running() as (host, call):
        sock = connect(host, "echo")
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        ports = dict(host.ports)
        call(host.stop)
        assert host.sessions == 0
        assert sock.recv(1) == b""
        sock.close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", ports["echo"]), timeout=20)
