"""Replay guests: which frames are chosen, when they go out, what answers them, and what cannot be played."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest

import aero_lab as al
from aero_lab.errors import AeroLabError, UsageError
from aero_lab.guests.replay.guest import Playback, ReplayGuest
from aero_lab.guests.replay.recording import Recording, read
from aero_lab.limits import NEVER, RING_SLOTS
from aero_lab.wire import frame as wire_frame
from aero_lab.wire.address import ip, mac
from aero_lab.wire.icmp import Icmp

GUEST, OTHER, ROUTER = mac("02:00:00:00:77:01"), mac("02:00:00:00:77:02"), mac("02:00:00:00:77:fe")
MINE, GATEWAY = ip("192.168.7.9"), ip("10.0.2.2")


def echo(number: int, src: bytes = GUEST) -> bytes:
    return wire_frame.icmp_frame(src, ROUTER, MINE, GATEWAY, Icmp(8, 0, 77 << 16 | number, bytes(40)))


def pcap(path: Any, frames: list[tuple[int, bytes]], snap: int = 65535, link: int = 1) -> str:
    """A classic capture of a stranger's: nanoseconds, and no directions."""
    out = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snap, link)
    for when, data in frames:
        out += struct.pack("<IIII", when // 10**9, when % 10**9, min(len(data), snap), len(data)) + data[:snap]
    path.write_bytes(out)
    return str(path)


def seen(lab: Any, direction: str) -> list[tuple[int, bytes]]:
    """Times and bytes of the frames at the guest's NIC."""
    capture = lab.capture.capture()
    rows = capture.descriptors()
    which = [
        i + 1 for i, row in enumerate(rows) if row["point"] == 0 and row["direction"] == ("tx", "rx").index(direction)
    ]
    return [(int(rows["t_ns"][i - 1]), capture.frame(i)) for i in which]


def _advance(lab: Any, ns: int) -> None:
    lab._engine.advance(ns)


def test_a_recording_played_into_the_same_bench_gets_the_same_answers(tmp_path):
    """In virtual time the other side chooses its numbers again: every byte of every answer, a download's too, comes
    at the time it came at. Over a link: without one, question and answer are of one instant, and a recording does not
    tell which frames of an instant came before an answer."""
    with al.Lab(virtual=True, seed=5, link="rtt=10ms") as lab:
        guest = lab.guest()
        guest.run("download", size="200kB")
        guest.run("ping")
        path = lab.capture.save(tmp_path / "own.pcapng")
        sent, answers = seen(lab, "tx"), seen(lab, "rx")
    with al.Lab(virtual=True, seed=5, link="rtt=10ms") as lab:
        guest: Any = lab.guest("replay", pcap=path, delay=sent[0][0] / 1e9)
        result = guest.wait()
        _advance(lab, answers[-1][0] + 1_000_000 - lab.now)
        assert seen(lab, "tx") == sent and seen(lab, "rx") == answers
        assert result.ok and result.details["frames_sent"] == len(sent) and result.details["readdressed"] == 0
        assert guest.address == "10.0.2.15" and result.details["late_ms"] == 0


def test_with_other_numbers_a_connection_is_not_served(tmp_path):
    """What a recording cannot do: the SYN is answered, what acknowledges another's numbers is not."""
    with al.Lab(virtual=True, seed=5) as lab:
        lab.guest().run("download", size="200kB")
        rows: Any = lab.capture.frames()
        recorded = lab.capture.capture()
    tcp = rows[(rows["point"] == "nic") & (rows["ip_proto"] == 6)]
    with al.Lab(virtual=True, seed=6) as lab:
        guest: Any = lab.guest("replay", pcap=recorded)
        result = guest.wait()
        again: Any = lab.capture.frames()
        again = again[(again["point"] == "nic") & (again["ip_proto"] == 6)]
        assert result.details["frames_sent"] > 10
        data = {
            name: frames.groupby("direction", observed=True)["tcp_len"].sum()
            for name, frames in (("new", again), ("old", tcp))
        }
        assert data["new"]["rx"] == 0 and data["old"]["rx"] > 200_000


TIMES = [0, 1_000_000, 1_000_000, 250_000_003, 900_000_000]


@pytest.mark.parametrize(("speed", "repeat", "pause"), [(1.0, 1, 0.0), (2.0, 3, 0.5), (0.1, 2, 0.0), (1e9, 1, 0.0)])
def test_frames_keep_their_distances(tmp_path, speed, repeat, pause):
    path = pcap(tmp_path / "a.pcap", [(10**18 + when, echo(i)) for i, when in enumerate(TIMES)])
    with al.Lab(virtual=True) as lab:
        guest: Any = lab.guest("replay", pcap=path, speed=speed, repeat=repeat, pause=pause, delay=0.25)
        result = guest.wait()
        got = seen(lab, "tx")
        expected, start = [], 250_000_000
        for _ in range(repeat):
            expected += [start + round(when / speed) for when in TIMES]
            start = expected[-1] + round(pause * 1e9)
        assert [when for when, _ in got] == expected
        assert [data[6:] for _, data in got] == [echo(i)[6:] for i in range(5)] * repeat
        assert result.details["frames_sent"] == 5 * repeat == result.details["readdressed"]
        assert result.seconds == pytest.approx((expected[-1] - expected[0]) / 1e9)


def test_a_strangers_frames_are_answered_and_the_stranger_is_learnt(tmp_path):
    """Addresses of another network: the lab's gateway learns them from the frames, as it does any guest's."""
    path = pcap(tmp_path / "a.pcap", [(i * 10**8, echo(i)) for i in range(5)])
    with al.Lab(virtual=True) as lab:
        guest: Any = lab.guest("replay", pcap=path)
        assert guest.address is None and guest.wait_online() == "192.168.7.9"
        guest.wait()
        _advance(lab, 10_000_000)
        answers = [data for _, data in seen(lab, "rx") if data[23] == 1 and data[12:14] == b"\x08\0"]
        assert len(answers) == 5 and all(data[:6] == GUEST and data[30:34] == MINE for data in answers)
        assert all(data[:6] == lab._world.lan_config(1500).mac for _, data in seen(lab, "tx"))
        assert guest.mac == "02:00:00:00:77:01" and guest.address6 is None
    with al.Lab(virtual=True) as lab:
        guest: Any = lab.guest("replay", pcap=path, gateway=None)
        guest.wait()
        _advance(lab, 10_000_000)
        assert [data for _, data in seen(lab, "tx")] == [echo(i) for i in range(5)]
        assert not [data for _, data in seen(lab, "rx") if data[23] == 1]


def test_as_fast_as_there_is_room_nothing_is_lost():
    many = tuple(echo(i) for i in range(3 * RING_SLOTS))
    recording = Recording(many, tuple(range(len(many))), GUEST, MINE)
    guest = ReplayGuest(recording)
    playback = guest.play(speed="max")
    got: list[bytes] = []
    for _ in range(200):
        guest.step(5)
        assert guest.poll_at(5) in (5, NEVER)
        got += [frame.data for frame in guest.nic_tx.pop_many(100)]
    assert tuple(got) == many and playback.done and guest.nic_tx.refused == 0
    assert playback.value().details["late_ms"] == 0


def test_late_frames_are_told():
    guest = ReplayGuest(Recording((echo(0), echo(1)), (0, 1000), GUEST))
    playback = guest.play()
    guest.step(0)
    guest.step(4_001_000)
    assert playback.done and playback.value().details["late_ms"] == 4.0


def test_a_virtual_run_is_the_same_twice(tmp_path):
    path = pcap(tmp_path / "a.pcap", [(i * 10**7, echo(i)) for i in range(30)])
    files = []
    for name in ("one", "two"):
        with al.Lab(virtual=True, link="rtt=20ms, loss=10%") as lab:
            guest: Any = lab.guest("replay", pcap=path, repeat=3)
            guest.wait()
            files.append(lab.capture.save(tmp_path / f"{name}.pcapng").read_bytes())
    assert files[0] == files[1]


def test_the_host_is_chosen_by_address_or_direction(tmp_path):
    mixed = [(0, echo(1)), (1, echo(2, OTHER)), (2, echo(3)), (3, echo(4, OTHER))]
    path = pcap(tmp_path / "a.pcap", mixed)
    with pytest.raises(UsageError, match=r"which host\? mac= one of 02:00:00:00:77:01 \(2 frames\), 02:00:00:00:77:02"):
        read(path, 1522)
    assert read(path, 1522, GUEST).frames == (echo(1), echo(3)) and read(path, 1522, OTHER).times == (0, 2)
    with pytest.raises(UsageError, match="no frame from 02:00:00:00:77:fe"):
        read(path, 1522, ROUTER)
    with pytest.raises(UsageError, match="no frame with direction tx"):
        read(path, 1522, None, "tx")
    with pytest.raises(UsageError, match="direction must be"):
        read(path, 1522, None, "out")


def test_in_a_labs_own_capture_the_nic_tells_and_rows_may_be_chosen(tmp_path):
    with al.Lab(virtual=True) as lab:
        one, two = lab.guest(name="one"), lab.guest(name="two")
        one.run("ping")
        two.run("dns")
        path, rows = lab.capture.save(tmp_path / "own.pcapng"), lab.capture.frames()
        both = lab.capture.capture()
    with pytest.raises(UsageError, match="which host"):
        read(path, 1522)
    nic = rows[(rows["point"] == "nic") & (rows["direction"] == "tx")]
    for guest in (one, two):
        wanted = nic[nic["eth_src"] == guest.mac]
        recording = read(both, 1522, mac(guest.mac))
        assert recording.frames == tuple(both.frame(number) for number in wanted["frame_number"])
        assert recording.address == ip("10.0.2.15")
    answers = read(path, 1522, None, "rx")
    assert len(answers.frames) == ((rows["point"] == "nic") & (rows["direction"] == "rx")).sum()


def test_what_cannot_be_sent_again_is_counted_and_said(tmp_path):
    frames = [(0, echo(0)), (1, bytes(13)), (2, GUEST + GUEST + bytes(1600)), (3, echo(1))]
    recording = read(pcap(tmp_path / "a.pcap", frames), 1522, GUEST)
    assert recording.frames == (echo(0), echo(1)) and recording.skipped == {"short": 1, "too-large": 1}
    for name, options, why in (
        ("cut", {"snap": 40}, "were cut when they were captured"),
        ("raw", {"link": 101}, "are no Ethernet frames"),
    ):
        path = pcap(tmp_path / f"{name}.pcap", [(0, echo(0)), (1, echo(1))], **options)
        with pytest.raises(UsageError, match=f"can be sent again: 2 {why}"):
            read(path, 1522)
    with pytest.raises(UsageError, match="no frame in this capture"):
        read(pcap(tmp_path / "none.pcap", []), 1522)
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(open(pcap(tmp_path / "b.pcap", [(0, echo(0)), (1, echo(1))]), "rb").read()[:-5])
    recording = read(broken, 1522)
    assert recording.frames == (echo(0),) and recording.warning
    guest = ReplayGuest(recording)
    guest.play()
    guest.step(0)
    assert guest.playback is not None and "warning" in guest.playback.value().details


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "lacks the frames"),
        ({"pcap": "/nowhere/at/all.pcap"}, "cannot be read"),
        ({"pcap": __file__}, "not a pcapng or pcap file"),
        ({"speed": 0}, "speed is a factor"),
        ({"speed": "fast"}, "speed is a factor"),
        ({"speed": None}, "speed is a factor"),
        ({"repeat": 0}, "repeat is 1 to"),
        ({"repeat": 10**9}, "repeat is 1 to"),
        ({"repeat": 2.5}, "repeat is 1 to"),
        ({"pause": -1}, "pause is 0 to"),
        ({"pause": "1s"}, "pause is 0 to"),
        ({"delay": 1e9}, "delay is 0 to"),
        ({"loop": True}, "has no option loop"),
        ({"mac": "nonsense"}, "nonsense"),
    ],
)
def test_mistakes_are_one_line(tmp_path, options, why):
    good = pcap(tmp_path / "a.pcap", [(0, echo(0))])
    with al.Lab(virtual=True) as lab:
        with pytest.raises(UsageError, match=why) as told:
            lab.guest("replay", **({"pcap": good} if options and "pcap" not in options else {}), **options)
        assert "\n" not in str(told.value) and lab.guests == []


