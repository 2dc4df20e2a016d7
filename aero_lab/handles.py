"""Guests as the user handles them: what every kind has, and what each kind has beside.

The host itself, whatever it is, lives on the lab's thread or in processes of its own; a handle reaches it from the
user's.
"""

from __future__ import annotations

import random
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .engine import TimedOut
from .errors import UsageError
from .limits import NEVER, SECOND

if TYPE_CHECKING:
    import os

    from .guests.scripted.guest import ScriptedGuest
    from .guests.scripted.tasks import Task
    from .guests.scripted.workloads import WorkloadResult
    from .guests.tap.guest import TapGuest
    from .guests.tap.namespace import Process
    from .lab import Lab
    from .lan import Lan
    from .transports.tcp_info import WireCount


class Guest(ABC):
    """A guest of a lab. What the kinds share: where it is plugged in, and that it runs workloads."""

    kind: str
    networked = True
    """Whether it has a network card, and so a place on a network of the lab."""
    number = 0
    """Which guest of its lab it is, from 1 on."""
    _host: Any

    def __init__(self, lab: Lab, name: str, host: Any, client: Any, server: Any, links: tuple):
        self._lab, self.name = lab, name
        self._host, self._client, self._server, self._links = host, client, server, links

    @classmethod
    @abstractmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Guest:
        """A new guest of ``lab``, the ``number``-th."""

    @property
    def lan(self) -> Lan:
        """This guest's synthetic LAN: at the proxy, or before the tunnel where the option has it there."""
        return self._client.lan or self._server.lan

    @property
    def mac(self) -> str:
        from .wire.address import mac_text

        return mac_text(self._host.mac)

    @property
    def address(self) -> str | None:
        """IPv4 address, None before there is one."""
        from .wire.address import ip_text

        return ip_text(self._host.address) if self._host.address is not None else None

    @property
    @abstractmethod
    def address6(self) -> str | None:
        """IPv6 address that reaches beyond the link, None before a router advertised its prefix."""

    @property
    def tunnel(self) -> dict[str, int]:
        """Counters of the tunnel as the guest's side sees it: messages and bytes each way, frames, drops by reason."""
        return self._call(lambda: self._client.counters)

    @property
    def counters(self) -> dict[str, int]:
        """Counters of the proxy's side of this guest: LAN, NAT, stack, egress, or what of it is there."""
        return self._call(lambda: self._server.counters)

    @property
    def link(self) -> dict[str, dict[str, int]]:
        """Counters of the link, by direction; empty when there is none. Over real sockets all guests share one."""
        if not self._links:
            return self._lab._tunnels.link_counters()
        return self._call(lambda: {side: link.counters for side, link in zip(("up", "down"), self._links)})

    @property
    def wire(self) -> WireCount | None:
        """What the tunnel's connections cost on a simulated access line so far: IP bytes and packets, exactly. None
        where there is no such line."""
        return self._call(lambda: self._lab._tunnels.wire_of(self.number))

    def snapshot(self) -> bytes:
        """An image of the proxy's side of this guest's network: lease, names, flows. For :meth:`aero_lab.Lab.restore`.

        The guest itself is not in it, and nothing of what its connections carried.
        """
        from .lan.restoring import take

        return self._call(lambda: take(self.lan, self._lab._engine.now()).emit())

    @abstractmethod
    def run(self, workload: str, *, timeout: float | None = None, **parameters: Any) -> Any:
        """Run a workload and wait for its :class:`~aero_lab.guests.scripted.workloads.WorkloadResult`."""

    def plugged_in(self) -> None:  # noqa: B027
        """The guest's network is there: whatever has to be waited for before it is handed to the user."""

    @abstractmethod
    def wait_online(self, timeout: float = 60.0) -> str:
        """Wait until there is an IPv4 address; returns it."""

    def relink(self) -> None:
        """Pull the cable and plug it in again."""
        self._call(self._host.relink)

    def _call(self, function: Callable[[], Any]) -> Any:
        return self._lab._engine.call(function)


