"""What each profile's TCP looks like on the wire, and what p0f says about it."""

import shutil
import subprocess

import pytest

from aero_lab.errors import UsageError
from aero_lab.guests.scripted import LINUX, PROFILES, WINDOWS7, TaskError, quiet
from aero_lab.guests.scripted.profiles import find
from aero_lab.guests.scripted.tasks import sleep_until
from aero_lab.limits import MS, SECOND
from aero_lab.link import Link
from aero_lab.wire import tcp
from aero_lab.wire.frame import Ipv4, Tcp, dissect

from .bench import Bench, write_pcap
from .peer import Peer
from .server import SERVER, Host, Pair


def segments(frames):
    """``(time, ip, tcp)`` of every TCP frame."""
    out = []
    for when, frame in frames:
        layers = dissect(frame)
        if isinstance(layers[-1], Tcp):
            out.append((when, layers[-2], layers[-1]))
    return out


def first_syn(profile):
    peer = Peer(quiet(profile))
    peer.run(5, lambda: peer.guest.online)
    peer.guest.start(peer.guest.connect(SERVER, 80))
    peer.run(1)
    return segments(peer.frames)[0][1:]


def option_kinds(segment):
    """Kinds of the options as they stand, padding included."""
    raw = segment.emit(bytes(4), bytes(4))[20 : 4 * (segment.emit(bytes(4), bytes(4))[12] >> 4)]
    kinds, at = [], 0
    while at < len(raw):
        kinds.append(raw[at])
        at += 1 if raw[at] < 2 else raw[at + 1]
    return kinds


def test_windows_syn():
    ip, segment = first_syn("windows7")
    assert isinstance(ip, Ipv4) and ip.ttl == 128 and ip.df and ip.id and ip.buffer_len() - len(ip.payload) == 20
    assert segment.flags == tcp.SYN and segment.window == 8192
    assert segment.options.mss == 1460 and segment.options.wscale == 8 and segment.options.timestamps is None
    assert option_kinds(segment) == [2, 1, 3, 1, 1, 4]
    assert 49152 <= segment.srcport <= 65535


def test_linux_syn():
    ip, segment = first_syn("linux")
    assert ip.ttl == 64 and ip.df and ip.id
    assert segment.window == 64240 and segment.options.mss == 1460 and segment.options.wscale == 7
    assert option_kinds(segment) == [2, 4, 8, 1, 3]
    assert 32768 <= segment.srcport <= 60999


@pytest.mark.parametrize("profile, times, end", [("windows7", [0, 3, 9], 21), ("linux", [0, 1, 3, 7, 15, 31, 63], 127)])
def test_syn_retransmissions(profile, times, end):
    peer = Peer(quiet(profile))
    peer.run(5, lambda: peer.guest.online)
    start = peer.now
    with pytest.raises(TaskError) as caught:
        peer.run_task(peer.guest.connect(SERVER, 80), 300)
    assert caught.value.reason == "timeout"
    sent = [when - start for when, _, _ in segments(peer.frames)]
    assert [round(when / SECOND) for when in sent] == times
    assert abs(peer.now - start - end * SECOND) <= SECOND


@pytest.mark.parametrize("profile, sendings", [("windows7", range(6, 7)), ("linux", range(16, 18))])
def test_data_retransmissions_until_the_connection_is_given_up(profile, sendings):
    pair = Pair(Host(lambda conn, received: b""), profile)

    def task():
        socket = yield from pair.guest.connect(SERVER, 80)
        pair.scheduler.remove(pair.host)  # from the next turn on nobody answers
        yield from sleep_until(pair.guest.now + SECOND)
        yield from socket.send(b"anybody there?")
        yield from socket.readable()

    with pytest.raises(TaskError) as caught:
        pair.run_task(task(), 4000)
    assert caught.value.reason == "timeout"
    sent = [when for when, ip, segment in segments(pair.frames) if segment.payload]
    assert len(sent) in sendings  # Linux may begin with a tail loss probe
    waits = [later - earlier for earlier, later in zip(sent, sent[1:])]
    assert waits[0] >= (300 if profile == "windows7" else 200) * MS * 0.9
    assert all(later <= 2.01 * earlier for earlier, later in zip(waits[1:], waits[2:]))


