"""From the arguments of a comparison to the runs it is made of: every combination that can be, in the order to run
them, and the reason of each that cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..limits import MTU_DEFAULT
from .cases import TIMEOUT, Case, check_transport, workloads

if TYPE_CHECKING:
    from ..link import Link
    from ..paths import Path

TRANSPORTS = ("memory", "websocket", "webrtc", "webrtc-unordered", "webrtc-lossy")
"""What a run can be made over."""
EVERY_OPTION = "A,A:streams=socket,B,C"
"""All places to cut; A also with a connection of its own for each of the guest's."""
VIRTUAL_SIZE = "2MB"
"""Of a transfer in virtual time that nobody gave a size."""
USUAL = ("download", "rr", "voip")
"""What shows every side of a cell: a transfer, requests, datagrams."""
SIZED = ("download", "upload", "parallel", "source", "sink")
"""Workloads that take a ``size``."""
SWITCHES = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
"""What a setting may be in text beside a number and a word."""


@dataclass
class Plan:
    """What is to be run.

    Parameters
    ----------
    links: one or more, each by its name in the table; None is no link.
    settings: of the options; each takes those that it has.
    transport_settings: of the transports; each takes those that it has.
    left_out: combinations that cannot be, with ``option``, ``transport`` and ``reason``; filled by :meth:`cases`.
    Others: as of :func:`aero_lab.compare`.
    """

    options: str | Iterable[str]
    transports: Sequence[str]
    workloads: Sequence[str]
    size: int | str | None = None
    box: float | None = None
    parameters: Mapping[str, Any] | None = None
    guest: str = "scripted"
    profile: str = "linux"
    virtual: bool = False
    links: Sequence[Link | str | None] = (None,)
    hop: str = "auto"
    mtu: int = MTU_DEFAULT
    seed: int = 1
    repeats: int = 1
    ack_policy: str = "early"
    timeout: float = TIMEOUT
    settings: Mapping[str, Any] = field(default_factory=dict)
    transport_settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def cases(self) -> list[Case]:
        """The runs, repeats interleaved; all workloads of a cell stand beside each other. :class:`UsageError` for what
        is wrong with the question, or when nothing of it can be."""
        from ..guests.scripted.workloads import size_of
        from ..link import Link

        paths = read_options(self.options, self.settings)
        if not paths or not self.transports or not self.workloads:
            raise UsageError("compare needs at least one option, transport and workload")
        for transport in self.transports:
            if transport not in TRANSPORTS:
                raise UsageError(f"transport {transport!r} does not exist; there is {', '.join(TRANSPORTS)}")
        if self.parameters and len(self.workloads) > 1 and not set(self.parameters) <= set(self.workloads):
            raise UsageError("parameters= belong to one workload; name only that one")
        if self.repeats < 1:
            raise UsageError(f"repeats must be 1 or more, not {self.repeats}")
        size = None if self.size is None else size_of(self.size)
        links = [Link.of(link) for link in self.links]
        links = list(dict.fromkeys(None if link == Link() else link for link in links))
        cases = []
        for repeat, link, path, transport in product(range(self.repeats), links, paths, self.transports):
            told = self._told(link)[transport]
            cell = [self._case(repeat, link, path, transport, name, size, told) for name in self.workloads]
            for case in cell:
                case.check_values()
            if not (why := cell[0].why_not()):
                cases += cell
            elif repeat == 0:
                reason = {"option": cell[0].label, "transport": transport, "reason": why}
                self.left_out += [reason] if reason not in self.left_out else []
        if not cases:
            raise UsageError("; ".join(dict.fromkeys(each["reason"] for each in self.left_out)))
        return cases

    def _case(
        self,
        repeat: int,
        link: Link | None,
        path: Path,
        transport: str,
        workload: str,
        size: int | None,
        told: dict[str, Any],
    ) -> Case:
        own = self._parameters(workload)
        if size is not None and workload in SIZED:
            own.setdefault("size", size)
        boxed = workload in SIZED and "size" not in own and not self.virtual
        return Case(
            path.letter, transport, workload, own, self.profile, self.mtu, self.seed + repeat, repeat, self.virtual,
            link, self.timeout, self.ack_policy, self.guest, path.settings, told, self.box if boxed else None, self.hop,
        )  # fmt: skip

    def _parameters(self, workload: str) -> dict[str, Any]:
        """Those of the only workload, or of this one among several."""
        given = self.parameters or {}
        return dict(given.get(workload, {}) if set(given) <= set(self.workloads) else given)

    def _told(self, link: Link | None) -> dict[str, dict[str, Any]]:
        """The settings that each transport has of those that were given; one that none has is a mistake."""
        told: dict[str, dict[str, Any]] = {transport: {} for transport in self.transports}
        for name, value in self.transport_settings.items():
            refusal: UsageError | None = None
            taken = False
            for transport in self.transports:
                try:
                    check_transport(transport, {name: value}, self.virtual, link)
                except UsageError as error:
                    refusal = error if refusal is None or repr(value) in str(error) else refusal
                else:
                    told[transport][name] = value
                    taken = True
            if not taken and refusal is not None:
                raise refusal
        return told


def read_options(options: str | Iterable[str], settings: Mapping[str, Any] | None = None) -> list[Path]:
    """Options with their settings.

    Parameters
    ----------
    options: letters such as ``"ABC"``, or a list (of texts, or one text with commas) of letters with settings of their
        own, ``"A,A:streams=socket:connect=early,C"``.
    settings: of all options that have them and do not say otherwise.
    """
    from ..paths import get_path
    from ..paths import options as known

    if isinstance(options, str):
        options = options.split(",") if set(options) & set(",:") else list(options)
    texts = [text.strip() for text in options if text.strip()]
    paths, common = [], dict(settings or {})
    used: set[str] = set()
    for text in texts:
        letter, *pairs = text.split(":")
        path = get_path(letter)
        has = {each.name: each.default for each in fields(path)}
        own = {name: value for name, value in common.items() if name in has}
        used |= set(own)
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not equals:
                raise UsageError(f"{pair!r} in option {text!r} is no setting: write name=value")
            own[name.strip()] = read_value(value)
        paths.append(get_path(path.letter, **own))
    if paths and (unused := sorted(set(common) - used)):
        there = {each.name: None for path in known().values() for each in fields(path)}
        raise UsageError(f"none of the options has a setting {unused[0]!r}; there is {', '.join(there)}")
    return list(dict.fromkeys(paths))


def read_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Settings as a command line has them: ``name=value`` each."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{text!r} is no setting: write name=value")
        found[name.strip()] = read_value(value)
    return found


def read_value(text: str) -> Any:
    """A number, a switch or a word."""
    text = text.strip()
    if text.lower() in SWITCHES:
        return SWITCHES[text.lower()]
    try:
        return int(text)
    except ValueError:
        return text


def usual_workloads(guest: str) -> list[str]:
    """What a guest of this kind runs when nobody names anything."""
    return [name for name in USUAL if name in workloads(guest)]


def cells_of(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Cases that stand beside each other and differ in nothing but the workload."""
    cell: list[Case] = []
    for case in cases:
        if cell and case.cell != cell[0].cell:
            yield cell
            cell = []
        cell.append(case)
    if cell:
        yield cell