class Pending:
    """A workload that was begun; :meth:`wait` for what comes of it."""

    def __init__(self, guest: Guest, task: Task):
        self._guest, self._task = guest, task

    @property
    def done(self) -> bool:
        return self._task.done

    def wait(self, timeout: float | None = None) -> WorkloadResult:
        """Wait for its result; after ``timeout`` seconds of the lab's time it is cancelled and an error raised."""
        limit = NEVER if timeout is None else round(timeout * SECOND)
        return self._guest._lab._engine.run(self._begun, limit)

    def _begun(self) -> Task:
        return self._task

    def cancel(self) -> None:
        """End it now."""
        self._guest._call(self._task.cancel)

    def __repr__(self) -> str:
        return f"<Pending {self._task.name} of {self._guest.name}: {'done' if self.done else 'under way'}>"


class Scripted(Guest):
    """A scripted guest: our own stack with the habits of an operating system."""

    kind = "scripted"
    _host: ScriptedGuest

    @classmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Scripted:
        from .guests.scripted.guest import ScriptedGuest

        def make_host(rng: random.Random, now: int) -> ScriptedGuest:
            return ScriptedGuest(rng=rng, now=now, mtu=lab.mtu, **options)

        return cls(lab, name, *lab._engine.call(lab._connect, number, name, make_host))

    @property
    def profile(self) -> str:
        return self._host.profile.name

    @property
    def address6(self) -> str | None:
        """IPv6 address that reaches beyond the link, None before a router advertised its prefix."""
        from .wire.address import ip_text

        own = self._host.ipv6.address if self._host.ipv6 is not None else None
        return ip_text(own) if own is not None else None

    @property
    def awareness(self) -> str | None:
        """What the system's own probe found: ``"internet"``, ``"sign-in"``, ``"none"``; None: no answer yet."""
        return self._host.awareness

    def run(self, workload: str, *, timeout: float | None = None, **parameters: Any) -> Any:
        """Run a workload and wait for its :class:`~aero_lab.guests.scripted.workloads.WorkloadResult`.

        Parameters
        ----------
        workload: ``"download"``, ``"upload"``, ``"ping"``, ``"dns"``, ``"rr"``, ``"burst"``, ``"parallel"``,
            ``"udp-echo"``, ``"voip"``, ``"game"``, ``"ntp"``, ``"source"`` or ``"sink"``.
        timeout: seconds of the lab's time; then the workload is cancelled and an error raised.
        parameters: of the workload, such as ``size="10MB"``; ``family=6`` runs it over IPv6.
        """
        from .guests.scripted.workloads import make

        return self.do(lambda host: make(workload, host, **parameters), workload, timeout)

    def start(self, workload: str, **parameters: Any) -> Pending:
        """Begin a workload and do not wait for it: time goes by with others, or with ``lab.advance``."""
        from .guests.scripted.workloads import make

        pending = Pending(
            self, self._call(lambda: self._host.start(make(workload, self._host, **parameters), workload))
        )
        self._started = [*self.pending, pending]
        return pending

    @property
    def pending(self) -> list[Pending]:
        """What was begun with :meth:`start` and is not done, in that order. A fork of the lab has its own."""
        return [each for each in self._started if not each.done]

    _started: list[Pending] = []

    def do(self, task: Callable[[ScriptedGuest], Any], name: str = "task", timeout: float | None = None) -> Any:
        """Run a task of your own, ``task(host)`` giving its generator, and wait for what it returns.

        >>> def hello(host):
        ...     socket = yield from host.connect("echo.lab", 7)
        ...     ...
        """
        limit = NEVER if timeout is None else round(timeout * SECOND)
        return self._lab._engine.run(lambda: self._host.start(task(self._host), name), limit)

    def wait_online(self, timeout: float = 60.0) -> str:
        """Wait until DHCP has given an address; returns it."""
        self.do(lambda host: host.wait_online(round(timeout * SECOND)), "wait-online")
        assert self.address is not None
        return self.address

    def __repr__(self) -> str:
        return f"<Guest {self.name}: scripted {self.profile}, {self.mac}, {self.address or 'no address yet'}>"


