"""``/udp``: datagrams in both framings against real sockets, who may answer, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from ipaddress import ip_address

from aiohttp import WSMsgType

from aero_lab.framing import udp_relay

from .rig import on_a_loop, rig, until

OPEN_RIG = {"auth_mode": "none", "relay_auth_mode": "none", "destination_policy_preset": "dev", "open": True}
LOOPBACK = bytes([127, 0, 0, 1])


class Peer(asyncio.DatagramProtocol):
    """Sends back what comes, with its sender's port in front."""

    def connection_made(self, transport):
        self.transport, self.heard = transport, []

    def datagram_received(self, data, addr):
        self.heard.append((addr[1], data))
        self.transport.sendto(b"re:" + data, addr)


@contextlib.asynccontextmanager
async def peer(host="127.0.0.1"):
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Peer, local_addr=(host, 0))
    protocol.port = transport.get_extra_info("sockname")[1]
    try:
        yield protocol
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def session(r, query=""):
    async with r.tunnel(r.origin.replace("http", "ws") + "/udp" + query, protocols=()) as socket:
        ready = json.loads((await socket.receive(20)).data)
        assert ready["type"] == "ready" and len(bytes.fromhex(ready["sessionId"])) == 16
        yield socket


async def next_of(socket):
    message = await socket.receive(20)
    return udp_relay.decode(message.data) if message.type is WSMsgType.BINARY else message


@on_a_loop
async def test_there_and_back_in_both_framings():
    async with rig(**OPEN_RIG) as r, peer() as near, peer() as other, session(r) as s:
        await s.send_bytes(udp_relay.encode(5000, LOOPBACK, near.port, b"one"))
        assert await next_of(s) == udp_relay.RelayDatagram(5000, LOOPBACK, near.port, b"re:one", 1)
        await s.send_bytes(udp_relay.encode(0xA202, LOOPBACK, near.port, b"two"))
        found = await next_of(s)
        assert (found.guest_port, found.version, found.payload) == (0xA202, 2, b"re:two"), "version 1 cannot name it"
        await s.send_bytes(udp_relay.encode(5000, LOOPBACK, other.port, b""))
        assert (await next_of(s)).payload == b"re:"
        assert near.heard[0][0] == other.heard[0][0] != near.heard[1][0], "a port of the host's for each of the guest's"
        for raw in (b"", b"\0" * 7, b"\xa2\x02\x04\x01" + bytes(20), udp_relay.encode(1, LOOPBACK, 0, b"x")):
            await s.send_bytes(raw)
        for size in (1200, 1197):  # three bytes more come back, and of the first that is too much
            await s.send_bytes(udp_relay.encode(5000, LOOPBACK, near.port, b"z" * size))
        assert (await next_of(s)).payload == b"re:" + b"z" * 1197
        (connection,) = r.proxy.connections
        counted = connection.part.counters
        assert counted["dropped_malformed"] == 4 and counted["dropped_oversized"] == 1
        text = (await r.get("/metrics"))[2]
        assert 'aero_webrtc_udp_relay_events_total{event="udp_ws_datagrams_in"} ' in text
    assert not r.proxy.connections


@on_a_loop
async def test_ipv6_is_always_version_2():
    with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return  # no IPv6 here: then the relay has none either
    there = ip_address("::1").packed
    async with rig(**OPEN_RIG) as r, peer("::1") as near, session(r) as s:
        await s.send_bytes(udp_relay.encode(5000, there, near.port, b"six"))
        assert await next_of(s) == udp_relay.RelayDatagram(5000, there, near.port, b"re:six", 2)


@on_a_loop
async def test_version_2_is_preferred_once_the_client_has_shown_it():
    async with rig(**OPEN_RIG, prefer_v2=True) as r, peer() as near, session(r) as s:
        versions = []
        for version in (1, 2, 1):
            await s.send_bytes(udp_relay.encode(5000, LOOPBACK, near.port, b"x", version))
            versions.append((await next_of(s)).version)
        assert versions == [1, 2, 2]


@on_a_loop
async def test_who_may_answer():
    for mode, wanted in (("address_and_port", []), ("any", [b"hello"])):
        async with rig(**OPEN_RIG, udp_inbound_filter_mode=mode) as r, peer() as near, peer() as other, session(r) as s:
            await s.send_bytes(udp_relay.encode(5000, LOOPBACK, near.port, b"x"))
            await next_of(s)
            ours = near.heard[0][0]
            other.transport.sendto(b"hello", ("127.0.0.1", ours))
            near.transport.sendto(b"last", ("127.0.0.1", ours))
            heard = []
            while (found := await next_of(s)).payload != b"last":
                heard.append(found.payload)
            assert heard == wanted


@on_a_loop
async def test_bindings_and_quotas():
    settings = {"max_udp_bindings_per_session": 2, "max_udp_pps_per_session": 4, "hard_close_after_violations": 3}
    async with rig(**OPEN_RIG, **settings) as r, peer() as near, session(r) as s:
        for port in (1, 2, 3):
            await s.send_bytes(udp_relay.encode(port, LOOPBACK, near.port, b"x"))
            assert (await next_of(s)).guest_port == port
        (connection,) = r.proxy.connections
        assert list(connection.part.bindings) == [2, 3] and connection.part.counters["bindings_evicted"] == 1
        for _ in range(20):
            await s.send_bytes(udp_relay.encode(3, LOOPBACK, near.port, b"x"))
        while (message := await next_of(s)) is not None and not hasattr(message, "extra"):
            pass
        assert (message.data, message.extra) == (1008, "session closed")
        assert connection.part.counters["dropped_rate_limited"] >= 3


@on_a_loop
async def test_destinations_are_judged():
    async with rig(auth_mode="none", relay_auth_mode="none", open=True) as r, peer() as near, session(r) as s:
        for where, port in ((LOOPBACK, near.port), (bytes([224, 0, 0, 1]), 9), (bytes([169, 254, 169, 254]), 80)):
            await s.send_bytes(udp_relay.encode(1, where, port, b"x"))
        (connection,) = r.proxy.connections
        await until(lambda: connection.part.counters["dropped_denied_by_policy"] == 3, "denied")
        assert near.heard == [] and not connection.part.bindings


@on_a_loop
async def test_what_ends_a_session():
    async with rig(**OPEN_RIG) as r:
        async with session(r) as s:
            await s.send_str('{"type":"auth","token":"again"}')
            await s.send_str("other")
            assert json.loads((await s.receive(20)).data)["code"] == "bad_message"
            assert (await s.receive(20)).data == 1003
        async with session(r) as s:
            await s.send_bytes(bytes(1200 + 25))
            assert (await s.receive(20)).data == 1009
        await until(lambda: not r.proxy.connections, "empty")
    async with rig(**OPEN_RIG, relay_idle_timeout_ms=300) as r, session(r) as s:
        message = await s.receive(20)
        assert (message.data, message.extra) == (1000, "idle timeout")
