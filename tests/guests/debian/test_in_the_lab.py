"""The Linux guest where users meet it: in a lab, on the command line, in a terminal."""

from __future__ import annotations

import gc
import json
import os
import pty
import select
import subprocess
import sys
import threading
import time

import pytest

import aero_lab as al
from aero_lab.cli import run
from aero_lab.guests.image.store import Store
from aero_lab.guests.linux.boot import Boot
from aero_lab.guests.linux.guest import LinuxGuest

PATIENCE = 60.0


def guest_threads() -> int:
    return sum(thread.name == "aero-lab-guest" for thread in threading.enumerate())


def wait(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.02)


def test_a_lab_in_real_time_has_a_guest_that_is_alive(machine):
    with al.Lab(progress=False) as lab:
        guest = lab.guest("linux", nic=None, progress=False)
        assert lab.unplugged == [guest] and lab.guests == [] and len(lab.flows) == 0
        assert guest.run("echo $((6 * 7))").output == "42\n" and guest.run("exit 3").status == 3
        guest.type("echo from the $((1)) console\n")
        wait(lambda: "from the 1 console" in guest.text, "the console's answer")
        assert "from the 1 console" in repr(guest.console) and guest.console is guest.console
        scripted = lab.guest("scripted")
        assert lab.guests == [scripted] and scripted.name == "guest2", "and the others go on as ever"
        assert guest_threads() == 1
    assert "closed" in repr(guest)
    wait(lambda: guest_threads() == 0, "the end of the machine's thread")
    with pytest.raises(al.UsageError, match="closed"):
        guest.run("true")


def test_a_lab_in_virtual_time_has_a_guest_whose_time_is_its_instructions(machine):
    with al.Lab(virtual=True, progress=False) as lab:
        guest = lab.guest("linux", nic=None, progress=False)
        before = guest.machine.state_hash()
        assert before == machine.fork().state_hash() and guest_threads() == 0
        assert guest.run("sleep 5; echo done").output == "done\n"
        assert guest.machine.now - machine.now > 5_000_000_000
        with pytest.raises(al.UsageError, match="virtual time"):
            lab.guest("linux", clock="host")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nic": "ne2000"}, "network card 'ne2000' does not exist; there is 'e1000', 'virtio-net'"),
        ({"mac": "52:54:00:00:00:01", "nic": None}, "no network card"),
        ({"colour": "red"}, "no option colour; there is backend, clock"),
        ({"profile": "windows7"}, "profile= is of scripted guests"),
        ({"clock": "sundial"}, "clock must be"),
        ({"kernel": "/nowhere/vmlinuz"}, "/nowhere/vmlinuz"),
        ({"ram_mb": 8}, "need .* MB of memory, the machine has 8"),
    ],
)
def test_what_it_cannot_be_is_one_clear_line(machine, options, says):
    with al.Lab(virtual=True, progress=False) as lab:
        with pytest.raises(al.UsageError, match=says) as raised:
            lab.guest("linux", **options)
        assert "\n" not in str(raised.value) and lab.unplugged == []


def test_what_a_network_card_would_be_needed_for_says_so(machine):
    with al.Lab(virtual=True, progress=False) as lab:
        guest = lab.guest("linux", nic=None, progress=False)
        for ask in (
            lambda: guest.lan,
            lambda: guest.mac,
            guest.snapshot,
            guest.wait_online,
            guest.relink,
            lambda: guest.run("ping"),
        ):
            with pytest.raises(al.UsageError, match="no network card"):
                ask()
        assert guest.address is None and guest.address6 is None and guest.tunnel == guest.counters == {}


def test_a_live_guest_that_is_forgotten_stops(plain_image):
    guest = LinuxGuest(Boot.of(plain_image).resume(clock="host"))
    assert guest.run("true").ok
    del guest
    gc.collect()
    wait(lambda: guest_threads() == 0, "the end of the machine's thread")


def test_a_command_from_the_command_line(machine, capfd):
    assert run(["guest", "run", "linux", "echo hello; exit 7"]) == 7
    assert capfd.readouterr().out == "hello\n"
    assert run(["guest", "run", "linux", "sleep 100", "--timeout", "2"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and "not done after 2 s" in err and "Traceback" not in err
    assert run(["guest", "run", "linux"]) == 2, "a console needs a terminal"
    assert "needs a terminal" in capfd.readouterr().err


def test_the_list_says_what_is_there(machine, capfd):
    assert run(["guest", "list"]) == 0
    out = capfd.readouterr().out
    assert "busybox-static" in out and "the default" in out and "snapshot" in out
    assert run(["guest", "list", "--json", "-"]) == 0
    (found,) = json.loads(capfd.readouterr().out)["guests"]
    assert {each["name"] for each in found["packages"]} >= {"busybox-static", "perl-base"}
    assert [each["key"] for each in found["images"] if each["default"]] == [Store().image().key]  # type: ignore[union-attr]


def test_a_console_in_a_terminal(machine):
    """Typed at, answered, left with control-]; and the terminal is as it was."""
    master, slave = pty.openpty()
    before = subprocess.run(["stty", "-g"], stdin=slave, capture_output=True, check=True).stdout
    process = subprocess.Popen(
        [sys.executable, "-m", "aero_lab.cli", "guest", "run", "linux"], stdin=slave, stdout=slave, stderr=slave
    )
    seen = bytearray()

    def until(text: bytes) -> None:
        end = time.monotonic() + 2 * PATIENCE
        while text not in seen:
            assert time.monotonic() < end and process.poll() is None, bytes(seen)
            if select.select([master], [], [], 1.0)[0]:
                seen.extend(os.read(master, 65536))

    try:
        until(b"/ # ")
        os.write(master, b"echo typed $((40 + 2))\r")
        until(b"typed 42")
        os.write(master, b"\x1d")
        assert process.wait(PATIENCE) == 0
        after = subprocess.run(["stty", "-g"], stdin=slave, capture_output=True, check=True).stdout
        assert after == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)
