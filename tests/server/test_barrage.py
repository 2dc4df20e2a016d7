"""Every bad input there is, in turn, while well-behaved clients of every endpoint look on: each gets its status, close
code or ERROR, nobody else notices, and when all has passed nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import struct
from collections import Counter

import pytest
from aiohttp import FormData, WSMsgType

from aero_lab.framing import tcp_mux as mux
from aero_lab.framing import udp_relay
from aero_lab.framing.l2_tunnel import ErrorCode, L2Limits, encode_ping
from aero_lab.framing.tcp_mux import ErrorCode as MuxError
from aero_lab.framing.tcp_mux import Flags
from aero_lab.server.tokens import base64url
from aero_lab.transports.peer import Description, make_peer, missing

from .rig import echo, on_a_loop, rig, tcp_server, until
from .test_bounds import resident
from .test_datagrams import LOOPBACK, peer
from .test_gateway import JWT, SECRET, cookie, jwt_for
from .test_names import query
from .test_session import the_end
from .test_sockets import Mux
from .test_webrtc import Heard, connect, said

pytestmark = [
    pytest.mark.filterwarnings("ignore:The HMAC key"),
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]
SETTINGS = {
    "auth_mode": "cookie_or_jwt",
    "session_secret": SECRET,
    "jwt_secret": JWT,
    "jwt_audience": "here",
    "relay_auth_mode": "none",
    "tcp_allow_private_ips": True,
    "destination_policy_preset": "dev",
    "dns_qps_per_ip": 0,
    "webrtc_session_connect_timeout_seconds": 1,
    "max_control_payload": 256,
}
ROUNDS = 3
MOST = 24 << 20
"""Bytes that all rounds but the first may leave in a heap that client and server share."""
MIB = 1 << 20


class Bench:
    """A server, whom its good clients talk to, and how bad ones reach it."""

    def __init__(self, r, tcp_port, udp_port):
        self.r, self.tcp_port, self.udp_port = r, tcp_port, udp_port
        self.ws = r.origin.replace("http", "ws")

    def open(self, path, protocols=(), **options):
        return self.r.tunnel(self.ws + path, protocols=list(protocols), headers=cookie(), **options)

    def l2(self, path="/l2"):
        return self.open(path, [f"aero-{path[1:]}-tunnel-v1"])

    @contextlib.asynccontextmanager
    async def mux(self, version=mux.V2):
        async with self.open("/tcp-mux", [version]) as socket:
            yield Mux(socket)

    @contextlib.asynccontextmanager
    async def udp(self):
        async with self.r.tunnel(self.ws + "/udp", protocols=()) as socket:
            assert json.loads((await socket.receive(20)).data)["type"] == "ready"
            yield socket

    async def post(self, path, body, **headers):
        async with self.r.client.post(self.r.origin + path, data=body, headers={**cookie(), **headers}) as answer:
            return answer.status, await answer.read()


# Those who do nothing wrong -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def good_clients(bench):
    """One of each kind, for as long as it lasts; gives what asks all of them whether they are well."""
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        tunnels = [await enter(bench.l2("/l2")), await enter(bench.l2("/l3"))]
        tcp = await enter(bench.open(f"/tcp?host=127.0.0.1&port={bench.tcp_port}"))
        streams = await enter(bench.mux())
        await streams.send(mux.encode_open(1, "127.0.0.1", bench.tcp_port))
        datagrams = await enter(bench.udp())
        rtc = make_peer()
        stack.push_async_callback(rtc.close)
        channel = Heard(rtc.channel("l2"))
        await connect(bench.r, rtc)
        await channel.opened()
        numbers = iter(range(1 << 30))

        async def well():
            word = struct.pack("!I", next(numbers))
            for each in tunnels:
                await each.send_bytes(encode_ping(word))
                assert (await each.receive(20)).data == b"\xa2\x03\x02\x00" + word
            await tcp.send_bytes(word)
            assert (await tcp.receive(20)).data == word
            await streams.send(mux.encode(mux.DATA, 1, word), mux.encode_credit(1, len(word)))
            assert await streams.data(4) == {1: word}
            await datagrams.send_bytes(udp_relay.encode(5000, LOOPBACK, bench.udp_port, word))
            assert udp_relay.decode((await datagrams.receive(20)).data).payload == b"re:" + word
            channel.channel.send(encode_ping(word))
            assert (await channel.next())[4:] == word
            status, body = await bench.post("/dns-query", query("localhost.").to_wire(), **DNS)
            assert status == 200 and body[7]

        yield well


DNS = {"Content-Type": "application/dns-message"}

# Those who do ---------------------------------------------------------------------------------------------------------


async def tunnels_of_nonsense(bench):
    for path in ("/l2", "/l3"):
        for message, text in (
            (b"", "message too short: 0 < 4"),
            (b"\0\3\0\0", "invalid magic: 0x00"),
            (b"\xa2\2\0\0", "unsupported version: 0x02"),
            (b"\xa2\3\1\0" + bytes(257), "payload too large: 257 > 256"),
        ):
            async with bench.l2(path) as socket:
                await socket.send_bytes(message)
                assert await the_end(socket) == ((ErrorCode.PROTOCOL_ERROR, text), 1008, text)
        async with bench.l2(path) as socket:
            await socket.send_bytes(encode_ping(bytes(MIB), L2Limits(2048, 2 * MIB)))
            assert (await the_end(socket))[1] == 1009
        async with bench.l2(path) as socket:
            for raw in (b"", b"\x45", b"\xff" * 60, bytes(14), b"\x60" + bytes(50), bytes(2048)):
                await socket.send_bytes(b"\xa2\3\0\0" + raw)  # a frame, or a packet, that is none
            await socket.send_bytes(encode_ping(b"and yet"))
            assert (await socket.receive(20)).data == b"\xa2\3\2\0and yet"


async def streams_of_nonsense(bench):
    port = bench.tcp_port
    async with bench.mux() as m:
        await m.send(mux.encode_open(9, "127.0.0.1", port), mux.encode(mux.DATA, 9, b"x"))
        assert await m.data(1) == {9: b"x"}
        for frames, code in (
            (mux.encode(mux.DATA, 77, b"x"), MuxError.UNKNOWN_STREAM),
            (mux.encode_open(4, "169.254.169.254", 80), MuxError.POLICY_DENIED),
            (mux.encode_open(5, "::ffff:169.254.169.254", 80), MuxError.POLICY_DENIED),
            (mux.encode(mux.OPEN, 0, bytes(8)), MuxError.PROTOCOL_ERROR),
            (mux.encode_open(9, "127.0.0.1", port), MuxError.PROTOCOL_ERROR),
            (mux.encode(mux.CLOSE, 9, bytes(MIB - 9)), MuxError.PROTOCOL_ERROR),
            (mux.encode(mux.OPEN, 6, bytes(MIB - 9)), MuxError.PROTOCOL_ERROR),
            (mux.encode(99, 9, b""), MuxError.PROTOCOL_ERROR),
        ):
            await m.send(frames)
            assert (await m.error())[1] == code
        await m.send(mux.encode_open(10, "127.0.0.1", port), mux.encode(mux.DATA, 10, b"y"))
        assert await m.data(1) == {10: b"y"}
        await m.send(mux.encode_close(10, Flags.RST), mux.encode(mux.DATA, 10, b"after it"))
        assert (await m.error())[:2] == (10, MuxError.UNKNOWN_STREAM)
    async with bench.mux() as m:
        await m.send(
            mux.encode_open(1, "127.0.0.1", port), mux.encode_close(1, Flags.FIN), mux.encode(mux.DATA, 1, b"z")
        )
        assert (await m.error())[:2] == (1, MuxError.PROTOCOL_ERROR)
    for message, code in ((mux.header(mux.DATA, 1, (16 << 20) + 1), 1002), ("text", 1003), (bytes(MIB + 1), 1009)):
        async with bench.mux() as m:
            await (m.socket.send_str(message) if isinstance(message, str) else m.socket.send_bytes(message))
            assert (await m.next()).data == code


async def sockets_of_nonsense(bench):
    for question, status in (("?host=a&port=0", 400), ("?target=::1:80", 400), ("?host=169.254.169.254&port=80", 403)):
        assert (await bench.r.upgrade("/tcp" + question, drop=("Sec-WebSocket-Protocol",), **cookie()))[0] == status
    async with bench.open(f"/tcp?host=127.0.0.1&port={bench.tcp_port}") as socket:
        await socket.send_str("text")
        assert (await socket.receive(20)).data == 1003
    async with bench.open(f"/tcp?host=127.0.0.1&port={bench.tcp_port}") as socket:
        await socket.send_bytes(bytes(MIB + 1))
        while (message := await socket.receive(20)).type is WSMsgType.BINARY:
            pass
        assert message.data == 1009


async def datagrams_of_nonsense(bench):
    async with bench.udp() as socket:
        for raw in (b"", b"short", b"\xa2\2\7\0" + bytes(20), b"\xa2\2\4\1" + bytes(20), bytes(9)):
            await socket.send_bytes(raw)
        await socket.send_bytes(udp_relay.encode(1, bytes([169, 254, 169, 254]), 80, b"x"))
        await socket.send_bytes(udp_relay.encode(1, LOOPBACK, bench.udp_port, b"and yet"))
        assert udp_relay.decode((await socket.receive(20)).data).payload == b"re:and yet"
    for message, code in (("text", 1003), (bytes(1225), 1009)):
        async with bench.udp() as socket:
            await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
            while (heard := await socket.receive(20)).type is not WSMsgType.CLOSE:
                pass
            assert heard.data == code


async def names_of_nonsense(bench):
    for body, headers, status in (
        (b"", DNS, 400),
        (b"\xff" * 30, DNS, 400),
        (b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", DNS, 400),  # a name that points at itself
        (bytes(5000), DNS, 413),
        (query().to_wire(), {"Content-Type": "text/plain"}, 415),
    ):
        assert (await bench.post("/dns-query", body, **headers))[0] == status
    form = FormData({"a": "b"})
    async with bench.r.client.post(bench.r.origin + "/session", data=form) as answer:
        assert answer.status in (201, 400, 415)
    assert (await bench.post("/session", b"[1]"))[0] == 400


async def credentials_of_nonsense(bench):
    r, good = bench.r, jwt_for(bench.r, aud="here")
    head, payload, sign = good.split(".")
    none = base64url(b'{"alg":"none"}')
    token = cookie()["Cookie"].partition("=")[2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = token[:-1] + alphabet[alphabet.index(token[-1]) | 1]  # the unused bits are not zero
    assert respelled != token
    for bad in (
        f"{none}.{payload}.",
        f"{none}.{payload}.{sign}",
        jwt_for(r, aud="there"),
        jwt_for(r, aud="here", ttl=-1),
        jwt_for(r, aud="here", secret="another"),
        good + "=",
        f"{head}.{payload}.{sign}A",
        "x" * 7000,
    ):
        assert (await r.upgrade(f"/l2?token={bad}"))[0] == 401, bad
        assert (await r.upgrade(f"/tcp-mux?token={bad}", Sec_WebSocket_Protocol=mux.V2))[0] == 401, bad
    for text in (respelled, "", "x" * 5000, token + "%3D"):
        assert (await r.upgrade("/l2", Cookie=f"aero_session={text}"))[0] == 401, text
    assert (await r.upgrade("/l2", Cookie="a=" + "b" * 17_000))[0] == 401
    assert (await r.upgrade(f"/l2?token={good}"))[0] == 101


async def signalling_of_nonsense(bench):
    r = bench.r
    for sdp in ("", "garbage", "v=0\r\nm=audio 9 RTP/AVP 0\r\n", "v=0\r\n" * 5000, "\0\xff", "m=application"):
        status, body = await bench.post("/webrtc/offer", json.dumps({"type": "offer", "sdp": sdp}))
        assert status == 400 and json.loads(body)["code"] == "bad_message"
    client = make_peer()
    try:
        client.channel("l2")
        offer = {"type": "offer", "sdp": said(await client.offer())}
        async with r.client.ws_connect(f"{bench.ws}/webrtc/signal") as half:  # it offers, and is not seen again
            await half.send_json(offer)
            assert (await half.receive_json(timeout=20))["type"] == "answer"
        async with r.client.ws_connect(f"{bench.ws}/webrtc/signal", autoclose=False) as other:
            await other.send_json(offer)
            assert (await other.receive_json(timeout=20))["type"] == "answer"
            await other.send_json(
                {"type": "candidate", "candidate": {"candidate": "candidate:nonsense", "sdpMid": "0"}}
            )
            told = await other.receive(20)
            while told.type is WSMsgType.TEXT:  # our own candidates come first
                told = await other.receive(20)
            assert told.data in (1000, 1008)
    finally:
        await client.close()


async def channels_of_nonsense(bench):
    client = make_peer()
    try:
        l2, streams = Heard(client.channel("l2")), Heard(client.channel("mux", protocol=mux.V2))
        datagrams = Heard(client.channel("udp", ordered=False, max_retransmits=0))
        unknown = client.channel("chat")
        offer = said(await client.offer())
        status, body = await bench.post("/webrtc/offer", json.dumps(offer))
        assert status == 200
        await client.accept(Description("answer", json.loads(body)["sdp"]["sdp"]))
        for each in (l2, streams, datagrams):
            await each.opened()
        await until(lambda: unknown.closed, "a closed channel")
        l2.channel.send(b"\0\3\0\0")
        datagrams.channel.send(b"short")
        datagrams.channel.send("text")
        datagrams.channel.send(bytes(1300))
        streams.channel.send(mux.header(mux.DATA, 1, (16 << 20) + 1))
        await until(lambda: datagrams.channel.closed and streams.channel.closed, "two closed channels")
        l2.channel.send(bytes(4096))
        await until(lambda: l2.channel.closed, "the last closed channel")
    finally:
        await client.close()


BAD = (
    tunnels_of_nonsense,
    streams_of_nonsense,
    sockets_of_nonsense,
    datagrams_of_nonsense,
    names_of_nonsense,
    credentials_of_nonsense,
    signalling_of_nonsense,
    channels_of_nonsense,
)


def ours():
    """How many objects of our own classes there are, by class."""
    gc.collect()
    every = (type(each) for each in gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}" for kind in every if str(kind.__module__).startswith("aero_lab.")
    )


@on_a_loop(patience=240)
async def test_nobody_notices_and_nothing_is_left():
    async with tcp_server(echo) as port, peer() as near, rig(**SETTINGS) as r:
        bench = Bench(r, port, near.port)
        async with good_clients(bench) as well:
            await well()
            steady = len(r.proxy.connections)
            assert steady == 6
            for round_ in range(ROUNDS):
                for nuisance in BAD:
                    await asyncio.wait_for(nuisance(bench), 60)
                    await well()
                await until(lambda: len(r.proxy.connections) == steady, "only those who behave")
                if round_ == 0:  # what is made once is made
                    before, held = ours(), resident()
            for _ in range(40):
                if not (more := ours() - before):
                    break
                await asyncio.sleep(0.5)
            assert not more, "what was not there after the first round"
            assert resident() - held < MOST
            assert len(r.proxy.sessions) == 2 and not r.count("l2_sessions_closed_backpressure_total")
        await until(lambda: not r.proxy.connections and not len(r.proxy.gatekeeper.slots), "everything given back")
        text = (await r.get("/metrics"))[2]
        for event in ("udp_message_too_large", "l2_message_too_large", "rejected_unknown_label"):
            assert f'event="webrtc_datachannel_{event}"}} {ROUNDS}.0' in text or f'{event}"}} {ROUNDS}' in text, event
