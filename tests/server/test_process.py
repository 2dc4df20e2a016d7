"""The real process, as scripts start it: its lines, its signals, its exit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading

import aiohttp
import pytest

from aero_lab import cli
from aero_lab.compiled.registry import warmup
from aero_lab.experiment.probe import probe
from aero_lab.framing.l2_tunnel import SUBPROTOCOL, encode_ping
from aero_lab.server import command
from aero_lab.server.config import ServerConfig
from aero_lab.server.proxy import Proxy

from .test_bounds import open_raw, resident

GIVEN_BACK = 8 << 20
"""Bytes that a thousand tunnels may leave behind."""
LISTENING = re.compile(r"aero-l2-proxy listening on (http://([\d.]+):(\d+))")
LAUNCH = {
    "AERO_L2_OPEN": "1",
    "AERO_L2_AUTH_MODE": "none",
    "AERO_L2_PROXY_LISTEN_ADDR": "127.0.0.1:0",
    "AERO_L2_ALLOWED_ORIGINS": "",
    "AERO_L2_MAX_CONNECTIONS": " ",
}


class Process:
    """``aero-lab proxy`` as a child, its output read as it comes."""

    def __init__(self, *arguments, command="proxy", **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AERO_L2_")}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "aero_lab.cli", command, *arguments],
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = [], []
        self.heard = threading.Event()
        self.readers = [
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.child.stdout, self.out), (self.child.stderr, self.err))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe, lines):
        for line in pipe:
            lines.append(line.rstrip("\n"))
            if LISTENING.search(line):
                self.heard.set()

    def listening(self):
        """Its URL, once it listens."""
        assert self.heard.wait(120), (self.child.poll(), self.err)
        return LISTENING.search("\n".join(self.err))[1]

    def end(self, number=signal.SIGINT):
        self.child.send_signal(number)
        return self.finished()

    def finished(self, timeout=60):
        code = self.child.wait(timeout)
        for reader in self.readers:
            reader.join()
        self.child.stdout.close()
        self.child.stderr.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.child.poll() is None:
            self.child.kill()
            self.finished()


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


@contextlib.contextmanager
def echo_server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(autouse=True, scope="module")
def kernels():
    warmup(progress=False)  # in this process: the children find them on disk


async def open_tunnel(url, **options):
    client = aiohttp.ClientSession()
    return client, await client.ws_connect(url, protocols=[SUBPROTOCOL], autoclose=False, **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_launch_contract(number):
    with Process("--ready-stdout", **LAUNCH) as process:
        url = process.listening()

        async def use():
            client, tunnel = await open_tunnel(f"{url}/l2")
            await tunnel.send_bytes(encode_ping(b"hello"))
            assert (await tunnel.receive()).data == b"\xa2\x03\x02\x00hello"
            process.child.send_signal(number)
            closed = await tunnel.receive()
            assert (closed.data, closed.extra) == (1001, "shutting down")
            await tunnel.close()
            await client.close()

        asyncio.run(asyncio.wait_for(use(), 60))
        assert process.finished() == 0
        assert process.out == [f"AERO_L2_PROXY_READY {url.replace('http', 'ws')}/l2"]
        assert "Traceback" not in "\n".join(process.err)


def test_a_probe_that_knows_nothing_but_the_contract():
    """No Origin, no credentials: DHCP, ARP, DNS and a TCP echo, sent without looking at the window."""
    with echo_server() as port:
        names = {"AERO_L2_DNS_A": "echo.local=203.0.113.10"}
        forward = {"AERO_L2_TCP_FORWARD": f"203.0.113.10:{port}=127.0.0.1:{port}"}
        with Process(**LAUNCH, **names, **forward) as process:
            url = process.listening().replace("http", "ws") + "/l2"
            for dhcp in (False, True):
                found = probe(url, origin=None, echo=f"echo.local:{port}", size=131072, dhcp=dhcp)
                assert found["dns"]["ip"] == "203.0.113.10"
                assert found["tcp"]["ok"] is True and found["tcp"]["throughputBytes"] == 131072
            assert process.end() == 0


def test_a_client_that_does_not_let_go_holds_nothing_up():
    with Process(**LAUNCH, AERO_L2_SHUTDOWN_GRACE_MS="200") as process:
        url = process.listening()

        async def use():
            client, tunnel = await open_tunnel(f"{url}/l2")
            process.child.send_signal(signal.SIGINT)
            code = await asyncio.to_thread(process.finished, 30)  # nobody answers the Close
            await client.close()
            return code

        assert asyncio.run(asyncio.wait_for(use(), 60)) == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not tell how much memory is held")
def test_a_thousand_idle_tunnels_cost_little_and_the_memory_comes_back():
    with Process(**{**LAUNCH, "AERO_L2_MAX_CONNECTIONS": "0"}) as process:
        url = process.listening()
        held = []

        async def tunnels():
            port = int(url.rpartition(":")[2])
            return await asyncio.gather(*(open_raw(port) for _ in range(1000)))  # all at once, and all get in

        async def active(client):
            async with client.get(f"{url}/metrics") as answer:
                return re.search(r"^l2_sessions_active (\d+)", await answer.text(), re.MULTILINE)[1]

        async def use():
            async with aiohttp.ClientSession() as client:
                for _ in range(3):
                    opened = await tunnels()
                    assert await active(client) == "1000"
                    most = resident(process.child.pid)
                    for _, writer in opened:
                        writer.transport.abort()
                    for _ in range(400):
                        if await active(client) == "0":
                            break
                        await asyncio.sleep(0.05)
                    assert await active(client) == "0"
                    await asyncio.sleep(1.5)  # a second after the last one it tidies up
                    for _ in range(100):
                        if not held or resident(process.child.pid) - held[0][1] < GIVEN_BACK:
                            break
                        await asyncio.sleep(0.1)  # later on a busy machine
                    held.append((most, resident(process.child.pid)))

        asyncio.run(asyncio.wait_for(use(), 120))
        (_, first), (again, _), (_, third) = held
        assert again - first < 1000 * (64 << 10), held  # of the second thousand, each
        assert third - first < GIVEN_BACK, held
        assert process.end() == 0


def test_without_a_credential_one_is_made_and_shown_once():
    with Process("--port", "0", "--audit", "-") as process:
        url = process.listening()
        (shown,) = [line.strip() for line in process.err if "token=" in line]
        assert shown.startswith(url.replace("http", "ws") + "/l2?token=")
        token = shown.partition("token=")[2]

        async def use():
            async with aiohttp.ClientSession() as client:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                    await client.ws_connect(f"{url}/l2", protocols=[SUBPROTOCOL], origin=url)
                assert refusal.value.status == 401
            client, tunnel = await open_tunnel(shown, origin=url)
            await tunnel.close()
            await client.close()

        asyncio.run(asyncio.wait_for(use(), 60))
        assert process.end() == 0
        assert "\n".join(process.err).count(token) == 1
        records = [json.loads(line) for line in process.err if line.startswith("{")]
        assert [record["kind"] for record in records] == ["session-refused", "session-open", "session-close"]


@pytest.mark.parametrize(
    "arguments, variables, named",
    [
        ((), {"AERO_L2_AUTH_MODE": "jwt"}, "AERO_L2_AUTH_MODE"),
        ((), {"AERO_L2_TCP_FORWARD": "nonsense"}, "AERO_L2_TCP_FORWARD"),
        ((), {"AERO_L2_ALLOWED_ORIGINS": "x"}, "AERO_L2_ALLOWED_ORIGINS"),
        (("--bind", "somewhere"), {}, "AERO_L2_PROXY_LISTEN_ADDR"),
        (("--port", "99999"), {}, "AERO_L2_PROXY_LISTEN_ADDR"),
        (("--mtu", "5"), {}, "AERO_L2_MTU"),
        (("--bind", "192.0.2.1:0"), LAUNCH, "cannot listen at 192.0.2.1"),
        (("--audit", "/nonexistent/x"), LAUNCH, "cannot write the audit"),
        (("--nonsense",), {}, "--nonsense"),
    ],
)
def test_what_refuses_to_start_says_so_in_one_line(arguments, variables, named, monkeypatch, capsys):
    for name in [name for name in os.environ if name.startswith("AERO_L2_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cli.run(["proxy", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("aero-lab: ") and named in err and err.count("\n") == 1


def test_the_process_too_exits_with_2():
    with Process(AERO_L2_AUTH_MODE="jwt") as process:
        assert process.finished() == 2 and len(process.err) == 1 and process.out == []


@pytest.mark.parametrize("bind, warned", [("0.0.0.0:80", True), ("[::]:80", True), ("127.0.0.1:80", False)])
def test_an_open_proxy_on_every_address_is_warned_about(bind, warned, capsys):
    command.announce(Proxy(ServerConfig(bind=bind, auth_mode="none"), lambda driver: None), False)
    assert ("WARNING" in capsys.readouterr().err) is warned
