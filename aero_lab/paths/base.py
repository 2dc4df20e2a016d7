"""One interface for the options.

A path joins a guest's NIC to the world through a message transport. It is made of two halves, each a node of the
scheduler (``step(now)``, ``poll_at(now)``): the *client* half stands where the browser is, the *server* half where the
proxy is. What lies in which half, and so what the messages carry, is all that tells the options apart::

    A socket relay   client: link layer, stack     messages: flows     server: egress
    B L3 tunnel      client: link layer            messages: packets   server: stack, egress
    C L2 tunnel      client: nothing               messages: frames    server: link layer, stack, egress

A path registers itself under its letter in :data:`OPTIONS` when its module is imported.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol

from ..clock import Node
from ..errors import UsageError
from ..limits import MTU_DEFAULT
from ..rings import FrameRing
from ..transports.base import TransportEnd


class Tap(Protocol):
    """Where frames are recorded: the recorder's side that a half needs."""

    def tap(self, ring: FrameRing, count: int, point: str, direction: str, now: int, skip: int = 0) -> Any:
        """Copy ``count`` waiting frames of ``ring``, oldest first, after leaving out the ``skip`` oldest."""


@dataclass(frozen=True)
class Wire:
    """The guest's NIC as a path sees it: two rings of Ethernet frames."""

    out: FrameRing
    """Frames that the guest sends."""
    into: FrameRing
    """Frames for the guest."""


class Path(ABC):
    """An option. One object makes both halves; they share nothing but the transport."""

    letter: ClassVar[str]
    name: ClassVar[str]
    carries: ClassVar[str]
    """What travels in a message, for tables and pictures."""

    @abstractmethod
    def client(self, nic: Wire, end: TransportEnd, recorder: Tap | None = None, mtu: int = MTU_DEFAULT) -> Node:
        """The half beside the guest."""

    @abstractmethod
    def server(
        self, end: TransportEnd, make_lan: Callable[[], Any], recorder: Tap | None = None, mtu: int = MTU_DEFAULT
    ) -> Node:
        """The half beside the host's sockets. ``make_lan`` makes the synthetic LAN with its egress."""


OPTIONS: dict[str, type[Path]] = {}
"""Options by letter. Filled by :func:`register`."""

_MODULES = {"C": "aero_lab.paths.l2_tunnel"}


def register(cls: type[Path]) -> type[Path]:
    """Class decorator: make an option known under its letter."""
    OPTIONS[cls.letter] = cls
    return cls


def options() -> dict[str, type[Path]]:
    """Every option there is, by letter, in order."""
    for module in _MODULES.values():
        import_module(module)
    return dict(sorted(OPTIONS.items()))


def get_path(letter: str) -> Path:
    """The option with this letter; :class:`UsageError` names those there are."""
    known = options()
    if letter.upper() not in known:
        raise UsageError(f"option {letter!r} does not exist; there is {_join(known)}")
    return known[letter.upper()]()


def _join(letters: Iterable[str]) -> str:
    return ", ".join(f"{letter} ({OPTIONS[letter].name})" for letter in letters)
