"""One run to be made: everything that decides what comes of it, in one value that can be hashed, written and sent.

:func:`run_virtual` makes it in virtual time: one lab, no sockets, and in any process the same bytes for the same case.
Sweeps, reproductions and ``compare`` are loops around it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from ..bounds import TIMEOUT_MOST
from ..errors import AeroLabError, UsageError
from ..limits import MS, MTU_DEFAULT, MTU_MAX, MTU_MIN
from .client_part import client_lines
from .measure import COLUMNS, take_frames, take_result, take_tunnel, take_wire
from .record import Run

if TYPE_CHECKING:
    from ..capture import Capture
    from ..link import Link
    from ..paths import Path

GUESTS = ("scripted", "tap", "linux", "qemu")
"""What a run can be made with."""
REAL = {"tap": "is a real kernel and", "qemu": "is another program and"}
"""Guests that cannot be in virtual time, and what they are."""
SILENT = {"progress": False}
"""For guests that show bars."""
TIMEOUT = 120.0
"""Seconds, of the lab's clock, after which a run has failed unless told otherwise."""


@dataclass(frozen=True)
class Case:
    """One run to be made.

    Parameters
    ----------
    option, settings: where the pipeline is cut, and how: the option's own settings.
    transport, transport_settings: what carries the messages, and how.
    workload, parameters: what the guest does, see :meth:`aero_lab.handles.Guest.run`.
    guest, profile: what the guest is; a scripted one looks like ``profile``.
    mtu: of the guest's network.
    seed, repeat: of everything random; which repeat of the same question it is.
    virtual: in virtual time.
    link: impairment of the tunnel.
    timeout: seconds of the lab's clock that each of getting an address and the workload may take: the end of a run
        that would never end.
    ack_policy: when the guest's TCP hears that its bytes arrived, ``"early"`` or ``"mirror"``.
    box: seconds that a transfer without a size may take (real time); None: it has a size.
    hop: in real time, what impairs: ``"relay"``, ``"namespace"``, or ``"auto"``.
    """

    option: str = "C"
    transport: str = "memory"
    workload: str = "download"
    parameters: dict[str, Any] = field(default_factory=dict)
    profile: str = "linux"
    mtu: int = MTU_DEFAULT
    seed: int = 1
    repeat: int = 0
    virtual: bool = True
    link: Link | None = None
    timeout: float = TIMEOUT
    ack_policy: str = "early"
    guest: str = "scripted"
    settings: dict[str, Any] = field(default_factory=dict)
    transport_settings: dict[str, Any] = field(default_factory=dict)
    box: float | None = None
    hop: str = "auto"

    @property
    def mode(self) -> str:
        return "virtual" if self.virtual else "real"

    @property
    def name(self) -> str:
        """Stem of this run's files."""
        guest = "" if self.guest == "scripted" else f"-{self.guest}"
        told = "".join(f"-{name}={value}" for name, value in {**self.settings, **self.transport_settings}.items())
        told = "".join(letter if letter.isalnum() or letter in "-=." else "_" for letter in told)
        what = f"{self.option}-{self.transport}{told}{guest}-{self.workload}"
        return f"{what}-{self.mode}-seed{self.seed}-{self.repeat}"

    @property
    def label(self) -> str:
        """The option with its settings, as tables show it."""
        return ":".join((self.option, *(f"{name}={value}" for name, value in self.settings.items())))

    @property
    def privileges(self) -> str:
        """What the two halves and the guest need that not every user has everywhere. A link between namespaces is
        part of the bench, not of what is on it."""
        places = [("proxy", self.path.needs_kernel), ("guest", self.guest == "tap")]
        needs = " and ".join(place for place, needed in places if needed)
        return f"root or user namespaces at {needs}" if needs else "none"

    @property
    def cell(self) -> Case:
        """The same for every workload: cases with one cell can share the processes they run in."""
        return replace(self, workload="", parameters={}, box=None)

    @property
    def path(self) -> Path:
        """The option with its settings."""
        from ..paths import get_path

        return get_path(self.option, **self.settings)

    @property
    def peer_seen_at(self) -> str:
        """Where the frames of the stack that the guest speaks to enter the path."""
        return "nic" if self.path.lan_side == "client" else "tunnel"

    def check(self) -> None:
        """Raise :class:`UsageError` for whatever cannot be, before anything runs."""
        self.check_values()
        if why := self.why_not():
            raise UsageError(why)

    def check_values(self) -> None:
        """The part of :meth:`check` that is about single values, not about how they go together."""
        from ..guests.scripted.profiles import find as find_profile
        from ..lan.config import ACK_POLICIES

        if self.guest not in GUESTS:
            raise UsageError(f"guest must be one of {', '.join(GUESTS)}, not {self.guest!r}")
        if self.virtual and self.guest in REAL:
            raise UsageError(f"a {self.guest} guest {REAL[self.guest]} lives in real time: leave --virtual or it out")
        if self.workload not in (known := workloads(self.guest)):
            raise UsageError(f"workload must be one of {', '.join(known)}, not {self.workload!r}")
        self._check_parameters()
        check_seed(self.seed)
        find_profile(self.profile)
        if not isinstance(self.mtu, int) or not MTU_MIN <= self.mtu <= MTU_MAX:
            raise UsageError(f"mtu must be {MTU_MIN} to {MTU_MAX}, not {self.mtu!r}")
        if self.ack_policy not in ACK_POLICIES:
            raise UsageError(f"ack_policy must be one of {', '.join(ACK_POLICIES)}, not {self.ack_policy!r}")
        check_timeout(self.timeout)
        if self.box is not None and not self.box > 0:
            raise UsageError(f"box must be above 0 seconds, not {self.box:g}")
        assert self.path.letter == self.option, "settings of the option are checked by making it"
        check_transport(self.transport, self.transport_settings, self.virtual, self.link)

    def _check_parameters(self) -> None:
        from ..guests.scripted.workloads import check_parameters

        known = parameters_of(self.guest, self.workload)
        for name in self.parameters:
            if name not in known:
                raise UsageError(f"workload {self.workload} takes {', '.join(known)}, not {name!r}")
        if "timeout" in self.parameters:
            raise UsageError("timeout is that of the whole run: give timeout= and leave it out of the parameters")
        check_parameters(self.workload, self.parameters)

    def why_not(self) -> str:
        """Why this option does not run over this transport under these circumstances; empty when it does."""
        from .. import hops, tunnels

        if self.path.needs_kernel:
            from ..hostnet import refusal

            if why := refusal(virtual=self.virtual, ack_policy=self.ack_policy):
                return why
        # What a real transport cannot do to its packets a hop of ours does.
        link = self.link if self.virtual else None
        why = tunnels.why_not(self.transport, self.path, virtual=self.virtual, link=link, mtu=self.mtu)
        if why or self.virtual:
            return why
        return hops.why_not(self.transport, self.link, self.hop, self.congestion)

    @property
    def congestion(self) -> str | None:
        """In real time: control of the kernel's TCP across the link, None for what is usual there."""
        return None if self.virtual else self.transport_settings.get("congestion")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, as JSON has them."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "link": self.link.to_dict() if self.link is not None else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Case:
        """What :meth:`to_dict` gave; a link may also be text such as ``"rtt=40ms"``."""
        from ..link import Link

        known = {each.name for each in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise UsageError(f"a case has no {unknown[0]!r}; there is {', '.join(sorted(known))}")
        link = values.get("link")
        if isinstance(link, str):
            link = Link.parse(link)
        elif isinstance(link, Mapping):
            link = Link.from_dict(dict(link))
        return cls(**{**values, "link": link})

    def meta(self) -> dict[str, Any]:
        """What a capture says about itself: all that it takes to make the run again."""
        return {
            "option": self.option,
            "transport": self.transport,
            "guest": self.guest,
            "profile": self.profile,
            "workload": self.workload,
            "parameters": self.parameters,
            "mode": self.mode,
            "seed": self.seed,
            "mtu": self.mtu,
            "ack_policy": self.ack_policy,
            "link": self.link.to_dict() if self.link is not None else None,
            # Where nothing was set there is nothing to say.
            **({"settings": self.settings} if self.settings else {}),
            **({"transport_settings": self.transport_settings} if self.transport_settings else {}),
        }

    def blank(self) -> Run:
        """A run with nothing measured."""
        from ..guests.scripted.profiles import find

        tcp = find(self.profile).tcp
        acks = {"guest_acks": f"{tcp.delack_segments} segments or {tcp.delack_time / MS:g} ms"}
        return Run(
            option=self.option,
            transport=self.transport,
            guest=f"scripted/{self.profile}" if self.guest == "scripted" else self.guest,
            nic=None,
            workload=self.workload,
            link=self.link.to_dict() if self.link is not None else None,
            mode=self.mode,
            mtu=self.mtu,
            ack_policy=self.ack_policy,
            client_lines=client_lines(self.option),
            seed=self.seed,
            repeat=self.repeat,
            privileges=self.privileges,
            settings=dict(self.settings),
            transport_settings=dict(self.transport_settings),
            extra=acks if self.guest == "scripted" else {},
        )


def check_seed(seed: Any) -> None:
    """Raise :class:`UsageError` for what no generator can be seeded with, or no column of whole numbers holds."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 1 << 63:
        from ..guests.scripted.workloads.result import told

        raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, not {told(seed)}")


def check_timeout(timeout: Any, name: str = "timeout") -> None:
    """Raise :class:`UsageError` for what is no number of seconds that an end can be put to."""
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout > 0:
        raise UsageError(f"{name} must be above 0 seconds, not {timeout!r}")
    if timeout > TIMEOUT_MOST:
        raise UsageError(f"{name} must be at most {TIMEOUT_MOST:,} seconds, not {timeout!r}: a run has an end")


def check_transport(transport: str, settings: Mapping[str, Any], virtual: bool, link: Link | None) -> None:
    """Raise :class:`UsageError` for settings that this transport does not have. Those of a real one are its own, and
    ``congestion`` of its TCP where there is a link."""
    from ..tunnels import check_settings

    of_hop = ("congestion",) if not virtual and transport == "websocket" and link is not None else ()
    check_settings(transport, {n: v for n, v in settings.items() if n not in of_hop}, virtual=virtual)


def _functions(guest: str) -> Mapping[str, Callable[..., Any]]:
    from ..guests.scripted.workloads import WORKLOADS
    from ..guests.shell.workloads import WORKLOADS as SCRIPTS
    from ..guests.tap.programs import WORKLOADS as PROGRAMS

    return {"scripted": WORKLOADS, "tap": PROGRAMS}.get(guest, SCRIPTS)


def workloads(guest: str) -> tuple[str, ...]:
    """Names of what a guest of this kind can do."""
    return tuple(_functions(guest))


@functools.cache
def parameters_of(guest: str, workload: str) -> tuple[str, ...]:
    """Names of the parameters that a workload of a guest of this kind takes."""
    first = 1 if guest == "tap" else 2  # before them stand what runs it and what it fills in
    return tuple(inspect.signature(_functions(guest)[workload]).parameters)[first:]


def run_virtual(case: Case) -> tuple[Run, Capture | None]:
    """Make a run in virtual time.

    The same case gives the same run and the same capture in any process. A workload that fails, or is not done when
    its time is over, is a run that is not ``ok`` and says why; what was recorded until then is handed back all the
    same. What the user got wrong raises :class:`UsageError`.
    """
    from ..capture.frames import to_frames
    from ..lab import Lab

    case.check()
    run, capture = case.blank(), None
    with Lab(
        virtual=True,
        seed=case.seed,
        option=case.option,
        transport=case.transport,
        transport_settings=case.transport_settings,
        link=case.link,
        mtu=case.mtu,
        ack_policy=case.ack_policy,
        progress=False,
        **case.settings,
    ) as lab:
        lab.capture.meta = case.meta()
        since = until = lab.now
        wire = after = None
        try:
            options: dict[str, Any] = {"profile": case.profile} if case.guest == "scripted" else SILENT
            guest = lab.guest(case.guest, **options)
            run.nic = getattr(guest, "nic_model", None)
            guest.wait_online(case.timeout)
            since, before, wire = lab.now, guest.tunnel, guest.wire
            result = guest.run(case.workload, timeout=case.timeout, **case.parameters)
            take_result(run, result.to_dict())
            take_tunnel(run, before, guest.tunnel)
            until, after = lab.now, guest.wire
            run.ack_policy = guest.lan.tcp.ack_policy
        except UsageError:
            raise
        except AeroLabError as error:
            run.ok, run.error = False, str(error)
        capture = lab.capture.capture()
    frames: Any = to_frames(capture, COLUMNS)
    take_frames(run, frames, since, case.peer_seen_at)
    if run.ok:
        between = frames[(frames["frame_time"] >= since) & (frames["frame_time"] <= until)]
        take_wire(run, wire, after, between)
    return run, capture
