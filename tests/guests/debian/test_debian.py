"""Debian's unmodified kernel and programs on the emulated PC: right answers, a clean log, the same each time."""

from __future__ import annotations

import gzip
import hashlib
import re
import time

import pytest

from aero_lab.errors import UsageError
from aero_lab.guests.linux.boot import Boot, BootFailed
from aero_lab.guests.linux.guest import LinuxGuest
from aero_lab.guests.linux.session import NoAnswer
from aero_lab.machine.machine import Machine

ALARMING = re.compile(
    r"BUG|WARNING|Oops|panic|Call Trace|error|fail|unable|\binvalid\b|broken|stall|lockup|corrupt|unknown|unexpected"
    r"|timed? ?out|bad |spurious|nobody cared|not responding|illegal|trap|segfault|general protection",
    re.IGNORECASE,
)
"""What a healthy boot does not say."""
ALLOWED = {
    "tsc: Fast TSC calibration failed": "the quick way needs a timer read in microseconds; the PIT is used instead",
    'Unknown kernel command line parameters "nokaslr"': "a kernel without address randomisation does not know the word",
    "mce: Unable to init MCE device (rc: -5)": "a P6 that announces no machine checks",
    "Trampoline variant of Tasks RCU enabled": "the name of a feature",
    "DMI not present or invalid": "a machine without a BIOS has no DMI tables",
    "Speculative Store Bypass: Vulnerable": "so it was",
}
"""Lines of the kernel that match and are no trouble, with the reason."""


def test_the_kernel_has_nothing_to_complain_about(guest):
    log = guest.run("dmesg").check().output
    lines = [line.split("] ", 1)[-1] for line in log.splitlines()]
    assert len(lines) > 150 and lines[0].startswith("Linux version 6.") and "Run /init as init process" in lines
    found = [line for line in lines if ALARMING.search(line) and not any(line.startswith(good) for good in ALLOWED)]
    assert found == []
    assert "tsc: Detected 1000.0" in log or "tsc: Detected 999.9" in log, "a nanosecond an instruction"
    assert guest.run("cat /proc/sys/kernel/tainted").output == "0\n"


def test_it_is_the_machine_it_should_be(guest):
    assert guest.run("uname -srm").output.startswith("Linux 6.") and "i686" in guest.run("uname -m").output
    cpu = guest.run("cat /proc/cpuinfo").output
    flags = re.search(r"flags\s*: (.*)", cpu)
    assert flags and {"fpu", "tsc", "cx8", "cmov", "fxsr"} <= set(flags[1].split())
    assert 110_000 < int(guest.run("awk '/MemTotal/ {print $2}' /proc/meminfo").output) < 131_072
    interrupts = guest.run("cat /proc/interrupts").output
    assert re.search(r"0: +\d+ +XT-PIC +timer", interrupts) and re.search(r"4: +\d+ +XT-PIC +ttyS0", interrupts)
    clock = guest.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").output
    assert clock in ("tsc-early\n", "tsc\n")
    assert guest.run("ps -o pid,comm | head -3").output.split()[2:4] == ["1", "init"]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_digests_are_right(guest, algorithm):
    data = b"".join(b"%d\n" % n for n in range(1, 10_001))
    wanted = hashlib.new(algorithm, data).hexdigest()
    assert guest.run(f"seq 10000 | {algorithm}sum").check().output.split()[0] == wanted


