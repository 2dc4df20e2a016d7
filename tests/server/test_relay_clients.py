"""Clients that others wrote speak tcp-mux, versions 1 and 2, and datagrams: Node's ``ws``, and a browser."""

from __future__ import annotations

import pytest

from . import node
from .rig import on_a_loop, rig
from .test_clients import CHROMIUM, FLAGS
from .test_datagrams import peer
from .test_sockets import echo, server

OPEN_RIG = {"auth_mode": "none", "gateway_auth_mode": "none", "relay_auth_mode": "none", "open": True,
            "tcp_allow_private_ips": True, "destination_policy_preset": "dev"}  # fmt: skip

TALK = """
const frame = (type, stream, payload) => {
  const out = new Uint8Array(9 + payload.length), view = new DataView(out.buffer);
  view.setUint8(0, type); view.setUint32(1, stream); view.setUint32(5, payload.length);
  out.set(payload, 9);
  return out;
};
const openFrame = (stream, host, port) => {
  const name = new TextEncoder().encode(host), payload = new Uint8Array(6 + name.length);
  const view = new DataView(payload.buffer);
  view.setUint16(0, name.length); payload.set(name, 2); view.setUint16(2 + name.length, port);
  return frame(1, stream, payload);
};
const joined = (parts) => {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) { out.set(p, at); at += p.length; }
  return out;
};
const talkMux = (socket, version, host, port, size) => new Promise((done) => {
  // Sends ``size`` bytes within the credit of version 2, counts what comes back until the other end's FIN.
  let buffer = new Uint8Array(0), credit = version === 2 ? 65536 : Infinity, left = size, got = 0, sum = 0, credits = 0;
  const told = {protocol: socket.protocol, credits: 0, errors: []};
  const push = () => {
    while (left > 0 && credit > 0) {
      const n = Math.min(left, credit, 16384);
      socket.send(frame(2, 1, new Uint8Array(n).fill(7)));
      left -= n; credit -= n;
      if (left === 0) socket.send(frame(3, 1, new Uint8Array([1])));
    }
  };
  socket.onmessage = (event) => {
    buffer = joined([buffer, new Uint8Array(event.data)]);
    for (;;) {
      if (buffer.length < 9) return;
      const view = new DataView(buffer.buffer, buffer.byteOffset), n = view.getUint32(5);
      if (buffer.length < 9 + n) return;
      const type = buffer[0], stream = view.getUint32(1), payload = buffer.subarray(9, 9 + n);
      buffer = buffer.slice(9 + n);
      if (type === 2) {
        got += n;
        for (const byte of payload) sum = (sum + byte) >>> 0;
        if (version === 2) {
          const more = new Uint8Array(4);
          new DataView(more.buffer).setUint32(0, n);
          socket.send(frame(7, 1, more));
        }
      } else if (type === 3) { told.got = got; told.sum = sum; socket.close(1000); done(told); return; }
      else if (type === 4) told.errors.push([stream, payload[1]]);
      else if (type === 6) told.pong = Array.from(payload);
      else if (type === 7) { told.credits += 1; credit += new DataView(payload.slice().buffer).getUint32(0); push(); }
    }
  };
  // Split and concatenated: a PING, an OPEN to a denied target, ours.
  const ping = frame(5, 0, new Uint8Array([1, 2, 3]));
  const first = joined([ping, openFrame(9, "169.254.169.254", 80), openFrame(1, host, port)]);
  socket.send(first.subarray(0, 5)); socket.send(first.subarray(5));
  push();
});
const talkUdp = (socket, port) => new Promise((done) => {
  const told = {};
  socket.onmessage = (event) => {
    if (typeof event.data === "string") {
      told.ready = JSON.parse(event.data).type;
      const message = new Uint8Array(10), view = new DataView(message.buffer);
      view.setUint16(0, 5353); message.set([127, 0, 0, 1], 2); view.setUint16(6, port); message.set([104, 105], 8);
      socket.send(message);
    } else {
      told.answer = Array.from(new Uint8Array(event.data).subarray(8)).map((c) => String.fromCharCode(c)).join("");
      socket.close(1000); done(told);
    }
  };
});
const connect = (make, path, protocols) => new Promise((done, failed) => {
  const socket = make(path, protocols);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => done(socket);
  socket.onerror = () => failed(new Error("no connection to " + path));
});
const all = async (make, port, udp, size) => {
  const told = {};
  told.v1 = await talkMux(await connect(make, "/tcp-mux", ["aero-tcp-mux-v1"]), 1, "127.0.0.1", port, size);
  const both = await connect(make, "/tcp-mux", ["aero-tcp-mux-v1", "aero-tcp-mux-v2"]);
  told.v2 = await talkMux(both, 2, "127.0.0.1", port, size);
  // The server speaks at once, before a handler set later could hear it.
  const socket = make("/udp");
  socket.binaryType = "arraybuffer";
  told.udp = await talkUdp(socket, udp);
  return told;
};
"""
NODE = (
    'import WebSocket from "ws";\n'
    + TALK
    + """
const [base, port, udp, size] = args;
const headers = {Origin: base};
const make = (path, protocols) => new WebSocket(base.replace("http", "ws") + path, protocols, {headers});
console.log(JSON.stringify(await all(make, port, udp, size)));
"""
)
BROWSER = (
    "async ([port, udp, size]) => {"
    + TALK
    + """
const make = (path, protocols) => new WebSocket(location.origin.replace("http", "ws") + path, protocols ?? []);
return await all(make, port, udp, size);
}
"""
)
SIZE = 700_000


def check(told):
    for version, name in ((1, "v1"), (2, "v2")):
        found = told[name]
        assert found["protocol"] == f"aero-tcp-mux-v{version}" and found["pong"] == [1, 2, 3]
        assert found["errors"] == [[9, 1]] and (found["credits"] > 0) == (version == 2)
        assert (found["got"], found["sum"]) == (SIZE + 3, 7 * SIZE + sum(b"bye"))
    assert told["udp"] == {"ready": "ready", "answer": "re:hi"}


@on_a_loop(patience=400)  # npm may have to install first
async def test_node():
    async with rig(**OPEN_RIG) as r, server(echo) as port, peer() as near:
        check(await node.run(NODE, ("ws",), r.origin, port, near.port, SIZE))


@on_a_loop(patience=150)
async def test_a_browser():
    playwright = pytest.importorskip("playwright.async_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    async with playwright.async_playwright() as play:
        browser = await play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        async with rig(**OPEN_RIG) as r, server(echo) as port, peer() as near:
            page = await browser.new_page()
            await page.goto(f"{r.origin}/healthz")
            check(await page.evaluate(BROWSER, [port, near.port, SIZE]))
        await browser.close()
