"""One interface for the options.

A path joins a guest's NIC to the world through channels of messages. It is made of two halves, each a node of the
scheduler (``step(now)``, ``poll_at(now)``): the *client* half stands where the browser is, the *server* half where the
proxy is. What lies in which half, and so what the messages carry, is all that tells the options apart::

    A socket relay   client: link layer, stack     messages: flows     server: egress
    B L3 tunnel      client: link layer            messages: packets   server: stack, egress
    C L2 tunnel      client: nothing               messages: frames    server: link layer, stack, egress

A path says which channels it needs (:meth:`Path.channels`), a transport gives them: each half is handed an end of each.
Whatever else a half is made of comes with them, in a :class:`Near` or a :class:`Far`.

A path registers itself under its letter in :data:`OPTIONS` when its module is imported. Its settings are the fields of
its dataclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from ..clock import Node
from ..errors import UsageError
from ..limits import MTU_DEFAULT
from ..rings import FrameRing
from ..transports.base import TransportEnd

if TYPE_CHECKING:
    from ..lan import Lan
    from ..lan.network import Network


class Tap(Protocol):
    """Where frames are recorded: the recorder's side that a half needs. One that has ``add_relayed`` too can keep
    messages that hold no frames."""

    def tap(
        self, ring: FrameRing, count: int, point: str, direction: str, now: int, skip: int = 0, *, link: int = 0
    ) -> Any:
        """Copy ``count`` waiting frames of ``ring``, oldest first, after leaving out the ``skip`` oldest. ``link``:
        what they begin with, a number of :data:`aero_lab.capture.schema.LINKS`."""


@dataclass(frozen=True)
class Wire:
    """The guest's NIC as a path sees it: two rings of Ethernet frames."""

    out: FrameRing
    """Frames that the guest sends."""
    into: FrameRing
    """Frames for the guest."""


@dataclass(frozen=True)
class Channel:
    """Messages between the halves that belong together: one WebSocket, one DataChannel, one pair of rings."""

    name: str
    """``l2``, ``l3``, ``mux``, ``tcp``, ``udp`` or ``dns``; also the label of a DataChannel."""
    most: int
    """Bytes of the largest message, either way."""
    route: str
    """Path of the endpoint at a server: ``/l2``."""
    subprotocols: tuple[str, ...] = ()
    """Offered by a WebSocket, the preferred first."""
    ordered: bool = False
    """Whether messages must arrive, all and in order. One that can do without may be given either kind."""
    http: bool = False
    """Where there is HTTP, each message is a request there and its answer comes back: DNS by RFC 8484."""


@dataclass(frozen=True)
class Near:
    """What a client half is made of."""

    nic: Wire
    ends: Mapping[str, TransportEnd]
    """An end of each of the path's channels, by name."""
    network: Network | None = None
    """Of what the part of the network that lies on this side is made; its egress is the half's own business. None where
    nothing does."""
    recorder: Tap | None = None
    mtu: int = MTU_DEFAULT
    dial: Callable[[Channel, str], TransportEnd] | None = None
    """Opens one more channel at any time, given what the query of its URL says. None: there are no more."""


@dataclass(frozen=True)
class Far:
    """What a server half is made of."""

    ends: Mapping[str, TransportEnd]
    network: Network
    """Of what the part of the network that lies on this side is made, and the way to the world."""
    recorder: Tap | None = None
    mtu: int = MTU_DEFAULT


class Talk(Protocol):
    """The conversation of a channel with itself, beside what it carries: what keepalive asks."""

    def ping(self, now: int, only: bool = False, payload: bytes | None = None) -> None:
        """Send a PING, with ``payload`` if given."""


