"""``bench cpu``: its programs do what they say, here and elsewhere; results keep the contract. No figure is judged."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from aero_lab.bench import check, document, table
from aero_lab.bench.bare import assemble
from aero_lab.bench.bare.images import IMAGES
from aero_lab.bench.bare.ours import END, START, BareRun
from aero_lab.bench.bare.programs import RESULTS, image
from aero_lab.bench.cpu import CASES, Bare, Samples, chosen_cases, measure, typed
from aero_lab.bench.emulators import EMULATORS, Emulator, Qemu, SerialProcess, process_seconds
from aero_lab.compiled.registry import PLAIN
from aero_lab.errors import AeroLabError, UsageError

M32 = 0xFFFFFFFF


def generator():
    state = 12345
    while True:
        state = (state * 1103515245 + 12345) & M32
        yield state


def worked_out(name: str) -> int:
    """The same in Python."""
    if name == "sieve":
        return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, 65536))
    numbers = generator()
    if name == "crc":
        return zlib.crc32(bytes(next(numbers) >> 16 & 0xFF for _ in range(65536)))
    total = 0
    for number in sorted(next(numbers) for _ in range(16384)):
        total = ((total << 1 | total >> 31) & M32) ^ number
    return total


@pytest.mark.parametrize("name", RESULTS)
def test_programs_come_to_the_right_result(name):
    assert RESULTS[name] == worked_out(name)
    if PLAIN:
        return  # a round is a million instructions
    one, two = (BareRun(image(name, rounds)).run(10_000_000) for rounds in (1, 2))
    assert one.result == two.result == RESULTS[name]
    assert 500_000 < one.instructions < two.instructions < 10_000_000 and one.seconds > 0


def test_programs_are_what_their_sources_say():
    if shutil.which("nasm") is None:
        pytest.skip("nasm is not installed")
    for name in assemble.PROGRAMS:
        assert assemble.assembled(name).hex() == IMAGES[name]
    assert set(IMAGES) == set(RESULTS)
    assert Path(assemble.__file__).with_name("images.py").read_text() == assemble.text()


def test_a_program_that_does_not_end_is_given_up():
    if PLAIN:
        pytest.skip("a million instructions take minutes in plain Python")
    with pytest.raises(AeroLabError, match="did not say"):
        BareRun(image("sieve", 1000)).run(1_000_000)


@pytest.mark.parametrize("peer", EMULATORS, ids=lambda p: p.name)
def test_peers_come_to_the_same_result(peer, tmp_path):
    why = peer.missing()
    if why:
        pytest.skip(why)
    sector = tmp_path / "sector"
    sector.write_bytes(image("sieve", 3))
    with peer.bare(sector) as running:
        begin, wall = running.wait(START)
        end, later = running.wait(END)
        running.wait(f"{RESULTS['sieve']:08x}".encode())
    assert end >= begin > 0 and later >= wall
    assert running.process.poll() is not None


@pytest.mark.skipif(PLAIN, reason="a round is a million instructions")
def test_the_bench_measures_every_peer_that_is_here(monkeypatch):
    """The whole way, a round each: what a peer gives is a figure, and what is missing has a reason."""
    monkeypatch.setattr("aero_lab.bench.cpu.SAMPLES", 1)
    found = document("cpu", measure(0.3, ["sieve"], True))["results"]
    assert [r["peer"] for r in found] == [p.name for p in EMULATORS]
    for result, peer in zip(found, EMULATORS, strict=True):
        why = peer.missing()
        assert result["value"] > 0 and result.get("reason") == why
        assert (result["peer_value"] is None) == (why is not None)
        assert why is not None or result["ratio"] > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere no peers are measured")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_emulator_outlives_the_bench(number):
    inner = "import time; print('up', flush=True); time.sleep(300)"
    outer = (
        "import sys\nfrom aero_lab.bench.emulators import SerialProcess\n"
        f"p = SerialProcess([sys.executable, '-c', {inner!r}])\np.wait(b'up')\n"
        "print(p.process.pid, flush=True)\ninput()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        child = int(bench.stdout.readline())
        assert running(child)
        bench.send_signal(number)
        bench.wait(30)
        deadline = time.monotonic() + 30
        while running(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running(child)


def running(pid: int) -> bool:
    """Whether a process is there and no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Fake(Emulator):
    """A peer that says what it should, from a shell."""

    name = "fake"
    linux = True

    def __init__(self, script: str):
        self.script = script

    def missing(self) -> str | None:
        return None

    def bare(self, sector: Path) -> SerialProcess:
        return SerialProcess([sys.executable, "-c", self.script])


