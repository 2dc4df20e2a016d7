"""``bench proxy``: what a real kernel gets through our proxy, beside libslirp and slirp4netns.

The guest is the host kernel's own TCP/IP in a network namespace, behind a TAP; between it and programs on this host's
loopback stands what is measured: our tunnel, LAN, NAT and stack in one thread, or libslirp in one thread (through
cffi), or slirp4netns in its own process. Same kernel, same interface settings, same programs, in turn.

Cases: ``bulk/up`` and ``bulk/down`` (guest to host, host to guest; one connection, MTU 1500, ours over ``memory``, as
libslirp has no tunnel either), the same with ``/65520`` for that MTU, ``bulk-ws/up`` and ``bulk-ws/down`` (ours over a
WebSocket; the peers as in ``bulk``), ``rr`` (64 bytes there and back, median), ``connect`` (connections one after the
other, each with a byte there and back).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AeroLabError
from . import load
from .report import Progress, Result, chosen

SAMPLES = 5
GATEWAY, GUEST = "10.0.2.2", "10.0.2.15"
PATIENCE = 15.0
"""Seconds that a program may take beyond what it was told to."""


@dataclass(frozen=True)
class Case:
    """One figure: which program, over which transport, at which MTU."""

    name: str
    kind: str
    unit: str
    transport: str = "memory"
    mtu: int = 1500


CASES = (
    Case("bulk/up", "up", "Gbit/s"),
    Case("bulk/down", "down", "Gbit/s"),
    Case("bulk/up/65520", "up", "Gbit/s", mtu=65520),
    Case("bulk/down/65520", "down", "Gbit/s", mtu=65520),
    Case("bulk-ws/up", "up", "Gbit/s", "websocket"),
    Case("bulk-ws/down", "down", "Gbit/s", "websocket"),
    Case("rr", "rr", "us"),
    Case("connect", "connect", "1/s"),
)
SERVICE = {"up": "sink", "down": "source", "rr": "echo", "connect": "echo"}
"""What each client program talks to."""


class Host:
    """The programs on the host's side, in a process of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(load.__file__).resolve()), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.ports: dict[str, int] = json.loads(self._process.stdout.readline())

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(PATIENCE)


