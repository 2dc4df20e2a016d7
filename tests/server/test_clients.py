"""Clients that others wrote: Node's fetch and ``ws``, and a browser, with a session's cookie at a tunnel."""

from __future__ import annotations

import os
import shutil

import pytest

from . import node
from .rig import GATEWAY_ARP, on_a_loop, rig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--disable-gpu", *(["--no-sandbox"] if os.name == "posix" and os.getuid() == 0 else [])]

NODE = """
import WebSocket from "ws";
const [base, arp] = args;
const told = {};
const answer = await fetch(base + "/session", {method: "POST", headers: {Origin: base}});
told.status = answer.status;
told.session = await answer.json();
const cookie = answer.headers.get("set-cookie").split(";")[0];
const again = await fetch(base + "/session", {method: "POST", headers: {cookie}, body: "{}"});
told.again = again.status;
const open = (headers, protocols = ["aero-l2-tunnel-v1"]) => new Promise((done) => {
  const socket = new WebSocket(base.replace("http", "ws") + told.session.endpoints.l2, protocols, {headers});
  socket.on("unexpected-response", (request, response) => done({status: response.statusCode}));
  socket.on("open", () => done({socket}));
  socket.on("error", () => {});
});
told.without = (await open({Origin: base})).status;
told.broken = (await open({Origin: base, cookie: cookie + "A"})).status;
told.elsewhere = (await open({Origin: "https://evil.test", cookie})).status;
const {socket} = await open({Origin: base, cookie});
told.protocol = socket.protocol;
const heard = [];
let waiting;
socket.on("message", (data) => { heard.push(data.toString("hex")); waiting?.(); });
const next = async (n) => { while (heard.length < n) await new Promise((done) => { waiting = done; }); };
socket.send(Buffer.from("a2030100" + "0a0b", "hex"));
await next(1);
socket.send(Buffer.from("a2030000" + arp, "hex"));
await next(2);
told.heard = heard;
const closed = new Promise((done) => socket.on("close", (code) => done(code)));
socket.close(1000);
told.closed = await closed;
const label = Buffer.from("localhost").toString("hex");
const message = Buffer.from("12340100000100000000000009" + label + "0000010001", "hex");
const names = await fetch(base + "/dns-query", {
  method: "POST", headers: {cookie, "content-type": "application/dns-message"}, body: message});
told.names = [names.status, Buffer.from(await names.arrayBuffer()).toString("hex")];
told.noNames = (await fetch(base + "/dns-json?name=localhost&type=A")).status;
console.log(JSON.stringify(told));
"""


@on_a_loop(patience=400)  # npm may have to install first
async def test_node_with_a_session():
    async with rig(auth_mode="session") as r:
        told = await node.run(NODE, ("ws",), r.origin, GATEWAY_ARP.hex())
        assert told["status"] == told["again"] == 201 and told["session"]["endpoints"]["l2"] == "/l2"
        assert (told["without"], told["broken"], told["elsewhere"]) == (401, 401, 403)
        assert told["protocol"] == "aero-l2-tunnel-v1" and told["closed"] == 1000
        pong, arp = told["heard"]
        assert pong == "a20302000a0b" and arp.startswith("a2030000020000000005")
        status, answer = told["names"]
        assert status == 200 and answer.startswith("1234") and answer.endswith("7f000001") and told["noNames"] == 401


BROWSER = """
async ({arp}) => {
  const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
  const hex = (data) => Array.from(new Uint8Array(data), (b) => b.toString(16).padStart(2, "0")).join("");
  const open = (path) => new Promise((done) => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + path, ["aero-l2-tunnel-v1"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => done(socket);
    socket.onerror = () => done(null);
  });
  const told = {before: (await open("/l2")) !== null};
  const answer = await fetch("/session", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"});
  told.status = answer.status;
  told.requestId = answer.headers.get("x-request-id");
  const session = await answer.json();
  told.cookie = document.cookie;
  const socket = await open(session.endpoints.l2);
  const next = () => new Promise((done) => { socket.onmessage = (e) => done(hex(e.data)); });
  let came = next();
  socket.send(bytes("a2030100" + "01020304"));
  told.pong = await came;
  came = next();
  socket.send(bytes("a2030000" + arp));
  told.arp = await came;
  const closed = new Promise((done) => { socket.onclose = (e) => done(e.code); });
  socket.close(1000);
  told.closed = await closed;
  const json = await (await fetch(session.endpoints.dnsJson + "?name=localhost&type=A")).json();
  told.name = json.Answer[0].data;
  return told;
}
"""
ELSEWHERE = """
async (base) => {
  const ask = async (path, options) => {
    try { const answer = await fetch(base + path, options); return [answer.status, await answer.text()]; }
    catch (error) { return String(error.name); }
  };
  return {
    allowed: await ask("/session", {
      method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"}),
    other: await ask("/dns-json?name=localhost&type=A", {credentials: "include"}),
  };
}
"""


@on_a_loop(patience=150)
async def test_a_browser_with_a_session():
    playwright = pytest.importorskip("playwright.async_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    async with playwright.async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        async with rig(auth_mode="session", dns_qps_per_ip=0) as r, rig(
            auth_mode="session", allowed_origins=r.origin, session_cookie_samesite="Lax"
        ) as friend, rig(auth_mode="none") as stranger:  # fmt: skip
            page = await browser.new_page()
            await page.goto(f"{r.origin}/healthz")
            told = await page.evaluate(BROWSER, {"arp": GATEWAY_ARP.hex()})
            assert told["before"] is False and told["status"] == 201
            assert told["cookie"] == "", "it is out of reach of scripts"
            assert told["pong"] == "a203020001020304" and told["arp"].startswith("a2030000020000000005")
            assert told["closed"] == 1000 and told["name"] == "127.0.0.1" and len(told["requestId"]) == 36
            # Another server lets this page call it, cookies and preflight included; one that does not know it does not.
            told = await page.evaluate(ELSEWHERE, friend.origin)
            assert told["allowed"][0] == 201 and told["other"][0] == 200 and "127.0.0.1" in told["other"][1]
            told = await page.evaluate(ELSEWHERE, stranger.origin)
            assert told == {"allowed": "TypeError", "other": "TypeError"}
        await browser.close()