def test_workloads_are_one_and_playing_can_be_stopped(tmp_path):
    path = pcap(tmp_path / "a.pcap", [(i * 10**9, echo(i)) for i in range(10)])
    with al.Lab(virtual=True) as lab:
        guest: Any = lab.guest("replay", pcap=path)
        with pytest.raises(UsageError, match="reacts to nothing"):
            guest.run("download")
        with pytest.raises(UsageError, match="takes delay, pause, repeat, speed"):
            guest.run("replay", size=1)
        _advance(lab, 2_500_000_000)
        with pytest.raises(AeroLabError, match="still playing"):
            guest._host.play()
        guest.stop()
        result = guest.wait()
        assert not result.ok and result.error == "cancelled: after 3 of 10 frames" and "3 of 10" in repr(guest)
        assert guest.run("replay", speed="max").details["frames_sent"] == 10
        assert len(seen(lab, "tx")) == 13
        guest.relink()
        with pytest.raises(AeroLabError, match="not done within"):
            guest.run("replay", timeout=1.0)
        assert len(seen(lab, "tx")) == 15


@pytest.mark.parametrize("transport", ["memory", "websocket"])
def test_in_real_time_too(tmp_path, transport):
    path = pcap(tmp_path / "a.pcap", [(i * 10**7, echo(i)) for i in range(20)])
    with al.Lab(transport=transport) as lab:
        guest: Any = lab.guest("replay", pcap=path, repeat=2)
        assert guest.wait_online(30) == "192.168.7.9"
        result = guest.wait(30)
        assert result.ok and result.details["frames_sent"] == 40
        wanted = 40
        for _ in range(3000):
            if sum(data[23] == 1 for _, data in seen(lab, "rx") if data[12:14] == b"\x08\0") >= wanted:
                break
            time.sleep(0.01)
        times = [when for when, data in seen(lab, "tx") if data[23:24] == b"\1"]
        assert len(times) == 40 and times[19] - times[0] >= 190_000_000
        assert sum(data[23] == 1 for _, data in seen(lab, "rx") if data[12:14] == b"\x08\0") == wanted


def test_playback_alone_is_a_task():
    playback = Playback(Recording((echo(0),), (0,), GUEST), repeat=2)
    assert not playback.done and playback.due() > 1 << 60
    playback.begin(7)
    assert playback.due() == 7 and playback.next == echo(0)
    playback.went(82, 7, False)
    playback.went(82, 9, True)
    assert playback.done and playback.value().details["frames_sent"] == 2 and playback.latest == 2


@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_every_option_carries_it_and_a_fork_plays_on(tmp_path, option):
    path = pcap(tmp_path / "a.pcap", [(i * 10**8, echo(i)) for i in range(10)])
    with al.Lab(virtual=True, option=option) as lab:
        lab.guest("replay", pcap=path)
        _advance(lab, 350_000_000)
        with lab.fork() as twin:
            for each in (lab, twin):
                guest: Any = each.guests[0]
                assert guest.wait().details["frames_sent"] == 10
                _advance(each, 10_000_000)
            assert seen(lab, "tx") == seen(twin, "tx") and seen(lab, "rx") == seen(twin, "rx")
            assert len(seen(lab, "rx")) == 10
