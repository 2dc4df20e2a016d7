"""Programs that everybody knows, run in a tap guest: they see an ordinary network. And the kernel's SYN is the model of
the ``linux`` profile's."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from aero_lab.lab import Lab
from aero_lab.wire.frame import dissect
from aero_lab.wire.ipv4 import Ipv4
from aero_lab.wire.ipv6 import Ipv6
from aero_lab.wire.tcp import Tcp

from .tap import needs_tap  # noqa: F401

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("needs_tap")]
DEFAULTS = {"net.ipv4.tcp_rmem": "4096 131072 6291456", "net.ipv4.tcp_ecn": 2, "net.ipv4.tcp_fastopen": 1}
"""What Linux documents as its own defaults; a host may have been told otherwise."""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


@pytest.fixture
def guest(lab):
    found = lab.guests[0] if lab.guests else lab.guest("tap")
    found.wait_online(30, family=6)
    return found


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs the command {program!r}")


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_curl_downloads_and_uploads(guest, tmp_path, family):
    need("curl")
    done = guest.run(["curl", family, "-sS", "-o", str(tmp_path / "body"), "-D", "-", "http://files.lab/3MB"])
    assert (done.returncode, done.stderr) == (0, "") and "200" in done.stdout.splitlines()[0]
    assert (tmp_path / "body").stat().st_size == 3_000_000
    done = guest.run(["curl", family, "-sS", "--data-binary", f"@{tmp_path / 'body'}", "http://files.lab/upload"])
    assert '"bytes": 3000000' in done.stdout, done.stderr


def test_curl_is_told_what_is_wrong(guest):
    need("curl")
    refused = guest.run(["curl", "-4", "-sS", "--max-time", "10", "http://files.lab:81/"])
    assert refused.returncode == 7, "a port that nobody serves is refused at once"
    unknown = guest.run(["curl", "-sS", "--max-time", "20", "http://nowhere.lab/"])
    assert unknown.returncode == 6, "a name that does not exist is not resolved"


@pytest.mark.parametrize("tool", ["dig", "drill"])
def test_lookups(guest, tool):
    need(tool)
    for words, expected in (
        (["files.lab"], "203.0.113.10"),
        (["files.lab", "AAAA"], "2001:db8:"),
        (["-x", "203.0.113.10"], "files.lab."),
        (["nowhere.lab"], "NXDOMAIN"),
    ):
        done = guest.run([tool, *words], timeout=30)
        assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr
    over_tcp = guest.run([tool, *(["+tcp"] if tool == "dig" else ["-t"]), "files.lab"], timeout=30)
    assert "203.0.113.10" in over_tcp.stdout


@pytest.mark.parametrize(("family", "target"), [("-4", "10.0.2.2"), ("-4", "files.lab"), ("-6", "files.lab")])
def test_ping(guest, family, target):
    need("ping")
    done = guest.run(["ping", family, "-n", "-c", "3", "-i", "0.05", "-W", "5", target], timeout=30)
    assert done.returncode == 0 and "3 received, 0% packet loss" in done.stdout, done.stdout + done.stderr


def test_ping_with_fragments(guest):
    need("ping")
    done = guest.run(["ping", "-4", "-n", "-c", "2", "-i", "0.05", "-s", "9000", "-W", "5", "10.0.2.2"], timeout=30)
    assert "2 received, 0% packet loss" in done.stdout, done.stdout + done.stderr


def test_traceroute_ends_at_the_target(guest):
    need("traceroute")
    done = guest.run(["traceroute", "-4", "-n", "-I", "-q", "1", "-w", "2", "-m", "5", "203.0.113.10"], timeout=60)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[-1].split()[1] == "203.0.113.10", done.stdout + done.stderr


# The model of the linux profile ---------------------------------------------------------------------------------------


def first_syn(lab: Lab, mac: str, family: int) -> tuple[Ipv4 | Ipv6, Tcp]:
    capture = lab.capture.capture()
    frames = capture.frames()
    syn = frames["tcp_flags_syn"].fillna(False).astype(bool)
    found = frames[(frames["eth_src"] == mac) & syn & (frames["ip_version"] == family)]
    values = dissect(capture.frame(int(found["frame_number"].iloc[0])))
    ip, segment = values[1], values[2]
    assert isinstance(ip, (Ipv4, Ipv6)) and isinstance(segment, Tcp)
    return ip, segment


@pytest.mark.parametrize(
    ("family", "mtu"), [(4, 576), (4, 1280), (4, 1500), (4, 9000), (6, 1280), (6, 1500), (6, 9000)]
)
def test_the_linux_profile_sends_the_syn_of_a_linux_kernel(family, mtu):
    seen = []
    with Lab(mtu=mtu) as lab:
        for guest in (lab.guest("tap", sysctls=DEFAULTS), lab.guest("scripted", profile="linux")):
            guest.wait_online()
            assert guest.run("download", size="1KB", timeout=60, family=family).ok
            ip, segment = first_syn(lab, guest.mac, family)
            # What tells one connection from the next is set aside; all else has to be the same, bit for bit.
            segment = replace(segment, srcport=1, seq=1, options=replace(segment.options, timestamps=(1, 0)))
            once = {"id": 1} if isinstance(ip, Ipv4) else {"src": bytes(16), "flow_label": 0}
            seen.append((replace(ip, payload=b"", **once), segment))
    assert seen[0] == seen[1]
    assert seen[0][1].options.emit() == seen[1][1].options.emit()
    assert seen[0][1].options.mss == mtu - (40 if family == 4 else 60)
    assert family == 6 or (seen[0][0].ttl, seen[0][0].df) == (64, True)
