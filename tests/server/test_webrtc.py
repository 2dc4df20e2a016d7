"""WebRTC: signalling by HTTP and by WebSocket, what each channel is joined to, and what ends a session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from time import monotonic_ns

import pytest
from aiohttp import WSMsgType

from aero_lab.driver import Driver
from aero_lab.framing import tcp_mux, udp_relay
from aero_lab.framing.l2_tunnel import FRAME, PONG, decode, encode_frame, encode_ping
from aero_lab.guests.scripted.guest import ScriptedGuest
from aero_lab.paths import get_path
from aero_lab.paths.base import Near, Wire
from aero_lab.server.config import ServerConfig
from aero_lab.server.config_webrtc import ice_servers
from aero_lab.server.rtc_session import RtcSession
from aero_lab.server.tokens import mint_jwt
from aero_lab.transports.data_channel import DataChannelEnd
from aero_lab.transports.peer import Channel, Description, IceCandidate, Peer, make_peer, missing
from aero_lab.wire.address import ip
from aero_lab.wire.dns import DnsMessage

from .rig import GATEWAY_ARP, LAB, STATIC, GuestAtTheEnd, echo, on_a_loop, rig, tcp_server, until

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

OPEN = {"auth_mode": "none"}
SECRET = "a secret that is long enough for the relay"


class Heard:
    """A channel and what came by it."""

    def __init__(self, channel: Channel):
        self.channel, self.messages = channel, []
        channel.on_message = self.messages.append

    async def next(self) -> bytes:
        await until(lambda: self.messages, "a message")
        return self.messages.pop(0)

    async def opened(self) -> Heard:
        await until(lambda: self.channel.open, "an open channel")
        return self


@contextlib.asynccontextmanager
async def client():
    peer = make_peer()
    try:
        yield peer
    finally:
        await peer.close()


async def post(r, body, path="/webrtc/offer", **headers):
    text = body if isinstance(body, str) else json.dumps(body)
    async with r.client.post(r.origin + path, data=text, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


def said(description: Description) -> dict:
    return {"type": description.type, "sdp": description.sdp}


async def connect(r, peer: Peer, **headers) -> dict:
    status, told = await post(r, {"sdp": said(await peer.offer())}, **headers)
    assert status == 200, told
    await peer.accept(Description("answer", told["sdp"]["sdp"]))
    return told


def sessions(r) -> list[RtcSession]:
    return [each for each in r.proxy.connections if isinstance(each, RtcSession)]


@on_a_loop
async def test_a_tunnel_over_a_channel_in_both_forms_of_the_offer():
    async with rig(**OPEN) as r:
        async with client() as peer:
            l2 = Heard(peer.channel("l2"))
            told = await connect(r, peer)
            assert len(told["sessionId"]) == 32 and told["sdp"]["type"] == "answer"
            await l2.opened()
            l2.channel.send(encode_ping(b"1234"))
            assert decode(await l2.next()).payload == b"1234"
            l2.channel.send(encode_frame(GATEWAY_ARP))
            answer = decode(await l2.next())
            assert answer.type == FRAME and answer.payload[12:14] == b"\x08\x06"
            assert len(sessions(r)) == 1 and sessions(r)[0].public_id == told["sessionId"]
        await until(lambda: not r.proxy.connections, "the session's end")
        async with client() as peer:
            l2 = Heard(peer.channel("l2", ordered=False))
            status, told = await post(r, {"version": 1, "offer": said(await peer.offer())}, "/aero/offer")
            assert (status, told["version"], told["answer"]["type"]) == (200, 1, "answer")
            await peer.accept(Description("answer", told["answer"]["sdp"]))
            await l2.opened()
            l2.channel.send(encode_ping(b""))
            assert decode(await l2.next()).type == PONG
        closes = r.kinds("session-close")
        await until(lambda: len(r.kinds("session-close")) == 2, "both records")
        assert closes[0]["reason"] == "connection closed" and closes[0]["bytes_up"] > 40


@on_a_loop
async def test_a_byte_rate_slows_a_tunnel_over_a_channel_down():
    async with rig(**OPEN, max_bytes_per_second=2000) as r, client() as peer:
        l2 = Heard(peer.channel("l2"))
        await connect(r, peer)
        await l2.opened()
        started = monotonic_ns()
        for number in range(15):
            l2.channel.send(encode_ping(bytes([number]) * 100))
        for number in range(15):
            assert decode(await l2.next()).payload == bytes([number]) * 100
        assert (monotonic_ns() - started) / 1e9 >= 11 * 104 / 2000, "and nothing was dropped"
        assert r.count("aero_lab_paced_total") > 0


@on_a_loop
async def test_a_guest_reaches_the_world_over_an_unordered_channel():
    async with (
        tcp_server(echo) as port,
        rig(**OPEN, tcp_forward=f"203.0.113.10:7=127.0.0.1:{port}") as r,
        client() as peer,
    ):
        driver = Driver(asyncio.get_running_loop())
        host = ScriptedGuest("linux", random.Random(1), monotonic_ns(), static=STATIC)
        end = DataChannelEnd(peer.channel("l2", ordered=False), driver.wake)
        await connect(r, peer)
        driver.add(host, get_path("C").client(Near(Wire(host.nic_tx, host.nic_rx), {"l2": end})))
        sent = random.Random(2).randbytes(100_000)

        def talk(guest):
            connection = yield from guest.connect(LAB, 7)
            yield from connection.send(sent)
            connection.shutdown()
            got = b""
            while chunk := (yield from connection.receive()):
                got += chunk
            return got

        assert await GuestAtTheEnd(host, driver, end).run(talk) == sent
        driver.stop()


@on_a_loop
async def test_datagrams():
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    async with rig(**OPEN, destination_policy_preset="dev") as r, client() as peer:
        udp = Heard(peer.channel("udp", ordered=False, max_retransmits=0))
        await connect(r, peer)
        await udp.opened()
        udp.channel.send(udp_relay.encode(5000, ip("127.0.0.1"), port, b"words"))
        back = udp_relay.decode(await udp.next())
        assert (back.guest_port, back.remote, back.remote_port, back.payload) == (5000, ip("127.0.0.1"), port, b"WORDS")
        udp.channel.send("text means nothing")
        udp.channel.send(b"short")
        udp.channel.send(udp_relay.encode(5001, ip("127.0.0.1"), port, b"again"))
        assert udp_relay.decode(await udp.next()).payload == b"AGAIN"
        counted = sessions(r)[0].counters
        assert sum(number for name, number in counted.items() if "malformed" in name) == 1
    transport.close()


@on_a_loop
async def test_streams_and_names():
    async with rig(**OPEN, tcp_allow_private_ips=True) as r, tcp_server(echo) as port, client() as peer:
        mux = Heard(peer.channel("mux", protocol=tcp_mux.V2))
        dns = Heard(peer.channel("dns"))
        await connect(r, peer)
        await mux.opened()
        mux.channel.send(tcp_mux.encode_open(1, "127.0.0.1", port) + tcp_mux.encode_credit(1, 1000))
        mux.channel.send(tcp_mux.encode(tcp_mux.DATA, 1, b"hello"))
        parser, frames = tcp_mux.MuxParser(), []
        while not any(frame.type == tcp_mux.DATA for frame in frames):
            parser.feed(await mux.next())
            while (frame := parser.frame()) is not None:
                frames.append(frame)
        assert b"".join(bytes(frame.payload) for frame in frames if frame.type == tcp_mux.DATA) == b"hello"
        await dns.opened()
        question = bytes.fromhex("1234010000010000000000000" + "96c6f63616c686f7374" + "0000010001")
        dns.channel.send(question)
        answer = DnsMessage.parse(await dns.next())
        assert answer.id == 0x1234 and [record.rdata for record in answer.answers] == [ip("127.0.0.1")]


@on_a_loop
async def test_channels_that_promise_the_wrong_thing_are_closed_and_the_rest_goes_on():
    async with rig(**OPEN) as r, client() as peer:
        good = Heard(peer.channel("l2"))
        wrong = [
            peer.channel("udp"),
            peer.channel("udp", ordered=False),
            peer.channel("mux", ordered=False),
            peer.channel("dns", max_retransmits=3),
            peer.channel("chat"),
            peer.channel("l2"),
        ]
        await connect(r, peer)
        await until(lambda: all(channel.closed for channel in wrong), "closed channels")
        await good.opened()
        good.channel.send(encode_ping(b"still"))
        assert decode(await good.next()).payload == b"still"
        assert list(sessions(r)[0].carried) == ["l2"]
        _, _, text = await r.get("/metrics")
        assert 'event="webrtc_datachannel_rejected_unknown_label"} 5' in text
        assert 'event="webrtc_datachannel_rejected_duplicate_l2"} 1' in text


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"sdp": 5}',
        '{"sdp": {"type": "offer"}}',
        '{"sdp": {"type": "answer", "sdp": "v=0"}}',
        '{"sdp": {"type": "offer", "sdp": "v=0"}, "more": 1}',
        '{"type": "offer", "sdp": "v=0", "more": 1}',
        '{"type": "offer", "sdp": "garbage"}',
        '{"type": "offer", "sdp": "v=0\\r\\nm=audio 9 RTP/AVP 0\\r\\n"}',
        '{"type": "offer", "sdp": "v=0"} trailing',
    ],
)
def test_offers_without_sense_are_refused_and_leave_nothing(body):
    @on_a_loop
    async def run():
        async with rig(**OPEN) as r:
            status, told = await post(r, body)
            assert status == 400 and told["code"] == "bad_message" and "\n" not in told["message"]
            status, told = await post(r, body, "/offer")
            assert status == 400 and told["code"] == "bad_message"
            assert not r.proxy.connections

    run()


@on_a_loop
async def test_an_answer_that_takes_too_long_is_not_the_clients_fault(monkeypatch):
    monkeypatch.setattr("aero_lab.server.endpoints.webrtc.RTC_GATHER", 0)
    async with rig(**OPEN) as r, client() as peer:
        peer.channel("l2")
        offer = said(await peer.offer())
        status, told = await post(r, {"sdp": offer})
        assert (status, told["code"]) == (500, "internal_error") and "in time" in told["message"]
        async with r.client.ws_connect(f"{r.origin}/webrtc/signal", origin=r.origin) as socket:
            await socket.send_str(json.dumps({"type": "offer", "sdp": offer}))
            assert json.loads((await socket.receive(20)).data)["code"] == "internal_error"
            assert (await socket.receive(20)).type is WSMsgType.CLOSE and socket.close_code == 1011
        await until(lambda: not r.proxy.connections, "no session")
        assert 'event="ice_gathering_timeout"} 2' in (await r.get("/metrics"))[2]


@on_a_loop
async def test_who_may_and_how_often():
    async with rig(**OPEN, relay_auth_mode="jwt", relay_jwt_secret=SECRET, max_sessions=2) as r:
        async with client() as peer, client() as second, client() as third:
            peer.channel("l2"), second.channel("l2"), third.channel("l2")
            offer = {"sdp": said(await peer.offer())}
            assert (await post(r, offer))[0] == 401
            token = mint_jwt(SECRET, "me", int(time.time()), 60)
            status, told = await post(r, offer, Authorization=f"Bearer {token}")
            assert status == 200
            await peer.accept(Description("answer", told["sdp"]["sdp"]))
            again = {"sdp": said(await second.offer())}
            status, told = await post(r, again, Authorization=f"Bearer {token}")
            assert (status, told["code"]) == (409, "session_already_active")
            other = mint_jwt(SECRET, "you", int(time.time()), 60)
            assert (await post(r, again, Authorization=f"Bearer {other}"))[0] == 200
            last = mint_jwt(SECRET, "they", int(time.time()), 60)
            status, told = await post(r, {"sdp": said(await third.offer())}, Authorization=f"Bearer {last}")
            assert (status, told["code"]) == (503, "too_many_sessions")


@on_a_loop
async def test_a_session_that_never_connects_is_gone_in_time():
    async with rig(**OPEN, webrtc_session_connect_timeout_seconds=1) as r, client() as peer:
        peer.channel("l2")
        status, _ = await post(r, {"sdp": said(await peer.offer())})  # the answer is never taken
        assert status == 200 and len(sessions(r)) == 1
        await until(lambda: not r.proxy.connections, "the end of a half-open session")
        assert 'event="webrtc_session_connect_timeout"} 1' in (await r.get("/metrics"))[2]


@on_a_loop
async def test_stopping_the_server_ends_the_sessions():
    async with client() as peer:
        async with rig(**OPEN) as r:
            l2 = Heard(peer.channel("l2"))
            await connect(r, peer)
            await l2.opened()
        await until(lambda: l2.channel.closed or peer.state in ("closed", "failed", "disconnected"), "the end")


# Trickle ------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def signalling(r, query=""):
    url = f"ws://{r.proxy.authority}/webrtc/signal{query}"
    async with r.client.ws_connect(url, autoclose=False) as socket:
        yield socket


async def ending(socket):
    """What is said before the end, code and reason of the end."""
    told = []
    while True:
        message = await socket.receive(timeout=20)
        if message.type is not WSMsgType.TEXT:
            return told, message.data, message.extra
        told.append(json.loads(message.data))


@on_a_loop
async def test_trickle():
    async with rig(**OPEN, relay_auth_mode="api_key", relay_api_key="key") as r, client() as peer:
        l2 = Heard(peer.channel("l2"))
        async with signalling(r) as socket:
            await socket.send_json({"type": "auth", "apiKey": "key"})
            offer = await peer.offer()
            bare = [line for line in offer.sdp.split("\r\n") if not line.startswith(("a=candidate", "a=end-of"))]
            await socket.send_json({"type": "offer", "sdp": {"type": "offer", "sdp": "\r\n".join(bare)}})
            answer = await socket.receive_json()
            assert answer["type"] == "answer" and "a=candidate" not in answer["sdp"]["sdp"]
            await peer.accept(Description("answer", answer["sdp"]["sdp"]))
            for each in peer.candidates:
                told = {"candidate": each.candidate, "sdpMid": each.mid, "sdpMLineIndex": each.index}
                await socket.send_json({"type": "candidate", "candidate": told})
            await socket.send_json({"type": "candidate", "candidate": {"candidate": ""}})
            while (told := await socket.receive_json())["candidate"]["candidate"]:
                assert "127.0.0.1" in told["candidate"]["candidate"]
                await peer.add_candidate(IceCandidate(told["candidate"]["candidate"], told["candidate"]["sdpMid"], 0))
            await l2.opened()
        l2.channel.send(encode_ping(b"after signalling has gone"))
        assert decode(await l2.next()).payload == b"after signalling has gone"
        async with signalling(r, "?apiKey=key") as socket:
            await socket.send_json({"type": "close"})
            assert (await ending(socket))[:2] == ([], 1000)


@pytest.mark.parametrize(
    ("messages", "code", "close"),
    [
        ([b"binary"], "bad_message", 1003),
        (["{"], "bad_message", 1008),
        (['{"type": "dance"}'], "bad_message", 1008),
        (['{"type": "close", "now": true}'], "bad_message", 1008),
        (['{"type": "offer"}'], "bad_message", 1008),
        (['{"type": "offer", "sdp": {"type": "offer", "sdp": "nothing"}}'], "bad_message", 1008),
        (['{"type": "candidate", "candidate": {"candidate": ""}}'], "unexpected_message", 1008),
        (['{"type": "candidate", "candidate": {"candidate": "", "sdpMLineIndex": -1}}'], "bad_message", 1008),
        (["x" * 66_000], "bad_message", 1008),
        (['{"type": "auth"}'] * 60, "rate_limited", 1008),
    ],
)
def test_signalling_that_breaks_the_rules(messages, code, close):
    @on_a_loop
    async def run():
        async with rig(**OPEN) as r, signalling(r) as socket:
            for message in messages:
                await (socket.send_bytes(message) if isinstance(message, bytes) else socket.send_str(message))
            told, number, _ = await ending(socket)
            assert told[-1]["type"] == "error" and told[-1]["code"] == code and number == close
            assert not r.proxy.connections

    run()


@on_a_loop
async def test_a_second_offer_and_late_credentials_are_refused_and_the_connection_lives_on():
    async with rig(**OPEN) as r, client() as peer:
        l2 = Heard(peer.channel("l2"))
        offer = {"type": "offer", "sdp": said(await peer.offer())}
        async with signalling(r) as socket:
            await socket.send_json(offer)
            await peer.accept(Description("answer", (await socket.receive_json())["sdp"]["sdp"]))
            for each in sessions(r)[0].peer.candidates:
                await peer.add_candidate(each)
            await l2.opened()
            await socket.send_json(offer)
            told, number, _ = await ending(socket)
            assert (told[-1]["code"], number) == ("unexpected_message", 1008)
        l2.channel.send(encode_ping(b"x"))
        assert decode(await l2.next()).payload == b"x"


@on_a_loop
async def test_signalling_without_credentials_in_time():
    async with rig(**OPEN, relay_auth_mode="api_key", relay_api_key="key", relay_auth_timeout_ms=200) as r:
        async with signalling(r) as socket:
            told, number, reason = await ending(socket)
            assert (told[-1]["code"], number, reason) == ("unauthorized", 1008, "authentication timeout")
        async with signalling(r, "?apiKey=wrong") as socket:
            assert (await ending(socket))[0][-1]["message"] == "invalid credentials"


# ICE servers --------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_ice_servers():
    listed = [{"urls": "stun:stun.test"}, {"urls": ["turn:turn.test"]}]
    async with rig(**OPEN, ice_servers=json.dumps(listed), turn_rest_shared_secret="north") as r:
        status, headers, text = await r.get("/webrtc/ice")
        stun, turn = json.loads(text)["iceServers"]
        assert status == 200 and headers["Cache-Control"] == "no-store" and headers["Expires"] == "0"
        assert stun == {"urls": ["stun:stun.test"]} and turn["username"].split(":")[1] == "aero"
    config = ServerConfig(**OPEN, ice_servers='[{"urls": ["turn:t"]}]', turn_rest_shared_secret="north")
    (server,) = ice_servers(config, now=1000)
    assert server["username"].startswith("4600:aero:") and len(server["credential"]) == 28
    for wrong in ('{"urls": []}', "[5]", '[{"urls": "http://x"}]', "no json", '[{"urls": []}]'):
        async with rig(**OPEN, ice_servers=wrong) as r:
            status, headers, text = await r.get("/webrtc/ice")
            assert status == 503 and "error" in json.loads(text) and headers["Pragma"] == "no-cache"


# The bridge ---------------------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_bridge_to_another_proxy():
    async with rig(auth_mode="token", api_key="there") as far:
        url = f"ws://{far.proxy.authority}/l2"
        settings = {"l2_backend_ws_url": url, "l2_backend_token": "there", "l2_backend_forward_origin": False}
        async with rig(**OPEN, **settings, l2_backend_origin=far.origin) as r, client() as peer:
            l2 = Heard(peer.channel("l2"))
            await connect(r, peer)
            await l2.opened()
            l2.channel.send(encode_frame(GATEWAY_ARP))
            l2.channel.send(encode_ping(b"over there"))
            heard = [decode(await l2.next()) for _ in range(2)]
            assert {each.type for each in heard} == {FRAME, PONG}
            assert len(far.proxy.sessions) == 1
            l2.channel.send(bytes(5000))
            await until(lambda: l2.channel.closed, "the end of the bridge")
            _, _, text = await r.get("/metrics")
            assert 'event="l2_bridge_dropped_oversized_total"} 1' in text
            assert 'event="l2_bridge_messages_from_client_total"} 2' in text
        await until(lambda: not far.proxy.sessions, "the other proxy's end")


@on_a_loop
async def test_a_bridge_to_nobody():
    async with tcp_server(echo) as port:
        pass
    async with rig(**OPEN, l2_backend_ws_url=f"ws://127.0.0.1:{port}/l2") as r, client() as peer:
        l2 = Heard(peer.channel("l2"))
        await connect(r, peer)
        await until(lambda: l2.channel.closed, "a closed channel")
        assert 'event="l2_bridge_dial_errors_total"} 1' in (await r.get("/metrics"))[2]
