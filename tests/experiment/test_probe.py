"""The probe against the smallest server there is, against our own network, and against servers that go wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import pytest

import aero_lab as al
from aero_lab import cli
from aero_lab.errors import UsageError
from aero_lab.experiment.probe import ProbeFailed, probe
from aero_lab.transports.websocket_client import ConnectFailed
from tests.experiment.prototype import prototype


@contextmanager
def on_thread(manager):
    """An asynchronous context manager on a loop of its own thread: the probe brings its own loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(_leave(manager), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _leave(manager):
    await manager.__aexit__(None, None, None)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_the_prototype_passes():
    with on_thread(prototype("ping")) as (url, port, tunnels):
        found = al.probe(url, echo=f"echo.local:{port}", size=131_072, seed=1)
    assert list(found) == ["arp", "dhcp", "dns", "tcp"] and found["dhcp"] is None
    assert found["arp"] == {"gatewayMac": "020000000002"}
    assert (found["dns"]["name"], found["dns"]["ip"]) == ("echo.local", "203.0.113.10") and found["dns"]["rttMs"] > 0
    tcp = found["tcp"]
    assert (tcp["remoteIp"], tcp["remotePort"], tcp["throughputBytes"]) == ("203.0.113.10", port, 131_072)
    assert tcp["ok"] is True and tcp["connectRttMs"] > 0 and tcp["throughputMbps"] > 0
    sizes = tunnels[0].sizes
    assert sizes[0] == 42, "an ARP request without padding"
    assert sizes.count(1200 + 54) == 131_072 // 1200 and sizes.count(131_072 % 1200 + 54) == 1
    assert "echo.local" in found._repr_html_()


def test_an_address_needs_no_name():
    with on_thread(prototype()) as (url, port, _):
        found = probe(url, echo=f"198.51.100.7:{port}", size=1)
    assert found["dns"] is None and found["tcp"]["remoteIp"] == "198.51.100.7" and found["tcp"]["throughputBytes"] == 1


@pytest.mark.parametrize(
    "bend, said",
    [
        ("no-arp", "no ARP answer from 10.0.2.2 within 0.4 s"),
        ("no-name", "DNS has no address for echo.local: NXDOMAIN"),
        ("reset", "refused or reset the connection"),
        ("flip", "echoed something else from byte "),
        ("stall", r"no byte [\d,]+ of 65,536 to come back from 203.0.113.10:\d+ within 0.4 s"),
        ("close", r"the server reports an error: byte quota exceeded \(6\)"),
    ],
)
def test_a_server_that_goes_wrong_is_told_by_the_step(bend, said):
    with on_thread(prototype(bend)) as (url, port, _):
        with pytest.raises(ProbeFailed, match=said) as caught:
            probe(url, echo=f"echo.local:{port}", size=65_536, step_timeout=0.4, data_timeout=0.4)
    assert "\n" not in str(caught.value)


def test_no_tunnel_at_all():
    with on_thread(prototype(protocols=())) as (url, _, _):
        with pytest.raises(ConnectFailed, match="does not speak aero-l2-tunnel-v1"):
            probe(url)


def test_nonsense_is_refused_before_anything_is_sent():
    for options, said in (
        ({"echo": "echo.local:x"}, "no echo server"),
        ({"echo": ":7"}, "no echo server"),
        ({"echo": "h:70000"}, "no echo server"),
        ({"size": 0}, "1 to 1,048,576 bytes"),
        ({"size": 1 << 21}, "1 to 1,048,576 bytes"),
        ({"guest": "10.0.2"}, "10.0.2"),
        ({"gateway": "fe80::1"}, "IPv4"),
        ({"step_timeout": 0}, "above 0"),
        ({"token": "a b", "token_transport": "subprotocol"}, "subprotocol"),
    ):
        with pytest.raises(UsageError, match=said):
            probe("ws://127.0.0.1:9", **options)
    with pytest.raises(UsageError, match="is no address of a proxy"):
        probe("127.0.0.1:9")


def test_it_works_while_a_loop_runs_as_in_a_notebook():
    with on_thread(prototype()) as (url, port, _):

        async def cell():
            return probe(url, echo=f"echo.local:{port}", size=2000)

        assert asyncio.run(cell())["tcp"]["ok"]


def test_the_command(tmp_path, capsys):
    def command(*arguments):
        code = cli.run(["probe", *arguments])
        return code, *capsys.readouterr()

    with on_thread(prototype()) as (url, port, _):
        code, out, err = command(url, "--echo", f"echo.local:{port}", "--bytes", "4000")
        assert code == 0 and json.loads(out)["tcp"]["ok"], err
        target = tmp_path / "probe.json"
        code, out, err = command(url, "--echo", f"echo.local:{port}", "--bytes", "4000", "--json", str(target))
        assert code == 0 and json.loads(target.read_text())["dns"]["ip"] == "203.0.113.10"
        assert out.startswith("ARP: gateway 020000000002\nDNS: echo.local is 203.0.113.10")
        code, out, err = command(url, "--echo", "echo.local:1", "--timeout", "0.3")
        assert (code, out) == (1, "")
        assert err == "aero-lab: no SYN-ACK from 203.0.113.10:1 within 0.3 s\n"
    code, out, err = command("ws://127.0.0.1:1")
    assert code == 1 and err == "aero-lab: cannot connect to ws://127.0.0.1:1/l2: Connection refused\n"
    code, out, err = command("nonsense")
    assert code == 2 and err.startswith("aero-lab: 'nonsense' is no address of a proxy")
    assert err.count("\n") == 1