class Tap(Guest):
    """A tap guest: the host kernel's own TCP/IP in a network namespace, and any program there is to run in it."""

    kind = "tap"
    _host: TapGuest

    @classmethod
    def plug_in(cls, lab: Lab, name: str, number: int, options: dict[str, Any]) -> Tap:
        from .guests.tap.guest import TapGuest

        if lab.virtual:
            raise UsageError("a tap guest is a real kernel and lives in real time: Lab() without virtual=True")
        # The namespace takes its time to come up: on the user's thread, so that other guests do not wait for it.
        options.setdefault("mtu", lab.mtu)
        if options["mtu"] > lab.mtu:
            raise UsageError(f"mtu {options['mtu']} of the guest is more than the {lab.mtu} of its network")
        host = TapGuest(lab._rng(number, "guest"), **options)
        lab._engine.on_close(host.close)
        try:

            def make_host(rng: random.Random, now: int) -> TapGuest:
                host.attach(lab._engine.driver)  # type: ignore[union-attr]
                return host

            guest = cls(lab, name, *lab._engine.call(lab._connect, number, name, make_host))
            host.configure(lab._world.lan_config(lab.mtu, lab.ipv6))
        except BaseException:
            lab._engine.call(host.close)
            raise
        return guest

    def relink(self) -> None:
        """Pull the cable and plug it in again."""
        self._host.namespace.relink()

    @property
    def mode(self) -> str:
        """``"root"``: a namespace made by root; ``"user"``: one in an unprivileged user namespace."""
        return self._host.namespace.mode

    @property
    def address6(self) -> str | None:
        """IPv6 address that the kernel has given itself by router advertisement, None before there was one."""
        return self._host.address6

    def run(self, workload: Any, *, timeout: float | None = None, **parameters: Any) -> Any:
        """Run a program in the guest, or a workload by name.

        Parameters
        ----------
        workload: a command as a list of words, or ``"download"``, ``"upload"``, ``"parallel"``, ``"burst"``, ``"rr"``,
            ``"udp-echo"``, ``"voip"``, ``"game"``, ``"source"`` or ``"sink"``.
        timeout: seconds; then the program is killed and an error raised.
        parameters: of the workload, such as ``size="10MB"``, and ``family=6`` for IPv6; for a command ``input``,
            ``check``, ``text``, ``env`` and ``cwd``, as in :func:`subprocess.run`.

        Returns
        -------
        A :class:`subprocess.CompletedProcess`, or a
        :class:`~aero_lab.guests.scripted.workloads.WorkloadResult`.
        """
        if isinstance(workload, str):
            try:
                return self._host.workload(workload, timeout, parameters)
            except subprocess.TimeoutExpired:
                raise TimedOut(f"not done within {timeout:g} s") from None
        return self._host.namespace.run(workload, timeout=timeout, **parameters)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike | None = None,
    ) -> Process:
        """Start a program in the guest and do not wait. Streams: files or descriptors; None is ``/dev/null``."""
        return self._host.namespace.spawn(argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)

    def kernel_counters(self) -> dict[str, int]:
        """The kernel's own protocol counters since the guest was made, by their SNMP names: ``TcpRetransSegs``...

        Those of ``/proc/net/snmp`` and ``/proc/net/netstat``, which ``nstat`` shows too.
        """
        return self._host.kernel_counters()

    def wait_online(self, timeout: float = 60.0, family: int = 4) -> str:
        """Wait until there is an address of this family that reaches beyond the link; returns it."""
        address = self._host.wait_online(timeout, family)
        if address is None:
            raise TimedOut(f"no IPv{family} address within {timeout:g} s")
        return address

    def __repr__(self) -> str:
        return f"<Guest {self.name}: {self._host.system} behind a TAP ({self.mode}), {self.mac}, {self.address}>"


HANDLES: dict[str, type[Guest]] = {"scripted": Scripted, "tap": Tap}
"""Kinds of guests by name."""
