"""``bench guest``: its commands measure what they say, its results keep the contract. No figure is judged."""

from __future__ import annotations

import pytest

from aero_lab.bench import check, document, table
from aero_lab.bench import nic as cards
from aero_lab.bench.guest import (
    CASES,
    GUESTS,
    LEAST,
    MOST,
    PEER,
    SAMPLES,
    Case,
    Linux,
    _one,
    chosen_cases,
    enough,
    measure,
)
from aero_lab.bench.report import Result
from aero_lab.errors import AeroLabError, UsageError
from aero_lab.guests.linux.session import Completed

NAMES = [
    f"{model}/{kind}"
    for model in ("e1000", "virtio-net")
    for kind in ("down", "up", "rtt", "down-ws", "up-ws")
]  # fmt: skip


class Shell:
    """A guest that answers as busybox does, in a time that is known."""

    def __init__(self, megabits: float, rtt_ms: float = 0.5, lost: int = 0):
        self.megabits, self.rtt_ms, self.lost = megabits, rtt_ms, lost
        self.scripts: list[str] = []

    def __call__(self, script: str, timeout: float = 60.0) -> Completed:
        self.scripts.append(script)
        if script.startswith("ping"):
            count = int(script.split()[2]) - self.lost
            lines = [f"64 bytes from 10.0.2.2: seq={n} ttl=255 time={self.rtt_ms:.3f} ms" for n in range(count)]
            return Completed(script, 0, "\n".join(lines).encode())
        size = next(int(words[-1]) for line in script.splitlines() if (words := line.split())[:1] == ["nc"])
        took = size * 8 / 1e6 / self.megabits
        return Completed(script, 0, f"status 0\ntook 1000.000000 {1000 + took:.6f}\n".encode())


PORTS = {"sink": 4001, "source": 4002, "echo": 4003}


def linux(shell: Shell) -> Linux:
    return Linux(lambda script, timeout: shell(script.replace(" 2>err", ""), timeout), PORTS)


def test_cases_have_the_names_scripts_rely_on():
    assert [case.name for case in GUESTS] == NAMES
    assert [case.name for case in CASES] == [*NAMES, *(case.name for case in cards.CASES)]
    assert {case.unit for case in GUESTS} == {"Mbit/s", "us"}
    assert [case.name for case in chosen_cases(["virtio-net/up"])] == ["virtio-net/up", "virtio-net/up-ws"]
    with pytest.raises(UsageError, match="no case 'token-ring'"):
        check("guest", 1.0, ["token-ring"])


@pytest.mark.parametrize("kind", ["down", "up"])
def test_a_transfer_is_sized_by_what_it_takes_and_told_in_megabits(kind):
    shell = Shell(40.0)
    guest = linux(shell)
    case = Case("e1000", kind)
    size = enough(guest, case, 2.0)
    assert size == pytest.approx(10_000_000, rel=0.01)
    assert guest.sample(case, size) == pytest.approx(40.0, rel=0.01)
    assert f"{PORTS['source' if kind == 'down' else 'sink']}" in shell.scripts[-1]
    assert enough(guest, case, 1e-9) == LEAST and enough(guest, case, 1e9) == MOST


def test_results_of_both_guests_are_in_turn_and_ratios_favour_the_better():
    ours, theirs = linux(Shell(20.0, 2.0)), linux(Shell(40.0, 1.0))
    up = _one(Case("e1000", "up"), ours, theirs, None, 1.0)
    rtt = _one(Case("e1000", "rtt"), ours, theirs, None, 1.0)
    assert len(up.samples) == len(up.peer_samples) == SAMPLES and up.peer == PEER
    assert up.ratio == pytest.approx(0.5, rel=0.01) and rtt.ratio == pytest.approx(0.5) and rtt.value == 2000.0
    alone = _one(Case("e1000", "up"), ours, None, "not there", 1.0)
    found = document("guest", [up, rtt, alone])
    assert found["results"][2]["peer_value"] is None and found["results"][2]["reason"] == "not there"
    assert "qemu-user" in table(found)


def test_what_a_guest_cannot_do_is_told():
    lossy = Linux(Shell(1.0, lost=3), PORTS)
    with pytest.raises(AeroLabError, match="3 of 25 echo requests were lost"):
        lossy.sample(Case("e1000", "rtt"), 0)
    silent = Linux(lambda script, timeout: Completed(script, 1, b"nc: can't connect"), PORTS)
    with pytest.raises(AeroLabError, match="can't connect"):
        silent.transfer("up", LEAST)


def test_cards_are_measured_under_their_own_names(monkeypatch):
    asked = []

    def measured(seconds, names, peers, progress):
        asked.append((seconds, names))
        return [Result(name, "frames/s", [1.0]) for name in names]

    monkeypatch.setattr(cards, "measure", measured)
    names = [case.name for case in cards.CASES]
    results = measure(0.5, ["nic/"])
    assert [result.case for result in results] == names and asked == [(0.5, names)]
