"""HostResolver against a name server of our own on loopback, and against hosts files."""

from __future__ import annotations

import asyncio
import socket

import dns.resolver
import pytest

from aero_lab.egress.contract import Answer
from aero_lab.egress.host import HostEgress
from aero_lab.egress.resolver import HostResolver, read_hosts
from aero_lab.limits import MS
from aero_lab.services.dns import Dns
from aero_lab.wire.address import ip

from .recording import RecordingSink

HOSTS = """
127.0.0.1 localhost localhost.localdomain  # a comment
::1       localhost
10.1.2.3  Printer.  printer.home
10.1.2.4  printer
nonsense  name
256.1.1.1 name
10.9.9.9
# 10.8.8.8 commented
"""


def test_hosts_file():
    found = read_hosts(HOSTS)
    assert found["localhost", "A"] == (ip("127.0.0.1"),)
    assert found["localhost", "AAAA"] == (ip("::1"),)
    assert found["printer", "A"] == (ip("10.1.2.3"), ip("10.1.2.4"))
    assert found["printer.home", "A"] == (ip("10.1.2.3"),)
    assert not any(name in ("name", "commented") for name, _ in found)


class NameServer(asyncio.DatagramProtocol):
    def __init__(self, table):
        self.dns = Dns(table, ttl=77)
        self.mute = False

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        if not self.mute:
            self.transport.sendto(self.dns.datagram(data, (b"", 0), 0), addr)


async def name_server(table):
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(table), ("127.0.0.1", 0))
    return transport, server, [transport.get_extra_info("sockname")[:2]]


TABLE = {
    "one.example": ip("192.0.2.1"),
    "two.example": (ip("192.0.2.1"), ip("192.0.2.2")),
    "six.example": ip("2001:db8::1"),
}


def test_lookups_with_times_to_live():
    async def go():
        transport, server, where = await name_server(TABLE)
        resolver = HostResolver(nameservers=where, hosts=None)
        try:
            assert await resolver.lookup("One.Example.", "A") == Answer("ok", (ip("192.0.2.1"),), 77)
            two = await resolver.lookup("two.example", "A")
            assert set(two.addresses) == {ip("192.0.2.1"), ip("192.0.2.2")}
            assert await resolver.lookup("six.example", "AAAA") == Answer("ok", (ip("2001:db8::1"),), 77)
            assert await resolver.lookup("six.example", "A") == Answer("nodata")
            assert await resolver.lookup("none.example", "A") == Answer("nxdomain")
            for bad in ("a..b", "x" * 64 + ".example", "", "."):
                assert (await resolver.lookup(bad, "A")).status in ("failed", "nxdomain", "nodata")
        finally:
            transport.close()

    asyncio.run(go())


def test_hosts_file_comes_first(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("198.51.100.7 one.example\n")

    async def go():
        transport, server, where = await name_server(TABLE)
        try:
            resolver = HostResolver(nameservers=where, hosts=file)
            assert await resolver.lookup("one.example", "A") == Answer("ok", (ip("198.51.100.7"),))
            assert server.dns.queries == 0
        finally:
            transport.close()

    asyncio.run(go())


def test_silence_is_a_failure_within_the_time_allowed():
    async def go():
        transport, server, where = await name_server(TABLE)
        server.mute = True
        try:
            assert await HostResolver(where, timeout=200 * MS, hosts=None).lookup("one.example", "A") == Answer(
                "failed"
            )
        finally:
            transport.close()

    asyncio.run(go())


def test_without_a_configuration_the_library_is_asked(monkeypatch):
    def none(*_, **__):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr("aero_lab.egress.resolver.dns.asyncresolver.Resolver", none)

    async def go():
        resolver = HostResolver(hosts=None)
        loop = asyncio.get_running_loop()

        async def found(*_, **__):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.9", 0))] * 2

        async def nothing(*_, **__):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(loop, "getaddrinfo", found)
        assert await resolver.lookup("one.example", "A") == Answer("ok", (ip("192.0.2.9"),), None)
        monkeypatch.setattr(loop, "getaddrinfo", nothing)
        assert await resolver.lookup("one.example", "A") == Answer("failed")

    asyncio.run(go())


@pytest.mark.parametrize("broken", [False, True])
def test_egress_resolves_on_its_loop_and_tells_from_step(broken):
    async def go():
        transport, server, where = await name_server(TABLE)
        loop = asyncio.get_running_loop()
        sink = RecordingSink()
        work = asyncio.Event()
        resolver = HostResolver(nameservers=where, hosts=None)
        if broken:

            async def fail(*_):
                raise RuntimeError("a defect")

            resolver.lookup = fail  # type: ignore[method-assign]
        egress = HostEgress(sink, loop, work.set, resolver=resolver)
        try:
            egress.resolve(4, "one.example", "A", 0)
            await asyncio.wait_for(work.wait(), 20)
            assert sink.calls == []
            egress.step(0)
            assert sink.calls == [("resolved", 4, Answer("failed") if broken else Answer("ok", (ip("192.0.2.1"),), 77))]
        finally:
            egress.stop()
            transport.close()

    asyncio.run(go())