def test_gzip_packs_what_others_unpack_and_the_other_way(guest):
    text = "".join(f"{n * n % 1009} some text that repeats itself\n" for n in range(1500))
    script = "i=0; while [ $i -lt 1500 ]; do echo $((i * i % 1009)) some text that repeats itself; i=$((i + 1)); done"
    packed = guest.run(f"({script}) | gzip -9").check().data
    assert gzip.decompress(packed).decode() == text and len(packed) < len(text) / 4
    ours = gzip.compress(text.encode())
    octal = "".join(f"\\{byte:03o}" for byte in ours)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert guest.run(f"printf '{octal}' | gzip -d | sha256sum").check().output.split()[0] == digest


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("s=0; i=1; while [ $i -le 3000 ]; do s=$((s + i * i)); i=$((i + 1)); done; echo $s", "9004500500\n"),
        ("a=1; b=1; for i in $(seq 88); do c=$((a + b)); a=$b; b=$c; done; echo $b", "2880067194370816120\n"),
        (
            "echo $((-7 / 2)) $((-7 % 2)) $((1 << 62)) $((0x7fffffffffffffff + 1))",
            "-3 -1 4611686018427387904 -9223372036854775808\n",
        ),
        ("for w in c a b; do echo $w; done | sort | tr '\\n' ' '", "a b c "),
        ("seq 1000 | awk '{ s += $1 / 3 } END { printf \"%.6f\\n\", s }'", "166833.333333\n"),
        ("echo 'scale=0; 2^200' | bc", "1606938044258990275541962092341162602522202993782792835301376\n"),
        ("printf '%s\\n' abc abd xyz | grep -c '^ab'", "2\n"),
        ("seq 5 | sed -n '2,3p;$p' | tr '\\n' ,", "2,3,5,"),
        ("mkdir -p /tmp/d/e && cd /tmp/d && echo x > e/f && ls -R | wc -l && find . -type f", "5\n./e/f\n"),
        ("(sleep 0.2; echo late) & sleep 0.1; echo early; wait", "early\nlate\n"),
        ("seq 20000 | tail -1; seq 30000 | wc -c", "20000\n168894\n"),
        ("trap 'echo got it' USR1; kill -USR1 $$; echo after", "got it\nafter\n"),
    ],
)
def test_shell_and_tools_are_right(guest, script, output):
    assert guest.run(script).check().output == output


def test_a_dynamically_linked_program_of_debians_runs(perl_image):
    with LinuxGuest(Boot.of(perl_image).resume()) as guest:
        assert "not found" in guest.run("file /usr/bin/perl; head -c 4 /usr/bin/perl | od -c").output
        assert guest.run("/lib/ld-linux.so.2 --list /usr/bin/perl").check().output.count("=> /lib/") >= 2
        assert guest.run("perl -e 'print $^V'").output.startswith("v5.")
        program = """
            my %count; my $text = "the quick brown fox jumps over the lazy dog the end";
            $count{$_}++ for split / /, $text;
            print join(",", map { "$_=$count{$_}" } sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count), "\\n";
            my @primes = grep { my $n = $_; !grep { $n % $_ == 0 } 2 .. sqrt $n } 2 .. 60; print "@primes\\n";
            printf "%.15g %.15g %.15g %s\\n", sin(1), exp(1) ** 2, 1 / 3, 1e308 * 10;
            print "matched $1-$2\\n" if "key: value" =~ /(\\w+):\\s*(\\w+)/;
            my $pid = fork; if (!$pid) { exit 7 } waitpid $pid, 0; print $? >> 8, "\\n";
        """
        lines = guest.run(f"cat > /tmp/p.pl <<'END'\n{program}\nEND\nperl /tmp/p.pl").check().output.splitlines()
        assert lines[0].startswith("the=3,brown=1,dog=1")
        assert lines[1] == "2 3 5 7 11 13 17 19 23 29 31 37 41 43 47 53 59"
        assert lines[2] == "0.841470984807897 7.38905609893065 0.333333333333333 Inf"
        assert lines[3:] == ["matched key-value", "7"]


def test_two_boots_are_one_and_the_same(plain_image):
    """The whole boot, instruction by instruction: state, console, time."""
    one, two = (Boot.of(plain_image).start() for _ in range(2))
    assert one.icount == two.icount and one.now == two.now
    assert one.console.since(0) == two.console.since(0)
    assert one.state_hash() == two.state_hash()
    assert one.state_hash() == Boot.of(plain_image).resume().state_hash(), "and so is the one from the snapshot"


def test_the_same_commands_give_the_same_machine(machine):
    hashes = []
    for _ in range(2):
        with LinuxGuest(machine.fork()) as guest:
            guest.run("head -c 4096 /dev/urandom | md5sum; date; ps; sleep 0.3")
            hashes.append((guest.machine.state_hash(), guest.text))
    assert hashes[0] == hashes[1]


