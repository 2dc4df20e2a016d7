"""A network namespace with a TAP or a TUN in it, as its owner holds it: configured, given programs to run, closed.

The work is done by :mod:`.helper`, a small process inside. Needs Linux, ``/dev/net/tun``, and either root or
unprivileged user namespaces; :class:`Unavailable` says in one line what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ...bounds import TAP_QUEUE, TAP_START_PATIENCE
from ...errors import AeroLabError, UsageError
from ...limits import MTU_DEFAULT
from . import helper

INTERFACES = {"tap": "tap0", "tun": "tun0"}
INTERFACE = INTERFACES["tap"]
PURPOSE = "tap guest"


class Unavailable(UsageError):
    """There is no such namespace here; the message says why."""


def unavailable(purpose: str = PURPOSE) -> str | None:
    """Why there is no such namespace here, as far as can be told without trying; None when nothing speaks against it.
    ``purpose``: who needs it."""
    if not sys.platform.startswith("linux"):
        return f"a {purpose} needs Linux, this is {sys.platform}"
    if not os.path.exists("/dev/net/tun"):
        return f"a {purpose} needs /dev/net/tun, which is not there"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return f"a {purpose} needs /dev/net/tun, which this user may not open"
    return None


def why_not() -> str | None:
    """Why no tap guest can run here, found out by making a namespace; None when one can."""
    try:
        Namespace().close()
    except Unavailable as error:
        return str(error)
    return None


class Process:
    """A program in the namespace. When nobody holds this object any more, the program is killed."""

    def __init__(self, argv: Sequence[str], status: socket.socket):
        self.args = list(argv)
        self.returncode: int | None = None
        """Exit status; minus the signal's number when a signal ended it; None while it runs."""
        self._status = status
        status.settimeout(TAP_START_PATIENCE)
        try:
            started, _ = helper.receive(status)
        except TimeoutError:
            started = None
        if started is None or not started["ok"]:
            status.close()
            raise UsageError(started["error"] if started else f"{argv[0]}: the namespace is gone")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the status. Raises :class:`subprocess.TimeoutExpired`."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            try:
                message, _ = helper.receive(self._status)
            except OSError:
                message = None
            # The namespace went, and every process in it with SIGKILL.
            self.returncode = message["returncode"] if message else -signal.SIGKILL
            self._status.close()
        return self.returncode or 0

    def poll(self) -> int | None:
        """The status when it has ended, else None."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the program and its children."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                helper.send(self._status, {"signal": int(number)}, [])

    def kill(self) -> None:
        """End it now. Safe to call at any time."""
        self.send_signal(signal.SIGKILL)

    def __repr__(self) -> str:
        state = "running" if self.poll() is None else f"ended with {self.returncode}"
        return f"<Process {self.args[0]}, {state}>"


class Namespace:
    """A network namespace of its own, gone when closed, when forgotten and when its owner dies.

    Parameters
    ----------
    mtu, mac: of the interface; the kernel chooses a MAC when None.
    sysctls: settings of the namespace, by name: ``{"net.ipv4.tcp_congestion_control": "cubic"}``.
    queue: frames that wait in the kernel while nobody reads the TAP; then it drops.
    tap: make the interface; without it the namespace has a loopback alone.
    resolv: have a resolv.conf of its own, which :meth:`configure` writes; a namespace inside this one can then have
        none, because nothing can be mounted over a file that is gone.
    kind: of interface: ``"tap"`` carries Ethernet frames, ``"tun"`` IP packets.
    purpose: what it is for, as errors name it.
    up: turn the interface on at once; otherwise when it is configured.
    """

    def __init__(
        self,
        *,
        mtu: int = MTU_DEFAULT,
        mac: str | None = None,
        sysctls: Mapping[str, Any] | None = None,
        queue: int = TAP_QUEUE,
        tap: bool = True,
        resolv: bool = True,
        kind: str = "tap",
        purpose: str = PURPOSE,
        up: bool = False,
    ):
        if why := unavailable(purpose):
            raise Unavailable(why)
        spec = {
            "name": INTERFACES[kind],
            "kind": kind,
            "resolv": resolv,
            "tap": tap,
            "mtu": mtu,
            "mac": mac,
            "queue": queue,
            "up": up,
            "sysctls": {name: str(value) for name, value in (sysctls or {}).items()},
        }
        self.mtu = mtu
        self.fd = -1
        """The TAP's descriptor, non-blocking: a frame a read, a frame a write."""
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(TAP_START_PATIENCE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(helper.__file__).resolve()), json.dumps(spec)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the owner
            )
        self._finalizer = weakref.finalize(self, _end, self._control, self._process)
        try:
            answer, fds = helper.receive(self._control)
        except TimeoutError:
            answer, fds = {"ok": False, "error": f"no answer from its helper within {TAP_START_PATIENCE:g} s"}, []
        except OSError:
            answer, fds = None, []
        if answer is None or not answer["ok"]:
            self.close()
            why = answer["error"] if answer else "its helper process ended"
            if answer and why.startswith("sysctl "):
                raise UsageError(why)
            raise Unavailable(f"no {purpose} can run here: {why}")
        self.mode: str = answer["mode"]
        """``"root"``: privileged; ``"user"``: in an unprivileged user namespace."""
        self.resolves: bool = answer["resolv"]
        """Whether programs in it have a resolv.conf of their own."""
        if tap:
            self.fd = fds[0]
            self._finalizer.detach()
            self._finalizer = weakref.finalize(self, _end, self._control, self._process, self.fd)

    # Programs -------------------------------------------------------------------------------------------------------

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdin: int | IO | None = None,
        stdout: int | IO | None = None,
        stderr: int | IO | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike | None = None,
    ) -> Process:
        """Start a program in the namespace. Streams that are None lead to ``/dev/null``."""
        if isinstance(argv, (str, bytes)) or not argv:
            raise UsageError('a command is a list of words: ["curl", "-s", "http://files.lab/1MB"]')
        words = [os.fspath(word) for word in argv]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "do": "run",
            "argv": words,
            "env": dict(os.environ if env is None else env),
            "cwd": os.path.abspath(cwd) if cwd is not None else os.getcwd(),
        }
        with theirs, open(os.devnull, "r+b") as nowhere:
            streams = [_descriptor(stream, nowhere) for stream in (stdin, stdout, stderr)]
            try:
                with self._lock:
                    helper.send(self._control, request, [*streams, theirs.fileno()])
            except OSError as error:
                ours.close()
                raise AeroLabError(f"the namespace does not take {words[0]}: {error.strerror or error}") from None
        return Process(words, ours)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        text: bool = True,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike | None = None,
    ) -> subprocess.CompletedProcess:
        """Run a program in the namespace to its end, as :func:`subprocess.run` does with its output captured."""
        # Files, not pipes: nothing has to be read while it runs, and a child it leaves behind holds nobody up.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            if input is not None:
                given.write(input.encode() if isinstance(input, str) else input)
                given.seek(0)
            process = self.spawn(argv, stdin=given, stdout=out, stderr=err, env=env, cwd=cwd)
            try:
                process.wait(timeout)
            except BaseException:
                process.kill()
                raise
            outputs: list[Any] = []
            for file in (out, err):
                file.seek(0)
                data = file.read()
                outputs.append(data.decode(errors="replace") if text else data)
        done = subprocess.CompletedProcess(process.args, process.wait(), *outputs)
        if check:
            done.check_returncode()
        return done

    # The interface --------------------------------------------------------------------------------------------------

    def configure(
        self,
        address: str,
        prefix: int,
        router: str | None = None,
        dns: Sequence[str] = (),
        domain: str | None = None,
        congestion: str | None = None,
    ) -> None:
        """Give the interface an IPv4 address, a default route, and the namespace its name servers; and all TCP with
        neighbours on it a congestion control by its name, as far as a socket does not ask for another."""
        self._ask(
            {
                "do": "configure",
                "address": address,
                "prefix": prefix,
                "router": router,
                "dns": list(dns),
                "domain": domain,
                "congestion": congestion,
            }
        )

    def relink(self) -> None:
        """Turn the interface off and on again, as when a cable was pulled and plugged in."""
        self._ask({"do": "relink"})

    def addresses6(self) -> list[str]:
        """IPv6 addresses that the kernel gave the interface and found unique."""
        return self._ask({"do": "addresses6"})["addresses"]

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            with self._lock:
                helper.send(self._control, message, [])
                answer, _ = helper.receive(self._control)
        except OSError as error:
            raise AeroLabError(f"the namespace does not answer: {error.strerror or error}") from None
        if answer is None or not answer["ok"]:
            raise AeroLabError(answer["error"] if answer else "the namespace is gone")
        return answer

    # Life -----------------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """A process of this host that waits for those in the namespace. Theirs are its children."""
        return self._process.pid

    @property
    def closed(self) -> bool:
        return not self._finalizer.alive

    def close(self) -> None:
        """End every process in the namespace, and the namespace. May be called twice."""
        self._finalizer()

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Namespace {'closed' if self.closed else self.mode}, mtu {self.mtu}>"


def _descriptor(stream: int | IO | None, nowhere: IO) -> int:
    if stream is None:
        return nowhere.fileno()
    return stream if isinstance(stream, int) else stream.fileno()


def _end(control: socket.socket, process: subprocess.Popen, fd: int = -1) -> None:
    """Let go of the helper, and see that it has gone."""
    control.close()
    end = time.monotonic() + TAP_START_PATIENCE
    while process.poll() is None:
        if time.monotonic() > end:
            process.kill()  # its child dies with it, and everything with that
            process.wait()
            break
        time.sleep(0.002)
    if fd >= 0:
        os.close(fd)