class ClientHalf(Node, Protocol):
    """What a lab asks of a client half beside its turns."""

    name: str
    on_rtt: Callable[[int], None] | None
    """Told the round-trip time, ns, of each PING that was answered."""

    def ping(self, now: int) -> bool:
        """Measure the round-trip time of the tunnel; :attr:`rtt` has it when the answer came. False: it has none that
        could be measured."""
        ...

    @property
    def rtt(self) -> int | None: ...

    @property
    def talks(self) -> Mapping[str, Talk]:
        """Channels that can be kept alive by PINGs of their own, by name."""
        ...

    @property
    def lan(self) -> Lan | None:
        """The synthetic LAN, when it lies on this side."""
        ...

    @property
    def frame_bytes(self) -> tuple[int, int]:
        """Bytes of the guest's Ethernet frames, up and down."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """``frames_wrapped, frames_unwrapped`` (of the NIC, up and down), ``messages_sent, bytes_sent,
        messages_received, bytes_received`` over all channels, drops by reason."""
        ...

    def carrier(self, channel: str, up: bool, now: int) -> None:
        """The connection of a channel came, or was lost: then what it carried is gone, and the other end of the next
        one knows nothing."""


class ServerHalf(Node, Protocol):
    """What a lab asks of a server half beside its turns."""

    name: str

    @property
    def lan(self) -> Lan | None: ...

    @property
    def counters(self) -> dict[str, int]:
        """What was done and dropped on this side, by part and reason."""
        ...


@dataclass(frozen=True)
class Path(ABC):
    """An option and its settings. One object makes both halves; they share nothing but the channels."""

    letter: ClassVar[str]
    name: ClassVar[str]
    carries: ClassVar[str]
    """What travels in a message, for tables and pictures."""
    lan_side: ClassVar[str]
    """``client`` or ``proxy``: where the LAN is, and with it DHCP, the NAT and the table of flows."""
    cable: ClassVar[bool] = True
    """Whether the channel is the guest's cable: who loses it sees its link go down."""

    @abstractmethod
    def channels(self, mtu: int = MTU_DEFAULT) -> tuple[Channel, ...]:
        """What has to be there before the halves are made, the most important first."""

    @abstractmethod
    def client(self, near: Near) -> ClientHalf:
        """The half beside the guest."""

    @abstractmethod
    def server(self, far: Far) -> ServerHalf:
        """The half beside the host's sockets."""

    @property
    def dials(self) -> bool:
        """Whether the client half opens further channels as it goes (:attr:`Near.dial`)."""
        return False

    def door(self, half: Any) -> Any:
        """Whom further channels are announced to at this server half, see :mod:`aero_lab.transports.simulated_call`."""
        raise NotImplementedError(f"option {self.letter} has no further channels")

    @property
    def needs_kernel(self) -> bool:
        """Whether a part of it is the host kernel's, which lives in real time."""
        return getattr(self, "far", "lan") == "kernel"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that are not the default, for tables and files."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}


OPTIONS: dict[str, type[Path]] = {}
"""Options by letter. Filled by :func:`register`."""

_MODULES = {
    "A": "aero_lab.paths.socket_relay",
    "B": "aero_lab.paths.l3_tunnel",
    "C": "aero_lab.paths.l2_tunnel",
}


P = TypeVar("P", bound="Path")


def register(cls: type[P]) -> type[P]:
    """Class decorator: make an option known under its letter."""
    OPTIONS[cls.letter] = cls
    return cls


def options() -> dict[str, type[Path]]:
    """Every option there is, by letter, in order."""
    for module in _MODULES.values():
        import_module(module)
    return dict(sorted(OPTIONS.items()))


def get_path(letter: str, **settings: Any) -> Path:
    """The option with this letter; :class:`UsageError` names those there are, and the settings of one."""
    known = options()
    if letter.upper() not in known:
        raise UsageError(f"option {letter!r} does not exist; there is {_join(known)}")
    cls = known[letter.upper()]
    allowed = [each.name for each in fields(cls)]
    for name in settings:
        if name not in allowed:
            raise UsageError(f"option {cls.letter} has no setting {name!r}; it has {', '.join(allowed) or 'none'}")
    return cls(**settings)


FARS = ("lan", "kernel")
"""What speaks TCP/IP to the guest where that is at the proxy: a stack of ours, or the host kernel's, see
:mod:`aero_lab.hostnet`."""


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """For settings: raises :class:`UsageError` that names what is allowed."""
    if value not in allowed:
        raise UsageError(f"{name} must be {' or '.join(repr(each) for each in allowed)}, not {value!r}")


def _join(letters: Iterable[str]) -> str:
    return ", ".join(f"{letter} ({OPTIONS[letter].name})" for letter in letters)
