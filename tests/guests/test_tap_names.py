"""Names and leases as programs that are not ours see them: dig, glibc and DHCP clients on a real kernel behind a TAP.

The world's names come from a name server on loopback, so that nobody outside is asked.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
from dataclasses import replace

import pytest

from aero_lab.egress.resolver import HostResolver
from aero_lab.lab import Lab
from aero_lab.lan import Policy
from aero_lab.wire import dns
from aero_lab.wire.address import mac
from aero_lab.wire.dns import Record

from ..egress.name_server import Served
from .tap import needs_tap  # noqa: F401

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("needs_tap")]
MANY = tuple(bytes((10, 9, i >> 8, i & 255)) for i in range(300))


def need(tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="module")
def world():
    """A name server on a loop of its own thread: ``(server, where it is)``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = Served()
    yield asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(20)
    asyncio.run_coroutine_threadsafe(served.__aexit__(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.fixture(scope="module")
def lab(world):
    with Lab(capture=False, policy=Policy(allow_private=True, blocked_domains=("bad.example",))) as made:
        behind = made._world
        lan_config, make_egress = behind.lan_config, behind.make_egress

        def with_names(*args, **kw):
            config = lan_config(*args, **kw)
            more = Record("out.lab", dns.CNAME, dns.IN, 60, "www.example")
            return replace(
                config, names={**config.names, "many.lab": MANY}, records=(*config.records, more), domain="lab"
            )

        def with_resolver(*args, **kw):
            egress = make_egress(*args, **kw)
            egress._resolver = HostResolver(world[1], hosts=None)
            return egress

        behind.lan_config, behind.make_egress = with_names, with_resolver
        yield made


@pytest.fixture
def guest(lab):
    return lab.guests[0] if lab.guests else lab.guest("tap")


def dig(guest, *words):
    need("dig")
    done = guest.run(["dig", "+tries=1", "+time=5", *words], timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def short(guest, *words):
    return dig(guest, "+short", *words).split("\n")[:-1]


@pytest.mark.parametrize("server", ["@10.0.2.2", "@fd00:aee0::2"])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_every_type_of_the_labs_names(guest, server, transport):
    if ":" in server:
        assert guest.wait_online(20, family=6)
    for words, expected in (
        (("files.lab", "A"), ["203.0.113.10"]),
        (("FILES.lab", "AAAA"), ["2001:db8:113::10"]),
        (("www.lab", "A"), ["files.lab.", "203.0.113.10"]),
        (("www.lab", "CNAME"), ["files.lab."]),
        (("lab", "MX"), ["10 sink.lab."]),
        (("lab", "TXT"), ['"the hermetic lab"']),
        (("_ntp._udp.lab", "SRV"), ["0 0 123 ntp.lab."]),
        (("-x", "203.0.113.10"), ["files.lab."]),
        (("-x", "2001:db8:113::10"), ["files.lab."]),
        (("files.lab", "HTTPS"), []),
    ):
        assert short(guest, server, transport, *words) == expected, words


def test_names_of_the_world(guest, world):
    assert short(guest, "www.example") == ["cdn.example.", "Edge.cdn.example.", "192.0.2.9"]
    assert short(guest, "out.lab") == ["www.example.", "cdn.example.", "Edge.cdn.example.", "192.0.2.9"]
    assert sorted(short(guest, "mail.example", "MX")) == ["10 mx1.example.", "20 mx2.example."]
    assert short(guest, "text.example", "TXT") == ['"v=spf1 -all" ""']
    assert short(guest, "_sip._tcp.example", "SRV") == ["1 2 5060 one.example."]
    assert len(short(guest, "many.example")) == 100, "cut on the way here and on the way there: over TCP both"
    asked = len(world[0].asked)
    assert len(short(guest, "many.example")) == 100 and len(world[0].asked) == asked, "remembered"


def test_what_is_not_there(guest, world):
    nothing = dig(guest, "none.example")
    assert "status: NXDOMAIN" in nothing and re.search(r"example\.\s+45\s+IN\s+SOA", nothing)
    empty = dig(guest, "six.example", "A")
    assert "status: NOERROR" in empty and "ANSWER: 0" in empty and "SOA" in empty
    blocked = dig(guest, "x.bad.example")
    assert "status: NXDOMAIN" in blocked and "EDE: 15" in blocked and "blocked-domain" in blocked
    world[0].rcode = dns.REFUSED
    try:
        assert "status: SERVFAIL" in dig(guest, "failing.example")
    finally:
        world[0].rcode = None


def test_sizes_and_edns(guest):
    cut = dig(guest, "+ignore", "+noedns", "many.lab")
    assert re.search(r"flags: qr[^;]* tc", cut) and "MSG SIZE  rcvd: 50" in cut
    assert "MSG SIZE  rcvd: 12" in dig(guest, "+ignore", "+bufsize=4096", "many.lab")
    assert len(short(guest, "many.lab")) == 300, "asked again over TCP"
    assert "BADVERS" in dig(guest, "+edns=1", "+noednsneg", "files.lab")
    assert "203.0.113.10" in dig(guest, "+edns=1", "files.lab"), "the client comes down to version 0"
    assert "203.0.113.10" in dig(guest, "+cookie", "+nsid", "+padding=128", "+subnet=192.0.2.0/24", "files.lab")
    assert "RFC8482" in dig(guest, "other.example", "ANY")
    assert "status: NOTIMP" in dig(guest, "+opcode=notify", "files.lab")
    assert "status: FORMERR" in dig(guest, "+header-only", "files.lab")


def test_several_questions_in_one_connection(guest):
    before = guest.counters["dns.streams"]
    words = [word for i in range(10) for word in ("+tcp", "+keepopen", "+short", ("files.lab", "echo.lab")[i % 2])]
    assert short(guest, *words) == ["203.0.113.10", "203.0.113.11"] * 5
    assert guest.counters["dns.streams"] == before + 1


def test_glibc_resolves(guest):
    found = guest.run(["getent", "ahosts", "www.lab"], timeout=30)
    addresses = {line.split()[0] for line in found.stdout.splitlines()}
    assert addresses == {"203.0.113.10", "2001:db8:113::10"}, found
    assert guest.run(["getent", "hosts", "203.0.113.11"], timeout=30).stdout.split()[-1] == "echo.lab"
    missing = guest.run(["getent", "ahosts", "none.example"], timeout=30)
    assert missing.returncode == 2


SCRIPT = """#!/bin/sh
echo "event=$1"
[ "$1" = bound ] && env | grep -E '^(ip|subnet|mask|router|dns|lease|serverid|domain|siaddr)='
exit 0
"""


def test_busybox_udhcpc_takes_the_lease(guest, tmp_path):
    need("busybox")
    script = tmp_path / "script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    tmp_path.chmod(0o755)
    base = ["busybox", "udhcpc", "-f", "-q", "-n", "-i", "tap0", "-t", "5", "-T", "2", "-s", str(script)]
    for words in ([], ["-r", "10.0.2.15"], ["-r", "192.168.7.9"], ["-x", "hostname:tapguest", "-B"]):
        done = guest.run([*base, *words], timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        told = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        assert (told["ip"], told["router"], told["dns"], told["serverid"], told["lease"], told["domain"]) == (
            *("10.0.2.15", "10.0.2.2", "10.0.2.2", "10.0.2.2", "86400", "lab"),
        )


def test_dhclient_takes_the_lease_and_gives_it_back(guest, tmp_path):
    need("dhclient")
    lease = tmp_path / "leases"
    base = ["dhclient", "-v", "-sf", "/bin/true", "-lf", str(lease), "-pf", str(tmp_path / "pid"), "-cf", "/dev/null"]
    done = guest.run([*base, "-1", "tap0"], timeout=60)
    if "Permission denied" in done.stderr:
        pytest.skip("this host's security policy does not let dhclient write where the test says")
    assert "DHCPACK of 10.0.2.15 from 10.0.2.2" in done.stdout + done.stderr
    assert "option domain-name-servers 10.0.2.2;" in lease.read_text()
    assert guest.lan.dhcp.leased_to == mac(guest.mac)
    done = guest.run([*base, "-r", "tap0"], timeout=60)
    assert "DHCPRELEASE of 10.0.2.15" in done.stdout + done.stderr
    assert guest.lan.dhcp.leased_to is None