def test_a_snapshot_goes_on_exactly_where_it_was_taken(machine, tmp_path):
    with LinuxGuest(machine.fork()) as guest:
        guest.run("echo before > /tmp/file")
        guest.save(tmp_path / "m")
        after = guest.run("cat /tmp/file; sha256sum /bin/busybox")
        wanted = guest.machine.state_hash()
    with LinuxGuest(Machine.load(tmp_path / "m")) as again:
        again._session.number = 1
        assert again.run("cat /tmp/file; sha256sum /bin/busybox") == after
        assert again.machine.state_hash() == wanted


def test_a_fork_goes_its_own_way(guest):
    guest.run("echo common > /tmp/file")
    with guest.fork() as twin:
        twin.run("echo twin >> /tmp/file")
        assert guest.run("cat /tmp/file").output == "common\n"
        assert twin.run("cat /tmp/file").output == "common\ntwin\n"


def test_what_takes_too_long_is_ended(guest):
    with pytest.raises(NoAnswer, match="not done after 2 s") as raised:
        guest.run("echo before; sleep 1000", timeout=2)
    assert raised.value.output == "before\n"
    assert guest.run("echo after").output == "after\n"


def test_a_machine_that_is_switched_off_says_so(guest):
    with pytest.raises(NoAnswer, match="the machine has stopped"):
        guest.run("poweroff -f")
    with pytest.raises(NoAnswer, match="the machine has stopped"):
        guest.run("echo hello")
    assert "standing" not in guest.state


def test_a_live_guest_runs_by_itself_and_its_console_is_alive(live):
    assert live.running
    assert live.run("echo $((6 * 7))").output == "42\n"
    seen: list[bytes] = []
    live.machine.console.subscribe(seen.append)
    live.type("echo typed $((40 + 2))\n")
    deadline = time.monotonic() + 30
    while b"typed 42" not in b"".join(seen):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    with live.paused() as machine:
        assert not live.running
        count = machine.icount
        time.sleep(0.1)
        assert machine.icount == count
    assert live.running and live.run("echo again").output == "again\n"
    live.close()
    assert not live.running
    with pytest.raises(UsageError, match="closed"):
        live.run("echo")


def test_a_live_guest_sleeps_when_it_has_nothing_to_do(live):
    """Idle is HLT: three quarters of a second of doing nothing cost few instructions."""
    live.run("true")
    before, began = live.machine.icount, live.machine.now
    time.sleep(0.75)
    with live.paused() as machine:
        assert machine.now - began > 500_000_000
        assert machine.icount - before < 60_000_000


def test_an_initrd_that_is_junk_does_not_reach_a_prompt(plain_image, tmp_path):
    junk = tmp_path / "initrd"
    junk.write_bytes(b"junk" * 1000)
    with pytest.raises(BootFailed, match="did not get to its prompt") as raised:
        Boot(plain_image.kernel, junk, f"{Boot(plain_image.kernel, None).cmdline} panic=-1").start()
    assert "panic" in raised.value.console


def test_registers_disassembly_and_breakpoints_of_a_running_kernel(guest):
    machine = guest.machine
    assert machine.registers.cr0 >> 31 == 1, "paging is on"
    listing = repr(machine.disassemble(count=3))
    assert re.search(r"^c1[0-9a-f]{6} ", listing, re.MULTILINE), "it stands in the kernel"
    where = machine.registers.eip
    machine.breakpoints = [where]
    machine.console.write("\n")
    assert machine.run(ns=1_000_000_000) == "breakpoint"
    assert machine.registers.eip == where
    machine.breakpoints = []


def test_the_snapshot_is_made_anew_when_it_is_damaged(plain_image, tmp_path, monkeypatch):
    from aero_lab.guests.image.store import Store

    store = Store(tmp_path)
    boot = Boot.of(plain_image)
    (tmp_path / "snapshots").mkdir()
    path = tmp_path / "snapshots" / f"{boot.key}.machine"
    path.write_bytes(b"AEROPC\r\n" + bytes(1000))
    good = boot.resume()
    monkeypatch.setattr(Boot, "start", lambda self, **_: good)
    assert boot.resume(store).state_hash() == good.state_hash()
    assert Machine.load(path).state_hash() == good.state_hash()