class Network(ABC):
    """Something between a namespace and the host's loopback, ready for use."""

    name: str
    namespace: Any

    @abstractmethod
    def close(self) -> None: ...

    def sample(self, case: Case, ports: dict[str, int], seconds: float) -> float:
        """Run the case's program once; the figure in the case's unit."""
        command = [sys.executable, "-I", "-S", str(Path(load.__file__).resolve()), case.kind]
        command += [GATEWAY, str(ports[SERVICE[case.kind]]), f"{seconds:g}"]
        try:
            done = self.namespace.run(command, timeout=seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            raise AeroLabError(f"{self.name}: {case.name} came to no end") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise AeroLabError(f"{self.name}: {case.name} failed: {said[-1] if said else done.returncode}")
        return figure(case.kind, json.loads(done.stdout))


def figure(kind: str, found: dict[str, float]) -> float:
    """What a program printed, as Gbit/s, microseconds or connections a second."""
    if kind == "rr":
        return found["median"] * 1e6
    if kind == "connect":
        return found["number"] / found["seconds"]
    return found["bytes"] * 8 / found["seconds"] / 1e9


class Ours(Network):
    """A lab with a tap guest."""

    name = "aero_lab"

    def __init__(self, transport: str, mtu: int, ports: dict[str, int]):
        from ..lab import Lab

        more: dict[str, Any] = {} if transport == "memory" else {"transport": transport}
        self._lab = Lab(mtu=mtu, capture=False, progress=False, **more)
        try:
            for port in ports.values():
                self._lab.open_port(port)
            self.namespace = self._lab.guest("tap")._host.namespace
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lab.close()


class LibslirpPeer(Network):
    """libslirp in a thread of this process."""

    name = "libslirp"

    def __init__(self, mtu: int):
        from ..guests.tap.namespace import Namespace
        from .slirp import Libslirp

        self.namespace = Namespace(mtu=mtu)
        try:
            self._slirp = Libslirp(self.namespace.fd, mtu)
            self.namespace.configure(GUEST, 24, GATEWAY)
        except BaseException:
            self.namespace.close()
            raise

    def close(self) -> None:
        self._slirp.close()
        self.namespace.close()


class Slirp4netnsPeer(Network):
    """slirp4netns, which makes its own TAP in the namespace."""

    name = "slirp4netns"

    def __init__(self, mtu: int):
        from ..guests.tap.namespace import Namespace

        self.namespace = Namespace(tap=False)
        self._log = tempfile.TemporaryFile()
        ready, told = os.pipe()
        command = ["slirp4netns", "--configure", f"--mtu={mtu}", f"--ready-fd={told}", str(self.namespace.pid), "tap0"]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(told,),
                start_new_session=True,
            )
        finally:
            os.close(told)
        try:
            said = os.read(ready, 1)
        finally:
            os.close(ready)
        if not said:
            code = self._process.wait(PATIENCE)
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines() or [f"status {code}"]
            self._log.close()
            self.namespace.close()
            raise AeroLabError(f"slirp4netns does not start: {lines[-1]}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()
        self.namespace.close()


PEERS = ("libslirp", "slirp4netns")


def missing(name: str) -> str | None:
    """Why a peer cannot be measured here; None when it can."""
    if name == "slirp4netns":
        return None if shutil.which(name) else "slirp4netns is not installed"
    if importlib.util.find_spec("cffi") is None:
        return "cffi is not installed"
    import ctypes

    from .slirp import LIBRARY

    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return f"{LIBRARY} is not installed"
    return None


def chosen_cases(names: Sequence[str] | None) -> list[Case]:
    """Cases whose names begin like one of ``names``; all of them without names."""
    return chosen(CASES, names)


def measure(
    seconds: float = 1.0, names: Sequence[str] | None = None, peers: bool = True, progress: Progress | None = None
) -> list[Result]:
    """Measure the cases; each sample of ours is followed by one of each peer.

    Parameters
    ----------
    seconds: for each case, in all its samples; each peer takes as long again.
    names: cases, or beginnings of their names.
    """
    todo = chosen_cases(names)
    results: list[Result] = []
    with ExitStack() as stack:
        host = Host()
        stack.callback(host.close)
        networks: dict[tuple, Network | str] = {}
        for number, case in enumerate(todo):
            if progress is not None:
                progress(number, len(todo), case.name)
            results += _one(case, seconds, host, networks, stack, peers)
        if progress is not None:
            progress(len(todo), len(todo), "")
    return results


def _one(
    case: Case, seconds: float, host: Host, networks: dict[tuple, Network | str], stack: ExitStack, peers: bool
) -> list[Result]:
    """Results of one case, one a peer. A peer that fails is listed with the reason, ours is an error."""

    def network(name: str) -> Network | str:
        key = (name, case.mtu, case.transport if name == Ours.name else None)
        if key not in networks:
            networks[key] = made = _make(name, case, host)
            if isinstance(made, Network):
                stack.callback(made.close)
        return networks[key]

    ours = network(Ours.name)
    if isinstance(ours, str):
        raise AeroLabError(ours)
    others = {name: network(name) for name in PEERS} if peers else {}
    samples: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in others}
    reasons = {name: peer for name, peer in others.items() if isinstance(peer, str)}
    each = seconds / SAMPLES
    for _ in range(SAMPLES):
        samples.append(ours.sample(case, host.ports, each))
        for name, peer in others.items():
            if name in reasons or isinstance(peer, str):
                continue
            try:
                theirs[name].append(peer.sample(case, host.ports, each))
            except AeroLabError as error:
                reasons[name], theirs[name] = str(error), []
    better = case.unit != "us"
    if not others:
        return [Result(case.name, case.unit, samples, more_is_better=better)]
    return [
        Result(case.name, case.unit, samples, name, theirs[name], reasons.get(name), more_is_better=better)
        for name in others
    ]


def _make(name: str, case: Case, host: Host) -> Network | str:
    """A network, or why there is none."""
    if name == Ours.name:
        return Ours(case.transport, case.mtu, host.ports)
    if why := missing(name):
        return why
    try:
        made = (LibslirpPeer if name == "libslirp" else Slirp4netnsPeer)(case.mtu)
    except (AeroLabError, OSError) as error:
        return str(error)
    return made