WORK = "sum(range(6_000_000))"  # several of the ticks that processor time is counted in
SAYS = f"import sys; o = sys.stdout; o.write('\\x02'); o.flush(); {WORK}; o.write('\\x03%08x\\n'); o.flush(); input()"


@pytest.mark.skipif(PLAIN, reason="a round is a million instructions")
def test_results_keep_the_contract(monkeypatch):
    right, wrong = Fake(SAYS % RESULTS["sieve"]), Fake("print('nothing')")
    wrong.name = "wrong"
    absent = Fake("")
    absent.name, absent.missing = "absent", lambda: "absent is not installed"
    monkeypatch.setattr("aero_lab.bench.cpu.EMULATORS", (right, wrong, absent))
    found = document("cpu", measure(0.01, ["sieve"], True))
    assert [r["peer"] for r in found["results"]] == ["fake", "wrong", "absent"]
    for r in found["results"]:
        assert r["case"] == "sieve" and r["unit"] == "MIPS" and r["value"] > 0 and len(r["samples"]) == 3
    fake, failed, gone = found["results"]
    assert fake["peer_value"] > 0 and fake["ratio"] == pytest.approx(fake["value"] / fake["peer_value"], rel=1e-3)
    assert failed["peer_value"] is None and "ended early" in failed["reason"] and failed["ratio"] is None
    assert gone["peer_value"] is None and gone["reason"] == "absent is not installed"
    assert "absent is not installed" in table(found)
    (alone,) = document("cpu", measure(0.01, ["sieve"], False))["results"]
    assert alone["peer"] is None and alone["value"] > 0


@pytest.mark.skipif(PLAIN, reason="a round is a million instructions")
def test_what_a_round_costs_is_found_out():
    bare = Bare("crc", 0.01)
    done = BareRun(image("crc", 3)).run(10_000_000)
    assert bare.rest + 3 * bare.round == done.instructions


def test_boot_counts_in_two_units():
    peer = Fake("")
    samples = Samples([100.0], [3.0])
    samples.peer(peer, lambda: (300_000_000, 6.0))
    mips, seconds = samples.results("boot", [peer])
    assert (mips.unit, mips.value, mips.peer_value, mips.ratio) == ("MIPS", 100.0, 50.0, 2.0)
    assert (seconds.unit, seconds.value, seconds.peer_value, seconds.ratio) == ("s", 3.0, 6.0, 2.0)

    def broken() -> tuple[int, float]:
        raise AeroLabError("it broke")

    samples.peer(peer, broken)
    samples.peer(peer, lambda: (1, 1.0))
    for result in samples.results("boot", [peer]):
        assert result.peer_value is None and result.reason == "fake: it broke"


def test_without_an_image_the_reason_stands_in_for_the_figures(monkeypatch):
    monkeypatch.setattr("aero_lab.bench.cpu.linux_boot", lambda: (None, "no Linux image here"))
    monkeypatch.setattr("aero_lab.bench.cpu.EMULATORS", (Fake(""),))
    for r in document("cpu", measure(0.01, ["md5"], True))["results"]:
        assert (r["value"], r["peer_value"], r["reason"]) == (None, None, "no Linux image here")


def test_cases_have_the_names_that_scripts_use():
    assert [c.name for c in CASES] == ["boot", "md5", "sha256", "gzip", "shell", "sieve", "crc", "quicksort"]
    assert [c.name for c in chosen_cases(["s"])] == ["sha256", "shell", "sieve"]
    with pytest.raises(UsageError, match="no case 'zip'"):
        check("cpu", 1.0, ["zip"])


def test_a_typed_command_does_not_contain_its_mark():
    text, mark = typed("true", 7)
    assert mark not in text
    done = subprocess.run(["sh", "-c", text.decode()], capture_output=True, check=True)
    assert done.stdout == mark + b"\n"


def test_the_time_of_a_process_is_processor_time():
    if not sys.platform.startswith("linux"):
        pytest.skip("it is read from /proc")
    with SerialProcess([sys.executable, "-c", f"{WORK}; print('one', flush=True); input(); {WORK}; print('two')"]) as p:
        first, _ = p.wait(b"one")
        second = process_seconds(p.process.pid)
        assert second - first < first + 1  # it waits and spends nothing
        p.send(b"\n")
        p.wait(b"two")
    with pytest.raises(AeroLabError, match="has ended"):
        process_seconds(p.process.pid)


def test_a_peer_that_is_not_there_says_so(monkeypatch):
    monkeypatch.setattr("aero_lab.bench.emulators.shutil.which", lambda name: None)
    for peer in EMULATORS:
        assert "is not installed" in (peer.missing() or "") or not sys.platform.startswith("linux")
    with pytest.raises(OSError):
        SerialProcess(["/nonexistent/emulator"])
    assert Qemu.name == "qemu-tcg"