@pytest.mark.parametrize("profile, ttl", [("windows7", 128), ("linux", 64)])
def test_identification_counts_up_and_every_segment_may_not_be_fragmented(profile, ttl):
    bench = Bench(quiet(profile))
    assert bench.run("upload", size=50_000).ok
    own = [ip for _, ip, _ in segments(bench.frames) if ip.src == bench.guest.address]
    steps = {(later.id - earlier.id) & 0xFFFF for earlier, later in zip(own, own[1:])}
    assert steps <= {1, 2, 3} and all(ip.id and ip.df and ip.ttl == ttl for ip in own)


def acknowledged_after(profile):
    """How long the guest waits before it acknowledges single segments, of which one comes each second."""
    host = Host(lambda conn, received: b"x" * 100 if received else b"")
    pair = Pair(host, profile)
    times = []

    def task():
        socket = yield from pair.guest.connect(SERVER, 80)
        yield from socket.send(b"go")
        yield from socket.receive_exactly(100)

    pair.run_task(task())
    pair.scheduler.run(pair.clock.now() + SECOND)
    data = None
    for when, ip, segment in segments(pair.frames):
        if ip.src == SERVER and segment.payload:
            data = when
        elif data is not None and ip.src != SERVER:
            times.append(when - data)
            data = None
    return times[0]


def test_delayed_acknowledgement():
    assert acknowledged_after("windows7") == 200 * MS
    assert acknowledged_after("linux") == 0  # the first segments are acknowledged at once


@pytest.mark.parametrize("profile, expected", [("windows7", 2), ("linux", 10)])
def test_initial_window(profile, expected):
    bench = Bench(quiet(profile), link=Link(rtt="1s"))
    assert bench.run("upload", size=200_000).ok
    sent = [
        (when, s) for when, ip, s in segments(bench.frames) if ip.ttl == bench.guest.profile.ttl and s.dstport == 80
    ]
    full = [when for when, s in sent if len(s.payload) > 1000]
    # The request's head is a segment of its own; the windows counts it.
    assert sum(when < full[0] + SECOND // 2 for when in full) in (expected, expected - 1)


def test_profiles_by_name():
    assert find("windows7") is WINDOWS7 and find(LINUX) is LINUX and set(PROFILES) == {"windows7", "linux"}
    with pytest.raises(UsageError, match="windows7, linux"):
        find("beos")


@pytest.mark.skipif(shutil.which("p0f") is None, reason="p0f is not installed")
@pytest.mark.parametrize("profile, name", [("windows7", "Windows 7 or 8"), ("linux", "Linux 2.2.x-3.x")])
def test_p0f_names_the_guest(profile, name, tmp_path):
    bench = Bench(profile)
    assert bench.run("download", size=3000).ok
    write_pcap(tmp_path / "capture.pcap", bench.frames)
    told = subprocess.run(
        [shutil.which("p0f"), "-r", str(tmp_path / "capture.pcap")], capture_output=True, text=True, timeout=60
    ).stdout
    syn = told.split("(syn) ]-")[1].split("`----")[0]
    lines = dict(line.strip("| ").split(" = ", 1) for line in syn.splitlines() if " = " in line)
    found = {key.strip(): value.strip() for key, value in lines.items()}
    assert found["client"].startswith("10.0.2.15/")
    assert found["os"] == name, found


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("profile", ["windows7", "linux"])
def test_tshark_finds_nothing_wrong(profile, tmp_path):
    bench = Bench(profile, link=Link(rtt="5ms"))
    for name in ("download", "upload", "udp-echo", "ping"):
        assert bench.run(name, **({"count": 1} if name in ("udp-echo", "ping") else {"size": 5000})).ok
    bench.wait(20)
    write_pcap(tmp_path / "capture.pcap", bench.frames)
    checks = [f"-o{layer}.check_checksum:TRUE" for layer in ("ip", "tcp", "udp")]
    bad = "_ws.malformed || _ws.expert.severity == error || ip.checksum.status == bad || udp.checksum.status == bad"
    command = [shutil.which("tshark"), "-r", str(tmp_path / "capture.pcap"), *checks, "-Y"]
    told = subprocess.run([*command, bad], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0 and told.stdout == "", told.stdout + told.stderr
    seen = subprocess.run([*command, "frame"], capture_output=True, text=True, timeout=120).stdout
    assert len(seen.splitlines()) == len(bench.frames)
