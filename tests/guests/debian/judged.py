"""What is asked of every guest with Linux's own drivers, whatever it runs on: one list, used for each.

``guest`` is a handle of a lab: of a Linux on the emulated PC or under QEMU.
"""

from __future__ import annotations

import hashlib
import re
import time

import aero_lab as al
from aero_lab.services.content import content_bytes, content_md5

PATIENCE = 60.0
TROUBLE = re.compile(
    r"hang|reset|timed? ?out|WATCHDOG|error|fail|warn|BUG|oops|trace|corrupt|overrun|underrun|unexpected|bad |invalid",
    re.IGNORECASE,
)
ABOUT_NIC = re.compile(r"eth\d|e1000|virtio|net_failover|WARNING|BUG|Call Trace|NETDEV WATCHDOG|------------")
FINE = re.compile(
    r"module verification failed|Link is (Up|Down)|link becomes ready|Tainted|"
    r"IPv6: ADDRCONF|changing MTU|Unstable clock"
)
"""Words of a driver for what was done to it, or of the kernel for modules without Debian's signature, which the image
leaves out."""
MODULES = {"e1000": ("e1000",), "virtio-net": ("virtio_net", "virtio_pci")}


def nic_trouble(guest) -> list[str]:
    """Lines of the kernel's log about a network card that tell of errors, resets or worse."""
    lines = guest.sh("dmesg").check().output.splitlines()
    return [line for line in lines if ABOUT_NIC.search(line) and TROUBLE.search(line) and not FINE.search(line)]


def check_drivers(guest, nic: str) -> None:
    """Linux's own modules were loaded, and drive the card."""
    loaded = {line.split()[0] for line in guest.sh("cat /proc/modules").check().output.splitlines()}
    assert set(MODULES[nic]) <= loaded
    driver = guest.sh("readlink /sys/class/net/eth0/device/driver").check().output.strip().rpartition("/")[2]
    assert driver == MODULES[nic][0]
    assert guest.sh("cat /sys/class/net/eth0/address").check().output.strip() == guest.mac


def check_online(guest) -> None:
    """A lease, and names."""
    assert guest.wait_online(PATIENCE) == guest.address == "10.0.2.15"
    said = guest.sh("nslookup -type=a files.lab").check().output
    assert "Address: 203.0.113.10" in said
    assert guest.sh("nslookup -type=a nowhere.lab").status != 0


def check_transfers(guest, size: str) -> list:
    """There and back with the right digest."""
    results = [guest.run("download", size=size), guest.run("upload", size=size)]
    for result in results:
        assert result.ok and result.digest_ok, result
        assert result.goodput_mbps > 0
    return results


def check_pings(guest, sizes: tuple[int, ...] = (0, 56, 1473, 8000)) -> None:
    """Echo requests up to 8000 bytes: fragments, in both directions."""
    for size in sizes:
        lost = guest.sh(f"ping -c 3 -i 0.05 -s {size} 10.0.2.2").check().output
        assert " 0% packet loss" in lost, lost


def check_link(lab: al.Lab, guest) -> None:
    """The cable is pulled and plugged in: the driver notices, and a connection that was open goes on.

    The download is as quick as md5sum is, so that the cable is out in the middle of it. A connection that was not open
    yet would end: without a carrier Linux forgets its neighbours, and a handshake with one that does not answer fails.
    """
    carrier, size = "cat /sys/class/net/eth0/carrier", 4_000_000
    before = len(lab.flows)
    guest.sh(f"(wget -q -O - http://203.0.113.10/bytes/{size} | md5sum >/run/before) >/dev/null 2>&1 &").check()
    wait(lambda: any(row["bytes_down"] for row in lab.flows.rows()[before:]), "the download does not begin")
    guest.set_link(False)
    wait(lambda: guest.sh(carrier).output.strip() == "0", "the driver does not notice that its cable is out")
    assert guest.sh("ping -c 1 -W 1 10.0.2.2").status != 0
    guest.set_link(True)
    wait(lambda: guest.sh(carrier).output.strip() == "1", "the driver does not notice that its cable is in")
    wait(lambda: guest.sh("ping -c 1 -W 1 10.0.2.2").ok, "nothing passes after the cable is plugged in")
    expected = content_md5(size).hex()
    wait(lambda: guest.sh("cat /run/before").output.strip(), "a download does not go on after its cable was out", 240)
    assert guest.sh("cat /run/before").output.split()[0] == expected, "a download did not survive its cable"


def check_connections(guest, count: int, at_once: int = 4) -> float:
    """Short connections, several at a time, each a request and an answer of 16 bytes; how many a second.

    A wget makes many of them: to start a program for each would take the guest ten times as long.
    """
    each, rest = divmod(count, at_once)
    assert not rest
    result = guest.sh(
        f"""urls=$(yes http://203.0.113.10/bytes/16 | head -n {each})
        for number in $(seq {at_once}); do
            {{ wget -q -O - $urls; echo "status $?" >/run/status$number; }} >/run/got$number &
        done
        began=$EPOCHREALTIME
        wait
        echo "$began $EPOCHREALTIME"
        cat /run/status?
        md5sum /run/got?""",
        timeout=1800,
    ).check()
    times, *lines = result.output.splitlines()
    digest = hashlib.md5(content_bytes(16) * each).hexdigest()
    assert lines[:at_once] == ["status 0"] * at_once, result.output
    assert [line.split()[0] for line in lines[at_once:]] == [digest] * at_once, result.output
    began, ended = map(float, times.split())
    return count / (ended - began)


def check_mtu(guest, mtus: tuple[int, ...] = (1280, 1500)) -> None:
    """The MTU is changed while the card is up; transfers go on, smaller and back. Drivers may restart the card for it,
    which takes e1000 two seconds each time."""
    for mtu in mtus:
        guest.sh(f"ip link set eth0 mtu {mtu}").check()
        assert guest.sh("cat /sys/class/net/eth0/mtu").output.strip() == str(mtu)
        wait(lambda: guest.sh("ping -c 1 -W 1 10.0.2.2").ok, f"nothing passes with MTU {mtu}")
        result = guest.run("download", size="300kB")
        assert result.ok and result.digest_ok, (mtu, result)


def wait(condition, what: str, patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def check_frames(lab: al.Lab, guest) -> None:
    """The capture saw the guest's frames at both points."""
    frames = lab.capture.frames()
    syns = frames[(frames.point == "nic") & (frames.direction == "tx") & (frames.tcp_flags_syn == 1)]
    assert len(syns) and set(syns.eth_src) == {guest.mac}
    assert {"nic", "tunnel"} <= set(frames.point)


def card_trouble(guest) -> dict[str, int]:
    """Counters of the emulated card that tell of a driver or a card that went wrong."""
    bad = re.compile(r"bad|too_|overlong|partial|no_fit|unknown|broken|escape")
    return {name: value for name, value in guest.nic_counters.items() if value and bad.search(name)}
