"""``bench guest``: what Linux gets through each network card of the emulated PC, beside QEMU with its own.

Both run the same image, the same driver of Linux's and the same commands, in turn: ours on the emulated PC in a lab,
the peer under QEMU (TCG) with ``-netdev user``, which is libslirp in QEMU's process. At the other end are plain
programs on this machine's loopback, in a process of their own.

Cases, for each card: ``down`` and ``up`` (one connection, the guest reads or writes it whole), ``rtt`` (echo requests
to the gateway, which both networks answer themselves; the median). The lab is over ``memory``, as libslirp has no
tunnel; ``down-ws`` and ``up-ws`` are the lab over a WebSocket beside the same peer. ``nic/...`` are the cards alone,
driven by a compiled driver: the cases of ``bench nic``.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ..errors import AeroLabError, UsageError
from . import nic as cards
from .proxy import GATEWAY, Host
from .report import Progress, Result, chosen

SAMPLES = 5
LEAST, MOST = 1 << 20, 256 << 20
"""Bytes of one transfer."""
PINGS, PING_EVERY = 25, 0.02
"""Echo requests of a sample, and seconds between them."""
PATIENCE = 300.0
"""Seconds for one sample."""
PEER = "qemu-user"
MODELS = ("e1000", "virtio-net")
MBIT = "Mbit/s"


@dataclass(frozen=True)
class Case:
    model: str
    kind: str
    transport: str = "memory"

    @property
    def name(self) -> str:
        return f"{self.model}/{self.kind}{'-ws' if self.transport == 'websocket' else ''}"

    @property
    def unit(self) -> str:
        return "us" if self.kind == "rtt" else MBIT


GUESTS = tuple(
    Case(model, kind, transport)
    for model in MODELS
    for kind, transport in (
        ("down", "memory"),
        ("up", "memory"),
        ("rtt", "memory"),
        ("down", "websocket"),
        ("up", "websocket"),
    )
)
CASES: tuple[Case | cards.Case, ...] = (*GUESTS, *cards.CASES)


def chosen_cases(names: Sequence[str] | None) -> list[Case | cards.Case]:
    """The cases whose names begin with one of ``names``; all when there are none."""
    return chosen(CASES, names)


class Linux:
    """A guest that can be told what to do, ours or the peer's."""

    def __init__(self, shell: Any, ports: dict[str, int]):
        self._shell, self._ports = shell, ports

    def transfer(self, kind: str, size: int) -> float:
        """Seconds that a transfer took."""
        from ..guests.shell import scripts
        from ..guests.shell.workloads import Said

        if kind == "up":
            script = scripts.sink(GATEWAY, self._ports["sink"], size, 4)
        else:
            script = scripts.pour(GATEWAY, self._ports["source"], size)
        said = Said(self._shell(script, timeout=PATIENCE).output)
        if not said.took:
            raise AeroLabError(f"the guest said {said.output.strip()[-200:]!r}")
        began, ended = said.took[0]
        return (ended - began) / 1e9

    def rtt(self) -> float:
        """Median round trip of echo requests, in microseconds."""
        said = self._shell(f"ping -c {PINGS} -i {PING_EVERY} {GATEWAY}", timeout=PATIENCE).output
        times = [float(text) for text in re.findall(r"\btime=([\d.]+) ms", said)]
        if len(times) < PINGS:
            raise AeroLabError(f"{PINGS - len(times)} of {PINGS} echo requests were lost")
        return statistics.median(times) * 1e3

    def sample(self, case: Case, size: int) -> float:
        """One figure, in the case's unit."""
        return self.rtt() if case.kind == "rtt" else size * 8 / self.transfer(case.kind, size) / 1e6


def enough(linux: Linux, case: Case, seconds: float) -> int:
    """Bytes whose transfer takes about ``seconds``."""
    if case.kind == "rtt":
        return 0
    took = linux.transfer(case.kind, LEAST)
    return min(max(round(LEAST * seconds / took), LEAST), MOST)


def open_ours(stack: ExitStack, case: Case, ports: dict[str, int]) -> Linux:
    from ..lab import Lab

    lab = stack.enter_context(Lab(transport=case.transport, capture=False, progress=False))
    for port in ports.values():
        lab.open_port(port)
    guest: Any = lab.guest("linux", nic=case.model, progress=False)
    guest.wait_online()
    return Linux(guest.sh, ports)


def open_peer(stack: ExitStack, case: Case, ports: dict[str, int]) -> Linux:
    from ..handles_qemu import open_qemu

    guest = stack.enter_context(open_qemu(nic=case.model, netdev="user"))
    guest.boot()
    for _ in range(100):  # the lease takes a moment
        if "inet " in guest.run("ip -4 -o addr show dev eth0").output:
            break
        guest.run("sleep 0.1")
    return Linux(guest.run, ports)


def measure(
    seconds: float, cases: Sequence[str] | None = None, peers: bool = True, progress: Progress | None = None
) -> list[Result]:
    """Run the cases, card by card, the guests in turn."""
    todo = chosen_cases(cases)
    guests = [case for case in todo if isinstance(case, Case)]
    tell: Progress = progress or (lambda done, total, what: None)
    results = []
    groups = list(dict.fromkeys((case.model, case.transport) for case in guests))
    with ExitStack() as outer:
        host = Host() if guests else None
        if host is not None:
            outer.callback(host.close)
        for group in groups:
            with ExitStack() as stack:
                assert host is not None
                mine = [case for case in guests if (case.model, case.transport) == group]
                tell(len(results), len(todo), f"{mine[0].name}: guests start")
                ours = open_ours(stack, mine[0], host.ports)
                theirs, reason = _peer(stack, mine[0], host.ports) if peers else (None, "peers were not asked for")
                for case in mine:
                    tell(len(results), len(todo), case.name)
                    results.append(_one(case, ours, theirs, reason, seconds))
    alone = [case.name for case in todo if isinstance(case, cards.Case)]
    if alone:
        before = len(results)
        results += cards.measure(seconds, alone, peers, lambda done, _, what: tell(before + done, len(todo), what))
    tell(len(todo), len(todo), "")
    return results


def _peer(stack: ExitStack, case: Case, ports: dict[str, int]) -> tuple[Linux | None, str | None]:
    try:
        return open_peer(stack, case, ports), None
    except UsageError as error:
        return None, str(error)


def _one(case: Case, ours: Linux, theirs: Linux | None, reason: str | None, seconds: float) -> Result:
    size = enough(ours, case, seconds / SAMPLES)
    if theirs is not None:
        theirs.sample(case, min(size, LEAST))  # as unprepared as ours was
    result = Result(case.name, case.unit, peer=PEER, reason=reason, more_is_better=case.kind != "rtt")
    for _ in range(SAMPLES):
        result.samples.append(ours.sample(case, size))
        if theirs is not None:
            result.peer_samples.append(theirs.sample(case, size))
    return result
