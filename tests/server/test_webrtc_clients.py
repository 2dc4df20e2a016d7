"""Peers that others wrote: werift under Node, and a browser, over the channels of a session."""

from __future__ import annotations

import os
import shutil

import pytest

from aero_lab.transports.peer import missing

from . import node
from .rig import GATEWAY_ARP, echo, on_a_loop, rig, tcp_server

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--disable-gpu",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--allow-loopback-in-peer-connection",
    *(["--no-sandbox"] if os.name == "posix" and os.getuid() == 0 else []),
]
TALK = """
const hexOf = (data) => Array.from(new Uint8Array(data), (b) => b.toString(16).padStart(2, "0")).join("");
const bytesOf = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const opened = (channel) => new Promise((done) => {
  if (channel.readyState === "open") done(); else channel.onopen = () => done();
});
const listen = (channel) => {
  const heard = []; let waiting;
  channel.binaryType = "arraybuffer";
  channel.onmessage = (event) => { heard.push(hexOf(event.data)); waiting?.(); };
  return async () => { while (!heard.length) await new Promise((done) => { waiting = done; }); return heard.shift(); };
};
const talk = async (peer, ask, {arp, port}) => {
  const l2 = peer.createDataChannel("l2");
  const l3 = peer.createDataChannel("l3", {ordered: false});
  const udp = peer.createDataChannel("udp", {ordered: false, maxRetransmits: 0});
  const mux = peer.createDataChannel("mux", {protocol: "aero-tcp-mux-v2"});
  const chat = peer.createDataChannel("chat");
  const closed = new Promise((done) => { chat.onclose = () => done(true); });
  const [fromL2, fromL3, fromMux] = [l2, l3, mux].map(listen);
  await peer.setLocalDescription(await peer.createOffer());
  await new Promise((done) => {
    if (peer.iceGatheringState === "complete") return done();
    peer.onicegatheringstatechange = () => { if (peer.iceGatheringState === "complete") done(); };
    setTimeout(done, 2000);
  });
  const answer = await ask({sdp: {type: "offer", sdp: peer.localDescription.sdp}});
  await peer.setRemoteDescription(answer.sdp);
  await Promise.all([l2, l3, udp, mux].map(opened));
  const told = {session: answer.sessionId.length};
  l2.send(bytesOf("a2030100" + "0a0b0c"));
  told.pong = await fromL2();
  l2.send(bytesOf("a2030000" + arp));
  told.arp = await fromL2();
  l3.send(bytesOf("a2030100" + "77"));
  told.pong3 = await fromL3();
  const u16 = (n) => n.toString(16).padStart(4, "0"), u32 = (n) => n.toString(16).padStart(8, "0");
  const frame = (kind, payload) => "0" + kind + u32(1) + u32(payload.length / 2) + payload;
  const host = hexOf(new TextEncoder().encode("127.0.0.1"));
  const open = u16(host.length / 2) + host + u16(port) + "0000";
  mux.send(bytesOf(frame(1, open) + frame(7, u32(1000)) + frame(2, "c0ffee")));
  told.mux = "";
  while (!told.mux.includes("c0ffee")) told.mux += await fromMux();
  told.closed = await closed;
  peer.close();
  return told;
};
"""
NODE = """
import { RTCPeerConnection } from "werift";
%s
const [base, given] = args;
const peer = new RTCPeerConnection({
  iceServers: [], iceUseIpv6: false, iceAdditionalHostAddresses: ["127.0.0.1"],
});
const ask = async (offer) => {
  const answer = await fetch(base + "/webrtc/offer", {method: "POST", body: JSON.stringify(offer)});
  return answer.json();
};
console.log(JSON.stringify(await talk(peer, ask, given)));
process.exit(0);
"""
BROWSER = """
async (given) => {
  %s
  const peer = new RTCPeerConnection({iceServers: []});
  const ask = async (offer) => (await fetch("/webrtc/offer", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(offer)})).json();
  return await talk(peer, ask, given);
}
"""


def check(told):
    assert told["session"] == 32 and told["closed"] is True
    assert told["pong"] == "a20302000a0b0c" and told["pong3"] == "a203020077"
    assert told["arp"].startswith("a2030000020000000005")
    assert "c0ffee" in told["mux"]


SETTINGS = {"auth_mode": "none", "tcp_allow_private_ips": True}


@on_a_loop(patience=400)  # npm may have to install first
async def test_werift_under_node():
    async with rig(**SETTINGS) as r, tcp_server(echo) as port:
        given = {"arp": GATEWAY_ARP.hex(), "port": port}
        check(await node.run(NODE % TALK, ("werift",), r.origin, given))


@pytest.mark.parametrize("library", ["aiortc", "wrtc"])
@on_a_loop(patience=150)
async def test_a_browser(library):
    if why := missing(library):
        pytest.skip(why)
    playwright = pytest.importorskip("playwright.async_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    async with (
        playwright.async_playwright() as play,
        rig(**SETTINGS, webrtc_library=library) as r,
        tcp_server(echo) as port,
    ):
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = await browser.new_page()
            await page.goto(f"{r.origin}/healthz")
            check(await page.evaluate(BROWSER % TALK, {"arp": GATEWAY_ARP.hex(), "port": port}))
        finally:
            await browser.close()
