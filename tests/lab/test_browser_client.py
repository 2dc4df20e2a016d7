"""A browser as the client: its own WebSocket, with its own Origin, masks and fragments, against the proxy."""

from __future__ import annotations

import os
import shutil

import pytest

import aero_lab as al

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--disable-gpu", *(["--no-sandbox"] if os.name == "posix" and os.getuid() == 0 else [])]

TALK = """
async ({url, arp, big}) => {
  const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
  const hex = (data) => Array.from(new Uint8Array(data), (b) => b.toString(16).padStart(2, "0")).join("");
  const seen = [], socket = new WebSocket(url, ["aero-l2-tunnel-v1"]);
  socket.binaryType = "arraybuffer";
  const closed = new Promise((done) => { socket.onclose = (e) => done([e.code, e.reason, e.wasClean]); });
  const opened = new Promise((done) => { socket.onopen = () => done(true); socket.onerror = () => done(false); });
  if (!await opened) return {opened: false, closed: await closed};
  const next = () => new Promise((done) => { socket.onmessage = (e) => { seen.push(hex(e.data)); done(); }; });
  let came = next();
  socket.send(bytes("a2030100" + "01020304"));           // PING
  await came;
  came = next();
  socket.send("text is nothing to the tunnel");
  socket.send(bytes("a2030000" + arp));
  await came;
  if (big) socket.send(new Uint8Array(big)); else socket.close(1000, "enough");
  return {opened: true, protocol: socket.protocol, extensions: socket.extensions, seen, closed: await closed};
}
"""
ARP = "ffffffffffff020000000001080600010800060400010200000000010a00020f0000000000000a000202"


@pytest.fixture(scope="module")
def page():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page()
        browser.close()


@pytest.fixture(scope="module")
def lab():
    with al.Lab(transport="websocket", progress=False) as lab:
        yield lab


def talk(page, lab, url=None, page_of=None, big=0):
    proxy = lab._tunnels.proxy
    page.goto(page_of or f"http://{proxy.authority}/version")
    return page.evaluate(TALK, {"url": url or proxy.url, "arp": ARP, "big": big})


def test_a_page_of_the_same_host_opens_a_tunnel(page, lab):
    told = talk(page, lab)
    assert told["opened"] and told["protocol"] == "aero-l2-tunnel-v1" and told["extensions"] == ""
    pong, arp = told["seen"]
    assert pong == "a203020001020304"
    assert arp.startswith("a2030000020000000001") and arp[8 + 28 :].startswith("0001080006040002") and len(arp) >= 92
    assert arp[8 + 56 : 8 + 64] == "0a000202", "the gateway answers"
    assert told["closed"] == [1000, "", True]


def test_a_message_over_the_limit_ends_it(page, lab):
    told = talk(page, lab, big=5000)
    assert told["opened"] and told["closed"][0] in (1006, 1009)
    assert talk(page, lab)["opened"], "and nobody else's"


def test_a_page_from_elsewhere_and_a_wrong_token_do_not(page, lab):
    proxy = lab._tunnels.proxy
    elsewhere = f"http://localhost:{proxy.port}/version"
    assert talk(page, lab, page_of=elsewhere) == {"opened": False, "closed": [1006, "", False]}
    assert not talk(page, lab, url=f"ws://{proxy.authority}/l2?token=wrong")["opened"]
